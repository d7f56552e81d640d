//! Convolution with weights of three by three by minimal filtering, F(2×2, 3×3) (Winograd; Lavin & Gray, arXiv 1509.09308,
//! §4.1): four outputs of a tile take 16 products per input plane instead of 36.
//!
//! Tiles are the lanes. A padded plane is laid out as its even rows, end to end, and its odd rows, end to end. Then the 16
//! inputs of a tile lie at offsets that are the same for all tiles, and so do those of the tiles of further images. The few
//! tiles between rows and between images are computed in vain.
//!
//! Products are summed over the input planes a row of four components at a time and go into the outputs at once: there are
//! few products for each sum, so that sums in memory would take longer than the products.

#![allow(clippy::needless_range_loop, reason = "registers go by number, so that all loops over them are unrolled")]

use super::padded::Padded;
use super::planes::Planes;
use crate::kernels::copy::copy_few;
use crate::kernels::isa::compiled;
use crate::kernels::scratch::Scratch;
use crate::kernels::shared::Shared;
use crate::loss::rows::simd::{MOST_LANES, Simd, Vector};
use crate::loss::{Isa, Parallel};

/// Components of a tile.
const COMPONENTS: usize = 16;
/// Tiles that are worked on at once, where there are as many: few registers of them are not full then.
const TILES: usize = 64;

/// Fewer tiles do not pay for transforming the weights.
const FEW_TILES: usize = 64;
/// Transformed weights of more pairs of planes come from memory for every register of tiles.
const MANY_WEIGHTS: usize = 128 * 1024;

/// Output planes that are computed at once: four sums each, the inputs and a weight fill the registers.
fn tallest(isa: Isa) -> usize {
    match isa {
        Isa::Avx512 | Isa::Neon => 4,
        _ => 2,
    }
}

/// Whether it takes less time than products one by one.
pub(super) fn pays(planes: &Planes) -> bool {
    let fits = planes.kernel == [3, 3]
        && planes.dilations == [1, 1]
        && planes.every == [1, 1]
        && planes.apart == [1, 1]
        && !planes.output.contains(&0);
    let (sources, outputs) = (planes.sources, planes.outputs);
    let tiles = planes.images * planes.output[0].div_ceil(2) * planes.output[1].div_ceil(2);
    // operations per tile: 20 products saved per pair of planes, against those of the transforms and as much for memory
    fits && tiles >= FEW_TILES
        && sources * outputs <= MANY_WEIGHTS
        && 20 * sources * outputs > 2 * (80 * sources + 44 * outputs)
}

/// Computes all outputs, as [`Planes::run`].
pub(super) fn run(
    planes: &Planes,
    isa: Isa,
    threads: &impl Parallel,
    from: &[f32],
    weight: &dyn Fn(usize, usize) -> f32,
    bias: Option<&[f32]>,
    to: &mut [f32],
) {
    let blocks: Vec<Vec<Block>> = (0..planes.groups).map(|group| blocks(planes, isa, group, weight)).collect();
    let tiling = Tiling::new(planes);
    let bands = planes.output[0].div_ceil(2).div_ceil(tiling.rows);
    let chunks = planes.images.div_ceil(tiling.images);
    let to = Shared::new(to);
    threads.for_each(chunks * planes.groups * bands, &|task| {
        let (chunk, group, band) = (task / bands / planes.groups, task / bands % planes.groups, task % bands);
        let image = chunk * tiling.images;
        let part = Part {
            planes,
            tiling,
            images: image..planes.images.min(image + tiling.images),
            group,
            start: band * tiling.rows,
            from,
            blocks: &blocks[group],
            bias,
        };
        compute(isa, &part, &to);
    });
}

/// Output planes that are computed at once.
struct Block {
    /// The first of them, in its group.
    first: usize,
    height: usize,
    /// Per row of components, input plane, component of the row and output plane.
    weights: Vec<f32>,
}

fn blocks(planes: &Planes, isa: Isa, group: usize, weight: &dyn Fn(usize, usize) -> f32) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut first = 0;
    while first < planes.outputs {
        let left = planes.outputs - first;
        let height = if left >= tallest(isa) { tallest(isa) } else { 1 << left.ilog2() };
        let mut weights = vec![0.0; COMPONENTS * planes.sources * height];
        for source in 0..planes.sources {
            for m in 0..height {
                let of_tap = |tap: usize| weight(group * planes.outputs + first + m, source * 9 + tap);
                for (component, transformed) in transform_weights(of_tap).into_iter().enumerate() {
                    let (row, column) = (component / 4, component % 4);
                    weights[((row * planes.sources + source) * 4 + column) * height + m] = transformed;
                }
            }
        }
        blocks.push(Block { first, height, weights });
        first += height;
    }
    blocks
}

/// G·g·Gᵀ of the weights g of a pair of planes.
fn transform_weights(weight: impl Fn(usize) -> f32) -> [f32; COMPONENTS] {
    let transform = |g: [f32; 3]| {
        let (sum, middle) = (0.5 * (g[0] + g[2]), 0.5 * g[1]);
        [g[0], sum + middle, sum - middle, g[2]]
    };
    let rows = [0, 1, 2].map(|row| transform([0, 1, 2].map(|column| weight(3 * row + column))));
    let mut transformed = [0.0; COMPONENTS];
    for column in 0..4 {
        for (row, value) in transform([rows[0][column], rows[1][column], rows[2][column]]).into_iter().enumerate() {
            transformed[4 * row + column] = value;
        }
    }
    transformed
}

/// How much is worked on at once.
#[derive(Clone, Copy)]
struct Tiling {
    /// Images.
    images: usize,
    /// Rows of tiles of each.
    rows: usize,
    /// From a row of tiles to the next: a tile more than there are, since a tile overlaps the next one.
    columns: usize,
}

impl Tiling {
    fn new(planes: &Planes) -> Tiling {
        let [rows, columns] = planes.output.map(|size| size.div_ceil(2));
        let columns = columns + 1;
        let per_image = (rows + 1) * columns;
        if per_image > 2 * TILES {
            return Tiling { images: 1, rows: (2 * TILES / columns).saturating_sub(1).clamp(1, rows), columns };
        }
        Tiling { images: (TILES / per_image).clamp(1, planes.images.max(1)), rows, columns }
    }

    /// Tiles of an image, those in vain among them.
    fn per_image(&self, rows: usize) -> usize {
        (rows + 1) * self.columns
    }

    /// Tiles from the first to the last.
    fn len(&self, images: usize, rows: usize) -> usize {
        images * self.per_image(rows) - self.columns - 1
    }
}

/// Rows of tiles of all output planes of a group, of some images.
struct Part<'a> {
    planes: &'a Planes,
    tiling: Tiling,
    images: std::ops::Range<usize>,
    group: usize,
    /// The first row of tiles.
    start: usize,
    from: &'a [f32],
    blocks: &'a [Block],
    /// Of all groups.
    bias: Option<&'a [f32]>,
}

compiled! {
    /// Computes one part.
    fn compute(part: &Part<'_>, to: &Shared<'_>) = compute_body;
}

/// # Safety
/// The machine has the instruction set.
#[inline(always)]
unsafe fn compute_body<S: Simd>(part: &Part<'_>, to: &Shared<'_>) {
    let Part { planes, tiling, .. } = part;
    let [height, width] = planes.output;
    let rows = tiling.rows.min(height.div_ceil(2) - part.start);
    let len = tiling.len(part.images.len(), rows);
    let lanes = S::F32::LANES;
    let registers = len.div_ceil(lanes);
    let per_image = tiling.per_image(rows);
    let half = (2 * (part.images.len() * per_image + MOST_LANES)).next_multiple_of(MOST_LANES);
    let register = COMPONENTS * planes.sources * lanes;
    let plane: usize = planes.source.iter().product();
    let mut scratch = Scratch::lend(2 * half * (planes.sources + planes.outputs) + registers * register);
    let (halves, room) = scratch.numbers().split_at_mut(2 * half * planes.sources);
    let (outputs, inputs) = room.split_at_mut(2 * half * planes.outputs);
    let padded = Padded {
        plane: planes.source,
        apart: [1, 1],
        before: [planes.before[0] - 2 * part.start as isize, planes.before[1]],
        columns: 2 * tiling.columns,
    };
    // first all, then on: what was just stored in parts would be waited for
    for (number, image) in part.images.clone().enumerate() {
        for (source, halves) in halves.chunks_exact_mut(2 * half).enumerate() {
            let at = ((image * planes.groups + part.group) * planes.sources + source) * plane;
            let from = &part.from[at..at + plane];
            let (even, odd) = halves.split_at_mut(half);
            let start = 2 * number * per_image;
            let even = even[start..].chunks_exact_mut(padded.columns);
            let odd = odd[start..].chunks_exact_mut(padded.columns);
            for (row, (even, odd)) in even.zip(odd).take(rows + 1).enumerate() {
                padded.fill_row(2 * row, from, even);
                padded.fill_row(2 * row + 1, from, odd);
            }
        }
    }
    for (number, inputs) in inputs.chunks_exact_mut(register).enumerate() {
        for (source, halves) in halves.chunks_exact(2 * half).enumerate() {
            let to = &mut inputs[source * 4 * lanes..];
            // SAFETY: the caller's.
            unsafe { transform_input::<S>(halves, tiling.columns, number * lanes, to, planes.sources * 4 * lanes) };
        }
        for block in part.blocks {
            let first = part.group * planes.outputs + block.first;
            let bias = part.bias.map(|bias| &bias[first..first + block.height]);
            let of_tile = &mut outputs[2 * half * block.first + 2 * number * lanes..];
            // SAFETY: the caller's.
            unsafe {
                match block.height {
                    4 => multiply::<S, 4>(inputs, &block.weights, bias, of_tile, half),
                    2 => multiply::<S, 2>(inputs, &block.weights, bias, of_tile, half),
                    _ => multiply::<S, 1>(inputs, &block.weights, bias, of_tile, half),
                }
            }
        }
    }
    for (number, image) in part.images.clone().enumerate() {
        for (output, halves) in outputs.chunks_exact(2 * half).enumerate() {
            let plane = ((image * planes.groups + part.group) * planes.outputs + output) * height;
            for row in 2 * part.start..height.min(2 * (part.start + rows)) {
                let tile = number * per_image + (row / 2 - part.start) * tiling.columns;
                let from = &halves[row % 2 * half + 2 * tile..][..width];
                let start = (plane + row) * width;
                // SAFETY: every row of every plane belongs to one part.
                copy_few(from, unsafe { to.part(start..start + width) });
            }
        }
    }
}

/// Bᵀ·d·B of the inputs d of a register of tiles from `tile` on, given as even and then odd rows; to `to`, four components
/// side by side, rows of components `apart` from each other.
///
/// # Safety
/// The machine has the instruction set.
#[inline(always)]
unsafe fn transform_input<S: Simd>(halves: &[f32], columns: usize, tile: usize, to: &mut [f32], apart: usize) {
    let lanes = S::F32::LANES;
    let half = halves.len() / 2;
    assert!(2 * (tile + lanes + columns + 1) <= half, "inputs of all tiles");
    assert!(3 * apart + 4 * lanes <= to.len(), "room for all components");
    // SAFETY: as just asked; the caller's.
    unsafe {
        let mut d = [[S::F32::splat(0.0); 4]; 4];
        for row in 0..4 {
            let from = halves.as_ptr().add(row % 2 * half + 2 * (tile + row / 2 * columns));
            let [first, second] = S::load_pairs(from);
            let [third, fourth] = S::load_pairs(from.add(2));
            d[row] = [first, second, third, fourth];
        }
        let mut rows = d;
        for column in 0..4 {
            rows[0][column] = d[0][column].sub(d[2][column]);
            rows[1][column] = d[1][column].add(d[2][column]);
            rows[2][column] = d[2][column].sub(d[1][column]);
            rows[3][column] = d[1][column].sub(d[3][column]);
        }
        for row in 0..4 {
            let [a, b, c, d] = rows[row];
            let to = to.as_mut_ptr().add(row * apart);
            a.sub(c).store(to);
            b.add(c).store(to.add(lanes));
            c.sub(b).store(to.add(2 * lanes));
            b.sub(d).store(to.add(3 * lanes));
        }
    }
}

/// Aᵀ·m·A + bias with m = Σ u·v over the input planes, of a register of tiles and M output planes: the upper rows of the
/// tiles' outputs to the first half of `to`, the lower rows to the second, and so on for each plane.
///
/// # Safety
/// The machine has the instruction set.
#[inline(always)]
unsafe fn multiply<S: Simd, const M: usize>(
    inputs: &[f32],
    weights: &[f32],
    bias: Option<&[f32]>,
    to: &mut [f32],
    half: usize,
) {
    let lanes = S::F32::LANES;
    let sources = inputs.len() / (COMPONENTS * lanes);
    assert!(inputs.len() == COMPONENTS * lanes * sources, "components of each input plane");
    assert!(weights.len() == COMPONENTS * M * sources, "a weight per component, input and output plane");
    assert!((2 * M - 1) * half + 2 * lanes <= to.len(), "room for all outputs");
    assert!(bias.is_none_or(|bias| bias.len() == M), "a bias per output plane");
    // SAFETY: as just asked; the caller's.
    unsafe {
        // upper left and right, lower left and right
        let mut outputs = [[S::F32::splat(0.0); 4]; M];
        if let Some(bias) = bias {
            for m in 0..M {
                outputs[m] = [S::F32::splat(bias[m]); 4];
            }
        }
        for row in 0..4 {
            let mut inputs = inputs.as_ptr().add(row * sources * 4 * lanes);
            let mut weights = weights.as_ptr().add(row * sources * 4 * M);
            let mut sums = [[S::F32::splat(0.0); 4]; M];
            for _ in 0..sources {
                for column in 0..4 {
                    let input = S::F32::load(inputs.add(column * lanes));
                    for m in 0..M {
                        let weight = S::F32::splat(*weights.add(column * M + m));
                        sums[m][column] = weight.mul_add(input, sums[m][column]);
                    }
                }
                inputs = inputs.add(4 * lanes);
                weights = weights.add(4 * M);
            }
            for m in 0..M {
                let [a, b, c, d] = sums[m];
                let (left, right) = (a.add(b).add(c), b.sub(c).sub(d));
                if row < 3 {
                    outputs[m][0] = outputs[m][0].add(left);
                    outputs[m][1] = outputs[m][1].add(right);
                }
                if row == 1 {
                    outputs[m][2] = outputs[m][2].add(left);
                    outputs[m][3] = outputs[m][3].add(right);
                }
                if row > 1 {
                    outputs[m][2] = outputs[m][2].sub(left);
                    outputs[m][3] = outputs[m][3].sub(right);
                }
            }
        }
        for m in 0..M {
            let to = to.as_mut_ptr().add(2 * m * half);
            let [upper_left, upper_right, lower_left, lower_right] = outputs[m];
            S::store_pairs([upper_left, upper_right], to);
            S::store_pairs([lower_left, lower_right], to.add(half));
        }
    }
}
