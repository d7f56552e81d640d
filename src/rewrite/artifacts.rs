//! A folder of ORT Training artifacts.
use std::path::{Path, PathBuf};
use serde::Serialize;
use super::{PatchOptions, Report, RewriteError};

/// What was done to each file.
#[derive(Clone, Debug, Serialize)]
pub struct ArtifactsReport {
    /// training_model.onnx
    pub training: Report,
    /// eval_model.onnx
    pub eval: Report,
    /// files carried over unchanged
    pub carried: Vec<PathBuf>,
    /// what 1.19.2 cannot do
    pub warnings: Vec<String>,
}
/// Patches training_model.onnx and eval_model.onnx of `folder` together into `output` and carries the rest over.
/// `native_eval`: give eval_model.onnx the op node with its function body, instead of the body form (functions under
/// another domain) in which `export_model_for_inferencing` works. `dry_run`: write nothing.
pub fn patch_artifacts(folder: &Path, output: &Path, options: &PatchOptions, native_eval: bool, dry_run: bool) -> Result<ArtifactsReport, RewriteError> { todo!() }
