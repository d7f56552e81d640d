//! Convolution of \[N, C, H, W\] and its gradients, without a matrix of patches.
//!
//! An image is copied into rows that are padded with zeros and laid end to end. Then the input of one weight for a run of
//! outputs is a run of that copy, at an offset which is the same for all outputs: y\[p\] = Σ w\[tap\] · x\[p + offset(tap)\].
//! The few outputs between the rows are computed in vain. Half the time of a patch matrix would go into writing it.
//!
//! * `correlate` computes rows of outputs from such a copy: forward, and, with mirrored weights, the gradient of the input.
//! * `winograd` does the same for weights of three by three and many planes, with fewer products.
//! * `outer` sums over the outputs: the gradient of the weights.

mod correlate;
mod outer;
mod padded;
mod planes;
#[cfg(test)]
mod tests;
mod winograd;

use super::error::KernelError;
use super::isa;
use super::window::Window;
use crate::loss::Parallel;
use planes::Planes;

/// A convolution as its node says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Convolution {
    window: Window,
    group: usize,
}

/// Sizes of the tensors, which fit each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sizes {
    /// N, C, H, W
    x: [usize; 4],
    /// K, C / group, kernel height and width
    w: [usize; 4],
    /// N, K, height and width of the output
    y: [usize; 4],
}

impl Sizes {
    /// N, K, height and width of the output.
    pub(crate) fn output(&self) -> [usize; 4] {
        self.y
    }
}

impl Convolution {
    /// # Errors
    /// A group below 1.
    pub(crate) fn new(window: Window, group: i64) -> Result<Convolution, KernelError> {
        match usize::try_from(group) {
            Ok(group) if group > 0 => Ok(Convolution { window, group }),
            _ => Err(KernelError::new(format!("group is {group}, but must be 1 or more"))),
        }
    }

    /// Whether input and weights fit.
    ///
    /// # Errors
    /// They don't.
    pub(crate) fn sizes(&self, x: [usize; 4], w: [usize; 4]) -> Result<Sizes, KernelError> {
        let [n, c, height, width] = x;
        let [k, per_group, kernel_height, kernel_width] = w;
        if c != per_group * self.group
            || per_group == 0
            || k % self.group != 0
            || kernel_height == 0
            || kernel_width == 0
        {
            return Err(KernelError::new(format!(
                "x has shape {x:?} and w {w:?}, but with {} groups w must have shape [M, C / group, kH, kW] with M a \
                 multiple of group",
                self.group
            )));
        }
        let [rows, columns] = self.window.count([height, width], [kernel_height, kernel_width]);
        Ok(Sizes { x, w, y: [n, k, rows, columns] })
    }

    /// Whether input, weights and gradient of the output fit.
    ///
    /// # Errors
    /// They don't.
    pub(crate) fn sizes_with(&self, dy: [usize; 4], x: [usize; 4], w: [usize; 4]) -> Result<Sizes, KernelError> {
        let sizes = self.sizes(x, w)?;
        if sizes.y == dy {
            return Ok(sizes);
        }
        Err(KernelError::new(format!(
            "dy has shape {dy:?}, but x of shape {x:?} and w of shape {w:?} make an output of shape {:?}",
            sizes.y
        )))
    }

    /// y = x ∗ w + b
    ///
    /// # Errors
    /// Slices that do not hold what `sizes` says.
    pub(crate) fn forward(
        &self,
        threads: &impl Parallel,
        sizes: &Sizes,
        x: &[f32],
        w: &[f32],
        bias: Option<&[f32]>,
        y: &mut [f32],
    ) -> Result<(), KernelError> {
        let [_, per_group, height, width] = sizes.w;
        let taps = height * width;
        holds("x", x, sizes.x)?;
        holds("w", w, sizes.w)?;
        holds("y", y, sizes.y)?;
        if let Some(bias) = bias {
            holds("b", bias, [1, 1, 1, sizes.w[0]])?;
        }
        let [top, left, ..] = self.window.pads;
        let planes = Planes {
            images: sizes.x[0],
            groups: self.group,
            sources: per_group,
            source: [sizes.x[2], sizes.x[3]],
            apart: [1, 1],
            before: [top as isize, left as isize],
            outputs: sizes.w[0] / self.group,
            output: [sizes.y[2], sizes.y[3]],
            every: self.window.strides,
            kernel: [height, width],
            dilations: self.window.dilations,
        };
        let per_output = per_group * taps;
        planes.run(isa::best(), threads, x, &|output, tap| w[output * per_output + tap], bias, y);
        Ok(())
    }

    /// dx, the gradient of x: dy ∗ w mirrored.
    ///
    /// # Errors
    /// Slices that do not hold what `sizes` says.
    pub(crate) fn input_gradient(
        &self,
        threads: &impl Parallel,
        sizes: &Sizes,
        dy: &[f32],
        w: &[f32],
        dx: &mut [f32],
    ) -> Result<(), KernelError> {
        let [k, per_group, height, width] = sizes.w;
        let taps = height * width;
        holds("dy", dy, sizes.y)?;
        holds("w", w, sizes.w)?;
        holds("dx", dx, sizes.x)?;
        let [top, left, ..] = self.window.pads.map(|pad| pad as isize);
        let [down, across] = self.window.extent([height, width]).map(|extent| extent as isize - 1);
        let outputs = k / self.group;
        let planes = Planes {
            images: sizes.x[0],
            groups: self.group,
            sources: outputs,
            source: [sizes.y[2], sizes.y[3]],
            apart: self.window.strides,
            before: [down - top, across - left],
            outputs: per_group,
            output: [sizes.x[2], sizes.x[3]],
            every: [1, 1],
            kernel: [height, width],
            dilations: self.window.dilations,
        };
        // output c of group g, from output k of the forward pass
        let weight = |output: usize, tap: usize| {
            let (group, c) = (output / per_group, output % per_group);
            let (k, mirrored) = (group * outputs + tap / taps, taps - 1 - tap % taps);
            w[(k * per_group + c) * taps + mirrored]
        };
        planes.run(isa::best(), threads, dy, &weight, None, dx);
        Ok(())
    }

    /// dw and db, the gradients of weights and bias: sums over images and outputs.
    ///
    /// # Errors
    /// Slices that do not hold what `sizes` says.
    pub(crate) fn weight_gradient(
        &self,
        threads: &impl Parallel,
        sizes: &Sizes,
        dy: &[f32],
        x: &[f32],
        dw: &mut [f32],
        db: &mut [f32],
    ) -> Result<(), KernelError> {
        holds("dy", dy, sizes.y)?;
        holds("x", x, sizes.x)?;
        holds("dw", dw, sizes.w)?;
        holds("db", db, [1, 1, 1, sizes.w[0]])?;
        outer::weight_gradient(self, isa::best(), threads, sizes, dy, x, [dw, db]);
        Ok(())
    }
}

fn holds(name: &str, slice: &[f32], sizes: [usize; 4]) -> Result<(), KernelError> {
    let len: usize = sizes.iter().product();
    if slice.len() == len {
        return Ok(());
    }
    Err(KernelError::new(format!("{name} holds {} numbers, but its shape {sizes:?} needs {len}", slice.len())))
}
