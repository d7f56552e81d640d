//! The largest of a row.

use std::cmp::Ordering;

/// Finds the largest values of rows; its memory is used again.
#[derive(Clone, Debug, Default)]
pub(super) struct TopK {
    order: Vec<u32>,
    values: Vec<f32>,
}

impl TopK {
    /// Indices of the `k` largest, the largest first, of equals the first first.
    pub fn indices(&mut self, row: &[f32], k: usize) -> &[u32] {
        let larger = |&a: &u32, &b: &u32| descending(&row[a as usize], &row[b as usize]).then(a.cmp(&b));
        self.order.clear();
        self.order.extend(0..row.len() as u32);
        let k = k.min(row.len());
        if k < row.len() && k > 0 {
            self.order.select_nth_unstable_by(k - 1, larger);
        }
        self.order.truncate(k);
        self.order.sort_unstable_by(larger);
        &self.order
    }

    /// The `k` largest values, in any order; the row itself where that is all of them.
    pub fn values<'a>(&'a mut self, row: &'a [f32], k: usize) -> &'a [f32] {
        if k >= row.len() || k == 0 {
            return &row[..k.min(row.len())];
        }
        self.values.clear();
        self.values.extend_from_slice(row);
        self.values.select_nth_unstable_by(k - 1, descending);
        &self.values[..k]
    }
}

/// Rows hold no NaN.
fn descending(a: &f32, b: &f32) -> Ordering {
    b.partial_cmp(a).unwrap_or(Ordering::Equal)
}
