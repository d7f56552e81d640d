//! Pools of windows of two by two, a register of windows at a time, and both rounds of their gradient: each finds the
//! largest number of a window again from x, so that nothing waits in memory between them, and no branch or place depends on
//! the numbers.

use crate::loss::rows::simd::{Simd, Vector};

/// Tells which number of a window counts: the first of the largest of a·x + b; and whether its gradient passes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Choice {
    /// a and b.
    pub line: (f32, f32),
    /// Whether it passes only where that is above 0.
    pub positive: bool,
}

/// dx = factor · g − slope · x − constant
#[derive(Clone, Copy, Debug)]
pub(super) struct Slopes {
    pub factor: f32,
    pub slope: f32,
    pub constant: f32,
}

impl Slopes {
    #[inline(always)]
    pub(super) fn of(self, g: f32, x: f32) -> f32 {
        self.factor * g - self.slope * x - self.constant
    }

    /// The same of registers of factor · g and x.
    ///
    /// # Safety
    /// The machine has the instruction set.
    #[inline(always)]
    unsafe fn of_all<S: Simd>(self, g: S::F32, x: S::F32) -> S::F32 {
        // SAFETY: the caller's.
        unsafe { x.mul_add(S::F32::splat(-self.slope), S::F32::splat(-self.constant)).add(g) }
    }
}

/// Widths of an input plane and of its outputs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Widths {
    pub x: usize,
    pub y: usize,
}

/// Where windows beside each other lie that are worked on at once.
#[derive(Clone, Copy)]
struct Step {
    /// The upper row of the first, in x.
    above: usize,
    /// Its lower row.
    below: usize,
    /// The first, among the windows.
    window: usize,
}

impl Widths {
    /// Whether planes of x and of y hold a register of windows in each row.
    #[inline(always)]
    pub(super) fn fit<S: Simd>(self, x: usize, y: usize) -> bool {
        let rows = y / self.y.max(1);
        self.y >= S::F32::LANES && 2 * self.y <= self.x && rows * self.y == y && 2 * rows * self.x <= x
    }

    /// The step from window `at` of a row; the last one of a row overlaps the one before.
    #[inline(always)]
    fn step<S: Simd>(self, row: usize, at: usize) -> Step {
        let at = at.min(self.y - S::F32::LANES);
        let above = 2 * (row * self.x + at);
        Step { above, below: above + self.x, window: row * self.y + at }
    }
}

/// The numbers of some windows, and which is the largest.
struct Windows<S: Simd> {
    x_above: [S::F32; 2],
    x_below: [S::F32; 2],
    upper: [S::F32; 2],
    lower: [S::F32; 2],
    largest_above: S::F32,
    largest_below: S::F32,
}

impl<S: Simd> Windows<S> {
    /// # Safety
    /// The machine has the instruction set; two registers of numbers are there.
    #[inline(always)]
    unsafe fn load(line: (f32, f32), above: *const f32, below: *const f32) -> Self {
        // SAFETY: the caller's.
        unsafe {
            let (a, b) = (S::F32::splat(line.0), S::F32::splat(line.1));
            let (x_above, x_below) = (S::load_pairs(above), S::load_pairs(below));
            let upper = [a.mul(x_above[0]).add(b), a.mul(x_above[1]).add(b)];
            let lower = [a.mul(x_below[0]).add(b), a.mul(x_below[1]).add(b)];
            let largest_above = upper[0].if_less(upper[1], upper[1], upper[0]);
            let largest_below = lower[0].if_less(lower[1], lower[1], lower[0]);
            Windows { x_above, x_below, upper, lower, largest_above, largest_below }
        }
    }

    /// a·x + b of the largest.
    ///
    /// # Safety
    /// The machine has the instruction set.
    #[inline(always)]
    unsafe fn largest(&self) -> S::F32 {
        // SAFETY: the caller's.
        unsafe { self.largest_above.if_less(self.largest_below, self.largest_below, self.largest_above) }
    }

    /// The x that counts.
    ///
    /// # Safety
    /// The machine has the instruction set.
    #[inline(always)]
    unsafe fn x(&self) -> S::F32 {
        // SAFETY: the caller's.
        unsafe {
            let above = self.upper[0].if_less(self.upper[1], self.x_above[1], self.x_above[0]);
            let below = self.lower[0].if_less(self.lower[1], self.x_below[1], self.x_below[0]);
            self.largest_above.if_less(self.largest_below, below, above)
        }
    }

    /// `g` where the largest is, above and below, else 0.
    ///
    /// # Safety
    /// The machine has the instruction set.
    #[inline(always)]
    unsafe fn spread(&self, g: S::F32) -> [[S::F32; 2]; 2] {
        // SAFETY: the caller's.
        unsafe {
            let zero = S::F32::splat(0.0);
            let above = self.largest_above.if_less(self.largest_below, zero, g);
            let below = self.largest_above.if_less(self.largest_below, g, zero);
            [
                [self.upper[0].if_less(self.upper[1], zero, above), self.upper[0].if_less(self.upper[1], above, zero)],
                [self.lower[0].if_less(self.lower[1], zero, below), self.lower[0].if_less(self.lower[1], below, zero)],
            ]
        }
    }
}

/// The largest number of a·x + b of every window of a plane, or `floor` where it is below.
///
/// # Safety
/// The machine has the instruction set.
#[inline(always)]
pub(super) unsafe fn pool<S: Simd>(line: (f32, f32), floor: f32, x: &[f32], widths: Widths, y: &mut [f32]) {
    let lanes = S::F32::LANES;
    assert!(widths.fit::<S>(x.len(), y.len()), "registers of windows in every row");
    for row in 0..y.len() / widths.y {
        for at in (0..widths.y).step_by(lanes) {
            let step = widths.step::<S>(row, at);
            // SAFETY: as just asked; the caller's.
            unsafe {
                let windows = Windows::<S>::load(line, x.as_ptr().add(step.above), x.as_ptr().add(step.below));
                let (largest, floor) = (windows.largest(), S::F32::splat(floor));
                // NaN stays
                largest.if_less(floor, floor, largest).store(y.as_mut_ptr().add(step.window));
            }
        }
    }
}

/// The x that counts of every window of a plane, row after row. The next plane lies `apart` numbers on.
///
/// # Safety
/// The machine has the instruction set.
#[inline(always)]
pub(super) unsafe fn largest<S: Simd>(choice: Choice, x: &[f32], apart: usize, widths: Widths, to: &mut [f32]) {
    let lanes = S::F32::LANES;
    assert!(widths.fit::<S>(x.len(), to.len()), "registers of windows in every row");
    for row in 0..to.len() / widths.y {
        // SAFETY: the caller's.
        unsafe { ahead::<S>(x.as_ptr().wrapping_add(apart + 2 * row * widths.x), 2 * widths.x) };
        for at in (0..widths.y).step_by(lanes) {
            let step = widths.step::<S>(row, at);
            // SAFETY: as asked above; the caller's.
            unsafe {
                let windows = Windows::<S>::load(choice.line, x.as_ptr().add(step.above), x.as_ptr().add(step.below));
                windows.x().store(to.as_mut_ptr().add(step.window));
            }
        }
    }
}

/// dx of a plane from dy of its windows. The next plane lies `apart` numbers on.
///
/// # Safety
/// The machine has the instruction set.
#[inline(always)]
pub(super) unsafe fn spread<S: Simd>(
    choice: Choice,
    slopes: Slopes,
    x: &[f32],
    widths: Widths,
    dy: &[f32],
    apart: usize,
    dx: &mut [f32],
) {
    let lanes = S::F32::LANES;
    let rows = dy.len() / widths.y;
    assert!(dx.len() == x.len() && widths.fit::<S>(x.len(), dy.len()), "registers of windows in every row");
    for row in 0..rows {
        // SAFETY: the caller's.
        unsafe { ahead::<S>(dx.as_ptr().wrapping_add(apart + 2 * row * widths.x), 2 * widths.x) };
        for at in (0..widths.y).step_by(lanes) {
            let step = widths.step::<S>(row, at);
            // SAFETY: as asked above; the caller's.
            unsafe {
                let (x, dy) = (x.as_ptr(), dy.as_ptr().add(step.window));
                let [above, below] = of_windows::<S>(choice, slopes, x.add(step.above), x.add(step.below), dy);
                S::store_pairs(above, dx.as_mut_ptr().add(step.above));
                S::store_pairs(below, dx.as_mut_ptr().add(step.below));
            }
        }
        for row in [2 * row, 2 * row + 1] {
            of_none(slopes, x, row * widths.x + 2 * widths.y..(row + 1) * widths.x, dx);
        }
    }
    of_none(slopes, x, 2 * rows * widths.x..x.len(), dx);
}

/// dx of some windows, above and below.
///
/// # Safety
/// The machine has the instruction set; two registers of x, above and below, and one of dy are there.
#[inline(always)]
unsafe fn of_windows<S: Simd>(
    choice: Choice,
    slopes: Slopes,
    above: *const f32,
    below: *const f32,
    dy: *const f32,
) -> [[S::F32; 2]; 2] {
    // SAFETY: the caller's.
    unsafe {
        let windows = Windows::<S>::load(choice.line, above, below);
        let zero = S::F32::splat(0.0);
        let mut g = S::F32::splat(slopes.factor).mul(S::F32::load(dy));
        if choice.positive {
            g = zero.if_less(windows.largest(), g, zero);
        }
        let [g_above, g_below] = windows.spread(g);
        let (x_above, x_below) = (windows.x_above, windows.x_below);
        [
            [slopes.of_all::<S>(g_above[0], x_above[0]), slopes.of_all::<S>(g_above[1], x_above[1])],
            [slopes.of_all::<S>(g_below[0], x_below[0]), slopes.of_all::<S>(g_below[1], x_below[1])],
        ]
    }
}

/// dx of numbers of no window.
#[inline(always)]
fn of_none(slopes: Slopes, x: &[f32], range: std::ops::Range<usize>, dx: &mut [f32]) {
    for (dx, &x) in dx[range.clone()].iter_mut().zip(&x[range]) {
        *dx = slopes.of(0.0, x);
    }
}

/// Brings numbers closer that are worked on next: planes of a channel lie too far apart for the machine to see them coming.
///
/// # Safety
/// The machine has the instruction set.
#[inline(always)]
pub(super) unsafe fn ahead<S: Simd>(from: *const f32, len: usize) {
    for at in (0..len).step_by(64 / size_of::<f32>()) {
        // SAFETY: the caller's.
        unsafe { S::prefetch(from.wrapping_add(at)) };
    }
}
