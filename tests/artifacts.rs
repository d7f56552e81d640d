//! A user hands over a whole folder of ORT Training artifacts.

use std::fs;
use std::path::{Path, PathBuf};

use elonnx::model::{Document, ExternalData};
use elonnx::rewrite::{PatchOptions, RewriteError, patch, patch_artifacts};

fn artifacts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("onnx_models/artifacts/mlp")
}

/// A copy that a test may spoil.
fn copy() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(artifacts()).unwrap().map(Result::unwrap) {
        fs::copy(entry.path(), folder.path().join(entry.file_name())).unwrap();
    }
    folder
}

fn ops(path: &Path) -> Vec<String> {
    let document = Document::open(path).unwrap();
    document.graph().nodes().iter().filter(|n| n.op_domain() == "ai.elonnx").map(|n| n.op().to_owned()).collect()
}

fn refusal(folder: &Path, output: &Path, overwrite: bool) -> String {
    match patch_artifacts(folder, output, &PatchOptions::default(), overwrite, false) {
        Err(RewriteError::Artifacts { reason, .. }) => reason,
        other => panic!("expected a refusal, got {other:?}"),
    }
}

#[test]
fn both_models_are_patched_and_the_rest_carried_over() {
    let output = tempfile::tempdir().unwrap();
    let patched = output.path().join("patched");
    let report = patch_artifacts(&artifacts(), &patched, &PatchOptions::default(), false, false).unwrap();
    assert_eq!(ops(&patched.join("training_model.onnx")), ["EncouragingLoss", "EncouragingLossGrad"]);
    assert_eq!(ops(&patched.join("eval_model.onnx")), ["EncouragingLoss"]);
    assert_eq!((report.training.swapped(), report.eval.swapped()), (1, 1));
    for name in &report.carried {
        assert_eq!(
            fs::read(patched.join(name)).unwrap(),
            fs::read(artifacts().join(name)).unwrap(),
            "{}",
            name.display()
        );
    }
    assert!(report.carried.contains(&PathBuf::from("checkpoint")));
    assert!(report.carried.contains(&PathBuf::from("optimizer_model.onnx")));
}

#[test]
fn a_dry_run_writes_nothing() {
    let output = tempfile::tempdir().unwrap();
    let patched = output.path().join("patched");
    let report = patch_artifacts(&artifacts(), &patched, &PatchOptions::default(), false, true).unwrap();
    assert_eq!(report.training.swapped(), 1);
    assert!(!patched.exists());
}

#[test]
fn artifacts_that_are_there_are_not_overwritten_unasked() {
    let target = copy();
    let before = fs::read(target.path().join("training_model.onnx")).unwrap();
    assert!(refusal(&artifacts(), target.path(), false).contains("--force"));
    assert_eq!(fs::read(target.path().join("training_model.onnx")).unwrap(), before);
    patch_artifacts(&artifacts(), target.path(), &PatchOptions::default(), true, false).unwrap();
    assert_eq!(ops(&target.path().join("eval_model.onnx")), ["EncouragingLoss"]);
}

#[test]
fn no_file_at_all_is_overwritten_unasked() {
    let (folder, target) = (copy(), tempfile::tempdir().unwrap());
    fs::create_dir(folder.path().join("vocabulary")).unwrap();
    fs::write(folder.path().join("vocabulary/words.txt"), "new").unwrap();
    fs::create_dir(target.path().join("vocabulary")).unwrap();
    fs::write(target.path().join("vocabulary/words.txt"), "precious").unwrap();
    let reason = refusal(folder.path(), target.path(), false);
    assert!(reason.contains("words.txt") && reason.contains("--force"), "{reason}");
    assert_eq!(fs::read(target.path().join("vocabulary/words.txt")).unwrap(), b"precious");
    assert_eq!(fs::read_dir(target.path()).unwrap().count(), 1);
    // nothing is planned for another name
    fs::rename(target.path().join("vocabulary/words.txt"), target.path().join("vocabulary/other.txt")).unwrap();
    let report = patch_artifacts(folder.path(), target.path(), &PatchOptions::default(), false, false).unwrap();
    assert!(report.carried.contains(&PathBuf::from("vocabulary/words.txt")), "{:?}", report.carried);
    assert_eq!(fs::read(target.path().join("vocabulary/words.txt")).unwrap(), b"new");
    assert_eq!(fs::read(target.path().join("vocabulary/other.txt")).unwrap(), b"precious");
}

#[test]
fn an_output_inside_the_folder_is_not_carried_into_itself() {
    let folder = copy();
    let output = folder.path().join("patched");
    for overwrite in [false, true] {
        patch_artifacts(folder.path(), &output, &PatchOptions::default(), overwrite, false).unwrap();
    }
    assert!(output.join("checkpoint").is_file() && !output.join("patched").exists());
}

#[cfg(unix)]
#[test]
fn linked_folders_are_named_and_not_entered() {
    let (folder, output) = (copy(), tempfile::tempdir().unwrap());
    std::os::unix::fs::symlink("/", folder.path().join("root")).unwrap();
    let patched = output.path().join("patched");
    let report = patch_artifacts(folder.path(), &patched, &PatchOptions::default(), false, false).unwrap();
    assert!(report.warnings.iter().any(|w| w.contains("root is not carried over: it is a link to a folder")));
    assert!(!patched.join("root").exists());
}

/// The second model cannot be written: neither is replaced, and nothing is left behind.
#[cfg(target_os = "linux")]
#[test]
fn both_models_are_whole_before_either_is_replaced() {
    let (folder, target) = (copy(), copy());
    fs::remove_file(target.path().join("training_model.onnx")).unwrap();
    fs::create_dir(target.path().join("training_model.onnx")).unwrap();
    let before = fs::read(target.path().join("eval_model.onnx")).unwrap();
    let count = fs::read_dir(target.path()).unwrap().count();
    patch_artifacts(folder.path(), target.path(), &PatchOptions::default(), true, false).unwrap_err();
    assert_eq!(fs::read(target.path().join("eval_model.onnx")).unwrap(), before);
    assert_eq!(fs::read_dir(target.path()).unwrap().count(), count);
}

#[test]
fn a_folder_can_be_patched_in_place_and_twice_is_once() {
    let folder = copy();
    patch_artifacts(folder.path(), folder.path(), &PatchOptions::default(), true, false).unwrap();
    let once = fs::read(folder.path().join("training_model.onnx")).unwrap();
    let again = patch_artifacts(folder.path(), folder.path(), &PatchOptions::default(), true, false).unwrap();
    assert!(again.training.already_patched() && again.eval.already_patched());
    assert_eq!(fs::read(folder.path().join("training_model.onnx")).unwrap(), once);
}

#[test]
fn a_missing_model_is_named() {
    let folder = copy();
    fs::remove_file(folder.path().join("eval_model.onnx")).unwrap();
    let output = tempfile::tempdir().unwrap();
    assert!(refusal(folder.path(), output.path(), true).contains("no eval_model.onnx"));
    assert_eq!(fs::read_dir(output.path()).unwrap().count(), 0);
}

#[test]
fn models_that_disagree_about_the_loss_are_refused() {
    // eval was patched before with another log_end: training and evaluation would measure different losses
    let folder = copy();
    let eval = folder.path().join("eval_model.onnx");
    let options = PatchOptions { log_end: Some(0.5), ..PatchOptions::default() };
    patch(&Document::open(&eval).unwrap(), &options).unwrap().document.save(&eval, ExternalData::Link).unwrap();
    let output = tempfile::tempdir().unwrap();
    assert!(refusal(folder.path(), output.path(), true).contains("do not belong together"));
    assert_eq!(fs::read_dir(output.path()).unwrap().count(), 0);
}

#[test]
fn an_optimizer_that_ort_training_cannot_load_is_warned_about() {
    let folder = copy();
    let optimizer = folder.path().join("optimizer_model.onnx");
    let mut document = Document::open(&optimizer).unwrap();
    document.set_ir_version(11);
    document.save(&optimizer, ExternalData::Link).unwrap();
    let report = patch_artifacts(folder.path(), folder.path(), &PatchOptions::default(), true, true).unwrap();
    assert!(report.warnings.iter().any(|w| w.contains("IR version 11")), "{:?}", report.warnings);
}
