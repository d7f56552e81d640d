//! Sizes of labels and logits that go together, to run a piece on.

use crate::rewrite::rules::Context;

use super::piece::{MAX_ELEMENTS, Piece, known};

/// With more classes than this the probes have as few rows as tell losses apart.
pub(super) const MANY_CLASSES: usize = 8192;
/// Runs, each on other numbers of rows where these are free: a sum divided by 5 is no mean.
pub(super) const PROBES: usize = 4;

impl Piece {
    /// Sizes to try for the labels input, one for each run: what is declared, free sizes filled in.
    pub(super) fn label_shapes(&self, context: &Context, labels_input: &str) -> Vec<Vec<Vec<usize>>> {
        let (different, equal): ([[usize; 3]; PROBES], [[usize; 3]; PROBES]) = if self.classes > MANY_CLASSES {
            ([[3, 2, 1], [2, 3, 1], [2, 2, 1], [3, 2, 1]], [[2; 3]; PROBES])
        } else {
            ([[5, 3, 2], [7, 2, 3], [4, 3, 2], [6, 2, 2]], [[4; 3], [3; 3], [5; 3], [2; 3]])
        };
        let Some(declared) = context.shapes.get(labels_input).dims else {
            let cut = |rank: usize| different.iter().map(|free| free[..rank].to_vec()).collect();
            return vec![cut(1), cut(2)];
        };
        let mut declared: Vec<Option<usize>> = declared.iter().map(known).collect();
        let mut rows: Vec<Option<usize>> =
            self.dims.iter().enumerate().filter(|(i, _)| *i != self.axis).map(|(_, d)| *d).collect();
        let fixed: usize = declared.iter().flatten().product();
        if fixed.max(rows.iter().flatten().product()).saturating_mul(self.classes) > MAX_ELEMENTS / 8 {
            // too large to run as declared; what holds for a few rows holds for many, unless a size is baked in
            declared.iter_mut().chain(&mut rows).for_each(|d| *d = d.filter(|n| *n == 1));
        }
        // free sizes as the logits have them; else small, and different so that mixed-up axes show
        let fill = |free: &[usize; 3]| -> Vec<usize> {
            declared
                .iter()
                .enumerate()
                .map(|(i, d)| d.or_else(|| rows.get(i).copied().flatten()).unwrap_or(free[i.min(2)]))
                .collect()
        };
        let mut sets: Vec<Vec<Vec<usize>>> =
            [different, equal].iter().map(|set| set.iter().map(fill).collect()).collect();
        sets.dedup();
        sets
    }

    /// Sizes of the logits if `label_dims` are the labels of their rows; `true`: the labels must be flattened.
    pub(super) fn logits_dims(&self, label_dims: &[usize]) -> Option<(Vec<usize>, bool)> {
        let rank = self.dims.len();
        let insert = |dims: &[usize]| -> Vec<usize> {
            let mut dims = dims.to_vec();
            dims.insert(self.axis, self.classes);
            dims
        };
        let (dims, flatten) = if label_dims.len() + 1 == rank {
            (insert(label_dims), false)
        } else if label_dims.len() == rank && label_dims.get(self.axis) == Some(&1) {
            let mut dims = label_dims.to_vec();
            dims[self.axis] = self.classes;
            (dims, true)
        } else if rank == 2 {
            (insert(&[label_dims.iter().product()]), true)
        } else {
            return None;
        };
        let large = self.dims.iter().flatten().product::<usize>() > MAX_ELEMENTS / 8;
        let fits = dims
            .iter()
            .zip(&self.dims)
            .enumerate()
            .all(|(i, (d, known))| known.is_none_or(|k| k == *d || (large && i != self.axis && k > 1)));
        (fits && dims.iter().product::<usize>() <= MAX_ELEMENTS).then_some((dims, flatten))
    }
}
