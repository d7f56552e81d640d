//! One row without label smoothing: statistics of the other classes → m → f, f′ → scaled row.

use super::super::super::element::{Arithmetic, Element, Real};
use super::super::{Output, Problem, Target, weighted};

/// The softmax over the classes other than the label: exp(z_j − max) / sum.
struct Others<R> {
    max: R,
    sum: f64,
}

impl<R: Real> Others<R> {
    /// Two passes: the maximum, then the sum.
    #[inline]
    fn new(values: impl Iterator<Item = R> + Clone) -> Self {
        let max = values.clone().fold(R::NEG_INFINITY, |max, z| if z > max { z } else { max });
        let sum = values.map(|z| exp_below(z, max).to_f64()).sum();
        Others { max, sum }
    }

    /// m = logsumexp − z_y, in f64: no digits are lost where the two are close.
    #[inline]
    fn margin_loss(&self, label_logit: f64) -> f64 {
        (self.max.to_f64() - label_logit) + self.sum.ln()
    }

    /// 1/sum, and 0 where all other classes are masked: then none has a share.
    #[inline]
    fn scale(&self) -> f64 {
        if self.max.to_f64() == f64::NEG_INFINITY && !self.sum.is_nan() { 0.0 } else { 1.0 / self.sum }
    }
}

/// e^(z − max), also where both are the same infinity.
#[inline]
pub(super) fn exp_below<R: Real>(z: R, max: R) -> R {
    if z == max { R::ONE } else { (z - max).exp() }
}

impl<T: Element> Problem<'_, T> {
    /// Weighted loss and m.
    #[inline]
    pub(in super::super) fn hard_forward(&self, row: usize, target: Target) -> (f64, f64) {
        let (_, m) = self.others(row, target);
        (weighted(target.weight, self.f.value(m)), m)
    }

    /// # Safety
    /// No other thread writes the gradient of this row.
    pub(in super::super) unsafe fn hard_backward(
        &self,
        row: usize,
        target: Target,
        scale: f64,
        dlogits: &Output<'_, T>,
    ) {
        let (others, m) = self.others(row, target);
        // SAFETY: the caller's.
        unsafe { self.write_from_others(row, target, scale, &others, m, dlogits) };
    }

    /// Statistics of the other classes, and m.
    #[inline]
    fn others(&self, row: usize, target: Target) -> (Others<T::Compute>, f64) {
        let row = self.row(row);
        let others = Others::new(row.values_without(target.class).map(T::widen));
        let m = others.margin_loss(row.get(target.class).to_f64());
        (others, m)
    }

    /// # Safety
    /// No other thread writes the gradient of this row.
    #[inline]
    unsafe fn write_from_others(
        &self,
        row: usize,
        target: Target,
        scale: f64,
        others: &Others<T::Compute>,
        m: f64,
        dlogits: &Output<'_, T>,
    ) {
        let slope = scale * target.weight * self.f.derivative(m);
        let factor = T::Compute::from_f64(slope * others.scale());
        // SAFETY: the caller's.
        unsafe { self.write_gradient(row, target, slope, dlogits, |z| factor * exp_below(z, others.max)) };
    }

    /// −slope at the label, `other` of the logit elsewhere.
    ///
    /// # Safety
    /// No other thread writes the gradient of this row.
    #[inline]
    unsafe fn write_gradient(
        &self,
        row: usize,
        target: Target,
        slope: f64,
        dlogits: &Output<'_, T>,
        other: impl Fn(T::Compute) -> T::Compute,
    ) {
        let row = self.row(row);
        for (class, z) in row.values().enumerate() {
            let gradient = if class == target.class { T::from_f64(-slope) } else { T::narrow(other(z.widen())) };
            // SAFETY: the caller's.
            unsafe { dlogits.write(row.index(class), gradient) };
        }
    }
}
