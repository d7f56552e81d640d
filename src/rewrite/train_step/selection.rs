//! Which parameters are trained: those that the graph makes parameters, as the user narrows them down.

use std::collections::{BTreeMap, BTreeSet};

use super::pattern::matches;
use super::roles::{Role, SINGLE};
use super::{TrainStepError, TrainStepOptions};

/// How many names a sentence lists.
const SHOWN: usize = 4;

/// What is trained and what is not.
pub(super) struct Selection {
    /// Trained, by name.
    pub parameters: BTreeSet<String>,
    /// Parameters that stay as they are because the user says so.
    pub frozen: BTreeSet<String>,
    /// Running statistics.
    pub buffers: BTreeSet<String>,
    /// What was left alone and why, a sentence each.
    pub notes: Vec<String>,
}

/// Applies the patterns of the options to the roles found.
///
/// # Errors
/// A pattern that matches nothing; nothing left to train.
pub(super) fn select(roles: &BTreeMap<String, Role>, options: &TrainStepOptions) -> Result<Selection, TrainStepError> {
    for (option, patterns) in [("--freeze", &options.freeze), ("--train-only", &options.train_only)] {
        for pattern in patterns {
            if !roles.keys().any(|name| matches(pattern, name)) {
                return Err(unknown(option, pattern, roles));
            }
        }
    }
    let any = |patterns: &[String], name: &str| patterns.iter().any(|pattern| matches(pattern, name));
    let mut selection =
        Selection { parameters: BTreeSet::new(), frozen: BTreeSet::new(), buffers: BTreeSet::new(), notes: Vec::new() };
    let mut left: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (name, role) in roles {
        // a tensor that is named in full is meant, whatever it looks like
        let role = if options.train_only.contains(name) { Role::Parameter } else { *role };
        let chosen = (options.train_only.is_empty() || any(&options.train_only, name)) && !any(&options.freeze, name);
        match role {
            Role::Parameter if chosen => drop(selection.parameters.insert(name.clone())),
            Role::Parameter => drop(selection.frozen.insert(name.clone())),
            Role::Buffer if any(&options.freeze, name) => drop(selection.frozen.insert(name.clone())),
            Role::Buffer => drop(selection.buffers.insert(name.clone())),
            Role::Constant(why) => left.entry(why).or_default().push(name),
        }
    }
    for (why, names) in left {
        let told = match (why, names.len()) {
            (SINGLE, 1) => format!("{} is no parameter: {why}", listed(&names)),
            (SINGLE, many) => format!("{many} single numbers are no parameters: {}", listed(&names)),
            (_, 1) => format!("{} is no parameter: {why}", listed(&names)),
            (_, many) => format!("{many} tensors are no parameters: {why}: {}", listed(&names)),
        };
        selection.notes.push(told);
    }
    if selection.parameters.is_empty() {
        return Err(TrainStepError::NoParameters(why_nothing(roles, &selection)));
    }
    Ok(selection)
}

fn why_nothing(roles: &BTreeMap<String, Role>, selection: &Selection) -> String {
    if !selection.frozen.is_empty() {
        return format!("all {} parameters are frozen by --freeze and --train-only", selection.frozen.len());
    }
    if roles.is_empty() {
        return "the model stores no float tensors on the way to its logits; if its weights are inputs, as in the graphs \
                of ORT Training, export the inference model first \
                (onnxruntime.training.api.Module.export_model_for_inferencing)"
            .to_owned();
    }
    format!(
        "none of the {} float tensors it stores is a weight; name those to train in full with --train-only{}",
        roles.len(),
        if selection.notes.is_empty() { String::new() } else { format!(" ({})", selection.notes.join("; ")) }
    )
}

fn unknown(option: &'static str, pattern: &str, roles: &BTreeMap<String, Role>) -> TrainStepError {
    let names: Vec<&str> =
        roles.iter().filter(|(_, role)| **role == Role::Parameter).map(|(name, _)| name.as_str()).collect();
    let known = match names[..] {
        [] => "the model has none".to_owned(),
        _ => format!("its parameters are {}", listed(&names)),
    };
    TrainStepError::Pattern { option, pattern: pattern.to_owned(), known }
}

/// The first few names.
pub(super) fn listed(names: &[&str]) -> String {
    let mut shown: Vec<String> = names.iter().take(SHOWN).map(|name| (*name).to_owned()).collect();
    if names.len() > SHOWN {
        shown.push(format!("{} more", names.len() - SHOWN));
    }
    shown.join(", ")
}
