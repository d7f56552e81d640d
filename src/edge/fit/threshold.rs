//! The threshold that lets a share of the in-distribution samples pass.

use super::binomial::upper_tail;

/// Share of bootstrap replicates on each side of the 95 % interval.
const TAIL: f64 = 0.025;

/// A threshold and how sure it is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Threshold {
    /// The ⌈n·rate⌉-th smallest score: with it, at least that share of the n samples passes (score ≤ threshold; more
    /// than that where scores are equal).
    pub value: f64,
    /// 95 % percentile interval of the bootstrap, computed exactly and not by drawing: the k-th smallest of n scores
    /// drawn with replacement is at most the j-th smallest score x₍ⱼ₎ with probability P(Binomial(n, j/n) ≥ k). The
    /// bounds are the smallest x₍ⱼ₎ for which that is at least 2.5 % and 97.5 %, to which drawing more and more
    /// replicates converges (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, §13.3; Hutson and Ernst,
    /// J. R. Statist. Soc. B 62, 2000, on the exact bootstrap of order statistics).
    pub interval: [f64; 2],
    /// n.
    pub samples: usize,
}

impl Threshold {
    /// From scores, which are sorted. `None` where there are none.
    pub(crate) fn new(scores: &mut [f32], rate: f64) -> Option<Self> {
        scores.sort_unstable_by(f32::total_cmp);
        let n = scores.len();
        let k = rank(n, rate)?;
        let at = |rank: usize| number(scores[rank - 1]);
        let bound = |probability| at(first(n, |j| upper_tail(n, j as f64 / n as f64, k) >= probability));
        Some(Self { value: at(k), interval: [bound(TAIL), bound(1.0 - TAIL)], samples: n })
    }
}

/// ⌈n·rate⌉, at least 1; `None` where n is 0. 0.07·100 is a little above 7 in f64 and means 7.
fn rank(n: usize, rate: f64) -> Option<usize> {
    if n == 0 {
        return None;
    }
    let exact = n as f64 * rate;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and n")]
    let rank = (exact * (1.0 - 4.0 * f64::EPSILON)).ceil() as usize;
    Some(rank.clamp(1, n))
}

/// The smallest of 1..=n for which `holds`, which goes on holding once it does; n where it never does.
fn first(n: usize, holds: impl Fn(usize) -> bool) -> usize {
    let (mut low, mut high) = (1, n);
    while low < high {
        let middle = low + (high - low) / 2;
        if holds(middle) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    low
}

/// JSON has no infinity; a score that is at most −∞ is at most this, too, and only NaN is above the other.
fn number(score: f32) -> f64 {
    score.clamp(f32::MIN, f32::MAX).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_least_the_asked_share_passes() {
        for (n, rate, expected) in [
            (20, 0.95, 19),
            (100, 0.95, 95),
            (101, 0.95, 96),
            (10, 0.91, 10),
            (100, 0.07, 7),
            (3, 0.01, 1),
            (5, 1.0, 5),
        ] {
            assert_eq!(rank(n, rate), Some(expected), "{n} {rate}");
            let mut scores: Vec<f32> = (0..n).map(|i| (i * 7919 % n) as f32).collect();
            let threshold = Threshold::new(&mut scores, rate).unwrap();
            let passed = scores.iter().filter(|&&score| f64::from(score) <= threshold.value).count();
            assert!(passed as f64 >= n as f64 * rate - 1e-9, "{n} {rate}: {passed}");
        }
        assert_eq!(Threshold::new(&mut [], 0.95), None);
    }

    #[test]
    fn ties_pass_together() {
        let mut scores = [1.0, 2.0, 2.0, 2.0, 3.0];
        assert_eq!(Threshold::new(&mut scores, 0.4).unwrap().value, 2.0);
    }

    #[test]
    fn infinite_scores_become_numbers() {
        let mut scores = [f32::INFINITY, f32::NEG_INFINITY];
        let threshold = Threshold::new(&mut scores, 0.5).unwrap();
        assert_eq!(threshold.value, f64::from(f32::MIN));
        assert_eq!(threshold.interval[1], f64::from(f32::MAX));
    }

    #[test]
    fn the_interval_is_that_of_drawn_replicates() {
        let mut random = fastrand::Rng::with_seed(1);
        let mut scores: Vec<f32> = (0..200).map(|_| random.f32() + random.f32()).collect();
        let threshold = Threshold::new(&mut scores, 0.9).unwrap();
        let mut replicates: Vec<f32> = (0..20_000)
            .map(|_| {
                let mut drawn: Vec<f32> = (0..200).map(|_| scores[random.usize(..200)]).collect();
                *drawn.select_nth_unstable_by(179, f32::total_cmp).1
            })
            .collect();
        replicates.sort_unstable_by(f32::total_cmp);
        // the order statistics next to the drawn bounds: 20 000 replicates are not infinitely many
        let rank = |value: f64| scores.iter().position(|&score| f64::from(score) == value).unwrap() as i64;
        for (exact, drawn) in threshold.interval.into_iter().zip([replicates[500], replicates[19_500]]) {
            assert!((rank(exact) - rank(drawn.into())).abs() <= 1, "{exact} {drawn}");
        }
        assert!(threshold.interval[0] < threshold.value && threshold.value < threshold.interval[1]);
    }
}
