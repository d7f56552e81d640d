//! Small models for the tests of this room.

use prost::Message;

use crate::model::proto::{NodeProto, TensorProto};
use crate::model::{DataType, Dimension, Document, node, value_info};
use crate::rewrite::{Evidence, LinearHead, ScoringModel};

/// A length-delimited protobuf field.
fn field(tag: u8, bytes: &[u8]) -> Vec<u8> {
    let mut field = vec![tag << 3 | 2];
    prost::encoding::encode_varint(bytes.len() as u64, &mut field);
    field.extend_from_slice(bytes);
    field
}

/// x [N, features] → logits [N, classes] by a Gemm, then a softmax.
pub(crate) fn classifier(ir_version: u8, features: usize, classes: usize) -> Document {
    let head = head(features, classes);
    let tensor = |name: &str, dims: &[usize], values: &[f32]| TensorProto {
        name: Some(name.to_owned()),
        data_type: Some(DataType::Float as i32),
        dims: dims.iter().map(|&dim| dim as i64).collect(),
        raw_data: Some(values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>().into()),
        ..TensorProto::default()
    };
    let nodes: [NodeProto; 2] = [
        node("Gemm").inputs(["x", "w", "b"]).outputs(["logits"]).name("head").int("transB", 1).build(),
        node("Softmax").inputs(["logits"]).outputs(["prob"]).int("axis", 1).build(),
    ];
    let mut graph: Vec<u8> = nodes.iter().flat_map(|node| field(1, &node.encode_to_vec())).collect();
    graph.extend(field(2, b"graph"));
    graph.extend(field(5, &tensor("w", &[classes, features], &head.weight).encode_to_vec()));
    graph.extend(field(5, &tensor("b", &[classes], &head.bias).encode_to_vec()));
    let value = |name: &str, size: usize| {
        let dims = [Dimension::Symbol("N".to_owned()), Dimension::Known(size as i64)];
        value_info(name, DataType::Float as i32, Some(&dims)).encode_to_vec()
    };
    graph.extend(field(11, &value("x", features)));
    graph.extend(field(12, &value("prob", classes)));
    Document::from_bytes([vec![8, ir_version], field(7, &graph), field(8, &[0x10, 13])].concat()).unwrap()
}

/// Weights that are no two alike.
pub(crate) fn head(features: usize, classes: usize) -> LinearHead {
    let weight = (0..classes * features).map(|i| ((i * 37 % 19) as f32 - 9.0) / 10.0).collect();
    let bias = (0..classes).map(|i| i as f32 / 10.0).collect();
    LinearHead { feature: "x".to_owned(), features, weight, bias }
}

/// What the rewriter finds in [`classifier`].
pub(crate) fn scoring_model(document: &Document, features: usize, classes: usize) -> ScoringModel {
    ScoringModel {
        document: document.clone(),
        evidence: Evidence::Logits,
        value: "logits".to_owned(),
        how: "goes through a softmax to the output 'prob'".to_owned(),
        class_axis: 1,
        classes: Some(classes),
        temperature: None,
        head: Ok(head(features, classes)),
        changes: vec![],
        free_batch: true,
    }
}
