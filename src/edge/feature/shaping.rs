//! What ASH-S and SCALE share: the sum of all activations over that of the largest.

/// s₁/s₂ for a percentile p: s₁ is the sum of the n activations, s₂ that of the n − round(n·p/100) largest (halves
/// round to even, as in the papers' code). Also the smallest that is kept, and how many that are as small.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Ratio {
    /// s₁/s₂; 1 where s₂ is 0, as for a feature of zeros (0/0 in the papers' code).
    pub value: f64,
    /// The smallest of the largest.
    pub least: f32,
    /// How many activations equal to `least` are among them; the first ones.
    pub ties: usize,
}

/// exp(s₁/s₂) beyond this is no number in f32. ReLU features stay far below: s₁/s₂ ≤ n there, and 10 is usual.
const LARGEST_EXPONENT: f64 = 80.0;

impl Ratio {
    /// `scratch` is overwritten.
    pub(super) fn new(feature: &[f32], percentile: f64, scratch: &mut Vec<f32>) -> Self {
        let n = feature.len();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and n")]
        let dropped = (n as f64 * percentile / 100.0).round_ties_even() as usize;
        // none kept makes no sense; one is as far as one can go
        let dropped = dropped.min(n.saturating_sub(1));
        scratch.clear();
        scratch.extend_from_slice(feature);
        let (_, &mut least, larger) = scratch.select_nth_unstable_by(dropped, f32::total_cmp);
        let kept = f64::from(least) + larger.iter().map(|&h| f64::from(h)).sum::<f64>();
        let all: f64 = feature.iter().map(|&h| f64::from(h)).sum();
        // those above `least` may stand on either side of it only if they equal it
        let ties = n - dropped - larger.iter().filter(|&&h| h > least).count();
        Self { value: if kept == 0.0 { 1.0 } else { all / kept }, least, ties }
    }

    /// exp(s₁/s₂), finite.
    pub(super) fn factor(self) -> f64 {
        self.value.min(LARGEST_EXPONENT).exp()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_the_largest() {
        let ratio = |feature: &[f32], p| Ratio::new(feature, p, &mut Vec::new());
        // 10 activations, 90 %: one is kept
        let feature = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0];
        assert_eq!(ratio(&feature, 90.0), Ratio { value: 5.0, least: 9.0, ties: 1 });
        assert_eq!(ratio(&feature, 0.0), Ratio { value: 1.0, least: 0.0, ties: 1 });
        assert_eq!(ratio(&feature, 100.0).least, 9.0);
        // round(10 · 0.65) = 6 by NumPy, not 7
        assert_eq!(ratio(&feature, 65.0).least, 6.0);
        assert_eq!(ratio(&[2.0, 5.0, 2.0, 2.0], 25.0), Ratio { value: 11.0 / 9.0, least: 2.0, ties: 2 });
        assert_eq!(ratio(&[0.0; 4], 50.0).value, 1.0);
        assert_eq!(ratio(&[-1.0, 1.0, 1e-30], 60.0).factor(), (1e-30f64 / 1.0).exp());
        assert!(ratio(&[-1e30, 1e-30], 50.0).factor() == 0.0);
        assert!(ratio(&[1e-30, -1e-38, -1e30], 20.0).factor().is_finite());
    }
}
