//! Tails of the binomial distribution.

/// P(X ≥ k) for X ~ Binomial(n, p).
///
/// The terms of the shorter tail are added from k outwards until they no longer count, each from the one before; the
/// first through logarithms of factorials. Within 1e-10 of the true value.
pub(super) fn upper_tail(n: usize, p: f64, k: usize) -> f64 {
    if k == 0 || p >= 1.0 {
        return 1.0;
    }
    if k > n || p <= 0.0 {
        return 0.0;
    }
    let odds = p / (1.0 - p);
    if k as f64 > n as f64 * p {
        let mut term = probability(n, p, k);
        let mut sum = 0.0;
        for i in k..=n {
            sum += term;
            if term < sum * f64::EPSILON {
                break;
            }
            term *= odds * (n - i) as f64 / (i + 1) as f64;
        }
        return sum.min(1.0);
    }
    let mut term = probability(n, p, k - 1);
    let mut sum = 0.0;
    for i in (0..k).rev() {
        sum += term;
        if term < sum * f64::EPSILON {
            break;
        }
        term *= i as f64 / ((n - i + 1) as f64 * odds);
    }
    (1.0 - sum).max(0.0)
}

/// P(X = k), 0 < p < 1.
fn probability(n: usize, p: f64, k: usize) -> f64 {
    let choose = ln_factorial(n) - ln_factorial(k) - ln_factorial(n - k);
    (choose + k as f64 * p.ln() + (n - k) as f64 * (-p).ln_1p()).exp()
}

/// ln n!, by Stirling's series where it is exact to the last digits.
fn ln_factorial(n: usize) -> f64 {
    if n < 32 {
        return (2..=n).map(|i| (i as f64).ln()).sum();
    }
    let n = n as f64;
    let series = 1.0 / (12.0 * n) - 1.0 / (360.0 * n.powi(3)) + 1.0 / (1260.0 * n.powi(5));
    n * n.ln() - n + 0.5 * (std::f64::consts::TAU * n).ln() + series
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand() {
        assert!((upper_tail(3, 0.5, 2) - 0.5).abs() < 1e-15);
        assert!((upper_tail(4, 0.25, 1) - (1.0 - 0.75f64.powi(4))).abs() < 1e-15);
        assert!((upper_tail(2, 0.3, 2) - 0.09).abs() < 1e-15);
        assert_eq!([upper_tail(5, 0.5, 0), upper_tail(5, 1.0, 5), upper_tail(5, 0.0, 1)], [1.0, 1.0, 0.0]);
    }

    #[test]
    fn as_scipy() {
        // scipy.stats.binom.sf(k - 1, n, p), SciPy 1.17.1
        for (n, p, k, expected) in [
            (1000, 0.95, 950, 0.537_529_040_801_425),
            (1000, 0.94, 950, 0.100_567_591_711_684_75),
            (100_000, 0.9502, 95_000, 0.617_910_313_789_103_5),
            (1_000_000, 0.9496, 950_000, 0.033_794_752_409_730_59),
            (50, 0.1, 20, 2.368_599_358_184_191_2e-8),
        ] {
            let tail = upper_tail(n, p, k);
            assert!((tail / expected - 1.0).abs() < 1e-8, "{n} {p} {k}: {tail}");
        }
    }
}
