//! A model cut for scoring gives the logits that the whole model computes, and its last layer is what it says.
//!
//! Needs a libonnxruntime (`ORT_DYLIB_PATH`, or an installed Python wheel); the exporters' models need a folder `shared`
//! beside the repository. Without, the tests say so and do nothing.
#![cfg(feature = "runtime")]

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use elonnx::model::proto::DataType;
use elonnx::model::{Dimension, Document, ExternalData, GraphIndex, ValueType, value_info};
use elonnx::rewrite::{ScoringModel, ScoringOptions, scoring_model};
use ort::session::{Session, SessionInputValue};
use ort::value::Tensor;

const ROWS: usize = 4;
/// Sizes that the file leaves open.
const ANY: usize = 32;

fn environment() -> Option<&'static ort::environment::Environment> {
    static ENVIRONMENT: OnceLock<Option<ort::environment::Environment>> = OnceLock::new();
    ENVIRONMENT
        .get_or_init(|| {
            let library = elonnx::runtime::library::find(None).ok()?;
            Some(ort::init_from(library.path).unwrap().with_telemetry(false).build().unwrap())
        })
        .as_ref()
}

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn models(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let Ok(entries) = std::fs::read_dir(folder) else { return found };
    let mut paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.sort();
    for path in paths {
        // cases of one node each; graphs whose input sizes are nowhere told
        let skipped = ["onnx_node_tests", "training_api"].iter().any(|folder| path.ends_with(folder));
        if path.is_dir() {
            found.extend(if skipped { Vec::new() } else { models(&path) });
        } else if path.extension().is_some_and(|extension| extension == "onnx") {
            found.push(path);
        }
    }
    found
}

type Feed = HashMap<String, (DataType, Vec<usize>, Vec<f32>)>;

/// Values for every input, the same every time; whole numbers are 0: they may be labels or positions.
fn feed(document: &Document) -> Feed {
    let index = GraphIndex::new(document.graph());
    let mut seed = 1_u64;
    let inputs = document.graph().inputs().iter().filter(|input| index.is_input(input.name()));
    let values = inputs.map(|input| {
        let kind = ValueType::of_value_info(input);
        let data_type = DataType::try_from(kind.data_type.unwrap_or_default()).unwrap();
        let dims = kind.dims.unwrap_or_default();
        let sizes: Vec<usize> = dims
            .iter()
            .enumerate()
            .map(|(at, dim)| match dim {
                Dimension::Known(size) => *size as usize,
                _ if at == 0 => ROWS,
                _ => ANY,
            })
            .collect();
        let count = sizes.iter().product();
        let next = |_| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 40) as f32 / (1_u64 << 22) as f32 - 2.0
        };
        (input.name().to_owned(), (data_type, sizes, (0..count).map(next).collect()))
    });
    values.collect()
}

fn value((data_type, dims, values): &(DataType, Vec<usize>, Vec<f32>)) -> Option<SessionInputValue<'static>> {
    let dims = dims.clone();
    Some(match data_type {
        DataType::Float => Tensor::from_array((dims, values.clone())).unwrap().into(),
        DataType::Double => {
            Tensor::from_array((dims, values.iter().copied().map(f64::from).collect::<Vec<_>>())).unwrap().into()
        }
        DataType::Float16 => {
            let values: Vec<_> = values.iter().copied().map(half::f16::from_f32).collect();
            Tensor::from_array((dims, values)).unwrap().into()
        }
        DataType::Int64 => Tensor::from_array((dims, vec![0i64; values.len()])).unwrap().into(),
        DataType::Int32 => Tensor::from_array((dims, vec![0i32; values.len()])).unwrap().into(),
        _ => return None,
    })
}

/// Outputs by position, floats only; the error as text.
fn run(path: &Path, document: &Document, feed: &Feed) -> Result<Vec<Vec<f64>>, String> {
    let environment = environment().unwrap();
    let mut builder = Session::builder(environment).unwrap().with_intra_threads(1).unwrap();
    let mut session = builder.commit_from_file(path).map_err(|error| error.to_string())?;
    let index = GraphIndex::new(document.graph());
    let mut inputs = Vec::new();
    for input in document.graph().inputs().iter().filter(|input| index.is_input(input.name())) {
        let given = feed.get(input.name()).ok_or("an input without values")?;
        inputs.push((Cow::from(input.name().to_owned()), value(given).ok_or("an input of another type")?));
    }
    let outputs = session.run(inputs).map_err(|error| error.to_string())?;
    let floats = |value: &ort::value::DynValue| -> Vec<f64> {
        if let Ok((_, data)) = value.try_extract_tensor::<f32>() {
            return data.iter().copied().map(f64::from).collect();
        }
        if let Ok((_, data)) = value.try_extract_tensor::<f64>() {
            return data.to_vec();
        }
        if let Ok((_, data)) = value.try_extract_tensor::<half::f16>() {
            return data.iter().map(|x| x.to_f64()).collect();
        }
        Vec::new()
    };
    Ok(outputs.values().map(|value| floats(&value.into_dyn())).collect())
}

fn differ(found: &[f64], wanted: &[f64]) -> f64 {
    if found.len() != wanted.len() || found.is_empty() {
        return f64::INFINITY;
    }
    let largest = wanted.iter().fold(1.0f64, |most, x| most.max(x.abs()));
    let worst = found.iter().zip(wanted).map(|(a, b)| if a == b { 0.0 } else { (a - b).abs() });
    worst.fold(0.0, |most: f64, x| if x.is_nan() { f64::INFINITY } else { most.max(x) }) / largest
}

/// What the whole model has at the cut; `None` where it cannot be seen or is another in training.
fn whole(document: &Document, cut: &ScoringModel, feed: &Feed, folder: &Path) -> Option<Vec<f64>> {
    let graph = document.graph();
    let made = graph.nodes().iter().any(|node| node.output.contains(&cut.value));
    if !made || !cut.changes.is_empty() {
        return None;
    }
    let mut whole = document.clone();
    let mut at = whole.graph().outputs().iter().position(|output| output.name() == cut.value);
    if at.is_none() {
        at = Some(whole.graph().outputs().len());
        whole.graph_mut().add_output(value_info(&cut.value, DataType::Float as i32, None));
    }
    let path = folder.join("whole.onnx");
    whole.save(&path, ExternalData::Copy).unwrap();
    let mut all = self::feed(document);
    for (name, (_, sizes, values)) in &mut all {
        let Some((_, free, given)) = feed.get(name) else { continue };
        // what was fixed may be free now
        if free[1..] == sizes[1..] {
            *values = given[..values.len()].to_vec();
        }
    }
    // operators that only ONNX Runtime Training has
    run(&path, &whole, &all).ok()?.into_iter().nth(at?)
}

/// How many models were cut, compared, and have a last layer.
#[derive(Debug, Default, PartialEq)]
struct Count {
    cut: usize,
    same: usize,
    heads: usize,
}

fn check(files: &[PathBuf]) -> Count {
    let mut count = Count::default();
    for file in files {
        let document = Document::open(file).unwrap();
        let options = ScoringOptions { feature: true, ..ScoringOptions::default() };
        let Ok(cut) = scoring_model(&document, &options) else { continue };
        count.cut += 1;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cut.onnx");
        cut.document.save(&path, ExternalData::Copy).unwrap();
        let feed = feed(&cut.document);
        let name = file.display();
        let outputs = run(&path, &cut.document, &feed).unwrap_or_else(|error| panic!("{name}: {error}"));
        let half = feed.values().any(|(data_type, ..)| *data_type == DataType::Float16);
        if let Some(wanted) = whole(&document, &cut, &feed, folder.path()) {
            // a file with a fixed batch gives its first samples only
            let error = differ(&outputs[0][..wanted.len()], &wanted);
            assert!(error < 1e-5, "{name}: '{}' is off by {error:e}", cut.value);
            count.same += 1;
        }
        if let Ok(head) = &cut.head {
            let classes = head.bias.len();
            let layer = outputs[1].chunks_exact(head.features).flat_map(|feature| {
                (0..classes).map(move |class| {
                    let weights = &head.weight[class * head.features..][..head.features];
                    let sum: f64 = weights.iter().zip(feature).map(|(w, h)| f64::from(*w) * h).sum();
                    sum + f64::from(head.bias[class])
                })
            });
            let error = differ(&layer.collect::<Vec<_>>(), &outputs[0]);
            assert!(error < if half { 2e-3 } else { 1e-4 }, "{name}: the last layer is off by {error:e}");
            count.heads += 1;
        }
    }
    count
}

fn skip(test: &str, needs: &str) {
    println!("SKIPPED {test}: needs {needs}");
}

#[test]
fn the_models_of_the_repository_are_cut_at_their_logits() {
    if environment().is_none() {
        return skip("the_models_of_the_repository_are_cut_at_their_logits", "a libonnxruntime");
    }
    let count = check(&models(&repository().join("onnx_models")));
    println!("{count:?}");
    assert!(count.cut >= 50 && count.same >= 13 && count.heads >= 10, "{count:?}");
}

#[test]
fn the_models_of_exporters_are_cut_at_their_logits() {
    let shared = repository().join("../shared/models");
    if environment().is_none() || !shared.is_dir() {
        return skip("the_models_of_exporters_are_cut_at_their_logits", "a libonnxruntime and ../shared/models");
    }
    let count = check(&models(&shared));
    println!("{count:?}");
    assert!(count.cut >= 80 && count.same >= 35 && count.heads >= 30, "{count:?}");
}
