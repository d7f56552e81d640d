//! Rows whose classes lie side by side: statistics and gradient, a register of classes at a time.

use super::exp::exp;
use super::isa::with_isa;
use super::simd::{Packed, Simd, Vector};
use crate::loss::element::{Arithmetic, Real};

/// Classes whose sum is kept in registers before it is added to the f64 total: few enough that f32 lanes stay exact to
/// 1e-7, and that a chunk done again still lies in the first cache.
const CHUNK: usize = 2048;
/// How far a logit may lie above the reference. Beyond, the chunk is done again with a better one: sums of e^16 are far
/// from overflow, and a reference seldom is that far off.
const LARGEST_EXCESS: f64 = 16.0;

/// Σ exp(z_j − reference) over the other classes.
#[derive(Clone, Copy)]
pub struct Sum {
    /// No logit lies more than [`LARGEST_EXCESS`] above it.
    pub reference: f64,
    pub sum: f64,
}

/// Registers of the row from class `from` on; lanes before `fresh` and that of the label hold −∞.
///
/// # Safety
/// As [`Vector`]; `from` + lanes lies within the row.
#[inline(always)]
unsafe fn others<S: Simd, T: Packed>(row: *const T, from: usize, fresh: usize, label: usize) -> T::Vector<S> {
    // SAFETY: the caller's.
    unsafe {
        let masked = T::Vector::<S>::splat(T::Compute::NEG_INFINITY);
        let mut z = T::load::<S>(row.add(from));
        if fresh > from {
            let first = T::Vector::<S>::splat(T::Compute::from_f64((fresh - from) as f64));
            z = T::Vector::<S>::iota().if_less(first, masked, z);
        }
        if label.wrapping_sub(from) < T::Vector::<S>::LANES {
            let lane = T::Vector::<S>::splat(T::Compute::from_f64((label - from) as f64));
            z = T::Vector::<S>::iota().if_equal(lane, masked, z);
        }
        z
    }
}

/// The sum over classes `from..to` without the label: one read, in chunks.
///
/// # Safety
/// As [`Vector`]; the range lies within the row and is no shorter than a register.
#[inline(always)]
unsafe fn sum_in<S: Simd, T: Packed>(row: *const T, from: usize, to: usize, label: usize) -> Sum {
    let lanes = T::Vector::<S>::LANES;
    // SAFETY: the caller's; every load lies within from..to.
    unsafe {
        // a logit that is not far below the largest one
        let mut seed = others::<S, T>(row, from, from, label);
        if from + 4 * lanes <= to {
            for step in 1..4 {
                let at = from + step * lanes;
                seed = seed.max(others::<S, T>(row, at, at, label));
            }
        }
        let lowest = T::Compute::from_f64(-1e30);
        let mut reference = seed.largest();
        let mut total = 0.0;
        let mut start = from;
        while start < to {
            let end = (start + CHUNK).min(to);
            // masked classes only, so far (or NaN): any number will do
            reference = if reference > lowest { reference } else { lowest };
            let (max, sum) = chunk::<S, T>(row, start, end, label, reference);
            let (top, best) = (max.to_f64(), reference.to_f64());
            if top - best > LARGEST_EXCESS && top < f64::INFINITY {
                total *= (best - top).exp();
                reference = max;
                continue;
            }
            total += sum.to_f64();
            start = end;
        }
        Sum { reference: reference.to_f64(), sum: total }
    }
}

/// The largest logit (NaN and the label aside) and the sum of a chunk, whose end may be any; a range shorter than a
/// register reads classes before it, but does not count them.
///
/// # Safety
/// As [`sum`].
#[inline(always)]
unsafe fn chunk<S: Simd, T: Packed>(
    row: *const T,
    start: usize,
    end: usize,
    label: usize,
    reference: T::Compute,
) -> (T::Compute, T::Compute) {
    let lanes = T::Vector::<S>::LANES;
    // SAFETY: the caller's; a last step reads back to `end` − lanes, which is in the row.
    unsafe {
        let reference = T::Vector::<S>::splat(reference);
        let mut max = [T::Vector::<S>::splat(T::Compute::NEG_INFINITY); 2];
        let mut sum = [T::Vector::<S>::splat(T::Compute::ZERO); 2];
        let mut at = start;
        while at + 2 * lanes <= end {
            let labelled = label.wrapping_sub(at) < 2 * lanes;
            let mut z = [T::load::<S>(row.add(at)), T::load::<S>(row.add(at + lanes))];
            if labelled {
                z = [others::<S, T>(row, at, at, label), others::<S, T>(row, at + lanes, at + lanes, label)];
            }
            max = [max[0].max(z[0]), max[1].max(z[1])];
            sum = [sum[0].add(exp(z[0].sub(reference))), sum[1].add(exp(z[1].sub(reference)))];
            at += 2 * lanes;
        }
        while at < end {
            let from = if at + lanes <= end { at } else { end - lanes };
            let z = others::<S, T>(row, from, at, label);
            max[0] = max[0].max(z);
            sum[0] = sum[0].add(exp(z.sub(reference)));
            at += lanes;
        }
        (max[0].max(max[1]).largest(), sum[0].add(sum[1]).sum())
    }
}

/// factor · exp((z − a) − m) for the other classes, `label_gradient` for the label.
#[derive(Clone, Copy)]
pub struct Gradient<R> {
    pub factor: R,
    pub a: R,
    pub m: R,
    pub label_gradient: R,
}

/// Writes the gradient of classes `from..to`.
///
/// # Safety
/// As [`Vector`]; the range lies within row and output and is no shorter than a register.
#[inline(always)]
unsafe fn write_gradient_in<S: Simd, T: Packed>(
    row: *const T,
    output: *mut T,
    from: usize,
    to: usize,
    label: usize,
    gradient: &Gradient<T::Compute>,
    stream: bool,
) {
    let lanes = T::Vector::<S>::LANES;
    // SAFETY: the caller's; steps that overlap write the same values again.
    unsafe {
        let mut at = from;
        if stream {
            let head = unaligned::<S, T>(output.add(from));
            if head > 0 {
                T::store::<S>(at_classes::<S, T>(row, from, label, gradient), output.add(from));
            }
            at += head;
            while at + lanes <= to {
                T::stream::<S>(at_classes::<S, T>(row, at, label, gradient), output.add(at));
                at += lanes;
            }
        } else {
            while at + lanes <= to {
                T::store::<S>(at_classes::<S, T>(row, at, label, gradient), output.add(at));
                at += lanes;
            }
        }
        if at < to {
            let at = to - lanes;
            T::store::<S>(at_classes::<S, T>(row, at, label, gradient), output.add(at));
        }
    }
}

/// # Safety
/// As [`write_gradient`].
#[inline(always)]
unsafe fn at_classes<S: Simd, T: Packed>(
    row: *const T,
    from: usize,
    label: usize,
    gradient: &Gradient<T::Compute>,
) -> T::Vector<S> {
    // SAFETY: the caller's.
    unsafe {
        let z = T::load::<S>(row.add(from));
        let d = z.sub(T::Vector::<S>::splat(gradient.a)).sub(T::Vector::<S>::splat(gradient.m));
        let mut g = exp(d).mul(T::Vector::<S>::splat(gradient.factor));
        if label.wrapping_sub(from) < T::Vector::<S>::LANES {
            let lane = T::Vector::<S>::splat(T::Compute::from_f64((label - from) as f64));
            g = T::Vector::<S>::iota().if_equal(lane, T::Vector::<S>::splat(gradient.label_gradient), g);
        }
        g
    }
}

/// Elements up to the first one where a whole register may be streamed to.
///
/// # Safety
/// As [`Vector`].
#[inline(always)]
pub unsafe fn unaligned<S: Simd, T: Packed>(output: *mut T) -> usize {
    let bytes = T::Vector::<S>::LANES * size_of::<T>();
    (output as usize).wrapping_neg() % bytes / size_of::<T>()
}

/// Zeros to `output[..len]`.
///
/// # Safety
/// As [`Vector`]; valid for writes.
#[inline(always)]
unsafe fn clear_in<S: Simd, T: Packed>(output: *mut T, len: usize, stream: bool) {
    let lanes = T::Vector::<S>::LANES;
    // SAFETY: the caller's; all bits zero is 0 in every type of logits.
    unsafe {
        if !stream || len < lanes {
            return output.write_bytes(0, len);
        }
        let zero = T::Vector::<S>::splat(T::Compute::ZERO);
        T::store::<S>(zero, output);
        let mut at = unaligned::<S, T>(output);
        while at + lanes <= len {
            T::stream::<S>(zero, output.add(at));
            at += lanes;
        }
        T::store::<S>(zero, output.add(len - lanes));
    }
}

with_isa! {
    /// The sum over the other classes in `from..to`: one read.
    ///
    /// # Safety
    /// The instruction set is available; the range lies within the row and is no shorter than [`MOST_LANES`].
    fn sum<T: Packed>(row: *const T, from: usize, to: usize, label: usize) -> Sum = sum_in;
    /// The gradient of classes `from..to`.
    ///
    /// # Safety
    /// As [`sum`], and for the output too.
    fn write_gradient<T: Packed>(
        row: *const T, output: *mut T, from: usize, to: usize, label: usize, gradient: &Gradient<T::Compute>, stream: bool
    ) = write_gradient_in;
    /// Zeros.
    ///
    /// # Safety
    /// The instruction set is available; `len` elements are valid for writes.
    fn clear<T: Packed>(output: *mut T, len: usize, stream: bool) = clear_in;
}
