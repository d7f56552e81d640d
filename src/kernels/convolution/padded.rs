//! Planes copied into padded rows.

use crate::kernels::copy::copy_few;

/// Rows of `columns` numbers, laid end to end, that show part of a plane with zeros around it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Padded {
    /// Height and width of the plane.
    pub plane: [usize; 2],
    /// Steps between its elements in the copy; zeros between them.
    pub apart: [usize; 2],
    /// Where its first element lies, seen from the first row and column of the copy.
    pub before: [isize; 2],
    /// Length of a row of the copy.
    pub columns: usize,
}

impl Padded {
    /// Fills `to`, whole rows.
    #[inline(always)]
    pub(super) fn fill(&self, from: &[f32], to: &mut [f32]) {
        for (row, to) in to.chunks_exact_mut(self.columns).enumerate() {
            self.fill_row(row, from, to);
        }
    }

    /// Fills `to`, a row of the copy.
    #[inline(always)]
    pub(super) fn fill_row(&self, row: usize, from: &[f32], to: &mut [f32]) {
        let [height, width] = self.plane;
        let at = row as isize - self.before[0];
        let source = (at >= 0 && (at as usize).is_multiple_of(self.apart[0])).then_some(at as usize / self.apart[0]);
        match source.filter(|&row| row < height).and_then(|row| from.get(row * width..(row + 1) * width)) {
            Some(from) => self.lay(from, to),
            None => to.fill(0.0),
        }
    }

    /// Lays a row of the plane into a row of the copy.
    #[inline(always)]
    fn lay(&self, from: &[f32], to: &mut [f32]) {
        let step = self.apart[1];
        if step == 1 {
            // the part of the row that is seen
            let cut = usize::try_from(-self.before[1]).unwrap_or(0).min(from.len());
            let from = &from[cut..];
            let start = usize::try_from(self.before[1]).unwrap_or(0).min(to.len());
            let seen = from.len().min(to.len() - start);
            let (zeros, rest) = to.split_at_mut(start);
            let (middle, end) = rest.split_at_mut(seen);
            few_zeros(zeros);
            copy_few(&from[..seen], middle);
            few_zeros(end);
            return;
        }
        to.fill(0.0);
        for (i, &value) in from.iter().enumerate() {
            let at = self.before[1] + (i * step) as isize;
            if let Some(slot) = usize::try_from(at).ok().and_then(|at| to.get_mut(at)) {
                *slot = value;
            }
        }
    }
}

/// Zeros where there are mostly one or two. A call would take longer, and a loop over them is compiled to one.
#[inline(always)]
fn few_zeros(to: &mut [f32]) {
    match to {
        [] => {}
        [a] => *a = 0.0,
        [a, b] => [*a, *b] = [0.0; 2],
        [a, b, c] => [*a, *b, *c] = [0.0; 3],
        _ => to.fill(0.0),
    }
}
