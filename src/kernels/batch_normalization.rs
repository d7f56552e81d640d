//! Batch normalization over \[N, C, …\] in training, with Relu on top or without, and its gradients.
//!
//! A block of work is a channel: its numbers stay in the second cache while they are gone over again.

mod sums;
#[cfg(test)]
mod tests;

use super::error::KernelError;
use super::isa::compiled;
use super::shared::Shared;
use crate::loss::rows::simd::Simd;
use crate::loss::{Isa, Parallel};
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
}

/// Sizes of x: N, C and the product of the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Planes {
    images: usize,
    channels: usize,
    plane: usize,
}

impl Planes {
    /// Of x with this shape.
    ///
    /// # Errors
    /// Fewer than two axes.
    pub(crate) fn new(shape: &[usize]) -> Result<Planes, KernelError> {
        match *shape {
            [images, channels, ref rest @ ..] => Ok(Planes { images, channels, plane: rest.iter().product() }),
            _ => Err(KernelError::new(format!("x has shape {shape:?}, but must have a batch and a channel axis"))),
        }
    }

    fn len(&self) -> usize {
        self.images * self.channels * self.plane
    }

    /// Where the planes of a channel lie.
    #[inline(always)]
    fn of(&self, channel: usize) -> impl Iterator<Item = std::ops::Range<usize>> + Clone + use<> {
        let Planes { images, channels, plane } = *self;
        (0..images).map(move |image| {
            let start = (image * channels + channel) * plane;
            start..start + plane
        })
    }

    fn check(&self, full: &[(&str, usize)], per_channel: &[(&str, usize)]) -> Result<(), KernelError> {
        for (found, wanted, what) in full
            .iter()
            .map(|found| (found, self.len(), "as many as x"))
            .chain(per_channel.iter().map(|found| (found, self.channels, "one per channel")))
        {
            if found.1 != wanted {
                return Err(KernelError::new(format!("{} holds {} numbers, but needs {what}: {wanted}", found.0, found.1)));
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
    pub y: &'a mut [f32],
    pub running_mean: &'a mut [f32],
    pub running_var: &'a mut [f32],
}

/// What the gradient reads.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Upstream<'a> {
    pub dy: &'a [f32],
    pub x: &'a [f32],
    pub scale: &'a [f32],
    pub bias: &'a [f32],
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
            &[("x", input.x.len()), ("y", output.y.len())],
            &[
                ("scale", input.scale.len()),
                ("B", input.bias.len()),
                ("input_mean", input.running_mean.len()),
                ("input_var", input.running_var.len()),
                ("running_mean", output.running_mean.len()),
                ("running_var", output.running_var.len()),
            ],
        )?;
        let isa = Isa::detect();
        let y = Shared::new(output.y);
        let (mean, var) = (Shared::new(output.running_mean), Shared::new(output.running_var));
        threads.for_each(planes.channels, &|channel| {
            let found = normalize(isa, self, planes, channel, input, &y);
            let blend = |old: f32, new: f64| {
                let momentum = f64::from(self.momentum);
                (f64::from(old) * momentum + new * (1.0 - momentum)) as f32
            };
            // SAFETY: a channel is one block of work.
            unsafe {
                mean.part(channel..channel + 1).fill(blend(input.running_mean[channel], found.mean));
                var.part(channel..channel + 1).fill(blend(input.running_var[channel], found.variance));
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
            &[("x", upstream.x.len()), ("dy", upstream.dy.len()), ("dx", gradients.dx.len())],
            &[
                ("scale", upstream.scale.len()),
                ("B", upstream.bias.len()),
                ("dscale", gradients.dscale.len()),
                ("dbias", gradients.dbias.len()),
            ],
        )?;
        let isa = Isa::detect();
        let dx = Shared::new(gradients.dx);
        let (dscale, dbias) = (Shared::new(gradients.dscale), Shared::new(gradients.dbias));
        threads.for_each(planes.channels, &|channel| {
            let [of_scale, of_bias] = gradient_of(isa, self, planes, channel, upstream, &dx);
            // SAFETY: a channel is one block of work.
            unsafe {
                dscale.part(channel..channel + 1).fill(of_scale);
                dbias.part(channel..channel + 1).fill(of_bias);
            }
        });
        Ok(())
    }

    /// a and b of y = a·x + b.
    #[inline(always)]
    fn line(&self, found: Moments, scale: f32, bias: f32) -> (f32, f32) {
        let a = f64::from(scale) * found.inverse(self.epsilon);
        (a as f32, (f64::from(bias) - found.mean * a) as f32)
    }
}

compiled! {
    /// y of a channel; its statistics.
    fn normalize(
        op: &BatchNormalization, planes: Planes, channel: usize, input: &Input<'_>, y: &Shared<'_>
    ) -> Moments = normalize_body;

    /// dx of a channel; dscale and dbias.
    fn gradient_of(
        op: &BatchNormalization, planes: Planes, channel: usize, upstream: &Upstream<'_>, dx: &Shared<'_>
    ) -> [f32; 2] = gradient_body;
}

/// # Safety
/// The machine has the instruction set.
#[inline(always)]
unsafe fn normalize_body<S: Simd>(
    op: &BatchNormalization,
    planes: Planes,
    channel: usize,
    input: &Input<'_>,
    y: &Shared<'_>,
) -> Moments {
    // SAFETY: the caller's.
    let found = unsafe { moments::<S>(planes.of(channel).map(|range| &input.x[range])) };
    let (a, b) = op.line(found, input.scale[channel], input.bias[channel]);
    let floor = if op.relu { 0.0 } else { f32::NEG_INFINITY };
    for range in planes.of(channel) {
        // SAFETY: a channel is one block of work.
        let y = unsafe { y.part(range.clone()) };
        for (y, &x) in y.iter_mut().zip(&input.x[range]) {
            let value = a * x + b;
            // NaN stays
            *y = if value < floor { floor } else { value };
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
    channel: usize,
    upstream: &Upstream<'_>,
    dx: &Shared<'_>,
) -> [f32; 2] {
    let Upstream { x, dy, .. } = upstream;
    // SAFETY: the caller's.
    let found = unsafe { moments::<S>(planes.of(channel).map(|range| &x[range])) };
    let (a, b) = op.line(found, upstream.scale[channel], upstream.bias[channel]);
    let mask = if op.relu { (a, b) } else { (0.0, 1.0) };
    let pairs = planes.of(channel).map(|range| (&dy[range.clone()], &x[range]));
    // SAFETY: the caller's.
    let [sum, product] = unsafe { dot::<S>(pairs, mask, found.mean as f32) };
    let inverse = found.inverse(op.epsilon);
    let count = (planes.images * planes.plane).max(1) as f64;
    let factor = f64::from(upstream.scale[channel]) * inverse;
    // dx = factor · g − slope · x − constant
    let slope = factor * inverse * inverse * product / count;
    let constant = factor * sum / count - slope * found.mean;
    let (factor, slope, constant) = (factor as f32, slope as f32, constant as f32);
    for range in planes.of(channel) {
        // SAFETY: a channel is one block of work.
        let dx = unsafe { dx.part(range.clone()) };
        for (dx, (&dy, &x)) in dx.iter_mut().zip(dy[range.clone()].iter().zip(&x[range])) {
            let passes = mask.0 * x + mask.1 > 0.0;
            let dy = if passes { dy } else { 0.0 };
            *dx = factor * dy - slope * x - constant;
        }
    }
    [(product * inverse) as f32, sum as f32]
}
