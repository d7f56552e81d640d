//! Sums over the planes of a channel: short runs in registers, the runs in f64.

#![allow(clippy::needless_range_loop, reason = "registers go by number, so that all loops over them are unrolled")]

use crate::loss::rows::simd::{Simd, Vector};

/// Numbers that are added up in f32.
const RUN: usize = 1024;
/// Registers of sums: one alone would wait for itself.
const WIDE: usize = 4;

/// Mean and variance of a channel.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moments {
    pub mean: f64,
    /// Of the whole population.
    pub variance: f64,
}

impl Moments {
    /// 1/√(var + ε)
    #[inline(always)]
    pub(super) fn inverse(&self, epsilon: f32) -> f64 {
        1.0 / (self.variance + f64::from(epsilon)).sqrt()
    }
}

/// Mean and variance, from distances to the first number: squares of large numbers would leave nothing of small distances.
///
/// # Safety
/// The machine has the instruction set.
#[inline(always)]
pub(super) unsafe fn moments<'a, S: Simd>(planes: impl Iterator<Item = &'a [f32]> + Clone) -> Moments {
    let origin = planes.clone().find_map(|plane| plane.first()).copied().unwrap_or(0.0);
    let (mut count, mut sum, mut squares) = (0usize, 0.0, 0.0);
    let mut planes = planes.peekable();
    while let Some(plane) = planes.next() {
        count += plane.len();
        let next = planes.peek().map_or(plane.as_ptr(), |next| next.as_ptr());
        for (number, run) in plane.chunks(RUN).enumerate() {
            // SAFETY: the caller's.
            let [run_sum, run_squares] = unsafe { moments_of_run::<S>(run, origin, next.wrapping_add(number * RUN)) };
            sum += f64::from(run_sum);
            squares += f64::from(run_squares);
        }
    }
    let count = count.max(1) as f64;
    let mean = sum / count;
    Moments { mean: f64::from(origin) + mean, variance: (squares / count - mean * mean).max(0.0) }
}

/// `next` is where the next plane has these numbers: planes of a channel lie too far apart for the machine to see them
/// coming.
///
/// # Safety
/// The machine has the instruction set.
#[inline(always)]
unsafe fn moments_of_run<S: Simd>(run: &[f32], origin: f32, next: *const f32) -> [f32; 2] {
    let step = WIDE * S::F32::LANES;
    let whole = run.len() / step * step;
    // SAFETY: reads end before `whole`; the caller's.
    unsafe {
        let from = S::F32::splat(origin);
        let mut sums = [[S::F32::splat(0.0); WIDE]; 2];
        for at in (0..whole).step_by(step) {
            for i in 0..WIDE {
                S::prefetch(next.wrapping_add(at + i * S::F32::LANES));
                let x = S::F32::load(run.as_ptr().add(at + i * S::F32::LANES)).sub(from);
                sums[0][i] = sums[0][i].add(x);
                sums[1][i] = x.mul_add(x, sums[1][i]);
            }
        }
        let mut totals = [total::<S>(sums[0]), total::<S>(sums[1])];
        for &x in &run[whole..] {
            let x = x - origin;
            totals[0] += x;
            totals[1] += x * x;
        }
        totals
    }
}

/// Σg and Σg·(x − mean) of a plane of dy and x, with g = dy where a·x + b > 0, else 0.
///
/// # Safety
/// The machine has the instruction set.
#[inline(always)]
pub(super) unsafe fn dot<S: Simd>(dy: &[f32], x: &[f32], mask: (f32, f32), mean: f32) -> [f64; 2] {
    let mut totals = [0.0; 2];
    for (dy, x) in dy.chunks(RUN).zip(x.chunks(RUN)) {
        // SAFETY: the caller's.
        let [sum, product] = unsafe { dot_of_run::<S>(dy, x, mask, mean) };
        totals[0] += f64::from(sum);
        totals[1] += f64::from(product);
    }
    totals
}

/// # Safety
/// The machine has the instruction set.
#[inline(always)]
unsafe fn dot_of_run<S: Simd>(dy: &[f32], x: &[f32], mask: (f32, f32), mean: f32) -> [f32; 2] {
    let step = WIDE * S::F32::LANES;
    let len = dy.len().min(x.len());
    let whole = len / step * step;
    // SAFETY: reads end before `whole`; the caller's.
    unsafe {
        let (a, b, zero) = (S::F32::splat(mask.0), S::F32::splat(mask.1), S::F32::splat(0.0));
        let middle = S::F32::splat(mean);
        let mut sums = [[zero; WIDE]; 2];
        for at in (0..whole).step_by(step) {
            for i in 0..WIDE {
                let x = S::F32::load(x.as_ptr().add(at + i * S::F32::LANES));
                let dy = S::F32::load(dy.as_ptr().add(at + i * S::F32::LANES));
                let g = zero.if_less(a.mul(x).add(b), dy, zero);
                sums[0][i] = sums[0][i].add(g);
                sums[1][i] = g.mul_add(x.sub(middle), sums[1][i]);
            }
        }
        let mut totals = [total::<S>(sums[0]), total::<S>(sums[1])];
        for (&dy, &x) in dy[whole..len].iter().zip(&x[whole..len]) {
            if mask.0 * x + mask.1 > 0.0 {
                totals[0] += dy;
                totals[1] += dy * (x - mean);
            }
        }
        totals
    }
}

/// # Safety
/// The machine has the instruction set.
#[inline(always)]
unsafe fn total<S: Simd>(sums: [S::F32; WIDE]) -> f32 {
    // SAFETY: the caller's.
    unsafe { sums[0].add(sums[1]).add(sums[2].add(sums[3])).sum() }
}
