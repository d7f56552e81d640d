//! The forward pass in the precision that was asked for.

use std::collections::BTreeSet;

use crate::model::Document;
use crate::rewrite::mixed_precision::{Lowered, low_name, lower};

use super::selection::{Selection, listed};
use super::{TrainStepError, TrainStepOptions};

/// Lets a forward pass compute in the type of the options where that pays; what was done, a sentence each.
///
/// # Errors
/// Nothing of it can.
pub(super) fn lower_forward(
    document: &mut Document,
    selection: &Selection,
    options: &TrainStepOptions,
) -> Result<Vec<String>, TrainStepError> {
    let Some(low) = options.precision.low() else { return Ok(Vec::new()) };
    let weights: BTreeSet<String> = selection.parameters.union(&selection.frozen).cloned().collect();
    let opset = document.opset_version("").unwrap_or_default();
    let Lowered { low: lowered, nodes, missing } = lower(document, low, &weights);
    let name = low_name(options.precision);
    let missing: Vec<&str> = missing.iter().map(String::as_str).collect();
    let unknown = (!missing.is_empty()).then(|| {
        format!(
            "version {opset} of the standard operators has no {} in {name}: float32 there; export the model in a newer \
             one",
            listed(&missing)
        )
    });
    if lowered.is_empty() {
        let why = unknown.unwrap_or_else(|| "it has no matrix product or convolution of float32 tensors".to_owned());
        return Err(TrainStepError::Option(format!(
            "--precision {}: nothing of the model can compute in {name}: {why}",
            options.precision
        )));
    }
    let count: usize = lowered.values().sum();
    let operators: Vec<&str> = lowered.keys().map(String::as_str).collect();
    let mut notes =
        vec![format!("{count} of {nodes} nodes compute in {name} ({}), the others in float32", operators.join(", "))];
    notes.extend(unknown);
    Ok(notes)
}
