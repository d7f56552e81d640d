//! Some consecutive rows and what is known of each: the step between the statistics of the logits and the gradient.

use std::mem::MaybeUninit;

use super::isa::with_isa;
use super::lane::{Lane, Precision};
use super::simd::{Packed, Simd, Vector};
use crate::loss::element::{Arithmetic, Label};
use crate::loss::margin::MarginLoss;

/// Rows of a batch, at most.
pub const MOST_ROWS: usize = 512;
/// In place of the class of a row that is ignored.
pub const IGNORED: usize = usize::MAX;
/// e^m is not a normal number below; rare enough to be left to the C library.
const LOWEST_MARGIN_LOSS: f64 = -700.0;
/// Lanes of the widest register of f64: columns are computed with in whole registers.
const MOST_F64_LANES: usize = 8;

/// One number per row, of which the first few are in use.
#[repr(align(64))]
pub struct Column<X>([MaybeUninit<X>; MOST_ROWS]);

impl<X: Copy> Column<X> {
    const fn new() -> Self {
        Column([const { MaybeUninit::uninit() }; MOST_ROWS])
    }

    /// All of this value, from `start` to `end`.
    #[inline(always)]
    fn fill(&mut self, start: usize, end: usize, value: X) {
        for x in &mut self.0[start..end] {
            x.write(value);
        }
    }

    #[inline(always)]
    pub fn pointer(&self) -> *const X {
        self.0.as_ptr().cast()
    }

    #[inline(always)]
    pub fn pointer_mut(&mut self) -> *mut X {
        self.0.as_mut_ptr().cast()
    }
}

/// The rows `start..start + len`.
///
/// [`Batch::begin`] makes room; classes, weights, scales, label logits, references and sums are then filled for all
/// rows that count before [`losses`] makes the rest of them. What they hold for ignored rows does not matter.
pub struct Batch {
    pub start: usize,
    pub len: usize,
    /// Some rows are ignored.
    pub some_ignored: bool,
    /// Numbers of each column that are initialised.
    ready: usize,
    classes: Column<usize>,
    pub weights: Column<f64>,
    pub scales: Column<f64>,
    pub label_logits: Column<f64>,
    pub references: Column<f64>,
    pub sums: Column<f64>,
    pub margin_losses: Column<f64>,
    pub losses: Column<f64>,
    pub slopes: Column<f64>,
}

macro_rules! columns {
    ($($name:ident $name_mut:ident: $type:ty, $doc:expr;)*) => {$(
        #[doc = $doc]
        #[inline(always)]
        pub fn $name(&self) -> &[$type] {
            // SAFETY: `begin` initialised as many numbers of every column.
            unsafe { std::slice::from_raw_parts(self.$name.pointer(), self.len) }
        }
        #[doc = $doc]
        #[inline(always)]
        pub fn $name_mut(&mut self) -> &mut [$type] {
            // SAFETY: as above.
            unsafe { std::slice::from_raw_parts_mut(self.$name.pointer_mut(), self.len) }
        }
    )*};
}

impl Batch {
    /// No rows.
    pub const fn new() -> Self {
        Batch {
            start: 0,
            len: 0,
            some_ignored: false,
            ready: 0,
            classes: Column::new(),
            weights: Column::new(),
            scales: Column::new(),
            label_logits: Column::new(),
            references: Column::new(),
            sums: Column::new(),
            margin_losses: Column::new(),
            losses: Column::new(),
            slopes: Column::new(),
        }
    }

    /// `len` rows from `start` on.
    #[inline(always)]
    pub fn begin(&mut self, start: usize, len: usize) {
        let padded = len.next_multiple_of(MOST_F64_LANES);
        if padded > self.ready {
            self.classes.fill(self.ready, padded, IGNORED);
            self.fill_numbers(self.ready, padded);
            self.losses.fill(self.ready, padded, 0.0);
            self.slopes.fill(self.ready, padded, 0.0);
            self.ready = padded;
        }
        // what an earlier, longer batch left in the lanes after the last row may be no number
        self.fill_numbers(len, padded);
        (self.start, self.len) = (start, len);
    }

    /// Numbers that give m = 0, loss 0 and slope 0.
    #[inline(always)]
    fn fill_numbers(&mut self, start: usize, end: usize) {
        self.weights.fill(start, end, 0.0);
        self.scales.fill(start, end, 0.0);
        self.label_logits.fill(start, end, 0.0);
        self.references.fill(start, end, 0.0);
        self.sums.fill(start, end, 1.0);
        self.margin_losses.fill(start, end, 0.0);
    }

    columns! {
        classes classes_mut: usize, "The labels, [`IGNORED`] where a row does not count.";
        weights weights_mut: f64, "The class weights of the labels, 0 where a row does not count.";
        scales scales_mut: f64, "Gradient of the row's weighted loss in the output, times its gradient upstream.";
        label_logits label_logits_mut: f64, "z_y.";
        references references_mut: f64, "What was taken from the logits before the exponential function.";
        sums sums_mut: f64, "Σ exp(z_j − reference) over the other classes.";
        margin_losses margin_losses_mut: f64, "m.";
        losses losses_mut: f64, "weight · f(m).";
        slopes slopes_mut: f64, "weight · scale · f′(m).";
    }

    /// Labels and label logits.
    #[inline(always)]
    pub fn labels_mut(&mut self) -> (&[usize], &mut [f64]) {
        let Batch { classes, label_logits, len, .. } = self;
        // SAFETY: `begin` initialised as many numbers of these two columns.
        unsafe {
            (
                std::slice::from_raw_parts(classes.pointer(), *len),
                std::slice::from_raw_parts_mut(label_logits.pointer_mut(), *len),
            )
        }
    }

    /// References and sums.
    #[inline(always)]
    pub fn statistics_mut(&mut self) -> (&mut [f64], &mut [f64]) {
        let Batch { references, sums, len, .. } = self;
        // SAFETY: `begin` initialised as many numbers of these two columns.
        unsafe {
            (
                std::slice::from_raw_parts_mut(references.pointer_mut(), *len),
                std::slice::from_raw_parts_mut(sums.pointer_mut(), *len),
            )
        }
    }

    /// The statistics of the row are numbers, so that m is one as well.
    #[inline(always)]
    pub fn is_regular(&self, row: usize) -> bool {
        let sum = self.sums()[row];
        sum > 0.0 && sum < f64::INFINITY && (self.references()[row] - self.label_logits()[row]).is_finite()
    }
}

/// What [`losses`] found besides the columns.
#[derive(Clone, Copy)]
pub struct Total {
    /// Σ weight · f(m) over the regular rows.
    pub loss: f64,
    /// Σ weight over all rows.
    pub weight: f64,
    /// All rows are regular.
    pub regular: bool,
}

with_isa! {
    /// Labels → classes; the length of both is that of the batch. Returns whether all are in range or ignored.
    ///
    /// # Safety
    /// The instruction set is available.
    fn classes<L: Label>(batch: &mut Batch, labels: &[L], ignored: i64, classes: usize) -> bool = classes_in;
    /// m of every row from its statistics (or as it stands in its column, if `given`), weighted loss and slope from m.
    /// Ignored and irregular rows get m and loss 0, and some slope.
    ///
    /// # Safety
    /// The instruction set is available.
    fn losses<T: Packed>(batch: &mut Batch, f: &MarginLoss<f64>, given: bool) -> Total = losses_in;
}

#[inline(always)]
unsafe fn classes_in<S: Simd, L: Label>(batch: &mut Batch, labels: &[L], ignored: i64, classes: usize) -> bool {
    // numbers instead of bool, and no branches: the compiler puts this into registers
    let (mut ignored_rows, mut rows_in_range) = (0, 0);
    for (class, &label) in batch.classes_mut().iter_mut().zip(labels) {
        let label: i64 = label.into();
        let is_ignored = label == ignored;
        let in_range = (label as u64) < classes as u64;
        ignored_rows += u64::from(is_ignored);
        rows_in_range += u64::from(is_ignored | in_range);
        *class = if is_ignored { IGNORED } else { label as usize };
    }
    batch.some_ignored = ignored_rows > 0;
    rows_in_range == labels.len() as u64
}

#[inline(always)]
unsafe fn losses_in<S: Simd, T: Packed>(batch: &mut Batch, f: &MarginLoss<f64>, given: bool) -> Total {
    if batch.some_ignored {
        neutralise_ignored(batch);
    }
    // SAFETY: the caller's; columns are initialised up to whole registers (`begin`).
    unsafe {
        let regular = given || margin_losses::<S, T::Compute>(batch);
        let lanes = f.cast::<Lane<S::F64, T::Compute>>();
        let (lowest, mut loss, weight) = each_row::<S, T::Compute>(batch, &lanes);
        if lowest < LOWEST_MARGIN_LOSS || !regular {
            loss = again(batch, f, given);
        }
        Total { loss, weight, regular }
    }
}

#[inline(always)]
fn neutralise_ignored(batch: &mut Batch) {
    for row in 0..batch.len {
        let ignored = batch.classes()[row] == IGNORED;
        for (column, neutral) in [
            (batch.label_logits.pointer_mut(), 0.0),
            (batch.references.pointer_mut(), 0.0),
            (batch.sums.pointer_mut(), 1.0),
            (batch.margin_losses.pointer_mut(), 0.0),
        ] {
            // SAFETY: `begin` initialised as many numbers of every column.
            unsafe {
                let x = column.add(row);
                x.write(if ignored { neutral } else { x.read() });
            }
        }
    }
}

/// Returns whether all rows are regular.
///
/// # Safety
/// As [`losses`].
#[inline(always)]
unsafe fn margin_losses<S: Simd, P: Precision>(batch: &mut Batch) -> bool {
    let (references, sums) = (batch.references.pointer(), batch.sums.pointer());
    let (label_logits, m) = (batch.label_logits.pointer(), batch.margin_losses.pointer_mut());
    // SAFETY: the caller's.
    unsafe {
        let load = |from: *const f64| Lane::<S::F64, P>::new(S::F64::load(from));
        let (zero, nan) = (Lane::from_f64(0.0), Lane::from_f64(f64::NAN));
        let mut trouble = zero;
        let mut row = 0;
        while row < batch.len {
            let distance = load(references.add(row)) - load(label_logits.add(row));
            let sum = load(sums.add(row));
            (distance + sum.ln()).0.store(m.add(row));
            // 0 for numbers, NaN for what is none
            trouble = trouble + zero.if_less(sum, distance * zero + sum * zero, nan);
            row += S::F64::LANES;
        }
        trouble.0.sum() == 0.0
    }
}

/// Losses and slopes; returns the smallest m, and the sums of losses and weights.
///
/// # Safety
/// As [`losses`].
#[inline(always)]
unsafe fn each_row<S: Simd, P: Precision>(batch: &mut Batch, f: &MarginLoss<Lane<S::F64, P>>) -> (f64, f64, f64) {
    let (weights, scales) = (batch.weights.pointer(), batch.scales.pointer());
    let (margin_losses, losses) = (batch.margin_losses.pointer(), batch.losses.pointer_mut());
    let slopes = batch.slopes.pointer_mut();
    // SAFETY: the caller's.
    unsafe {
        let mut lowest = Lane::<S::F64, P>::from_f64(0.0);
        let (mut loss_total, mut weight_total) = (lowest, lowest);
        let mut row = 0;
        while row < batch.len {
            let m = Lane::new(S::F64::load(margin_losses.add(row)));
            let weight = Lane::new(S::F64::load(weights.add(row)));
            let (value, derivative) = f.value_and_derivative(m);
            let loss = weight * value;
            let slope = weight * Lane::new(S::F64::load(scales.add(row))) * derivative;
            loss.0.store(losses.add(row));
            slope.0.store(slopes.add(row));
            lowest = m.if_less(lowest, m, lowest);
            loss_total = loss_total + loss;
            weight_total = weight_total + weight;
            row += S::F64::LANES;
        }
        let lanes = lowest.0.to_array();
        let lowest = lanes[..S::F64::LANES].iter().fold(0.0, |low: f64, &m| low.min(m));
        (lowest, loss_total.0.sum(), weight_total.0.sum())
    }
}

/// Irregular rows get m and loss 0; those whose e^m is no normal number are computed with the C library. Returns the
/// sum of the losses.
#[cold]
#[inline(never)]
fn again(batch: &mut Batch, f: &MarginLoss<f64>, given: bool) -> f64 {
    let mut total = 0.0;
    for row in 0..batch.len {
        if !given && !batch.is_regular(row) {
            batch.margin_losses_mut()[row] = 0.0;
            batch.losses_mut()[row] = 0.0;
        }
        let m = batch.margin_losses()[row];
        if m < LOWEST_MARGIN_LOSS {
            batch.losses_mut()[row] = batch.weights()[row] * f.value(m);
            batch.slopes_mut()[row] = batch.weights()[row] * batch.scales()[row] * f.derivative(m);
        }
        total += batch.losses()[row];
    }
    total
}
