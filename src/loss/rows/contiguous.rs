//! Rows whose classes lie side by side: statistics and gradient, a register of classes at a time.

use std::mem::MaybeUninit;
use std::ops::Range;

use super::exp::exp;
use super::isa::with_isa;
use super::simd::{MOST_LANES, Packed, Simd, Vector};
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
        let whole = if stream { whole_lines(output.add(from), to - from) } else { 0..0 };
        let (start, end) = (from + whole.start, from + whole.end);
        let mut at = start;
        while at < end {
            T::stream::<S>(at_classes::<S, T>(row, at, label, gradient), output.add(at));
            at += lanes;
        }
        // lines that belong to this range in part, or all
        for (mut at, end) in [(from, start), (end, to)] {
            while at + lanes <= end {
                T::store::<S>(at_classes::<S, T>(row, at, label, gradient), output.add(at));
                at += lanes;
            }
            if at < end {
                // the range has no fewer classes than a register
                let first = at.min(to - lanes);
                let mut few = MaybeUninit::<[T; MOST_LANES]>::uninit();
                T::store::<S>(at_classes::<S, T>(row, first, label, gradient), few.as_mut_ptr().cast());
                copy_few(few.as_ptr().cast::<T>().add(at - first), output.add(at), end - at);
            }
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

/// Which of the elements from `output` on make whole cache lines: only those may be streamed past the caches. A line that
/// is both streamed and stored to costs as much as a hundred others.
#[inline(always)]
pub fn whole_lines<T>(output: *mut T, count: usize) -> Range<usize> {
    const LINE: usize = 64;
    let head = (output as usize).wrapping_neg() % LINE / size_of::<T>();
    let start = head.min(count);
    let line = LINE / size_of::<T>();
    start..start + (count - start) / line * line
}

/// Copies fewer than 16 numbers, in less time than a call of `memcpy` takes.
///
/// # Safety
/// `from` and `to` are valid for as many.
#[inline(always)]
pub unsafe fn copy_few<R: Copy>(mut from: *const R, mut to: *mut R, count: usize) {
    macro_rules! copy {
        ($($some:literal)*) => {$(
            if count & $some != 0 {
                // SAFETY: the caller's.
                unsafe {
                    to.cast::<[R; $some]>().write_unaligned(from.cast::<[R; $some]>().read_unaligned());
                    (from, to) = (from.add($some), to.add($some));
                }
            }
        )*};
    }
    copy!(8 4 2 1);
    let _ = (from, to);
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
        if !stream {
            return output.write_bytes(0, len);
        }
        let zero = T::Vector::<S>::splat(T::Compute::ZERO);
        let whole = whole_lines(output, len);
        output.write_bytes(0, whole.start);
        for at in whole.clone().step_by(lanes) {
            T::stream::<S>(zero, output.add(at));
        }
        output.add(whole.end).write_bytes(0, len - whole.end);
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
