//! A float32 graph that computes in float16 or bfloat16 where that pays: mixed precision, as PyTorch's autocast has it.
//!
//! Inputs, outputs and stored tensors keep their type; a `Cast` stands where a value is read in the other type, one for
//! all its readers. Gradients of such a graph are those of mixed precision: they go back through the casts, so that
//! parameters get theirs in float32.

mod lower;
mod table;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

use super::rules::data_type_name;
use crate::model::DataType;

pub(crate) use lower::{Lowered, lower};

/// The type that matrix products and convolutions of a training step compute in. Parameters, the optimizer and what is
/// delicate (normalizations, reductions, exponentials, the loss) are float32 in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Precision {
    /// float32, as the model is.
    #[default]
    F32,
    /// float16: 11 bits, 6e-8 … 65504. The loss is scaled, so that small gradients do not become 0.
    F16,
    /// bfloat16: 8 bits, the range of float32.
    Bf16,
}

impl Precision {
    /// All of them, in the order of their bits.
    pub const ALL: [Self; 3] = [Self::F32, Self::F16, Self::Bf16];

    /// "f32", "f16" or "bf16".
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
        }
    }

    /// The type, where it is not the model's own.
    pub(crate) fn low(self) -> Option<DataType> {
        match self {
            Self::F32 => None,
            Self::F16 => Some(DataType::Float16),
            Self::Bf16 => Some(DataType::Bfloat16),
        }
    }
}

/// The element type, as signatures call it.
pub(crate) fn low_name(precision: Precision) -> &'static str {
    data_type_name(precision.low().unwrap_or(DataType::Float))
}

impl std::fmt::Display for Precision {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl std::str::FromStr for Precision {
    type Err = UnknownPrecision;

    fn from_str(text: &str) -> Result<Self, UnknownPrecision> {
        Self::ALL.into_iter().find(|one| one.name() == text).ok_or_else(|| UnknownPrecision(text.to_owned()))
    }
}

/// A precision that does not exist.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is no precision; there are f32, f16 and bf16")]
pub struct UnknownPrecision(String);
