//! Function bodies: their form is checked here; their numbers by `tests/python/test_function_bodies.py`, which runs the
//! models that the first test writes to `<target>/function_models` in stock ONNX Runtime and in onnx's reference
//! evaluator.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use elonnx::loss::{Bonus, Reduction};
use elonnx::model::DataType;
use elonnx::model::proto::FunctionProto;
use elonnx::rewrite::{GRAD_OP, LOSS_AND_GRAD_OP, LOSS_OP, Signature, function_for};
use onnx_protobuf as pb;
use prost::Message as _;
use protobuf::{EnumOrUnknown, Message as _, MessageField};
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
        let function = function_for(&case.signature, case.opset);
        check_form(&function, case);
        let name = format!("{number:04}.onnx");
        let model = case.model(&function);
        std::fs::write(folder.join(&name), model.write_to_bytes().expect("encodes")).expect("model file");
        manifest.push(case.manifest_entry(&name));
    }
    assert!(manifest.len() > 500, "only {} models", manifest.len());
    std::fs::write(folder.join("manifest.json"), serde_json::to_vec_pretty(&manifest).expect("json")).expect("manifest");
}

#[test]
fn bodies_stay_small() {
    let base = signature(LOSS_OP, DataType::Float, Reduction::Mean, Bonus::Log);
    for opset in OPSETS {
        let nodes = function_for(&base, opset).node.len();
        assert!(nodes <= 55, "{nodes} nodes at opset {opset}");
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
                if number % 3 == 0 {
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
        let label_smoothing = if signature.label_smoothing { [0.1, 1.0, 0.25][number % 3] } else { 0.0 };
        Case {
            opset,
            rank: 2 + number % 3,
            log_end: [0.75, 1.0, 0.5, 0.999][number / 3 % 4],
            power: [2.0, 0.5, 3.0][number % 3],
            bonus_weight: [1.0, 0.0, 0.6, 2.0][number / 2 % 4],
            label_smoothing,
            ignore_index: [-100, 1, 255][number % 3],
            signature,
        }
    }

    fn manifest_entry(&self, file: &str) -> Value {
        let s = &self.signature;
        json!({
            "file": file, "op": s.op, "opset": self.opset, "rank": self.rank,
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
    fn model(&self, function: &FunctionProto) -> pb::ModelProto {
        let mut graph = pb::GraphProto { name: "loss".to_owned(), ..Default::default() };
        let bfloat = self.signature.data_type == DataType::Bfloat16 as i32;
        let outside_type = if bfloat { DataType::Float as i32 } else { self.signature.data_type };
        let node = self.node();
        for name in node.input.iter().filter(|n| !n.is_empty()) {
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
            graph.input.push(value_info(&outside, data_type, rank));
            if casts {
                graph.node.push(cast(&outside, name, DataType::Bfloat16));
            }
        }
        let outputs = node.output.clone();
        graph.node.push(node);
        for name in outputs {
            let rank = match name.as_str() {
                "loss" if self.signature.reduction != Reduction::None => 0,
                "dlogits" => self.rank,
                _ => self.rank - 1,
            };
            if name == "margin" {
                graph.output.push(value_info(&name, DataType::Float as i32, rank));
            } else if bfloat {
                let outside = format!("{name}_float");
                graph.node.push(cast(&name, &outside, DataType::Float));
                graph.output.push(value_info(&outside, DataType::Float as i32, rank));
            } else {
                graph.output.push(value_info(&name, outside_type, rank));
            }
        }
        let function = pb::FunctionProto::parse_from_bytes(&function.encode_to_vec()).expect("a second parser agrees");
        pb::ModelProto {
            ir_version: 8,
            graph: MessageField::some(graph),
            functions: vec![function],
            opset_import: vec![opset_import("", self.opset), opset_import("ai.elonnx", 1)],
            ..Default::default()
        }
    }

    fn node(&self) -> pb::NodeProto {
        let s = &self.signature;
        let mut input = vec!["logits", "labels"];
        if s.op == GRAD_OP {
            input.insert(0, "dloss");
        }
        input.push(if s.class_weights { "class_weights" } else { "" });
        input.push(if s.bonus_weight { "bonus_weight" } else { "" });
        input.push(if s.margin { "margin" } else { "" });
        while input.last() == Some(&"") {
            input.pop();
        }
        let output: &[&str] = match s.op {
            LOSS_OP if s.margin_output => &["loss", "margin"],
            LOSS_OP => &["loss"],
            GRAD_OP => &["dlogits"],
            _ => &["loss", "margin", "dlogits"],
        };
        let mut attribute = vec![
            float_attribute("log_end", self.log_end),
            string_attribute("bonus", s.bonus.as_str()),
            float_attribute("power", self.power),
            float_attribute("bonus_weight", self.bonus_weight),
            float_attribute("label_smoothing", self.label_smoothing),
            string_attribute("reduction", s.reduction.as_str()),
        ];
        if s.ignore_index {
            attribute.push(int_attribute("ignore_index", self.ignore_index));
        }
        pb::NodeProto {
            op_type: s.op.to_owned(),
            domain: "ai.elonnx".to_owned(),
            name: "encouraging".to_owned(),
            input: input.into_iter().map(str::to_owned).collect(),
            output: output.iter().map(|&o| o.to_owned()).collect(),
            attribute,
            ..Default::default()
        }
    }
}

fn opset_import(domain: &str, version: i64) -> pb::OperatorSetIdProto {
    pb::OperatorSetIdProto { domain: domain.to_owned(), version, ..Default::default() }
}

fn float_attribute(name: &str, f: f32) -> pb::AttributeProto {
    let type_ = EnumOrUnknown::new(pb::attribute_proto::AttributeType::FLOAT);
    pb::AttributeProto { name: name.to_owned(), f, type_, ..Default::default() }
}

fn int_attribute(name: &str, i: i64) -> pb::AttributeProto {
    let type_ = EnumOrUnknown::new(pb::attribute_proto::AttributeType::INT);
    pb::AttributeProto { name: name.to_owned(), i, type_, ..Default::default() }
}

fn string_attribute(name: &str, s: &str) -> pb::AttributeProto {
    let type_ = EnumOrUnknown::new(pb::attribute_proto::AttributeType::STRING);
    pb::AttributeProto { name: name.to_owned(), s: s.as_bytes().to_vec(), type_, ..Default::default() }
}

fn cast(from: &str, to: &str, data_type: DataType) -> pb::NodeProto {
    pb::NodeProto {
        op_type: "Cast".to_owned(),
        input: vec![from.to_owned()],
        output: vec![to.to_owned()],
        attribute: vec![int_attribute("to", data_type as i64)],
        ..Default::default()
    }
}

/// A tensor with symbolic dimensions.
fn value_info(name: &str, elem_type: i32, rank: usize) -> pb::ValueInfoProto {
    let dim = |i: usize| pb::tensor_shape_proto::Dimension {
        value: Some(pb::tensor_shape_proto::dimension::Value::DimParam(format!("{name}_{i}"))),
        ..Default::default()
    };
    let shape = pb::TensorShapeProto { dim: (0..rank).map(dim).collect(), ..Default::default() };
    let tensor = pb::type_proto::Tensor { elem_type, shape: MessageField::some(shape), ..Default::default() };
    let type_ = pb::TypeProto { value: Some(pb::type_proto::Value::TensorType(tensor)), ..Default::default() };
    pb::ValueInfoProto { name: name.to_owned(), type_: MessageField::some(type_), ..Default::default() }
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
