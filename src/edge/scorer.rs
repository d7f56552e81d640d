//! From a model file to scores.

use std::path::{Path, PathBuf};

use crate::data::{InputSpec, Tensor};
use crate::model::Document;
use crate::rewrite::ScoringModel;

use super::calibration::Calibration;
use super::engine::{EngineKind, Evidence};
use super::{EdgeError, Score};

/// How a [`Scorer`] is made.
#[derive(Clone, Debug, Default)]
pub struct ScorerOptions {
    /// Value to take as logits instead of looking for them.
    pub logits: Option<String>,
    /// Score probabilities as they come out; only for models without logits.
    pub probabilities: bool,
    /// Which runtime.
    pub engine: EngineKind,
    /// libonnxruntime, where the engine is ONNX Runtime and it is not to be looked for.
    pub onnxruntime: Option<PathBuf>,
    /// Scores to compute; empty: those of the calibration, without one margin, energy and MSP.
    pub scores: Vec<Score>,
    /// How many classes to list per sample.
    pub top_k: usize,
    /// Whether the feature is wanted although no score needs it (for fits).
    pub feature: bool,
    /// T of the energy and of the probabilities; by default the calibration's, else 1.
    pub temperature: Option<f64>,
}

/// What is known of some samples, a column per quantity; reused from call to call.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scored {
    /// Number of samples.
    pub rows: usize,
    /// Predicted class.
    pub class: Vec<u32>,
    /// Its probability.
    pub probability: Vec<f32>,
    /// Largest logit less the second (NOT negated: the score [`Score::Margin`] is its negative).
    pub margin: Vec<f32>,
    /// [rows, top_k] classes, the most probable first.
    pub top_classes: Vec<u32>,
    /// [rows, top_k] their probabilities.
    pub top_probabilities: Vec<f32>,
    /// [rows, scores], in the order of [`Scorer::scores`]; higher is further out of distribution.
    pub scores: Vec<f32>,
    /// Whether the sample is in distribution, where the model is calibrated.
    pub in_distribution: Vec<bool>,
}

/// A classifier ready to score.
pub struct Scorer {}

impl Scorer {
    /// Opens a model with [`ScorerOptions::default`].
    ///
    /// # Errors
    /// A file that is no model, a model without logits or one that tract cannot run, a damaged calibration.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, EdgeError> {
        Self::new(&Document::open(path)?, &ScorerOptions::default())
    }

    /// From a model that is open already.
    ///
    /// # Errors
    /// As [`Self::load`], and scores that the model has no feature or fit for.
    pub fn new(document: &Document, options: &ScorerOptions) -> Result<Self, EdgeError> {
        let _ = (document, options);
        todo!("helper B")
    }

    /// What samples have to look like.
    #[must_use]
    pub fn inputs(&self) -> &[InputSpec] {
        todo!()
    }

    /// What was found in the model: which tensor, how, what was changed.
    #[must_use]
    pub fn model(&self) -> &ScoringModel {
        todo!()
    }

    /// Number of classes.
    #[must_use]
    pub fn classes(&self) -> usize {
        todo!()
    }

    /// The scores that are computed, in the order of [`Scored::scores`].
    #[must_use]
    pub fn scores(&self) -> &[Score] {
        todo!()
    }

    /// What was fitted, where the model is calibrated.
    #[must_use]
    pub fn calibration(&self) -> Option<&Calibration> {
        todo!()
    }

    /// Scores samples on this thread; `scored` is overwritten.
    ///
    /// # Errors
    /// Inputs of another shape or type than [`Self::inputs`]; NaN among the logits.
    pub fn score(&mut self, inputs: &[Tensor], scored: &mut Scored) -> Result<(), EdgeError> {
        let _ = (inputs, scored);
        todo!()
    }

    /// Logits and features as they are, for fits.
    ///
    /// # Errors
    /// As [`Self::score`].
    pub fn evidence(&mut self, inputs: &[Tensor], evidence: &mut Evidence) -> Result<(), EdgeError> {
        let _ = (inputs, evidence);
        todo!()
    }

    /// Another one for another thread; model and fits are shared.
    ///
    /// # Errors
    /// What the runtime has against it.
    pub fn another(&self) -> Result<Self, EdgeError> {
        todo!()
    }
}
