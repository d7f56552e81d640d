//! Labels whose rows do not count.

use std::collections::BTreeSet;

use crate::rewrite::evaluate::Data;
use crate::rewrite::rules::Context;
use crate::rewrite::rules::family::{self, Clues, Fit, Probe};

use super::piece::Piece;
use super::run::{Run, floats};

/// How rows with a certain label enter a loss.
enum Standing {
    /// As all others.
    Counts,
    /// Not at all.
    LeftOut,
    /// The graph has no sound value for such a label.
    NotALabel,
    Odd,
}

impl Piece {
    /// Integers that labels are compared with, the neighbours of bounds, and the ignore_index of a loss inside:
    /// candidates for ignore_index.
    pub(super) fn compared_integers(&self, context: &Context) -> Vec<i64> {
        let around = |(value, unequal): (i64, bool)| {
            let reach = i64::from(unequal);
            value.saturating_sub(reach)..=value.saturating_add(reach)
        };
        let compared = self.comparisons(context).into_iter().flat_map(around);
        let all: BTreeSet<i64> = compared.chain(self.explicit_ignore_index(context)).collect();
        all.into_iter().collect()
    }

    /// Integers that labels are compared with, and whether the comparison is an inequality. keras compares labels as floats.
    fn comparisons(&self, context: &Context) -> Vec<(i64, bool)> {
        let mut found: Vec<(i64, bool)> = Vec::new();
        for id in self.nodes() {
            let node = context.graph.node(id);
            if !matches!(node.op(), "Equal" | "Less" | "Greater" | "GreaterOrEqual" | "LessOrEqual") {
                continue;
            }
            let of_labels = self.side.contains(&id);
            for input in &node.input {
                let value = match self.constants.get(input).map(|t| &t.data) {
                    Some(Data::Int(values)) => values.first().copied().filter(|_| values.len() == 1),
                    Some(Data::Float(values)) if of_labels => values
                        .first()
                        .filter(|x| values.len() == 1 && x.fract() == 0.0 && x.abs() < 1e9)
                        .map(|x| *x as i64),
                    _ => None,
                };
                let comparison = value.map(|value| (value, node.op() != "Equal"));
                found.extend(comparison.filter(|c| !found.contains(c)));
            }
        }
        found
    }

    /// Label values that may mean something else than a class: compared ones, their neighbours where the comparison is
    /// an inequality, and 0, which a cast to bool singles out.
    fn special_labels(&self, context: &Context) -> Vec<i64> {
        let mut special = vec![0];
        for (value, unequal) in self.comparisons(context) {
            let around = if unequal { -2..=2 } else { 0..=0 };
            special.extend(around.map(|step| value.saturating_add(step)));
        }
        special.sort_unstable();
        special.dedup();
        special
    }

    /// Which label, if any, takes its rows out of the loss; runs the piece once more for each that may.
    pub(super) fn ignore_index(
        &self,
        context: &Context,
        fit: &Fit,
        clues: &Clues,
        output: &str,
        labels: &str,
        (labels_input, input_dims, compared): (&str, &[usize], &[i64]),
    ) -> Result<(Option<i64>, Option<String>), String> {
        let explicit = self.explicit_ignore_index(context);
        let mut left_out = Vec::new();
        let mut note = None;
        let usual: &[i64] = if compared.is_empty() { &[] } else { &[-1, -100] };
        let candidates: BTreeSet<i64> =
            self.special_labels(context).iter().chain(&explicit).chain(usual).copied().collect();
        for index in candidates {
            match self.rows_with(context, fit, clues, output, labels, (labels_input, input_dims, compared), index) {
                Standing::LeftOut => left_out.push(index),
                Standing::Counts | Standing::NotALabel => {}
                Standing::Odd if explicit == Some(index) => {
                    // PyTorch writes ignore_index -100 into every loss, and what is spelled on top counts such rows as p = 1
                    left_out.push(index);
                    note = Some(format!(
                        "rows labelled {index} no longer count; in the old graph they entered the loss with p = 1"
                    ));
                }
                // a label that nothing names and that is no class is no label to care about
                Standing::Odd if compared.contains(&index) || (0..self.classes as i64).contains(&index) => {
                    return Err(format!("rows with label {index} count in a way that ignore_index cannot express"));
                }
                Standing::Odd => {}
            }
        }
        match left_out[..] {
            [] => Ok((None, None)),
            [index] => Ok((Some(index), note)),
            [a, b, ..] => {
                Err(format!("rows with label {a} and with label {b} are left out, ignore_index can name one"))
            }
        }
    }

    /// How rows that the input labels `index` enter `output`.
    #[allow(clippy::too_many_arguments, reason = "one run and what it is made of")]
    fn rows_with(
        &self,
        context: &Context,
        fit: &Fit,
        clues: &Clues,
        output: &str,
        labels: &str,
        (labels_input, input_dims, compared): (&str, &[usize], &[i64]),
        index: i64,
    ) -> Standing {
        let count: usize = input_dims.iter().product();
        let mut raw = Probe::new(count.max(2), self.classes, compared, 23).labels().to_vec();
        raw.truncate(count);
        raw.iter_mut().skip(usize::from(count > 1)).step_by(3).for_each(|label| *label = index);
        let Ok((Run { probe, values, .. }, _)) =
            self.run_once(context, labels_input, input_dims, labels, raw, compared, 29)
        else {
            return Standing::NotALabel;
        };
        let Some(seen) = values.get(output).and_then(floats) else { return Standing::NotALabel };
        let same = |probe: &Probe, ignore: Option<i64>| family::is(fit, clues, probe, seen, ignore);
        let classes = self.classes as i64;
        let in_range = probe.labels().iter().all(|l| (0..classes).contains(l));
        if in_range && same(&probe, None) {
            return Standing::Counts;
        }
        if probe.labels().contains(&index) && same(&probe, Some(index)) {
            return Standing::LeftOut;
        }
        // a negative index counts from the end in Gather: what PyTorch refuses is no label to care about
        let wrapped: Vec<i64> = probe.labels().iter().map(|l| if *l < 0 { l + classes } else { *l }).collect();
        let in_range_now = wrapped.iter().all(|l| (0..classes).contains(l));
        if !in_range && in_range_now && same(&probe.with_labels(wrapped), None) {
            return Standing::NotALabel;
        }
        if seen.iter().any(|x| !x.is_finite()) {
            // the mean of no rows; else such a label has no loss in the old graph either
            let no_rows = probe.labels() == [index];
            return if no_rows {
                Standing::LeftOut
            } else if in_range {
                Standing::Odd
            } else {
                Standing::NotALabel
            };
        }
        Standing::Odd
    }

    /// ignore_index of the ONNX losses inside the piece.
    fn explicit_ignore_index(&self, context: &Context) -> Option<i64> {
        self.nodes().find_map(|id| {
            let node = context.graph.node(id);
            node.op().ends_with("Loss").then(|| node.attr_int("ignore_index")).flatten()
        })
    }
}
