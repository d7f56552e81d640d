//! A folder of ORT Training artifacts: training and eval model patched together, the rest carried over.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::loss::Reduction;
use crate::model::{Document, ExternalData, GraphIndex, ModelError};

use super::report::Action;
use super::{LOSS_OP, PatchOptions, Patched, Report, RewriteError, patch};

const TRAINING: &str = "training_model.onnx";
const EVAL: &str = "eval_model.onnx";
const OPTIMIZER: &str = "optimizer_model.onnx";
/// The newest IR version that ORT Training 1.19.2 loads.
const NEWEST_IR: i64 = 10;

/// What was done to each file.
#[derive(Clone, Debug, Serialize)]
pub struct ArtifactsReport {
    /// `training_model.onnx`.
    pub training: Report,
    /// `eval_model.onnx`.
    pub eval: Report,
    /// Files carried over unchanged.
    pub carried: Vec<PathBuf>,
    /// What ORT Training 1.19.2 cannot do with these files.
    pub warnings: Vec<String>,
}

/// Patches `training_model.onnx` and `eval_model.onnx` of `folder` together into `output`, and carries over the
/// checkpoint, the optimizer and whatever else lies there. `output` may be `folder` itself: then the two models are
/// replaced, each atomically, after both have been patched.
///
/// Both models carry function bodies: `export_model_for_inferencing` of 1.19.2 loads the eval model without session
/// options, so it could not use a plugin there.
///
/// # Errors
/// [`RewriteError::Artifacts`] where a model is missing, the two disagree about the loss, or `output` exists and
/// `overwrite` is not set. Nothing is written then, and nothing with `dry_run`.
pub fn patch_artifacts(
    folder: &Path,
    output: &Path,
    options: &PatchOptions,
    overwrite: bool,
    dry_run: bool,
) -> Result<ArtifactsReport, RewriteError> {
    let training = open(folder, TRAINING)?;
    let eval = open(folder, EVAL)?;
    let warnings = warnings(folder, &training, &eval)?;
    let training = patch(&training, options)?;
    let eval = patch(&eval, options)?;
    check_agreement(folder, &training.report, &eval.report)?;
    let in_place = same_folder(folder, output);
    let carried = if in_place { Vec::new() } else { others(folder)? };
    if !dry_run {
        if !in_place {
            prepare(output, overwrite)?;
            for name in &carried {
                carry(&folder.join(name), &output.join(name))?;
            }
        }
        save(&eval, &output.join(EVAL))?;
        save(&training, &output.join(TRAINING))?;
    }
    Ok(ArtifactsReport { training: training.report, eval: eval.report, carried, warnings })
}

/// Whether the folder holds ORT Training artifacts.
#[must_use]
pub fn is_artifacts_folder(folder: &Path) -> bool {
    folder.join(TRAINING).is_file()
}

fn open(folder: &Path, name: &str) -> Result<Document, RewriteError> {
    let path = folder.join(name);
    if !path.is_file() {
        return Err(RewriteError::Artifacts {
            folder: folder.display().to_string(),
            reason: format!(
                "there is no {name}; a folder made by onnxruntime.training.artifacts.generate_artifacts has {TRAINING}, {EVAL}, {OPTIMIZER} and checkpoint"
            ),
        });
    }
    Ok(Document::open(path)?)
}

fn save(patched: &Patched, path: &Path) -> Result<(), RewriteError> {
    Ok(patched.document.save(path, ExternalData::default())?)
}

fn same_folder(a: &Path, b: &Path) -> bool {
    match (a.canonicalize(), b.canonicalize()) {
        (Ok(a), Ok(b)) => a == b,
        _ => false,
    }
}

/// Training and eval must end up with the same loss: with one of them forgotten, training runs and evaluates nonsense.
fn check_agreement(folder: &Path, training: &Report, eval: &Report) -> Result<(), RewriteError> {
    let losses = |report: &Report| -> Vec<String> {
        report
            .losses
            .iter()
            .filter(|l| matches!(l.action, Action::Swapped | Action::AlreadyPatched))
            .map(|l| format!("{:?}", l.parameters))
            .collect()
    };
    let (a, b) = (losses(training), losses(eval));
    if a == b {
        return Ok(());
    }
    Err(RewriteError::Artifacts {
        folder: folder.display().to_string(),
        reason: format!(
            "{TRAINING} has {} loss(es) and {EVAL} has {} with these parameters; they do not belong together, nothing was changed",
            a.len(),
            b.len()
        ),
    })
}

fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> RewriteError {
    let path = path.to_owned();
    move |source| ModelError::Io { action, path, source }.into()
}

fn prepare(output: &Path, overwrite: bool) -> Result<(), RewriteError> {
    let occupied = output.join(TRAINING).exists() || output.join(EVAL).exists();
    if occupied && !overwrite {
        return Err(RewriteError::Artifacts {
            folder: output.display().to_string(),
            reason: "it holds artifacts already; give another folder, or --force to replace them".into(),
        });
    }
    fs::create_dir_all(output).map_err(io("create", output))
}

/// Names of everything in the folder but the two models.
fn others(folder: &Path) -> Result<Vec<PathBuf>, RewriteError> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(io("read", folder))? {
        let entry = entry.map_err(io("read", folder))?;
        let name = PathBuf::from(entry.file_name());
        // external data of the two models is placed by saving them
        if name != Path::new(TRAINING) && name != Path::new(EVAL) && entry.path().is_file() {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// Copies a file, replacing what is there in one step.
fn carry(from: &Path, to: &Path) -> Result<(), RewriteError> {
    let folder = to.parent().unwrap_or(Path::new("."));
    let mut temporary = tempfile::NamedTempFile::new_in(folder).map_err(io("write", to))?;
    let mut source = fs::File::open(from).map_err(io("read", from))?;
    std::io::copy(&mut source, temporary.as_file_mut()).map_err(io("write", to))?;
    let permissions = source.metadata().map_err(io("read", from))?.permissions();
    temporary.as_file().set_permissions(permissions).map_err(io("write", to))?;
    temporary.persist(to).map_err(|e| e.error).map_err(io("replace", to))?;
    Ok(())
}

/// What ORT Training 1.19.2, the last release, cannot do with these artifacts.
fn warnings(folder: &Path, training: &Document, eval: &Document) -> Result<Vec<String>, RewriteError> {
    let mut warnings = Vec::new();
    let optimizer = folder.join(OPTIMIZER);
    let mut models = vec![(TRAINING, training.ir_version()), (EVAL, eval.ir_version())];
    if optimizer.is_file() {
        models.push((OPTIMIZER, Document::open(&optimizer)?.ir_version()));
    }
    for (name, ir) in models.into_iter().filter(|(_, ir)| *ir > NEWEST_IR) {
        warnings.push(format!("{name} has IR version {ir}; ORT Training 1.19.2 loads up to {NEWEST_IR} (set ir_version = {NEWEST_IR} in it)"));
    }
    if let Some(loss) = rows_as_root(training) {
        warnings.push(format!(
            "the loss '{loss}' has reduction none and is the root of the gradient: ORT Training seeds it with one number, so its gradients are not what you expect; reduce it in the model"
        ));
    }
    for node in eval.graph().nodes() {
        if node.is("", "BatchNormalization") && node.output.len() > 1 {
            warnings.push(format!(
                "{EVAL} does not load: {} has {} outputs in inference mode; export the base model with the one-output form",
                node.describe(),
                node.output.len()
            ));
        }
    }
    Ok(warnings)
}

/// The loss per row that is a graph output itself.
fn rows_as_root(training: &Document) -> Option<String> {
    let index = GraphIndex::new(training.graph());
    training.graph().nodes().iter().find_map(|node| {
        let loss = matches!(node.op(), "SoftmaxCrossEntropyLoss" | "SoftmaxCrossEntropyLossInternal" | LOSS_OP);
        let rows = node.attr_str("reduction") == Some(Reduction::None.as_str());
        node.output_at(0).filter(|o| loss && rows && index.is_output(o)).map(str::to_owned)
    })
}
