//! The last value of a piece that is a member of the family.

use std::cell::OnceCell;
use std::collections::HashMap;

use crate::loss::Reduction;
use crate::model::{DataType, NodeId};
use crate::rewrite::evaluate::Tensor;
use crate::rewrite::rules::family::{self, Clues, Fit, Probe};
use crate::rewrite::rules::{ClassAxis, Context, LossShape, Match};

use super::outcome::{Miss, RULE, Recognised};
use super::piece::Piece;
use super::run::{Run, floats};
use super::sizes::{MANY_CLASSES, PROBES};

/// Runs where there is but one row in each.
const SINGLE_ROW_PROBES: usize = 16;

impl Piece {
    /// Runs the piece with `labels` as the labels of the rows and compares every value with the family.
    pub(super) fn run(
        &self,
        context: &Context,
        labels_input: &str,
        shapes: &[Vec<usize>],
        labels: &str,
        clues: &Clues,
    ) -> Result<Recognised, Miss> {
        let ignored = self.compared_integers(context);
        let mut runs: Vec<Run> = Vec::new();
        let mut trouble = None;
        let mut wanted = PROBES;
        while runs.len() < wanted {
            let input_dims = &shapes[runs.len() % shapes.len()];
            let seed = runs.len() as u64;
            let count: usize = input_dims.iter().product();
            let raw = Probe::new(count.max(2), self.classes, &ignored, seed + 11).labels()[..count].to_vec();
            let once = |first: i64| {
                let raw = raw.iter().map(|label| label + first).collect();
                self.run_once(context, labels_input, input_dims, labels, raw, &ignored, seed + 101)
            };
            let plain = |run: &Run| run.probe.labels().iter().all(|l| (0..self.classes as i64).contains(l));
            // classes are counted from 0, or from 1
            let (run, failed) = match once(0)? {
                (run, failed) if plain(&run) => (run, failed),
                _ => once(1).ok().filter(|(run, _)| plain(run)).ok_or(Miss::NotALoss)?,
            };
            if run.probe.labels().len() < 3 {
                wanted = if self.classes > MANY_CLASSES { PROBES * 2 } else { SINGLE_ROW_PROBES };
            }
            trouble = trouble.or(failed);
            runs.push(run);
        }
        self.last_fit(context, &runs, clues, labels, trouble, (labels_input, &shapes[0], &ignored))
    }

    /// The last value that is a member of the family; failing that, the last that is one times a constant.
    fn last_fit(
        &self,
        context: &Context,
        runs: &[Run],
        clues: &Clues,
        labels: &str,
        trouble: Option<(NodeId, String)>,
        input: (&str, &[usize], &[i64]),
    ) -> Result<Recognised, Miss> {
        let candidates: Vec<(NodeId, &String, Vec<Vec<f64>>)> = self
            .cone
            .iter()
            .rev()
            .flat_map(|id| context.graph.node(*id).output.iter().filter(|o| !o.is_empty()).map(move |o| (*id, o)))
            .filter(|(id, _)| depends_on_labels(context, self, *id, labels, input.0))
            .filter_map(|(id, output)| Some((id, output, observations(runs, output)?)))
            .collect();
        let mut other = None;
        let mut near = None;
        let far: OnceCell<(Probe, HashMap<String, Tensor>)> = OnceCell::new();
        let holds_far_out = |fit: &Fit, output: &str| {
            let (probe, values) = far.get_or_init(|| {
                let Run { probe, values, logits_dims, .. } = &runs[0];
                let probe = probe.stretched();
                let values = self.run_on(context, values.clone(), &probe, logits_dims).0;
                (probe, values)
            });
            values.get(output).and_then(floats).is_some_and(|seen| family::is_about(fit, clues, probe, seen))
        };
        for scaled in [false, true] {
            for (id, output, seen) in &candidates {
                let views = views_of(runs, seen);
                let fit = if scaled { family::fit_scaled(&views, clues) } else { family::fit(&views, clues, None) };
                if let Some(fit) = fit.filter(|fit| holds_far_out(fit, output)) {
                    if fit.scale < 0.0 && context.index.is_output(output) {
                        let reason = "it is an output and a log-likelihood: the loss times a negative number".into();
                        return Err(Miss::Near { node: *id, reason });
                    }
                    let dims = &runs[0].values[*output].dims;
                    let Some(loss_shape) = self.loss_shape(dims, &runs[0].logits_dims, fit.parameters.reduction())
                    else {
                        continue;
                    };
                    // losses of the rows that the graph gives too must not stay behind
                    let slice = self.slice(context, *id);
                    let rows_are_output = candidates.iter().any(|(inner, value, seen)| {
                        inner != id
                            && slice.contains(inner)
                            && context.index.is_output(value)
                            && seen.iter().any(|s| s.len() > 1)
                            && family::fit(&views_of(runs, seen), clues, None).is_some()
                    });
                    if rows_are_output {
                        continue;
                    }
                    match self.ignore_index(context, &fit, clues, output, labels, input) {
                        Ok((index, note)) => {
                            let flatten = runs[0].flatten;
                            let mut recognised =
                                self.matched(context, *id, output, fit, index, labels, flatten, loss_shape);
                            recognised.found.notes.extend(note);
                            recognised.beyond = other;
                            return Ok(recognised);
                        }
                        Err(reason) => {
                            near.get_or_insert((*id, reason));
                        }
                    }
                } else if !scaled && other.is_none() {
                    other = family::name_other(&views, clues).map(|what| (what, *id));
                }
            }
        }
        if let Some((what, at)) = other {
            let nodes = self.slice(context, at);
            return Err(Miss::Other { what, nodes, at });
        }
        // labels came in, so it is some loss; say what stood in the way
        if let Some((node, reason)) = near.or(trouble) {
            return Err(Miss::Near { node, reason });
        }
        match (candidates.first(), self.stopped) {
            (Some((node, ..)), _) => Err(Miss::Near {
                node: *node,
                reason: "what it computes is neither cross entropy nor the encouraging loss of these logits and labels"
                    .into(),
            }),
            (None, Some(node)) => Err(Miss::Near { node, reason: "the loss could not be followed through it".into() }),
            (None, None) => Err(Miss::NotALoss),
        }
    }

    fn loss_shape(&self, dims: &[usize], logits_dims: &[usize], reduction: Reduction) -> Option<LossShape> {
        if reduction != Reduction::None {
            return Some(if dims.is_empty() { LossShape::AsIs } else { LossShape::Ones(dims.len()) });
        }
        let mut rows = logits_dims.to_vec();
        rows.remove(self.axis);
        let mut kept = logits_dims.to_vec();
        kept[self.axis] = 1;
        if dims == rows {
            // with the classes last, the op's rows are in the same order
            Some(LossShape::AsIs)
        } else if dims == kept {
            Some(LossShape::KeptAxis(self.axis))
        } else {
            None
        }
    }

    #[allow(clippy::too_many_arguments, reason = "the parts of a match")]
    fn matched(
        &self,
        context: &Context,
        at: NodeId,
        output: &str,
        fit: Fit,
        ignore_index: Option<i64>,
        labels: &str,
        flatten: bool,
        loss_shape: LossShape,
    ) -> Recognised {
        let parameters = fit.parameters.to_builder().ignore_index(ignore_index).build().unwrap_or(fit.parameters);
        let rank = self.dims.len();
        let found = Match {
            rule: RULE,
            what: family::words(&parameters),
            logits: self.logits.clone(),
            class_axis: if self.axis == 1 { ClassAxis::One } else { ClassAxis::Last { rank } },
            labels: labels.to_owned(),
            flatten_labels: flatten,
            class_weights: fit.class_weights,
            parameters,
            encouraging: fit.encouraging,
            loss: output.to_owned(),
            loss_shape,
            scale: fit.scale,
            loss_type: self.wider_loss_type(context, output),
            log_prob: None,
            nodes: self.slice(context, at),
            at,
            gradient: None,
            notes: vec![format!("recognised by what it computes: {}", self.spelling(context, at))],
        };
        Recognised { end: output.to_owned(), found, beyond: None }
    }

    /// float32 where half-precision logits make a float32 loss: it was computed in that type at least in part.
    fn wider_loss_type(&self, context: &Context, output: &str) -> Option<DataType> {
        let half = matches!(context.data_type(&self.logits), Some(DataType::Float16 | DataType::Bfloat16));
        context.data_type(output).filter(|t| half && matches!(t, DataType::Float | DataType::Double))
    }
}

/// Whether the loss value depends on the labels, so that a plain log-sum-exp is not taken for a loss.
fn depends_on_labels(context: &Context, piece: &Piece, at: NodeId, labels: &str, labels_input: &str) -> bool {
    piece
        .slice(context, at)
        .iter()
        .any(|id| context.graph.node(*id).input.iter().any(|v| v == labels || v == labels_input))
}

/// What [`family::fit`] compares: each run's probe with a value seen in it.
fn views_of<'a>(runs: &'a [Run], seen: &'a [Vec<f64>]) -> Vec<(&'a Probe, &'a [f64])> {
    runs.iter().map(|run| &run.probe).zip(seen.iter().map(Vec::as_slice)).collect()
}

/// The value in every run, if it is float and one number or one per row.
fn observations(runs: &[Run], value: &str) -> Option<Vec<Vec<f64>>> {
    runs.iter()
        .map(|run| {
            let seen = run.values.get(value).and_then(floats)?;
            (seen.len() == 1 || seen.len() == run.probe.labels().len()).then(|| seen.to_vec())
        })
        .collect()
}
