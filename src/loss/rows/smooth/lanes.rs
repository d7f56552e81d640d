//! Kernels for tiles, a lane for each row: they work in place on the scratch area, class by class.

use super::super::exp::exp;
use super::super::isa::with_isa;
use super::super::simd::{Packed, Simd, Vector};
use super::curve::{Curve, LARGEST};
use crate::loss::element::{Arithmetic, Real};

/// Terms that are added up in one register before they go to a second one: keeps f32 sums of many terms exact.
const GROUP: usize = 16;

/// Some classes of the rows of a tile: class `first + i` of row `row` at `numbers[i·pitch + row]`.
#[derive(Clone, Copy)]
pub struct Block<R> {
    pub numbers: *mut R,
    pub pitch: usize,
    pub classes: usize,
    /// Up to a whole register more are computed with.
    pub rows: usize,
    /// Index of the first class.
    pub first: usize,
    /// Of these classes; 1 without class weights.
    pub weights: *const R,
    pub weighted: bool,
    pub curve: Curve<R>,
}

/// One number per row each.
#[derive(Clone, Copy)]
pub struct Columns<R> {
    /// The label's class, −1 for none.
    pub labels: *mut R,
    /// The largest logit but for the label's; kept from block to block.
    pub references: *mut R,
    pub label_logits: *mut R,
    /// Of the other classes: Σ exp(z_j − reference), Σ w_j·(z_j − reference).
    pub sums: *mut R,
    pub distances: *mut R,
    /// Of all classes: 1/Σ exp(z_j − reference), and ln of that sum.
    pub inverses: *mut R,
    pub log_sums: *mut R,
    /// Of the other classes but one with p > LARGEST.
    pub rests: *mut R,
    pub pulls: *mut R,
    pub bonuses: *mut R,
    pub products: *mut R,
    /// The weight of the class with p > LARGEST, 0 for none.
    pub top_weights: *mut R,
    /// The gradient of the others is exp(z − reference)·factor − w·(share + bonus_share·r(p)).
    pub factors: *mut R,
    pub shares: *mut R,
    pub bonus_shares: *mut R,
    pub label_gradients: *mut R,
    pub top_gradients: *mut R,
}

impl<R> Columns<R> {
    /// Columns there are.
    pub const COUNT: usize = 17;

    /// # Safety
    /// `numbers` holds `COUNT` columns, `pitch` apart.
    pub unsafe fn new(numbers: *mut R, pitch: usize) -> Self {
        // SAFETY: the caller's.
        let column = |i: usize| unsafe { numbers.add(i * pitch) };
        Columns {
            labels: column(0),
            references: column(1),
            label_logits: column(2),
            sums: column(3),
            distances: column(4),
            inverses: column(5),
            log_sums: column(6),
            rests: column(7),
            pulls: column(8),
            bonuses: column(9),
            products: column(10),
            top_weights: column(11),
            factors: column(12),
            shares: column(13),
            bonus_shares: column(14),
            label_gradients: column(15),
            top_gradients: column(16),
        }
    }
}

with_isa! {
    /// Logits become exp(z − reference), or z − reference for a power; sums and distances are those of this block.
    ///
    /// # Safety
    /// The instruction set is available; `T` is the type computed in; block and columns are valid.
    fn sums<T: Packed>(block: &Block<T::Compute>, columns: &Columns<T::Compute>) = sums_in;
    /// The same of logits whose reference is known, without sums.
    ///
    /// # Safety
    /// As [`sums`].
    fn exponentials<T: Packed>(block: &Block<T::Compute>, columns: &Columns<T::Compute>) = exponentials_in;
    /// Rests, pulls, bonuses, products and top weights of this block.
    ///
    /// # Safety
    /// As [`sums`].
    fn bonuses<T: Packed>(block: &Block<T::Compute>, columns: &Columns<T::Compute>) = bonuses_in;
    /// The gradient in place of the numbers.
    ///
    /// # Safety
    /// As [`sums`].
    fn gradient<T: Packed>(block: &Block<T::Compute>, columns: &Columns<T::Compute>) = gradient_in;
    /// A column in f64.
    ///
    /// # Safety
    /// The instruction set is available; both columns hold `rows` numbers.
    fn to_f64<T: Packed>(from: *const T::Compute, to: *mut f64, rows: usize) = to_f64_in;
    /// A column in the type computed in.
    ///
    /// # Safety
    /// As [`to_f64`].
    fn from_f64<T: Packed>(from: *const f64, to: *mut T::Compute, rows: usize) = from_f64_in;
}

#[inline(always)]
unsafe fn to_f64_in<S: Simd, T: Packed>(from: *const T::Compute, to: *mut f64, rows: usize) {
    for row in 0..rows {
        // SAFETY: the caller's.
        unsafe { to.add(row).write(from.add(row).read().to_f64()) };
    }
}

#[inline(always)]
unsafe fn from_f64_in<S: Simd, T: Packed>(from: *const f64, to: *mut T::Compute, rows: usize) {
    for row in 0..rows {
        // SAFETY: the caller's.
        unsafe { to.add(row).write(T::Compute::from_f64(from.add(row).read())) };
    }
}

#[inline(always)]
unsafe fn splat_index<V: Vector>(class: usize) -> V {
    // SAFETY: the caller's.
    unsafe { V::splat(V::Real::from_f64(class as f64)) }
}

/// What stays in the scratch area: exp(d), or d itself for a power; nothing of the label.
#[inline(always)]
unsafe fn kept<V: Vector>(curve: &Curve<V::Real>, d: V, e: V, class: V, label: V) -> V {
    // SAFETY: the caller's.
    unsafe { if curve.is_power() { class.if_equal(label, V::splat(V::Real::NEG_INFINITY), d) } else { e } }
}

#[inline(always)]
unsafe fn sums_in<S: Simd, T: Packed>(block: &Block<T::Compute>, columns: &Columns<T::Compute>) {
    let lanes = T::Vector::<S>::LANES;
    // SAFETY: the caller's.
    unsafe {
        let zero = T::Vector::<S>::splat(T::Compute::ZERO);
        let masked = T::Vector::<S>::splat(T::Compute::NEG_INFINITY);
        for row in (0..block.rows).step_by(lanes) {
            let numbers = block.numbers.add(row);
            let label = T::Vector::<S>::load(columns.labels.add(row));
            let mut reference = T::Vector::<S>::load(columns.references.add(row));
            let mut label_logit = T::Vector::<S>::load(columns.label_logits.add(row));
            for i in 0..block.classes {
                let z = T::Vector::<S>::load(numbers.add(i * block.pitch));
                let class = splat_index::<T::Vector<S>>(block.first + i);
                reference = class.if_equal(label, masked, z).max(reference);
                label_logit = class.if_equal(label, z, label_logit);
            }
            reference.store(columns.references.add(row));
            label_logit.store(columns.label_logits.add(row));
            let (mut sum, mut distance) = (zero, zero);
            let mut i = 0;
            while i < block.classes {
                let end = (i + GROUP).min(block.classes);
                let (mut group_sum, mut group_distance) = (zero, zero);
                while i < end {
                    let at = numbers.add(i * block.pitch);
                    let class = splat_index::<T::Vector<S>>(block.first + i);
                    let d = T::Vector::<S>::load(at).sub(reference);
                    let e = class.if_equal(label, zero, exp(d));
                    let w = T::Vector::<S>::splat(block.weights.add(i).read());
                    group_sum = group_sum.add(e);
                    group_distance = w.mul_add(class.if_equal(label, zero, d), group_distance);
                    kept(&block.curve, d, e, class, label).store(at);
                    i += 1;
                }
                sum = sum.add(group_sum);
                distance = distance.add(group_distance);
            }
            sum.store(columns.sums.add(row));
            distance.store(columns.distances.add(row));
        }
    }
}

#[inline(always)]
unsafe fn exponentials_in<S: Simd, T: Packed>(block: &Block<T::Compute>, columns: &Columns<T::Compute>) {
    let lanes = T::Vector::<S>::LANES;
    // SAFETY: the caller's.
    unsafe {
        let zero = T::Vector::<S>::splat(T::Compute::ZERO);
        for row in (0..block.rows).step_by(lanes) {
            let label = T::Vector::<S>::load(columns.labels.add(row));
            let reference = T::Vector::<S>::load(columns.references.add(row));
            for i in 0..block.classes {
                let at = block.numbers.add(i * block.pitch + row);
                let class = splat_index::<T::Vector<S>>(block.first + i);
                let d = T::Vector::<S>::load(at).sub(reference);
                let e = class.if_equal(label, zero, exp(d));
                kept(&block.curve, d, e, class, label).store(at);
            }
        }
    }
}

/// exp(z − reference), p and, for a power, ln p.
#[inline(always)]
unsafe fn softmax<V: Vector>(curve: &Curve<V::Real>, kept: V, inverse: V, log_sum: V) -> (V, V, V) {
    // SAFETY: the caller's.
    unsafe {
        let e = if curve.is_power() { exp(kept) } else { kept };
        (e, e.mul(inverse), kept.sub(log_sum))
    }
}

#[inline(always)]
unsafe fn bonuses_in<S: Simd, T: Packed>(block: &Block<T::Compute>, columns: &Columns<T::Compute>) {
    let lanes = T::Vector::<S>::LANES;
    let curve = block.curve;
    // the logarithm of a product costs one logarithm, not one for each factor
    let as_product = matches!(curve, Curve::Log) && !block.weighted;
    // SAFETY: the caller's.
    unsafe {
        let zero = T::Vector::<S>::splat(T::Compute::ZERO);
        let one = T::Vector::<S>::splat(T::Compute::ONE);
        let largest = T::Vector::<S>::splat(T::Compute::from_f64(LARGEST));
        let masked = T::Vector::<S>::splat(T::Compute::NEG_INFINITY);
        for row in (0..block.rows).step_by(lanes) {
            let numbers = block.numbers.add(row);
            let inverse = T::Vector::<S>::load(columns.inverses.add(row));
            let log_sum = T::Vector::<S>::load(columns.log_sums.add(row));
            let (mut rest, mut bonus) = (zero, zero);
            // Σ p/q as a fraction: pull/product
            let (mut pull, mut product) = (zero, one);
            let mut top_weight = zero;
            let mut i = 0;
            while i < block.classes {
                let end = (i + GROUP).min(block.classes);
                let mut group = zero;
                while i < end {
                    let kept = T::Vector::<S>::load(numbers.add(i * block.pitch));
                    let (_, p, log_p) = softmax(&curve, kept, inverse, log_sum);
                    let w = T::Vector::<S>::splat(block.weights.add(i).read());
                    top_weight = largest.if_less(p, w, top_weight);
                    let log_p = largest.if_less(p, masked, log_p);
                    let p = largest.if_less(p, zero, p);
                    group = group.add(p);
                    if as_product {
                        let q = one.sub(p);
                        pull = pull.mul_add(q, product.mul(p));
                        product = product.mul(q);
                    } else {
                        bonus = w.mul_add(curve.value(p, log_p), bonus);
                        pull = w.mul_add(curve.pull(p, log_p), pull);
                    }
                    i += 1;
                }
                rest = rest.add(group);
            }
            rest.store(columns.rests.add(row));
            bonus.store(columns.bonuses.add(row));
            pull.div(product).store(columns.pulls.add(row));
            product.store(columns.products.add(row));
            top_weight.store(columns.top_weights.add(row));
        }
    }
}

#[inline(always)]
unsafe fn gradient_in<S: Simd, T: Packed>(block: &Block<T::Compute>, columns: &Columns<T::Compute>) {
    let lanes = T::Vector::<S>::LANES;
    // SAFETY: the caller's.
    unsafe {
        let largest = T::Vector::<S>::splat(T::Compute::from_f64(LARGEST));
        for row in (0..block.rows).step_by(lanes) {
            let column = |column: *mut T::Compute| column.add(row);
            let label = T::Vector::<S>::load(column(columns.labels));
            let inverse = T::Vector::<S>::load(column(columns.inverses));
            let log_sum = T::Vector::<S>::load(column(columns.log_sums));
            let factor = T::Vector::<S>::load(column(columns.factors));
            let share = T::Vector::<S>::load(column(columns.shares));
            let bonus_share = T::Vector::<S>::load(column(columns.bonus_shares));
            let label_gradient = T::Vector::<S>::load(column(columns.label_gradients));
            let top_gradient = T::Vector::<S>::load(column(columns.top_gradients));
            for i in 0..block.classes {
                let at = block.numbers.add(i * block.pitch + row);
                let class = splat_index::<T::Vector<S>>(block.first + i);
                let w = T::Vector::<S>::splat(block.weights.add(i).read());
                let (e, p, log_p) = softmax(&block.curve, T::Vector::<S>::load(at), inverse, log_sum);
                let r = block.curve.pull(p, log_p);
                let g = e.mul(factor).sub(w.mul(bonus_share.mul_add(r, share)));
                let g = largest.if_less(p, top_gradient, g);
                class.if_equal(label, label_gradient, g).store(at);
            }
        }
    }
}
