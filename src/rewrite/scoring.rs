//! A classifier cut down to what scoring needs: input → logits, and the feature before the last layer.

use crate::model::Document;

use super::RewriteError;

/// What to look for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScoringOptions {
    /// Value to take as logits instead of looking for them.
    pub logits: Option<String>,
    /// Take probabilities as they come out instead of logits: for sigmoid heads, tree ensembles and the like.
    pub probabilities: bool,
    /// Whether the feature before the last layer is wanted, too.
    pub feature: bool,
}

/// What the first output of [`ScoringModel::document`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// Logits.
    Logits,
    /// Probabilities, each in [0, 1].
    Probabilities,
}

/// The last layer, and what it reads: logits = weight · feature + bias.
#[derive(Clone, Debug, PartialEq)]
pub struct LinearHead {
    /// Name of the feature, float [N, features] (or [N, features, 1, 1]).
    pub feature: String,
    /// Number of features.
    pub features: usize,
    /// [classes, features], row-major.
    pub weight: Vec<f32>,
    /// [classes]; zeros where the layer has none.
    pub bias: Vec<f32>,
}

/// A model that gives nothing but what scores are computed from.
#[derive(Clone, Debug)]
pub struct ScoringModel {
    /// Standard operators, in inference mode; outputs: the evidence, then the feature if it was wanted and there is one.
    pub document: Document,
    /// What the first output is.
    pub evidence: Evidence,
    /// Its name in the original model.
    pub value: String,
    /// How it was found, a clause: "goes through a softmax to the output 'prob'".
    pub how: String,
    /// Its class axis.
    pub class_axis: usize,
    /// Number of classes, where the file tells.
    pub classes: Option<usize>,
    /// What the model itself divides the logits by before its softmax.
    pub temperature: Option<f64>,
    /// The last layer, or why its feature cannot be had, a clause.
    pub head: Result<LinearHead, String>,
    /// What was changed to bring the model into inference mode, a sentence each.
    pub changes: Vec<String>,
    /// Whether the first axis of every input may have any size: it is no fixed number, and where the file fixed it, it
    /// was made free because nothing in the graph depends on it. Else samples go through in batches of the size that the
    /// inputs say.
    pub free_batch: bool,
}

/// Finds the logits, cuts the graph there, inlines our functions and turns training mode off.
///
/// # Errors
/// [`RewriteError::NoLogits`] where the model has none, with the reason and what still works;
/// [`RewriteError::AmbiguousLogits`], [`RewriteError::NotLogits`] as for `patch`.
pub fn scoring_model(document: &Document, options: &ScoringOptions) -> Result<ScoringModel, RewriteError> {
    let _ = (document, options);
    todo!("helper A")
}
