//! `inspect`: what is this model, and what would patch do.
use serde::Serialize;
use crate::model::Document;
use super::{Report, RewriteError};

/// Answer of [`inspect`].
#[derive(Clone, Debug, Serialize)]
pub struct Inspection {
    /// IR version.
    pub ir_version: i64,
    /// producer name and version.
    pub producer: String,
    /// (domain, version), default domain as "ai.onnx".
    pub opset_imports: Vec<(String, i64)>,
    /// (name, type and shape as text, e.g. "float32[N, 784]"): inputs that are not initializers.
    pub inputs: Vec<(String, String)>,
    /// (name, type and shape as text).
    pub outputs: Vec<(String, String)>,
    /// number of nodes
    pub nodes: usize,
    /// number of initializers
    pub initializers: usize,
    /// external data files
    pub external_files: Vec<String>,
    /// "inference", "forward with loss", "ORT Training gradient graph", …
    pub kind: String,
    /// Candidates for the logits (value names) and how they were found.
    pub logits: Vec<(String, String)>,
    /// `elonnx.*` metadata.
    pub metadata: Vec<(String, String)>,
    /// What patch would do (report of a dry run with default options); its error as text where it would stop.
    pub patch: Result<Report, String>,
    /// The losses and near misses, also where patch would stop.
    pub report: Report,
}
/// Looks, changes nothing.
pub fn inspect(document: &Document) -> Result<Inspection, RewriteError> { todo!() }
