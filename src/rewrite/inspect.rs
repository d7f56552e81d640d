//! `inspect`: what is this model, and what would patch do.

use serde::Serialize;

use crate::model::proto::ValueInfoProto;
use crate::model::{DataType, Document};

use super::patch::default_opset;
use super::report::Action;
use super::rules::{self, Context};
use super::{PatchOptions, Report, RewriteError, is_our_domain, logits, patch};

/// Answer of [`inspect`].
#[derive(Clone, Debug, Serialize)]
pub struct Inspection {
    /// IR version.
    pub ir_version: i64,
    /// Producer name and version.
    pub producer: String,
    /// (domain, version), the default domain as "ai.onnx".
    pub opset_imports: Vec<(String, i64)>,
    /// (name, type and shape as text, e.g. "float32[N, 784]"): inputs that are not initializers.
    pub inputs: Vec<(String, String)>,
    /// (name, type and shape as text).
    pub outputs: Vec<(String, String)>,
    /// Number of nodes of the main graph.
    pub nodes: usize,
    /// Number of initializers of the main graph.
    pub initializers: usize,
    /// Files that hold external data, relative to the model.
    pub external_files: Vec<String>,
    /// "forward graph with a loss", "classifier without a loss", "training graph (ORT Training)" …
    pub kind: String,
    /// Candidates for the logits (value names) and how they were found.
    pub logits: Vec<(String, String)>,
    /// `elonnx.*` metadata.
    pub metadata: Vec<(String, String)>,
    /// What patch with default options would do; its error as text where it would stop.
    pub patch: Result<Report, String>,
    /// The losses and near misses, also where patch would stop.
    pub report: Report,
}

/// Looks, changes nothing.
///
/// # Errors
/// A file that cannot be read. What would stop `patch` is told in [`Inspection::patch`].
pub fn inspect(document: &Document) -> Result<Inspection, RewriteError> {
    let opset = default_opset(document)?;
    let context = Context::new(document.graph(), opset, "graph".into());
    let dry_run = patch(document, &PatchOptions::default());
    let report = match &dry_run {
        Ok(patched) => patched.report.clone(),
        Err(RewriteError::NothingMatched(report)) => (**report).clone(),
        Err(_) => Report::default(),
    };
    let (candidates, _) = logits::find_logits(document, &context.index, &context.shapes);
    let mut external_files: Vec<String> =
        document.external_references()?.iter().map(|r| r.location.display().to_string()).collect();
    external_files.sort();
    external_files.dedup();
    Ok(Inspection {
        ir_version: document.ir_version(),
        producer: format!("{} {}", document.producer_name(), document.producer_version()).trim().to_owned(),
        opset_imports: opset_imports(document),
        inputs: values(&context, document.graph().inputs(), true),
        outputs: values(&context, document.graph().outputs(), false),
        nodes: document.graph().nodes().len(),
        initializers: document.graph().initializers().len(),
        external_files,
        kind: kind(&context, &report).to_owned(),
        logits: candidates.iter().map(|c| (c.value.clone(), c.explain())).collect(),
        metadata: document
            .metadata_entries()
            .filter(|(key, _)| key.starts_with("elonnx."))
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect(),
        patch: dry_run.map(|p| p.report).map_err(|e| e.to_string()),
        report,
    })
}

fn opset_imports(document: &Document) -> Vec<(String, i64)> {
    document
        .opset_imports()
        .iter()
        .map(|import| {
            let domain = import.domain.as_deref().filter(|d| !d.is_empty()).unwrap_or("ai.onnx");
            (domain.to_owned(), import.version.unwrap_or_default())
        })
        .collect()
}

fn values(context: &Context, infos: &[ValueInfoProto], inputs: bool) -> Vec<(String, String)> {
    infos
        .iter()
        .filter_map(|info| info.name.as_deref())
        .filter(|name| !inputs || context.index.is_input(name))
        .map(|name| (name.to_owned(), type_text(context, name)))
        .collect()
}

/// "float32[N, 784]".
fn type_text(context: &Context, value: &str) -> String {
    let data_type = context.data_type(value).map_or("?", |t: DataType| rules::data_type_name(t));
    let shape = rules::shape_text(&context.shapes, value).unwrap_or_else(|| "[…]".into());
    format!("{data_type}{shape}")
}

fn kind(context: &Context, report: &Report) -> &'static str {
    let ours = context.graph.nodes().iter().any(|n| is_our_domain(n.op_domain()));
    if context.is_training_graph() {
        return if ours { "training graph (ORT Training), patched" } else { "training graph (ORT Training)" };
    }
    if context.graph.nodes().iter().any(|n| n.op_domain() == "com.microsoft" && n.op().contains("Optimizer")) {
        return "optimizer graph (ORT Training): it never sees the loss, nothing to patch";
    }
    if ours {
        return "forward graph with the encouraging loss";
    }
    let classifier = report.losses.iter().any(|l| l.rule == super::classifier::RULE && l.action == Action::Swapped);
    match (classifier, report.losses.is_empty()) {
        (true, _) => "classifier without a loss",
        (false, false) => "forward graph with a loss",
        (false, true) => "no loss and no logits found",
    }
}
