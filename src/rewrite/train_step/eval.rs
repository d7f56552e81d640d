//! The model as it is between steps: in inference mode, with parameters and buffers as inputs.

use crate::model::{Document, GraphIndex};
use crate::rewrite::function::attach;
use crate::rewrite::inference;
use crate::rewrite::patch::default_opset;

use super::forward::{add_loss, forward};
use super::{TrainStep, TrainStepError, step};

/// See [`super::eval_step`].
pub(super) fn assemble(document: &Document, step: &TrainStep) -> Result<Document, TrainStepError> {
    let mut forward = forward(document, &step.options)?;
    let opset = default_opset(&forward.document)?;
    inference::turn_training_off(forward.document.graph_mut(), opset)?;
    add_loss(&mut forward, &step.options)?;
    let mut evaluation = forward.document;
    let signature = &step.signature;
    for port in signature.parameters.iter().chain(&signature.buffers) {
        release(&mut evaluation, &port.name);
    }
    attach(&mut evaluation)?;
    evaluation.remove_metadata(super::METADATA_KEY);
    step::stamp_loss(&mut evaluation, &signature.loss, &step.options);
    Ok(evaluation)
}

/// Makes an initializer an input; one that inference does not read stays away.
fn release(document: &mut Document, name: &str) {
    let index = GraphIndex::new(document.graph());
    let Some(initializer) = index.initializer(name) else { return };
    let dims: Vec<_> = initializer.dims().iter().map(|&dim| crate::model::Dimension::Known(dim)).collect();
    let info = crate::model::value_info(name, initializer.data_type(), Some(&dims));
    let graph = document.graph_mut();
    graph.remove_input(name);
    graph.remove_initializer(name);
    graph.add_input(info);
}
