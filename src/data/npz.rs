//! NumPy's npz files: zip archives of npy files.

use std::fs::File;
use std::io::{BufReader, Read, Seek as _, SeekFrom};
use std::path::Path;

use flate2::Crc;
use flate2::read::DeflateDecoder;
use zip::{CompressionMethod, ZipArchive};

use super::array::{Array, Stream};
use super::{DataError, npy};

/// Where an array lies in the archive.
#[derive(Clone, Debug)]
struct Entry {
    name: String,
    start: u64,
    compressed: u64,
    deflated: bool,
    sum: u32,
}

/// An archive, looked at.
#[derive(Debug)]
pub(super) struct Archive {
    path: String,
    entries: Vec<Entry>,
}

impl Archive {
    /// Reads the directory.
    pub(super) fn open(path: &Path) -> Result<Self, DataError> {
        let name = path.display().to_string();
        let not_npz = |found: String| DataError::NotOfFormat { path: name.clone(), format: "an npz file", found };
        let file = open_file(path)?;
        let mut archive = ZipArchive::new(BufReader::new(file)).map_err(|error| not_npz(error.to_string()))?;
        let mut entries = Vec::new();
        for index in 0..archive.len() {
            let entry = archive.by_index_raw(index).map_err(|error| not_npz(error.to_string()))?;
            // a name that is no text is none of ours
            let Some(array) = entry.name().ok().and_then(|n| n.strip_suffix(".npy").map(str::to_owned)) else {
                continue;
            };
            let unsupported = |problem: String| DataError::Unsupported { path: name.clone(), problem };
            if entry.encrypted() {
                return Err(unsupported(format!("array '{array}' is encrypted; save it without a password")));
            }
            let deflated = match entry.compression() {
                CompressionMethod::Stored => false,
                CompressionMethod::Deflated => true,
                other => return Err(unsupported(format!("array '{array}' is packed by {other}; use numpy.savez"))),
            };
            let start = entry.data_start().ok_or_else(|| not_npz(format!("array '{array}' cannot be found in it")))?;
            entries.push(Entry {
                name: array,
                start,
                compressed: entry.compressed_size(),
                deflated,
                sum: entry.crc32(),
            });
        }
        if entries.is_empty() {
            return Err(not_npz("there are no arrays in it".to_owned()));
        }
        Ok(Self { path: name, entries })
    }

    /// Names of its arrays.
    pub(super) fn names(&self) -> Vec<&str> {
        self.entries.iter().map(|entry| entry.name.as_str()).collect()
    }

    /// An array by name; it is streamed from a file handle of its own, so several can be read at once.
    pub(super) fn array(&self, path: &Path, name: &str) -> Result<Array, DataError> {
        let shown = format!("{}, array '{name}'", self.path);
        let Some(entry) = self.entries.iter().find(|entry| entry.name == name) else {
            return Err(DataError::Arrays {
                path: self.path.clone(),
                problem: format!("has no array '{name}'; it has {}", self.names().join(", ")),
            });
        };
        let mut file = open_file(path)?;
        file.seek(SeekFrom::Start(entry.start)).map_err(|error| DataError::reading(&shown, error))?;
        let raw = BufReader::new(file).take(entry.compressed);
        let stream: Stream = if entry.deflated { Box::new(DeflateDecoder::new(raw)) } else { Box::new(raw) };
        let checked = Checked { stream, sum: Crc::new(), expected: entry.sum };
        npy::open(&shown, Box::new(checked))
    }
}

fn open_file(path: &Path) -> Result<File, DataError> {
    File::open(path).map_err(|source| DataError::Io { action: "open", path: path.display().to_string(), source })
}

/// Compares the check sum at the end.
struct Checked {
    stream: Stream,
    sum: Crc,
    expected: u32,
}

impl Read for Checked {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.stream.read(buffer)?;
        self.sum.update(&buffer[..read]);
        if read == 0 && !buffer.is_empty() && self.sum.sum() != self.expected {
            return Err(std::io::Error::new(std::io::ErrorKind::InvalidData, "its check sum is wrong"));
        }
        Ok(read)
    }
}

/// Which arrays feed the inputs, and which holds the labels.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Roles {
    /// One per input of the model.
    pub(super) inputs: Vec<String>,
    /// Labels.
    pub(super) labels: Option<String>,
}

/// Names that samples go by.
const SAMPLES: [&str; 10] = ["x", "X", "images", "data", "inputs", "input", "features", "x_test", "X_test", "arr_0"];
/// Names that labels go by.
const LABELS: [&str; 9] = ["y", "labels", "label", "Y", "targets", "target", "y_test", "Y_test", "y_train"];

/// Finds samples and labels by name.
pub(super) fn roles(path: &str, names: &[&str], inputs: &[&str], wish: Option<&str>) -> Result<Roles, DataError> {
    let listed = || names.join(", ");
    let arrays = |problem: String| DataError::Arrays { path: path.to_owned(), problem };
    let labels_beside = |samples: &[String]| {
        // x_train goes with y_train
        let partner = samples.first().and_then(|s| s.strip_prefix(['x', 'X'])).map(|rest| format!("y{rest}"));
        let known = partner.iter().map(String::as_str).chain(LABELS.into_iter().take(6));
        known.into_iter().find(|name| names.contains(name) && !samples.iter().any(|s| s == name)).map(str::to_owned)
    };
    let with_labels = |inputs: Vec<String>| Roles { labels: labels_beside(&inputs), inputs };
    if let Some(wish) = wish {
        if inputs.len() > 1 {
            return Err(arrays(format!("cannot feed {} inputs from one --array; leave it out", inputs.len())));
        }
        if !names.contains(&wish) {
            return Err(arrays(format!("has no array '{wish}'; it has {}", listed())));
        }
        return Ok(with_labels(vec![wish.to_owned()]));
    }
    let missing: Vec<&str> = inputs.iter().filter(|input| !names.contains(input)).copied().collect();
    if missing.is_empty() {
        return Ok(with_labels(inputs.iter().map(|&input| input.to_owned()).collect()));
    }
    if inputs.len() > 1 {
        return Err(arrays(format!(
            "has no array {} for the model's inputs; it has {}; name the arrays like the inputs",
            missing.join(", "),
            listed()
        )));
    }
    if let Some(name) = SAMPLES.into_iter().find(|name| names.contains(name)) {
        return Ok(with_labels(vec![name.to_owned()]));
    }
    let others: Vec<&str> = names.iter().filter(|name| !LABELS.contains(name)).copied().collect();
    match others.as_slice() {
        [only] => Ok(with_labels(vec![(*only).to_owned()])),
        _ => Err(arrays(format!("holds several arrays, {}; name the samples with --array", listed()))),
    }
}

/// The array of a file of labels.
pub(super) fn labels<'a>(path: &str, names: &[&'a str]) -> Result<&'a str, DataError> {
    let known = LABELS.iter().find_map(|label| names.iter().find(|name| *name == label).copied());
    match (known, names) {
        (Some(name), _) => Ok(name),
        (None, [only]) => Ok(only),
        _ => Err(DataError::Arrays {
            path: path.to_owned(),
            problem: format!("holds several arrays, {}; labels are called y or labels", names.join(", ")),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(names: &[&str], inputs: &[&str], wish: Option<&str>) -> Result<(Vec<String>, Option<String>), String> {
        roles("f.npz", names, inputs, wish).map(|r| (r.inputs, r.labels)).map_err(|e| e.to_string())
    }

    #[test]
    fn roles_by_name() {
        let one = |x: &str, y: Option<&str>| Ok((vec![x.to_owned()], y.map(str::to_owned)));
        assert_eq!(found(&["labels", "input"], &["input"], None), one("input", Some("labels")));
        assert_eq!(found(&["y", "x"], &["pixels"], None), one("x", Some("y")));
        assert_eq!(found(&["only"], &["pixels"], None), one("only", None));
        assert_eq!(found(&["digits", "labels"], &["pixels"], None), one("digits", Some("labels")));
        let keras = ["x_train", "y_train", "x_test", "y_test"];
        assert_eq!(found(&keras, &["i"], None), one("x_test", Some("y_test")));
        assert_eq!(found(&keras, &["i"], Some("x_train")), one("x_train", Some("y_train")));
        assert_eq!(
            found(&["ids", "mask", "y"], &["ids", "mask"], None),
            Ok((vec!["ids".into(), "mask".into()], Some("y".into())))
        );
    }

    #[test]
    fn what_cannot_be_told_apart() {
        assert!(found(&["a", "b"], &["i"], None).unwrap_err().contains("several arrays, a, b"));
        assert!(found(&["a"], &["i"], Some("b")).unwrap_err().contains("no array 'b'; it has a"));
        assert!(found(&["ids"], &["ids", "mask"], None).unwrap_err().contains("no array mask"));
    }
}
