//! Whole losses as exporters write them, differentiated as they stand: focal loss, cross entropy spelled out, the
//! encouraging loss in a dozen operators. Held against central differences in f64.
//!
//! The models are those of onnx_models/, and the exports in ../shared/models where that is.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use crate::model::proto::{NodeProto, ValueInfoProto};
use crate::model::{Document, TensorValue, ValueType};
use crate::rewrite::evaluate::{Data, Kind, Tensor, Values, evaluate};
use crate::rewrite::inline;

use super::testing::{numbers, tensor};
use super::{gradient, prepare};

/// Where a size has a name only.
const SIZE: usize = 3;
const CLASSES: usize = 5;

/// The ONNX files in some folders of onnx_models, and in one of ../shared/models; those with hundreds of inputs are left
/// out, an evaluation for each is too slow.
fn files() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folders = ["cross_entropy", "decomposed", "encouraging", "other_losses"];
    let mut folders: Vec<PathBuf> = folders.iter().map(|name| root.join("onnx_models").join(name)).collect();
    folders.push(root.join("../shared/models/exports_loss"));
    let inside = folders.iter().filter_map(|folder| std::fs::read_dir(folder).ok()).flatten();
    let mut found: Vec<PathBuf> = inside.map(|entry| entry.unwrap().path()).collect();
    let wide = |path: &Path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("mlp_"));
    found.retain(|path| path.extension().is_some_and(|extension| extension == "onnx") && !wide(path));
    found.sort();
    found
}

/// Values for an input: logits on both sides of 0, distributions, class indices.
fn value_of(input: &ValueInfoProto, is_logits: bool, seed: u64) -> Tensor {
    let found = ValueType::of_value_info(input);
    let dims = found.dims.unwrap_or_default();
    let dims: Vec<usize> = dims.iter().map(|dim| dim.known().map_or(SIZE, |size| size as usize)).collect();
    let count = dims.iter().product();
    let kind = Kind::of(found.data_type.unwrap()).unwrap();
    match kind {
        Kind::Float if is_logits => tensor(&dims, numbers(count, seed)),
        Kind::Float => {
            let data: Vec<f64> = numbers(count, seed).iter().map(|x| 0.1 + x.abs() / 10.0).collect();
            tensor(&dims, data)
        }
        _ => {
            let mut random = fastrand::Rng::with_seed(seed);
            Tensor { dims, data: Data::Int((0..count).map(|_| random.i64(0..CLASSES as i64)).collect()) }
        }
    }
}

/// Inputs and initializers.
fn values(document: &Document) -> (String, Values) {
    let graph = document.graph();
    let mut values: Values = HashMap::new();
    for initializer in graph.initializers() {
        let value = TensorValue::decode(&initializer.tensor().unwrap()).unwrap();
        values.insert(initializer.name().to_owned(), Tensor::from_constant(&value).unwrap());
    }
    let inputs: Vec<&ValueInfoProto> =
        graph.inputs().iter().filter(|input| !values.contains_key(input.name())).collect();
    let logits = inputs[0].name().to_owned();
    for (at, input) in inputs.into_iter().enumerate() {
        values.insert(input.name().to_owned(), value_of(input, at == 0, at as u64));
    }
    (logits, values)
}

fn run(name: &str, document: &Document, values: &Values) -> Values {
    let nodes: Vec<&NodeProto> = document.graph().nodes().iter().map(|node| &**node).collect();
    let opset = document.opset_version("").unwrap();
    evaluate(&nodes, values.clone(), opset).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn floats(tensor: &Tensor) -> &[f64] {
    match &tensor.data {
        Data::Float(data) => data,
        other => panic!("floats, not {other:?}"),
    }
}

/// Central differences of the sum of a loss by each logit.
fn differences(document: &Document, loss: &str, logits: &str, values: &Values) -> Vec<f64> {
    let step = 1e-5;
    let at = |index: usize, delta: f64| -> f64 {
        let mut moved = values.clone();
        let Data::Float(data) = &mut moved.get_mut(logits).unwrap().data else { panic!("logits are floats") };
        data[index] += delta;
        floats(&run(logits, document, &moved)[loss]).iter().sum()
    };
    (0..values[logits].len()).map(|index| (at(index, step) - at(index, -step)) / (2.0 * step)).collect()
}

#[test]
fn losses_of_exporters_have_the_gradients_of_finite_differences() {
    let files = files();
    assert!(files.len() > 30, "{files:?}");
    for file in files {
        let name = file.display().to_string();
        let document = Document::open(&file).unwrap();
        let outputs = document.graph().outputs();
        let loss = outputs.iter().find(|output| output.name() == "loss").unwrap_or(&outputs[0]).name().to_owned();
        let (logits, _) = values(&document);
        let found = gradient(&document, &loss, &[&logits]).unwrap_or_else(|error| panic!("{name}: {error}"));
        let (plain, differentiated) =
            (prepare(&document).unwrap(), prepare(&inline(&found.document).unwrap().document).unwrap());
        // preparation may add initializers
        let ((_, before), (_, with_gradient)) = (values(&plain), values(&differentiated));
        let results = run(&name, &differentiated, &with_gradient);
        let wanted = differences(&plain, &loss, &logits, &before);
        let got = floats(&results[&found.outputs[0]]);
        assert_eq!(got.len(), wanted.len(), "{name}");
        let largest = wanted.iter().fold(0.0f64, |largest, x| largest.max(x.abs()));
        assert!(largest > 1e-3, "{name}: nothing to see");
        for (index, (got, want)) in got.iter().zip(&wanted).enumerate() {
            assert!((got - want).abs() <= 1e-6 * largest.max(1.0), "{name}: logit {index}: {got}, should be {want}");
        }
    }
}
