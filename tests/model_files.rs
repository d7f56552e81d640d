//! Reading, editing and writing ONNX files, from outside.

use std::path::{Path, PathBuf};

use elonnx::model::Document;

/// All .onnx files beside the repository, where there are any.
fn shared_models() -> Vec<PathBuf> {
    fn walk(folder: &Path, files: &mut Vec<PathBuf>) {
        let Ok(entries) = std::fs::read_dir(folder) else { return };
        for path in entries.map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                walk(&path, files);
            } else if path.extension().is_some_and(|extension| extension == "onnx") {
                files.push(path);
            }
        }
    }
    let mut files = Vec::new();
    walk(Path::new("../shared/models"), &mut files);
    if files.is_empty() {
        println!("skipped: no ../shared/models here");
    }
    files
}

#[test]
fn shared_models_come_back_byte_for_byte() {
    for path in shared_models() {
        let document = Document::open(&path).unwrap();
        assert!(
            document.to_bytes() == std::fs::read(&path).unwrap(),
            "{}",
            path.display()
        );
        assert_eq!(document.encoded_len() as u64, path.metadata().unwrap().len());
    }
}
