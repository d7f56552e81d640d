//! Where the probabilities of a classifier are, for models that give nothing else.

use std::collections::HashSet;

use crate::model::{Dimension, Document, GraphIndex, Shapes};

use super::softmax::View;
use super::{is_float, softmax_axis};

/// A value that holds probabilities.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Probabilities {
    /// Its name.
    pub value: String,
    /// The graph output it leads to.
    pub output: String,
    /// What makes it, a noun: "a sigmoid".
    pub maker: String,
    /// Axis of the classes.
    pub class_axis: usize,
    /// Number of classes, where known.
    pub classes: Option<i64>,
}

/// Looks for probabilities behind each output, in their order; each value once.
pub(crate) fn find_probabilities(document: &Document, index: &GraphIndex, shapes: &Shapes) -> Vec<Probabilities> {
    let view = View { index, shapes, opset: document.opset_version("").unwrap_or(1) };
    let mut found: Vec<Probabilities> = Vec::new();
    for output in index.graph().outputs() {
        if let Some(probabilities) = view.probabilities(output.name())
            && !found.iter().any(|known| known.value == probabilities.value)
        {
            found.push(probabilities);
        }
    }
    found
}

impl<'g> View<'_, 'g> {
    fn probabilities(&self, output: &'g str) -> Option<Probabilities> {
        let mut value = output;
        let mut seen = HashSet::new();
        while seen.insert(value) {
            let dims = self.shapes.get(value).dims;
            let found = |maker: String, class_axis: usize| {
                let classes = dims.as_ref().and_then(|d| d.get(class_axis)).and_then(Dimension::known);
                Some(Probabilities { value: value.to_owned(), output: output.to_owned(), maker, class_axis, classes })
            };
            if let Some(softmax) = self.softmax(value) {
                if softmax.head.is_log() {
                    return None;
                }
                let axis = softmax_axis(&softmax, dims.as_deref()).ok()?;
                return found(softmax.head.name().to_owned(), axis);
            }
            let (_, node) = self.producer(value)?;
            let second = node.output_at(1) == Some(value);
            value = match (node.op_domain(), node.op()) {
                ("", "Sigmoid" | "HardSigmoid") => return found("a sigmoid".into(), 1),
                ("ai.onnx.ml", op @ "Normalizer") => return found(op.into(), 1),
                ("ai.onnx.ml", op @ ("TreeEnsembleClassifier" | "SVMClassifier")) if second => {
                    return found(op.into(), 1);
                }
                ("ai.onnx.ml", op @ "LinearClassifier")
                    if second && matches!(node.attr_str("post_transform"), Some("SOFTMAX" | "LOGISTIC")) =>
                {
                    return found(op.into(), 1);
                }
                // it pairs class names with probabilities, whatever made them
                ("ai.onnx.ml", op @ "ZipMap") => {
                    let input = node.input_at(0)?;
                    let dims = self.shapes.get(input).dims;
                    return Some(Probabilities {
                        value: input.to_owned(),
                        output: output.to_owned(),
                        maker: format!("the probabilities that {op} names"),
                        class_axis: 1,
                        classes: dims.as_ref().and_then(|d| d.get(1)).and_then(Dimension::known),
                    });
                }
                ("", "Identity" | "Squeeze" | "Unsqueeze" | "Reshape" | "Flatten") => node.input_at(0)?,
                ("", "Cast") if node.attr_int("to").is_some_and(|to| is_float(to as i32)) => node.input_at(0)?,
                _ => return None,
            };
        }
        None
    }
}
