//! The step between the sums over the classes of each row and its loss and gradient; loops over the rows of a batch
//! that the compiler puts into registers.

use std::mem::MaybeUninit;

use super::super::batch::{Batch, MOST_ROWS};
use super::super::isa::with_isa;
use super::super::simd::{Packed, Simd};
use super::number::{exp, ln, ln_1p};

/// One number per row; not a multiple of 4096 bytes, or the same row of all columns shares one set of the first cache.
struct Column([MaybeUninit<f64>; MOST_ROWS + 8]);

impl Column {
    const fn new() -> Self {
        Column([MaybeUninit::uninit(); MOST_ROWS + 8])
    }

    #[inline(always)]
    fn fill(&mut self, n: usize, value: f64) {
        for x in &mut self.0[..n] {
            x.write(value);
        }
    }

    /// # Safety
    /// `fill` has been called with no fewer.
    #[inline(always)]
    unsafe fn first(&self, n: usize) -> &[f64] {
        // SAFETY: the caller's.
        unsafe { &*(&raw const self.0[..n] as *const [f64]) }
    }

    /// # Safety
    /// `fill` has been called with no fewer.
    #[inline(always)]
    unsafe fn first_mut(&mut self, n: usize) -> &mut [f64] {
        // SAFETY: the caller's.
        unsafe { &mut *(&raw mut self.0[..n] as *mut [f64]) }
    }
}

/// What the rows of a batch have in common.
#[derive(Clone, Copy, Debug)]
pub struct Smoothing {
    /// ε/C
    pub share: f64,
    /// 1 − ε + ε/C
    pub label_share: f64,
    /// ρ
    pub bonus_weight: f64,
    /// Σ w_j over all classes.
    pub weights: f64,
}

/// One number per row each. *Others* are the classes but the label; *rest* are the others without the top class,
/// where there is one.
pub struct Facts {
    len: usize,
    /// Σ w_j·(z_j − reference) over the rest.
    distances: Column,
    /// Σ p_j over the rest.
    rests: Column,
    /// Σ w_j·r(p_j) over the rest.
    pulls: Column,
    /// Σ w_j·b(p_j) over the rest, but for ln of the product.
    bonuses: Column,
    /// Π (1 − p_j) over the rest, where that is how the bonus is added up.
    products: Column,
    /// 1 where another class than the label has p > LARGEST, else 0.
    tops: Column,
    top_weights: Column,
    /// ln Σ exp(z_j − reference) over all classes.
    log_sums: Column,
    /// 1/Σ exp(z_j − reference) over all classes.
    inverses: Column,
    /// p and 1 − p of the label.
    label_shares: Column,
    label_rests: Column,
    /// The weighted loss.
    losses: Column,
    /// What exp(z_j − reference) is multiplied by in the gradient of the rest.
    factors: Column,
    label_gradients: Column,
    top_gradients: Column,
}

macro_rules! columns {
    ($($name:ident)*; mut $($field:ident $name_mut:ident)*) => {
        $(
            #[inline(always)]
            pub fn $name(&self) -> &[f64] {
                // SAFETY: `begin` fills `len` numbers of every column.
                unsafe { self.$name.first(self.len) }
            }
        )*
        $(
            #[inline(always)]
            pub fn $name_mut(&mut self) -> &mut [f64] {
                // SAFETY: `begin` fills `len` numbers of every column.
                unsafe { self.$field.first_mut(self.len) }
            }
        )*
    };
}

impl Facts {
    pub const fn new() -> Self {
        Facts {
            len: 0,
            distances: Column::new(),
            rests: Column::new(),
            pulls: Column::new(),
            bonuses: Column::new(),
            products: Column::new(),
            tops: Column::new(),
            top_weights: Column::new(),
            log_sums: Column::new(),
            inverses: Column::new(),
            label_shares: Column::new(),
            label_rests: Column::new(),
            losses: Column::new(),
            factors: Column::new(),
            label_gradients: Column::new(),
            top_gradients: Column::new(),
        }
    }

    /// `len` rows of which nothing is known.
    #[inline(always)]
    pub fn begin(&mut self, len: usize) {
        self.len = len;
        self.products.fill(len, 1.0);
        for column in [
            &mut self.distances,
            &mut self.rests,
            &mut self.pulls,
            &mut self.bonuses,
            &mut self.tops,
            &mut self.top_weights,
            &mut self.log_sums,
            &mut self.inverses,
            &mut self.label_shares,
            &mut self.label_rests,
            &mut self.losses,
            &mut self.factors,
            &mut self.label_gradients,
            &mut self.top_gradients,
        ] {
            column.fill(len, 0.0);
        }
    }

    columns! {
        distances rests tops top_weights log_sums inverses losses factors label_gradients top_gradients;
        mut distances distances_mut rests rests_mut pulls pulls_mut bonuses bonuses_mut
            products products_mut tops tops_mut top_weights top_weights_mut log_sums log_sums_mut inverses inverses_mut
    }

    /// The loss is a number, and the top class' 1 − p, where there is one, has all its digits.
    #[inline(always)]
    pub fn is_regular(&self, row: usize, smallest: f64) -> bool {
        // SAFETY: `begin` fills `len` numbers of every column.
        let label = unsafe { self.label_shares.first(self.len)[row] };
        self.losses()[row].is_finite() && (self.tops()[row] == 0.0 || self.rests()[row] + label >= smallest)
    }

    /// So is the gradient.
    #[inline(always)]
    pub fn has_gradient(&self, row: usize) -> bool {
        let numbers = [self.factors()[row], self.label_gradients()[row], self.top_gradients()[row]];
        numbers.iter().all(|x| x.abs() < f64::from(f32::MAX))
    }

    /// The same row relative to a reference that is lower by so much.
    pub fn lower_reference(&mut self, row: usize, by: f64) {
        self.log_sums_mut()[row] += by;
        self.inverses_mut()[row] = (-self.log_sums()[row]).exp();
    }
}

with_isa! {
    /// The softmax' denominator, and p and 1 − p of the label, from m and the label's logit.
    ///
    /// # Safety
    /// The instruction set is available.
    fn normalise<T: Packed>(batch: &Batch, facts: &mut Facts) = normalise_in;
    /// The rows' top classes as a batch of their own: m and a. True if there is one.
    ///
    /// # Safety
    /// The instruction set is available.
    fn tops<T: Packed>(smoothing: &Smoothing, batch: &Batch, facts: &Facts, tops: &mut Batch) = tops_in;
    /// Losses and numbers of the gradient.
    ///
    /// # Safety
    /// The instruction set is available.
    fn resolve<T: Packed>(smoothing: &Smoothing, batch: &Batch, tops: Option<&Batch>, facts: &mut Facts) = resolve_in;
}

#[inline(always)]
#[expect(clippy::extra_unused_type_parameters, reason = "with_isa! gives one; always f32")]
unsafe fn normalise_in<S: Simd, T: Packed>(batch: &Batch, facts: &mut Facts) {
    let n = facts.len;
    let (m, references, label_logits) = (batch.margin_losses(), batch.references(), batch.label_logits());
    let (m, references, label_logits) = (&m[..n], &references[..n], &label_logits[..n]);
    // SAFETY: `begin` filled the columns.
    unsafe {
        let (log_sums, inverses) = (facts.log_sums.first_mut(n), facts.inverses.first_mut(n));
        let (shares, rests) = (facts.label_shares.first_mut(n), facts.label_rests.first_mut(n));
        for row in 0..n {
            let m = m[row];
            let small = exp(-m.abs());
            let large = 1.0 / (1.0 + small);
            let small_part = small * large;
            let positive = if m > 0.0 { m } else { 0.0 };
            // z_y − reference + cross entropy of the label
            let log_sum = (label_logits[row] - references[row]) + (positive + ln_1p(small));
            log_sums[row] = log_sum;
            inverses[row] = exp(-log_sum);
            shares[row] = if m > 0.0 { small_part } else { large };
            rests[row] = if m > 0.0 { large } else { small_part };
        }
    }
}

#[inline(always)]
#[expect(clippy::extra_unused_type_parameters, reason = "with_isa! gives one; always f32")]
unsafe fn tops_in<S: Simd, T: Packed>(smoothing: &Smoothing, batch: &Batch, facts: &Facts, tops: &mut Batch) {
    let n = facts.len;
    tops.begin(0, n);
    tops.some_ignored = false;
    tops.scales_mut().copy_from_slice(&batch.scales()[..n]);
    for (weight, top) in tops.weights_mut().iter_mut().zip(facts.top_weights()) {
        *weight = top * smoothing.share;
    }
    // SAFETY: `begin` filled the columns.
    unsafe {
        let (flags, rests) = (facts.tops.first(n), facts.rests.first(n));
        let shares = facts.label_shares.first(n);
        let m = tops.margin_losses_mut();
        for row in 0..n {
            // without a top class there is a harmless number
            let q = if flags[row] > 0.0 { rests[row] + shares[row] } else { 0.5 };
            m[row] = ln(q) - ln(1.0 - q);
        }
    }
}

#[inline(always)]
#[expect(clippy::extra_unused_type_parameters, reason = "with_isa! gives one; always f32")]
unsafe fn resolve_in<S: Simd, T: Packed>(
    smoothing: &Smoothing,
    batch: &Batch,
    tops: Option<&Batch>,
    facts: &mut Facts,
) {
    let n = facts.len;
    let Smoothing { share, label_share, bonus_weight, weights } = *smoothing;
    let (label_weights, sums) = (&batch.weights()[..n], &batch.sums()[..n]);
    let (label_losses, slopes) = (&batch.losses()[..n], &batch.slopes()[..n]);
    // SAFETY: `begin` filled the columns.
    unsafe {
        let (scales, log_sums) = (&batch.scales()[..n], facts.log_sums.first(n));
        let (distances, pulls) = (facts.distances.first(n), facts.pulls.first(n));
        let (bonuses, products) = (facts.bonuses.first(n), facts.products.first(n));
        let (top_weights, inverses) = (facts.top_weights.first(n), facts.inverses.first(n));
        let (label_shares, label_rests) = (facts.label_shares.first(n), facts.label_rests.first(n));
        let (flags, rests) = (facts.tops.first(n), facts.rests.first(n));
        let losses = facts.losses.first_mut(n);
        let factors = facts.factors.first_mut(n);
        let label_gradients = facts.label_gradients.first_mut(n);
        for row in 0..n {
            let weight = (weights - label_weights[row]) - top_weights[row];
            let bonus = bonuses[row] + ln(products[row]);
            let smooth = (weight * log_sums[row] - distances[row]) + bonus_weight * bonus;
            losses[row] = label_share * label_losses[row] + share * smooth;
            let slope = label_share * slopes[row];
            let pull = scales[row] * share * (weight + bonus_weight * pulls[row]);
            factors[row] = pull * inverses[row] + slope / sums[row];
            label_gradients[row] = label_shares[row] * pull - slope;
        }
        let Some(tops) = tops else { return };
        let (top_losses, top_slopes) = (&tops.losses()[..n], &tops.slopes()[..n]);
        let top_gradients = facts.top_gradients.first_mut(n);
        for row in 0..n {
            let weight = (weights - label_weights[row]) - top_weights[row];
            let pull = scales[row] * share * (weight + bonus_weight * pulls[row]);
            let slope = label_share * slopes[row];
            let q = if flags[row] > 0.0 { rests[row] + label_shares[row] } else { 1.0 };
            let from_top = if flags[row] > 0.0 { top_slopes[row] / q } else { 0.0 };
            losses[row] += if flags[row] > 0.0 { top_losses[row] } else { 0.0 };
            factors[row] += from_top * inverses[row];
            label_gradients[row] += from_top * label_shares[row];
            // p of the top class within the others is at most 1
            let p = 1.0 - q;
            top_gradients[row] = p * pull + slope * (p / label_rests[row]) - top_slopes[row];
        }
    }
}
