//! Some consecutive rows and what is known of each: the step between the statistics of the logits and the gradient.

use std::mem::MaybeUninit;

use super::isa::with_isa;
use super::lane::Lane;
use super::simd::{Packed, Simd};
use crate::loss::margin::{Form, MarginLoss};

/// Rows of a batch, at most.
pub const MOST_ROWS: usize = 512;
/// In place of the class of a row that is ignored.
pub const IGNORED: usize = usize::MAX;
/// e^m is not a normal number below; rare enough to be left to the C library.
const LOWEST_MARGIN_LOSS: f64 = -700.0;

/// Room of a column: not a multiple of 4096 bytes, or the same row of all columns shares one set of the first cache.
const COLUMN: usize = MOST_ROWS + 8;

/// One number per row, of which the first few are in use.
pub struct Column<X>([MaybeUninit<X>; COLUMN]);

impl<X: Copy> Column<X> {
    pub const fn new() -> Self {
        Column([const { MaybeUninit::uninit() }; COLUMN])
    }

    /// The first `n`, all of this value.
    #[inline(always)]
    pub fn fill(&mut self, n: usize, value: X) -> &mut [X] {
        for x in &mut self.0[..n] {
            x.write(value);
        }
        // SAFETY: just written.
        unsafe { &mut *(&raw mut self.0[..n] as *mut [X]) }
    }

    /// # Safety
    /// `fill` has been called with no fewer.
    #[inline(always)]
    pub unsafe fn first(&self, n: usize) -> &[X] {
        // SAFETY: the caller's.
        unsafe { &*(&raw const self.0[..n] as *const [X]) }
    }

    /// # Safety
    /// `fill` has been called with no fewer.
    #[inline(always)]
    pub unsafe fn first_mut(&mut self, n: usize) -> &mut [X] {
        // SAFETY: the caller's.
        unsafe { &mut *(&raw mut self.0[..n] as *mut [X]) }
    }
}

/// The rows `start..start + len`. All columns hold `len` numbers once [`Batch::begin`] has run.
pub struct Batch {
    pub start: usize,
    pub len: usize,
    classes: Column<usize>,
    weights: Column<f64>,
    /// Gradient of the row's weighted loss in the output, times its gradient upstream.
    scales: Column<f64>,
    label_logits: Column<f64>,
    references: Column<f64>,
    sums: Column<f64>,
    margin_losses: Column<f64>,
    losses: Column<f64>,
    slopes: Column<f64>,
}

macro_rules! columns {
    ($($name:ident $($name_mut:ident)?: $type:ty, $doc:expr;)*) => {$(
        #[doc = $doc]
        #[inline(always)]
        pub fn $name(&self) -> &[$type] {
            // SAFETY: `begin` fills `len` numbers of every column.
            unsafe { self.$name.first(self.len) }
        }
        $(
            #[doc = $doc]
            #[inline(always)]
            pub fn $name_mut(&mut self) -> &mut [$type] {
                // SAFETY: `begin` fills `len` numbers of every column.
                unsafe { self.$name.first_mut(self.len) }
            }
        )?
    )*};
}

impl Batch {
    /// No rows.
    pub const fn new() -> Self {
        Batch {
            start: 0,
            len: 0,
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

    /// `len` rows from `start` on, none of which counts yet.
    #[inline(always)]
    pub fn begin(&mut self, start: usize, len: usize) {
        self.classes.fill(len, IGNORED);
        self.weights.fill(len, 0.0);
        self.scales.fill(len, 0.0);
        self.label_logits.fill(len, 0.0);
        self.references.fill(len, 0.0);
        self.sums.fill(len, 1.0);
        self.margin_losses.fill(len, 0.0);
        self.losses.fill(len, 0.0);
        self.slopes.fill(len, 0.0);
        (self.start, self.len) = (start, len);
    }

    columns! {
        classes classes_mut: usize, "The labels, [`IGNORED`] where a row does not count.";
        weights weights_mut: f64, "The class weights of the labels.";
        label_logits label_logits_mut: f64, "z_y.";
        references references_mut: f64, "What was taken from the logits before the exponential function.";
        sums sums_mut: f64, "Σ exp(z_j − reference) over the other classes.";
        margin_losses margin_losses_mut: f64, "m.";
        losses: f64, "weight · f(m).";
        slopes: f64, "weight · scale · f′(m).";
    }

    /// References and sums.
    #[inline(always)]
    pub fn statistics_mut(&mut self) -> (&mut [f64], &mut [f64]) {
        // SAFETY: `begin` fills `len` numbers of every column.
        unsafe { (self.references.first_mut(self.len), self.sums.first_mut(self.len)) }
    }

    /// What the slope of a row is multiplied with.
    #[inline(always)]
    pub fn set_scale(&mut self, row: usize, scale: f64) {
        // SAFETY: `begin` fills `len` numbers of every column.
        unsafe { self.scales.first_mut(self.len)[row] = scale };
    }

    /// The statistics of the row are numbers, so that m is one as well.
    #[inline(always)]
    pub fn is_regular(&self, row: usize) -> bool {
        self.sums()[row] > 0.0
            && self.sums()[row] < f64::INFINITY
            && self.references()[row].is_finite()
            && self.label_logits()[row].is_finite()
    }
}

with_isa! {
    /// m of every row from its statistics; in irregular rows some number.
    ///
    /// # Safety
    /// The instruction set is available.
    fn margin_losses<T: Packed>(batch: &mut Batch) = margin_losses_in;
    /// Weighted losses and slopes of every row from its m; in irregular rows some numbers.
    ///
    /// # Safety
    /// The instruction set is available.
    fn losses<T: Packed>(f: &MarginLoss<f64>, lanes: &MarginLoss<Lane>, batch: &mut Batch) = losses_in;
}

#[inline(always)]
#[expect(clippy::extra_unused_type_parameters, reason = "with_isa! gives one; always f32")]
unsafe fn margin_losses_in<S: Simd, T: Packed>(batch: &mut Batch) {
    let n = batch.len;
    // SAFETY: `begin` filled the columns.
    unsafe {
        let (references, sums) = (batch.references.first(n), batch.sums.first(n));
        let (label_logits, m) = (batch.label_logits.first(n), batch.margin_losses.first_mut(n));
        for row in 0..n {
            m[row] = (references[row] - label_logits[row]) + Lane(sums[row]).ln().0;
        }
    }
}

#[inline(always)]
#[expect(clippy::extra_unused_type_parameters, reason = "with_isa! gives one; always f32")]
unsafe fn losses_in<S: Simd, T: Packed>(f: &MarginLoss<f64>, lanes: &MarginLoss<Lane>, batch: &mut Batch) {
    let n = batch.len;
    // SAFETY: `begin` filled the columns.
    unsafe {
        let (m, weights, scales) = (batch.margin_losses.first(n), batch.weights.first(n), batch.scales.first(n));
        let (losses, slopes) = (batch.losses.first_mut(n), batch.slopes.first_mut(n));
        macro_rules! each_row {
            ($form:expr) => {{
                let f = lanes.with_form($form);
                for row in 0..n {
                    losses[row] = weights[row] * f.value(Lane(m[row])).0;
                    slopes[row] = weights[row] * scales[row] * f.derivative(Lane(m[row])).0;
                }
            }};
        }
        match lanes.form() {
            Form::CrossEntropy => each_row!(Form::CrossEntropy),
            Form::Log => each_row!(Form::Log),
            Form::LogUntil(tangent) => each_row!(Form::LogUntil(tangent)),
            Form::Power(power) => each_row!(Form::Power(power)),
            Form::Cosine => each_row!(Form::Cosine),
        }
        for row in 0..n {
            if m[row] < LOWEST_MARGIN_LOSS {
                losses[row] = weights[row] * f.value(m[row]);
                slopes[row] = weights[row] * scales[row] * f.derivative(m[row]);
            }
        }
    }
}
