//! Classes of samples, from an array or from lines of text.

use std::path::{Path, PathBuf};

use super::array::Array;
use super::csv::LabelLines;
use super::fit::whole_numbers;
use super::format::Format;
use super::npz::{self, Archive};
use super::shape::describe_dims;
use super::stream::Opened;
use super::{DataError, Values, idx, npy, stream};

/// A class per sample, streamed.
pub(super) enum Labels {
    /// Of an array.
    Array(LabelArray),
    /// Of a text file.
    Lines(LabelLines),
}

/// One number per sample.
pub(super) struct LabelArray {
    array: Array,
    done: u64,
    /// Read, but not handed out.
    ahead: Vec<i64>,
}

impl Labels {
    /// From an array of one number per sample.
    pub(super) fn new(array: Array) -> Result<Self, DataError> {
        if array.dims.iter().any(|&dim| dim != 1) {
            let shape = describe_dims(&array.dims);
            let problem = format!("each has shape {shape}; of one-hot rows take argmax");
            return Err(DataError::LabelShape { path: array.path, problem });
        }
        Ok(Self::Array(LabelArray { array, done: 0, ahead: Vec::new() }))
    }

    /// From a file named by the user.
    pub(super) fn open(path: &Path, column: Option<&str>) -> Result<Self, DataError> {
        let opened = stream::open(path)?;
        let name = opened.name.clone();
        let array = match Format::of(path, &opened.start) {
            Some(Format::Npy) => npy::open(&name, opened.stream)?,
            Some(Format::Idx) => idx::open(&name, opened.stream)?,
            Some(Format::Npz) => {
                let archive = Archive::open(path)?;
                archive.array(path, npz::labels(&name, &archive.names())?)?
            }
            Some(Format::Csv) => return Ok(Self::Lines(LabelLines::open(Opened { name, ..opened }, column)?)),
            _ => {
                let problem = "it is none of npy, npz, idx and text".to_owned();
                return Err(DataError::LabelShape { path: name, problem });
            }
        };
        Self::new(array)
    }

    /// Name in sentences.
    pub(super) fn path(&self) -> &str {
        match self {
            Self::Array(labels) => &labels.array.path,
            Self::Lines(labels) => labels.path(),
        }
    }

    /// How many, where that is known.
    pub(super) fn rows(&self) -> Option<u64> {
        match self {
            Self::Array(labels) => labels.array.rows,
            Self::Lines(_) => None,
        }
    }

    /// The next `rows` labels; fewer at the end.
    pub(super) fn read(&mut self, rows: usize) -> Result<Vec<i64>, DataError> {
        match self {
            Self::Array(labels) => labels.read(rows),
            Self::Lines(labels) => labels.read(rows),
        }
    }
}

impl LabelArray {
    fn read(&mut self, rows: usize) -> Result<Vec<i64>, DataError> {
        while self.ahead.len() < rows {
            let values = self.array.read(rows - self.ahead.len())?;
            if values.is_empty() {
                break;
            }
            let whole = whole_numbers(&values).map_err(|index| DataError::Label {
                path: self.array.path.clone(),
                sample: self.done + index as u64,
                value: shown(&values, index),
            })?;
            self.done += whole.len() as u64;
            self.ahead.extend(whole);
        }
        let rest = self.ahead.split_off(rows.min(self.ahead.len()));
        Ok(std::mem::replace(&mut self.ahead, rest))
    }
}

fn shown(values: &Values, index: usize) -> String {
    match values {
        Values::F16(values) => values[index].to_string(),
        Values::F32(values) => values[index].to_string(),
        Values::F64(values) => values[index].to_string(),
        _ => "no number".to_owned(),
    }
}

/// The labels that lie beside MNIST's images: t10k-images-idx3-ubyte.gz goes with t10k-labels-idx1-ubyte.gz.
pub(super) fn beside(images: &Path) -> Option<PathBuf> {
    let name = images.file_name()?.to_str()?;
    let labels = name.replace("images", "labels").replace("idx3", "idx1").replace("idx4", "idx1");
    if labels == name || !name.contains("images") {
        return None;
    }
    let plain = labels.trim_end_matches(".gz");
    [labels.clone(), plain.to_owned(), format!("{plain}.gz")]
        .into_iter()
        .map(|candidate| images.with_file_name(candidate))
        .find(|candidate| candidate.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::element::{ElementType, Endian};

    fn labels(bytes: &'static [u8], element: ElementType, dims: Vec<usize>) -> Result<Labels, DataError> {
        let rows = bytes.len() / element.size() / dims.iter().product::<usize>().max(1);
        Labels::new(Array::new("y".into(), Box::new(bytes), dims, (element, Endian::Little), Some(rows as u64))?)
    }

    #[test]
    fn labels_come_as_asked_for() {
        let mut some = labels(&[3, 1, 4, 1, 5], ElementType::U8, vec![1]).unwrap();
        assert_eq!(some.read(2).unwrap(), [3, 1]);
        assert_eq!(some.read(9).unwrap(), [4, 1, 5]);
        assert!(some.read(1).unwrap().is_empty());
    }

    #[test]
    fn labels_are_whole_numbers() {
        let mut some = labels(b"\0\0\x80\x3f\0\0\xc0\x3f", ElementType::F32, vec![]).unwrap();
        let text = some.read(2).unwrap_err().to_string();
        assert!(text.contains("the label of sample 1 is 1.5"), "{text}");
        let text = labels(&[0, 1, 1, 0], ElementType::U8, vec![2]).err().expect("an error").to_string();
        assert!(text.contains("argmax"), "{text}");
    }

    #[test]
    fn mnists_labels_lie_beside_its_images() {
        let folder = tempfile::tempdir().unwrap();
        let images = folder.path().join("t10k-images-idx3-ubyte.gz");
        assert_eq!(beside(&images), None);
        let labels = folder.path().join("t10k-labels-idx1-ubyte");
        std::fs::write(&labels, b"").unwrap();
        assert_eq!(beside(&images), Some(labels));
    }
}
