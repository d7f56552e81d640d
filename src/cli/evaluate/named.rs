//! `NAME=PATH`.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::cli::exit::wrong_input;

/// A data set and what it is to be called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedPath {
    /// Given before `=`.
    pub name: Option<String>,
    /// File or folder.
    pub path: PathBuf,
}

impl FromStr for NamedPath {
    type Err = String;

    /// What exists as it stands is a path, even with `=` in it.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let unnamed = || NamedPath { name: None, path: text.into() };
        if text.is_empty() {
            return Err("an empty path".to_owned());
        }
        match text.split_once('=') {
            Some((name, path)) if !Path::new(text).exists() && !name.contains(std::path::is_separator) => {
                if name.trim().is_empty() || path.is_empty() {
                    return Err("write NAME=PATH, or a path".to_owned());
                }
                Ok(NamedPath { name: Some(name.trim().to_owned()), path: path.into() })
            }
            _ => Ok(unnamed()),
        }
    }
}

/// What the sets are called: as given, else by their files, else (where files have the same name) by their folders.
///
/// # Errors
/// Two sets of the same name.
pub fn distinct_names(sets: &[&NamedPath]) -> anyhow::Result<Vec<String>> {
    let by_file: Vec<String> = sets.iter().map(|set| set.name.clone().unwrap_or_else(|| stem(&set.path))).collect();
    let twice = |names: &[String], name: &str| names.iter().filter(|other| *other == name).count() > 1;
    let by_folder = |set: &NamedPath| {
        let path = set.path.canonicalize().unwrap_or_else(|_| set.path.clone());
        path.parent().and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned())
    };
    let folders: Vec<String> = sets.iter().filter_map(|set| by_folder(set)).collect();
    let name = |(set, name): (&&NamedPath, &String)| match by_folder(set) {
        // a folder's name that two sets share tells no more
        Some(folder) if set.name.is_none() && twice(&by_file, name) && !twice(&folders, &folder) => folder,
        _ => name.clone(),
    };
    let names: Vec<String> = sets.iter().zip(&by_file).map(name).collect();
    if let Some(name) = names.iter().find(|name| twice(&names, name)) {
        wrong_input!("two sets are called '{name}'; give one another name: --ood NAME=PATH");
    }
    Ok(names)
}

/// The file's name without what says how it is packed.
fn stem(path: &Path) -> String {
    if path.as_os_str() == "-" {
        return "standard input".to_owned();
    }
    let name =
        path.canonicalize().ok().and_then(|path| path.file_name().map(|name| name.to_string_lossy().into_owned()));
    let name = name.unwrap_or_else(|| path.display().to_string());
    if path.is_dir() {
        return name;
    }
    let mut stem = name.as_str();
    for extension in [".gz", ".npy", ".npz", ".csv", ".bin", ".raw"] {
        stem = stem.strip_suffix(extension).unwrap_or(stem);
    }
    if stem.is_empty() { name } else { stem.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> NamedPath {
        text.parse().unwrap()
    }

    #[test]
    fn a_name_goes_before_the_path() {
        assert_eq!(parsed("a=b/c.npy"), NamedPath { name: Some("a".into()), path: "b/c.npy".into() });
        assert_eq!(parsed("b/c=d.npy"), NamedPath { name: None, path: "b/c=d.npy".into() });
        assert!("=x".parse::<NamedPath>().is_err() && "x=".parse::<NamedPath>().is_err());
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("k=v.npy");
        std::fs::write(&path, b"").unwrap();
        assert_eq!(parsed(path.to_str().unwrap()).name, None);
    }

    #[test]
    fn sets_are_called_after_their_files_or_folders() {
        let names = |texts: &[&str]| {
            let sets: Vec<NamedPath> = texts.iter().map(|text| parsed(text)).collect();
            distinct_names(&sets.iter().collect::<Vec<_>>())
        };
        assert_eq!(names(&["no/digits.npy.gz", "no/noise.npz"]).unwrap(), ["no/digits", "no/noise"].map(String::from));
        assert_eq!(names(&["no/a/t10k.gz", "o=no/b/t10k.gz"]).unwrap(), ["no/a/t10k", "o"].map(String::from));
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| {
            let path = folder.path().join(name).join("t10k-images.gz");
            std::fs::create_dir(path.parent().unwrap()).unwrap();
            std::fs::write(&path, b"").unwrap();
            path.to_str().unwrap().to_owned()
        };
        let (digits, clothes) = (file("digits"), file("clothes"));
        assert_eq!(names(&[&digits, &clothes]).unwrap(), ["digits", "clothes"]);
        assert_eq!(names(&[&digits]).unwrap(), ["t10k-images"]);
        let text = names(&[&digits, &digits]).unwrap_err().to_string();
        assert!(text.contains("two sets are called 't10k-images'") && text.contains("NAME=PATH"), "{text}");
    }
}
