//! The memory that everything works on.

use elonnx::loss::Shape;

use crate::dtype::Dtype;

/// Slots begin on a cache line.
const LINE: usize = 64;
/// Rows that are ignored share this label.
pub const IGNORED: i64 = -100;

/// Logits, gradients, labels and margins for `slots` independent losses of one shape, one behind the other.
pub struct Buffers<T> {
    pub shape: Shape,
    pub slots: usize,
    /// Elements from one slot to the next.
    stride: usize,
    logits: Vec<T>,
    dlogits: Vec<T>,
    labels: Vec<i64>,
    mostly_ignored: Vec<i64>,
    margins: Vec<f32>,
    scratch_margins: Vec<f32>,
    pub dloss: [T; 1],
}

/// One slot.
pub struct Slot<'a, T> {
    pub shape: Shape,
    pub logits: &'a [T],
    pub dlogits: &'a mut [T],
    pub labels: &'a [i64],
    /// 90 % of the labels ignored.
    pub mostly_ignored: &'a [i64],
    /// Margins for the backward pass to read.
    pub margins: &'a mut [f32],
    /// Margins for the forward passes to write.
    pub scratch_margins: &'a mut [f32],
    pub dloss: &'a [T; 1],
}

impl<T: Dtype> Buffers<T> {
    pub fn new(shape: Shape, slots: usize) -> Self {
        let per_line = LINE / size_of::<T>();
        let stride = shape.elements().next_multiple_of(per_line);
        let (rows, classes) = (shape.rows(), shape.classes());
        let mut random = Random(0x9E37_79B9_7F4A_7C15);
        // a line more than needed, so that the first slot can be moved to the start of a line
        let logits = (0..slots * stride + per_line).map(|_| T::from_f64(random.logit())).collect();
        let labels: Vec<i64> = (0..slots * rows).map(|_| random.below(classes) as i64).collect();
        // padding and void regions come in runs; a run is shorter where there are few rows
        let run = (rows / 20).clamp(1, 64);
        let mostly_ignored = labels
            .iter()
            .enumerate()
            .map(|(i, &label)| if (i % rows / run).is_multiple_of(10) { label } else { IGNORED })
            .collect();
        Buffers {
            shape,
            slots,
            stride,
            logits,
            // written once here: the first touch of a page is not to be timed
            dlogits: vec![T::from_f64(1.0); slots * stride + per_line],
            labels,
            mostly_ignored,
            margins: vec![1.0; slots * rows],
            scratch_margins: vec![1.0; slots * rows],
            // as a loss scaler would have it, so that gradients do not vanish in half precision
            dloss: [T::from_f64(rows.min(32_768) as f64)],
        }
    }

    pub fn slot(&mut self, slot: usize) -> Slot<'_, T> {
        let rows = self.shape.rows();
        let elements = |first: usize| first + slot * self.stride..first + slot * self.stride + self.shape.elements();
        let labels = slot * rows..(slot + 1) * rows;
        let (logits, dlogits) = (elements(line_start(&self.logits)), elements(line_start(&self.dlogits)));
        Slot {
            shape: self.shape,
            logits: &self.logits[logits],
            dlogits: &mut self.dlogits[dlogits],
            labels: &self.labels[labels.clone()],
            mostly_ignored: &self.mostly_ignored[labels.clone()],
            margins: &mut self.margins[labels.clone()],
            scratch_margins: &mut self.scratch_margins[labels],
            dloss: &self.dloss,
        }
    }
}

/// The first element that lies at the start of a cache line.
fn line_start<T>(buffer: &[T]) -> usize {
    buffer.as_ptr().align_offset(LINE)
}

/// xorshift64*.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// Close to normal, standard deviation 3: the sum of four uniform numbers.
    fn logit(&mut self) -> f64 {
        let bits = self.next();
        let sum: u64 = (0..4).map(|i| bits >> (16 * i) & 0xFFFF).sum();
        (sum as f64 / 65_536.0 - 2.0) * (3.0 / (1.0f64 / 3.0).sqrt())
    }

    fn below(&mut self, n: usize) -> usize {
        (((self.next() >> 32) * n as u64) >> 32) as usize
    }
}
