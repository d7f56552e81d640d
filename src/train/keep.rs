//! What a run leaves in its folder, and how it goes on from there.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::checkpoint::{Checkpoint, Standing, Stored};
use super::history::{Metrics, write_metrics};
use super::terms::differences;
use super::trainer::Trainer;
use super::{TrainError, files};

impl Trainer {
    /// Goes on from the newest checkpoint of a folder.
    pub(super) fn resume(&mut self, folder: &Path) -> Result<(), TrainError> {
        let (last, best) = (folder.join(files::LAST), folder.join(files::BEST));
        let best = if best.exists() { Some(Checkpoint::load(&best)?) } else { None };
        let last = if last.exists() { Some(Checkpoint::load(&last)?) } else { None };
        // the best one is written first: a run that was killed in between goes on from there. A checkpoint of the last step
        // of an epoch has as many steps, and an epoch less
        let newest = [&best, &last]
            .into_iter()
            .flatten()
            .max_by_key(|checkpoint| (checkpoint.standing.step, checkpoint.standing.epoch));
        let Some(newest) = newest else { return Ok(()) };
        self.check(folder, newest)?;
        let names: Vec<String> = self.sessions.tensors().map(|(name, ..)| name.to_owned()).collect();
        for name in names {
            if let Some(stored) = newest.tensors.get(&name) {
                self.sessions.set(&name, &stored.data)?;
            }
        }
        let threads = self.options.threads;
        if newest.standing.threads != threads {
            self.notes.push(format!(
                "the run was begun with {} threads and goes on with {threads}: sums are rounded in another order, so the \
                 result is not that of a run without a stop to the bit",
                newest.standing.threads
            ));
        }
        self.standing = Standing { threads, ..newest.standing.clone() };
        if let Some((epoch, _)) = self.standing.best {
            let kept =
                best.as_ref().filter(|best| best.standing.epoch == epoch).ok_or_else(|| TrainError::Checkpoint {
                    path: folder.join(files::BEST),
                    problem: format!("does not hold epoch {epoch}, the best one; the folder is not as the run left it"),
                })?;
            let values =
                self.weights().filter_map(|name| Some((name.to_owned(), kept.tensors.get(name)?.data.clone())));
            self.best = Some(values.collect());
        }
        Ok(())
    }

    /// Whether a checkpoint is of this run.
    fn check(&self, folder: &Path, checkpoint: &Checkpoint) -> Result<(), TrainError> {
        let failed = |problem: String| Err(TrainError::Checkpoint { path: folder.to_owned(), problem });
        if let Some(differences) = differences(&checkpoint.standing.terms, &self.standing.terms) {
            return failed(format!("holds a run that cannot go on like this: {differences}"));
        }
        for (name, data_type, dims) in self.sessions.tensors() {
            match checkpoint.tensors.get(name) {
                Some(stored) if stored.data_type == data_type && stored.dims == dims => {}
                Some(stored) => {
                    return failed(format!(
                        "has a checkpoint in which '{name}' is {:?} {:?}, and the run needs {data_type:?} {dims:?}",
                        stored.data_type, stored.dims
                    ));
                }
                None => return failed(format!("has a checkpoint without '{name}'")),
            }
        }
        Ok(())
    }

    /// Writes a checkpoint into the run folder, where there is one; gives its path.
    pub(super) fn save(&self, name: &str) -> Result<Option<PathBuf>, TrainError> {
        let Some(folder) = &self.options.run_folder else { return Ok(None) };
        let path = folder.join(name);
        let mut tensors = BTreeMap::new();
        for (name, data_type, dims) in self.sessions.tensors() {
            let data = self.sessions.get(name)?.into();
            tensors.insert(name.to_owned(), Stored { data_type, dims: dims.to_vec(), data });
        }
        Checkpoint { standing: self.standing.clone(), tensors }.save(&path)?;
        Ok(Some(path))
    }

    /// Writes what was measured so far.
    pub(super) fn save_metrics(&self) -> Result<(), TrainError> {
        let Some(folder) = &self.options.run_folder else { return Ok(()) };
        let metrics = Metrics {
            elonnx: env!("CARGO_PKG_VERSION"),
            epochs: self.options.epochs,
            best_epoch: self.standing.best.map(|(epoch, _)| epoch),
            history: &self.standing.history,
        };
        write_metrics(&folder.join(files::METRICS), &metrics)
    }

    /// The newest parameters and buffers.
    pub(super) fn values(&self) -> Result<BTreeMap<String, Bytes>, TrainError> {
        self.weights().map(|name| Ok((name.to_owned(), self.sessions.get(name)?.into()))).collect()
    }

    /// Names of parameters and buffers.
    fn weights(&self) -> impl Iterator<Item = &str> {
        let signature = &self.step.signature;
        signature.parameters.iter().chain(&signature.buffers).map(|port| port.name.as_str())
    }
}
