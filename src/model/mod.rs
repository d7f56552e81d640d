//! ONNX files: messages, a lazy document, edits, atomic writing. Knows nothing of losses.
//!
//! A [`Document`] is a list of fields, each a slice of the mapped file. Only what an edit touches is encoded again;
//! everything else, unknown fields included, is written back as it was.

mod build;
mod document;
mod error;
mod external;
mod graph;
pub mod proto;
mod shape;
mod tensor;
mod wire;
mod write;

pub use build::{attribute, metadata_entry, node, tensor_type, value_info, NodeBuilder};
pub use document::{Document, Function};
pub use error::ModelError;
pub use external::{ExternalData, ExternalReference};
pub use graph::{Graph, GraphIndex, Initializer, Node, NodeId};
pub use proto::DataType;
pub use shape::{Dimension, Shapes, ValueType};
pub use tensor::TensorValue;
