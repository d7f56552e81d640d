//! The numbers that out-of-distribution detection is compared by.

use super::Ranking;

/// Which set is called positive. The FPR at a TPR is a different number for each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum PositiveSet {
    /// In-distribution is positive: FPR95 is the share of out-of-distribution samples that pass when 95 % of the
    /// in-distribution ones do (energy paper, arXiv 2010.03759, and most since ODIN).
    #[default]
    InDistribution,
    /// Out-of-distribution is positive: FPR95 is the share of in-distribution samples that are flagged when 95 % of the
    /// out-of-distribution ones are (OpenOOD 1.5).
    OutOfDistribution,
}

/// What [`Ranking::separation`] has to be told.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SeparationOptions {
    /// True positive rate that the false positive rate is taken at, within (0, 1].
    pub true_positive_rate: f64,
    /// The set that is positive for it.
    pub positive: PositiveSet,
}

impl Default for SeparationOptions {
    fn default() -> Self {
        SeparationOptions { true_positive_rate: 0.95, positive: PositiveSet::default() }
    }
}

/// How well a score separates two sets. `T` is `f64` for the numbers, [`Interval`](super::Interval) for their intervals.
///
/// In the words of scikit-learn, with `o = 1` for out-of-distribution samples and 0 for others, and `s` the score:
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Separation<T = f64> {
    /// Area under the ROC curve, the same for either set as the positive one; ½ for a coin.
    /// `roc_auc_score(o, s)`.
    pub auroc: T,
    /// Average precision with in-distribution positive. `average_precision_score(1 - o, -s)`.
    pub aupr_in: T,
    /// Average precision with out-of-distribution positive. `average_precision_score(o, s)`.
    pub aupr_out: T,
    /// Least false positive rate at a true positive rate of at least `t`, over the thresholds that exist (nothing is
    /// interpolated). With in-distribution positive:
    /// `fpr, tpr, _ = roc_curve(1 - o, -s, drop_intermediate=False); fpr[tpr >= t].min()`;
    /// with out-of-distribution positive the same of `roc_curve(o, s, drop_intermediate=False)`.
    pub fpr_at_tpr: T,
    /// Largest ½(TPR + TNR) over all thresholds, the accuracy of the best threshold if both sets were equally frequent;
    /// the same for either set as the positive one. `0.5 + (tpr - fpr).max() / 2`. One less the detection error of
    /// ODIN (arXiv 1706.02690).
    pub detection_accuracy: T,
}

impl<T> Separation<T> {
    /// Number of metrics.
    pub const LEN: usize = 5;

    /// The metrics in the order of the fields.
    pub fn into_array(self) -> [T; 5] {
        [self.auroc, self.aupr_in, self.aupr_out, self.fpr_at_tpr, self.detection_accuracy]
    }

    /// From metrics in the order of the fields.
    pub fn from_array([auroc, aupr_in, aupr_out, fpr_at_tpr, detection_accuracy]: [T; 5]) -> Self {
        Separation { auroc, aupr_in, aupr_out, fpr_at_tpr, detection_accuracy }
    }

    /// Each metric on its own.
    pub fn map<U>(self, convert: impl FnMut(T) -> U) -> Separation<U> {
        Separation::from_array(self.into_array().map(convert))
    }
}

impl Separation {
    /// Each metric averaged on its own, as tables give the mean over several out-of-distribution sets; `None` of none.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "there are few sets")]
    pub fn mean(all: &[Self]) -> Option<Self> {
        let mut sums = [0.0; 5];
        for one in all {
            for (sum, value) in sums.iter_mut().zip(one.into_array()) {
                *sum += value;
            }
        }
        (!all.is_empty()).then(|| Self::from_array(sums.map(|sum| sum / all.len() as f64)))
    }
}

impl Ranking {
    /// All metrics of separation.
    #[must_use]
    pub fn separation(&self, options: SeparationOptions) -> Separation {
        let sizes = (self.in_distribution_ranks().len(), self.out_of_distribution_ranks().len());
        Sweep::new(sizes, options).over(self.in_distribution(), self.out_of_distribution())
    }
}

/// One pass over counts at ascending scores. What depends on the sizes of the sets only is computed once for all
/// resamples.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sweep {
    inside_len: u64,
    outside_len: u64,
    positive: PositiveSet,
    /// Fewest positives that are the asked true positive rate.
    needed: u64,
}

impl Sweep {
    pub(super) fn new((inside_len, outside_len): (usize, usize), options: SeparationOptions) -> Self {
        let (inside_len, outside_len) = (inside_len as u64, outside_len as u64);
        let positives = match options.positive {
            PositiveSet::InDistribution => inside_len,
            PositiveSet::OutOfDistribution => outside_len,
        };
        let needed = fewest(positives, options.true_positive_rate);
        Sweep { inside_len, outside_len, positive: options.positive, needed }
    }

    /// The metrics of samples that are counted at ascending scores.
    #[expect(
        clippy::cast_precision_loss,
        reason = "counts are below 2^31, products of two below 2^62 and compared only"
    )]
    pub(super) fn over(self, inside: &[u32], outside: &[u32]) -> Separation {
        let (inside_len, outside_len) = (self.inside_len as f64, self.outside_len as f64);
        // samples scored lower than the current value
        let (mut inside_below, mut outside_below) = (0u64, 0u64);
        // twice the number of pairs in which the out-of-distribution sample scores higher; ties count one
        let mut wins = 0u64;
        let (mut precision_in, mut precision_out) = (0.0, 0.0);
        let mut false_positives = None;
        let mut widest_gap = 0.0f64;
        for (&inside_here, &outside_here) in inside.iter().zip(outside) {
            let (inside_here, outside_here) = (u64::from(inside_here), u64::from(outside_here));
            wins += outside_here * (2 * inside_below + inside_here);
            if outside_here > 0 {
                // all from here on are called out of distribution
                let (right, wrong) = (self.outside_len - outside_below, self.inside_len - inside_below);
                precision_out += outside_here as f64 * (right as f64 / (right + wrong) as f64);
                if self.positive == PositiveSet::OutOfDistribution && right >= self.needed {
                    false_positives = Some(wrong);
                }
            }
            inside_below += inside_here;
            outside_below += outside_here;
            if inside_here > 0 {
                // all up to here are called in distribution
                precision_in += inside_here as f64 * (inside_below as f64 / (inside_below + outside_below) as f64);
                if self.positive == PositiveSet::InDistribution
                    && false_positives.is_none()
                    && inside_below >= self.needed
                {
                    false_positives = Some(outside_below);
                }
            }
            // (TPR − FPR)·|in|·|out|
            widest_gap = widest_gap.max(inside_below as f64 * outside_len - outside_below as f64 * inside_len);
        }
        let negatives = match self.positive {
            PositiveSet::InDistribution => outside_len,
            PositiveSet::OutOfDistribution => inside_len,
        };
        // with nothing needed, nothing is called positive
        let false_positives = if self.needed == 0 { 0 } else { false_positives.unwrap_or(0) };
        Separation {
            auroc: wins as f64 / (2.0 * inside_len * outside_len),
            aupr_in: precision_in / inside_len,
            aupr_out: precision_out / outside_len,
            fpr_at_tpr: false_positives as f64 / negatives,
            detection_accuracy: 0.5 + widest_gap / (2.0 * inside_len * outside_len),
        }
    }
}

/// Fewest of `total` whose share, as a quotient in f64, is at least `rate`: the comparison scikit-learn users write.
#[expect(clippy::cast_precision_loss, reason = "counts are below 2^31")]
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the rate is clamped")]
fn fewest(total: u64, rate: f64) -> u64 {
    let reaches = |count: u64| count as f64 / total as f64 >= rate;
    let mut count = ((rate.clamp(0.0, 1.0) * total as f64).ceil() as u64).min(total);
    while count > 0 && reaches(count - 1) {
        count -= 1;
    }
    while count < total && !reaches(count) {
        count += 1;
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn scores() -> impl Strategy<Value = Vec<f64>> {
        let score = prop_oneof![
            8 => (-4i8..4).prop_map(f64::from),
            4 => -3.0..3.0f64,
            1 => Just(f64::INFINITY),
            1 => Just(f64::NEG_INFINITY),
        ];
        prop::collection::vec(score, 1..40)
    }

    fn options(positive: PositiveSet, true_positive_rate: f64) -> SeparationOptions {
        SeparationOptions { true_positive_rate, positive }
    }

    /// The definitions, threshold by threshold: (true positive rate, false positive rate, precision), the strictest
    /// threshold first.
    fn by_threshold(positives: &[f64], negatives: &[f64]) -> Vec<(f64, f64, f64)> {
        let mut thresholds: Vec<f64> = positives.iter().chain(negatives).copied().collect();
        thresholds.sort_by(|a, b| b.total_cmp(a));
        thresholds.dedup();
        let points = thresholds.iter().map(|threshold| {
            let above = |scores: &[f64]| scores.iter().filter(|score| *score >= threshold).count() as f64;
            let (right, wrong) = (above(positives), above(negatives));
            (right / positives.len() as f64, wrong / negatives.len() as f64, right / (right + wrong))
        });
        points.collect()
    }

    fn average_precision(points: &[(f64, f64, f64)]) -> f64 {
        let before = std::iter::once(0.0).chain(points.iter().map(|point| point.0));
        points.iter().zip(before).map(|(point, before)| (point.0 - before) * point.2).sum()
    }

    fn negated(scores: &[f64]) -> Vec<f64> {
        scores.iter().map(|score| -score).collect()
    }

    #[test]
    fn apart_and_alike() {
        let ranking = Ranking::new(&[0.0, 1.0], &[2.0, 3.0]).unwrap();
        let best = Separation { auroc: 1.0, aupr_in: 1.0, aupr_out: 1.0, fpr_at_tpr: 0.0, detection_accuracy: 1.0 };
        assert_eq!(ranking.separation(SeparationOptions::default()), best);
        let ranking = Ranking::new(&[1.0, 1.0], &[1.0]).unwrap();
        let none = ranking.separation(SeparationOptions::default());
        assert_eq!((none.auroc, none.fpr_at_tpr, none.detection_accuracy), (0.5, 1.0, 0.5));
        assert!((none.aupr_in - 2.0 / 3.0).abs() < 1e-15 && (none.aupr_out - 1.0 / 3.0).abs() < 1e-15);
    }

    #[test]
    fn the_conventions_differ() {
        let inside: Vec<f64> = (0..20).map(f64::from).collect();
        let outside: Vec<f64> = (0..20).map(|i| f64::from(i) + if i < 4 { 0.5 } else { 15.5 }).collect();
        let ranking = Ranking::new(&inside, &outside).unwrap();
        let of = |positive| ranking.separation(options(positive, 0.95)).fpr_at_tpr;
        assert_eq!(of(PositiveSet::InDistribution), 4.0 / 20.0);
        assert_eq!(of(PositiveSet::OutOfDistribution), 18.0 / 20.0);
    }

    #[test]
    fn a_rate_is_reached_as_quotients_compare() {
        assert_eq!(fewest(20, 0.95), 19);
        assert_eq!(fewest(100, 0.95), 95);
        assert_eq!(fewest(10, 0.3), 3);
        assert_eq!(fewest(3, 1.0), 3);
        assert_eq!(fewest(3, 0.0), 0);
        for total in 1..300u64 {
            for count in 1..=total {
                assert_eq!(fewest(total, count as f64 / total as f64), count);
            }
        }
    }

    proptest! {
        #[test]
        fn as_the_definitions(inside in scores(), outside in scores(), rate in 0.01..=1.0f64) {
            let ranking = Ranking::new(&inside, &outside).unwrap();
            let in_positive = by_threshold(&negated(&inside), &negated(&outside));
            let out_positive = by_threshold(&outside, &inside);
            let fpr = |points: &[(f64, f64, f64)]| points.iter().find(|point| point.0 >= rate).unwrap().1;
            let found = ranking.separation(options(PositiveSet::InDistribution, rate));
            prop_assert_eq!(found.fpr_at_tpr, fpr(&in_positive));
            prop_assert_eq!(
                ranking.separation(options(PositiveSet::OutOfDistribution, rate)).fpr_at_tpr,
                fpr(&out_positive)
            );
            prop_assert!((found.aupr_in - average_precision(&in_positive)).abs() < 1e-12);
            prop_assert!((found.aupr_out - average_precision(&out_positive)).abs() < 1e-12);
            let gap = in_positive.iter().map(|point| point.0 - point.1).fold(0.0, f64::max);
            prop_assert!((found.detection_accuracy - (0.5 + gap / 2.0)).abs() < 1e-12);
        }

        #[test]
        fn only_the_order_counts(inside in scores(), outside in scores()) {
            let bend = |scores: &[f64]| scores.iter().map(|score| score.atan().exp() * 3.0 - 7.0).collect::<Vec<_>>();
            let straight = Ranking::new(&inside, &outside).unwrap();
            let bent = Ranking::new(&bend(&inside), &bend(&outside)).unwrap();
            for positive in [PositiveSet::InDistribution, PositiveSet::OutOfDistribution] {
                prop_assert_eq!(straight.separation(options(positive, 0.9)), bent.separation(options(positive, 0.9)));
            }
        }

        #[test]
        fn exchanging_sign_and_sets_exchanges_the_conventions(inside in scores(), outside in scores()) {
            let one = Ranking::new(&inside, &outside).unwrap().separation(options(PositiveSet::InDistribution, 0.9));
            let other = Ranking::new(&negated(&outside), &negated(&inside)).unwrap();
            let other = other.separation(options(PositiveSet::OutOfDistribution, 0.9));
            prop_assert_eq!(one.fpr_at_tpr, other.fpr_at_tpr);
            prop_assert!((one.aupr_in - other.aupr_out).abs() < 1e-12);
            prop_assert!((one.auroc - other.auroc).abs() < 1e-12);
        }
    }
}
