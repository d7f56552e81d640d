//! The last layer on a feature that was changed.

use crate::rewrite::LinearHead;

/// Sums side by side in a dot product, so that the compiler can use vectors without changing the order of a sum.
const LANES: usize = 16;

/// a · b in f32, the lanes added in f64.
pub(super) fn dot(a: &[f32], b: &[f32]) -> f64 {
    let (a_chunks, a_rest) = a.as_chunks::<LANES>();
    let (b_chunks, b_rest) = b.as_chunks::<LANES>();
    let mut lanes = [0f32; LANES];
    for (a, b) in a_chunks.iter().zip(b_chunks) {
        for lane in 0..LANES {
            lanes[lane] += a[lane] * b[lane];
        }
    }
    let rest: f64 = a_rest.iter().zip(b_rest).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum();
    lanes.iter().map(|&lane| f64::from(lane)).sum::<f64>() + rest
}

/// ‖a − b‖² in f32, the lanes added in f64.
pub(super) fn squared_distance(a: &[f32], b: &[f32]) -> f64 {
    let (a_chunks, a_rest) = a.as_chunks::<LANES>();
    let (b_chunks, b_rest) = b.as_chunks::<LANES>();
    let mut lanes = [0f32; LANES];
    for (a, b) in a_chunks.iter().zip(b_chunks) {
        for lane in 0..LANES {
            let difference = a[lane] - b[lane];
            lanes[lane] += difference * difference;
        }
    }
    let rest: f64 = a_rest.iter().zip(b_rest).map(|(&a, &b)| (f64::from(a) - f64::from(b)).powi(2)).sum();
    lanes.iter().map(|&lane| f64::from(lane)).sum::<f64>() + rest
}

/// log Σ exp of numbers that come one after the other.
#[derive(Clone, Copy, Debug)]
pub(super) struct LogSumExp {
    largest: f64,
    sum: f64,
}

impl LogSumExp {
    pub(super) fn new() -> Self {
        Self { largest: f64::NEG_INFINITY, sum: 0.0 }
    }

    pub(super) fn add(&mut self, x: f64) {
        if x <= self.largest {
            // x is −∞ where the largest is: no weight
            self.sum += if x == f64::NEG_INFINITY { 0.0 } else { (x - self.largest).exp() };
        } else {
            self.sum = self.sum * (self.largest - x).exp() + 1.0;
            self.largest = x;
        }
    }

    pub(super) fn value(self) -> f64 {
        if self.largest.is_infinite() { self.largest } else { self.largest + self.sum.ln() }
    }
}

/// −T·logsumexp(z/T).
pub(super) fn energy(logits: impl Iterator<Item = f64>, temperature: f64) -> f64 {
    let mut sum = LogSumExp::new();
    logits.for_each(|z| sum.add(z / temperature));
    -temperature * sum.value()
}

/// Energy of scale·(W·h) + b: the logits of scale·h.
pub(super) fn energy_of(head: &LinearHead, feature: &[f32], scale: f64, temperature: f64) -> f64 {
    let rows = head.weight.chunks_exact(head.features);
    energy(rows.zip(&head.bias).map(|(row, &bias)| scale * dot(row, feature) + f64::from(bias)), temperature)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_of_any_length() {
        for length in 0..70usize {
            let a: Vec<f32> = (0..length).map(|i| i as f32 - 3.0).collect();
            let b: Vec<f32> = (0..length).map(|i| 0.5 * i as f32).collect();
            let expected: f64 = a.iter().zip(&b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum();
            assert_eq!(dot(&a, &b), expected, "{length}");
            let expected: f64 = a.iter().zip(&b).map(|(&a, &b)| f64::from(a - b).powi(2)).sum();
            assert_eq!(squared_distance(&a, &b), expected, "{length}");
        }
    }

    #[test]
    fn energies_that_would_overflow() {
        let of = |logits: &[f64], t| energy(logits.iter().copied(), t);
        assert!((of(&[1000.0, 1000.0], 1.0) + 1000.0 + 2f64.ln()).abs() < 1e-9);
        assert!((of(&[-1000.0, -1000.0], 1.0) - 1000.0 + 2f64.ln()).abs() < 1e-9);
        assert!((of(&[2.0, 4.0], 2.0) + 2.0 * (1f64.exp() + 2f64.exp()).ln()).abs() < 1e-12);
        // a masked class counts for nothing
        assert_eq!(of(&[f64::NEG_INFINITY, 3.0, f64::NEG_INFINITY], 1.0), -3.0);
        assert_eq!(of(&[f64::NEG_INFINITY; 2], 1.0), f64::INFINITY);
        assert_eq!(of(&[0.0, f64::INFINITY], 1.0), f64::NEG_INFINITY);
    }

    #[test]
    fn the_head_on_a_scaled_feature() {
        let head =
            LinearHead { feature: "h".into(), features: 2, weight: vec![1.0, 2.0, 3.0, 4.0], bias: vec![0.5, -0.5] };
        let expected = -((2.0 * 5.0 + 0.5f64).exp() + (2.0 * 11.0 - 0.5f64).exp()).ln();
        assert!((energy_of(&head, &[1.0, 2.0], 2.0, 1.0) - expected).abs() < 1e-12);
    }
}
