//! What can go wrong between a model file and its scores.

use crate::data::Values;
use crate::model::{DataType, ModelError};
use crate::rewrite::RewriteError;

use super::{CalibrationError, Score};

/// Why a model cannot be scored with. Every variant says what, where and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EdgeError {
    /// The file.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// Where the logits are, or what stands in the way of finding them.
    #[error(transparent)]
    Rewrite(#[from] RewriteError),
    /// What was fitted, or has to be.
    #[error(transparent)]
    Calibration(#[from] CalibrationError),
    /// tract does not know an operator.
    #[error("tract has no operator {op} ({node}); use --engine ort")]
    UnsupportedOperator {
        /// Its type, with the domain where it has one.
        op: String,
        /// The node, described.
        node: String,
    },
    /// A runtime refuses the model, its inputs put aside.
    #[error("{engine} cannot run this model: {reason}{}", hint(engine))]
    Refused {
        /// "tract" or "ONNX Runtime".
        engine: &'static str,
        /// Its reason, which names the node.
        reason: String,
    },
    /// A runtime fails on samples of the right type and shape.
    #[error("{engine} failed while it ran the model: {reason}{}", hint(engine))]
    Failed {
        /// "tract" or "ONNX Runtime".
        engine: &'static str,
        /// Its reason, which names the node.
        reason: String,
    },
    /// No libonnxruntime, or one that does not do.
    #[error("{reason}")]
    NoOnnxRuntime {
        /// Why, and what to do.
        reason: String,
    },
    /// More or fewer tensors than the model has inputs.
    #[error("the model has {expected} inputs ({names}), {got} were given")]
    InputCount {
        /// How many it has.
        expected: usize,
        /// How many were given.
        got: usize,
        /// What they are called.
        names: String,
    },
    /// A tensor of another shape than the model's input.
    #[error("input '{input}' should have shape {expected} but has {got}")]
    InputShape {
        /// The input's name.
        input: String,
        /// "[N, 1, 28, 28]": N is the number of samples, ? any size.
        expected: String,
        /// The sizes given.
        got: String,
    },
    /// A tensor of another element type than the model's input.
    #[error("input '{input}' should hold {expected} but holds {got}")]
    InputType {
        /// The input's name.
        input: String,
        /// ONNX's name of the type it should have.
        expected: String,
        /// That of the type it has.
        got: String,
    },
    /// A tensor with more or fewer elements than its shape has room for.
    #[error("the tensor for input '{input}' has {got} elements where its shape {shape} has {expected}")]
    InputLength {
        /// The input's name.
        input: String,
        /// Its sizes.
        shape: String,
        /// Their product.
        expected: usize,
        /// How many there are.
        got: usize,
    },
    /// Inputs that disagree on the number of samples.
    #[error("input '{first}' has {first_rows} samples and input '{second}' has {second_rows}; they should be the same")]
    SampleCount {
        /// One input's name.
        first: String,
        /// Its first axis.
        first_rows: usize,
        /// Another's name.
        second: String,
        /// Its first axis.
        second_rows: usize,
    },
    /// Logits of more than one choice for a sample.
    #[error(
        "'{value}' has shape {shape}: one choice per position (segmentation, language models), and a sample's score \
         needs one choice per sample"
    )]
    PerPosition {
        /// The tensor's name.
        value: String,
        /// Its sizes.
        shape: String,
    },
    /// An output that does not fit the samples.
    #[error("'{value}' came out with shape {shape} for {rows} samples, {expected} was expected")]
    OutputShape {
        /// The tensor's name.
        value: String,
        /// Its sizes.
        shape: String,
        /// How many samples went in.
        rows: usize,
        /// What was expected, a phrase.
        expected: String,
    },
    /// NaN among the logits.
    #[error("sample {sample}: '{value}' holds NaN{}", if *.input { ", and so does its input" } else { "" })]
    NotANumber {
        /// The sample's place in the batch, from 0.
        sample: usize,
        /// The tensor's name.
        value: String,
        /// Whether the sample itself holds NaN or infinity.
        input: bool,
    },
    /// Something outside [0, 1] where probabilities were promised.
    #[error(
        "sample {sample}: '{value}' holds {found}, which is no probability; where it holds logits, name it with --logits"
    )]
    NotAProbability {
        /// The sample's place in the batch, from 0.
        sample: usize,
        /// The tensor's name.
        value: String,
        /// The number.
        found: f32,
    },
    /// A score that needs logits, of a model that gives probabilities only.
    #[error(
        "the score {score} needs logits, and only probabilities are there; {of_probabilities} work on those",
        of_probabilities = "msp, entropy and gen"
    )]
    NeedsLogits {
        /// The score.
        score: Score,
    },
    /// Numbers that make no sense as options.
    #[error("{option} is {value}, it should be {expected}")]
    Option {
        /// Its name.
        option: &'static str,
        /// What was given.
        value: String,
        /// What would do.
        expected: &'static str,
    },
}

/// What to do where tract does not do.
fn hint(engine: &str) -> &'static str {
    if engine == "tract" { "; use --engine ort" } else { "" }
}

/// "[N, 1, 28, 28]" of an input: N the number of samples, ? any size.
pub(crate) fn expected_shape(dims: &[Option<usize>]) -> String {
    let axis = |(i, size): (usize, &Option<usize>)| match size {
        Some(size) => size.to_string(),
        None if i == 0 => "N".to_owned(),
        None => "?".to_owned(),
    };
    format!("[{}]", dims.iter().enumerate().map(axis).collect::<Vec<_>>().join(", "))
}

/// ONNX's name of an element type, in lower case.
pub(crate) fn type_name(data_type: DataType) -> String {
    format!("{data_type:?}").to_lowercase()
}

/// The type of the elements.
pub(crate) fn type_of(values: &Values) -> DataType {
    match values {
        Values::Bool(_) => DataType::Bool,
        Values::U8(_) => DataType::Uint8,
        Values::I8(_) => DataType::Int8,
        Values::U16(_) => DataType::Uint16,
        Values::I16(_) => DataType::Int16,
        Values::I32(_) => DataType::Int32,
        Values::I64(_) => DataType::Int64,
        Values::F16(_) => DataType::Float16,
        Values::F32(_) => DataType::Float,
        Values::F64(_) => DataType::Double,
    }
}
