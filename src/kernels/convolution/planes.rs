//! Output planes from input planes: what forward pass and gradient of the input have in common.

use super::correlate::{MOST_STEP, MOST_TALL, Rows, correlate, correlate_row, fills, tallest};
use super::padded::Padded;
use super::winograd;
use crate::kernels::copy::copy_few;
use crate::kernels::isa::compiled;
use crate::kernels::scratch::Scratch;
use crate::kernels::shared::Shared;
use crate::loss::rows::simd::Simd;
use crate::loss::{Isa, Parallel};

/// Numbers of a padded copy that are worked on at once: half a second cache, so that it stays there for all rows.
const BAND: usize = 32 * 1024;

/// Every output plane is a sum over the input planes of its group.
#[derive(Clone, Copy, Debug)]
pub(super) struct Planes {
    /// N
    pub images: usize,
    /// Groups of planes that have nothing to do with each other.
    pub groups: usize,
    /// Input planes per group.
    pub sources: usize,
    /// Their height and width.
    pub source: [usize; 2],
    /// Steps between their elements when weights are laid over them.
    pub apart: [usize; 2],
    /// Rows and columns of zeros before them; negative where they are cut.
    pub before: [isize; 2],
    /// Output planes per group.
    pub outputs: usize,
    /// Their height and width.
    pub output: [usize; 2],
    /// One of so many positions of the weights makes an output.
    pub every: [usize; 2],
    /// Height and width of the weights.
    pub kernel: [usize; 2],
    /// Steps between weights.
    pub dilations: [usize; 2],
}

/// The weights of some output planes of a group.
struct Block {
    /// The first of them.
    first: usize,
    height: usize,
    weights: Vec<f32>,
}

impl Planes {
    /// Computes all outputs. `weight(output, tap)` with output planes counted over all groups, and taps over the input
    /// planes of a group, rows and columns of the weights.
    pub(super) fn run(
        &self,
        isa: Isa,
        threads: &impl Parallel,
        from: &[f32],
        weight: &dyn Fn(usize, usize) -> f32,
        bias: Option<&[f32]>,
        to: &mut [f32],
    ) {
        let size: usize = self.output.iter().product();
        if size == 0 || to.is_empty() {
            return;
        }
        if winograd::pays(self) {
            winograd::run(self, isa, threads, from, weight, bias, to);
            return;
        }
        let blocks: Vec<Vec<Block>> = (0..self.groups).map(|group| self.blocks(isa, group, weight)).collect();
        let band = self.band();
        let bands = self.output[0].div_ceil(band.outputs);
        let to = Shared::new(to);
        threads.for_each(self.images * self.groups * bands, &|task| {
            let (image, group, number) = (task / bands / self.groups, task / bands % self.groups, task % bands);
            let planes = (image * self.groups + group) * self.sources;
            let plane: usize = self.source.iter().product();
            let part = Part {
                planes: *self,
                band,
                start: number * band.outputs,
                from: &from[planes * plane..(planes + self.sources) * plane],
                blocks: &blocks[group],
                bias: bias.map(|bias| &bias[group * self.outputs..(group + 1) * self.outputs]),
                first: (image * self.groups + group) * self.outputs,
            };
            compute(isa, &part, &to, isa);
        });
    }

    fn blocks(&self, isa: Isa, group: usize, weight: &dyn Fn(usize, usize) -> f32) -> Vec<Block> {
        let taps = self.sources * self.kernel[0] * self.kernel[1];
        let mut blocks = Vec::new();
        let mut first = 0;
        while first < self.outputs {
            let left = self.outputs - first;
            let height = if left >= tallest(isa) { tallest(isa) } else { 1 << left.ilog2() };
            let outputs = group * self.outputs + first;
            let weights = (0..taps * height).map(|i| weight(outputs + i % height, i / height)).collect();
            blocks.push(Block { first, height, weights });
            first += height;
        }
        blocks
    }

    fn band(&self) -> Band {
        let [below, aside] = [0, 1].map(|i| (self.kernel[i] - 1) * self.dilations[i]);
        let columns = (self.output[1] - 1) * self.every[1] + 1 + aside;
        let rows = (BAND / (self.sources * columns).max(1)).saturating_sub(below) / self.every[0];
        let outputs = rows.clamp(1, self.output[0]);
        Band { columns, outputs, rows: (outputs - 1) * self.every[0] + 1 + below }
    }
}

/// Some rows of all output planes of an image and group, and the padded rows they need.
#[derive(Clone, Copy)]
struct Band {
    /// Length of a padded row.
    columns: usize,
    /// Rows of outputs.
    outputs: usize,
    /// Padded rows of one input plane.
    rows: usize,
}

struct Part<'a> {
    planes: Planes,
    band: Band,
    /// The first row of outputs.
    start: usize,
    /// The input planes.
    from: &'a [f32],
    blocks: &'a [Block],
    bias: Option<&'a [f32]>,
    /// The first output plane, over all images.
    first: usize,
}

compiled! {
    /// Computes one part.
    fn compute(part: &Part<'_>, to: &Shared<'_>, isa: Isa) = compute_body;
}

/// # Safety
/// None of its own: for `compiled!`.
#[inline(always)]
unsafe fn compute_body<S: Simd>(part: &Part<'_>, to: &Shared<'_>, isa: Isa) {
    let Part { planes, band, .. } = part;
    let [height, width] = planes.output;
    let rows = band.outputs.min(height - part.start);
    let plane = band.rows * band.columns;
    let len = (rows - 1) * planes.every[0] * band.columns + (width - 1) * planes.every[1] + 1;
    let stride = len + MOST_STEP;
    let copied = planes.sources * plane + MOST_STEP;
    let taps = planes.sources * planes.kernel[0] * planes.kernel[1];
    let tall = tallest(isa);
    let mut scratch = Scratch::lend(copied + tall * stride);
    let room = scratch.numbers();
    let (copy, sums) = room.split_at_mut(copied);
    let padded = Padded {
        plane: planes.source,
        apart: planes.apart,
        before: [planes.before[0] - (part.start * planes.every[0]) as isize, planes.before[1]],
        columns: band.columns,
    };
    let source: usize = planes.source.iter().product();
    for (number, copy) in copy[..planes.sources * plane].chunks_exact_mut(plane).enumerate() {
        padded.fill(&part.from[number * source..(number + 1) * source], copy);
    }
    let mut offsets: Vec<u32> = Vec::with_capacity(taps);
    for source in 0..planes.sources {
        for row in 0..planes.kernel[0] {
            for column in 0..planes.kernel[1] {
                let row = source * band.rows + row * planes.dilations[0];
                offsets.push((row * band.columns + column * planes.dilations[1]) as u32);
            }
        }
    }
    for block in part.blocks {
        let bias = part.bias.map(|bias| &bias[block.first..block.first + block.height]);
        let tall = Rows { height: block.height, weights: &block.weights, bias };
        if planes.every == [1, 1] && fills(isa, width, band.columns, taps) {
            for row in 0..rows {
                let mut places: [&mut [f32]; MOST_TALL] = Default::default();
                for (m, place) in places.iter_mut().take(block.height).enumerate() {
                    let start = ((part.first + block.first + m) * height + part.start + row) * width;
                    // SAFETY: every row of every plane belongs to one part.
                    *place = unsafe { to.part(start..start + width) };
                }
                correlate_row(isa, &copy[row * band.columns..], &offsets, tall, &mut places[..block.height]);
            }
            continue;
        }
        correlate(isa, copy, &offsets, tall, len, sums, stride);
        for (m, sums) in sums.chunks(stride).take(block.height).enumerate() {
            let plane = (part.first + block.first + m) * height + part.start;
            for row in 0..rows {
                let sums = &sums[row * planes.every[0] * band.columns..];
                let start = (plane + row) * width;
                // SAFETY: every row of every plane belongs to one part.
                let to = unsafe { to.part(start..start + width) };
                if planes.every[1] == 1 {
                    copy_few(&sums[..width], to);
                } else {
                    for (to, sum) in to.iter_mut().zip(sums.iter().step_by(planes.every[1])) {
                        *to = *sum;
                    }
                }
            }
        }
    }
}
