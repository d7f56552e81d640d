//! Function bodies: their form is checked here; their numbers by `tests/python/test_function_bodies.py`, which runs the
//! models that the first test writes to `<target>/function_models` in stock ONNX Runtime and in onnx's reference
//! evaluator.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use elonnx::loss::{Bonus, Reduction};
use elonnx::model::proto::{FunctionProto, NodeProto, ValueInfoProto};
use elonnx::model::{DataType, Dimension, Document, NodeId, node, value_info};
use elonnx::rewrite::{
    BODY_DOMAIN, DOMAIN, GRAD_OP, LOSS_AND_GRAD_OP, LOSS_OP, Signature, attach, function_for, inline, operator,
};
use onnx_protobuf as pb;
use protobuf::{Message as _, MessageField};
use serde_json::{Value, json};

const OPSETS: [i64; 9] = [12, 13, 14, 15, 17, 18, 21, 24, 26];
const OPS: [&str; 3] = [LOSS_OP, GRAD_OP, LOSS_AND_GRAD_OP];
const TYPES: [DataType; 4] = [DataType::Float, DataType::Double, DataType::Float16, DataType::Bfloat16];
const BONUSES: [Bonus; 3] = [Bonus::Log, Bonus::Power, Bonus::Cosine];
const REDUCTIONS: [Reduction; 3] = [Reduction::Mean, Reduction::Sum, Reduction::None];

/// A model of one node with everything Python needs to know of it.
struct Case {
    signature: Signature,
    opset: i64,
    rank: usize,
    log_end: f32,
    power: f32,
    bonus_weight: f32,
    label_smoothing: f32,
    ignore_index: i64,
}

#[test]
fn models_for_every_signature() {
    let folder = models_folder();
    std::fs::create_dir_all(&folder).expect("models folder");
    let mut manifest = Vec::new();
    for (number, case) in cases().iter().enumerate() {
        let plain = case.document();
        let mut attached = plain.clone();
        let report = attach(&mut attached).expect("attaches");
        assert_eq!(report.functions, [format!("{DOMAIN}::{}", case.signature.op)]);
        check_form(attached.functions()[0].proto(), case);
        assert_eq!(parse(&attached).functions.len(), 1);
        let file = format!("{number:04}.onnx");
        std::fs::write(folder.join(&file), attached.to_bytes()).expect("model file");
        // with and without a body in the file, inlining gives the same
        let inlined = inline(&attached).expect("inlines").document;
        let generated = inline(&plain).expect("inlines").document;
        assert_eq!(nodes_of(&inlined), nodes_of(&generated));
        check_inlined(&inlined, case);
        let inlined_file = format!("{number:04}-inlined.onnx");
        std::fs::write(folder.join(&inlined_file), inlined.to_bytes()).expect("model file");
        manifest.push(case.manifest_entry(&file, &inlined_file));
    }
    assert!(manifest.len() > 500, "only {} models", manifest.len());
    std::fs::write(folder.join("manifest.json"), serde_json::to_vec_pretty(&manifest).expect("json"))
        .expect("manifest");
}

fn nodes_of(document: &Document) -> Vec<NodeProto> {
    document.graph().nodes().iter().map(|node| NodeProto::clone(node)).collect()
}

fn check_inlined(document: &Document, case: &Case) {
    let what = format!("{:?} at opset {}", case.signature, case.opset);
    let model = parse(document);
    assert!(model.functions.is_empty() && model.opset_import.len() == 1, "{what}");
    let mut known: HashSet<String> = document.graph().inputs().iter().map(|i| i.name().to_owned()).collect();
    for node in document.graph().nodes() {
        assert_eq!(node.op_domain(), "", "{what}");
        assert!(node.attribute.iter().all(|a| a.ref_attr_name.is_none()), "{what}");
        for input in &node.input {
            assert!(known.contains(input), "{what}: {} reads {input} before it is made", node.describe());
        }
        for output in &node.output {
            assert!(known.insert(output.clone()), "{what}: {output} is made twice");
        }
    }
    assert!(document.graph().outputs().iter().all(|o| known.contains(o.name())), "{what}");
}

#[test]
fn attaching_twice_changes_nothing_the_second_time() {
    let mut document = two_losses(Reduction::Mean, Reduction::Sum);
    let first = attach(&mut document).expect("attaches");
    let bytes = document.to_bytes();
    let second = attach(&mut document).expect("attaches");
    assert_eq!(document.to_bytes(), bytes);
    assert!(second.changes.is_empty(), "{:?}", second.changes);
    assert_eq!(first.functions, second.functions);
    assert_eq!(document.ir_version(), 8);
    assert_eq!((document.opset_version(DOMAIN), document.opset_version(BODY_DOMAIN)), (Some(1), Some(1)));
}

#[test]
fn two_losses_that_differ_in_more_than_numbers_get_two_bodies() {
    let mut document = two_losses(Reduction::Mean, Reduction::Sum);
    let report = attach(&mut document).expect("attaches");
    assert_eq!(report.functions, ["ai.elonnx::EncouragingLoss", "ai.elonnx.body::EncouragingLoss_2"]);
    assert_eq!(report.warnings.len(), 1);
    assert!(document.graph().nodes()[1].is(BODY_DOMAIN, "EncouragingLoss_2"));
    assert!(document.graph().nodes().iter().all(|n| operator(n) == Some(LOSS_OP)));
    std::fs::create_dir_all(models_folder()).expect("models folder");
    std::fs::write(models_folder().join("two_losses.onnx"), document.to_bytes()).expect("model file");

    let mut document = two_losses(Reduction::Mean, Reduction::Mean);
    let report = attach(&mut document).expect("attaches");
    assert_eq!(report.functions, ["ai.elonnx::EncouragingLoss"], "one body serves both");
}

#[test]
fn bodies_without_a_caller_are_removed() {
    let mut document = two_losses(Reduction::Mean, Reduction::Sum);
    attach(&mut document).expect("attaches");
    document.graph_mut().remove_nodes(&[NodeId(1)]);
    attach(&mut document).expect("attaches");
    assert_eq!(document.functions().len(), 1);
    assert_eq!(document.opset_version(BODY_DOMAIN), None);
    document.graph_mut().remove_nodes(&[NodeId(0)]);
    let report = attach(&mut document).expect("attaches");
    assert!(report.functions.is_empty() && document.functions().is_empty());
    assert_eq!(document.opset_version(DOMAIN), None);
}

#[test]
fn attributes_that_a_node_leaves_out_are_written() {
    let mut document = empty_document(17);
    let graph = document.graph_mut();
    graph.add_input(symbolic("z", DataType::Float as i32, 2));
    graph.add_input(symbolic("y", DataType::Int64 as i32, 1));
    graph.insert_node(0, node(LOSS_OP).domain(DOMAIN).inputs(["z", "y"]).outputs(["l"]).build());
    attach(&mut document).expect("attaches");
    let node = &document.graph().nodes()[0];
    assert_eq!(node.attr_float("log_end"), Some(0.75));
    assert_eq!(node.attr_str("reduction"), Some("mean"));
    assert!(node.attr("ignore_index").is_none());
}

#[test]
fn what_cannot_have_a_body_is_said_by_name() {
    let refused = |opset: i64, data_type: DataType| {
        let mut document = empty_document(opset);
        let graph = document.graph_mut();
        graph.add_input(symbolic("z", data_type as i32, 2));
        graph.add_input(symbolic("y", DataType::Int64 as i32, 1));
        graph.insert_node(0, node(LOSS_OP).domain(DOMAIN).name("el").inputs(["z", "y"]).outputs(["l"]).build());
        let before = document.to_bytes();
        let error = attach(&mut document).expect_err("refused").to_string();
        assert_eq!(document.to_bytes(), before, "an error leaves the document as it was");
        assert_eq!(inline(&document).expect_err("refused").to_string(), error);
        error
    };
    assert!(refused(11, DataType::Float).contains("'el'"));
    assert!(refused(11, DataType::Float).contains("needs version 12"));
    assert!(refused(12, DataType::Bfloat16).contains("needs version 13"));
    assert!(refused(17, DataType::Int32).contains("float16, bfloat16, float or double"));
}

#[test]
fn inlined_names_keep_clear_of_those_in_the_graph() {
    let mut document = two_losses(Reduction::Mean, Reduction::Mean);
    document.graph_mut().insert_node(0, node("Identity").inputs(["z"]).outputs(["first/m"]).build());
    let inlined = inline(&document).expect("inlines");
    assert_eq!(inlined.report.swapped(), 2);
    let mut made = HashSet::new();
    for node in inlined.document.graph().nodes() {
        assert!(made.insert(node.output[0].clone()), "{} is made twice", node.output[0]);
    }
    for output in ["first/m", "first_1/m", "second/m", "first_loss", "second_loss"] {
        assert!(made.contains(output), "{output}");
    }
}

/// Two losses on the same logits, the second with another log_end and reduction.
fn two_losses(first: Reduction, second: Reduction) -> Document {
    let mut document = empty_document(17);
    let graph = document.graph_mut();
    graph.add_input(symbolic("z", DataType::Float as i32, 2));
    graph.add_input(symbolic("y", DataType::Int64 as i32, 1));
    for (name, reduction, log_end) in [("first", first, 0.75), ("second", second, 0.5)] {
        let loss = format!("{name}_loss");
        graph.insert_node(
            usize::MAX,
            node(LOSS_OP)
                .domain(DOMAIN)
                .name(name)
                .inputs(["z", "y"])
                .outputs([&loss])
                .float("log_end", log_end)
                .string("reduction", reduction.as_str())
                .build(),
        );
        graph.add_output(symbolic(&loss, DataType::Float as i32, 0));
    }
    document
}

#[test]
fn bodies_stay_small() {
    let base = signature(LOSS_OP, DataType::Float, Reduction::Mean, Bonus::Log);
    for opset in OPSETS {
        let nodes = function_for(&base, opset).node.len();
        assert!(nodes <= 60, "{nodes} nodes at opset {opset}");
    }
}

/// `<target>/function_models`
fn models_folder() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("target folder").join("function_models")
}

fn signature(op: &'static str, data_type: DataType, reduction: Reduction, bonus: Bonus) -> Signature {
    Signature {
        op,
        data_type: data_type as i32,
        label_type: DataType::Int64 as i32,
        reduction,
        bonus,
        ignore_index: false,
        label_smoothing: false,
        class_weights: false,
        bonus_weight: false,
        margin: false,
        margin_output: false,
    }
}

/// Every op × type × opset in its plain form, every combination of options in float, every fifth in the other types.
fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for op in OPS {
        for data_type in TYPES {
            for opset in OPSETS {
                // bfloat16 came to the standard operators with opset 13
                if data_type != DataType::Bfloat16 || opset >= 13 {
                    let signature = signature(op, data_type, Reduction::Mean, Bonus::Log);
                    cases.push(Case::new(signature, opset, cases.len()));
                }
            }
        }
    }
    for (t, data_type) in TYPES.into_iter().enumerate() {
        for number in 0..OPS.len() * REDUCTIONS.len() * BONUSES.len() * 16 {
            if data_type == DataType::Float || number % 5 == t {
                let mut digits = number;
                let mut digit = |base: usize| {
                    let d = digits % base;
                    digits /= base;
                    d
                };
                let op = OPS[digit(3)];
                let mut signature = signature(op, data_type, REDUCTIONS[digit(3)], BONUSES[digit(3)]);
                signature.ignore_index = digit(2) == 1;
                signature.label_smoothing = digit(2) == 1;
                signature.class_weights = digit(2) == 1;
                signature.bonus_weight = digit(2) == 1;
                // the rest turns with the number
                if number / 7 % 2 == 0 {
                    signature.label_type = DataType::Int32 as i32;
                }
                signature.margin = op == GRAD_OP && number % 4 < 2;
                signature.margin_output = op == LOSS_OP && number % 2 == 0;
                let opset = OPSETS[number % OPSETS.len()].max(13);
                cases.push(Case::new(signature, opset, number));
            }
        }
    }
    cases
}

impl Case {
    fn new(signature: Signature, opset: i64, number: usize) -> Self {
        let label_smoothing = if signature.label_smoothing { [0.1, 1.0, 0.25][number / 7 % 3] } else { 0.0 };
        // primes that are no stride of the options, so that each number meets each operator
        Case {
            opset,
            rank: 2 + number % 3,
            log_end: [0.75, 1.0, 0.5, 0.999][number / 3 % 4],
            power: [2.0, 0.5, 3.0][number / 13 % 3],
            bonus_weight: [1.0, 0.0, 0.6, 2.0][number / 2 % 4],
            label_smoothing,
            ignore_index: [-100, 1, 255][number / 11 % 3],
            signature,
        }
    }

    fn manifest_entry(&self, file: &str, inlined: &str) -> Value {
        let s = &self.signature;
        json!({
            "file": file, "inlined": inlined, "op": s.op, "opset": self.opset, "rank": self.rank,
            "data_type": s.data_type, "label_type": s.label_type,
            "reduction": s.reduction.as_str(), "bonus": s.bonus.as_str(),
            "log_end": self.log_end, "power": self.power, "bonus_weight": self.bonus_weight,
            "label_smoothing": self.label_smoothing,
            "ignore_index": s.ignore_index.then_some(self.ignore_index),
            "class_weights": s.class_weights, "bonus_weight_input": s.bonus_weight,
            "margin": s.margin, "margin_output": s.margin_output,
        })
    }

    /// bfloat16 is cast on the way in and out: numpy has no such type.
    fn document(&self) -> Document {
        let mut document = empty_document(self.opset);
        let graph = document.graph_mut();
        let bfloat = self.signature.data_type == DataType::Bfloat16 as i32;
        let outside_type = if bfloat { DataType::Float as i32 } else { self.signature.data_type };
        let loss = self.node();
        for name in loss.input.iter().filter(|n| !n.is_empty()) {
            let (data_type, rank, casts) = match name.as_str() {
                "labels" => (self.signature.label_type, self.rank - 1, false),
                "margin" => (DataType::Float as i32, self.rank - 1, false),
                "bonus_weight" => (DataType::Float as i32, 0, false),
                "class_weights" => (outside_type, 1, bfloat),
                "dloss" => {
                    (outside_type, if self.signature.reduction == Reduction::None { self.rank - 1 } else { 0 }, bfloat)
                }
                _ => (outside_type, self.rank, bfloat),
            };
            let outside = if casts { format!("{name}_float") } else { name.clone() };
            graph.add_input(symbolic(&outside, data_type, rank));
            if casts {
                graph.insert_node(usize::MAX, cast(&outside, name, DataType::Bfloat16));
            }
        }
        graph.insert_node(usize::MAX, loss.clone());
        for name in loss.output {
            let rank = match name.as_str() {
                "loss" if self.signature.reduction != Reduction::None => 0,
                "dlogits" => self.rank,
                _ => self.rank - 1,
            };
            if name == "margin" {
                graph.add_output(symbolic(&name, DataType::Float as i32, rank));
            } else if bfloat {
                let outside = format!("{name}_float");
                graph.insert_node(usize::MAX, cast(&name, &outside, DataType::Float));
                graph.add_output(symbolic(&outside, DataType::Float as i32, rank));
            } else {
                graph.add_output(symbolic(&name, outside_type, rank));
            }
        }
        document
    }

    fn node(&self) -> NodeProto {
        let s = &self.signature;
        let mut input = vec!["logits", "labels"];
        if s.op == GRAD_OP {
            input.insert(0, "dloss");
        }
        input.push(if s.class_weights { "class_weights" } else { "" });
        input.push(if s.bonus_weight { "bonus_weight" } else { "" });
        input.push(if s.margin { "margin" } else { "" });
        let output: &[&str] = match s.op {
            LOSS_OP if s.margin_output => &["loss", "margin"],
            LOSS_OP => &["loss"],
            GRAD_OP => &["dlogits"],
            _ => &["loss", "margin", "dlogits"],
        };
        let mut builder = node(s.op)
            .domain(DOMAIN)
            .name("encouraging")
            .inputs(input)
            .outputs(output)
            .float("log_end", self.log_end)
            .string("bonus", s.bonus.as_str())
            .float("power", self.power)
            .float("bonus_weight", self.bonus_weight)
            .float("label_smoothing", self.label_smoothing)
            .string("reduction", s.reduction.as_str());
        if s.ignore_index {
            builder = builder.int("ignore_index", self.ignore_index);
        }
        builder.build()
    }
}

fn empty_document(opset: i64) -> Document {
    let model = pb::ModelProto {
        ir_version: 7,
        graph: MessageField::some(pb::GraphProto { name: "loss".to_owned(), ..Default::default() }),
        opset_import: vec![pb::OperatorSetIdProto { version: opset, ..Default::default() }],
        ..Default::default()
    };
    Document::from_bytes(model.write_to_bytes().expect("encodes")).expect("an empty model")
}

fn cast(from: &str, to: &str, data_type: DataType) -> NodeProto {
    node("Cast").inputs([from]).outputs([to]).int("to", data_type as i64).build()
}

/// A tensor with symbolic dimensions.
fn symbolic(name: &str, data_type: i32, rank: usize) -> ValueInfoProto {
    let dims: Vec<_> = (0..rank).map(|i| Dimension::Symbol(format!("{name}_{i}"))).collect();
    value_info(name, data_type, Some(&dims))
}

/// The second parser agrees.
fn parse(document: &Document) -> pb::ModelProto {
    pb::ModelProto::parse_from_bytes(&document.to_bytes()).expect("onnx-protobuf reads it")
}

/// Standard operators only, every value made once and before it is read, every output made, nothing made for nothing.
fn check_form(function: &FunctionProto, case: &Case) {
    let what = format!("{:?} at opset {}", case.signature, case.opset);
    let mut known: HashSet<&str> = function.input.iter().map(String::as_str).collect();
    let mut read: HashSet<&str> = function.output.iter().map(String::as_str).collect();
    for node in &function.node {
        assert_eq!(node.op_domain(), "", "{what}");
        for input in &node.input {
            assert!(known.contains(input.as_str()), "{what}: {} reads {input} before it is made", node.label());
            read.insert(input);
        }
        for output in &node.output {
            assert!(known.insert(output), "{what}: {output} is made twice");
        }
        for attribute in &node.attribute {
            if let Some(from) = &attribute.ref_attr_name {
                assert!(function.attribute.contains(from), "{what}: {from} is not declared");
            }
        }
    }
    for output in &function.output {
        assert!(known.contains(output.as_str()), "{what}: {output} is never made");
    }
    for node in &function.node {
        let made: Vec<_> = node.output.iter().filter(|o| !read.contains(o.as_str())).collect();
        assert!(made.is_empty(), "{what}: nobody reads {made:?}");
    }
}
