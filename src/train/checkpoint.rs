//! All that a run needs to go on, in one file: safetensors, with the numbers of the run in its metadata.

use std::collections::{BTreeMap, HashMap};
use std::io::Write as _;
use std::path::Path;

use bytes::Bytes;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};

use super::TrainError;
use super::history::EpochRecord;
use super::metrics::{Measured, Sums};
use crate::model::{DataType, replace_file};

/// Entry of the metadata that holds the [`Standing`].
const KEY: &str = "elonnx.checkpoint";
/// Version of its layout.
const VERSION: u32 = 1;
/// Headers end before this; safetensors itself allows as much.
const LONGEST: u64 = 1 << 40;

/// Where a run stands. Random numbers need no state: they are functions of seed, epoch and step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Standing {
    /// Version of this layout.
    pub version: u32,
    /// Epochs done.
    pub epoch: u64,
    /// Steps done of the epoch that was begun.
    pub step_of_epoch: u64,
    /// Steps done in all.
    pub step: u64,
    /// Sums over the steps of the epoch that was begun.
    pub sums: Sums,
    /// The best epoch so far, from 1, and its score.
    pub best: Option<(u64, f64)>,
    /// What was measured of the epochs done.
    pub history: Vec<EpochRecord>,
    /// What must be the same for the run to go on: option and value.
    pub terms: BTreeMap<String, String>,
    /// Threads of ONNX Runtime; another number rounds in another order.
    pub threads: usize,
}

impl Standing {
    /// What was measured of the best epoch so far, where it counts: on the validation data, if there are any.
    pub fn best_so_far(&self) -> Option<Measured> {
        let (best, _) = self.best?;
        let record = self.history.iter().find(|record| record.epoch == best)?;
        Some(record.validation.unwrap_or(record.train))
    }

    /// Before the first step.
    pub fn start(terms: BTreeMap<String, String>, threads: usize) -> Self {
        Self {
            version: VERSION,
            epoch: 0,
            step_of_epoch: 0,
            step: 0,
            sums: Sums::default(),
            best: None,
            history: Vec::new(),
            terms,
            threads,
        }
    }
}

/// A tensor of a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Element type.
    pub data_type: DataType,
    /// Sizes.
    pub dims: Vec<usize>,
    /// Little-endian elements.
    pub data: Bytes,
}

/// A run, to be gone on with.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint {
    /// Where it stands.
    pub standing: Standing,
    /// Parameters, buffers and state by name.
    pub tensors: BTreeMap<String, Stored>,
}

impl Checkpoint {
    /// Writes it. Whatever happens meanwhile, `path` holds the old file or the new one, whole.
    pub fn save(&self, path: &Path) -> Result<(), TrainError> {
        let failed = |problem: String| TrainError::Checkpoint { path: path.to_owned(), problem };
        let views = self.tensors.iter().map(|(name, stored)| {
            let dtype = dtype(stored.data_type)
                .ok_or_else(|| failed(format!("cannot hold '{name}': checkpoints know no such element type")))?;
            let view = TensorView::new(dtype, stored.dims.clone(), &stored.data)
                .map_err(|error| failed(format!("cannot hold '{name}': {error}")))?;
            Ok((name.clone(), view))
        });
        let views = views.collect::<Result<Vec<_>, TrainError>>()?;
        let standing = serde_json::to_string(&self.standing)
            .map_err(|error| failed(format!("cannot hold where the run stands: {error}")))?;
        let metadata = HashMap::from([(KEY.to_owned(), standing)]);
        let bytes = safetensors::serialize(views, Some(metadata))
            .map_err(|error| failed(format!("is not written: {error}")))?;
        replace_file(path, |out| out.write_all(&bytes))?;
        Ok(())
    }

    /// Reads it.
    pub fn load(path: &Path) -> Result<Self, TrainError> {
        let failed = |problem: String| TrainError::Checkpoint { path: path.to_owned(), problem };
        let length = std::fs::metadata(path).map_err(|error| failed(format!("cannot be read: {error}")))?.len();
        if length > LONGEST {
            return Err(failed("is longer than any checkpoint".to_owned()));
        }
        let bytes: Bytes = std::fs::read(path).map_err(|error| failed(format!("cannot be read: {error}")))?.into();
        let damaged = |error: String| failed(format!("is no checkpoint, or a damaged one: {error}"));
        let (_, header) = SafeTensors::read_metadata(&bytes).map_err(|error| damaged(error.to_string()))?;
        let text = header.metadata().as_ref().and_then(|metadata| metadata.get(KEY));
        let text = text.ok_or_else(|| damaged(format!("its metadata have no entry {KEY}")))?;
        let version: Version = serde_json::from_str(text).map_err(|error| damaged(error.to_string()))?;
        if version.version != VERSION {
            return Err(failed(format!(
                "has version {}, and this elonnx reads version {VERSION}; go on with the elonnx that wrote it",
                version.version
            )));
        }
        let standing: Standing = serde_json::from_str(text).map_err(|error| damaged(error.to_string()))?;
        let tensors = SafeTensors::deserialize(&bytes).map_err(|error| damaged(error.to_string()))?;
        let mut stored = BTreeMap::new();
        for (name, view) in tensors.iter() {
            let data_type = data_type(view.dtype())
                .ok_or_else(|| damaged(format!("'{name}' has elements of type {:?}", view.dtype())))?;
            let data = bytes.slice_ref(view.data());
            stored.insert(name.to_owned(), Stored { data_type, dims: view.shape().to_vec(), data });
        }
        Ok(Self { standing, tensors: stored })
    }
}

/// All that is known of a layout before its version.
#[derive(Deserialize)]
struct Version {
    version: u32,
}

const TYPES: [(DataType, Dtype); 9] = [
    (DataType::Float, Dtype::F32),
    (DataType::Double, Dtype::F64),
    (DataType::Float16, Dtype::F16),
    (DataType::Bfloat16, Dtype::BF16),
    (DataType::Int64, Dtype::I64),
    (DataType::Int32, Dtype::I32),
    (DataType::Int8, Dtype::I8),
    (DataType::Uint8, Dtype::U8),
    (DataType::Bool, Dtype::BOOL),
];

fn dtype(data_type: DataType) -> Option<Dtype> {
    TYPES.iter().find(|(ours, _)| *ours == data_type).map(|(_, theirs)| *theirs)
}

fn data_type(dtype: Dtype) -> Option<DataType> {
    TYPES.iter().find(|(_, theirs)| *theirs == dtype).map(|(ours, _)| *ours)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checkpoint() -> Checkpoint {
        let mut standing = Standing::start(BTreeMap::from([("--seed".to_owned(), "3".to_owned())]), 2);
        standing.best = Some((1, 0.1 + 0.2));
        standing.step = 7;
        let stored = |data_type, dims: &[usize], data: &[u8]| Stored {
            data_type,
            dims: dims.to_vec(),
            data: Bytes::copy_from_slice(data),
        };
        let tensors = BTreeMap::from([
            ("w".to_owned(), stored(DataType::Float, &[2], &[1, 2, 3, 4, 5, 6, 7, 8])),
            ("w/exp_avg".to_owned(), stored(DataType::Bfloat16, &[1, 1], &[1, 2])),
            ("n".to_owned(), stored(DataType::Int64, &[], &[9, 0, 0, 0, 0, 0, 0, 0])),
        ]);
        Checkpoint { standing, tensors }
    }

    #[test]
    fn what_was_saved_comes_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("last.safetensors");
        checkpoint().save(&path).unwrap();
        checkpoint().save(&path).unwrap();
        assert_eq!(Checkpoint::load(&path).unwrap(), checkpoint());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    /// Every prefix, and every byte of the header changed: an error or the same file, never a panic.
    #[test]
    fn damaged_files_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c");
        checkpoint().save(&path).unwrap();
        let whole = std::fs::read(&path).unwrap();
        for end in 0..whole.len() {
            std::fs::write(&path, &whole[..end]).unwrap();
            let text = Checkpoint::load(&path).unwrap_err().to_string();
            assert!(text.contains("is no checkpoint, or a damaged one"), "{end}: {text}");
        }
        let seed = fastrand::u64(..);
        let mut random = fastrand::Rng::with_seed(seed);
        for _ in 0..2000 {
            let mut bytes = whole.clone();
            let at = random.usize(..bytes.len());
            bytes[at] ^= 1 << random.u8(..8);
            std::fs::write(&path, &bytes).unwrap();
            if let Err(error) = Checkpoint::load(&path) {
                assert!(error.to_string().contains(&path.display().to_string()), "seed {seed}: {error}");
            }
        }
    }

    #[test]
    fn other_files_are_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c");
        let refused = || Checkpoint::load(&path).unwrap_err().to_string();
        assert!(refused().contains("cannot be read"));
        std::fs::write(&path, safetensors::serialize(Vec::<(String, TensorView)>::new(), None).unwrap()).unwrap();
        assert!(refused().contains("no entry elonnx.checkpoint"), "{}", refused());
        let mut newer = checkpoint();
        newer.standing.version = 9;
        newer.save(&path).unwrap();
        assert!(refused().contains("has version 9"), "{}", refused());
    }
}
