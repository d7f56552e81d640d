//! ONNX files: messages, a lazy document, edits, atomic writing. Knows nothing of losses.
//!
//! A [`Document`] is a list of fields, each a slice of the mapped file. Only what an edit touches is encoded again;
//! everything else, unknown fields included, is written back as it was.

mod build;
mod copy;
mod data;
mod data_file;
mod dims;
mod document;
mod error;
mod external;
mod format;
mod graph;
mod index;
mod infer;
mod layout;
mod node;
pub mod proto;
mod schema;
mod shape;
mod tensor;
mod wire;
mod write;

pub(crate) use copy::copy_into;
pub(crate) use shape::GrowingShapes;
#[cfg(feature = "train")]
pub(crate) use write::replace_file;
pub(crate) use write::without_path;

pub use build::{NodeBuilder, attribute, metadata_entry, node, tensor_type, value_info};
pub use document::{Document, Function};
pub use error::{Location, ModelError};
pub use external::{ExternalData, ExternalReference};
pub use graph::{Graph, Initializer, Node, NodeId};
pub use index::GraphIndex;
pub use proto::DataType;
pub use schema::{MAX_GRAPH_DEPTH, decoded_limit};
pub use shape::{Dimension, Shapes, ValueType};
pub use tensor::TensorValue;
pub(crate) use tensor::holds_numbers;
