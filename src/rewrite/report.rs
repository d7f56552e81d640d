//! What was found, what was changed and why.

use serde::Serialize;

use crate::loss::{Bonus, EncouragingLoss, ParameterError};
use crate::model::ModelError;

/// What happened to one loss.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", tag = "kind", content = "reason")]
pub enum Action {
    /// It was (or, in `inspect` and with --dry-run, would be) swapped.
    Swapped,
    /// It is the encouraging loss already, with these parameters.
    AlreadyPatched,
    /// It was left as it is; the sentence says why.
    LeftAlone(String),
}

/// One loss of the graph.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LossReport {
    /// Rule that recognised it, kebab-case, e.g. "softmax-cross-entropy".
    pub rule: &'static str,
    /// Where: "graph", "graph > If 'name' > then_branch", "function domain::name".
    pub place: String,
    /// What it is in words, e.g. "cross entropy", "encouraging loss (log_end 0.75)", "focal loss".
    pub what: String,
    /// The nodes it is made of, described.
    pub nodes: Vec<String>,
    /// Value that holds the logits.
    pub logits: Option<String>,
    /// Value that holds the labels.
    pub labels: Option<String>,
    /// Value that holds the loss.
    pub loss: Option<String>,
    /// Element type of the logits, e.g. "float32".
    pub data_type: Option<String>,
    /// Shape of the logits as text, e.g. "[N, 10]".
    pub shape: Option<String>,
    /// Parameters after patching (for [`Action::AlreadyPatched`]: those it has).
    pub parameters: Option<EncouragingLoss>,
    /// The value with class weights, if any.
    pub class_weights: Option<String>,
    /// The gradient node swapped together with it, described.
    pub gradient: Option<String>,
    /// What happened.
    pub action: Action,
    /// Remarks on this loss: parameters restored from metadata, values kept alive …
    pub notes: Vec<String>,
}

/// What happened to one score that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ScoreAction {
    /// It is a new output (or, with --dry-run, would be).
    Added,
    /// It was an output already, with other numbers in it.
    Replaced,
    /// It is an output already, computed in the same way.
    AlreadyThere,
}

/// One score in the graph.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ScoreReport {
    /// Its name, e.g. "energy".
    pub score: &'static str,
    /// The output that holds it.
    pub output: String,
    /// Its formula with the numbers it has.
    pub formula: String,
    /// Element type and shape as text, e.g. `float32[N]`.
    pub data_type: String,
    /// Value that holds the logits.
    pub logits: String,
    /// What happened.
    pub action: ScoreAction,
}

/// A rule that began to match and stopped.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct NearMiss {
    /// The rule.
    pub rule: &'static str,
    /// Where, as in [`LossReport::place`].
    pub place: String,
    /// The node that broke the pattern, described.
    pub node: String,
    /// Why, a sentence.
    pub reason: String,
}

/// The whole story of one rewrite.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Report {
    /// Every loss found.
    pub losses: Vec<LossReport>,
    /// Every score that was asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub scores: Vec<ScoreReport>,
    /// Why other candidates did not match.
    pub near_misses: Vec<NearMiss>,
    /// Things the user should know: a softmax in front of the loss, faults of ORT Training …
    pub warnings: Vec<String>,
    /// What was added or removed beside the losses: inputs, outputs, functions, IR version …
    pub changes: Vec<String>,
}

impl Report {
    /// How many losses were swapped.
    #[must_use]
    pub fn swapped(&self) -> usize {
        self.losses.iter().filter(|l| l.action == Action::Swapped).count()
    }

    /// Whether scores were added or replaced.
    #[must_use]
    pub fn scores_changed(&self) -> bool {
        self.scores.iter().any(|score| score.action != ScoreAction::AlreadyThere)
    }

    /// Whether the model holds the encouraging loss already and nothing was left to do.
    #[must_use]
    pub fn already_patched(&self) -> bool {
        self.swapped() == 0 && self.losses.iter().any(|l| l.action == Action::AlreadyPatched)
    }
}

/// Why a rewrite stopped. Nothing is written then.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RewriteError {
    /// The file.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// A parameter.
    #[error(transparent)]
    Parameter(#[from] ParameterError),
    /// No loss and no logits, or only losses that must be left alone; the report has the reasons.
    #[error("found no loss to swap and no logits to put one on")]
    NothingMatched(Box<Report>),
    /// Several values could be the logits.
    #[error("several values could be the logits: {}; choose one with --logits NAME", candidates.join(", "))]
    AmbiguousLogits {
        /// Their names.
        candidates: Vec<String>,
    },
    /// A model that has no logits, or none that can be found.
    #[error("found no logits: {reason}{}", instead.as_ref().map(|i| format!("; {i}")).unwrap_or_default())]
    NoLogits {
        /// Why, a clause: of the first output, or of each.
        reason: String,
        /// What still works, a clause: "its output 'p' holds probabilities, score those with --probabilities".
        instead: Option<String>,
    },
    /// A decision is asked of a model that holds no threshold for it, or one that belongs to other numbers.
    #[error("{score} needs a calibrated model: {reason}")]
    NotCalibrated {
        /// The score asked for.
        score: &'static str,
        /// What is missing or does not fit, and what to do, a clause.
        reason: String,
    },
    /// A score that this model's graph cannot have.
    #[error("the score {score} cannot be put into the graph: {reason}")]
    NoGraphScore {
        /// The score asked for.
        score: &'static str,
        /// Why, and what works instead, a clause.
        reason: String,
    },
    /// `--logits` names something that is not there or cannot be logits.
    #[error("{name} cannot be the logits: {reason}")]
    NotLogits {
        /// The name given.
        name: String,
        /// Why, a clause.
        reason: String,
    },
    /// `--labels` names something that cannot be labels.
    #[error("{name} cannot be the labels: {reason}")]
    NotLabels {
        /// The name given.
        name: String,
        /// Why, a clause.
        reason: String,
    },
    /// A parameter that no loss of the model makes use of, with the bonus it has.
    #[error(
        "{option} belongs to the {needs} bonus, but the loss has the {has} bonus; say --bonus {needs} as well, or leave \
         {option} out"
    )]
    UnusedOption {
        /// The option of `patch`.
        option: &'static str,
        /// The bonus that has this parameter.
        needs: Bonus,
        /// The bonus of the loss.
        has: Bonus,
    },
    /// A forward loss whose gradient was not recognised, or the reverse; swapping half of it would train wrongly.
    #[error("{node}: {reason}; forward and gradient must be swapped together, nothing was changed")]
    HalfPair {
        /// The node, described.
        node: String,
        /// Why, a clause.
        reason: String,
    },
    /// The model is outside what the ops or their bodies support.
    #[error("{node}: {reason}")]
    Unsupported {
        /// The node or value, described.
        node: String,
        /// Why and what to do, a clause.
        reason: String,
    },
    /// The artifacts folder lacks something or holds something else.
    #[error("{folder}: {reason}")]
    Artifacts {
        /// The folder.
        folder: String,
        /// What and what to do.
        reason: String,
    },
}
