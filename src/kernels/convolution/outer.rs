//! The gradient of the weights: dw\[k\]\[tap\] = Σ over images and outputs p of dy\[k\]\[p\] · x\[p + offset(tap)\].
//!
//! Lanes are output planes: dy is turned over once, so that those of a position lie side by side, and each is multiplied
//! with single numbers of the padded input. Nothing is computed in vain, whatever the strides.

#![allow(clippy::needless_range_loop, reason = "registers go by number, so that all loops over them are unrolled")]

use super::padded::Padded;
use super::{Convolution, Sizes};
use crate::kernels::isa::compiled;
use crate::kernels::scratch::Scratch;
use crate::kernels::shared::Shared;
use crate::loss::rows::simd::{MOST_LANES, Simd, Vector};
use crate::loss::{Isa, Parallel};

/// Registers of output planes beside each other.
const WIDE: usize = 2;
/// Sums that are kept in registers, times [`WIDE`]: at most.
const MOST_TAPS: usize = 12;
/// Pieces of work that are enough for all threads.
const PIECES: usize = 8;
/// Numbers of padded input and turned gradient that are worked on at once.
const BAND: usize = 32 * 1024;

/// Computes dw and db.
pub(super) fn weight_gradient(
    convolution: &Convolution,
    isa: Isa,
    threads: &impl Parallel,
    sizes: &Sizes,
    dy: &[f32],
    x: &[f32],
    to: [&mut [f32]; 2],
) {
    let [dw, db] = to;
    let problem = Problem::new(convolution, isa, sizes, dy, x);
    // per piece and tap (the last is the bias), the planes of a block
    let taps = problem.taps + 1;
    let piece = taps * problem.lanes;
    let count = problem.blocks() * problem.chunks();
    let mut sums = vec![0.0f32; piece * count];
    let shared = Shared::new(&mut sums);
    threads.for_each(count, &|number| {
        // SAFETY: each piece has a part of its own.
        let sums = unsafe { shared.part(number * piece..(number + 1) * piece) };
        add_piece(isa, &problem, number, sums);
    });
    for block in 0..problem.blocks() {
        let planes = problem.planes(block);
        for chunk in 1..problem.chunks() {
            let (all, more) = sums.split_at_mut((block * problem.chunks() + chunk) * piece);
            let all = &mut all[block * problem.chunks() * piece..][..piece];
            all.iter_mut().zip(&*more).for_each(|(all, more)| *all += more);
        }
        let all = &sums[block * problem.chunks() * piece..][..piece];
        for (lane, k) in planes.enumerate() {
            for (tap, dw) in dw[k * problem.taps..(k + 1) * problem.taps].iter_mut().enumerate() {
                *dw = all[tap * problem.lanes + lane];
            }
            db[k] = all[problem.taps * problem.lanes + lane];
        }
    }
}

struct Problem<'a> {
    dy: &'a [f32],
    x: &'a [f32],
    x_sizes: [usize; 4],
    y_sizes: [usize; 4],
    strides: [usize; 2],
    dilations: [usize; 2],
    before: [isize; 2],
    kernel: [usize; 2],
    groups: usize,
    /// Input planes per group.
    sources: usize,
    /// Output planes per group.
    outputs: usize,
    /// Weights per output plane.
    taps: usize,
    /// Output planes of a block: the lanes of some registers.
    lanes: usize,
}

impl<'a> Problem<'a> {
    fn new(convolution: &Convolution, isa: Isa, sizes: &Sizes, dy: &'a [f32], x: &'a [f32]) -> Self {
        let [k, sources, height, width] = sizes.w;
        let outputs = k / convolution.group;
        let register = lanes(isa);
        Problem {
            dy,
            x,
            x_sizes: sizes.x,
            y_sizes: sizes.y,
            strides: convolution.window.strides,
            dilations: convolution.window.dilations,
            before: [convolution.window.pads[0] as isize, convolution.window.pads[1] as isize],
            kernel: [height, width],
            groups: convolution.group,
            sources,
            outputs,
            taps: sources * height * width,
            lanes: if outputs > register { WIDE * register } else { register },
        }
    }

    fn blocks_per_group(&self) -> usize {
        self.outputs.div_ceil(self.lanes)
    }

    fn blocks(&self) -> usize {
        self.groups * self.blocks_per_group()
    }

    /// Parts of the images, for more threads than there are blocks.
    fn chunks(&self) -> usize {
        PIECES.div_ceil(self.blocks().max(1)).clamp(1, self.y_sizes[0].max(1))
    }

    /// The output planes of a block.
    fn planes(&self, block: usize) -> std::ops::Range<usize> {
        let (group, number) = (block / self.blocks_per_group(), block % self.blocks_per_group());
        let first = number * self.lanes;
        group * self.outputs + first..group * self.outputs + self.outputs.min(first + self.lanes)
    }
}

fn lanes(isa: Isa) -> usize {
    match isa {
        Isa::Avx512 => 16,
        Isa::Avx2 => 8,
        Isa::Neon | Isa::Sse2 => 4,
        _ => PORTABLE_LANES,
    }
}

const PORTABLE_LANES: usize = <<crate::loss::rows::simd::portable::Portable as Simd>::F32 as Vector>::LANES;

compiled! {
    /// Adds the products of the images of a piece.
    fn add_piece(problem: &Problem<'_>, number: usize, sums: &mut [f32]) = add_piece_body;
}

/// # Safety
/// The machine has the instruction set.
#[inline(always)]
unsafe fn add_piece_body<S: Simd>(problem: &Problem<'_>, number: usize, sums: &mut [f32]) {
    let p = problem;
    let (block, chunk) = (number / p.chunks(), number % p.chunks());
    let images = p.y_sizes[0] * chunk / p.chunks()..p.y_sizes[0] * (chunk + 1) / p.chunks();
    let planes = p.planes(block);
    let group = block / p.blocks_per_group();
    let [below, aside] = [0, 1].map(|i| (p.kernel[i] - 1) * p.dilations[i]);
    let [_, channels, height, width] = p.x_sizes;
    let [_, all_planes, y_height, y_width] = p.y_sizes;
    if y_height == 0 || y_width == 0 {
        return;
    }
    let columns = (y_width - 1) * p.strides[1] + 1 + aside;
    let per_row = p.sources * columns * p.strides[0] + p.lanes * y_width;
    let band = (BAND.saturating_sub(p.sources * below * columns) / per_row).clamp(1, y_height);
    let copied_rows = (band - 1) * p.strides[0] + 1 + below;
    let copied = p.sources * copied_rows * columns;
    let mut scratch = Scratch::lend(copied + band * y_width * p.lanes);
    let room = scratch.numbers();
    let (copy, turned) = room.split_at_mut(copied);
    let mut offsets: Vec<u32> = Vec::with_capacity(p.taps);
    for source in 0..p.sources {
        for row in 0..p.kernel[0] {
            for column in 0..p.kernel[1] {
                let row = source * copied_rows + row * p.dilations[0];
                offsets.push((row * columns + column * p.dilations[1]) as u32);
            }
        }
    }
    for image in images {
        for start in (0..y_height).step_by(band) {
            let rows = band.min(y_height - start);
            let padded = Padded {
                plane: [height, width],
                apart: [1, 1],
                before: [p.before[0] - (start * p.strides[0]) as isize, p.before[1]],
                columns,
            };
            for (source, copy) in copy.chunks_exact_mut(copied_rows * columns).enumerate() {
                let plane = (image * channels + group * p.sources + source) * height * width;
                padded.fill(&p.x[plane..plane + height * width], copy);
            }
            let turned = &mut turned[..rows * y_width * p.lanes];
            let plane = |k: usize| {
                let at = ((image * all_planes + k) * y_height + start) * y_width;
                &p.dy[at..at + rows * y_width]
            };
            // SAFETY: the caller's.
            unsafe { turn::<S>(|lane| plane(planes.start + lane), planes.len(), turned, p.lanes) };
            let run = Run { copy, turned, step: p.strides[1], down: p.strides[0] * columns, rows, width: y_width };
            let (weights, bias) = sums.split_at_mut(p.taps * p.lanes);
            // SAFETY: the caller's.
            unsafe {
                if p.lanes == S::F32::LANES {
                    add_all::<S, 1>(&run, &offsets, weights);
                    add_up::<S, 1>(turned, bias);
                } else {
                    add_all::<S, WIDE>(&run, &offsets, weights);
                    add_up::<S, WIDE>(turned, bias);
                }
            }
        }
    }
}

/// Lays the numbers of all planes at a position side by side, a register of planes and positions at a time: single numbers
/// far apart would take as long as the products. Planes from `count` on are zero.
///
/// # Safety
/// The machine has the instruction set.
#[inline(always)]
unsafe fn turn<'a, S: Simd>(plane: impl Fn(usize) -> &'a [f32], count: usize, to: &mut [f32], lanes: usize) {
    let positions = to.len() / lanes;
    if positions < S::F32::LANES {
        to.fill(0.0);
        for lane in 0..count {
            for (to, from) in to.chunks_exact_mut(lanes).zip(plane(lane)) {
                to[lane] = *from;
            }
        }
        return;
    }
    for first in (0..lanes).step_by(S::F32::LANES) {
        let mut planes = [std::ptr::null(); MOST_LANES];
        for lane in first..count.min(first + S::F32::LANES) {
            let plane = plane(lane);
            assert!(plane.len() == positions, "a number per position");
            planes[lane - first] = plane.as_ptr();
        }
        for at in (0..positions).step_by(S::F32::LANES) {
            // the last step overlaps the one before
            let at = at.min(positions - S::F32::LANES);
            // SAFETY: all planes have these positions; `to` has as many lanes for each; the caller's.
            unsafe { turn_block::<S>(planes, at, to.as_mut_ptr().add(at * lanes + first), lanes) };
        }
    }
}

/// A register of positions from `at` of as many planes, null where they are zero; positions `apart` in `to`.
///
/// # Safety
/// The machine has the instruction set; planes and `to` are good for the positions.
#[inline(always)]
unsafe fn turn_block<S: Simd>(planes: [*const f32; MOST_LANES], at: usize, to: *mut f32, apart: usize) {
    let lanes = S::F32::LANES;
    // SAFETY: the caller's.
    unsafe {
        let mut rows = [S::F32::splat(0.0); MOST_LANES];
        for lane in 0..lanes {
            if !planes[lane].is_null() {
                rows[lane] = S::F32::load(planes[lane].add(at));
            }
        }
        // each round makes runs of twice as many planes: after the last one of all of them
        for _ in 0..lanes.ilog2() {
            let last = rows;
            for i in 0..lanes / 2 {
                [rows[2 * i], rows[2 * i + 1]] = S::interleave(last[i], last[i + lanes / 2]);
            }
        }
        for position in 0..lanes {
            rows[position].store(to.add(position * apart));
        }
    }
}

/// Positions of a band.
struct Run<'a> {
    copy: &'a [f32],
    turned: &'a [f32],
    /// Between the inputs of neighbours in a row.
    step: usize,
    /// Between the inputs of neighbours in a column.
    down: usize,
    rows: usize,
    width: usize,
}

/// Adds the products of all positions to the sums, taps × V registers.
///
/// # Safety
/// The machine has the instruction set.
#[inline(always)]
unsafe fn add_all<S: Simd, const V: usize>(run: &Run<'_>, offsets: &[u32], sums: &mut [f32]) {
    let lanes = V * S::F32::LANES;
    let furthest = offsets.iter().max().map_or(0, |&offset| offset as usize);
    let last = (run.rows - 1) * run.down + (run.width - 1) * run.step;
    assert!(furthest + last < run.copy.len(), "an input per position and tap");
    assert!(run.rows * run.width * lanes == run.turned.len(), "a gradient per position and lane");
    assert!(offsets.len() * lanes == sums.len(), "a sum per tap and lane");
    let tall = if S::F32::LANES == 16 { MOST_TAPS } else { MOST_TAPS / 2 };
    let mut done = 0;
    // SAFETY: the lengths were asked above; the caller's.
    unsafe {
        while done < offsets.len() {
            let left = offsets.len() - done;
            let (offsets, sums) = (&offsets[done..], sums.as_mut_ptr().add(done * lanes));
            done += match left {
                12.. if tall == MOST_TAPS => add::<S, 12, V>(run, offsets, sums),
                9.. if tall == MOST_TAPS => add::<S, 9, V>(run, offsets, sums),
                8.. if tall == MOST_TAPS => add::<S, 8, V>(run, offsets, sums),
                6.. => add::<S, 6, V>(run, offsets, sums),
                3.. => add::<S, 3, V>(run, offsets, sums),
                _ => add::<S, 1, V>(run, offsets, sums),
            };
        }
    }
}

/// Adds the gradients of all positions to the sums of a lane each: the bias.
///
/// # Safety
/// The machine has the instruction set.
#[inline(always)]
unsafe fn add_up<S: Simd, const V: usize>(turned: &[f32], sums: &mut [f32]) {
    const CHAINS: usize = 4;
    let lanes = V * S::F32::LANES;
    assert!(sums.len() == lanes && turned.len().is_multiple_of(lanes), "a sum and a gradient per lane");
    let count = turned.len() / lanes;
    // SAFETY: reads end with the last position; the caller's.
    unsafe {
        let mut all = [[S::F32::splat(0.0); V]; CHAINS];
        for at in 0..count {
            for v in 0..V {
                let dy = S::F32::load(turned.as_ptr().add(at * lanes + v * S::F32::LANES));
                all[at % CHAINS][v] = all[at % CHAINS][v].add(dy);
            }
        }
        for v in 0..V {
            let to = sums.as_mut_ptr().add(v * S::F32::LANES);
            let sum = all[0][v].add(all[1][v]).add(all[2][v].add(all[3][v]));
            S::F32::load(to).add(sum).store(to);
        }
    }
}

/// Adds the products of all positions for the first T taps. T.
///
/// # Safety
/// The machine has the instruction set; there are T offsets, and memory behind them for all positions.
#[inline(always)]
unsafe fn add<S: Simd, const T: usize, const V: usize>(run: &Run<'_>, offsets: &[u32], sums: *mut f32) -> usize {
    let lanes = S::F32::LANES;
    // SAFETY: the caller's.
    unsafe {
        let mut all = [[S::F32::splat(0.0); V]; T];
        let mut at = [0usize; T];
        for t in 0..T {
            at[t] = offsets[t] as usize;
        }
        let mut turned = run.turned.as_ptr();
        for row in 0..run.rows {
            let mut from = run.copy.as_ptr().add(row * run.down);
            for _ in 0..run.width {
                let mut dy = [S::F32::splat(0.0); V];
                for v in 0..V {
                    dy[v] = S::F32::load(turned.add(v * lanes));
                }
                for t in 0..T {
                    let x = S::F32::splat(*from.add(at[t]));
                    for v in 0..V {
                        all[t][v] = x.mul_add(dy[v], all[t][v]);
                    }
                }
                turned = turned.add(V * lanes);
                from = from.add(run.step);
            }
        }
        for t in 0..T {
            for v in 0..V {
                let to = sums.add((t * V + v) * lanes);
                S::F32::load(to).add(all[t][v]).store(to);
            }
        }
    }
    T
}
