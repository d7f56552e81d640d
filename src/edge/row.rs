//! From one sample's logits to its columns of [`Scored`].

use crate::rewrite;

use super::Score;
use super::calibration::{Calibration, ScoreFit};
use super::feature::Fits;
use super::logits::{GEN_CLASSES, Softmax, Top, entropy_of_probabilities, gen_of_probabilities};
use super::scorer::Scored;
use super::top_k::TopK;

/// What is computed for every sample.
#[derive(Clone, Debug)]
pub(super) struct RowScorer {
    pub scores: Vec<Score>,
    pub evidence: rewrite::Evidence,
    /// T
    pub temperature: f64,
    pub top_k: usize,
    pub decision: Option<Decision>,
}

/// Memory for one thread.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    top_k: TopK,
    fits: Vec<f32>,
}

/// Why a row has no scores.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum RowError {
    NotANumber,
    NotAProbability(f32),
}

/// When a sample is in distribution.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Decision {
    pub score: Score,
    fit: ScoreFit,
}

impl Decision {
    /// That of a calibration; `None` where its score has no threshold.
    pub fn of(calibration: &Calibration) -> Option<Self> {
        Some(Self { score: calibration.decision, fit: calibration.decisive()?.clone() })
    }
}

/// What one row is known by.
struct Row<'a> {
    values: &'a [f32],
    feature: &'a [f32],
    top: Top,
    /// Of logits.
    softmax: Option<Softmax>,
}

impl RowScorer {
    /// Appends what is known of one sample.
    pub fn append(
        &self,
        values: &[f32],
        feature: &[f32],
        fits: &Fits,
        scratch: &mut Scratch,
        scored: &mut Scored,
    ) -> Result<(), RowError> {
        let row = self.read(values, feature)?;
        scored.class.push(row.top.class as u32);
        let probability = row.softmax.map_or(f64::from(row.top.first), |softmax| softmax.probability());
        scored.probability.push(probability as f32);
        scored.margin.push(if row.softmax.is_some() { row.top.margin() as f32 } else { f32::NAN });
        for &score in &self.scores {
            scored.scores.push(self.score(score, &row, fits, scratch));
        }
        if let Some(decision) = &self.decision {
            let score = match self.scores.iter().position(|&s| s == decision.score) {
                Some(at) => scored.scores[scored.scores.len() - self.scores.len() + at],
                None => self.score(decision.score, &row, fits, scratch),
            };
            scored.in_distribution.push(decision.fit.admits(score, row.top.class));
        }
        if self.top_k > 0 {
            let classes = scratch.top_k.indices(values, self.top_k);
            scored.top_classes.extend_from_slice(classes);
            let probability = |&class: &u32| {
                let value = values[class as usize];
                row.softmax.map_or(value, |softmax| softmax.log_probability(value).exp() as f32)
            };
            scored.top_probabilities.extend(classes.iter().map(probability));
        }
        scored.rows += 1;
        Ok(())
    }

    fn read<'a>(&self, values: &'a [f32], feature: &'a [f32]) -> Result<Row<'a>, RowError> {
        let top = Top::of(values).ok_or(RowError::NotANumber)?;
        let softmax = match self.evidence {
            rewrite::Evidence::Logits => Some(Softmax::new(values, top, self.temperature, self.wants(Score::Entropy))),
            rewrite::Evidence::Probabilities => {
                // float16 probabilities can be a little above 1
                let outside = values.iter().find(|&&p| !(-1e-6..=1.001).contains(&p));
                if let Some(&outside) = outside {
                    return Err(RowError::NotAProbability(outside));
                }
                None
            }
        };
        Ok(Row { values, feature, top, softmax })
    }

    fn wants(&self, score: Score) -> bool {
        self.scores.contains(&score) || self.decision.as_ref().is_some_and(|d| d.score == score)
    }

    fn score(&self, score: Score, row: &Row, fits: &Fits, scratch: &mut Scratch) -> f32 {
        let Row { values, feature, top, softmax } = row;
        let Some(softmax) = softmax else {
            return match score {
                Score::Msp => -top.first,
                Score::Entropy => entropy_of_probabilities(values) as f32,
                Score::Gen => gen_of_probabilities(scratch.top_k.values(values, GEN_CLASSES)) as f32,
                // refused when the scorer is made
                _ => f32::NAN,
            };
        };
        let value = match score {
            Score::Margin => -top.margin(),
            Score::SoftMargin if self.temperature == 1.0 => -softmax.soft_margin(),
            Score::SoftMargin => -Softmax::new(values, *top, 1.0, false).soft_margin(),
            Score::Energy => -softmax.log_sum_exp(),
            Score::MaxLogit => -f64::from(top.first),
            Score::Msp => -softmax.probability(),
            Score::Entropy => softmax.entropy(),
            Score::Gen => softmax.gen_score(scratch.top_k.values(values, GEN_CLASSES)),
            _ => return fits.score(score, feature, values, self.temperature, &mut scratch.fits),
        };
        value as f32
    }
}
