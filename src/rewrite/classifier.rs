//! A classifier without a loss gets one on its logits.

use crate::loss::{EncouragingLoss, Reduction};
use crate::model::{DataType, Dimension, Document, value_info};

use super::function::attributes;
use super::plan::Plan;
use super::report::{Action, LossReport};
use super::rules::{self, Context};
use super::swap::{self, stamped};
use super::{DOMAIN, LOSS_OP, PatchOptions, Report, RewriteError, logits};

/// The rule's name in reports.
pub(crate) const RULE: &str = "classifier";

/// Adds a `labels` input, the op on the logits, and its loss as an output; the old outputs stay.
pub(super) fn add_loss(
    document: &Document,
    context: &Context,
    options: &PatchOptions,
    patched: &mut Document,
    plan: &mut Plan,
    report: &mut Report,
) -> Result<(), RewriteError> {
    let chosen = choose_logits(document, context, options, report)?;
    let (data_type, dims) = check(context, &chosen.value)?;
    let loss = swap::merge(&EncouragingLoss::cross_entropy(), false, options)?;
    let labels = add_labels(context, &dims, chosen.class_axis, options, patched, plan, report)?;
    let name = plan.fresh_name(context.graph, "loss");
    let logits = classes_first(context, &chosen.value, dims.len(), chosen.class_axis, plan);
    let node = stamped(LOSS_OP, RULE)
        .attributes(attributes(&loss))
        .domain(DOMAIN)
        .name(&format!("{}/{LOSS_OP}", chosen.value))
        .inputs([&logits, &labels.name])
        .outputs([&name])
        .build();
    plan.append(context.graph, node);
    let loss_dims = if loss.reduction() == Reduction::None { labels.dims.clone() } else { Some(Vec::new()) };
    patched.graph_mut().add_output(value_info(&name, data_type as i32, loss_dims.as_deref()));
    report.changes.push(format!("output '{name}' added; the old outputs stay"));
    let mut notes = Vec::new();
    if !chosen.through.is_empty() {
        notes.push(format!("the logits are what goes into {}", chosen.through.join(" ← ")));
    }
    report.losses.push(LossReport {
        rule: RULE,
        place: context.place.clone(),
        what: "classifier without a loss".into(),
        nodes: Vec::new(),
        logits: Some(chosen.value.clone()),
        labels: Some(labels.name),
        loss: Some(name),
        data_type: Some(rules::data_type_name(data_type).to_owned()),
        shape: rules::shape_text(&context.shapes, &chosen.value),
        parameters: Some(loss),
        class_weights: None,
        gradient: None,
        action: Action::Swapped,
        notes,
    });
    Ok(())
}

struct Chosen {
    value: String,
    through: Vec<String>,
    /// Axis of the classes.
    class_axis: usize,
}

fn choose_logits(
    document: &Document,
    context: &Context,
    options: &PatchOptions,
    report: &mut Report,
) -> Result<Chosen, RewriteError> {
    let (candidates, near_misses) = logits::find_logits(document, &context.index, &context.shapes);
    report.near_misses.extend(near_misses);
    if let Some(name) = &options.logits {
        if !context.graph.has_value(name) {
            let known: Vec<String> = candidates.iter().map(|c| c.value.clone()).collect();
            let hint = if known.is_empty() { String::new() } else { format!("; candidates are: {}", known.join(", ")) };
            return Err(RewriteError::NotLogits {
                name: name.clone(),
                reason: format!("the graph has no such value{hint}"),
            });
        }
        let known = candidates.into_iter().find(|c| c.value == *name);
        return Ok(Chosen {
            value: name.clone(),
            through: known.as_ref().map(|c| c.through.clone()).unwrap_or_default(),
            class_axis: known
                .map_or_else(|| logits::class_axis(document, &context.index, &context.shapes, name), |c| c.class_axis),
        });
    }
    let pool = logits::to_choose_from(&candidates);
    match pool[..] {
        [] => Err(RewriteError::NothingMatched(Box::new(report.clone()))),
        [only] => Ok(Chosen { value: only.value.clone(), through: only.through.clone(), class_axis: only.class_axis }),
        _ => Err(RewriteError::AmbiguousLogits { candidates: pool.iter().map(|c| c.value.clone()).collect() }),
    }
}

/// Element type and sizes; the rank must be known to give labels their shape.
fn check(context: &Context, value: &str) -> Result<(DataType, Vec<Dimension>), RewriteError> {
    let refuse = |reason: String| RewriteError::NotLogits { name: value.to_owned(), reason };
    let data_type = match context.data_type(value) {
        Some(t @ (DataType::Float | DataType::Double | DataType::Float16 | DataType::Bfloat16)) => t,
        Some(other) => return Err(refuse(format!("it is {}, not a float tensor", rules::data_type_name(other)))),
        None => {
            return Err(refuse("its element type is not known; run onnx.shape_inference on the model first".into()));
        }
    };
    match context.shapes.get(value).dims {
        Some(dims) if dims.len() >= 2 => Ok((data_type, dims)),
        Some(dims) => Err(refuse(format!("it has {} axes; logits have at least 2 (batch, classes)", dims.len()))),
        // every classifier seen has a matrix there; its sizes are free
        None => Ok((data_type, vec![Dimension::Symbol("N".into()), Dimension::Unknown])),
    }
}

/// The logits with the classes in axis 1.
fn classes_first(context: &Context, value: &str, rank: usize, class_axis: usize, plan: &mut Plan) -> String {
    if class_axis == 1 {
        return value.to_owned();
    }
    let moved = plan.fresh_name(context.graph, &format!("{value}_classes_first"));
    let mut order: Vec<i64> = (0..rank as i64).filter(|a| *a != class_axis as i64).collect();
    order.insert(1, class_axis as i64);
    let node = stamped("Transpose", RULE)
        .name(&format!("{value}/Transpose"))
        .inputs([value])
        .outputs([&moved])
        .ints("perm", &order)
        .build();
    plan.append(context.graph, node);
    moved
}

struct Labels {
    name: String,
    dims: Option<Vec<Dimension>>,
}

fn add_labels(
    context: &Context,
    dims: &[Dimension],
    class_axis: usize,
    options: &PatchOptions,
    patched: &mut Document,
    plan: &mut Plan,
    report: &mut Report,
) -> Result<Labels, RewriteError> {
    let asked = options.labels.as_deref().unwrap_or("labels");
    if context.index.is_input(asked) {
        return match context.data_type(asked) {
            Some(DataType::Int32 | DataType::Int64) => {
                Ok(Labels { name: asked.to_owned(), dims: context.shapes.get(asked).dims })
            }
            _ => Err(RewriteError::NotLabels {
                name: asked.to_owned(),
                reason: "it is an input of the model, but not int32 or int64; choose another name with --labels NAME"
                    .into(),
            }),
        };
    }
    if options.labels.is_some() && context.graph.has_value(asked) {
        return Err(RewriteError::NotLabels {
            name: asked.to_owned(),
            reason: "the graph computes a value of that name; choose another".into(),
        });
    }
    let name = plan.fresh_name(context.graph, asked);
    let mut label_dims = dims.to_vec();
    label_dims.remove(class_axis);
    patched.graph_mut().add_input(value_info(&name, DataType::Int64 as i32, Some(&label_dims)));
    report.changes.push(format!("input '{name}' added: int64 class indices"));
    Ok(Labels { name, dims: Some(label_dims) })
}
