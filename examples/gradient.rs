//! Gradients and a training step of a classifier, as a library: `cargo run --example gradient -- model.onnx`.
//!
//! Writes `gradients.onnx` (the model with ∂loss/∂input as an output, as adversarial examples need it) and
//! `train_step.onnx` into a folder, the second argument (default: the current one).

use std::path::PathBuf;

use elonnx::model::{Document, ExternalData};
use elonnx::rewrite::optimizer::Optimizer;
use elonnx::rewrite::train_step::{TrainStepOptions, train_step};
use elonnx::rewrite::{PatchOptions, gradient, patch};

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let model = arguments.next().unwrap_or_else(|| "onnx_models/cross_entropy/network.onnx".to_owned());
    let folder = PathBuf::from(arguments.next().unwrap_or_else(|| ".".to_owned()));
    let document = Document::open(model)?;

    // any value of any graph: here the loss that `patch` puts on the logits, by the first input
    let patched = patch(&document, &PatchOptions::default())?;
    let loss = patched.report.losses.iter().find_map(|loss| loss.loss.clone());
    let input = document.graph().inputs().first().map(|input| input.name().to_owned());
    if let (Some(loss), Some(input)) = (loss, input) {
        let found = gradient(&patched.document, &loss, &[&input])?;
        found.document.save(folder.join("gradients.onnx"), ExternalData::Copy)?;
        println!("gradients.onnx: ∂{loss}/∂{input} is the output {}", found.outputs.join(", "));
    }

    // a whole step, with an optimizer
    let options = TrainStepOptions {
        optimizer: Optimizer::Sgd { momentum: 0.9, nesterov: true, weight_decay: 1e-4 },
        clip_norm: Some(1.0),
        ..TrainStepOptions::default()
    };
    let step = train_step(&document, &options)?;
    step.document.save(folder.join("train_step.onnx"), ExternalData::Copy)?;
    println!("train_step.onnx trains");
    for parameter in &step.signature.parameters {
        println!("  {} {:?}", parameter.name, parameter.shape);
    }
    step.notes.iter().for_each(|note| println!("  {note}"));
    Ok(())
}
