//! One ONNX file, read lazily and edited in place.
use std::path::{Path, PathBuf};
use bytes::Bytes;
use super::error::ModelError;
use super::external::ExternalData;
use super::graph::Graph;
use super::proto::{FunctionProto, OperatorSetIdProto};

/// A model-local function.
#[derive(Clone, Debug)]
pub struct Function { }
impl Function {
    /// The decoded message.
    pub fn proto(&self) -> &FunctionProto { todo!() }
}

/// One ONNX model. Cloning is cheap: bytes are shared.
#[derive(Clone, Debug)]
pub struct Document { }

impl Document {
    /// Maps a file. The file must not be changed by others while the document lives (as with every mapped file).
    pub fn open(path: impl AsRef<Path>) -> Result<Self, ModelError> { todo!() }
    /// Reads from memory.
    pub fn from_bytes(bytes: impl Into<Bytes>) -> Result<Self, ModelError> { todo!() }
    /// Where it was opened.
    pub fn path(&self) -> Option<&Path> { todo!() }
    /// `ModelProto.ir_version`, 0 where absent.
    pub fn ir_version(&self) -> i64 { todo!() }
    /// Sets `ModelProto.ir_version`.
    pub fn set_ir_version(&mut self, version: i64) { todo!() }
    /// `producer_name`.
    pub fn producer_name(&self) -> &str { todo!() }
    /// `producer_version`.
    pub fn producer_version(&self) -> &str { todo!() }
    /// All opset imports.
    pub fn opset_imports(&self) -> &[OperatorSetIdProto] { todo!() }
    /// Version of a domain; "" and "ai.onnx" are the same domain.
    pub fn opset_version(&self, domain: &str) -> Option<i64> { todo!() }
    /// Sets or adds.
    pub fn set_opset_version(&mut self, domain: &str, version: i64) { todo!() }
    /// Removes.
    pub fn remove_opset(&mut self, domain: &str) { todo!() }
    /// Value of a `metadata_props` key.
    pub fn metadata(&self, key: &str) -> Option<&str> { todo!() }
    /// All `metadata_props`.
    pub fn metadata_entries(&self) -> impl Iterator<Item = (&str, &str)> { std::iter::empty() }
    /// Sets or adds.
    pub fn set_metadata(&mut self, key: &str, value: &str) { todo!() }
    /// Removes; whether it was there.
    pub fn remove_metadata(&mut self, key: &str) -> bool { todo!() }
    /// The main graph.
    pub fn graph(&self) -> &Graph { todo!() }
    /// The main graph, for edits.
    pub fn graph_mut(&mut self) -> &mut Graph { todo!() }
    /// Model-local functions.
    pub fn functions(&self) -> &[Function] { todo!() }
    /// Adds a function, or replaces the one of the same domain, name and overload.
    pub fn set_function(&mut self, function: FunctionProto) { todo!() }
    /// Removes; whether it was there.
    pub fn remove_function(&mut self, domain: &str, name: &str) -> bool { todo!() }
    /// Size of the encoded model.
    pub fn encoded_len(&self) -> usize { todo!() }
    /// Writes the encoded model, byte-identical to the source where nothing was edited.
    pub fn write_to(&self, writer: &mut impl std::io::Write) -> std::io::Result<()> { todo!() }
    /// The encoded model in memory; for small models and tests.
    pub fn to_bytes(&self) -> Vec<u8> { todo!() }
    /// Replaces `path` atomically (temporary file beside it, fsync, rename). If the model has external data and `path`
    /// is in another folder than [`Self::path`], `external` says what happens to the data files.
    pub fn save(&self, path: impl AsRef<Path>, external: ExternalData) -> Result<(), ModelError> { todo!() }
}
