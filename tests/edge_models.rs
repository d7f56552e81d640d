//! A device that has tract gives what a server that has ONNX Runtime gives.
//!
//! Needs a libonnxruntime (`ORT_DYLIB_PATH`, or an installed Python wheel) and, for the real models, a folder `shared`
//! beside the repository. Without, the tests say so and do nothing.
#![cfg(all(feature = "edge", feature = "runtime"))]

use std::path::{Path, PathBuf};

use elonnx::data::{InputSpec, Tensor, Values};
use elonnx::edge::{EngineKind, Evidence, Scorer, ScorerOptions};
use elonnx::model::{DataType, Document};

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn shared() -> PathBuf {
    repository().join("../shared/models")
}

/// Samples that are the same every time. Whole numbers are small: they may be tokens.
fn samples(specs: &[InputSpec], rows: usize) -> Vec<Tensor> {
    let mut seed = 1_u64;
    let mut next = move || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 40) as f32 / (1_u64 << 24) as f32
    };
    let mut tensor = |spec: &InputSpec| {
        let size = |(i, dim): (usize, &Option<usize>)| if i == 0 { rows } else { dim.unwrap_or(32) };
        let dims: Vec<usize> = spec.dims.iter().enumerate().map(size).collect();
        let count = dims.iter().product();
        let values: Vec<f32> = (0..count).map(|_| next()).collect();
        let values = match spec.data_type {
            DataType::Float => Values::F32(values),
            DataType::Double => Values::F64(values.into_iter().map(f64::from).collect()),
            DataType::Int32 => Values::I32(values.into_iter().map(|x| (x * 9.0) as i32).collect()),
            DataType::Int64 => Values::I64(values.into_iter().map(|x| (x * 9.0) as i64).collect()),
            other => panic!("no samples of {other:?}"),
        };
        Tensor { dims, values }
    };
    specs.iter().map(&mut tensor).collect()
}

/// What came of a model with both engines.
fn outcome(path: &Path, options: &ScorerOptions) -> String {
    let document = match Document::open(path) {
        Ok(document) => document,
        Err(error) => return format!("unreadable: {error}"),
    };
    let with = |engine| Scorer::new(&document, &ScorerOptions { engine, ..options.clone() });
    let mut tract = match with(EngineKind::Tract) {
        Ok(scorer) => scorer,
        Err(error) => return format!("tract: {error}"),
    };
    let mut ort = match with(EngineKind::OnnxRuntime) {
        Ok(scorer) => scorer,
        Err(error) => return format!("ort: {error}"),
    };
    for rows in [3, 1] {
        let inputs = samples(tract.inputs(), rows);
        let (mut ours, mut theirs) = (Evidence::default(), Evidence::default());
        if let Err(error) = tract.evidence(&inputs, &mut ours) {
            return format!("tract, {rows} samples: {error}");
        }
        if let Err(error) = ort.evidence(&inputs, &mut theirs) {
            return format!("ort, {rows} samples: {error}");
        }
        if (ours.rows, ours.classes) != (rows, theirs.classes) {
            return format!("{} x {} against {} x {}", ours.rows, ours.classes, theirs.rows, theirs.classes);
        }
        for (what, ours, theirs) in
            [("logits", &ours.logits, &theirs.logits), ("features", &ours.features, &theirs.features)]
        {
            let scale = theirs.iter().fold(1e-3_f32, |m, z| m.max(z.abs()));
            let worst = ours.iter().zip(theirs).fold(0.0_f32, |m, (a, b)| m.max((a - b).abs())) / scale;
            if ours.len() != theirs.len() || worst.is_nan() || worst > 1e-4 {
                return format!("{what} differ by {worst:e} of the largest, {scale}");
            }
        }
    }
    format!("same, {} classes, batch {}", tract.classes(), if tract.model().free_batch { "free" } else { "fixed" })
}

#[test]
#[ignore = "prints"]
fn look() {
    let mut files = Vec::new();
    let mut folders = vec![shared(), repository().join("onnx_models")];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        for path in entries.map(|e| e.unwrap().path()) {
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "onnx") {
                files.push(path);
            }
        }
    }
    files.sort();
    let options = ScorerOptions { feature: true, ..ScorerOptions::default() };
    for file in files {
        println!("{}\t{}", file.display(), outcome(&file, &options));
    }
}
