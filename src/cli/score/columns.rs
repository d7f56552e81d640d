//! What is written for a sample.

use crate::data::Source;
use crate::edge::{Score, Scorer};

/// Which columns there are, the same for every sample of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Columns {
    /// Whether samples have names.
    pub names: bool,
    /// Scores, in the order in which they are computed.
    pub scores: Vec<Score>,
    /// Classes listed per sample; the list is written if there is more than one.
    pub top_k: usize,
    /// Whether it is decided what is in distribution.
    pub decision: bool,
    /// Whether samples have labels.
    pub labels: bool,
}

impl Columns {
    /// Of a scorer and its data.
    pub fn new(scorer: &Scorer, source: &Source) -> Self {
        Self {
            names: source.named(),
            scores: scorer.scores().to_vec(),
            top_k: scorer.top_k(),
            decision: scorer.decides(),
            labels: source.labelled(),
        }
    }

    /// Whether the most probable classes are listed.
    pub fn lists_classes(&self) -> bool {
        self.top_k > 1
    }

    /// Names of flat columns, for CSV and parquet. A score carries a prefix: the score `margin` is the negative of the
    /// column `margin`.
    pub fn flat(&self) -> Vec<String> {
        let mut names = vec!["index".to_owned()];
        names.extend(self.names.then(|| "name".to_owned()));
        names.extend(["class", "probability", "margin"].map(str::to_owned));
        names.extend(self.scores.iter().map(|score| format!("score_{score}")));
        names.extend(self.decision.then(|| "in_distribution".to_owned()));
        names.extend(self.labels.then(|| "label".to_owned()));
        if self.lists_classes() {
            names.extend((1..=self.top_k).flat_map(|k| [format!("class_{k}"), format!("probability_{k}")]));
        }
        names
    }
}

#[cfg(test)]
pub mod tests {
    use super::super::pipeline::Outcome;
    use super::*;
    use crate::edge::Scored;

    /// Two samples with everything there is.
    pub fn example() -> (Columns, Outcome) {
        let columns =
            Columns { names: true, scores: vec![Score::Energy, Score::Msp], top_k: 2, decision: true, labels: true };
        let scored = Scored {
            rows: 2,
            class: vec![7, 1],
            probability: vec![0.75, 0.5],
            margin: vec![9.5, f32::NAN],
            top_classes: vec![7, 3, 1, 0],
            top_probabilities: vec![0.75, 0.25, 0.5, 0.5],
            scores: vec![-10.5, -0.75, 2.0, -0.5],
            in_distribution: vec![true, false],
        };
        let names = Some(vec!["a.png".into(), "b, \"c\".png".into()]);
        (columns, Outcome { first: 10, scored, names, labels: Some(vec![7, 0]) })
    }

    /// The same samples with as little as there can be.
    pub fn bare_example() -> (Columns, Outcome) {
        let (_, mut outcome) = example();
        (outcome.names, outcome.labels) = (None, None);
        outcome.scored.in_distribution.clear();
        outcome.scored.scores = vec![-10.5, 2.0];
        (Columns { names: false, scores: vec![Score::Energy], top_k: 1, decision: false, labels: false }, outcome)
    }

    #[test]
    fn flat_columns() {
        assert_eq!(
            example().0.flat().join(" "),
            "index name class probability margin score_energy score_msp in_distribution label class_1 probability_1 \
             class_2 probability_2"
        );
        assert_eq!(bare_example().0.flat().join(" "), "index class probability margin score_energy");
    }
}
