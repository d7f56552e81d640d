//! Which files of a folder are for training and which for validation.

use std::path::{Path, PathBuf};

use super::TrainError;

/// Where samples are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    /// To train on.
    pub train: PathBuf,
    /// To validate with, where the folder tells.
    pub validation: Option<PathBuf>,
}

/// Names that validation data go by, the first that is there counts.
const VALIDATION: [&str; 4] = ["val", "valid", "validation", "test"];
/// Extensions of files of arrays.
const ARRAYS: [&str; 4] = ["npz", "npy", "csv", "idx"];

/// Looks into a folder: MNIST's four files (train-images…, t10k-images…), folders or files train and val (valid,
/// validation, test). A file, and a folder with nothing of the kind, is all training data.
///
/// # Errors
/// A path that is not there.
pub fn split(path: &Path) -> Result<Split, TrainError> {
    if !path.exists() {
        return Err(TrainError::Unusable(format!("there is no {}", path.display())));
    }
    let all = Split { train: path.to_owned(), validation: None };
    if !path.is_dir() {
        return Ok(all);
    }
    let entries = std::fs::read_dir(path).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
    let mut entries: Vec<PathBuf> = entries.collect();
    entries.sort();
    let images = |start: &str| {
        let is = |name: &str| name.starts_with(start) && name.contains("images") && name.contains("idx");
        entries.iter().find(|entry| is(&name(entry))).cloned()
    };
    if let Some(train) = images("train") {
        let validation = images("t10k").or_else(|| images("test")).or_else(|| images("val"));
        return Ok(Split { train, validation });
    }
    let part = |wanted: &str| {
        let folder = entries.iter().find(|entry| entry.is_dir() && name(entry) == wanted);
        let file = || entries.iter().find(|entry| entry.is_file() && is_array(entry, wanted));
        folder.or_else(file).cloned()
    };
    match part("train") {
        Some(train) => Ok(Split { train, validation: VALIDATION.into_iter().find_map(part) }),
        None => Ok(all),
    }
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn is_array(path: &Path, stem: &str) -> bool {
    let name = name(path);
    let name = name.strip_suffix(".gz").unwrap_or(&name);
    ARRAYS.iter().any(|extension| name.strip_suffix(extension).and_then(|rest| rest.strip_suffix('.')) == Some(stem))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for file in files {
            let path = folder.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, b"x").unwrap();
        }
        folder
    }

    fn found(files: &[&str]) -> (String, Option<String>) {
        let folder = folder(files);
        let split = split(folder.path()).unwrap();
        let relative = |path: &Path| path.strip_prefix(folder.path()).unwrap().display().to_string();
        (relative(&split.train), split.validation.as_deref().map(relative))
    }

    #[test]
    fn layouts() {
        let mnist = ["t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz", "train-images-idx3-ubyte.gz"];
        assert_eq!(found(&mnist), (mnist[2].into(), Some(mnist[0].into())));
        assert_eq!(found(&["train/a/1.png", "test/a/1.png", "val/a/1.png"]), ("train".into(), Some("val".into())));
        assert_eq!(found(&["train/a/1.png"]), ("train".into(), None));
        assert_eq!(found(&["train.npz", "test.npz"]), ("train.npz".into(), Some("test.npz".into())));
        assert_eq!(found(&["train.csv.gz", "trainer.csv"]), ("train.csv.gz".into(), None));
        assert_eq!(found(&["cat/1.png", "dog/1.png"]), (String::new(), None));
        assert!(split(Path::new("/no/such/folder")).unwrap_err().to_string().contains("there is no"));
    }
}
