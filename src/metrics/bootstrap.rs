//! Percentile bootstrap intervals.

use fastrand::Rng;

use super::separation::Sweep;
use super::{Ranking, Separation, SeparationOptions, quantile_of_sorted};

/// Where a number lies, with the probability that was asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Interval {
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// How often to draw samples with replacement, and from which random numbers (Efron, 1979).
///
/// The same seed gives the same intervals, with any number of threads.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bootstrap {
    /// Number of resamples.
    pub resamples: usize,
    /// Where the random numbers start.
    pub seed: u64,
    /// Share of the resamples that lies within the interval.
    pub level: f64,
}

impl Default for Bootstrap {
    /// 1000 resamples, seed 0, 95 %.
    fn default() -> Self {
        Bootstrap { resamples: 1000, seed: 0, level: 0.95 }
    }
}

impl Bootstrap {
    /// The metrics of each resample; both sets are drawn on their own, so their sizes stay (stratified).
    ///
    /// Samples are drawn by their position in the sets, so that the same bootstrap draws the same samples for every
    /// score. `stream` tells out-of-distribution sets from each other: the in-distribution draws are the same for all
    /// of them, so the mean over sets of each resample is a resample of the mean.
    #[must_use]
    pub fn separations(&self, ranking: &Ranking, options: SeparationOptions, stream: u64) -> Vec<Separation> {
        let (inside, outside) = (ranking.in_distribution_ranks(), ranking.out_of_distribution_ranks());
        let sweep = Sweep::new((inside.len(), outside.len()), options);
        let distinct = ranking.values().len();
        self.resample(
            || (vec![0; distinct], vec![0; distinct]),
            |(inside_counts, outside_counts), resample| {
                draw(&mut self.random(resample, 0), inside, inside_counts);
                draw(&mut self.random(resample, stream + 1), outside, outside_counts);
                sweep.over(inside_counts, outside_counts)
            },
        )
    }

    /// Interval of the `level`-quantile of `ascending` values (as [`quantile_of_sorted`]); `None` without resamples or
    /// values.
    #[must_use]
    pub fn quantile(&self, ascending: &[f64], level: f64) -> Option<Interval> {
        if ascending.is_empty() {
            return None;
        }
        let positions: Vec<u32> = (0..ascending.len()).filter_map(|index| u32::try_from(index).ok()).collect();
        let values = self.resample(
            || (vec![0; ascending.len()], Vec::with_capacity(ascending.len())),
            |(counts, drawn), resample| {
                draw(&mut self.random(resample, 0), &positions, counts);
                drawn.clear();
                for (value, count) in ascending.iter().zip(counts.iter()) {
                    drawn.extend(std::iter::repeat_n(*value, *count as usize));
                }
                quantile_of_sorted(drawn, level)
            },
        );
        self.interval(values)
    }

    /// The interval that holds [`Self::level`] of some numbers, as much left out below as above; `None` of none.
    #[must_use]
    pub fn interval(&self, mut values: Vec<f64>) -> Option<Interval> {
        if values.is_empty() {
            return None;
        }
        values.sort_unstable_by(f64::total_cmp);
        let outside = (1.0 - self.level) / 2.0;
        Some(Interval { low: quantile_of_sorted(&values, outside), high: quantile_of_sorted(&values, 1.0 - outside) })
    }

    /// The interval of each metric; `None` without resamples.
    #[must_use]
    pub fn intervals(&self, resamples: &[Separation]) -> Option<Separation<Interval>> {
        let mut columns: [Vec<f64>; Separation::<f64>::LEN] = Default::default();
        for resample in resamples {
            for (column, value) in columns.iter_mut().zip(resample.into_array()) {
                column.push(value);
            }
        }
        let [auroc, aupr_in, aupr_out, fpr_at_tpr, detection_accuracy] = columns;
        Some(Separation {
            auroc: self.interval(auroc)?,
            aupr_in: self.interval(aupr_in)?,
            aupr_out: self.interval(aupr_out)?,
            fpr_at_tpr: self.interval(fpr_at_tpr)?,
            detection_accuracy: self.interval(detection_accuracy)?,
        })
    }

    /// Runs every resample, on the threads of the rayon pool where there is one; each thread has one `scratch`.
    #[cfg(feature = "rayon")]
    fn resample<S: Send, T: Send>(
        &self,
        scratch: impl Fn() -> S + Sync + Send,
        run: impl Fn(&mut S, u64) -> T + Sync + Send,
    ) -> Vec<T> {
        use rayon::prelude::*;
        (0..self.resamples).into_par_iter().map_init(scratch, |scratch, index| run(scratch, index as u64)).collect()
    }

    #[cfg(not(feature = "rayon"))]
    fn resample<S, T>(&self, scratch: impl Fn() -> S, run: impl Fn(&mut S, u64) -> T) -> Vec<T> {
        let mut scratch = scratch();
        (0..self.resamples).map(|index| run(&mut scratch, index as u64)).collect()
    }

    /// Random numbers of their own for each resample and stream, whichever thread runs it.
    fn random(&self, resample: u64, stream: u64) -> Rng {
        Rng::with_seed(mixed(mixed(mixed(self.seed) ^ resample) ^ stream))
    }
}

/// Counts as many draws with replacement as there are ranks.
#[expect(clippy::cast_possible_truncation, reason = "a ranking has less than 2^31 samples")]
fn draw(random: &mut Rng, ranks: &[u32], counts: &mut [u32]) {
    counts.fill(0);
    let len = ranks.len() as u32;
    for _ in 0..len {
        counts[ranks[random.u32(..len) as usize] as usize] += 1;
    }
}

/// Neighbouring numbers become unrelated ones (splitmix64).
fn mixed(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two normal distributions, one standard deviation apart.
    fn normal(count: usize, mean: f64, seed: u64) -> Vec<f64> {
        let mut random = Rng::with_seed(seed);
        let mut one = || {
            let (u, v) = (1.0 - random.f64(), random.f64());
            mean + (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()
        };
        (0..count).map(|_| one()).collect()
    }

    #[test]
    fn intervals_hold_the_truth_as_often_as_they_say() {
        // the area between N(0, 1) and N(1, 1) is Φ(1/√2)
        let truth = 0.760_249_938_906_523_3;
        let bootstrap = Bootstrap { resamples: 300, ..Bootstrap::default() };
        let holds = |seed: u64| {
            let ranking = Ranking::new(&normal(150, 0.0, 2 * seed), &normal(150, 1.0, 2 * seed + 1)).unwrap();
            let resamples = bootstrap.separations(&ranking, SeparationOptions::default(), 0);
            let interval = bootstrap.intervals(&resamples).unwrap().auroc;
            interval.low <= truth && truth <= interval.high
        };
        let held = (0..200).filter(|seed| holds(*seed)).count();
        // 95 % of 200 with a binomial's four standard deviations
        assert!((178..=200).contains(&held), "{held} of 200");
    }

    #[test]
    fn the_seed_decides() {
        let ranking = Ranking::new(&normal(50, 0.0, 1), &normal(70, 1.0, 2)).unwrap();
        let bootstrap = Bootstrap { resamples: 40, ..Bootstrap::default() };
        let options = SeparationOptions::default();
        let one = bootstrap.separations(&ranking, options, 0);
        assert_eq!(one, bootstrap.separations(&ranking, options, 0));
        assert_ne!(one, bootstrap.separations(&ranking, options, 1));
        assert_ne!(one, Bootstrap { seed: 1, ..bootstrap }.separations(&ranking, options, 0));
        // fewer resamples are the first of more
        assert_eq!(one[..10], Bootstrap { resamples: 10, ..bootstrap }.separations(&ranking, options, 0));
    }

    #[test]
    fn a_resample_is_as_large_as_its_set() {
        let mut counts = vec![7; 3];
        draw(&mut Rng::with_seed(3), &[0, 2, 2, 2, 0], &mut counts);
        assert_eq!(counts.iter().sum::<u32>(), 5);
        assert_eq!(counts[1], 0);
    }

    #[test]
    fn sets_without_spread_have_none() {
        let ranking = Ranking::new(&[0.0; 9], &[1.0; 9]).unwrap();
        let bootstrap = Bootstrap::default();
        let resamples = bootstrap.separations(&ranking, SeparationOptions::default(), 0);
        let intervals = bootstrap.intervals(&resamples).unwrap();
        assert_eq!(intervals.auroc, Interval { low: 1.0, high: 1.0 });
        assert_eq!(intervals.fpr_at_tpr, Interval { low: 0.0, high: 0.0 });
        assert_eq!(bootstrap.intervals(&[]), None);
    }

    #[test]
    fn a_quantile_lies_where_the_binomial_says() {
        let values: Vec<f64> = (0..1000).map(f64::from).collect();
        let interval = Bootstrap::default().quantile(&values, 0.95).unwrap();
        // 1000·0.95 ± 1.96·√(1000·0.95·0.05)
        assert!((interval.low - 936.5).abs() < 4.0 && (interval.high - 963.5).abs() < 4.0, "{interval:?}");
        assert_eq!(Bootstrap::default().quantile(&[], 0.5), None);
        assert_eq!(Bootstrap { resamples: 0, ..Bootstrap::default() }.quantile(&values, 0.5), None);
    }
}
