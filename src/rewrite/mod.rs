//! Graph to graph: finds losses, swaps them for the encouraging loss, and back.
//!
//! Words: a *rule* recognises one form a loss takes in the wild, a *match* is what it found, a *plan* the edits, a
//! *report* what was changed and why, or why nothing matched.

mod artifacts;
mod classifier;
mod cut;
mod evaluate;
mod expand;
mod free_batch;
mod function;
mod fused;
mod gradient;
mod inference;
mod inline;
mod inspect;
mod logits;
pub(crate) mod mixed_precision;
pub mod optimizer;
mod options;
mod patch;
mod plan;
mod raise;
mod report;
mod rules;
mod scores;
mod scoring;
mod swap;
#[cfg(test)]
pub(crate) mod testing;
mod traces;
pub mod train_step;
mod unpatch;
mod write_out;

pub use artifacts::{ArtifactsReport, is_artifacts_folder, patch_artifacts};
pub use function::{AttachReport, MIN_OPSET, Signature, attach, attributes, function_for, operator, parameters};
pub use gradient::{Gradient, GradientError, Undifferentiable, gradient};
pub use inline::inline;
pub use inspect::{Inspection, inspect};
pub use mixed_precision::{Precision, UnknownPrecision};
pub use options::PatchOptions;
pub use patch::{Patched, patch};
pub use report::{Action, LossReport, NearMiss, Report, RewriteError, ScoreAction, ScoreReport};
pub use scores::{GraphScore, GraphScoreOptions, UnknownGraphScore, add_scores};
pub use scoring::{Evidence, LinearHead, ScoringModel, ScoringOptions, scoring_model};
pub use unpatch::unpatch;

/// Domain of the operators.
pub const DOMAIN: &str = "ai.elonnx";
/// Domain of the bodies of a second loss in a model that differs from the first in more than numbers: a function has one
/// body per name. No plugin knows it, the bodies always run.
pub const BODY_DOMAIN: &str = "ai.elonnx.body";
/// Version of [`DOMAIN`] and [`BODY_DOMAIN`].
pub const DOMAIN_VERSION: i64 = 1;
/// Forward op: (logits, labels, class_weights?, bonus_weight?) → (loss, margin?).
pub const LOSS_OP: &str = "EncouragingLoss";
/// Gradient op: (dloss, logits, labels, class_weights?, bonus_weight?, margin?) → dlogits.
pub const GRAD_OP: &str = "EncouragingLossGrad";
/// Fused op: inputs of the loss → (loss, margin, dlogits).
pub const LOSS_AND_GRAD_OP: &str = "EncouragingLossAndGrad";

/// Whether a domain is one of ours.
pub(crate) fn is_our_domain(domain: &str) -> bool {
    domain == DOMAIN || domain == BODY_DOMAIN
}
