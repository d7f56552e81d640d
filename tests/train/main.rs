//! Training through the library, with a real ONNX Runtime.
//!
//! Needs a libonnxruntime: `ORT_DYLIB_PATH`, or one that `tools/python_envs` installed. Without, the tests say so and do
//! nothing.

mod killed;
#[path = "../libraries/mod.rs"]
mod libraries;
mod precision;
mod stories;

use std::path::{Path, PathBuf};

use elonnx::data::{Options, Samples};
use elonnx::model::Document;
use elonnx::train::{LearningRate, Plan, TrainError, Trainer, TrainerOptions};
use libraries::library;

/// Features and classes of the small network.
const FEATURES: usize = 16;
const CLASSES: usize = 10;

/// A 16-8-10 MLP.
fn network() -> Document {
    Document::open(Path::new(env!("CARGO_MANIFEST_DIR")).join("onnx_models/cross_entropy/network.onnx")).unwrap()
}

/// Points around a centre for each class, as a CSV file.
fn clusters(folder: &Path, name: &str, features: usize, rows: usize, seed: u64) -> PathBuf {
    let mut centres = fastrand::Rng::with_seed(1);
    let centres: Vec<f64> = (0..CLASSES * features).map(|_| centres.f64() * 4.0 - 2.0).collect();
    let mut random = fastrand::Rng::with_seed(seed);
    let mut text = String::from("label");
    text.extend((0..features).map(|feature| format!(",x{feature}")));
    for row in 0..rows {
        let class = row % CLASSES;
        text += &format!("\n{class}");
        let centre = &centres[class * features..(class + 1) * features];
        text.extend(centre.iter().map(|centre| format!(",{}", centre + random.f64() - 0.5)));
    }
    let path = folder.join(name);
    std::fs::write(&path, text + "\n").unwrap();
    path
}

/// What the stories begin with.
fn options(library: PathBuf) -> TrainerOptions {
    TrainerOptions {
        epochs: 4,
        batch: 32,
        seed: 11,
        learning_rate: LearningRate::constant(0.01),
        onnxruntime: Some(library),
        ..TrainerOptions::default()
    }
}

/// The small network on the clusters, 300 to train on and 100 to validate with.
fn trainer(folder: &Path, options: TrainerOptions) -> Result<Trainer, TrainError> {
    let plan = Plan::new(&network(), options)?;
    let open = |name: &str, rows, seed| {
        let path = clusters(folder, name, FEATURES, rows, seed);
        Samples::open(&Options { paths: vec![path], ..Options::default() }, plan.inputs()).unwrap()
    };
    let (training, validation) = (open("train.csv", 300, 2), open("val.csv", 100, 3));
    plan.start(training, Some(validation))
}
