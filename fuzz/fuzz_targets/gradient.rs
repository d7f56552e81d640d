//! Any bytes that are a model have a gradient and a training step, or an error: no panic, and no graph without end.
#![no_main]

use elonnx::model::Document;
use elonnx::rewrite::gradient;
use elonnx::rewrite::train_step::{TrainStepOptions, eval_step, train_step};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(document) = Document::from_bytes(bytes.to_vec()) else { return };
    let graph = document.graph();
    let parameters: Vec<&str> = graph.initializers().iter().map(|tensor| tensor.name()).take(4).collect();
    for output in graph.outputs().iter().take(4) {
        if let Ok(gradient) = gradient(&document, output.name(), &parameters) {
            Document::from_bytes(gradient.document.to_bytes()).expect("a model with gradients reads back");
        }
    }
    if let Ok(step) = train_step(&document, &TrainStepOptions::default()) {
        let _ = eval_step(&document, &step);
        Document::from_bytes(step.document.to_bytes()).expect("a step reads back");
    }
});
