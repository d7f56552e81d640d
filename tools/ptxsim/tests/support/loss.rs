//! The project's own kernels, as its launch layer calls them, and what they must compute: enough of it to see that a bug
//! in them is seen. The suite of the package itself goes through the operators and is complete.

use ptxsim::{Memory, Module, Options};

use crate::support::{Argument, Number, Random, download_all, launch, upload_all};

const LOG_END: f64 = 0.75;
const IGNORED: i64 = -100;

/// The types of logits.
#[derive(Clone, Copy, PartialEq)]
pub enum Element {
    F32,
    Bf16,
    F16,
    F64,
}

impl Element {
    fn encode(self, value: f64) -> Vec<u8> {
        match self {
            Element::F32 => (value as f32).bytes(),
            Element::Bf16 => half::bf16::from_f64(value).to_bits().bytes(),
            Element::F16 => half::f16::from_f64(value).to_bits().bytes(),
            Element::F64 => value.bytes(),
        }
    }

    fn decode(self, bytes: &[u8]) -> f64 {
        match self {
            Element::F32 => f32::of(bytes).into(),
            Element::Bf16 => half::bf16::from_bits(u16::of(bytes)).into(),
            Element::F16 => half::f16::from_bits(u16::of(bytes)).into(),
            Element::F64 => f64::of(bytes),
        }
    }

    fn size(self) -> usize {
        self.encode(0.0).len()
    }

    /// Relative.
    fn tolerance(self) -> f64 {
        match self {
            Element::F32 => 1e-5,
            Element::Bf16 => 5e-3,
            Element::F16 => 1e-3,
            Element::F64 => 1e-12,
        }
    }
}

/// One launch over rows.
#[derive(Clone)]
pub struct Case {
    pub kernel: String,
    pub element: Element,
    pub rows: usize,
    pub classes: usize,
    pub inner: usize,
    pub lanes: i32,
    pub grid: u32,
    pub block: u32,
    pub shared: u32,
    /// Elements before the first logit.
    pub offset: usize,
    pub in_place: bool,
    pub smoothing: f64,
}

impl Case {
    /// `Problem` of cuda/problem.cuh.
    fn problem(&self, pointers: [u64; 11]) -> Vec<u8> {
        let numbers = [self.rows as i64, self.classes as i64, self.inner as i64, IGNORED];
        let steepness = 1.0 / (1.0 - LOG_END);
        let parameters = [1.0, 1.0, LOG_END, (1.0 - LOG_END).ln(), steepness, 2.0, self.smoothing];
        let flags = [0, 1, 0, 0, self.lanes, 0];
        let pointers = pointers.into_iter().flat_map(|pointer| pointer.bytes());
        let numbers = numbers.into_iter().flat_map(|number| number.bytes());
        let parameters = parameters.into_iter().flat_map(|parameter: f64| parameter.bytes());
        let flags = flags.into_iter().flat_map(|flag: i32| flag.bytes());
        pointers.chain(numbers).chain(parameters).chain(flags).collect()
    }

    /// Runs it and compares: the fault, or the first number that is wrong.
    pub fn check(&self, module: &Module, options: &Options) -> Result<(), String> {
        let Case { element, rows, classes, inner, offset, .. } = *self;
        let count = rows * classes;
        let mut random = Random(count as u64);
        let values: Vec<f64> =
            (0..count).map(|_| element.decode(&element.encode(random.fraction() * 12.0 - 6.0))).collect();
        let labels: Vec<i32> =
            (0..rows).map(|row| if row % 7 == 5 { IGNORED as i32 } else { random.below(classes) as i32 }).collect();
        let mut memory = Memory::new();
        let bytes: Vec<u8> =
            std::iter::repeat_n(0.0, offset).chain(values.iter().copied()).flat_map(|v| element.encode(v)).collect();
        let logits = crate::support::upload(&mut memory, &bytes) + (offset * element.size()) as u64;
        let gradient = if self.in_place { logits } else { memory.allocate(count * element.size()).expect("memory") };
        let with_gradient = !self.kernel.ends_with("forward");
        let label_address = upload_all(&mut memory, &labels);
        let losses = memory.allocate(rows * element.size()).expect("memory");
        let margins = memory.allocate(rows * 4).expect("memory");
        let partials = memory.allocate(self.grid as usize * 16).expect("memory");
        let gradient_or_none = if with_gradient { gradient } else { 0 };
        let problem = self.problem([logits, gradient_or_none, label_address, 0, 0, 0, 0, losses, margins, partials, 0]);
        let most = module.kernel(&self.kernel).and_then(|kernel| kernel.max_threads()).unwrap_or(self.block);
        let shape = (self.grid, self.block.min(most), self.shared);
        launch(module, &self.kernel, shape, &[Argument::Bytes(&problem)], &mut memory, options)
            .map_err(|fault| fault.to_string())?;

        let read = |address: u64, count: usize| -> Vec<f64> {
            let bytes = crate::support::download(&memory, address, count * element.size());
            bytes.chunks(element.size()).map(|bytes| element.decode(bytes)).collect()
        };
        let found_losses = read(losses, rows);
        let found_margins = download_all::<f32>(&memory, margins, rows);
        let found_gradient = if with_gradient { read(gradient, count) } else { Vec::new() };
        let mut total = [0.0, 0.0];
        for row in 0..rows {
            let place = |class: usize| (row / inner * classes + class) * inner + row % inner;
            let z: Vec<f64> = (0..classes).map(|class| values[place(class)]).collect();
            let expected = expected(&z, labels[row], self.smoothing);
            let close = |what: &str, found: f64, expected: f64, scale: f64| {
                if (found - expected).abs() <= element.tolerance() * scale {
                    return Ok(());
                }
                Err(format!("{what} of row {row} of {classes} classes is {found:e}, expected {expected:e}"))
            };
            close("loss", found_losses[row], expected.loss, 1.0 + expected.loss.abs())?;
            if labels[row] >= 0 {
                total[0] += expected.loss;
                total[1] += 1.0;
                // margins are f32 whatever the logits are
                let scale = (1.0 + expected.margin.abs()) * (1e-6 / element.tolerance()).max(1.0);
                close("margin", found_margins[row].into(), expected.margin, scale)?;
            }
            if with_gradient {
                let largest = expected.gradient.iter().fold(1e-30, |most: f64, g| most.max(g.abs()));
                for (class, expected) in expected.gradient.iter().enumerate() {
                    // the smallest halves have few digits, and small sums of large terms
                    let scale = expected.abs() + 1e-2 * largest;
                    close(&format!("gradient for class {class}"), found_gradient[place(class)], *expected, scale)?;
                }
            }
        }
        let sums = download_all::<f64>(&memory, partials, 2 * self.grid as usize);
        for (place, expected) in total.into_iter().enumerate() {
            let found: f64 = sums.iter().skip(place).step_by(2).sum();
            if (found - expected).abs() > 1e-4 * (1.0 + expected.abs()) {
                return Err(format!("partial sums {place} are {found}, expected {expected}"));
            }
        }
        Ok(())
    }
}

/// Counts the rows that aren't ignored: every third is. Returns what the kernel found.
pub fn run_sum_of_weights(
    rows: usize,
    (grid, block): (u32, u32),
    run: impl FnOnce((u32, u32, u32), &[Argument<'_>], &mut Memory) -> Result<(), String>,
) -> Result<f64, String> {
    let mut memory = Memory::new();
    let labels: Vec<i32> = (0..rows).map(|row| if row % 3 == 1 { IGNORED as i32 } else { row as i32 % 10 }).collect();
    let labels = upload_all(&mut memory, &labels);
    let case = Case {
        kernel: "sum_of_weights".into(),
        element: Element::F32,
        rows,
        classes: 10,
        inner: 1,
        lanes: 0,
        grid,
        block,
        shared: 0,
        offset: 0,
        in_place: false,
        smoothing: 0.0,
    };
    let problem = case.problem([0, 0, labels, 0, 0, 0, 0, 0, 0, 0, 0]);
    let partials = memory.allocate(8 * grid as usize).expect("memory");
    let total = memory.allocate(8).expect("memory");
    let arguments = [Argument::Bytes(&problem), Argument::Address(partials), Argument::Address(total)];
    run((grid, block, 0), &arguments, &mut memory)?;
    if grid == 1 {
        return Ok(download_all::<f64>(&memory, total, 1)[0]);
    }
    Ok(download_all::<f64>(&memory, partials, grid as usize).iter().sum())
}

struct Expected {
    loss: f64,
    margin: f64,
    gradient: Vec<f64>,
}

/// The encouraging loss of one row, straight from its definition: the reference in the package does better far out.
fn expected(z: &[f64], label: i32, smoothing: f64) -> Expected {
    let classes = z.len();
    if label < 0 {
        return Expected { loss: 0.0, margin: 0.0, gradient: vec![0.0; classes] };
    }
    let mut sum = Expected { loss: 0.0, margin: 0.0, gradient: vec![0.0; classes] };
    for class in 0..classes {
        let at_label = class == label as usize;
        let weight = smoothing / classes as f64 + if at_label { 1.0 - smoothing } else { 0.0 };
        if weight == 0.0 {
            continue;
        }
        let others = z.iter().enumerate().filter(|(other, _)| *other != class).map(|(_, z)| *z);
        let most = others.clone().fold(f64::NEG_INFINITY, f64::max);
        let total: f64 = others.map(|z| (z - most).exp()).sum();
        let m = most + total.ln() - z[class];
        let p = 1.0 / (1.0 + m.exp());
        let (loss, slope) = if p <= LOG_END {
            (m, 1.0)
        } else {
            let bend = (1.0 - LOG_END).ln() - (p - LOG_END) / (1.0 - LOG_END);
            (m.max(0.0) + (-m.abs()).exp().ln_1p() + bend, (1.0 - p) * (1.0 + p / (1.0 - LOG_END)))
        };
        sum.loss += weight * loss;
        if at_label {
            sum.margin = -m;
        }
        for (other, gradient) in sum.gradient.iter_mut().enumerate() {
            *gradient += weight * slope * if other == class { -1.0 } else { (z[other] - most).exp() / total };
        }
    }
    sum
}
