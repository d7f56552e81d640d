//! MaxPool of \[N, C, H, W\], and its gradient.
//!
//! The gradient of an output goes to the first of the largest numbers of its window, row by row, as in ONNX Runtime.

#[cfg(test)]
mod tests;

use super::error::KernelError;
use super::isa::{self, compiled};
use super::shared::Shared;
use super::window::Window;
use crate::loss::Parallel;
use crate::loss::rows::simd::Simd;

/// Numbers that are worth a block of their own.
const BLOCK: usize = 16 * 1024;

/// What a node says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MaxPool {
    window: Window,
    kernel: [usize; 2],
    /// Whether a last window may reach beyond the end.
    ceil: bool,
}

/// Sizes of input and output planes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sizes {
    planes: usize,
    x: [usize; 2],
    y: [usize; 2],
}

impl MaxPool {
    /// # Errors
    /// A kernel without an element, or padding as wide as the kernel: a window could lie outside.
    pub(crate) fn new(window: Window, kernel: [i64; 2], ceil: bool) -> Result<MaxPool, KernelError> {
        let sizes = kernel.map(|size| usize::try_from(size).unwrap_or(0));
        let extent = window.extent(sizes);
        let pads = window.pads;
        if sizes.contains(&0) || (0..4).any(|i| pads[i] >= extent[i % 2]) {
            return Err(KernelError::new(format!(
                "kernel_shape is {kernel:?} and pads {pads:?}, but a window must have an element and reach beyond the padding"
            )));
        }
        Ok(MaxPool { window, kernel: sizes, ceil })
    }

    /// Sizes for x of this shape, and the shape of y.
    pub(crate) fn sizes(&self, x: [usize; 4]) -> (Sizes, [usize; 4]) {
        let [images, channels, height, width] = x;
        let y = [0, 1].map(|i| self.outputs(i, x[i + 2]));
        (Sizes { planes: images * channels, x: [height, width], y }, [images, channels, y[0], y[1]])
    }

    fn outputs(&self, axis: usize, size: usize) -> usize {
        let Window { strides, pads, .. } = self.window;
        let floor = self.window.count([size; 2], self.kernel)[axis];
        let padded = size + pads[axis] + pads[axis + 2];
        // a window that would start in the padding at the end is none
        let one_more = self.ceil
            && floor > 0
            && !(padded - self.window.extent(self.kernel)[axis]).is_multiple_of(strides[axis])
            && floor * strides[axis] < size + pads[axis];
        floor + usize::from(one_more)
    }

    /// y = the largest number of each window.
    ///
    /// # Errors
    /// Slices that do not hold what the sizes say.
    pub(crate) fn forward(
        &self,
        threads: &impl Parallel,
        sizes: &Sizes,
        x: &[f32],
        y: &mut [f32],
    ) -> Result<(), KernelError> {
        let (in_plane, out_plane) = sizes.check(x.len(), y.len(), "y")?;
        let isa = isa::best();
        let y = Shared::new(y);
        sizes.in_blocks(threads, |planes| {
            // SAFETY: planes are in one block each.
            let y = unsafe { y.part(planes.start * out_plane..planes.end * out_plane) };
            pool(isa, self, sizes, &x[planes.start * in_plane..planes.end * in_plane], y);
        });
        Ok(())
    }

    /// dx, the gradient of x.
    ///
    /// # Errors
    /// Slices that do not hold what the sizes say.
    pub(crate) fn gradient(
        &self,
        threads: &impl Parallel,
        sizes: &Sizes,
        dy: &[f32],
        x: &[f32],
        dx: &mut [f32],
    ) -> Result<(), KernelError> {
        sizes.check(dx.len(), dy.len(), "dy")?;
        let (in_plane, out_plane) = sizes.check(x.len(), dy.len(), "dy")?;
        let isa = isa::best();
        let dx = Shared::new(dx);
        sizes.in_blocks(threads, |planes| {
            // SAFETY: planes are in one block each.
            let dx = unsafe { dx.part(planes.start * in_plane..planes.end * in_plane) };
            let dy = &dy[planes.start * out_plane..planes.end * out_plane];
            spread(isa, self, sizes, dy, &x[planes.start * in_plane..planes.end * in_plane], dx);
        });
        Ok(())
    }

    /// Widths of an input and an output plane under windows of two by two that lie side by side; none under others.
    pub(super) fn quarters(&self, sizes: &Sizes) -> Option<[usize; 2]> {
        self.is_quarter().then_some([sizes.x[1], sizes.y[1]])
    }

    /// Windows of two by two that lie side by side.
    fn is_quarter(&self) -> bool {
        self.kernel == [2, 2]
            && self.window == Window { strides: [2, 2], pads: [0; 4], dilations: [1, 1] }
            && !self.ceil
    }
}

impl Sizes {
    /// Whether slices hold what they should; numbers of a plane of x and of y.
    fn check(&self, x: usize, y: usize, y_name: &str) -> Result<(usize, usize), KernelError> {
        let (in_plane, out_plane) = self.plane_lens();
        for (name, found, plane) in [("x", x, in_plane), (y_name, y, out_plane)] {
            if found != plane * self.planes {
                let wanted = plane * self.planes;
                return Err(KernelError::new(format!("{name} holds {found} numbers, but needs {wanted}")));
            }
        }
        Ok((in_plane, out_plane))
    }

    /// Numbers of a plane of x and of y.
    pub(super) fn plane_lens(&self) -> (usize, usize) {
        (self.x[0] * self.x[1], self.y[0] * self.y[1])
    }

    fn in_blocks(&self, threads: &impl Parallel, work: impl Fn(std::ops::Range<usize>) + Sync) {
        let per_block = (BLOCK / (self.x[0] * self.x[1]).max(1)).max(1);
        threads.for_each(self.planes.div_ceil(per_block), &|block| {
            work(block * per_block..self.planes.min((block + 1) * per_block));
        });
    }
}

compiled! {
    /// The largest numbers, of some planes.
    fn pool(op: &MaxPool, sizes: &Sizes, x: &[f32], y: &mut [f32]) = pool_body;

    /// The gradient of some planes.
    fn spread(op: &MaxPool, sizes: &Sizes, dy: &[f32], x: &[f32], dx: &mut [f32]) = spread_body;
}

/// # Safety
/// None of its own: for `compiled!`.
#[inline(always)]
unsafe fn pool_body<S: Simd>(op: &MaxPool, sizes: &Sizes, x: &[f32], y: &mut [f32]) {
    let (in_plane, out_plane) = sizes.plane_lens();
    if out_plane == 0 {
        return;
    }
    for (x, y) in x.chunks_exact(in_plane).zip(y.chunks_exact_mut(out_plane)) {
        op.pool_plane(sizes, x, y);
    }
}

/// # Safety
/// None of its own: for `compiled!`.
#[inline(always)]
unsafe fn spread_body<S: Simd>(op: &MaxPool, sizes: &Sizes, dy: &[f32], x: &[f32], dx: &mut [f32]) {
    let (in_plane, out_plane) = sizes.plane_lens();
    if out_plane == 0 {
        dx.fill(0.0);
        return;
    }
    let planes = x.chunks_exact(in_plane).zip(dx.chunks_exact_mut(in_plane));
    for ((x, dx), dy) in planes.zip(dy.chunks_exact(out_plane)) {
        op.spread_plane(sizes, dy, x, dx);
    }
}

impl MaxPool {
    /// The largest numbers of a plane that has some.
    #[inline(always)]
    pub(super) fn pool_plane(&self, sizes: &Sizes, x: &[f32], y: &mut [f32]) {
        let (width, columns) = (sizes.x[1], sizes.y[1]);
        let quarter = self.is_quarter();
        for (row, y) in y.chunks_exact_mut(columns).enumerate() {
            if quarter {
                let (upper, lower) = x[2 * row * width..(2 * row + 2) * width].split_at(width);
                for (y, (a, b)) in y.iter_mut().zip(upper.chunks_exact(2).zip(lower.chunks_exact(2))) {
                    *y = larger(larger(a[0], a[1]), larger(b[0], b[1]));
                }
                continue;
            }
            for (column, y) in y.iter_mut().enumerate() {
                *y = x[self.largest(x, sizes.x, [row, column])];
            }
        }
    }

    /// The gradient of a plane that makes outputs.
    #[inline(always)]
    pub(super) fn spread_plane(&self, sizes: &Sizes, dy: &[f32], x: &[f32], dx: &mut [f32]) {
        let (width, columns) = (sizes.x[1], sizes.y[1]);
        if self.is_quarter() {
            spread_quarter(x, dx, dy, width, columns);
            return;
        }
        dx.fill(0.0);
        for (row, dy) in dy.chunks_exact(columns).enumerate() {
            for (column, dy) in dy.iter().enumerate() {
                dx[self.largest(x, sizes.x, [row, column])] += dy;
            }
        }
    }
}

/// A plane under windows of two by two.
#[inline(always)]
fn spread_quarter(x: &[f32], dx: &mut [f32], dy: &[f32], width: usize, columns: usize) {
    dx.fill(0.0);
    let whole = 2 * columns;
    for ((x, dx), dy) in x.chunks_exact(2 * width).zip(dx.chunks_exact_mut(2 * width)).zip(dy.chunks_exact(columns)) {
        let (upper, lower) = x.split_at(width);
        let pairs = upper[..whole].chunks_exact(2).zip(lower[..whole].chunks_exact(2));
        for ((i, (above, below)), dy) in pairs.enumerate().zip(dy) {
            // numbers instead of branches, which nobody could foresee
            let (right_above, right_below) = (above[1] > above[0], below[1] > below[0]);
            let largest_above = if right_above { above[1] } else { above[0] };
            let largest_below = if right_below { below[1] } else { below[0] };
            let is_below = largest_below > largest_above;
            let right = if is_below { right_below } else { right_above };
            dx[2 * i + usize::from(right) + usize::from(is_below) * width] = *dy;
        }
    }
}

#[inline(always)]
fn larger(a: f32, b: f32) -> f32 {
    if a >= b { a } else { b }
}

impl MaxPool {
    /// Where the first of the largest numbers of a window lies.
    #[inline(always)]
    fn largest(&self, x: &[f32], [height, width]: [usize; 2], at: [usize; 2]) -> usize {
        let Window { strides, pads, dilations } = self.window;
        let mut best = None;
        for i in 0..self.kernel[0] {
            let row = (at[0] * strides[0] + i * dilations[0]).wrapping_sub(pads[0]);
            if row >= height {
                continue;
            }
            for j in 0..self.kernel[1] {
                let column = (at[1] * strides[1] + j * dilations[1]).wrapping_sub(pads[1]);
                if column >= width {
                    continue;
                }
                let here = row * width + column;
                if best.is_none_or(|best: usize| x[here] > x[best]) {
                    best = Some(here);
                }
            }
        }
        best.unwrap_or(0)
    }
}
