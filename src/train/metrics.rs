//! What is measured of an epoch.

use serde::{Deserialize, Serialize};

/// Means over the samples of an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// Samples that count: their label is not the ignored one.
    pub samples: u64,
    /// What was minimised: the losses of the batches, weighted by their samples.
    #[serde(deserialize_with = "nullable")]
    pub loss: f64,
    /// Share of the samples whose largest logit is that of the label.
    #[serde(deserialize_with = "nullable")]
    pub accuracy: f64,
    /// Mean soft margin: z_y − logsumexp of the other logits, above 0 where the label has more than half the probability.
    #[serde(deserialize_with = "nullable")]
    pub margin: f64,
    /// Mean energy, −logsumexp of the logits.
    #[serde(deserialize_with = "nullable")]
    pub energy: f64,
}

/// JSON has no infinite numbers and no NaN: they are written as null.
fn nullable<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or(f64::NAN))
}

/// Sums of what [`Measured`] is the mean of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sums {
    rows: u64,
    #[serde(with = "bits")]
    loss: f64,
    right: u64,
    #[serde(with = "bits")]
    margin: f64,
    #[serde(with = "bits")]
    energy: f64,
}

/// Numbers that come back to the bit, infinite ones too, which JSON has not.
mod bits {
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(value.to_bits())
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
        Ok(f64::from_bits(u64::deserialize(deserializer)?))
    }
}

/// Logits as they lie: [outer, classes, inner].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rows {
    /// Product of the axes before the classes.
    pub outer: usize,
    /// Size of the class axis.
    pub classes: usize,
    /// Product of the axes behind it.
    pub inner: usize,
}

impl Rows {
    /// By the sizes of logits; None where there is no such axis.
    pub fn of(dims: &[usize], class_axis: usize) -> Option<Self> {
        let classes = *dims.get(class_axis)?;
        let product = |dims: &[usize]| dims.iter().product();
        Some(Self { outer: product(dims.get(..class_axis)?), classes, inner: product(dims.get(class_axis + 1..)?) })
    }
}

/// What a batch gave.
#[derive(Clone, Copy, Debug)]
pub struct Outcome<'a> {
    /// Mean loss of the batch.
    pub loss: f64,
    /// The logits.
    pub logits: &'a [f32],
    /// How they lie.
    pub rows: Rows,
    /// Soft margin of each row.
    pub margins: &'a [f32],
    /// Label of each row.
    pub labels: &'a [i64],
    /// Label whose rows do not count.
    pub ignored: Option<i64>,
}

impl Sums {
    /// Adds a batch.
    pub fn add(&mut self, outcome: &Outcome<'_>) {
        let Rows { outer, classes, inner } = outcome.rows;
        if classes == 0 || outcome.logits.len() < outer * classes * inner {
            return;
        }
        let mut counted = 0u64;
        for row in 0..outer * inner {
            let (Some(&label), Some(&margin)) = (outcome.labels.get(row), outcome.margins.get(row)) else { continue };
            if outcome.ignored == Some(label) {
                continue;
            }
            let first = row / inner * classes * inner + row % inner;
            let logits = outcome.logits[first..].iter().step_by(inner).take(classes).copied();
            let (best, energy) = best_and_energy(logits);
            counted += 1;
            self.right += u64::from(best == label);
            self.margin += f64::from(margin);
            self.energy += energy;
        }
        self.rows += counted;
        self.loss += outcome.loss * counted as f64;
    }

    /// The means; NaN where nothing was added.
    pub fn measured(&self) -> Measured {
        let mean = |sum: f64| sum / self.rows as f64;
        Measured {
            samples: self.rows,
            loss: mean(self.loss),
            accuracy: mean(self.right as f64),
            margin: mean(self.margin),
            energy: mean(self.energy),
        }
    }
}

/// The class of the largest logit, the first of equals, and −logsumexp.
fn best_and_energy(logits: impl Iterator<Item = f32> + Clone) -> (i64, f64) {
    let mut best = (-1, f32::NEG_INFINITY);
    for (class, logit) in (0..).zip(logits.clone()) {
        if logit > best.1 || best.0 < 0 {
            best = (class, logit);
        }
    }
    let sum: f64 = logits.map(|logit| f64::from(logit - best.1).exp()).sum();
    (best.0, -(f64::from(best.1) + sum.ln()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loss::EncouragingLoss;

    #[test]
    fn means_over_batches_of_different_sizes() {
        let logits = [2.0f32, 0.0, -1.0, 0.5, 0.25, 3.0];
        let labels = [0, 1];
        let out = EncouragingLoss::default().forward(&logits, &[2, 3], &labels, None).unwrap();
        let rows = Rows::of(&[2, 3], 1).unwrap();
        let mut sums = Sums::default();
        sums.add(&Outcome { loss: 1.0, logits: &logits, rows, margins: &out.margin, labels: &labels, ignored: None });
        let one = Rows { outer: 1, ..rows };
        let (first, first_label) = (&logits[..3], &labels[..1]);
        sums.add(&Outcome {
            loss: 4.0,
            logits: first,
            rows: one,
            margins: &out.margin,
            labels: first_label,
            ignored: None,
        });
        let measured = sums.measured();
        assert_eq!(measured.samples, 3);
        assert!((measured.loss - 2.0).abs() < 1e-12);
        assert!((measured.accuracy - 2.0 / 3.0).abs() < 1e-12);
        let energy = |logits: &[f32]| -logits.iter().map(|&x| f64::from(x).exp()).sum::<f64>().ln();
        assert!((measured.energy - (2.0 * energy(&logits[..3]) + energy(&logits[3..])) / 3.0).abs() < 1e-9);
        assert!((measured.margin - f64::from(2.0 * out.margin[0] + out.margin[1]) / 3.0).abs() < 1e-6);
    }

    #[test]
    fn ignored_rows_do_not_count_and_classes_may_lie_inside() {
        // [1, 2 classes, 2 places]
        let logits = [1.0f32, 5.0, 2.0, 4.0];
        let rows = Rows::of(&[1, 2, 2], 1).unwrap();
        let mut sums = Sums::default();
        let outcome =
            Outcome { loss: 1.0, logits: &logits, rows, margins: &[1.0, 1.0], labels: &[1, -1], ignored: Some(-1) };
        sums.add(&outcome);
        assert_eq!((sums.rows, sums.right), (1, 1));
        sums.add(&Outcome { labels: &[1, 0], ignored: None, ..outcome });
        assert_eq!((sums.rows, sums.right), (3, 3));
        assert_eq!(Rows::of(&[1, 2], 2), None);
    }

    #[test]
    fn sums_come_back_to_the_bit() {
        let sums = Sums { rows: 3, loss: 0.1 + 0.2, right: 1, margin: f64::NEG_INFINITY, energy: -0.0 };
        let back: Sums = serde_json::from_str(&serde_json::to_string(&sums).unwrap()).unwrap();
        assert_eq!(format!("{back:?}"), format!("{sums:?}"));
    }

    #[test]
    fn infinite_logits_of_masked_classes() {
        let (best, energy) = best_and_energy([f32::NEG_INFINITY, 1.0].into_iter());
        assert_eq!(best, 1);
        assert!((energy + 1.0).abs() < 1e-9);
    }
}
