//! Columns of what a model said about one set of samples.

use crate::edge::{Score, Scored};

/// What is kept of a scored set: a few numbers per sample, by columns. 4 bytes per sample and score, 16 more per sample.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ScoredSet {
    /// What the set is called in tables.
    pub name: String,
    /// The scores that were computed.
    pub scores: Vec<Score>,
    /// One column per score, each \[samples\]; higher is further out of distribution.
    pub columns: Vec<Vec<f32>>,
    /// Predicted class of each sample.
    pub class: Vec<u32>,
    /// Its probability.
    pub probability: Vec<f32>,
    /// Largest logit less the second; empty where the model has no logits.
    pub margin: Vec<f32>,
    /// Class each sample has; empty where it is not known.
    pub labels: Vec<i64>,
    /// −ln of the probability given to the label; empty where labels or logits are not known.
    pub label_nll: Vec<f64>,
    /// Whether the calibrated model takes the sample for in-distribution; empty where it is not calibrated.
    pub in_distribution: Vec<bool>,
}

impl ScoredSet {
    /// An empty set.
    #[must_use]
    pub fn new(name: impl Into<String>, scores: &[Score]) -> Self {
        ScoredSet {
            name: name.into(),
            scores: scores.to_vec(),
            columns: vec![Vec::new(); scores.len()],
            ..ScoredSet::default()
        }
    }

    /// Number of samples.
    #[must_use]
    pub fn len(&self) -> usize {
        self.class.len()
    }

    /// Whether there are no samples.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.class.is_empty()
    }

    /// Appends scored samples; `scored` holds the scores of [`Self::scores`] in their order.
    pub fn push(&mut self, scored: &Scored, labels: Option<&[i64]>) {
        let width = self.columns.len();
        for (index, column) in self.columns.iter_mut().enumerate() {
            column.extend(scored.scores.iter().skip(index).step_by(width.max(1)));
        }
        self.class.extend(&scored.class);
        self.probability.extend(&scored.probability);
        self.margin.extend(&scored.margin);
        self.in_distribution.extend(&scored.in_distribution);
        self.labels.extend(labels.unwrap_or_default());
    }

    /// The values of a score, where it was computed.
    #[must_use]
    pub fn column(&self, score: Score) -> Option<&[f32]> {
        let index = self.scores.iter().position(|one| *one == score)?;
        self.columns.get(index).map(Vec::as_slice)
    }

    /// Whether every sample has a label.
    #[must_use]
    pub fn is_labelled(&self) -> bool {
        !self.is_empty() && self.labels.len() == self.len()
    }

    /// Whether each prediction is right; empty where there are no labels.
    #[must_use]
    pub fn correct(&self) -> Vec<bool> {
        if !self.is_labelled() {
            return Vec::new();
        }
        self.class.iter().zip(&self.labels).map(|(class, label)| i64::from(*class) == *label).collect()
    }

    /// Share of the samples that the calibrated model takes for in-distribution.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
    pub fn kept(&self) -> Option<f64> {
        if self.is_empty() || self.in_distribution.len() != self.len() {
            return None;
        }
        Some(self.in_distribution.iter().filter(|kept| **kept).count() as f64 / self.len() as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_become_columns() {
        let mut set = ScoredSet::new("a", &[Score::Energy, Score::Msp]);
        let scored = Scored {
            rows: 2,
            class: vec![3, 1],
            probability: vec![0.9, 0.8],
            margin: vec![2.0, 1.0],
            scores: vec![-5.0, -0.9, -4.0, -0.8],
            in_distribution: vec![true, false],
            ..Scored::default()
        };
        set.push(&scored, Some(&[3, 2]));
        set.push(&scored, Some(&[3, 1]));
        assert_eq!(set.column(Score::Energy), Some(&[-5.0, -4.0, -5.0, -4.0][..]));
        assert_eq!(set.column(Score::Msp), Some(&[-0.9, -0.8, -0.9, -0.8][..]));
        assert_eq!(set.column(Score::Gen), None);
        assert_eq!(set.correct(), [true, false, true, true]);
        assert_eq!((set.len(), set.kept()), (4, Some(0.5)));
    }
}
