//! What parameters and state begin with.

use bytes::Bytes;
use prost::Message as _;

use super::tensors::type_of;
use crate::model::proto::{AttributeProto, TensorProto};
use crate::model::{DataType, Document, ModelError, TensorValue};
use crate::rewrite::train_step::{Initial, StatePort};

/// The little-endian elements that a state begins with; None where those are zeros.
pub fn first_of(port: &StatePort) -> Result<Option<Bytes>, ModelError> {
    let Initial::Value(value) = port.initial else { return Ok(None) };
    let data_type = type_of(&port.data_type).unwrap_or(DataType::Float);
    let count = port.shape.iter().map(|&size| usize::try_from(size).unwrap_or(0)).product();
    let values = vec![value as f64; count];
    elements(&TensorProto::raw(&port.name, data_type as i32, port.shape.clone(), &values)).map(Some)
}

/// The little-endian elements of an initializer or of a `Constant` node; None where there is neither.
pub fn initial(document: &Document, name: &str) -> Result<Option<Bytes>, ModelError> {
    let graph = document.graph();
    if let Some(initializer) = graph.initializers().iter().find(|initializer| initializer.name() == name) {
        return elements(&document.tensor(initializer)?).map(Some);
    }
    let constant = graph.nodes().iter().find(|node| node.op() == "Constant" && node.output_at(0) == Some(name));
    let value = constant.and_then(|node| node.attribute.iter().find(|attribute| attribute.name() == "value"));
    let Some(encoded) = value.and_then(|attribute: &AttributeProto| attribute.t.clone()) else { return Ok(None) };
    let tensor = TensorProto::decode(encoded)
        .map_err(|error| ModelError::TensorData { tensor: name.to_owned(), reason: error.to_string() })?;
    elements(&tensor).map(Some)
}

/// Raw data as it is; other elements as they would be raw.
fn elements(tensor: &TensorProto) -> Result<Bytes, ModelError> {
    if let Some(raw) = &tensor.raw_data {
        return Ok(raw.clone());
    }
    let value = TensorValue::decode(tensor)?;
    let data_type = DataType::try_from(value.data_type).unwrap_or(DataType::Undefined);
    let raw = TensorProto::raw(tensor.name(), data_type as i32, value.dims, &value.data);
    Ok(raw.raw_data.unwrap_or_default())
}
