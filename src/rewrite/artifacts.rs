//! A folder of ORT Training artifacts: training and eval model patched together, the rest carried over.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::loss::Reduction;
use crate::model::{Document, GraphIndex, ModelError, copy_into, without_path};

use super::report::Action;
use super::{LOSS_OP, PatchOptions, Report, RewriteError, patch};

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
/// checkpoint, the optimizer, external data and whatever else lies there, sub-folders included. `output` may be
/// `folder` itself: then the two models are replaced.
///
/// Every file is written whole under a temporary name before the first one gets its own, so that a full disk leaves the
/// folder as it was.
///
/// Both models carry function bodies: `export_model_for_inferencing` of 1.19.2 loads the eval model without session
/// options, so it could not use a plugin there.
///
/// # Errors
/// [`RewriteError::Artifacts`] where a model is missing, the two disagree about the loss, or a file that would be
/// written exists and `overwrite` is not set. Nothing is written then, and nothing with `dry_run`.
pub fn patch_artifacts(
    folder: &Path,
    output: &Path,
    options: &PatchOptions,
    overwrite: bool,
    dry_run: bool,
) -> Result<ArtifactsReport, RewriteError> {
    let training = open(folder, TRAINING)?;
    let eval = open(folder, EVAL)?;
    let mut warnings = warnings(folder, &training, &eval)?;
    let training = patch(&training, options)?;
    let eval = patch(&eval, options)?;
    check_agreement(folder, &training.report, &eval.report)?;
    let models = [(EVAL, &eval.document), (TRAINING, &training.document)];
    let mut carried = Vec::new();
    models.iter().try_for_each(|(name, model)| model.check_save(folder.join(name)))?;
    if !same_folder(folder, output) {
        let rest = rest(folder, output, &models)?;
        let left = rest.left.iter();
        warnings.extend(left.map(|(path, what)| format!("{} is not carried over: it is {what}", path.display())));
        carried = rest.files;
    }
    if !dry_run {
        if !overwrite {
            refuse_existing(
                output,
                models.iter().map(|(name, _)| Path::new(name)).chain(carried.iter().map(PathBuf::as_path)),
            )?;
        }
        write(folder, output, &carried, &models)?;
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

/// Files that exist are somebody's, whatever they hold.
fn refuse_existing<'a>(output: &Path, planned: impl Iterator<Item = &'a Path>) -> Result<(), RewriteError> {
    const SHOWN: usize = 4;
    let mut existing: Vec<String> = planned
        .filter(|name| output.join(name).symlink_metadata().is_ok())
        .map(|name| name.display().to_string())
        .collect();
    if existing.is_empty() {
        return Ok(());
    }
    let more = existing.len().saturating_sub(SHOWN);
    existing.truncate(SHOWN);
    if more > 0 {
        existing.push(format!("{more} more"));
    }
    Err(RewriteError::Artifacts {
        folder: output.display().to_string(),
        reason: format!("{} exists there; --force replaces it, -o names another folder", existing.join(", ")),
    })
}

/// What lies in a folder beside the two models, as paths relative to it.
#[derive(Default)]
struct Rest {
    files: Vec<PathBuf>,
    /// What cannot be carried, and what it is.
    left: Vec<(PathBuf, &'static str)>,
}

fn rest(folder: &Path, output: &Path, models: &[(&str, &Document)]) -> Result<Rest, RewriteError> {
    let mut rest = Rest::default();
    collect(folder, Path::new(""), output, &mut rest)?;
    for (_, model) in models {
        // a linked sub-folder is not entered, but weights may lie in it
        rest.files.extend(model.external_files()?);
    }
    rest.files.sort();
    rest.files.dedup();
    Ok(rest)
}

fn collect(folder: &Path, below: &Path, output: &Path, rest: &mut Rest) -> Result<(), RewriteError> {
    let here = folder.join(below);
    for entry in fs::read_dir(&here).map_err(io("read", &here))? {
        let entry = entry.map_err(io("read", &here))?;
        let (path, name) = (entry.path(), below.join(entry.file_name()));
        let kind = entry.file_type().map_err(io("read", &path))?;
        if name == Path::new(TRAINING) || name == Path::new(EVAL) || same_folder(&path, output) {
            continue;
        }
        if path.is_file() {
            rest.files.push(name);
        } else if kind.is_dir() {
            collect(folder, &name, output, rest)?;
        } else if kind.is_symlink() {
            rest.left.push((name, if path.is_dir() { "a link to a folder" } else { "a link to nothing" }));
        } else {
            rest.left.push((name, "neither a file nor a folder"));
        }
    }
    Ok(())
}

/// Writes everything under temporary names, then renames.
fn write(folder: &Path, output: &Path, carried: &[PathBuf], models: &[(&str, &Document)]) -> Result<(), RewriteError> {
    fs::create_dir_all(output).map_err(io("create", output))?;
    let mut copies = Vec::new();
    for name in carried {
        let to = output.join(name);
        copies.push((stage_copy(&folder.join(name), &to)?, to));
    }
    let staged: Vec<_> =
        models.iter().map(|(name, model)| model.stage(&output.join(name))).collect::<Result<_, _>>()?;
    for (temporary, to) in copies {
        temporary.persist(&to).map_err(|e| e.error).map_err(io("replace", &to))?;
    }
    staged.into_iter().try_for_each(|model| model.commit())?;
    Ok(())
}

/// Copies a file under a temporary name beside its place.
fn stage_copy(from: &Path, to: &Path) -> Result<tempfile::TempPath, RewriteError> {
    let folder = to.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder).map_err(io("create", folder))?;
    let temporary = tempfile::Builder::new().prefix(".elonnx-").suffix(".tmp").tempfile_in(folder);
    let mut temporary = temporary.map_err(without_path).map_err(io("write", to))?;
    let mut source = fs::File::open(from).map_err(io("read", from))?;
    copy_into(&mut source, temporary.as_file_mut()).map_err(io("copy to", to))?;
    let permissions = source.metadata().map_err(io("read", from))?.permissions();
    temporary.as_file().set_permissions(permissions).map_err(io("write", to))?;
    temporary.as_file().sync_all().map_err(io("write", to))?;
    Ok(temporary.into_temp_path())
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
