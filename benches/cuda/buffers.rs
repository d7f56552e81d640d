//! The memory that everything works on.

use crate::device::{Device, Memory, Outcome};
use crate::dtype::Dtype;
use crate::options::Dims;

/// Elements of the rows that are drawn; all others repeat them.
const DRAWN: usize = 1 << 21;
/// A row of which the label is raised by so much has a probability near 1, whatever the others are.
const RAISED: f64 = 3.0;

/// Smaller shapes stay in the L2 cache in part.
const MOST_SLOTS: usize = 1000;

/// Logits, gradients, labels, losses and margins, `slots` times, together larger than four times the L2 cache.
pub struct Buffers<T> {
    pub dims: Dims,
    pub slots: Vec<Slot>,
    /// One number, the gradient from above.
    pub dloss: Memory,
    pub drawn: Drawn<T>,
}

/// One set of them.
pub struct Slot {
    pub logits: Memory,
    pub dlogits: Memory,
    pub labels: Memory,
    pub loss: Memory,
    pub margins: Memory,
}

/// The rows that repeat: row r of every slot is row r modulo their number.
pub struct Drawn<T> {
    pub logits: Vec<T>,
    pub labels: Vec<i64>,
}

impl<T: Dtype> Drawn<T> {
    fn new(dims: Dims) -> Drawn<T> {
        let rows = (DRAWN / dims.classes).clamp(16, dims.rows.max(16)).min(dims.rows);
        let mut random = fastrand::Rng::with_seed(7);
        let mut logits: Vec<T> = (0..rows * dims.classes).map(|_| T::from_f64(normal(&mut random))).collect();
        let labels: Vec<i64> = (0..rows).map(|_| random.usize(..dims.classes) as i64).collect();
        // every second row is right, so that both branches of the bonus are used
        for row in (0..rows).step_by(2) {
            let own = &mut logits[row * dims.classes + labels[row] as usize];
            *own = T::from_f64(own.to_f64() + (dims.classes as f64).ln() + RAISED);
        }
        Drawn { logits, labels }
    }

    pub fn rows(&self) -> usize {
        self.labels.len()
    }
}

/// Close to normal, standard deviation 2: the sum of four uniform numbers.
fn normal(random: &mut fastrand::Rng) -> f64 {
    let sum: f64 = (0..4).map(|_| random.f64()).sum();
    (sum - 2.0) * 2.0 * 3f64.sqrt()
}

/// A GPU that is too small for a shape.
#[derive(Debug, thiserror::Error)]
#[error("needs {} MiB of memory, the GPU has {} MiB: skipped", .needed >> 20, .there >> 20)]
pub struct TooSmall {
    needed: usize,
    there: usize,
}

impl<T: Dtype> Buffers<T> {
    /// `few`: two slots, whatever the cache is.
    ///
    /// # Errors
    /// A GPU with too little memory; errors of the driver.
    pub fn new(device: &Device, dims: Dims, few: bool) -> Outcome<Buffers<T>> {
        let bytes = dims.rows * dims.classes * size_of::<T>();
        let count = if few { 2 } else { (4 * device.facts.l2_bytes).div_ceil(bytes).clamp(2, MOST_SLOTS) };
        let (needed, there) = (2 * count * bytes, device.facts.memory_bytes);
        // some of it is taken by others
        if needed > there / 10 * 9 {
            return Err(TooSmall { needed, there }.into());
        }
        let drawn = Drawn::new(dims);
        let slots = (0..count).map(|_| Slot::new(dims, &drawn)).collect::<Outcome<_>>()?;
        Ok(Buffers { dims, slots, dloss: Memory::of(&[T::from_f64(1.0)])?, drawn })
    }

    /// Of the logits of one slot.
    pub fn bytes(&self) -> usize {
        self.dims.rows * self.dims.classes * size_of::<T>()
    }
}

impl Slot {
    fn new<T: Dtype>(dims: Dims, drawn: &Drawn<T>) -> Outcome<Slot> {
        let elements = dims.rows * dims.classes;
        let bytes = elements * size_of::<T>();
        let logits = Memory::new(bytes)?;
        for first in (0..elements).step_by(drawn.logits.len()) {
            logits.write(first, &drawn.logits[..drawn.logits.len().min(elements - first)])?;
        }
        let labels: Vec<i64> = (0..dims.rows).map(|row| drawn.labels[row % drawn.rows()]).collect();
        Ok(Slot {
            logits,
            dlogits: Memory::new(bytes)?,
            labels: Memory::of(&labels)?,
            loss: Memory::new(size_of::<T>())?,
            margins: Memory::new(dims.rows * size_of::<f32>())?,
        })
    }
}
