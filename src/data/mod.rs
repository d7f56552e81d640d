//! Samples: tensors in batches, and where they come from.
//!
//! A model says what it wants as [`InputSpec`]s; a source gives [`Batch`]es that fit them. The readers (feature `data`)
//! stream: at no time more than a batch is in memory.

mod batch;
mod input;
mod tensor;

pub use batch::Batch;
pub use input::InputSpec;
pub use tensor::{Tensor, Values};
