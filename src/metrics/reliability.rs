//! Whether confidence is accuracy: reliability diagram and expected calibration error.

use super::MetricsError;
use super::error::{check_lengths, check_numbers};

/// Bins that the expected calibration error is usually taken over (Guo et al., ICML 2017).
pub const CALIBRATION_BINS: usize = 15;

/// Predictions of similar confidence.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ReliabilityBin {
    /// Confidences in it are above this (or, in the first bin, 0) …
    pub lower: f64,
    /// … and at most this.
    pub upper: f64,
    /// Number of predictions.
    pub count: usize,
    /// Their mean confidence; 0 where there are none.
    pub confidence: f64,
    /// Share of them that was right; 0 where there are none.
    pub accuracy: f64,
}

/// Accuracy by confidence, in bins of equal width (lower, upper] over (0, 1]; 0 is in the first
/// (Guo et al., ICML 2017, arXiv 1706.04599, §2).
#[derive(Clone, Debug, PartialEq)]
pub struct ReliabilityDiagram {
    /// Ascending.
    pub bins: Vec<ReliabilityBin>,
    /// Number of predictions.
    pub count: usize,
}

impl ReliabilityDiagram {
    /// From the probability of each predicted class and whether the prediction was right.
    ///
    /// # Errors
    /// No predictions, columns of different lengths, NaN, a probability outside [0, 1].
    #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "confidences are within [0, 1]")]
    pub fn new(confidences: &[f64], correct: &[bool], bins: usize) -> Result<Self, MetricsError> {
        check_lengths(("probabilities", confidences.len()), ("predictions", correct.len()))?;
        check_numbers("probability", confidences)?;
        let bins = bins.max(1);
        let edge = |index: usize| index as f64 / bins as f64;
        let mut sums = vec![(0usize, 0.0f64, 0usize); bins];
        for (index, (&confidence, &correct)) in confidences.iter().zip(correct).enumerate() {
            if !(0.0..=1.0).contains(&confidence) {
                let (what, range) = ("probability", "within 0 and 1");
                return Err(MetricsError::OutOfRange { what, index, value: confidence, range });
            }
            let mut bin = ((confidence * bins as f64) as usize).min(bins - 1);
            // the product is rounded; the edges decide
            if bin > 0 && confidence <= edge(bin) {
                bin -= 1;
            }
            if confidence > edge(bin + 1) {
                bin += 1;
            }
            let (count, sum, right) = &mut sums[bin];
            *count += 1;
            *sum += confidence;
            *right += usize::from(correct);
        }
        let bins = sums.iter().enumerate().map(|(index, &(count, sum, right))| {
            let share = |sum: f64| if count == 0 { 0.0 } else { sum / count as f64 };
            ReliabilityBin {
                lower: edge(index),
                upper: edge(index + 1),
                count,
                confidence: share(sum),
                accuracy: share(right as f64),
            }
        });
        Ok(ReliabilityDiagram { bins: bins.collect(), count: confidences.len() })
    }

    /// Σ over bins of (share of samples)·|accuracy − confidence|.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
    pub fn expected_calibration_error(&self) -> f64 {
        let weighted = self.bins.iter().map(|bin| bin.count as f64 * (bin.accuracy - bin.confidence).abs());
        weighted.sum::<f64>() / self.count as f64
    }

    /// The largest |accuracy − confidence| of a bin that holds anything.
    #[must_use]
    pub fn maximum_calibration_error(&self) -> f64 {
        let filled = self.bins.iter().filter(|bin| bin.count > 0);
        filled.map(|bin| (bin.accuracy - bin.confidence).abs()).fold(0.0, f64::max)
    }
}

/// Expected calibration error of top-label confidences over `bins` bins of equal width, [`CALIBRATION_BINS`] as a rule.
///
/// # Errors
/// As [`ReliabilityDiagram::new`].
pub fn expected_calibration_error(confidences: &[f64], correct: &[bool], bins: usize) -> Result<f64, MetricsError> {
    Ok(ReliabilityDiagram::new(confidences, correct, bins)?.expected_calibration_error())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn edges_belong_to_the_bin_below() {
        let diagram = ReliabilityDiagram::new(&[0.0, 0.2, 0.200_000_1, 1.0], &[true; 4], 5).unwrap();
        let counts: Vec<usize> = diagram.bins.iter().map(|bin| bin.count).collect();
        assert_eq!(counts, [2, 1, 0, 0, 1]);
        // every edge, as it is rounded
        for bins in 1..60 {
            for index in 1..=bins {
                let edge = f64::from(index) / f64::from(bins);
                let diagram = ReliabilityDiagram::new(&[edge], &[true], bins as usize).unwrap();
                assert_eq!(diagram.bins[index as usize - 1].count, 1, "{index}/{bins}");
            }
        }
    }

    #[test]
    fn by_hand() {
        let error = expected_calibration_error(&[0.9, 0.8, 0.3, 0.6], &[true, false, false, true], 2).unwrap();
        // upper half: mean confidence 0.7667, accuracy 2/3; lower half: 0.3 against 0
        assert!((error - (0.75 * 0.1 + 0.25 * 0.3)).abs() < 1e-12, "{error}");
        let diagram = ReliabilityDiagram::new(&[0.9, 0.8, 0.3, 0.6], &[true, false, false, true], 2).unwrap();
        assert!((diagram.maximum_calibration_error() - 0.3).abs() < 1e-12);
    }

    #[test]
    fn what_is_no_confidence() {
        assert!(expected_calibration_error(&[], &[], 15).is_err());
        assert!(expected_calibration_error(&[0.5], &[], 15).is_err());
        assert!(expected_calibration_error(&[f64::NAN], &[true], 15).is_err());
        assert!(expected_calibration_error(&[1.1], &[true], 15).is_err());
    }

    proptest! {
        #[test]
        fn as_the_definition(rows in prop::collection::vec((0.0..=1.0f64, any::<bool>()), 1..80), bins in 1usize..20) {
            let (confidences, correct): (Vec<f64>, Vec<bool>) = rows.iter().copied().unzip();
            let mut expected = 0.0;
            for bin in 0..bins {
                let (low, high) = (bin as f64 / bins as f64, (bin + 1) as f64 / bins as f64);
                let inside: Vec<_> = rows.iter().filter(|(c, _)| (*c > low || bin == 0) && *c <= high).collect();
                let confidence: f64 = inside.iter().map(|(c, _)| c).sum();
                let right = inside.iter().filter(|(_, right)| *right).count() as f64;
                expected += (confidence - right).abs() / rows.len() as f64;
            }
            let error = expected_calibration_error(&confidences, &correct, bins).unwrap();
            prop_assert!((error - expected).abs() < 1e-12, "{error} {expected}");
        }
    }
}
