//! Trains a classifier and writes it with what it has learnt:
//!
//! `cargo run --example train --no-default-features --features train -- model.onnx data.npz trained.onnx`
//!
//! The data have arrays x and y. ONNX Runtime is looked for where `elonnx doctor` looks.

use std::error::Error;

use elonnx::data::{Options, Samples};
use elonnx::model::{Document, ExternalData};
use elonnx::train::{Event, Flow, LearningRate, Plan, TrainerOptions};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [model, data, output] = arguments.as_slice() else {
        return Err("usage: train MODEL DATA OUTPUT".into());
    };
    let document = Document::open(model)?;
    let options = TrainerOptions {
        epochs: 5,
        batch: 64,
        learning_rate: LearningRate::constant(1e-3),
        ..TrainerOptions::default()
    };
    // the plan says what samples must look like
    let plan = Plan::new(&document, options)?;
    let samples = Samples::open(&Options { paths: vec![data.into()], ..Options::default() }, plan.inputs())?;
    let mut trainer = plan.start(samples, None)?;
    trainer.run(|event| {
        if let Event::Epoch(record) = event {
            println!("epoch {}: loss {:.4}, accuracy {:.4}", record.epoch, record.train.loss, record.train.accuracy);
        }
        Flow::Continue
    })?;
    trainer.trained()?.save(output, ExternalData::Copy)?;
    Ok(())
}
