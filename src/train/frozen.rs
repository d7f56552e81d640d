//! Tensors that no step changes and that lie in a file beside the model.

use ort::value::DynValue;

use super::tensors::owned;
use crate::model::{DataType, Document, Initializer};

/// The initializers of a graph whose data is external, by name: ONNX Runtime has no folder to look for them when it
/// loads the graph from memory.
pub fn frozen(graph: &Document) -> Result<Vec<(String, DynValue)>, String> {
    let external = graph.graph().initializers().iter().filter(|initializer| initializer.external().is_some());
    external
        .map(|initializer| {
            let name = initializer.name().to_owned();
            let tensor = read(graph, initializer).map_err(|reason| format!("{reason} (initializer '{name}')"))?;
            Ok((name, tensor))
        })
        .collect()
}

fn read(graph: &Document, initializer: &Initializer) -> Result<DynValue, String> {
    let data_type = DataType::try_from(initializer.data_type()).unwrap_or(DataType::Undefined);
    let dims = initializer.dims().iter().map(|&size| usize::try_from(size)).collect::<Result<Vec<_>, _>>();
    let dims = dims.map_err(|_| "its shape is not possible".to_owned())?;
    let bytes = graph.tensor(initializer).map_err(|error| error.to_string())?.raw_data.unwrap_or_default();
    owned(data_type, dims, &bytes)
}
