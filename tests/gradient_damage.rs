//! Damaged and hostile models: their gradients and training steps are errors or graphs, never panics.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use elonnx::model::proto::{NodeProto, TensorProto};
use elonnx::model::{Document, NodeId};
use elonnx::rewrite::gradient;
use elonnx::rewrite::train_step::{TrainStepOptions, eval_step, train_step};
use fastrand::Rng;

/// All small models of the repository, and those beside it where there are any.
fn models() -> Vec<PathBuf> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for path in std::fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "onnx")
                && path.metadata().unwrap().len() < 60_000
            {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for folder in ["onnx_models", "../shared/models/exports_models"] {
        walk(&root.join(folder), &mut found);
    }
    found.sort();
    found
}

/// All that reverse mode is asked for: how many of the two went well.
fn differentiate(document: &Document) -> usize {
    let graph = document.graph();
    let floats = graph.initializers().iter().filter(|tensor| tensor.data_type() == 1);
    let parameters: Vec<&str> = floats.map(|tensor| tensor.name()).take(4).collect();
    let mut well = 0;
    for output in graph.outputs() {
        match gradient(document, output.name(), &parameters) {
            Ok(_) => well += 1,
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
    match train_step(document, &TrainStepOptions::default()) {
        Ok(step) => {
            well += 1;
            let _ = eval_step(document, &step);
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    well
}

/// What was tried, and what panicked.
#[derive(Default)]
struct Tried {
    well: usize,
    panicked: Vec<String>,
}

impl Tried {
    /// `how` says how to come here again.
    fn model(&mut self, document: &Document, how: &str) {
        match catch_unwind(AssertUnwindSafe(|| differentiate(document))) {
            Ok(well) => self.well += well,
            Err(_) => self.panicked.push(how.to_owned()),
        }
    }

    #[track_caller]
    fn nothing_panicked(&self) {
        assert!(self.panicked.is_empty(), "{} panics came through:\n{}", self.panicked.len(), self.panicked.join("\n"));
    }
}

/// The same damage each time, or another with `ELONNX_TEST_SEED`: `tools/test slow` tries much of it.
fn seed() -> u64 {
    std::env::var("ELONNX_TEST_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(0)
}

/// More of them with `ELONNX_TEST_ROUNDS`.
fn rounds() -> usize {
    std::env::var("ELONNX_TEST_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(3)
}

#[test]
fn bytes_that_changed() {
    let seed = seed();
    let mut random = Rng::with_seed(seed);
    let mut tried = Tried::default();
    for path in models() {
        let bytes = std::fs::read(&path).unwrap();
        tried.model(&Document::open(&path).unwrap(), &path.display().to_string());
        for round in 0..rounds() {
            let mut damaged = bytes.clone();
            for _ in 0..=random.usize(..3) {
                let at = random.usize(..damaged.len());
                damaged[at] ^= 1 << random.u8(..8);
            }
            if let Ok(document) = Document::from_bytes(damaged) {
                tried.model(&document, &format!("{}, ELONNX_TEST_SEED={seed}, round {round}", path.display()));
            }
        }
    }
    tried.nothing_panicked();
    assert!(tried.well >= 20, "{}", tried.well);
}

/// Files that are whole and make no sense: what a byte that changed seldom gives.
#[test]
fn graphs_that_make_no_sense() {
    let seed = seed();
    let mut random = Rng::with_seed(seed);
    let documents: Vec<(PathBuf, Document)> =
        models().into_iter().map(|path| (path.clone(), Document::open(&path).unwrap())).collect();
    let operators: BTreeSet<String> = documents.iter().flat_map(|(_, document)| operators(document)).collect();
    let operators: Vec<String> = operators.into_iter().collect();
    let mut tried = Tried::default();
    for (path, document) in &documents {
        for round in 0..4 * rounds() {
            let mut strange = document.clone();
            for _ in 0..=random.usize(..2) {
                change(&mut strange, &operators, &mut random);
            }
            tried.model(&strange, &format!("{}, ELONNX_TEST_SEED={seed}, round {round}", path.display()));
        }
    }
    tried.nothing_panicked();
    assert!(tried.well >= 20, "{}", tried.well);
}

fn operators(document: &Document) -> Vec<String> {
    document.graph().nodes().iter().map(|node| node.op_type().to_owned()).collect()
}

/// Changes something that parsers do not look at.
fn change(document: &mut Document, operators: &[String], random: &mut Rng) {
    let nodes = document.graph().nodes().len();
    if nodes == 0 {
        return;
    }
    match random.u8(..8) {
        0 => document.set_opset_version("", random.i64(-1..30)),
        1 => change_tensor(document, random),
        _ => {
            let at = random.usize(..nodes);
            let mut node = NodeProto::clone(&document.graph().nodes()[at]);
            change_node(&mut node, operators, random);
            document.graph_mut().replace_node(NodeId(at), node);
        }
    }
}

fn change_node(node: &mut NodeProto, operators: &[String], random: &mut Rng) {
    match random.u8(..6) {
        0 => node.op_type = random.choice(operators).cloned(),
        1 => {
            // left out, gone, twice, or its own output
            let own = node.output.first().cloned().unwrap_or_default();
            let other = random.choice(&node.input).cloned().unwrap_or_default();
            if let Some(at) = (!node.input.is_empty()).then(|| random.usize(..node.input.len())) {
                match random.u8(..4) {
                    0 => node.input[at].clear(),
                    1 => drop(node.input.remove(at)),
                    2 => node.input[at] = other,
                    _ => node.input[at] = own,
                }
            }
        }
        2 => node.output.push("one_too_many".to_owned()),
        3 => node.output.clear(),
        _ => {
            let Some(at) = (!node.attribute.is_empty()).then(|| random.usize(..node.attribute.len())) else { return };
            let attribute = &mut node.attribute[at];
            match random.u8(..5) {
                0 => drop(node.attribute.remove(at)),
                1 => attribute.ints.truncate(1),
                2 => attribute.ints.push(number(random)),
                3 => attribute.ints.iter_mut().for_each(|i| *i = number(random)),
                _ => {
                    attribute.i = attribute.i.map(|_| number(random));
                    attribute.f = attribute.f.map(|_| f32::NAN);
                    attribute.s = attribute.s.as_ref().map(|_| "strange".into());
                }
            }
        }
    }
}

fn change_tensor(document: &mut Document, random: &mut Rng) {
    let tensors = document.graph().initializers();
    let Some(tensor) = random.choice(tensors) else { return };
    let mut tensor: TensorProto = tensor.tensor().unwrap();
    match random.u8(..4) {
        0 => tensor.dims = vec![number(random)],
        1 => tensor.dims.push(number(random)),
        2 => tensor.data_type = Some(random.i32(..20)),
        _ => tensor.raw_data = Some(vec![0xff; random.usize(..9)].into()),
    }
    let name = tensor.name().to_owned();
    document.graph_mut().remove_initializer(&name);
    document.graph_mut().add_initializer(tensor);
}

/// Numbers that sizes, axes and strides should not be.
fn number(random: &mut Rng) -> i64 {
    *random.choice(&[0, 1, -1, 2, 3, -3, 7, 1 << 31, i64::MAX, i64::MIN, i64::MAX / 2]).unwrap_or(&0)
}
