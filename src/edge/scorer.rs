//! From a model file to scores.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::data::{InputSpec, Tensor, Values};
use crate::model::{DataType, Document};
use crate::rewrite::{self, ScoringModel, ScoringOptions, scoring_model};

use super::calibration::Calibration;
use super::engine::{Engine, EngineKind, Evidence};
use super::feature::Fits;
use super::inputs;
use super::outlet::Outlet;
use super::row::{Decision, RowError, RowScorer, Scratch};
use super::score::Needs;
use super::tract::TractEngine;
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
    /// How many classes to list per sample; all of them where there are fewer.
    pub top_k: usize,
    /// Whether the feature is wanted although no score needs it (for fits).
    pub feature: bool,
    /// T of the energy and of the probabilities; by default the calibration's, else that by which the model itself divides
    /// its logits, else 1.
    pub temperature: Option<f64>,
}

/// What is known of some samples, a column per quantity; reused from call to call.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scored {
    /// Number of samples.
    pub rows: usize,
    /// Predicted class.
    pub class: Vec<u32>,
    /// Its probability at the scorer's temperature.
    pub probability: Vec<f32>,
    /// Largest logit less the second (NOT negated: the score [`Score::Margin`] is its negative); NaN where there are
    /// probabilities only.
    pub margin: Vec<f32>,
    /// [rows, top_k] classes, the most probable first.
    pub top_classes: Vec<u32>,
    /// [rows, top_k] their probabilities.
    pub top_probabilities: Vec<f32>,
    /// [rows, scores], in the order of [`Scorer::scores`]; higher is further out of distribution.
    pub scores: Vec<f32>,
    /// Whether the sample is in distribution; empty where the model is not calibrated, or calibrated at another
    /// temperature.
    pub in_distribution: Vec<bool>,
}

impl Scored {
    /// Forgets the samples, keeps the memory.
    pub(crate) fn clear(&mut self) {
        self.rows = 0;
        self.class.clear();
        self.probability.clear();
        self.margin.clear();
        self.top_classes.clear();
        self.top_probabilities.clear();
        self.scores.clear();
        self.in_distribution.clear();
    }

    /// Appends some samples of another one with the same columns.
    #[cfg(feature = "rayon")]
    pub(super) fn append(&mut self, other: &Self, rows: Range<usize>) {
        fn take<T: Copy>(to: &mut Vec<T>, from: &[T], rows: &Range<usize>, of: usize) {
            let width = from.len().checked_div(of).unwrap_or(0);
            to.extend_from_slice(&from[rows.start * width..rows.end * width]);
        }
        take(&mut self.class, &other.class, &rows, other.rows);
        take(&mut self.probability, &other.probability, &rows, other.rows);
        take(&mut self.margin, &other.margin, &rows, other.rows);
        take(&mut self.top_classes, &other.top_classes, &rows, other.rows);
        take(&mut self.top_probabilities, &other.top_probabilities, &rows, other.rows);
        take(&mut self.scores, &other.scores, &rows, other.rows);
        take(&mut self.in_distribution, &other.in_distribution, &rows, other.rows);
        self.rows += rows.len();
    }
}

/// A classifier ready to score.
pub struct Scorer {
    shared: Arc<Shared>,
    engine: Box<dyn Engine>,
    /// How many samples go through the model at once.
    at_once: usize,
    evidence: Evidence,
    scratch: Scratch,
}

/// What the scorers of all threads share.
struct Shared {
    model: ScoringModel,
    inputs: Vec<InputSpec>,
    classes: usize,
    rows: RowScorer,
    fits: Fits,
    calibration: Option<Calibration>,
}

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
        let calibration = Calibration::read(document)?;
        let scores = chosen_scores(options, calibration.as_ref());
        let decision = calibration.as_ref().map(|c| c.decision);
        let needs_feature = scores.iter().chain(&decision).any(|score| score.needs() == Needs::Feature);
        let asked = ScoringOptions {
            logits: options.logits.clone(),
            probabilities: options.probabilities,
            feature: options.feature || needs_feature,
        };
        let model = scoring_model(document, &asked)?;
        Self::of_model(document, model, calibration, options)
    }

    /// Of a model that is cut already.
    pub(crate) fn of_model(
        document: &Document,
        model: ScoringModel,
        calibration: Option<Calibration>,
        options: &ScorerOptions,
    ) -> Result<Self, EdgeError> {
        calibration.as_ref().map_or(Ok(()), |calibration| calibration.check(&model))?;
        let temperature = temperature(options, calibration.as_ref(), &model)?;
        let mut scores = chosen_scores(options, calibration.as_ref());
        if model.evidence == rewrite::Evidence::Probabilities && options.scores.is_empty() {
            scores.retain(|score| score.needs() == Needs::Probabilities);
        }
        let decision =
            calibration.as_ref().filter(|c| own_temperature(Some(c), &model) == temperature).and_then(Decision::of);
        let computed: Vec<Score> = scores.iter().copied().chain(decision.as_ref().map(|d| d.score)).collect();
        check_scores(&computed, &model)?;
        let fits = Fits::read(document, &model, calibration.as_ref(), &computed)?;
        let inputs = inputs::specs(&model.document)?;
        let mut engine = engine(&model, &inputs, options)?;
        let classes = match model.classes {
            Some(classes) => classes,
            None => count_classes(engine.as_mut(), &inputs).unwrap_or(0),
        };
        if let Some(calibration) = calibration.as_ref().filter(|_| classes != 0) {
            calibration.check_classes(classes)?;
        }
        let top_k = if classes == 0 { options.top_k } else { options.top_k.min(classes) };
        let rows = RowScorer { scores, evidence: model.evidence, temperature, top_k, decision };
        let at_once = samples_at_once(&model, &inputs);
        engine.set_samples_at_once(at_once);
        let shared = Arc::new(Shared { model, inputs, classes, rows, fits, calibration });
        Ok(Self { shared, engine, at_once, evidence: Evidence::default(), scratch: Scratch::default() })
    }

    /// What samples have to look like.
    #[must_use]
    pub fn inputs(&self) -> &[InputSpec] {
        &self.shared.inputs
    }

    /// What was found in the model: which tensor, how, what was changed.
    #[must_use]
    pub fn model(&self) -> &ScoringModel {
        &self.shared.model
    }

    /// Number of classes; 0 where neither file nor a first run tells it.
    #[must_use]
    pub fn classes(&self) -> usize {
        self.shared.classes
    }

    /// The scores that are computed, in the order of [`Scored::scores`].
    #[must_use]
    pub fn scores(&self) -> &[Score] {
        &self.shared.rows.scores
    }

    /// How many classes are listed per sample.
    #[must_use]
    pub fn top_k(&self) -> usize {
        self.shared.rows.top_k
    }

    /// T of energy and probabilities.
    #[must_use]
    pub fn temperature(&self) -> f64 {
        self.shared.rows.temperature
    }

    /// What was fitted, where the model is calibrated.
    #[must_use]
    pub fn calibration(&self) -> Option<&Calibration> {
        self.shared.calibration.as_ref()
    }

    /// How many samples go through the model at once; larger batches are split.
    #[must_use]
    pub fn samples_at_once(&self) -> usize {
        self.at_once
    }

    /// Sets [`Self::samples_at_once`], at least 1.
    pub fn set_samples_at_once(&mut self, samples: usize) {
        self.at_once = samples.max(1);
        self.engine.set_samples_at_once(self.at_once);
    }

    /// Whether [`Scored::in_distribution`] is filled.
    #[must_use]
    pub fn decides(&self) -> bool {
        self.shared.rows.decision.is_some()
    }

    /// Scores samples on this thread; `scored` is overwritten.
    ///
    /// # Errors
    /// Inputs of another shape or type than [`Self::inputs`]; NaN among the logits.
    pub fn score(&mut self, inputs: &[Tensor], scored: &mut Scored) -> Result<(), EdgeError> {
        let rows = inputs::check(&self.shared.inputs, inputs)?;
        scored.clear();
        for from in (0..rows).step_by(self.at_once) {
            self.score_rows(inputs, from..rows.min(from + self.at_once), scored)?;
        }
        Ok(())
    }

    /// Appends some samples of a batch that is checked.
    pub(super) fn score_rows(
        &mut self,
        inputs: &[Tensor],
        rows: Range<usize>,
        scored: &mut Scored,
    ) -> Result<(), EdgeError> {
        let Self { shared, engine, evidence, scratch, .. } = self;
        evidence.clear();
        engine.run_rows(inputs, rows.clone(), evidence)?;
        shared.append(evidence, scratch, scored).map_err(|(i, error)| shared.explain(error, rows.start + i, inputs))
    }

    /// Logits and features as they are, for fits; `evidence` is overwritten.
    ///
    /// # Errors
    /// As [`Self::score`].
    pub fn evidence(&mut self, inputs: &[Tensor], evidence: &mut Evidence) -> Result<(), EdgeError> {
        let rows = inputs::check(&self.shared.inputs, inputs)?;
        evidence.clear();
        for from in (0..rows).step_by(self.at_once) {
            self.engine.run_rows(inputs, from..rows.min(from + self.at_once), evidence)?;
        }
        for (i, logits) in evidence.logits.chunks_exact(evidence.classes.max(1)).enumerate() {
            if logits.iter().any(|z| z.is_nan()) {
                return Err(self.shared.explain(RowError::NotANumber, i, inputs));
            }
        }
        Ok(())
    }

    /// Scores what [`Self::evidence`] gave, without running the model again; `scored` is overwritten.
    ///
    /// # Errors
    /// NaN among the logits.
    pub fn score_evidence(&mut self, evidence: &Evidence, scored: &mut Scored) -> Result<(), EdgeError> {
        scored.clear();
        let Self { shared, scratch, .. } = self;
        shared.append(evidence, scratch, scored).map_err(|(i, error)| shared.explain(error, i, &[]))
    }

    /// Another one for another thread; model and fits are shared.
    ///
    /// # Errors
    /// What the runtime has against it.
    pub fn another(&self) -> Result<Self, EdgeError> {
        let engine = self.engine.another()?;
        let shared = Arc::clone(&self.shared);
        Ok(Self { shared, engine, at_once: self.at_once, evidence: Evidence::default(), scratch: Scratch::default() })
    }
}

impl Shared {
    /// Appends the scores of some samples; the error says which one has none.
    fn append(&self, evidence: &Evidence, scratch: &mut Scratch, scored: &mut Scored) -> Result<(), (usize, RowError)> {
        let features = evidence.features.len() / evidence.rows.max(1);
        for (i, logits) in evidence.logits.chunks_exact(evidence.classes.max(1)).enumerate() {
            let feature = &evidence.features[i * features..(i + 1) * features];
            self.rows.append(logits, feature, &self.fits, scratch, scored).map_err(|error| (i, error))?;
        }
        Ok(())
    }

    fn explain(&self, error: RowError, sample: usize, inputs: &[Tensor]) -> EdgeError {
        let value = self.model.value.clone();
        match error {
            RowError::NotANumber => {
                let input = inputs.iter().any(|tensor| !is_finite(tensor, sample));
                EdgeError::NotANumber { sample, value, input }
            }
            RowError::NotAProbability(found) => EdgeError::NotAProbability { sample, value, found },
        }
    }
}

/// Whether one sample holds neither NaN nor infinity.
fn is_finite(tensor: &Tensor, sample: usize) -> bool {
    let width: usize = tensor.dims.iter().skip(1).product();
    let of = sample * width..(sample + 1) * width;
    match &tensor.values {
        Values::F16(v) => v.get(of).is_none_or(|v| v.iter().all(|x| x.is_finite())),
        Values::F32(v) => v.get(of).is_none_or(|v| v.iter().all(|x| x.is_finite())),
        Values::F64(v) => v.get(of).is_none_or(|v| v.iter().all(|x| x.is_finite())),
        _ => true,
    }
}

fn chosen_scores(options: &ScorerOptions, calibration: Option<&Calibration>) -> Vec<Score> {
    match calibration {
        _ if !options.scores.is_empty() => options.scores.clone(),
        Some(calibration) if !calibration.scores.is_empty() => calibration.scores.keys().copied().collect(),
        _ => vec![Score::Margin, Score::Energy, Score::Msp],
    }
}

/// T, and the bounds in which 1/T is a number of the precision that logits have.
fn temperature(
    options: &ScorerOptions,
    calibration: Option<&Calibration>,
    model: &ScoringModel,
) -> Result<f64, EdgeError> {
    let temperature = options.temperature.unwrap_or_else(|| own_temperature(calibration, model));
    if (1e-6..=1e6).contains(&temperature) {
        return Ok(temperature);
    }
    let value = temperature.to_string();
    Err(EdgeError::Option { option: "the temperature", value, expected: "a number from 0.000001 to 1000000" })
}

fn own_temperature(calibration: Option<&Calibration>, model: &ScoringModel) -> f64 {
    calibration.and_then(Calibration::temperature).or(model.temperature).unwrap_or(1.0)
}

/// Whether the model has what the scores need.
fn check_scores(scores: &[Score], model: &ScoringModel) -> Result<(), EdgeError> {
    for &score in scores {
        if model.evidence == rewrite::Evidence::Probabilities && score.needs() != Needs::Probabilities {
            return Err(EdgeError::NeedsLogits { score });
        }
    }
    Ok(())
}

fn engine(model: &ScoringModel, specs: &[InputSpec], options: &ScorerOptions) -> Result<Box<dyn Engine>, EdgeError> {
    let feature = model.head.as_ref().ok().filter(|_| model.document.graph().outputs().len() > 1);
    let outlet = Outlet {
        value: model.value.clone(),
        class_axis: model.class_axis,
        feature: feature.map(|head| head.feature.clone()),
    };
    let fixed = if model.free_batch { None } else { inputs::fixed_batch(&model.document, specs) };
    match options.engine {
        EngineKind::Tract => Ok(Box::new(TractEngine::new(&model.document, specs, outlet, fixed)?)),
        #[cfg(feature = "runtime")]
        EngineKind::OnnxRuntime => {
            let library = options.onnxruntime.as_deref();
            Ok(Box::new(super::ort::OrtEngine::new(&model.document, specs, outlet, fixed, library)?))
        }
        #[cfg(not(feature = "runtime"))]
        EngineKind::OnnxRuntime => {
            Err(EdgeError::NoOnnxRuntime { reason: "this program was built without the feature 'runtime'".into() })
        }
    }
}

/// How many samples go through a model at once. One, where there are convolutions, recurrences or attention: each is
/// work enough, and the activations of one stay in the cache. Many, where a sample is a row of a matrix. See
/// benches/README.md.
fn samples_at_once(model: &ScoringModel, specs: &[InputSpec]) -> usize {
    let nodes = model.document.graph().nodes();
    let spatial = nodes.iter().any(|node| SPATIAL.iter().any(|op| node.op().ends_with(op)));
    let small = inputs::sample_elements(specs).is_some_and(|elements| elements <= SMALL_SAMPLE);
    if !spatial && small && specs.iter().all(|spec| is_float(spec.data_type)) { MANY_AT_ONCE } else { 1 }
}

/// How the names of such operators end.
const SPATIAL: [&str; 8] = ["Conv", "ConvTranspose", "Pool", "LSTM", "GRU", "RNN", "Attention", "Loop"];
const SMALL_SAMPLE: usize = 4096;
const MANY_AT_ONCE: usize = 64;

fn is_float(data_type: DataType) -> bool {
    matches!(data_type, DataType::Float16 | DataType::Float | DataType::Double)
}

/// Runs one sample of zeros, where the file does not tell the number of classes.
fn count_classes(engine: &mut dyn Engine, specs: &[InputSpec]) -> Option<usize> {
    let sample = inputs::zeros(specs, 1)?;
    let mut evidence = Evidence::default();
    engine.run(&sample, &mut evidence).ok()?;
    Some(evidence.classes)
}

#[cfg(test)]
mod tests;
