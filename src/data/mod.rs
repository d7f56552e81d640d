//! Samples: tensors in batches, and where they come from.
//!
//! A model says what it wants as [`InputSpec`]s; a source gives [`Batch`]es that fit them. The readers (feature `data`)
//! stream: at no time more than a batch is in memory.

#[cfg(feature = "data")]
mod array;
#[cfg(feature = "data")]
mod arrays;
mod batch;
#[cfg(feature = "data")]
mod csv;
#[cfg(feature = "data")]
mod element;
#[cfg(feature = "data")]
mod error;
#[cfg(feature = "data")]
mod fit;
#[cfg(feature = "data")]
mod format;
#[cfg(feature = "data")]
mod idx;
#[cfg(feature = "data")]
mod images;
mod input;
#[cfg(feature = "data")]
mod labels;
#[cfg(feature = "data")]
mod npy;
#[cfg(feature = "data")]
mod npz;
#[cfg(feature = "data")]
mod picture;
#[cfg(feature = "data")]
mod preprocessing;
#[cfg(feature = "data")]
mod samples;
#[cfg(feature = "data")]
mod shape;
#[cfg(feature = "data")]
mod shift;
#[cfg(feature = "data")]
mod source;
#[cfg(feature = "data")]
mod stream;
mod tensor;

#[cfg(all(test, feature = "data"))]
mod tests;

pub use batch::Batch;
#[cfg(feature = "data")]
pub use error::DataError;
#[cfg(feature = "data")]
pub use format::Format;
pub use input::InputSpec;
#[cfg(feature = "data")]
pub use preprocessing::{Channels, Filter, Layout, Preprocessing, Resize, Size};
#[cfg(feature = "data")]
pub use samples::Samples;
#[cfg(feature = "data")]
pub use shift::Shift;
#[cfg(feature = "data")]
pub use source::{Options, Source, open};
pub use tensor::{Tensor, Values};
