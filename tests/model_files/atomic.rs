//! Saving: all or nothing.

use std::fs;

use elonnx::model::{Document, ExternalData, ModelError};

use super::small;
use super::wire::{bytes, int, varint};

#[test]
fn saving_over_the_mapped_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.onnx");
    small::model().save(&path, ExternalData::Link).unwrap();
    let mut document = Document::open(&path).unwrap();
    assert_eq!(document.path(), Some(path.as_path()));
    for round in ["1", "2"] {
        document.set_metadata("round", round);
        document.save(&path, ExternalData::Link).unwrap();
        assert_eq!(Document::open(&path).unwrap().metadata("round"), Some(round));
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn a_missing_folder_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let error = small::model().save(folder.path().join("no/model.onnx"), ExternalData::Link).unwrap_err();
    assert!(
        matches!(&error, ModelError::Io { action: "write", .. }) && error.to_string().contains("model.onnx"),
        "{error}"
    );
}

/// Sparse on disk, so nothing of the 2 GiB is ever there.
#[test]
fn two_gib_are_read_but_not_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.onnx");
    let length = 1u64 << 31;
    let tensor = [int(1, 1 << 29), int(2, 1), bytes(8, "w"), varint(9 << 3 | 2), varint(length)].concat();
    let tensor_length = tensor.len() as u64 + length;
    let initializer = [varint(5 << 3 | 2), varint(tensor_length)].concat();
    let graph = [varint(7 << 3 | 2), varint(initializer.len() as u64 + tensor_length)].concat();
    let head = [int(1, 8), graph, initializer, tensor].concat();
    fs::write(&path, &head).unwrap();
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    if file.set_len(head.len() as u64 + length).is_err() {
        println!("skipped: no sparse files here");
        return;
    }
    let document = Document::open(&path).unwrap();
    assert_eq!(document.graph().initializers()[0].dims(), [1 << 29]);
    assert_eq!(document.encoded_len() as u64, head.len() as u64 + length);
    let error = document.save(folder.path().join("new.onnx"), ExternalData::Link).unwrap_err();
    assert!(matches!(&error, ModelError::TooLarge { .. }) && error.to_string().contains("external data"), "{error}");
    let error = document.check_save(folder.path().join("new.onnx")).unwrap_err();
    assert!(matches!(&error, ModelError::TooLarge { .. }), "{error}");
}

const CHILD: &str = "ELONNX_TEST_SAVE_TO";

/// Run by the tests below in a process of its own.
#[test]
fn child_saves() {
    let Ok(path) = std::env::var(CHILD) else { return };
    let mut document = Document::open(&path).unwrap();
    document.set_metadata("filling", &"x".repeat(1 << 20));
    match document.save(&path, ExternalData::Link) {
        Ok(()) => println!("saved"),
        Err(error) => println!("refused: {error}"),
    }
}

/// Saves in a process that may write files of 64 kB at most: as a full disk (`ignored`), or killed while it writes.
#[cfg(target_os = "linux")]
fn save_with_limit(ignored: bool) -> (String, Vec<String>) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.onnx");
    let old = small::model().to_bytes();
    fs::write(&path, &old).unwrap();
    let trap = if ignored { "trap '' XFSZ;" } else { "" };
    // output through a pipe: the limit is on files only
    let script = format!(
        "{trap} ulimit -c 0; ulimit -f 64; exec \"$0\" --exact atomic::child_saves --nocapture --test-threads=1"
    );
    let output = std::process::Command::new("bash")
        .args(["-c", &script])
        .arg(std::env::current_exe().unwrap())
        .env(CHILD, &path)
        .output()
        .unwrap();
    assert_eq!(fs::read(&path).unwrap(), old, "the old file is whole");
    let mut names: Vec<String> =
        fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert_eq!(output.status.success(), ignored, "{output:?}");
    (String::from_utf8(output.stdout).unwrap(), names)
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_leaves_the_old_file_and_no_other() {
    let (output, names) = save_with_limit(true);
    assert!(output.contains("refused: cannot write") && output.contains("model.onnx"), "{output}");
    assert_eq!(names, ["model.onnx"]);
}

#[cfg(target_os = "linux")]
#[test]
fn a_kill_leaves_the_old_file() {
    let (output, names) = save_with_limit(false);
    assert!(!output.contains("saved") && !output.contains("refused"), "{output}");
    assert!(names.contains(&"model.onnx".to_owned()));
}
