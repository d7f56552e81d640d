//! The loop.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::checkpoint::Standing;
use super::history::EpochRecord;
use super::initial::{first_of, initial};
use super::labels::{check_labels, class_weights};
use super::metrics::Measured;
use super::options::TrainerOptions;
use super::order::Order;
use super::plan::Plan;
use super::session::Sessions;
use super::terms::terms;
use super::{TrainError, files};
use crate::data::Samples;
use crate::model::{Document, ExternalData};
use crate::rewrite::train_step::{TrainStep, trained};

/// What happens, told while it happens.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A step was made.
    Step {
        /// Its epoch, from 1.
        epoch: u64,
        /// Steps done of the epoch.
        done: u64,
        /// Steps of the epoch.
        steps: u64,
        /// Means of the epoch so far.
        measured: Measured,
        /// Samples per second since the epoch, or its resumption, began.
        examples_per_second: f64,
    },
    /// A batch of the validation data was looked at.
    Validation {
        /// Batches done.
        done: u64,
        /// All of them.
        batches: u64,
    },
    /// An epoch is over, its checkpoint is written.
    Epoch(&'a EpochRecord),
    /// A checkpoint was written in the midst of an epoch.
    Saved(&'a Path),
}

/// What is to happen next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// Go on.
    Continue,
    /// Write a checkpoint and return.
    Stop,
}

/// Why training ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// All epochs are done.
    Finished,
    /// No better score for as many epochs as patience lasts.
    OutOfPatience,
    /// Asked to stop; the run can be resumed.
    Stopped,
}

/// What came of a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Summary {
    /// Why it ended.
    pub end: End,
    /// Epochs done.
    pub epochs: u64,
    /// The best epoch, from 1.
    pub best_epoch: Option<u64>,
}

/// A run: model, data, and where it stands.
pub struct Trainer {
    pub(super) document: Document,
    pub(super) options: TrainerOptions,
    pub(super) step: TrainStep,
    pub(super) sessions: Sessions,
    pub(super) training: Samples,
    pub(super) validation: Option<Samples>,
    pub(super) order: Order,
    pub(super) standing: Standing,
    /// Parameters and buffers of the best epoch.
    pub(super) best: Option<BTreeMap<String, Bytes>>,
    pub(super) notes: Vec<String>,
    /// Samples of the epoch that this process has trained on.
    pub(super) sampled: u64,
}

impl Trainer {
    pub(super) fn new(plan: Plan, training: Samples, validation: Option<Samples>) -> Result<Self, TrainError> {
        let classes = plan.classes();
        let fixed = plan.fixed_batch();
        let evaluation = validation.as_ref().map(|_| plan.validation()).transpose()?;
        let Plan { document, mut options, step, .. } = plan;
        let ignored = step.options.loss.ignore_index();
        let labels = usable("training", &training, classes, ignored)?;
        let mut notes = Vec::new();
        check_folder(&options)?;
        if let Some(validation) = &validation {
            usable("validation", validation, classes, ignored)?;
            same_classes(&training, validation)?;
        }
        if !options.augmentation.is_none()
            && let Some(reason) = training.refuses_shifts()
        {
            return Err(TrainError::Options(format!("nothing to mirror or to crop: {reason}")));
        }
        if let Some(fixed) = fixed
            && (fixed != options.batch || !options.drop_last)
        {
            notes.push(format!(
                "the model takes {fixed} samples at a time: batches have that size, and others are left out"
            ));
            (options.batch, options.drop_last) = (fixed, true);
        }
        let order = Order::shuffled(training.len(), options.batch, options.seed, options.drop_last);
        if order.batches() == 0 {
            return Err(TrainError::Options(format!(
                "{} samples do not fill a batch of {}; train with smaller batches",
                training.len(),
                options.batch
            )));
        }
        let weights = class_weights(&options.class_weights, labels, classes, ignored)?;
        let library = options.onnxruntime.as_deref();
        let mut sessions =
            Sessions::new(&step.document, &step.signature, evaluation.as_ref(), options.threads, library)?;
        notes.extend(sessions.notes().iter().cloned());
        if let Some(weights) = weights {
            sessions.set_class_weights(&weights)?;
        }
        let terms = terms(&document, &options, training.len(), validation.as_ref().map(Samples::len));
        let standing = Standing::start(terms, options.threads);
        let mut trainer = Self {
            document,
            options,
            step,
            sessions,
            training,
            validation,
            order,
            standing,
            best: None,
            notes,
            sampled: 0,
        };
        trainer.begin()?;
        Ok(trainer)
    }

    /// The model's own values, or those of the checkpoint.
    fn begin(&mut self) -> Result<(), TrainError> {
        if let Some(folder) = self.options.run_folder.clone() {
            std::fs::create_dir_all(&folder).map_err(|source| TrainError::Write { path: folder.clone(), source })?;
            if self.options.resume {
                return self.resume(&folder);
            }
        }
        for port in self.step.signature.parameters.iter().chain(&self.step.signature.buffers) {
            if let Some(bytes) = initial(&self.document, &port.name)? {
                self.sessions.set(&port.name, &bytes)?;
            }
        }
        for port in &self.step.signature.state {
            if let Some(bytes) = first_of(port)? {
                self.sessions.set(&port.name, &bytes)?;
            }
        }
        Ok(())
    }

    /// What differs from what was asked for, a sentence each: for the user to read. What was decided about the model is
    /// in the notes of its step.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// What was measured of the epochs done.
    #[must_use]
    pub fn history(&self) -> &[EpochRecord] {
        &self.standing.history
    }

    /// Epochs done, and steps done of the next.
    #[must_use]
    pub fn position(&self) -> (u64, u64) {
        (self.standing.epoch, self.standing.step_of_epoch)
    }

    /// Steps of an epoch.
    #[must_use]
    pub fn steps_per_epoch(&self) -> u64 {
        self.order.batches() as u64
    }

    /// Steps that were left out because a gradient was no number in float16; None in other precisions. Some in the
    /// beginning are usual, until the scale of the loss fits.
    #[must_use]
    pub fn skipped_steps(&self) -> Option<u64> {
        let state = &self.step.signature.state;
        let port = state.iter().find(|port| port.kind == "skipped_steps" && port.parameter.is_none())?;
        let bytes = self.sessions.get(&port.name).ok()?;
        u64::try_from(i64::from_le_bytes(bytes.try_into().ok()?)).ok()
    }

    /// Trains what is left of the epochs; `tell` hears what happens and may ask to stop.
    ///
    /// # Errors
    /// Samples that cannot be read, a loss that is no number, files that cannot be written.
    pub fn run(&mut self, mut tell: impl FnMut(&Event<'_>) -> Flow) -> Result<Summary, TrainError> {
        let end = loop {
            if self.out_of_patience() {
                break End::OutOfPatience;
            }
            if self.standing.epoch >= self.options.epochs {
                break End::Finished;
            }
            if self.epoch(&mut tell)? == Flow::Stop {
                if let Some(path) = self.save(files::LAST)? {
                    tell(&Event::Saved(&path));
                }
                break End::Stopped;
            }
        };
        let best_epoch = self.standing.best.map(|(epoch, _)| epoch);
        Ok(Summary { end, epochs: self.standing.epoch, best_epoch })
    }

    /// The model with the parameters of the best epoch, or the newest where no epoch is done. Parameters that lay in a
    /// file beside the model are in the model now; [`Self::save_trained`] keeps them in a file.
    ///
    /// # Errors
    /// Values that do not fit the model: never, unless it was changed.
    pub fn trained(&self) -> Result<Document, TrainError> {
        let values = self.learnt()?;
        Ok(trained(&self.document, |name| values.get(name).cloned())?)
    }

    /// Writes the model with the parameters of the best epoch, or the newest where no epoch is done. Parameters that lay
    /// in a file beside the model lie in one beside the new model, which is given: see [`Document::save_with_data`].
    ///
    /// # Errors
    /// As [`Document::save_with_data`].
    pub fn save_trained(&self, path: impl AsRef<Path>, external: ExternalData) -> Result<Option<PathBuf>, TrainError> {
        let (outside, inside): (BTreeMap<_, _>, BTreeMap<_, _>) =
            self.learnt()?.into_owned().into_iter().partition(|(name, _)| lies_outside(&self.document, name));
        let document = trained(&self.document, |name| inside.get(name).cloned())?;
        Ok(document.save_with_data(path, &outside, external)?)
    }

    /// Parameters and buffers of the best epoch, or the newest.
    fn learnt(&self) -> Result<Cow<'_, BTreeMap<String, Bytes>>, TrainError> {
        match &self.best {
            Some(best) => Ok(Cow::Borrowed(best)),
            None => self.values().map(Cow::Owned),
        }
    }

    fn out_of_patience(&self) -> bool {
        let Some((patience, (best, _))) = self.options.patience.zip(self.standing.best) else { return false };
        self.standing.epoch.saturating_sub(best) > patience.saturating_sub(1)
    }
}

/// Whether the elements of an initializer lie in a file beside the model.
pub(super) fn lies_outside(document: &Document, name: &str) -> bool {
    let mut initializers = document.graph().initializers().iter();
    initializers.any(|initializer| initializer.name() == name && initializer.external().is_some())
}

/// A run folder either holds the run to resume, or none.
fn check_folder(options: &TrainerOptions) -> Result<(), TrainError> {
    let Some(folder) = &options.run_folder else { return Ok(()) };
    let (last, best) = (folder.join(files::LAST), folder.join(files::BEST));
    match (options.resume, last.exists() || best.exists()) {
        (true, false) => {
            let problem = "is not there, so there is nothing to resume".to_owned();
            Err(TrainError::Checkpoint { path: last, problem })
        }
        (false, true) => Err(TrainError::Options(format!(
            "{} holds a run already; resume it, or give this one another folder",
            folder.display()
        ))),
        _ => Ok(()),
    }
}

/// The labels of data that can be used.
fn usable<'a>(
    what: &str,
    samples: &'a Samples,
    classes: Option<usize>,
    ignored: Option<i64>,
) -> Result<&'a [i64], TrainError> {
    if samples.is_empty() {
        return Err(TrainError::Unusable(format!("the {what} data hold no samples")));
    }
    let Some(labels) = samples.labels() else {
        return Err(TrainError::Unusable(format!(
            "the {what} data have no labels: give them with --labels, in an npz file with x and y, in a column 'label' of \
             a CSV file, or as one folder per class"
        )));
    };
    check_labels(what, labels, classes, ignored)?;
    Ok(labels)
}

/// Folders are classes in the order of their names, so both data sets must have the same.
fn same_classes(training: &Samples, validation: &Samples) -> Result<(), TrainError> {
    let (ours, theirs) = (training.classes(), validation.classes());
    let odd = theirs.iter().find(|class| !ours.contains(class));
    match odd {
        Some((class, name)) if !ours.is_empty() => Err(TrainError::Unusable(format!(
            "folder '{name}' of the validation data is class {class}, which is another folder of the training data; both \
             need the same folders"
        ))),
        _ => Ok(()),
    }
}
