//! The step between the sums over the classes of each row and its loss and gradient; registers of rows, in f64.

use std::mem::MaybeUninit;

use super::super::batch::{Batch, MOST_ROWS};
use super::super::isa::with_isa;
use super::super::lane::Lane;
use super::super::simd::{Packed, Simd, Vector};
use crate::loss::element::Arithmetic;

/// Lanes of the widest register of f64: columns are computed with in whole registers.
const MOST_F64_LANES: usize = 8;

/// One number per row; not a multiple of 4096 bytes, or the same row of all columns shares one set of the first cache.
#[repr(align(64))]
pub struct Column([MaybeUninit<f64>; MOST_ROWS + MOST_F64_LANES]);

impl Column {
    const fn new() -> Self {
        Column([MaybeUninit::uninit(); MOST_ROWS + MOST_F64_LANES])
    }

    /// As many numbers as whole registers of `n` rows hold.
    #[inline(always)]
    fn fill(&mut self, n: usize, value: f64) {
        for x in &mut self.0[..n.next_multiple_of(MOST_F64_LANES)] {
            x.write(value);
        }
    }

    #[inline(always)]
    pub fn pointer(&self) -> *const f64 {
        self.0.as_ptr().cast()
    }

    #[inline(always)]
    pub fn pointer_mut(&mut self) -> *mut f64 {
        self.0.as_mut_ptr().cast()
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
    pub distances: Column,
    /// Σ p_j over the rest.
    pub rests: Column,
    /// Σ w_j·r(p_j) over the rest.
    pub pulls: Column,
    /// Σ w_j·b(p_j) over the rest, but for ln of the product.
    pub bonuses: Column,
    /// Π (1 − p_j) over the rest, where that is how the bonus is added up.
    pub products: Column,
    /// 1 where another class than the label has p > LARGEST, else 0.
    pub tops: Column,
    pub top_weights: Column,
    /// ln Σ exp(z_j − reference) over all classes.
    pub log_sums: Column,
    /// 1/Σ exp(z_j − reference) over all classes.
    pub inverses: Column,
    /// p and 1 − p of the label.
    label_shares: Column,
    label_rests: Column,
    /// The weighted loss.
    losses: Column,
    /// What exp(z_j − reference) is multiplied by in the gradient of the rest.
    pub factors: Column,
    pub label_gradients: Column,
    pub top_gradients: Column,
}

macro_rules! columns {
    ($($name:ident)*; mut $($field:ident $name_mut:ident)*) => {
        $(
            #[inline(always)]
            pub fn $name(&self) -> &[f64] {
                // SAFETY: `begin` initialised as many numbers of every column.
                unsafe { std::slice::from_raw_parts(self.$name.pointer(), self.len) }
            }
        )*
        $(
            #[inline(always)]
            pub fn $name_mut(&mut self) -> &mut [f64] {
                // SAFETY: as above.
                unsafe { std::slice::from_raw_parts_mut(self.$field.pointer_mut(), self.len) }
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
        distances rests tops log_sums inverses losses factors label_gradients top_gradients label_shares;
        mut losses losses_mut distances distances_mut rests rests_mut pulls pulls_mut bonuses bonuses_mut
            products products_mut tops tops_mut top_weights top_weights_mut log_sums log_sums_mut inverses inverses_mut
    }

    /// The loss is a number, and the top class' 1 − p, where there is one, has all its digits.
    #[inline(always)]
    pub fn is_regular(&self, row: usize, smallest: f64) -> bool {
        let rest = self.rests()[row] + self.label_shares()[row];
        self.losses()[row].is_finite() && (self.tops()[row] == 0.0 || rest >= smallest)
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
    /// The rows' top classes as a batch of their own: m and a. Without a top class that is nothing.
    ///
    /// # Safety
    /// The instruction set is available.
    fn tops<T: Packed>(smoothing: &Smoothing, batch: &Batch, facts: &Facts, tops: &mut Batch) = tops_in;
    /// Losses and numbers of the gradient. Returns whether all are numbers, and no top class' 1 − p below `smallest`.
    ///
    /// # Safety
    /// The instruction set is available.
    fn resolve<T: Packed>(
        smoothing: &Smoothing, batch: &Batch, tops: Option<&Batch>, facts: &mut Facts, smallest: f64
    ) -> bool = resolve_in;
}

#[inline(always)]
unsafe fn normalise_in<S: Simd, T: Packed>(batch: &Batch, facts: &mut Facts) {
    // SAFETY: the caller's; columns are initialised up to whole registers.
    unsafe {
        let load = |from: *const f64| Lane::<S::F64, T::Compute>::new(S::F64::load(from));
        let (zero, one) = (Lane::from_f64(0.0), Lane::from_f64(1.0));
        for row in (0..facts.len).step_by(S::F64::LANES) {
            let m = load(batch.margin_losses.pointer().add(row));
            let small = (-m.abs()).exp();
            let large = one / (one + small);
            let small_part = small * large;
            let positive = zero.if_less(m, m, zero);
            let distance = load(batch.label_logits.pointer().add(row)) - load(batch.references.pointer().add(row));
            // z_y − reference + cross entropy of the label
            let log_sum = distance + (positive + small.ln_1p());
            log_sum.0.store(facts.log_sums.pointer_mut().add(row));
            (-log_sum).exp().0.store(facts.inverses.pointer_mut().add(row));
            zero.if_less(m, small_part, large).0.store(facts.label_shares.pointer_mut().add(row));
            zero.if_less(m, large, small_part).0.store(facts.label_rests.pointer_mut().add(row));
        }
    }
}

#[inline(always)]
unsafe fn tops_in<S: Simd, T: Packed>(smoothing: &Smoothing, batch: &Batch, facts: &Facts, tops: &mut Batch) {
    tops.begin(0, facts.len);
    tops.some_ignored = false;
    // SAFETY: the caller's; columns are initialised up to whole registers.
    unsafe {
        let load = |from: *const f64| Lane::<S::F64, T::Compute>::new(S::F64::load(from));
        let (zero, one) = (Lane::from_f64(0.0), Lane::from_f64(1.0));
        for row in (0..facts.len).step_by(S::F64::LANES) {
            let q = load(facts.rests.pointer().add(row)) + load(facts.label_shares.pointer().add(row));
            let has_top = load(facts.tops.pointer().add(row));
            let q = zero.if_less(has_top, q, Lane::from_f64(0.5));
            (q.ln() - (one - q).ln()).0.store(tops.margin_losses.pointer_mut().add(row));
            let weight = load(facts.top_weights.pointer().add(row)) * Lane::from_f64(smoothing.share);
            weight.0.store(tops.weights.pointer_mut().add(row));
            load(batch.scales.pointer().add(row)).0.store(tops.scales.pointer_mut().add(row));
        }
    }
}

#[inline(always)]
unsafe fn resolve_in<S: Simd, T: Packed>(
    smoothing: &Smoothing,
    batch: &Batch,
    tops: Option<&Batch>,
    facts: &mut Facts,
    smallest: f64,
) -> bool {
    // SAFETY: the caller's; columns are initialised up to whole registers.
    unsafe {
        let load = |from: *const f64| Lane::<S::F64, T::Compute>::new(S::F64::load(from));
        let of = |x: f64| Lane::<S::F64, T::Compute>::from_f64(x);
        let (zero, nan) = (of(0.0), of(f64::NAN));
        let (share, label_share) = (of(smoothing.share), of(smoothing.label_share));
        let (rho, weights) = (of(smoothing.bonus_weight), of(smoothing.weights));
        // what is larger than this is infinite in single precision, and so made infinite
        let excess = of(f64::MAX / f64::from(f32::MAX));
        let mut trouble = zero;
        for row in (0..facts.len).step_by(S::F64::LANES) {
            let weight = weights - load(batch.weights.pointer().add(row)) - load(facts.top_weights.pointer().add(row));
            let scale = load(batch.scales.pointer().add(row));
            let inverse = load(facts.inverses.pointer().add(row));
            let p_label = load(facts.label_shares.pointer().add(row));
            let bonus = load(facts.bonuses.pointer().add(row)) + load(facts.products.pointer().add(row)).ln();
            let distance = load(facts.distances.pointer().add(row));
            let entropy = weight * load(facts.log_sums.pointer().add(row)) - distance;
            let mut loss = label_share * load(batch.losses.pointer().add(row)) + share * (entropy + rho * bonus);
            let slope = label_share * load(batch.slopes.pointer().add(row));
            let pull = scale * share * (weight + rho * load(facts.pulls.pointer().add(row)));
            let mut factor = pull * inverse + slope / load(batch.sums.pointer().add(row));
            let mut label_gradient = p_label * pull - slope;
            if let Some(tops) = tops {
                let has_top = load(facts.tops.pointer().add(row));
                let q = load(facts.rests.pointer().add(row)) + p_label;
                let top_slope = load(tops.slopes.pointer().add(row));
                let from_top = zero.if_less(has_top, top_slope / q, zero);
                loss = loss + zero.if_less(has_top, load(tops.losses.pointer().add(row)), zero);
                factor = factor + from_top * inverse;
                label_gradient = label_gradient + from_top * p_label;
                // p, and that among the others
                let p = of(1.0) - q;
                let among_others = p / load(facts.label_rests.pointer().add(row));
                let top_gradient = zero.if_less(has_top, p * pull + slope * among_others - top_slope, zero);
                top_gradient.0.store(facts.top_gradients.pointer_mut().add(row));
                let low = zero.if_less(has_top, q.if_less(of(smallest), nan, zero), zero);
                trouble = trouble + low + top_gradient * excess * zero;
            }
            loss.0.store(facts.losses.pointer_mut().add(row));
            factor.0.store(facts.factors.pointer_mut().add(row));
            label_gradient.0.store(facts.label_gradients.pointer_mut().add(row));
            trouble = trouble + loss * zero + factor * excess * zero + label_gradient * excess * zero;
        }
        trouble.0.sum() == 0.0
    }
}
