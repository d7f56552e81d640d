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
            DataType::Float16 => Values::F16(values.into_iter().map(half::f16::from_f32).collect()),
            DataType::Double => Values::F64(values.into_iter().map(f64::from).collect()),
            DataType::Int32 => Values::I32(values.into_iter().map(|x| (x * 9.0) as i32).collect()),
            DataType::Int64 => Values::I64(values.into_iter().map(|x| (x * 9.0) as i64).collect()),
            other => panic!("no samples of {other:?}"),
        };
        Tensor { dims, values }
    };
    specs.iter().map(&mut tensor).collect()
}

/// What came of a model with both engines: "same", or why not.
fn outcome(path: &Path, options: &ScorerOptions) -> String {
    let document = match Document::open(path) {
        Ok(document) => document,
        Err(error) => return format!("unreadable: {error}"),
    };
    let with = |engine| Scorer::new(&document, &ScorerOptions { engine, ..options.clone() });
    let mut tract = match with(EngineKind::Tract) {
        Ok(scorer) => scorer,
        Err(error) => return error.to_string(),
    };
    let mut ort = match with(EngineKind::OnnxRuntime) {
        Ok(scorer) => scorer,
        Err(error) => return format!("ort: {error}"),
    };
    for rows in [3, 1] {
        let inputs = samples(tract.inputs(), rows);
        let (mut ours, mut theirs) = (Evidence::default(), Evidence::default());
        if let Err(error) = tract.evidence(&inputs, &mut ours) {
            return error.to_string();
        }
        if let Err(error) = ort.evidence(&inputs, &mut theirs) {
            return format!("ort: {error}");
        }
        if (ours.rows, ours.classes) != (rows, theirs.classes) {
            return format!("{} x {} against {} x {}", ours.rows, ours.classes, theirs.rows, theirs.classes);
        }
        for (what, ours, theirs) in
            [("logits", &ours.logits, &theirs.logits), ("features", &ours.features, &theirs.features)]
        {
            let largest = theirs.iter().fold(f32::MIN_POSITIVE, |m, z| m.max(z.abs()));
            let worst = ours.iter().zip(theirs).fold(0.0_f32, |m, (a, b)| m.max((a - b).abs())) / largest;
            if ours.len() != theirs.len() || worst.is_nan() || worst > 1e-4 {
                return format!("{what} differ by {worst:e} of the largest, {largest}");
            }
        }
    }
    "same".to_owned()
}

/// Whether there is an ONNX Runtime to compare with.
fn onnxruntime(test: &str) -> bool {
    match elonnx::runtime::library::find(None) {
        Ok(_) => true,
        Err(error) => {
            println!("SKIPPED {test}: {error}");
            false
        }
    }
}

/// Holds every file of `expected` against what comes of it: "same", or a part of the sentence.
fn check(folder: &Path, expected: &[(&str, &str)], options: &ScorerOptions) {
    let mut wrong = Vec::new();
    for (file, expected) in expected {
        let found = outcome(&folder.join(file), options);
        if found != *expected && (*expected == "same" || !found.contains(expected)) {
            wrong.push(format!("{file}: {found}\n    expected: {expected}"));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

const WEIGHTS_ARE_INPUTS: &str = "is an input of the model, as in the graphs of ORT Training";

#[test]
fn the_small_models() {
    if !onnxruntime("the_small_models") {
        return;
    }
    let expected = [
        ("heads/argmax_and_softmax.onnx", "same"),
        ("heads/decomposed_softmax.onnx", "same"),
        ("heads/identity_of_softmax.onnx", "same"),
        ("heads/log_softmax.onnx", "same"),
        ("heads/logits.onnx", "same"),
        ("heads/regression.onnx", "found no logits"),
        ("heads/softmax.onnx", "same"),
        ("heads/softmax_of_cast.onnx", "same"),
        ("heads/temperature_softmax.onnx", "same"),
        ("heads/two_heads.onnx", "--logits"),
        ("external_data/model.onnx", "same"),
        ("cross_entropy/network.onnx", "same"),
        ("cross_entropy/double.onnx", "same"),
        ("cross_entropy/float16.onnx", "same"),
        ("cross_entropy/bsc_flat.onnx", "a first axis that counts the samples was expected"),
        ("cross_entropy/bsc_transpose.onnx", "one choice per position"),
        ("artifacts/mlp/eval_model.onnx", WEIGHTS_ARE_INPUTS),
    ];
    check(&repository().join("onnx_models"), &expected, &ScorerOptions { feature: true, ..ScorerOptions::default() });
}

#[test]
fn the_real_models() {
    let folder = shared();
    if !folder.is_dir() {
        println!("SKIPPED the_real_models: no {}", folder.display());
        return;
    }
    if !onnxruntime("the_real_models") {
        return;
    }
    let expected = [
        ("efficientnet_lite0.ts.op17.onnx", "same"),
        ("magika_filetype_214.onnx", "same"),
        ("mnist_cntk_opset8.onnx", "same"),
        ("mnist_pytorch_logsoftmax_opset9.onnx", "same"),
        ("ppocr_angle_cls.onnx", "same"),
        ("exports_models/lenet.dynamo.op18.onnx", "same"),
        ("exports_models/lenet.ts.op17.onnx", "same"),
        ("exports_models/lenet.ts.train.op17.onnx", "same"),
        ("exports_models/mlp784.dynamo.op18.onnx", "same"),
        ("exports_models/mlp784.ts.op17.onnx", "same"),
        ("exports_models/mlp784.ts.train.op17.onnx", "same"),
        ("exports_models/mlp784_default/model.onnx", "same"),
        ("exports_models/mlp784_head_log_softmax.ts.op17.onnx", "same"),
        ("exports_models/mlp784_head_softmax.ts.op17.onnx", "same"),
        ("exports_models/mlp784_head_temperature.ts.op17.onnx", "same"),
        ("exports_models/mobilenet_v3_small.ts.op17.onnx", "same"),
        ("exports_models/mobilenet_v3_small.ts.train.op17.onnx", "same"),
        ("exports_models/tiny_transformer.dynamo.op18.onnx", "same"),
        ("exports_models/tiny_transformer.ts.op17.onnx", "same"),
        ("exports_models/tiny_transformer.ts.train.op17.onnx", "same"),
        ("exports_other/jax_ce_onehot.onnx", "same"),
        ("exports_other/skl_digits_logreg_tensor.onnx", "LinearClassifier"),
        ("exports_other/sklraw_digits_mlp_tensor.onnx", "same"),
        ("exports_other/tf_softmax_ce.onnx", "found no logits"),
        ("ort_training/ref_cnn/base_model.onnx", "same"),
        ("ort_training/ref_cnn/enc/inference.onnx", "same"),
        ("ort_training/ref_mlp/base_model.onnx", "same"),
        ("ort_training/ref_mlp/enc/inference.onnx", "same"),
        ("ort_training/ref_tfm/base_model.onnx", "same"),
        ("ort_training/ref_tfm/enc/inference.onnx", "same"),
        ("ort_training/ref_cnn/eval_model.onnx", WEIGHTS_ARE_INPUTS),
        ("ort_training/ref_cnn/training_model.onnx", WEIGHTS_ARE_INPUTS),
    ];
    check(&folder, &expected, &ScorerOptions { feature: true, ..ScorerOptions::default() });
    let probabilities = ScorerOptions { probabilities: true, ..ScorerOptions::default() };
    check(&folder, &[("exports_other/skl_digits_logreg_tensor.onnx", "same")], &probabilities);
}
