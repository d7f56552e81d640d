//! Batch normalization over \[N, C, …\] in training, with Relu and MaxPool on top or without, and its gradients.
//!
//! A block of work is a channel: its numbers stay in the second cache while they are gone over again. What lies between
//! normalization and pool exists one plane at a time, forward and backward: memory is what these operators wait for.

mod quarter;
mod sums;
#[cfg(test)]
mod tests;

use super::error::KernelError;
use super::isa::{self, compiled};
use super::max_pool::{self, MaxPool};
use super::scratch::Scratch;
use super::shared::Shared;
use crate::loss::rows::simd::Simd;
use crate::loss::{Isa, Parallel};
use quarter::{Choice, Slopes, Widths, ahead};
use sums::{Moments, dot, moments};

/// What a node says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct BatchNormalization {
    /// Added to the variance.
    pub epsilon: f32,
    /// How much of the running statistics stays.
    pub momentum: f32,
    /// Whether negative results become 0.
    pub relu: bool,
    /// What follows then.
    pub pool: Option<MaxPool>,
}

/// Sizes of x: N, C and the product of the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Planes {
    images: usize,
    channels: usize,
    plane: usize,
    /// Height and width, where there are just these.
    spatial: Option<[usize; 2]>,
}

impl Planes {
    /// Of x with this shape.
    ///
    /// # Errors
    /// Fewer than two axes.
    pub(crate) fn new(shape: &[usize]) -> Result<Planes, KernelError> {
        match *shape {
            [images, channels, ref rest @ ..] => {
                let spatial = <[usize; 2]>::try_from(rest).ok();
                Ok(Planes { images, channels, plane: rest.iter().product(), spatial })
            }
            _ => Err(KernelError::new(format!("x has shape {shape:?}, but must have a batch and a channel axis"))),
        }
    }

    fn len(&self) -> usize {
        self.images * self.channels * self.plane
    }

    /// Where the planes of a channel lie.
    #[inline(always)]
    fn of(&self, channel: usize) -> impl Iterator<Item = std::ops::Range<usize>> + Clone + use<> {
        self.of_planes(channel, self.plane)
    }

    /// The same in a tensor whose planes have another length.
    #[inline(always)]
    fn of_planes(&self, channel: usize, plane: usize) -> impl Iterator<Item = std::ops::Range<usize>> + Clone + use<> {
        let Planes { images, channels, .. } = *self;
        (0..images).map(move |image| {
            let start = (image * channels + channel) * plane;
            start..start + plane
        })
    }

    fn check(
        &self,
        full: &[(&str, usize)],
        pooled: (&str, usize),
        out_plane: usize,
        per_channel: &[(&str, usize)],
    ) -> Result<(), KernelError> {
        let outputs = self.images * self.channels * out_plane;
        for (found, wanted, what) in full
            .iter()
            .map(|found| (found, self.len(), "as many as x"))
            .chain([(&pooled, outputs, "one per output")])
            .chain(per_channel.iter().map(|found| (found, self.channels, "one per channel")))
        {
            if found.1 != wanted {
                return Err(KernelError::new(format!(
                    "{} holds {} numbers, but needs {what}: {wanted}",
                    found.0, found.1
                )));
            }
        }
        Ok(())
    }
}

/// What the forward pass reads.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Input<'a> {
    pub x: &'a [f32],
    pub scale: &'a [f32],
    pub bias: &'a [f32],
    pub running_mean: &'a [f32],
    pub running_var: &'a [f32],
}

/// What it writes.
#[derive(Debug)]
pub(crate) struct Output<'a> {
    /// After Relu and pool, where there are some.
    pub y: &'a mut [f32],
    pub running_mean: &'a mut [f32],
    pub running_var: &'a mut [f32],
    /// Of this batch, for the gradient.
    pub mean: &'a mut [f32],
    pub var: &'a mut [f32],
}

/// What the gradient reads.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Upstream<'a> {
    pub dy: &'a [f32],
    pub x: &'a [f32],
    pub scale: &'a [f32],
    pub bias: &'a [f32],
    /// Mean and variance of the batch, as the forward pass found them; else they are found again.
    pub statistics: Option<[&'a [f32]; 2]>,
}

/// What it writes.
#[derive(Debug)]
pub(crate) struct Gradients<'a> {
    pub dx: &'a mut [f32],
    pub dscale: &'a mut [f32],
    pub dbias: &'a mut [f32],
}

impl BatchNormalization {
    /// y = scale · (x − mean)/√(var + ε) + bias, mean and var (of the whole population) per channel, and the statistics
    /// running · momentum + batch · (1 − momentum).
    ///
    /// # Errors
    /// Slices that do not hold what the sizes say.
    pub(crate) fn forward(
        &self,
        threads: &impl Parallel,
        planes: Planes,
        input: &Input<'_>,
        output: Output<'_>,
    ) -> Result<(), KernelError> {
        planes.check(
            &[("x", input.x.len())],
            ("y", output.y.len()),
            self.out_plane(planes)?,
            &[
                ("scale", input.scale.len()),
                ("B", input.bias.len()),
                ("input_mean", input.running_mean.len()),
                ("input_var", input.running_var.len()),
                ("running_mean", output.running_mean.len()),
                ("running_var", output.running_var.len()),
                ("the mean", output.mean.len()),
                ("the variance", output.var.len()),
            ],
        )?;
        let pool = self.pool(planes)?;
        let isa = isa_for(pool);
        let y = Shared::new(output.y);
        let (running_mean, running_var) = (Shared::new(output.running_mean), Shared::new(output.running_var));
        let (mean, var) = (Shared::new(output.mean), Shared::new(output.var));
        threads.for_each(planes.channels, &|channel| {
            let found = normalize(isa, self, planes, pool, channel, input, &y);
            let blend = |old: f32, new: f64| {
                let momentum = f64::from(self.momentum);
                (f64::from(old) * momentum + new * (1.0 - momentum)) as f32
            };
            // SAFETY: a channel is one block of work.
            unsafe {
                running_mean.part(channel..channel + 1).fill(blend(input.running_mean[channel], found.mean));
                running_var.part(channel..channel + 1).fill(blend(input.running_var[channel], found.variance));
                mean.part(channel..channel + 1).fill(found.mean as f32);
                var.part(channel..channel + 1).fill(found.variance as f32);
            }
        });
        Ok(())
    }

    /// With x̂ = (x − mean)/√(var + ε) and g = dy (0 where Relu made a 0), sums and means over a channel:
    /// dbias = Σg, dscale = Σg·x̂, dx = scale/√(var + ε) · (g − mean(g) − x̂ · mean(g·x̂)).
    ///
    /// # Errors
    /// Slices that do not hold what the sizes say.
    pub(crate) fn gradient(
        &self,
        threads: &impl Parallel,
        planes: Planes,
        upstream: &Upstream<'_>,
        gradients: Gradients<'_>,
    ) -> Result<(), KernelError> {
        planes.check(
            &[("x", upstream.x.len()), ("dx", gradients.dx.len())],
            ("dy", upstream.dy.len()),
            self.out_plane(planes)?,
            &[
                ("scale", upstream.scale.len()),
                ("B", upstream.bias.len()),
                ("dscale", gradients.dscale.len()),
                ("dbias", gradients.dbias.len()),
                ("the mean", upstream.statistics.map_or(planes.channels, |[mean, _]| mean.len())),
                ("the variance", upstream.statistics.map_or(planes.channels, |[_, var]| var.len())),
            ],
        )?;
        let pool = self.pool(planes)?;
        let isa = isa_for(pool);
        let dx = Shared::new(gradients.dx);
        let (dscale, dbias) = (Shared::new(gradients.dscale), Shared::new(gradients.dbias));
        threads.for_each(planes.channels, &|channel| {
            let [of_scale, of_bias] = gradient_of(isa, self, planes, pool, channel, upstream, &dx);
            // SAFETY: a channel is one block of work.
            unsafe {
                dscale.part(channel..channel + 1).fill(of_scale);
                dbias.part(channel..channel + 1).fill(of_bias);
            }
        });
        Ok(())
    }

    /// The pool and its sizes, where there is one.
    fn pool(&self, planes: Planes) -> Result<Option<(MaxPool, max_pool::Sizes)>, KernelError> {
        let Some(pool) = self.pool else { return Ok(None) };
        let [height, width] =
            planes.spatial.ok_or_else(|| KernelError::new("x must have four axes, [N, C, H, W], for the pool"))?;
        Ok(Some((pool, pool.sizes([planes.images, planes.channels, height, width]).0)))
    }

    /// The shape of the output for x of this shape.
    ///
    /// # Errors
    /// A pool over other than two spatial axes.
    pub(crate) fn output_shape(&self, x: &[usize]) -> Result<Vec<usize>, KernelError> {
        match (self.pool, x) {
            (None, _) => Ok(x.to_vec()),
            (Some(pool), &[n, c, height, width]) => Ok(pool.sizes([n, c, height, width]).1.to_vec()),
            (Some(_), _) => Err(KernelError::new(format!("x has shape {x:?}, but the pool needs [N, C, H, W]"))),
        }
    }

    /// Numbers of a plane of the output.
    fn out_plane(&self, planes: Planes) -> Result<usize, KernelError> {
        Ok(self.pool(planes)?.map_or(planes.plane, |(_, sizes)| sizes.plane_lens().1))
    }

    /// a and b of y = a·x + b.
    #[inline(always)]
    fn line(&self, found: Moments, scale: f32, bias: f32) -> (f32, f32) {
        let a = f64::from(scale) * found.inverse(self.epsilon);
        (a as f32, (f64::from(bias) - found.mean * a) as f32)
    }
}

type Pool = Option<(MaxPool, max_pool::Sizes)>;

/// The instruction set whose registers rows of windows fill.
fn isa_for(pool: Pool) -> Isa {
    match (isa::best(), pool.and_then(|(pool, sizes)| pool.quarters(&sizes))) {
        (Isa::Avx512, Some([_, 8..16])) if Isa::Avx2.is_available() => Isa::Avx2,
        (best, _) => best,
    }
}

/// Widths of planes of x and y, where rows of windows of two by two fill registers.
#[inline(always)]
fn quarters<S: Simd>(pool: Pool, plane: usize, out_plane: usize) -> Option<Widths> {
    let [x, y] = pool.and_then(|(pool, sizes)| pool.quarters(&sizes))?;
    Some(Widths { x, y }).filter(|widths| widths.fit::<S>(plane, out_plane))
}

compiled! {
    /// y of a channel; its statistics.
    fn normalize(
        op: &BatchNormalization, planes: Planes, pool: Pool, channel: usize, input: &Input<'_>, y: &Shared<'_>
    ) -> Moments = normalize_body;

    /// dx of a channel; dscale and dbias.
    fn gradient_of(
        op: &BatchNormalization, planes: Planes, pool: Pool, channel: usize, upstream: &Upstream<'_>, dx: &Shared<'_>
    ) -> [f32; 2] = gradient_body;
}

/// y = a·x + b, or 0 where it is below `floor`.
#[inline(always)]
fn line(x: &[f32], a: f32, b: f32, floor: f32, y: &mut [f32]) {
    for (y, &x) in y.iter_mut().zip(x) {
        let value = a * x + b;
        // NaN stays
        *y = if value < floor { floor } else { value };
    }
}

/// # Safety
/// The machine has the instruction set.
#[inline(always)]
unsafe fn normalize_body<S: Simd>(
    op: &BatchNormalization,
    planes: Planes,
    pool: Pool,
    channel: usize,
    input: &Input<'_>,
    y: &Shared<'_>,
) -> Moments {
    // SAFETY: the caller's.
    let found = unsafe { moments::<S>(planes.of(channel).map(|range| &input.x[range])) };
    let (a, b) = op.line(found, input.scale[channel], input.bias[channel]);
    let floor = if op.relu { 0.0 } else { f32::NEG_INFINITY };
    let out_plane = pool.map_or(planes.plane, |(_, sizes)| sizes.plane_lens().1);
    let quarters = quarters::<S>(pool, planes.plane, out_plane);
    let mut scratch = Scratch::lend(planes.plane);
    let room = scratch.numbers();
    for (from, to) in planes.of(channel).zip(planes.of_planes(channel, out_plane)) {
        // SAFETY: a channel is one block of work.
        let y = unsafe { y.part(to) };
        match (pool, quarters) {
            (None, _) => line(&input.x[from], a, b, floor, y),
            (Some(_), _) if y.is_empty() => {}
            // SAFETY: the caller's.
            (_, Some(widths)) => unsafe { quarter::pool::<S>((a, b), floor, &input.x[from], widths, y) },
            (Some((pool, sizes)), None) => {
                line(&input.x[from], a, b, floor, room);
                pool.pool_plane(&sizes, room, y);
            }
        }
    }
    found
}

/// # Safety
/// The machine has the instruction set.
#[inline(always)]
unsafe fn gradient_body<S: Simd>(
    op: &BatchNormalization,
    planes: Planes,
    pool: Pool,
    channel: usize,
    upstream: &Upstream<'_>,
    dx: &Shared<'_>,
) -> [f32; 2] {
    let Upstream { x, dy, .. } = upstream;
    let found = match upstream.statistics {
        Some([mean, var]) => Moments { mean: f64::from(mean[channel]), variance: f64::from(var[channel]) },
        // SAFETY: the caller's.
        None => unsafe { moments::<S>(planes.of(channel).map(|range| &x[range])) },
    };
    let (a, b) = op.line(found, upstream.scale[channel], upstream.bias[channel]);
    let choice = Choice { line: (a, b), positive: op.relu };
    let mask = if op.relu { (a, b) } else { (0.0, 1.0) };
    let floor = if op.relu { 0.0 } else { f32::NEG_INFINITY };
    let middle = found.mean as f32;
    let out_plane = pool.map_or(planes.plane, |(_, sizes)| sizes.plane_lens().1);
    let quarters = quarters::<S>(pool, planes.plane, out_plane);
    let apart = planes.channels * planes.plane;
    let mut totals = [0.0; 2];
    let mut scratch = Scratch::lend(planes.plane);
    let room = scratch.numbers();
    for (from, of) in planes.of(channel).zip(planes.of_planes(channel, out_plane)) {
        let x = &x[from.clone()];
        // SAFETY: a channel is one block of work; the caller's.
        let [sum, product] = unsafe {
            match (pool, quarters) {
                (None, _) => dot::<S>(&dy[of], x, mask, middle),
                (_, Some(widths)) => {
                    let x_of_windows = &mut room[..out_plane];
                    quarter::largest::<S>(choice, x, apart, widths, x_of_windows);
                    dot::<S>(&dy[of], x_of_windows, mask, middle)
                }
                (Some((pool, sizes)), None) => {
                    // what comes through the pool waits in dx for its second round
                    let g = dx.part(from);
                    ahead::<S>(x.as_ptr().wrapping_add(apart), planes.plane);
                    ahead::<S>(g.as_ptr().wrapping_add(apart), planes.plane);
                    if out_plane == 0 {
                        g.fill(0.0);
                    } else {
                        line(x, a, b, floor, room);
                        pool.spread_plane(&sizes, &dy[of], room, g);
                    }
                    dot::<S>(g, x, mask, middle)
                }
            }
        };
        totals[0] += sum;
        totals[1] += product;
    }
    let [sum, product] = totals;
    let inverse = found.inverse(op.epsilon);
    let count = (planes.images * planes.plane).max(1) as f64;
    let factor = f64::from(upstream.scale[channel]) * inverse;
    // dx = factor · g − slope · x − constant
    let slope = factor * inverse * inverse * product / count;
    let constant = factor * sum / count - slope * found.mean;
    let slopes = Slopes { factor: factor as f32, slope: slope as f32, constant: constant as f32 };
    let of_x = |g: f32, x: f32| slopes.of(if mask.0 * x + mask.1 > 0.0 { g } else { 0.0 }, x);
    for (range, of) in planes.of(channel).zip(planes.of_planes(channel, out_plane)) {
        // SAFETY: a channel is one block of work.
        let dx = unsafe { dx.part(range.clone()) };
        let x = &x[range];
        match (pool, quarters) {
            (None, _) => {
                for (dx, (&dy, &x)) in dx.iter_mut().zip(dy[of].iter().zip(x)) {
                    *dx = of_x(dy, x);
                }
            }
            // SAFETY: the caller's.
            (_, Some(widths)) => unsafe { quarter::spread::<S>(choice, slopes, x, widths, &dy[of], apart, dx) },
            (Some(_), None) => {
                for (dx, &x) in dx.iter_mut().zip(x) {
                    *dx = of_x(*dx, x);
                }
            }
        }
    }
    [(product * inverse) as f32, sum as f32]
}
