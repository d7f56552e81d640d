//! Small graphs for the tests of this room.

use prost::Message;

use crate::model::proto::{FunctionProto, NodeProto, OperatorSetIdProto, TensorProto, ValueInfoProto};
use crate::model::{DataType, Dimension, Document, NodeBuilder, node, value_info};

#[derive(Clone, PartialEq, Message)]
struct ModelProto {
    #[prost(int64, optional, tag = "1")]
    ir_version: Option<i64>,
    #[prost(message, optional, tag = "7")]
    graph: Option<GraphProto>,
    #[prost(message, repeated, tag = "8")]
    opset_import: Vec<OperatorSetIdProto>,
    #[prost(message, repeated, tag = "25")]
    functions: Vec<FunctionProto>,
}

#[derive(Clone, PartialEq, Message)]
struct GraphProto {
    #[prost(message, repeated, tag = "1")]
    node: Vec<NodeProto>,
    #[prost(string, optional, tag = "2")]
    name: Option<String>,
    #[prost(message, repeated, tag = "5")]
    initializer: Vec<TensorProto>,
    #[prost(message, repeated, tag = "11")]
    input: Vec<ValueInfoProto>,
    #[prost(message, repeated, tag = "12")]
    output: Vec<ValueInfoProto>,
    #[prost(message, repeated, tag = "13")]
    value_info: Vec<ValueInfoProto>,
}

/// A model under construction.
pub(crate) struct TestModel {
    model: ModelProto,
    graph: GraphProto,
}

impl TestModel {
    pub fn new(opset: i64) -> Self {
        let opset_import = vec![
            OperatorSetIdProto { domain: Some(String::new()), version: Some(opset) },
            OperatorSetIdProto { domain: Some("com.microsoft".into()), version: Some(1) },
        ];
        let model = ModelProto { ir_version: Some(8), opset_import, ..ModelProto::default() };
        TestModel { model, graph: GraphProto { name: Some("test".into()), ..GraphProto::default() } }
    }

    /// Float logits [N, 5] and int64 labels [N].
    pub fn classifier(opset: i64) -> Self {
        TestModel::new(opset).input("z", DataType::Float, &["N", "5"]).input("y", DataType::Int64, &["N"])
    }

    pub fn input(mut self, name: &str, data_type: DataType, dims: &[&str]) -> Self {
        self.graph.input.push(info(name, data_type, dims));
        self
    }

    pub fn output(mut self, name: &str, data_type: DataType, dims: &[&str]) -> Self {
        self.graph.output.push(info(name, data_type, dims));
        self
    }

    pub fn initializer(mut self, name: &str, data_type: DataType, dims: &[i64], values: &[f64]) -> Self {
        let mut tensor = TensorProto::vector(name, data_type as i32, values);
        tensor.dims = dims.to_vec();
        self.graph.initializer.push(tensor);
        self
    }

    /// A float scalar.
    pub fn number(self, name: &str, value: f64) -> Self {
        self.initializer(name, DataType::Float, &[], &[value])
    }

    /// An int64 vector.
    pub fn ints(self, name: &str, values: &[i64]) -> Self {
        let data: Vec<f64> = values.iter().map(|v| *v as f64).collect();
        self.initializer(name, DataType::Int64, &[values.len() as i64], &data)
    }

    /// `op`: inputs → output, attributes added by `more`.
    pub fn op(self, op: &str, inputs: &[&str], outputs: &[&str]) -> Self {
        self.with(node(op).inputs(inputs).outputs(outputs))
    }

    pub fn with(mut self, builder: NodeBuilder) -> Self {
        self.graph.node.push(builder.build());
        self
    }

    pub fn function(mut self, function: FunctionProto) -> Self {
        self.model.functions.push(function);
        self
    }

    pub fn build(mut self) -> Document {
        self.model.graph = Some(self.graph);
        Document::from_bytes(self.model.encode_to_vec()).expect("the test model is well formed")
    }

    /// The graph as an attribute holds it.
    pub fn graph_bytes(&self) -> Vec<u8> {
        self.graph.encode_to_vec()
    }
}

fn info(name: &str, data_type: DataType, dims: &[&str]) -> ValueInfoProto {
    let dims: Vec<Dimension> = dims
        .iter()
        .map(|d| d.parse().map(Dimension::Known).unwrap_or_else(|_| Dimension::Symbol((*d).to_owned())))
        .collect();
    value_info(name, data_type as i32, Some(&dims))
}
