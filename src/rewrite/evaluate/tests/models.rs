//! Whole models with known results.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use prost::Message;

use super::*;
use crate::model::Document;
use crate::model::proto::TensorProto;

/// Runs a whole model on `inputs`, in the order of its inputs.
fn run_model(path: &Path, inputs: Vec<Tensor>) -> Result<Vec<Tensor>, EvaluateError> {
    let document = Document::open(path).unwrap();
    let graph = document.graph();
    let mut values = HashMap::new();
    for initializer in graph.initializers() {
        values.insert(initializer.name().to_owned(), Tensor::from_proto(&initializer.tensor().unwrap()).unwrap());
    }
    values.extend(graph.inputs().iter().map(|v| v.name().to_owned()).zip(inputs));
    let nodes: Vec<&NodeProto> = graph.nodes().iter().map(|node| &**node).collect();
    let values = evaluate(&nodes, values, document.opset_version("").unwrap())?;
    Ok(graph.outputs().iter().map(|v| values[v.name()].clone()).collect())
}

/// The models beside the project; None (said aloud) where they are not.
fn shared(folder: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/models").join(folder);
    if path.is_dir() {
        return Some(path);
    }
    println!("skipped: {} is not there", path.display());
    None
}

fn files_of(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn onnx_node_tests_of_the_losses_pass() {
    let Some(folder) = shared("onnx_node_tests") else {
        return;
    };
    let mut passed = 0;
    for case in files_of(&folder).iter().filter(|f| f.join("model.onnx").exists()) {
        let read = |kind: &str| -> Vec<Tensor> {
            (0..)
                .map(|i| case.join(format!("test_data_set_0/{kind}_{i}.pb")))
                .take_while(|file| file.exists())
                .map(|file| TensorProto::decode(&std::fs::read(file).unwrap()[..]).unwrap())
                .map(|tensor| Tensor::from_proto(&tensor).unwrap())
                .collect()
        };
        let results = run_model(&case.join("model.onnx"), read("input"));
        let results = results.unwrap_or_else(|error| panic!("{}: {error}", case.display()));
        let expected = read("output");
        assert_eq!(results.len(), expected.len());
        for (result, expected) in results.iter().zip(&expected) {
            close(result, expected, 2e-6);
        }
        passed += 1;
    }
    assert_eq!(passed, 104);
}

/// Dims and values of one array of an npz file.
fn array(npz: &mut ndarray_npy::NpzReader<std::fs::File>, name: &str) -> Option<Tensor> {
    if let Ok(a) = npz.by_name::<ndarray::OwnedRepr<f32>, ndarray::IxDyn>(name) {
        return Some(floats(a.shape(), &a.iter().map(|&x| x.into()).collect::<Vec<_>>()));
    }
    let a = npz.by_name::<ndarray::OwnedRepr<i64>, ndarray::IxDyn>(name).ok()?;
    Some(ints(a.shape(), &a.iter().copied().collect::<Vec<_>>()))
}

#[test]
fn exported_losses_give_pytorchs_values() {
    let Some(folder) = shared("exports_loss") else {
        return;
    };
    let file = std::fs::File::open(folder.join("reference_torch.npz")).unwrap();
    let mut npz = ndarray_npy::NpzReader::new(file).unwrap();
    let mut passed = 0;
    for path in files_of(&folder).iter().filter(|f| f.extension().is_some_and(|e| e == "onnx")) {
        let name = path.file_name().unwrap().to_str().unwrap();
        let key = [".dynamo", ".ts.", ".torch113"].iter().find_map(|cut| name.split_once(cut)).unwrap().0;
        let Some(expected) = array(&mut npz, &format!("{key}/loss")) else {
            assert!(key.starts_with("mlp_"), "no reference for {name}");
            continue;
        };
        let inputs = ["logits", "labels"].map(|part| array(&mut npz, &format!("{key}/{part}")).unwrap());
        let results = run_model(path, inputs.to_vec()).unwrap_or_else(|error| panic!("{name}: {error}"));
        // the exported sigmoid form of BCE loses digits in float32, not the graph
        close(&results[0], &expected, if key == "bce_logits" { 2e-5 } else { 2e-6 });
        passed += 1;
    }
    assert_eq!(passed, 52);
}
