//! A classifier on a device: class, margin, and whether such a thing was seen before. No ONNX Runtime, no command line tool.
//!
//! ```text
//! cargo run --release --no-default-features --features edge --example edge -- model.onnx samples.f32
//! ```
//!
//! `samples.f32` holds float32 numbers, little-endian, sample after sample. `elonnx calibrate` puts the threshold into the
//! model that "in distribution" needs.

use std::error::Error;
use std::process::ExitCode;

use elonnx::data::{Tensor, Values};
use elonnx::edge::{Scored, Scorer};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [model, samples] = arguments.as_slice() else {
        eprintln!("usage: edge MODEL.onnx SAMPLES.f32");
        return ExitCode::from(2);
    };
    match run(model, samples) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}

fn run(model: &str, samples: &str) -> Result<(), Box<dyn Error>> {
    let mut scorer = Scorer::load(model)?;
    let batch = read(samples, scorer.inputs())?;
    let mut scored = Scored::default();
    scorer.score(&[batch], &mut scored)?;
    for row in 0..scored.rows {
        let seen = match scored.in_distribution.get(row) {
            Some(true) => ", in distribution",
            Some(false) => ", NOT in distribution",
            None => "",
        };
        let (class, probability, margin) = (scored.class[row], scored.probability[row], scored.margin[row]);
        println!("class {class} ({:.1} %), margin {margin:.2}{seen}", 100.0 * probability);
    }
    Ok(())
}

/// All samples of the file, as the model's one input.
fn read(path: &str, inputs: &[elonnx::data::InputSpec]) -> Result<Tensor, Box<dyn Error>> {
    let [input] = inputs else {
        return Err(format!("this example feeds one input, the model has {}", inputs.len()).into());
    };
    let sample: Option<Vec<usize>> = input.dims.iter().skip(1).copied().collect();
    let sample = sample.ok_or("the model does not say how large a sample is")?;
    let bytes = std::fs::read(path).map_err(|error| format!("{path}: {error}"))?;
    let (numbers, rest) = bytes.as_chunks::<4>();
    let width: usize = sample.iter().product();
    if !rest.is_empty() || width == 0 || numbers.len() % width != 0 {
        return Err(format!("{path} has {} bytes; a sample has {}", bytes.len(), 4 * width).into());
    }
    let dims = [vec![numbers.len() / width], sample].concat();
    Ok(Tensor { dims, values: Values::F32(numbers.iter().map(|&b| f32::from_le_bytes(b)).collect()) })
}
