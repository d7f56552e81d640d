//! Training through the library, with a real ONNX Runtime.
//!
//! Needs a libonnxruntime: `ORT_DYLIB_PATH`, or one that `tools/python_envs` installed. Without, the tests say so and do
//! nothing.

mod killed;
mod stories;

use std::path::{Path, PathBuf};

use elonnx::data::{Options, Samples};
use elonnx::model::Document;
use elonnx::runtime::library::library_in;
use elonnx::train::{LearningRate, Plan, TrainError, Trainer, TrainerOptions};

/// Features and classes of the small network.
const FEATURES: usize = 16;
const CLASSES: usize = 10;

/// The newest library there is.
fn library(test: &str) -> Option<PathBuf> {
    let folders = |path: &Path| -> Vec<PathBuf> {
        std::fs::read_dir(path).map(|d| d.filter_map(|e| Some(e.ok()?.path())).collect()).unwrap_or_default()
    };
    let mut environments = folders(&Path::new(env!("CARGO_MANIFEST_DIR")).join("target/envs"));
    environments.sort();
    let installed = environments.iter().flat_map(|environment| folders(&environment.join("lib")));
    let mut found: Vec<PathBuf> =
        installed.filter_map(|python| library_in(&python.join("site-packages/onnxruntime/capi"))).collect();
    found.extend(std::env::var_os("ORT_DYLIB_PATH").filter(|path| !path.is_empty()).map(PathBuf::from));
    if found.is_empty() {
        println!("SKIPPED {test}: needs a libonnxruntime; set ORT_DYLIB_PATH or run tools/python_envs");
    }
    found.pop()
}

/// A 16-8-10 MLP.
fn network() -> Document {
    Document::open(Path::new(env!("CARGO_MANIFEST_DIR")).join("onnx_models/cross_entropy/network.onnx")).unwrap()
}

/// Points around a centre for each class, as a CSV file.
fn clusters(folder: &Path, name: &str, rows: usize, seed: u64) -> PathBuf {
    let mut centres = fastrand::Rng::with_seed(1);
    let centres: Vec<f64> = (0..CLASSES * FEATURES).map(|_| centres.f64() * 4.0 - 2.0).collect();
    let mut random = fastrand::Rng::with_seed(seed);
    let mut text = String::from("label");
    text.extend((0..FEATURES).map(|feature| format!(",x{feature}")));
    for row in 0..rows {
        let class = row % CLASSES;
        text += &format!("\n{class}");
        let centre = &centres[class * FEATURES..(class + 1) * FEATURES];
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
        let path = clusters(folder, name, rows, seed);
        Samples::open(&Options { paths: vec![path], ..Options::default() }, plan.inputs()).unwrap()
    };
    let (training, validation) = (open("train.csv", 300, 2), open("val.csv", 100, 3));
    plan.start(training, Some(validation))
}
