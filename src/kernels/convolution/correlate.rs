//! Runs of outputs from a padded copy: y\[m\]\[p\] = Σ w\[m\]\[tap\] · x\[p + offset(tap)\].

#![allow(clippy::needless_range_loop, reason = "registers go by number, so that all loops over them are unrolled")]

use crate::kernels::isa::compiled;
use crate::loss::Isa;
use crate::loss::rows::simd::{Simd, Vector};

/// Registers of outputs beside each other.
const WIDE: usize = 3;
/// Lanes of the widest register, times [`WIDE`]: outputs of one step at most.
pub(super) const MOST_STEP: usize = 48;
/// Taps after which the outputs go to memory and back, so that the inputs of a step stay in the first cache.
const TAPS: usize = 512;

/// Rows of outputs at most.
pub(super) const MOST_TALL: usize = 8;

/// Outputs under each other: accumulators, a row of inputs and a weight fill the registers.
pub(super) fn tallest(isa: Isa) -> usize {
    match isa {
        Isa::Avx512 | Isa::Neon => MOST_TALL,
        _ => 4,
    }
}

/// Rows of outputs that are computed at once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rows<'a> {
    /// 1, 2, 4 or 8.
    pub height: usize,
    /// Per tap, then per row.
    pub weights: &'a [f32],
    /// Per row; none is zero.
    pub bias: Option<&'a [f32]>,
}

/// Whether [`correlate_row`] takes less time than [`correlate`], which computes outputs between the rows in vain and has
/// them copied: rows `width` long, `columns` apart.
pub(super) fn fills(isa: Isa, width: usize, columns: usize, taps: usize) -> bool {
    let lanes = match isa {
        Isa::Avx512 => 16,
        Isa::Avx2 => 8,
        _ => 4,
    };
    width >= lanes && taps <= TAPS && 4 * width.next_multiple_of(lanes) <= 5 * columns
}

compiled! {
    /// Computes the outputs of each row into `to`, which are equally long, a register or more.
    pub(super) fn correlate_row(from: &[f32], offsets: &[u32], rows: Rows<'_>, to: &mut [&mut [f32]]) = row_body;

    /// Computes at least `len` outputs of each row into `to`, rows `stride` apart; up to [`MOST_STEP`] more per row.
    pub(super) fn correlate(from: &[f32], offsets: &[u32], rows: Rows<'_>, len: usize, to: &mut [f32], stride: usize) = body;
}

/// # Safety
/// The machine has the instruction set.
#[inline(always)]
unsafe fn row_body<S: Simd>(from: &[f32], offsets: &[u32], rows: Rows<'_>, to: &mut [&mut [f32]]) {
    // SAFETY: the caller's.
    unsafe {
        match rows.height {
            8 => run_row::<S, 8>(from, offsets, rows, to),
            4 => run_row::<S, 4>(from, offsets, rows, to),
            2 => run_row::<S, 2>(from, offsets, rows, to),
            _ => run_row::<S, 1>(from, offsets, rows, to),
        }
    }
}

/// # Safety
/// The machine has the instruction set.
#[inline(always)]
unsafe fn run_row<S: Simd, const M: usize>(from: &[f32], offsets: &[u32], rows: Rows<'_>, to: &mut [&mut [f32]]) {
    let lanes = S::F32::LANES;
    let len = to.first().map_or(0, |to| to.len());
    let furthest = offsets.iter().max().map_or(0, |&offset| offset as usize);
    assert!(to.len() == M && to.iter().all(|to| to.len() == len), "rows of one length");
    assert!(len >= lanes && furthest + len <= from.len(), "inputs for all outputs, a register at least");
    assert!(rows.weights.len() == offsets.len() * M && offsets.len() <= TAPS, "a weight per tap and row");
    assert!(rows.bias.is_none_or(|bias| bias.len() == M), "a bias per row");
    let mut places = [std::ptr::null_mut(); M];
    for m in 0..M {
        places[m] = to[m].as_mut_ptr();
    }
    let chunk = Chunk { first: true, taps: offsets, weights: rows.weights.as_ptr() };
    let mut at = 0;
    while at < len {
        let left = len - at;
        // SAFETY: registers lie within `len`; the caller's.
        unsafe {
            let from = from.as_ptr();
            at += if left >= WIDE * lanes {
                one_step::<S, M, WIDE>(from, chunk, rows.bias, places, [at, at + lanes, at + 2 * lanes])
            } else if left <= lanes {
                // the last registers overlap those before
                one_step::<S, M, 1>(from, chunk, rows.bias, places, [len - lanes])
            } else if left <= 2 * lanes {
                one_step::<S, M, 2>(from, chunk, rows.bias, places, [at, len - lanes])
            } else {
                one_step::<S, M, WIDE>(from, chunk, rows.bias, places, [at, at + lanes, len - lanes])
            };
        }
    }
}

/// # Safety
/// The machine has the instruction set.
#[inline(always)]
unsafe fn body<S: Simd>(from: &[f32], offsets: &[u32], rows: Rows<'_>, len: usize, to: &mut [f32], stride: usize) {
    // SAFETY: the caller's.
    unsafe {
        match rows.height {
            8 => run::<S, 8>(from, offsets, rows, len, to, stride),
            4 => run::<S, 4>(from, offsets, rows, len, to, stride),
            2 => run::<S, 2>(from, offsets, rows, len, to, stride),
            _ => run::<S, 1>(from, offsets, rows, len, to, stride),
        }
    }
}

/// # Safety
/// The machine has the instruction set.
#[inline(always)]
unsafe fn run<S: Simd, const M: usize>(
    from: &[f32],
    offsets: &[u32],
    rows: Rows<'_>,
    len: usize,
    to: &mut [f32],
    stride: usize,
) {
    let step = WIDE * S::F32::LANES;
    let whole = len.div_ceil(step) * step;
    let furthest = offsets.iter().max().map_or(0, |&offset| offset as usize);
    assert!(furthest + whole <= from.len(), "inputs for all steps");
    assert!(whole <= stride && (M - 1) * stride + whole <= to.len(), "room for all steps");
    assert!(rows.weights.len() == offsets.len() * M, "a weight per tap and row");
    assert!(rows.bias.is_none_or(|bias| bias.len() == M), "a bias per row");
    for (number, taps) in offsets.chunks(TAPS).enumerate() {
        let chunk = Chunk { first: number == 0, taps, weights: rows.weights.as_ptr().wrapping_add(number * TAPS * M) };
        let mut at = 0;
        while at < len {
            // SAFETY: reads lie `furthest + whole` from the start at most, writes in their row; both were asked above.
            unsafe {
                let lanes = S::F32::LANES;
                let from = from.as_ptr().add(at);
                let mut places = [std::ptr::null_mut(); M];
                for m in 0..M {
                    places[m] = to.as_mut_ptr().add(m * stride + at);
                }
                // outputs beyond the end are computed in vain: as few as possible
                at += match (len - at).div_ceil(lanes) {
                    1 => one_step::<S, M, 1>(from, chunk, rows.bias, places, [0]),
                    2 => one_step::<S, M, 2>(from, chunk, rows.bias, places, [0, lanes]),
                    _ => one_step::<S, M, WIDE>(from, chunk, rows.bias, places, [0, lanes, 2 * lanes]),
                };
            }
        }
    }
}

/// Taps that are added at once.
#[derive(Clone, Copy)]
struct Chunk<'a> {
    /// Whether there is nothing yet to add to.
    first: bool,
    taps: &'a [u32],
    weights: *const f32,
}

/// M rows of V registers, which start `at` these outputs. How many outputs that are.
///
/// # Safety
/// The machine has the instruction set; `from` is good for the outputs at every offset, `to` for those of its row, the
/// weights for M per tap.
#[inline(always)]
unsafe fn one_step<S: Simd, const M: usize, const V: usize>(
    from: *const f32,
    chunk: Chunk<'_>,
    bias: Option<&[f32]>,
    to: [*mut f32; M],
    at: [usize; V],
) -> usize {
    // SAFETY: the caller's.
    unsafe {
        let mut sums = [[S::F32::splat(0.0); V]; M];
        for m in 0..M {
            for v in 0..V {
                if !chunk.first {
                    sums[m][v] = S::F32::load(to[m].add(at[v]));
                } else if let Some(bias) = bias {
                    sums[m][v] = S::F32::splat(bias[m]);
                }
            }
        }
        add::<S, M, V>(&mut sums, from, chunk.taps, chunk.weights, at);
        for m in 0..M {
            for v in 0..V {
                sums[m][v].store(to[m].add(at[v]));
            }
        }
    }
    V * S::F32::LANES
}

/// Adds the products of some taps.
///
/// # Safety
/// The machine has the instruction set; `from` is good for a step at every offset, `weights` for M per tap.
#[inline(always)]
unsafe fn add<S: Simd, const M: usize, const V: usize>(
    sums: &mut [[S::F32; V]; M],
    from: *const f32,
    offsets: &[u32],
    weights: *const f32,
    at: [usize; V],
) {
    let mut all = *sums;
    for (tap, &offset) in offsets.iter().enumerate() {
        // SAFETY: the caller's.
        unsafe {
            let from = from.add(offset as usize);
            let mut inputs = [S::F32::splat(0.0); V];
            for v in 0..V {
                inputs[v] = S::F32::load(from.add(at[v]));
            }
            for m in 0..M {
                let weight = S::F32::splat(*weights.add(tap * M + m));
                for v in 0..V {
                    all[m][v] = weight.mul_add(inputs[v], all[m][v]);
                }
            }
        }
    }
    *sums = all;
}
