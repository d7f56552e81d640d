//! Losses spelled in elementary ops, recognised by what they compute.
//!
//! Exporters write cross entropy in many ways: gather from a log-softmax, one-hot by OneHot or by Equal and Cast,
//! log-sum-exp minus the gathered logit, GatherND with index arithmetic … Instead of a pattern for each, the piece of
//! graph between the logits and the loss is cut out and run on probe logits and labels, and the numbers are compared
//! with the family ([`super::family`]). What agrees is that loss, however it is spelled; what does not is told why.

mod anchor;
mod clues;
mod fit;
mod ignore;
mod joined;
mod labels;
mod outcome;
mod piece;
mod recognise;
mod run;
mod sizes;

use std::collections::HashSet;

use crate::model::NodeId;
use crate::rewrite::RewriteError;
use crate::rewrite::report::LossReport;

use super::{Context, Findings, Match, Refusal, data_type_name, linear, shape_text, training_pair};
use anchor::{Anchor, anchors, behind_layout, behind_masks};
pub(super) use joined::{is_bonus, joined};
use outcome::{Miss, RULE, Recognised};
pub(super) use piece::is_network;
use piece::{Piece, makes};

/// Finds the losses that no structural rule took.
pub(super) fn find(
    context: &Context,
    taken: &mut HashSet<NodeId>,
    findings: &mut Findings,
) -> Result<(), RewriteError> {
    let anchors = anchors(context);
    let mut soft = Vec::new();
    // the last softmax first: a loss is at the end, attention is not
    for (i, anchor) in anchors.iter().enumerate().rev() {
        if taken.contains(&anchor.node) {
            continue;
        }
        let mut outcome = recognise_at(context, anchor, taken);
        if !matches!(outcome, Err(Miss::NotALoss)) {
            // a softmax of log-probabilities is a part of the loss of the logits before them
            for earlier in anchors[..i].iter().rev().filter(|e| !taken.contains(&e.node)) {
                let leads_here = Piece::cut(context, &earlier.logits, earlier.axis, taken)
                    .is_ok_and(|piece| piece.cone.contains(&anchor.node));
                if leads_here
                    && let Ok(whole) = recognise_at(context, earlier, taken)
                    && whole.iter().any(|w| w.found.nodes.contains(&anchor.node))
                {
                    outcome = Ok(whole);
                }
            }
        }
        match outcome {
            Ok(all) => {
                let losses: Vec<String> = all.iter().map(|r| r.end.clone()).collect();
                for recognised in all {
                    settle(context, recognised, &losses, taken, findings)?;
                }
            }
            Err(Miss::NotALoss) => {}
            Err(Miss::SoftLabels { what, nodes, at }) => soft.push((anchor, what, nodes, at)),
            Err(Miss::Other { what, nodes, at }) => {
                findings.others.push(other(context, &anchor.logits, what, &nodes, at));
                taken.extend(nodes);
            }
            Err(Miss::Near { node, reason }) => findings.near_miss(context, RULE, node, reason),
        }
    }
    // a teacher's softmax beside the loss against class indices is part of that
    for (anchor, what, nodes, at) in soft {
        if !nodes.iter().any(|id| taken.contains(id)) {
            findings.others.push(other(context, &anchor.logits, what, &nodes, at));
            taken.extend(nodes);
        }
    }
    Ok(())
}

/// Takes what was recognised, unless something makes another loss of it further on; `losses` are all that were
/// recognised of these logits.
fn settle(
    context: &Context,
    recognised: Recognised,
    losses: &[String],
    taken: &mut HashSet<NodeId>,
    findings: &mut Findings,
) -> Result<(), RewriteError> {
    let Recognised { end, mut found, beyond } = recognised;
    let uses = linear::uses(context, &end, &found.logits, &found.labels);
    taken.extend(&found.nodes);
    // the loss against the second label of a mixup is a term that is swapped too
    let is_loss = |term: &str| losses.iter().any(|loss| *loss != end && makes(context, loss, term));
    let beside: Vec<_> = uses.joined.iter().filter(|joined| !is_loss(&joined.term)).collect();
    if let Some(bonus) = beside.iter().find(|beside| is_bonus(context, &found, beside)) {
        findings.others.push(joined(context, &found, bonus.at).report(context, found.at));
        return Ok(());
    }
    if let Some(breaker) = uses.nonlinear
        && !uses.reaches_output
    {
        findings.others.push(match beyond {
            Some((what, at)) => other(context, &found.logits, what, &found.nodes, at),
            None => bent(context, &found, breaker).report(context, found.at),
        });
        return Ok(());
    }
    training_pair::refuse_gradient(context, &found)?;
    found.notes.extend(beside.first().map(|beside| beside.note(context)));
    findings.matches.push(found);
    Ok(())
}

/// Recognises the loss of an anchor's logits: of those behind a mask first, then of the anchor's own, then of those
/// that were given another layout for the softmax.
fn recognise_at(context: &Context, anchor: &Anchor, taken: &HashSet<NodeId>) -> Result<Vec<Recognised>, Miss> {
    let attempt =
        |logits: &str, axis: i64| Piece::cut(context, logits, axis, taken).and_then(|piece| piece.recognise(context));
    let masked = behind_masks(context, &anchor.logits).into_iter().rev();
    let behind = masked.map(|logits| attempt(&logits, anchor.axis)).find_map(Result::ok);
    let mut recognised = match behind.map_or_else(|| attempt(&anchor.logits, anchor.axis), Ok) {
        Ok(recognised) => recognised,
        Err(Miss::NotALoss) => {
            let laid_out = behind_layout(context, &anchor.logits).into_iter();
            let axes = laid_out.flat_map(|logits| [1, -1].map(|axis| (logits.clone(), axis)));
            axes.map(|(logits, axis)| attempt(&logits, axis)).find_map(Result::ok).ok_or(Miss::NotALoss)?
        }
        Err(miss) => return Err(miss),
    };
    for recognised in &mut recognised {
        take_narrow_logits(context, &mut recognised.found);
    }
    Ok(recognised)
}

/// Where half-precision logits were only widened for the arithmetic, and the loss has their type again (as in the body
/// of the operator itself), the loss is one of the half-precision logits.
fn take_narrow_logits(context: &Context, found: &mut Match) {
    let Some(id) = context.index.producer(&found.logits) else { return };
    let node = context.graph.node(id);
    let Some(narrow) = node.input_at(0).filter(|_| node.is("", "Cast")) else { return };
    let narrow_type = context.data_type(narrow);
    if narrow_type.is_some()
        && narrow_type == context.data_type(&found.loss)
        && narrow_type != context.data_type(&found.logits)
    {
        found.logits = narrow.to_owned();
        found.nodes.insert(0, id);
    }
}

/// Looks at what is spelled on top of `found`, whose loss `breaker` bends.
///
/// # Errors
/// What it is, or that it could not be told, as the reason to leave it alone.
pub(super) fn explain(context: &Context, found: &Match, breaker: NodeId) -> Result<Match, Refusal> {
    let refuse = |what: String, reason: String| Refusal { rule: RULE, what, reason };
    let recognised = Piece::cut(context, &found.logits, 1, &HashSet::new()).and_then(|piece| piece.recognise(context));
    // the one that holds the loss found, if there are several
    let recognised = recognised.and_then(|all| {
        all.into_iter().find(|r| r.found.nodes.contains(&found.at) || r.end == found.loss).ok_or(Miss::NotALoss)
    });
    match recognised {
        Ok(Recognised { end, found: better, .. }) if end != found.loss => {
            let uses = linear::uses(context, &end, &better.logits, &better.labels);
            match uses.nonlinear {
                Some(node) if !uses.reaches_output => Err(bent(context, &better, node)),
                _ => Ok(better),
            }
        }
        Ok(Recognised { beyond: Some((what, _)), .. })
        | Err(Miss::Other { what, .. } | Miss::SoftLabels { what, .. }) => {
            let reason = format!("it is {what}, not cross entropy or the encouraging loss");
            Err(refuse(what, reason))
        }
        Err(Miss::Near { reason, node }) => Err(refuse(
            "a loss built on cross entropy".into(),
            format!(
                "{} bends the cross entropy, and the whole could not be run: {} ({reason})",
                context.graph.node(breaker).describe(),
                context.graph.node(node).describe()
            ),
        )),
        _ => Err(bent(context, found, breaker)),
    }
}

/// A loss that something downstream makes another loss of.
fn bent(context: &Context, found: &Match, breaker: NodeId) -> Refusal {
    Refusal {
        rule: RULE,
        what: format!("a loss built on {}", found.what),
        reason: format!(
            "{} bends the {} into a loss that is not known",
            context.graph.node(breaker).describe(),
            found.what
        ),
    }
}

/// The report of a loss that is not of the family.
fn other(context: &Context, logits: &str, what: String, nodes: &[NodeId], at: NodeId) -> LossReport {
    let reason = format!("it is {what}, not cross entropy or the encouraging loss");
    let mut report = Refusal { rule: RULE, what, reason }.report(context, at);
    report.nodes = nodes.iter().map(|id| context.graph.node(*id).describe()).collect();
    report.logits = Some(logits.to_owned());
    report.labels = None;
    report.data_type = context.data_type(logits).map(|t| data_type_name(t).to_owned());
    report.shape = shape_text(&context.shapes, logits);
    report
}
