//! Which value the scores are computed from.

use crate::model::{DataType, Document};
use crate::rewrite::logits::{self, LogitsCandidate};
use crate::rewrite::report::NearMiss;
use crate::rewrite::rules::{self, ClassAxis, Context};
use crate::rewrite::swap::NODE_VERSION;
use crate::rewrite::{LOSS_AND_GRAD_OP, LOSS_OP, RewriteError, operator};

use super::{Evidence, ScoringOptions};

/// Most outputs whose reasons are told.
const REASONS_TOLD: usize = 3;

/// The value, and what is known of it.
pub(in crate::rewrite) struct Chosen {
    pub kind: Evidence,
    pub value: String,
    pub how: String,
    pub class_axis: usize,
    pub classes: Option<usize>,
    pub temperature: Option<f64>,
}

impl Chosen {
    fn of(candidate: &LogitsCandidate) -> Self {
        Self {
            kind: Evidence::Logits,
            value: candidate.value.clone(),
            how: candidate.explain(),
            class_axis: candidate.class_axis,
            classes: candidate.classes.and_then(|n| usize::try_from(n).ok()),
            temperature: candidate.temperature,
        }
    }

    fn classes_from(mut self, context: &Context) -> Self {
        let dims = context.shapes.get(&self.value).dims.unwrap_or_default();
        let classes = dims.get(self.class_axis).and_then(|dim| dim.known()).and_then(|n| usize::try_from(n).ok());
        self.classes = classes.or(self.classes);
        self
    }
}

/// Named, or read by a loss, or before the head of an output; with `probabilities` what a head gives.
pub(in crate::rewrite) fn choose(
    document: &Document,
    context: &Context,
    options: &ScoringOptions,
) -> Result<Chosen, RewriteError> {
    let (candidates, near_misses) = logits::find_logits(document, &context.index, &context.shapes);
    if let Some(name) = &options.logits {
        return named(document, context, options, name, &candidates);
    }
    if options.probabilities {
        return probabilities(document, context, &candidates, &near_misses);
    }
    let read = read_by_losses(document, context);
    match &read[..] {
        [] => {}
        [only] => return Ok(with_temperature(only, &candidates).classes_from(context)),
        several => {
            return Err(RewriteError::AmbiguousLogits {
                candidates: several.iter().map(|c| c.value.clone()).collect(),
            });
        }
    }
    match logits::to_choose_from(&candidates)[..] {
        [] => Err(no_logits(document, context, &near_misses)),
        [only] => Ok(Chosen::of(only)),
        ref several => {
            Err(RewriteError::AmbiguousLogits { candidates: several.iter().map(|c| c.value.clone()).collect() })
        }
    }
}

fn named(
    document: &Document,
    context: &Context,
    options: &ScoringOptions,
    name: &str,
    candidates: &[LogitsCandidate],
) -> Result<Chosen, RewriteError> {
    let refuse = |reason: String| Err(RewriteError::NotLogits { name: name.to_owned(), reason });
    let made = context.index.producer(name).is_some() || context.index.is_input(name);
    if !made {
        let known: Vec<&str> = candidates.iter().map(|c| c.value.as_str()).collect();
        let hint = if known.is_empty() { String::new() } else { format!("; candidates are: {}", known.join(", ")) };
        return refuse(format!("the graph computes no such value{hint}"));
    }
    if let Some(data_type) = context.data_type(name)
        && !matches!(data_type, DataType::Float | DataType::Double | DataType::Float16 | DataType::Bfloat16)
    {
        return refuse(format!("it is {}, not a float tensor", rules::data_type_name(data_type)));
    }
    if let Some(rank @ ..2) = context.shapes.rank(name) {
        return refuse(format!("it has {rank} axes; logits have at least 2 (batch, classes)"));
    }
    let known = candidates.iter().find(|c| c.value == name);
    let class_axis = match known {
        Some(candidate) => candidate.class_axis,
        None => logits::class_axis(document, &context.index, &context.shapes, name),
    };
    let how = match known {
        Some(candidate) => format!("was named, and {}", candidate.explain()),
        None => "was named".to_owned(),
    };
    let kind = if options.probabilities { Evidence::Probabilities } else { Evidence::Logits };
    let temperature = known.and_then(|c| c.temperature);
    let chosen = Chosen { kind, value: name.to_owned(), how, class_axis, classes: None, temperature };
    Ok(chosen.classes_from(context))
}

/// What the losses of the graph read, each value once.
fn read_by_losses(document: &Document, context: &Context) -> Vec<Chosen> {
    let mut read: Vec<Chosen> = Vec::new();
    let mut add = |value: &str, class_axis: usize, loss: String| {
        let mut chosen = Chosen {
            kind: Evidence::Logits,
            value: value.to_owned(),
            how: format!("goes into the loss {loss}"),
            class_axis,
            classes: None,
            temperature: None,
        };
        // a softmax before a loss that takes logits is a mistake; what goes into it are the logits
        if let Some(before) = logits::before_softmax(document, &context.index, &context.shapes, value) {
            chosen.how = format!("goes through {} into the loss {loss}", before.head.name());
            (chosen.value, chosen.class_axis, chosen.temperature) =
                (before.value, before.class_axis, before.temperature);
        }
        if !read.iter().any(|known| known.value == chosen.value) {
            read.push(chosen);
        }
    };
    for node in context.graph.nodes() {
        let takes_logits = matches!(operator(node), Some(LOSS_OP | LOSS_AND_GRAD_OP))
            || node.is("", "SoftmaxCrossEntropyLoss")
            || node.is("com.microsoft", "SoftmaxCrossEntropyLossInternal");
        if let Some(value) = node.input_at(0).filter(|_| takes_logits) {
            let (value, class_axis) = before_patch(context, value);
            add(value, class_axis, node.describe());
        }
    }
    // a gradient without its loss is no matter here
    let matches = rules::find(context).map(|findings| findings.matches).unwrap_or_default();
    for found in matches {
        let class_axis = match found.class_axis {
            ClassAxis::One => 1,
            ClassAxis::Last { rank } => rank - 1,
        };
        add(&found.logits, class_axis, format!("'{}'", found.loss));
    }
    read
}

/// The logits as they were called before `patch` converted them for the operator, and their class axis.
fn before_patch<'a>(context: &'a Context, mut value: &'a str) -> (&'a str, usize) {
    let mut class_axis = 1;
    while let Some(id) = context.index.producer(value) {
        let node = context.graph.node(id);
        let moved = match node.op() {
            _ if node.metadata(NODE_VERSION).is_none() => None,
            "Cast" => Some(class_axis),
            "Transpose" => node.attr_ints("perm").and_then(|perm| usize::try_from(*perm.get(class_axis)?).ok()),
            _ => None,
        };
        let (Some(axis), Some(input)) = (moved, node.input_at(0)) else { break };
        (value, class_axis) = (input, axis);
    }
    (value, class_axis)
}

/// The loss says which value, an output may say what it is divided by.
fn with_temperature(chosen: &Chosen, candidates: &[LogitsCandidate]) -> Chosen {
    let known = candidates.iter().find(|c| c.value == chosen.value);
    Chosen {
        kind: chosen.kind,
        value: chosen.value.clone(),
        how: chosen.how.clone(),
        class_axis: chosen.class_axis,
        classes: chosen.classes,
        temperature: chosen.temperature.or(known.and_then(|c| c.temperature)),
    }
}

fn probabilities(
    document: &Document,
    context: &Context,
    candidates: &[LogitsCandidate],
    near_misses: &[NearMiss],
) -> Result<Chosen, RewriteError> {
    let mut found = logits::find_probabilities(document, &context.index, &context.shapes);
    match found.len() {
        0 => Err(RewriteError::NoLogits {
            reason: match candidates.first() {
                Some(logits) => format!("no output holds probabilities, but '{}' {}", logits.value, logits.explain()),
                None => format!("no output holds probabilities: {}", reasons(near_misses)),
            },
            instead: Some(match candidates.is_empty() {
                false => "leave --probabilities out to score from the logits".to_owned(),
                true => "where you know better, name the value with --logits NAME --probabilities".to_owned(),
            }),
        }),
        1 => {
            let only = found.remove(0);
            Ok(Chosen {
                kind: Evidence::Probabilities,
                how: format!("comes out of {} on its way to the output '{}'", only.maker, only.output),
                value: only.value,
                class_axis: only.class_axis,
                classes: only.classes.and_then(|n| usize::try_from(n).ok()),
                temperature: None,
            })
        }
        _ => Err(RewriteError::AmbiguousLogits { candidates: found.into_iter().map(|p| p.value).collect() }),
    }
}

fn no_logits(document: &Document, context: &Context, near_misses: &[NearMiss]) -> RewriteError {
    let found = logits::find_probabilities(document, &context.index, &context.shapes);
    let instead = found.first().map(|p| {
        format!(
            "its output '{}' holds probabilities: --probabilities scores those (msp, entropy, gen; no energy, no margin \
             of logits)",
            p.output
        )
    });
    RewriteError::NoLogits { reason: reasons(near_misses), instead }
}

/// Why each output leads to no logits, in one line.
fn reasons(near_misses: &[NearMiss]) -> String {
    if near_misses.is_empty() {
        return "the model has no output".to_owned();
    }
    let mut told: Vec<String> =
        near_misses.iter().take(REASONS_TOLD).map(|miss| format!("{}: {}", miss.node, miss.reason)).collect();
    if near_misses.len() > REASONS_TOLD {
        told.push(format!("and {} more outputs", near_misses.len() - REASONS_TOLD));
    }
    told.join("; ")
}
