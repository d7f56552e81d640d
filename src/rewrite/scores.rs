//! `patch --scores`: scores of a classifier as outputs of its graph, in standard operators, so that any runtime gives
//! them.

mod builder;
mod calibration;
mod formulas;
mod present;
mod shaping;
#[cfg(test)]
mod tests;

use crate::model::proto::ValueInfoProto;
use crate::model::{DataType, Dimension, Document, value_info};

use super::patch::{MODEL_VERSION, default_opset};
use super::plan::Plan;
use super::report::{ScoreAction, ScoreReport};
use super::rules::{self, Context};
use super::scoring::{Chosen, ScoringOptions, choose};
use super::{Patched, Report, RewriteError};
use builder::Builder;
use calibration::Calibration;
use formulas::Formula;

pub(crate) use present::is_score;

/// The rule's name in the metadata of nodes.
const RULE: &str = "scores";
/// Metadata of the node that makes a score: its name.
const NODE_SCORE: &str = "elonnx.score";
/// Metadata of the node that makes a score: its formula with the numbers it has.
const NODE_FORMULA: &str = "elonnx.formula";
/// Oldest opset that has what the formulas need: NumPy's broadcasting.
const MIN_OPSET: i64 = 7;

/// A score, or another fact about a sample, that a graph can give. **Scores are higher the further out of
/// distribution**; T is the temperature, z the logits of C classes, z₁ ≥ z₂ the two largest, p = softmax(z/T), h the
/// feature that the last layer reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum GraphScore {
    /// Index of the largest logit, int64.
    Prediction,
    /// max p, no score: higher is surer.
    Probability,
    /// Whether the calibrated score is at most its threshold, bool.
    InDistribution,
    /// −(z₁ − z₂).
    Margin,
    /// −(z₁ − logsumexp of the other logits).
    SoftMargin,
    /// −T·logsumexp(z/T) (Liu et al., NeurIPS 2020, arXiv 2010.03759).
    Energy,
    /// −z₁ (Hendrycks et al., ICML 2022, arXiv 1911.11132).
    MaxLogit,
    /// −max p (Hendrycks and Gimpel, ICLR 2017, arXiv 1610.02136).
    Msp,
    /// −Σ p·log p.
    Entropy,
    /// Σ over the M largest p of (p(1 − p))^0.1, M = min(100, C) (Liu et al., CVPR 2023).
    Gen,
    /// Energy of the logits of min(h, c) (Sun et al., NeurIPS 2021, arXiv 2111.12797); c from the calibration.
    React,
    /// Energy of the logits of h pruned and sharpened (Djurisic et al., ICLR 2023, arXiv 2209.09858).
    AshS,
    /// Energy of the logits of h scaled (Xu et al., ICLR 2024, arXiv 2310.00227).
    Scale,
}

impl GraphScore {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::Prediction,
        Self::Probability,
        Self::InDistribution,
        Self::Margin,
        Self::SoftMargin,
        Self::Energy,
        Self::MaxLogit,
        Self::Msp,
        Self::Entropy,
        Self::Gen,
        Self::React,
        Self::AshS,
        Self::Scale,
    ];

    /// Its name on the command line and, where that is free, of the output.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Prediction => "prediction",
            Self::Probability => "probability",
            Self::InDistribution => "in_distribution",
            Self::Margin => "margin",
            Self::SoftMargin => "soft_margin",
            Self::Energy => "energy",
            Self::MaxLogit => "max_logit",
            Self::Msp => "msp",
            Self::Entropy => "entropy",
            Self::Gen => "gen",
            Self::React => "react",
            Self::AshS => "ash_s",
            Self::Scale => "scale",
        }
    }
}

impl std::fmt::Display for GraphScore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for GraphScore {
    type Err = UnknownGraphScore;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let name = text.replace('-', "_");
        Self::ALL.into_iter().find(|score| score.as_str() == name).ok_or_else(|| UnknownGraphScore(text.to_owned()))
    }
}

/// Names of scores that need tables a graph would have to carry.
const NEED_TABLES: [&str; 4] = ["knn", "mahalanobis", "relative_mahalanobis", "vim"];

/// A name that no [`GraphScore`] has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}; a graph can give {}", if NEED_TABLES.contains(&.0.replace('-', "_").as_str()) {
    format!("the score '{}' compares with tables of the calibration, which stay out of the graph; elonnx score computes it", .0)
} else {
    format!("there is no score '{}'", .0)
}, GraphScore::ALL.map(GraphScore::as_str).join(", "))]
pub struct UnknownGraphScore(String);

/// What the user asks of `patch --scores`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GraphScoreOptions {
    /// The scores, each an output.
    pub scores: Vec<GraphScore>,
    /// T of the energies and of the probabilities; by default the calibration's, else 1.
    pub temperature: Option<f64>,
    /// Value to take as logits instead of looking for them.
    pub logits: Option<String>,
}

/// Adds scores to `document` as outputs, \[N\] for logits \[N, C\]; everything else stays as it is. A score that is there
/// already stays, so that doing it twice gives the same bytes; one with other numbers (another temperature, another
/// threshold) is replaced.
///
/// # Errors
/// As [`super::scoring_model`] where the logits are not found; [`RewriteError::NotCalibrated`],
/// [`RewriteError::NoGraphScore`].
pub fn add_scores(document: &Document, options: &GraphScoreOptions) -> Result<Patched, RewriteError> {
    let opset = default_opset(document)?;
    if opset < MIN_OPSET {
        return Err(RewriteError::Unsupported {
            node: "the model".into(),
            reason: format!("it imports opset {opset}; scores need {MIN_OPSET} (raise it with onnx.version_converter)"),
        });
    }
    let context = Context::new(document.graph(), opset, "graph".into());
    let wanted = ScoringOptions { logits: options.logits.clone(), ..ScoringOptions::default() };
    let chosen = choose(document, &context, &wanted)?;
    let logits = Logits::of(&context, chosen)?;
    let calibration = Calibration::read(document, &logits, options)?;
    let temperature = options.temperature.or(calibration.as_ref().and_then(Calibration::temperature)).unwrap_or(1.0);
    check_temperature(temperature)?;

    let mut patched = document.clone();
    let mut report = Report::default();
    report.changes.push(format!("z, the logits, is '{}', which {}", logits.chosen.value, logits.chosen.how));
    let mut left = Vec::new();
    let mut seen = Vec::new();
    for &score in options.scores.iter().filter(|&&score| unseen(&mut seen, score)) {
        let formula = Formula::of(score, &logits, temperature, calibration.as_ref())?;
        let told = told(&logits, score, &formula);
        match present::find(document.graph(), score.as_str()) {
            Some(found) if found.formula == in_full(&told) => {
                report.scores.push(ScoreReport { output: found.output, action: ScoreAction::AlreadyThere, ..told });
            }
            Some(found) => {
                present::remove(patched.graph_mut(), &found.output);
                left.push((score, formula, ScoreReport { action: ScoreAction::Replaced, ..told }));
            }
            None => left.push((score, formula, told)),
        }
    }
    if !left.is_empty() {
        add(&mut patched, &logits, opset, left, &mut report)?;
        patched.set_metadata(MODEL_VERSION, env!("CARGO_PKG_VERSION"));
    }
    Ok(Patched { document: patched, report })
}

fn unseen(seen: &mut Vec<GraphScore>, score: GraphScore) -> bool {
    let new = !seen.contains(&score);
    seen.push(score);
    new
}

fn check_temperature(temperature: f64) -> Result<(), RewriteError> {
    if (1e-6..=1e6).contains(&temperature) {
        return Ok(());
    }
    Err(RewriteError::Unsupported {
        node: "the temperature".into(),
        reason: format!("it is {temperature}; it should be from 0.000001 to 1000000"),
    })
}

fn told(logits: &Logits, score: GraphScore, formula: &Formula) -> ScoreReport {
    let shape = rules::dims_text(&logits.row_dims());
    ScoreReport {
        score: score.as_str(),
        output: String::new(),
        formula: formula.text(),
        data_type: format!("{}{shape}", rules::data_type_name(logits.output_type(score))),
        logits: logits.chosen.value.clone(),
        action: ScoreAction::Added,
    }
}

/// The formula as it stands in the model.
fn in_full(told: &ScoreReport) -> String {
    format!("{}; z is '{}'", told.formula, told.logits)
}

/// Writes the nodes and the outputs.
fn add(
    patched: &mut Document,
    logits: &Logits,
    opset: i64,
    left: Vec<(GraphScore, Formula, ScoreReport)>,
    report: &mut Report,
) -> Result<(), RewriteError> {
    let document = patched.clone();
    let context = Context::new(document.graph(), opset, "graph".into());
    let mut plan = Plan::default();
    let mut infos: Vec<ValueInfoProto> = Vec::new();
    let mut builder = Builder::new(&document, &context, logits, &mut plan);
    for (score, formula, mut told) in left {
        let output = formula.write(&mut builder, score, &in_full(&told))?;
        let mut info = value_info(&output, logits.output_type(score) as i32, Some(&logits.row_dims()));
        info.doc_string = Some(in_full(&told));
        infos.push(info);
        told.output = output;
        report.scores.push(told);
    }
    plan.apply(patched.graph_mut());
    infos.into_iter().for_each(|info| patched.graph_mut().add_output(info));
    Ok(())
}

/// The logits as the formulas see them.
pub(super) struct Logits {
    pub chosen: Chosen,
    pub data_type: DataType,
    /// Sizes of the axes; a matrix where the file does not tell.
    pub dims: Vec<Dimension>,
}

impl Logits {
    fn of(context: &Context, chosen: Chosen) -> Result<Self, RewriteError> {
        let refuse = |reason: &str| RewriteError::NotLogits { name: chosen.value.clone(), reason: reason.to_owned() };
        let Some(data_type) = context.data_type(&chosen.value) else {
            return Err(refuse("its element type is not known; run onnx.shape_inference on the model first"));
        };
        let dims = context.shapes.get(&chosen.value).dims;
        // every classifier seen has a matrix there; its sizes are free
        let dims = dims.unwrap_or_else(|| vec![Dimension::Symbol("N".into()), Dimension::Unknown]);
        if chosen.class_axis >= dims.len() {
            return Err(refuse("it has no axis of classes"));
        }
        if matches!(chosen.classes, Some(0 | 1)) {
            return Err(refuse("it has a single class; scores compare classes"));
        }
        Ok(Self { chosen, data_type, dims })
    }

    /// Whether there is one position only behind the classes: [N, C, 1, 1].
    fn one_position(&self) -> bool {
        self.chosen.class_axis == 1
            && self.dims.len() > 2
            && self.dims[2..].iter().all(|dim| *dim == Dimension::Known(1))
    }

    /// The sizes of what there is one of per row.
    fn row_dims(&self) -> Vec<Dimension> {
        if self.one_position() {
            return vec![self.dims[0].clone()];
        }
        let mut dims = self.dims.clone();
        dims.remove(self.chosen.class_axis);
        dims
    }

    /// float, for logits of 16 bits too; double for double.
    fn float_type(&self) -> DataType {
        if self.data_type == DataType::Double { DataType::Double } else { DataType::Float }
    }

    fn output_type(&self, score: GraphScore) -> DataType {
        match score {
            GraphScore::Prediction => DataType::Int64,
            GraphScore::InDistribution => DataType::Bool,
            _ => self.float_type(),
        }
    }
}
