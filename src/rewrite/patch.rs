//! `patch`: swaps every loss found, or puts one on a model without.

use std::collections::BTreeMap;

use crate::loss::{Bonus, EncouragingLoss, Reduction};
use crate::model::{Document, NodeId};

use super::plan::Plan;
use super::report::Action;
use super::rules::{self, Context, Findings, Match, encouraging_op, family};
use super::swap::{self, swap};
use super::{
    DOMAIN, DOMAIN_VERSION, LOSS_AND_GRAD_OP, LOSS_OP, MIN_OPSET, PatchOptions, Report, RewriteError, attach,
    attributes, classifier, logits, operator, parameters,
};

/// Metadata of a patched model: the version of the tool.
pub(crate) const MODEL_VERSION: &str = "elonnx.version";
/// Metadata of a patched model: the losses as JSON, name of the loss → parameters.
pub(crate) const MODEL_LOSSES: &str = "elonnx.losses";

/// The rewritten model and what was done.
#[derive(Clone, Debug)]
pub struct Patched {
    /// The new model; equal to the input where nothing was to be done.
    pub document: Document,
    /// What was done.
    pub report: Report,
}

/// Swaps the losses of `document` for the encouraging loss; a model without a loss gets one on its logits, with a
/// `labels` input. Nothing is changed where there is nothing to do, so that patching twice gives the same bytes.
///
/// ```no_run
/// use elonnx::model::{Document, ExternalData};
/// use elonnx::rewrite::{patch, PatchOptions};
///
/// let model = Document::open("training_model.onnx")?;
/// let patched = patch(&model, &PatchOptions { log_end: Some(0.5), ..PatchOptions::default() })?;
/// println!("{} losses swapped", patched.report.swapped());
/// patched.document.save("patched.onnx", ExternalData::Copy)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// See [`RewriteError`]; the reasons why nothing matched are in [`RewriteError::NothingMatched`].
pub fn patch(document: &Document, options: &PatchOptions) -> Result<Patched, RewriteError> {
    let opset = default_opset(document)?;
    let context = Context::new(document.graph(), opset, "graph".into());
    let Findings { matches, others, near_misses } = rules::find(&context)?;
    let mut report = Report { losses: others, near_misses, ..Report::default() };
    report.losses.extend(rules::find_nested(document, opset)?);

    let mut plan = Plan::default();
    let matches = select(matches, options, &mut report)?;
    for found in &matches {
        swap_one(&context, found, options, &mut plan, &mut report)?;
    }
    reparametrise(&context, options, &mut plan, &mut report)?;
    let mut patched = document.clone();
    if report.swapped() == 0 {
        if report.already_patched() {
            refuse_unused(options, &report)?;
            return Ok(Patched { document: patched, report });
        }
        let has_losses = report.losses.iter().any(|l| l.place == "graph");
        if has_losses && options.logits.is_none() {
            return Err(RewriteError::NothingMatched(Box::new(report)));
        }
        classifier::add_loss(document, &context, options, &mut patched, &mut plan, &mut report)?;
    }
    refuse_unused(options, &report)?;
    plan.apply(patched.graph_mut());
    finish(&mut patched, opset, &mut report)?;
    Ok(Patched { document: patched, report })
}

/// Version of the default domain.
pub(crate) fn default_opset(document: &Document) -> Result<i64, RewriteError> {
    document.opset_version("").ok_or_else(|| RewriteError::Unsupported {
        node: "the model".into(),
        reason: "it does not import the standard ONNX domain, so its ops have no meaning".into(),
    })
}

/// The matches that the options ask for.
fn select(matches: Vec<Match>, options: &PatchOptions, report: &mut Report) -> Result<Vec<Match>, RewriteError> {
    let Some(logits) = &options.logits else {
        if let (Some(labels), [only]) = (&options.labels, &matches[..])
            && *labels != only.labels
        {
            return Err(RewriteError::NotLabels {
                name: labels.clone(),
                reason: format!("the loss found reads '{}'; leave --labels out", only.labels),
            });
        }
        return Ok(matches);
    };
    let (chosen, left): (Vec<Match>, Vec<Match>) = matches.into_iter().partition(|m| m.logits == *logits);
    for found in left {
        report.warnings.push(format!(
            "the {} '{}' on '{}' is left alone: --logits names '{logits}'",
            found.what, found.loss, found.logits
        ));
    }
    Ok(chosen)
}

fn swap_one(
    context: &Context,
    found: &Match,
    options: &PatchOptions,
    plan: &mut Plan,
    report: &mut Report,
) -> Result<(), RewriteError> {
    let loss = swap::merge(&found.parameters, found.encouraging, options)?;
    let mut told = rules::describe(context, found);
    told.notes.extend(swap(context, found, &loss, plan)?);
    told.parameters = Some(loss);
    if loss.reduction() == Reduction::None && context.shapes.rank(&found.loss) == Some(0) {
        report.warnings.push(format!(
            "'{}' is declared as a single number, but the loss has reduction none: the exporter's mistake, it was so before",
            found.loss
        ));
    }
    if let Some(head) = logits::head_before_loss(&context.index, &context.shapes, &found.logits) {
        report.warnings.push(format!(
            "the loss takes logits, but '{}' comes out of {}: it squashes the logits a second time, which is a bug in most models; feed what goes into it",
            found.logits,
            head.name()
        ));
    }
    report.losses.push(told);
    Ok(())
}

/// Our own ops, where the user asks for other parameters than they have.
fn reparametrise(
    context: &Context,
    options: &PatchOptions,
    plan: &mut Plan,
    report: &mut Report,
) -> Result<(), RewriteError> {
    for (i, node) in context.graph.nodes().iter().enumerate() {
        if !matches!(operator(node), Some(LOSS_OP | LOSS_AND_GRAD_OP)) {
            continue;
        }
        let Ok(old) = parameters(node) else { continue };
        let new = swap::merge(&old, true, options)?;
        if new == old {
            continue;
        }
        let mut ids = vec![NodeId(i)];
        ids.extend(encouraging_op::gradient(context, node));
        for id in ids {
            plan.insert(id, with_parameters(context, id, &new));
            plan.remove(id);
        }
        let told = report
            .losses
            .iter_mut()
            .find(|l| l.action == Action::AlreadyPatched && l.loss.as_deref() == node.output_at(0));
        if let Some(told) = told {
            told.action = Action::Swapped;
            told.what = family::words(&old);
            told.parameters = Some(new);
        }
    }
    Ok(())
}

/// The node with other attributes.
fn with_parameters(context: &Context, id: NodeId, loss: &EncouragingLoss) -> crate::model::proto::NodeProto {
    let mut new = (**context.graph.node(id)).clone();
    new.attribute = attributes(loss);
    new
}

/// A parameter that is asked for and belongs to another bonus than every loss ends up with would be lost in silence.
fn refuse_unused(options: &PatchOptions, report: &Report) -> Result<(), RewriteError> {
    let asked =
        [("--log-end", options.log_end.is_some(), Bonus::Log), ("--power", options.power.is_some(), Bonus::Power)];
    let bonuses: Vec<Bonus> = report.losses.iter().filter_map(|l| l.parameters.as_ref()).map(|p| p.bonus()).collect();
    for (option, _, needs) in asked.into_iter().filter(|(_, asked, _)| *asked) {
        if let Some(has) = bonuses.first().copied().filter(|_| !bonuses.contains(&needs)) {
            return Err(RewriteError::UnusedOption { option, needs, has });
        }
    }
    Ok(())
}

/// Opset import, bodies, stamp.
fn finish(patched: &mut Document, opset: i64, report: &mut Report) -> Result<(), RewriteError> {
    if opset < MIN_OPSET {
        patched.set_opset_version(DOMAIN, DOMAIN_VERSION);
        report.warnings.push(format!(
            "the model imports opset {opset}; function bodies need {MIN_OPSET}, so this file runs with the plugin only. Raise the opset (onnx.version_converter) and patch again to run it anywhere"
        ));
    } else {
        let attached = attach(patched)?;
        report.changes.extend(attached.changes);
        report.warnings.extend(attached.warnings);
    }
    let losses: BTreeMap<&str, &EncouragingLoss> = report
        .losses
        .iter()
        .filter(|l| matches!(l.action, Action::Swapped | Action::AlreadyPatched))
        .filter_map(|l| Some((l.loss.as_deref()?, l.parameters.as_ref()?)))
        .collect();
    let losses = serde_json::to_string(&losses).unwrap_or_default();
    patched.set_metadata(MODEL_VERSION, env!("CARGO_PKG_VERSION"));
    patched.set_metadata(MODEL_LOSSES, &losses);
    Ok(())
}
