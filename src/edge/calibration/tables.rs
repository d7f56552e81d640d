//! What is too large for JSON: class means, whitening, bank, as tensors of the model.
//!
//! A table is a float initializer, and a `Shape` node whose output nobody reads holds on to it. Without the node ONNX
//! Runtime warns about an unused initializer each time it loads the model; with it, it folds the node away, drops the
//! table and says nothing. Text in `metadata_props` would do as well, but ONNX Runtime keeps three copies of that as long
//! as the session lives.

use std::collections::BTreeMap;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;

use bytes::Bytes;

use super::CalibrationError;
use crate::model::proto::TensorProto;
use crate::model::{DataType, Dimension, Document, Initializer, NodeId, node, value_info};

/// Prefix of the names of the initializers, and of the nodes that hold on to them.
pub const TENSOR_PREFIX: &str = "elonnx.calibration.";

/// First `ir_version` with initializers that are no graph inputs.
const FREE_INITIALIZERS: i64 = 4;

/// Numbers with a shape.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    /// Sizes of the axes.
    pub dims: Vec<usize>,
    /// Elements, row-major.
    pub values: Vec<f32>,
}

impl Table {
    /// A matrix from its rows, one after the other.
    #[must_use]
    pub fn matrix(rows: usize, columns: usize, values: Vec<f32>) -> Self {
        debug_assert_eq!(values.len(), rows * columns);
        Self { dims: vec![rows, columns], values }
    }

    /// A vector.
    #[must_use]
    pub fn vector(values: Vec<f32>) -> Self {
        Self { dims: vec![values.len()], values }
    }
}

/// Tables by name, "knn.bank" for the initializer `elonnx.calibration.knn.bank`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tables(pub BTreeMap<String, Table>);

impl Tables {
    /// Adds or replaces.
    pub fn insert(&mut self, name: &str, table: Table) {
        self.0.insert(name.to_owned(), table);
    }

    /// Of all, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.0.values().map(|table| table.values.len() * size_of::<f32>()).sum()
    }

    /// Those of a model.
    ///
    /// # Errors
    /// A tensor that is no float tensor of the size its shape says, or whose data file cannot be read.
    pub fn read(document: &Document) -> Result<Self, CalibrationError> {
        Self::read_if(document, |_| true)
    }

    /// As [`Self::read`], of some names only.
    pub(crate) fn read_if(document: &Document, wanted: impl Fn(&str) -> bool) -> Result<Self, CalibrationError> {
        let mut tables = Self::default();
        for initializer in document.graph().initializers() {
            if let Some(name) = initializer.name().strip_prefix(TENSOR_PREFIX).filter(|name| wanted(name)) {
                tables.insert(name, read_table(initializer, document)?);
            }
        }
        Ok(tables)
    }

    /// Puts them into a model that has none.
    pub(super) fn write(&self, document: &mut Document) {
        let listed = document.ir_version() < FREE_INITIALIZERS;
        let graph = document.graph_mut();
        for (name, table) in &self.0 {
            let name = format!("{TENSOR_PREFIX}{name}");
            let dims: Vec<i64> = table.dims.iter().map(|&dim| dim as i64).collect();
            if listed {
                let dims: Vec<Dimension> = dims.iter().map(|&dim| Dimension::Known(dim)).collect();
                graph.add_input(value_info(&name, DataType::Float as i32, Some(&dims)));
            }
            let raw: Vec<u8> = table.values.iter().flat_map(|value| value.to_le_bytes()).collect();
            graph.add_initializer(TensorProto {
                name: Some(name.clone()),
                data_type: Some(DataType::Float as i32),
                dims,
                raw_data: Some(raw.into()),
                ..TensorProto::default()
            });
            let anchor = node("Shape").name(&name).inputs([&name]).outputs([format!("{name}.shape")]);
            let why = "keeps a table of the elonnx calibration in the model; its output is read by nobody";
            graph.insert_node(usize::MAX, anchor.doc_string(why).build());
        }
    }

    /// Takes them out of a model.
    pub(super) fn remove(document: &mut Document) {
        let graph = document.graph_mut();
        let anchors: Vec<NodeId> = graph
            .nodes()
            .iter()
            .enumerate()
            .filter_map(|(at, node)| {
                let ours = node.op_type() == "Shape" && node.input.iter().any(|name| name.starts_with(TENSOR_PREFIX));
                ours.then_some(NodeId(at))
            })
            .collect();
        graph.remove_nodes(&anchors);
        let tables = graph.initializers().iter().map(Initializer::name).filter(|name| name.starts_with(TENSOR_PREFIX));
        for name in tables.map(str::to_owned).collect::<Vec<_>>() {
            graph.remove_initializer(&name);
            graph.remove_input(&name);
        }
    }
}

fn read_table(initializer: &Initializer, document: &Document) -> Result<Table, CalibrationError> {
    let name = initializer.name();
    let damaged = |reason: String| CalibrationError::Damaged { reason: format!("its table '{name}' {reason}") };
    if initializer.data_type() != DataType::Float as i32 {
        return Err(damaged(format!("has data type {} where float was written", initializer.data_type())));
    }
    let size = |&dim: &i64| usize::try_from(dim).ok();
    let dims: Option<Vec<usize>> = initializer.dims().iter().map(size).collect();
    let elements = dims.as_ref().and_then(|dims| dims.iter().try_fold(1usize, |all, &dim| all.checked_mul(dim)));
    let (Some(dims), Some(bytes)) = (dims, elements.and_then(|elements| elements.checked_mul(size_of::<f32>()))) else {
        return Err(damaged(format!("has the shape {:?}, which is not possible", initializer.dims())));
    };
    let tensor = initializer.tensor().map_err(|error| damaged(format!("cannot be decoded: {error}")))?;
    let raw = match initializer.external() {
        Some(external) => {
            let folder = document.path().and_then(Path::parent).unwrap_or(Path::new(""));
            read_external(&folder.join(&external.location), external.offset, bytes)?
        }
        None => match tensor.raw_data {
            Some(raw) => raw,
            None => tensor.float_data.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>().into(),
        },
    };
    if raw.len() != bytes {
        return Err(damaged(format!("has {} bytes where its shape {dims:?} needs {bytes}", raw.len())));
    }
    let values = raw.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect();
    Ok(Table { dims, values })
}

fn read_external(path: &Path, offset: u64, length: usize) -> Result<Bytes, CalibrationError> {
    let read = || {
        let mut file = std::fs::File::open(path)?;
        file.seek(SeekFrom::Start(offset))?;
        // a length that the file does not have is not allocated
        let mut bytes = Vec::new();
        file.take(length as u64).read_to_end(&mut bytes)?;
        Ok(bytes.into())
    };
    read().map_err(|source| CalibrationError::Io { path: path.to_owned(), source })
}
