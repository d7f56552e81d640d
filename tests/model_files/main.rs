//! Reading, editing and writing ONNX files, from outside.

mod atomic;
mod data_file;
mod edit;
mod external;
mod hostile;
mod roundtrip;
mod small;
mod wire;

/// All .onnx files beside the repository, where there are any.
fn shared_models() -> Vec<std::path::PathBuf> {
    fn walk(folder: &std::path::Path, files: &mut Vec<std::path::PathBuf>) {
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
    walk(std::path::Path::new("../shared/models"), &mut files);
    if files.is_empty() {
        println!("skipped: no ../shared/models here");
    }
    files
}
