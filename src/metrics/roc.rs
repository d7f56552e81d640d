//! Receiver operating characteristic.

use super::{MetricsError, PositiveSet, Ranking};

/// Rates at every threshold, from none called positive to all.
///
/// The points of `sklearn.metrics.roc_curve(…, drop_intermediate=False)`: (0, 0) first, then one per distinct score.
#[derive(Clone, Debug, PartialEq)]
pub struct RocCurve {
    /// Share of the negative set called positive, ascending from 0 to 1.
    pub false_positive_rate: Vec<f64>,
    /// Share of the positive set called positive, ascending from 0 to 1.
    pub true_positive_rate: Vec<f64>,
    /// Score up to which (in-distribution positive) or from which (out-of-distribution positive) a sample is called
    /// positive; the first one, of (0, 0), is infinite.
    pub thresholds: Vec<f64>,
}

impl RocCurve {
    /// The curve with one of the sets as the positive one.
    #[must_use]
    pub fn new(ranking: &Ranking, positive: PositiveSet) -> Self {
        let (inside, outside) = (ranking.in_distribution(), ranking.out_of_distribution());
        let values = ranking.values().iter().copied();
        match positive {
            PositiveSet::InDistribution => {
                Self::accumulate(f64::NEG_INFINITY, values, inside.iter().copied(), outside.iter().copied())
            }
            PositiveSet::OutOfDistribution => Self::accumulate(
                f64::INFINITY,
                values.rev(),
                outside.iter().rev().copied(),
                inside.iter().rev().copied(),
            ),
        }
    }

    /// From the value that is most surely positive to the one that is least.
    #[expect(clippy::cast_precision_loss, reason = "counts are below 2^31")]
    fn accumulate(
        first: f64,
        values: impl Iterator<Item = f64>,
        positives: impl Iterator<Item = u32> + Clone,
        negatives: impl Iterator<Item = u32> + Clone,
    ) -> Self {
        let rates = |counts: &mut dyn Iterator<Item = u32>| {
            let mut sums = vec![0u64];
            for count in counts {
                sums.push(sums[sums.len() - 1] + u64::from(count));
            }
            let total = sums[sums.len() - 1] as f64;
            sums.into_iter().map(|sum| sum as f64 / total).collect::<Vec<f64>>()
        };
        RocCurve {
            true_positive_rate: rates(&mut positives.clone()),
            false_positive_rate: rates(&mut negatives.clone()),
            thresholds: std::iter::once(first).chain(values).collect(),
        }
    }
}

/// Area under the ROC curve: how often an out-of-distribution sample scores above an in-distribution one, ties counting
/// half (Mann–Whitney U). `sklearn.metrics.roc_auc_score` with out-of-distribution as 1.
///
/// # Errors
/// As [`Ranking::new`].
pub fn auroc(in_distribution: &[f64], out_of_distribution: &[f64]) -> Result<f64, MetricsError> {
    let ranking = Ranking::new(in_distribution, out_of_distribution)?;
    Ok(ranking.separation(super::SeparationOptions::default()).auroc)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Few distinct values, so that ties are common.
    fn scores() -> impl Strategy<Value = Vec<f64>> {
        let score = prop_oneof![
            8 => (-4i8..4).prop_map(f64::from),
            4 => -3.0..3.0f64,
            1 => Just(f64::INFINITY),
            1 => Just(f64::NEG_INFINITY),
        ];
        prop::collection::vec(score, 1..40)
    }

    #[test]
    fn points_of_the_curve() {
        let ranking = Ranking::new(&[1.0, 2.0], &[2.0, 3.0]).unwrap();
        let curve = RocCurve::new(&ranking, PositiveSet::InDistribution);
        assert_eq!(curve.true_positive_rate, [0.0, 0.5, 1.0, 1.0]);
        assert_eq!(curve.false_positive_rate, [0.0, 0.0, 0.5, 1.0]);
        assert_eq!(curve.thresholds, [f64::NEG_INFINITY, 1.0, 2.0, 3.0]);
        let curve = RocCurve::new(&ranking, PositiveSet::OutOfDistribution);
        assert_eq!(curve.true_positive_rate, [0.0, 0.5, 1.0, 1.0]);
        assert_eq!(curve.thresholds, [f64::INFINITY, 3.0, 2.0, 1.0]);
    }

    proptest! {
        #[test]
        fn the_area_counts_pairs(inside in scores(), outside in scores()) {
            let mut wins = 0.0;
            for a in &inside {
                for b in &outside {
                    wins += if b > a { 1.0 } else if b == a { 0.5 } else { 0.0 };
                }
            }
            let expected = wins / (inside.len() * outside.len()) as f64;
            prop_assert!((auroc(&inside, &outside).unwrap() - expected).abs() < 1e-12);
        }

        #[test]
        fn exchanging_the_sets_mirrors_the_area(inside in scores(), outside in scores()) {
            let (one, other) = (auroc(&inside, &outside).unwrap(), auroc(&outside, &inside).unwrap());
            prop_assert!((one - (1.0 - other)).abs() < 1e-12);
        }

        #[test]
        fn the_area_is_below_the_curve(inside in scores(), outside in scores()) {
            let ranking = Ranking::new(&inside, &outside).unwrap();
            for positive in [PositiveSet::InDistribution, PositiveSet::OutOfDistribution] {
                let curve = RocCurve::new(&ranking, positive);
                let points: Vec<_> = curve.false_positive_rate.iter().zip(&curve.true_positive_rate).collect();
                let area: f64 = points.windows(2).map(|w| (w[1].0 - w[0].0) * (w[1].1 + w[0].1) / 2.0).sum();
                prop_assert!((auroc(&inside, &outside).unwrap() - area).abs() < 1e-9);
            }
        }
    }
}
