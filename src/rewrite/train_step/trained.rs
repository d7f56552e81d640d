//! The model with what it has learnt.

use bytes::Bytes;
use prost::Message;

use crate::model::proto::{NodeProto, TensorProto};
use crate::model::{DataType, Document};

use super::constant_nodes;
use super::{TrainStepError, roles};

/// See [`super::trained`].
pub(super) fn trained(document: &Document, values: &dyn Fn(&str) -> Option<Bytes>) -> Result<Document, TrainStepError> {
    let mut new = document.clone();
    let stored: Vec<(String, i32, Vec<i64>)> = document
        .graph()
        .initializers()
        .iter()
        .map(|tensor| (tensor.name().to_owned(), tensor.data_type(), tensor.dims().to_vec()))
        .collect();
    for (name, data_type, dims) in stored {
        let Some(data) = values(&name) else { continue };
        check_length(&name, data_type, &dims, &data)?;
        new.graph_mut().set_initializer_data(&name, data)?;
    }
    for at in constant_nodes::all(document.graph()) {
        let node = NodeProto::clone(document.graph().node(at));
        let Some(data) = node.output_at(0).and_then(values) else { continue };
        new.graph_mut().replace_node(at, with_data(node, data)?);
    }
    Ok(new)
}

/// A `Constant` node with other data in its tensor.
fn with_data(mut node: NodeProto, data: Bytes) -> Result<NodeProto, TrainStepError> {
    let name = node.output_at(0).unwrap_or_default().to_owned();
    for attribute in node.attribute.iter_mut().filter(|attribute| attribute.name() == "value") {
        let Some(encoded) = attribute.t.clone() else { continue };
        let mut tensor = TensorProto::decode(encoded)
            .map_err(|error| TrainStepError::Data { name: name.clone(), reason: error.to_string() })?;
        check_length(&name, tensor.data_type(), &tensor.dims, &data)?;
        tensor.float_data.clear();
        tensor.double_data.clear();
        tensor.int32_data.clear();
        tensor.external_data.clear();
        tensor.data_location = None;
        tensor.raw_data = Some(data.clone());
        attribute.t = Some(tensor.encode_to_vec().into());
    }
    Ok(node)
}

fn check_length(name: &str, data_type: i32, dims: &[i64], data: &Bytes) -> Result<(), TrainStepError> {
    let fail = |reason: String| Err(TrainStepError::Data { name: name.to_owned(), reason });
    if !roles::is_float(data_type) {
        return fail("it is no float tensor, so it is not trained".to_owned());
    }
    let size = match DataType::try_from(data_type) {
        Ok(DataType::Double) => 8u64,
        Ok(DataType::Float) => 4,
        _ => 2,
    };
    let elements = dims.iter().try_fold(1u64, |n, &dim| n.checked_mul(u64::try_from(dim).ok()?));
    match elements.and_then(|n| n.checked_mul(size)) {
        Some(wanted) if wanted == data.len() as u64 => Ok(()),
        Some(wanted) => fail(format!("its shape {dims:?} needs {wanted} bytes of data, not {}", data.len())),
        None => fail(format!("its shape {dims:?} is not possible")),
    }
}
