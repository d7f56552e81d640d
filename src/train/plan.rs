//! A model made ready to be trained, before its data are known.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use super::TrainError;
use super::options::{ClassWeights, TrainerOptions};
use super::schedule::BonusWeight;
use super::tensors::type_of;
use super::trainer::Trainer;
use crate::data::{InputSpec, Samples};
use crate::model::{DataType, Document};
use crate::rewrite::optimizer::Optimizer;
use crate::rewrite::train_step::{Size, TrainStep, eval_step, train_step};
use crate::runtime;

/// The training step of a model, and what it was made for.
#[derive(Clone, Debug)]
pub struct Plan {
    pub(super) document: Document,
    pub(super) options: TrainerOptions,
    pub(super) step: TrainStep,
    inputs: Vec<InputSpec>,
}

impl Plan {
    /// Makes the training step.
    ///
    /// # Errors
    /// Options that make no sense; no logits; operators without a gradient.
    pub fn new(document: &Document, options: TrainerOptions) -> Result<Self, TrainError> {
        options.check()?;
        if options.step.optimizer == Optimizer::None {
            return Err(TrainError::Options("training needs an optimizer: sgd or adamw".to_owned()));
        }
        let mut wanted = options.step.clone();
        wanted.class_weights_input = options.class_weights != ClassWeights::Equal;
        wanted.bonus_weight_input = !schedule(&options).is_constant();
        let step = train_step(document, &wanted)?;
        let inputs = step.signature.data.iter().map(|port| InputSpec {
            name: port.name.clone(),
            data_type: type_of(&port.data_type).unwrap_or(DataType::Undefined),
            dims: port.shape.iter().enumerate().map(|(axis, size)| fixed(size).filter(|_| axis > 0)).collect(),
        });
        Ok(Self { document: document.clone(), inputs: inputs.collect(), options, step })
    }

    /// What samples must look like.
    #[must_use]
    pub fn inputs(&self) -> &[InputSpec] {
        &self.inputs
    }

    /// The training step.
    #[must_use]
    pub fn step(&self) -> &TrainStep {
        &self.step
    }

    /// Classes of the model, where the file tells.
    #[must_use]
    pub fn classes(&self) -> Option<usize> {
        let signature = &self.step.signature;
        signature.logits.shape.get(signature.class_axis).and_then(fixed)
    }

    /// Samples of a step, where the model fixes them.
    #[must_use]
    pub fn fixed_batch(&self) -> Option<usize> {
        self.step.signature.data.iter().find_map(|port| port.shape.first().and_then(fixed))
    }

    /// Loads ONNX Runtime, which [`Self::start`] would do otherwise, after the data were read.
    ///
    /// # Errors
    /// There is none, or not the one that the options name.
    pub fn find_runtime(&self) -> Result<(), TrainError> {
        let library = self.options.onnxruntime.as_deref();
        runtime::environment(library).map(drop).map_err(TrainError::NoOnnxRuntime)
    }

    /// Whether [`Trainer::save_trained`] would refuse `path`, without writing anything; gives the data file that it would write
    /// beside it, or replace, for a model whose parameters lie in one.
    ///
    /// # Errors
    /// As [`Document::check_save_with_data`].
    pub fn check_save(&self, path: impl AsRef<Path>) -> Result<Option<PathBuf>, TrainError> {
        let signature = &self.step.signature;
        let trained: HashSet<&str> =
            signature.parameters.iter().chain(&signature.buffers).map(|port| port.name.as_str()).collect();
        Ok(self.document.check_save_with_data(path, |name| trained.contains(name))?)
    }

    /// The validation graph.
    pub(super) fn validation(&self) -> Result<Document, TrainError> {
        Ok(eval_step(&self.document, &self.step)?)
    }

    /// Takes the data; loads the graphs, and the checkpoint where the run is resumed.
    ///
    /// # Errors
    /// Data without labels or with labels that are no classes, no ONNX Runtime, a checkpoint of another run.
    pub fn start(self, training: Samples, validation: Option<Samples>) -> Result<Trainer, TrainError> {
        Trainer::new(self, training, validation)
    }
}

/// The weight of the bonus over the run.
pub fn schedule(options: &TrainerOptions) -> BonusWeight {
    BonusWeight {
        weight: f64::from(options.step.loss.bonus_weight()),
        deferred: options.deferred_bonus,
        growth: options.bonus_growth,
    }
}

fn fixed(size: &Size) -> Option<usize> {
    match size {
        Size::Fixed(size) => usize::try_from(*size).ok(),
        Size::Free(_) => None,
    }
}
