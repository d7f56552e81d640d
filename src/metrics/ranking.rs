//! Two sets of scores on one scale.

use super::MetricsError;
use super::error::check_numbers;

/// Out-of-distribution scores of an in-distribution and an out-of-distribution set, counted at each distinct value.
///
/// What all metrics of separation are computed from, in one pass and without sorting again.
#[derive(Clone, Debug, PartialEq)]
pub struct Ranking {
    /// Distinct scores, ascending. −0 and 0 are one.
    values: Vec<f64>,
    inside: Vec<u32>,
    outside: Vec<u32>,
    /// Index into `values` of each in-distribution sample, in the order they were given.
    inside_ranks: Vec<u32>,
    outside_ranks: Vec<u32>,
}

impl Ranking {
    /// Ranks both sets; O(n log n).
    ///
    /// # Errors
    /// An empty set, NaN, or more than 2^31 − 1 samples in a set.
    pub fn new(in_distribution: &[f64], out_of_distribution: &[f64]) -> Result<Self, MetricsError> {
        let sides = [("in-distribution score", in_distribution), ("out-of-distribution score", out_of_distribution)];
        for (what, scores) in sides {
            if scores.len() > (u32::MAX / 2) as usize {
                return Err(MetricsError::TooMany { what, count: scores.len() });
            }
            check_numbers(what, scores)?;
        }
        let mut values: Vec<f64> = in_distribution.iter().chain(out_of_distribution).copied().collect();
        // adding 0 turns −0 into 0, so that the two are one value
        values.iter_mut().for_each(|value| *value += 0.0);
        values.sort_unstable_by(f64::total_cmp);
        values.dedup();
        let (inside_ranks, inside) = count(&values, in_distribution);
        let (outside_ranks, outside) = count(&values, out_of_distribution);
        Ok(Ranking { values, inside, outside, inside_ranks, outside_ranks })
    }

    /// Distinct scores, ascending.
    #[must_use]
    pub fn values(&self) -> &[f64] {
        &self.values
    }

    /// In-distribution samples at each of [`Self::values`].
    #[must_use]
    pub fn in_distribution(&self) -> &[u32] {
        &self.inside
    }

    /// Out-of-distribution samples at each of [`Self::values`].
    #[must_use]
    pub fn out_of_distribution(&self) -> &[u32] {
        &self.outside
    }

    /// Index into [`Self::values`] of each in-distribution sample, in the order they were given.
    pub(super) fn in_distribution_ranks(&self) -> &[u32] {
        &self.inside_ranks
    }

    /// Index into [`Self::values`] of each out-of-distribution sample, in the order they were given.
    pub(super) fn out_of_distribution_ranks(&self) -> &[u32] {
        &self.outside_ranks
    }
}

/// Where each score stands among the distinct ones, and how many stand there.
#[expect(clippy::cast_possible_truncation, reason = "there are at most 2^32 − 2 distinct scores")]
fn count(values: &[f64], scores: &[f64]) -> (Vec<u32>, Vec<u32>) {
    let ranks: Vec<u32> = scores.iter().map(|score| values.partition_point(|value| value < score) as u32).collect();
    let mut counts = vec![0; values.len()];
    for &rank in &ranks {
        counts[rank as usize] += 1;
    }
    (ranks, counts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_scores_stand_together() {
        let ranking = Ranking::new(&[1.0, -0.0, 1.0], &[0.0, f64::INFINITY, 1.0, f64::NEG_INFINITY]).unwrap();
        assert_eq!(ranking.values(), [f64::NEG_INFINITY, 0.0, 1.0, f64::INFINITY]);
        assert_eq!(ranking.in_distribution(), [0, 1, 2, 0]);
        assert_eq!(ranking.out_of_distribution(), [1, 1, 1, 1]);
        assert_eq!(ranking.in_distribution_ranks(), [2, 1, 2]);
    }

    #[test]
    fn what_has_no_rank_is_named() {
        let text = Ranking::new(&[0.0, f64::NAN], &[0.0]).unwrap_err().to_string();
        assert!(text.starts_with("in-distribution score 1 is NaN"), "{text}");
        let text = Ranking::new(&[0.0], &[]).unwrap_err().to_string();
        assert!(text.contains("no out-of-distribution score"), "{text}");
    }
}
