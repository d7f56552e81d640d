//! Operators of the forward pass that are faster together: BatchNormalization in training, Relu, MaxPool.

use super::{
    BATCH_NORMALIZATION_OPSET, BATCH_NORMALIZATION_RELU, BATCH_NORMALIZATION_RELU_POOL, Fused, MAX_POOL_GRAD_OPSET,
};
use crate::model::proto::NodeProto;
use crate::model::{DataType, Document, GraphIndex, GrowingShapes, NodeBuilder, NodeId, ValueType, node, value_info};
use crate::rewrite::DOMAIN;

/// Puts fused operators in the place of such nodes.
pub(crate) fn fuse_forward(document: &mut Document, opset: i64) {
    if opset < BATCH_NORMALIZATION_OPSET {
        return;
    }
    let mut at = 0;
    while at < document.graph().nodes().len() {
        if let Some(block) = Block::at(document, opset, at) {
            block.put(document, at);
        }
        at += 1;
    }
}

/// What a BatchNormalization is fused with.
struct Block {
    fused: NodeProto,
    /// What the whole makes.
    output: ValueType,
    channels: ValueType,
    /// The nodes that go, but the first.
    rest: Vec<NodeId>,
}

impl Block {
    fn at(document: &Document, opset: i64, at: usize) -> Option<Block> {
        let graph = document.graph();
        let index = GraphIndex::new(graph);
        let shapes = GrowingShapes::new(graph, opset);
        let first = graph.node(NodeId(at));
        let trains = first.is("", "BatchNormalization") && first.attr_int("training_mode") == Some(1);
        let of_floats = |i| {
            let known = shapes.get(first.input_at(i)?).data_type?;
            (known == DataType::Float as i32).then_some(())
        };
        (trains && first.input.len() == 5).then(|| (0..5).try_for_each(of_floats))??;
        let follower = |node: &NodeProto| {
            let output = node.output_at(0)?;
            let only = match index.consumers(output) {
                [only] => *only,
                _ => return None,
            };
            (!index.is_output(output)).then_some(only)
        };
        let relu = follower(first).filter(|&id| graph.node(id).is("", "Relu"))?;
        let pool = follower(graph.node(relu)).filter(|&id| pool_attributes(graph.node(id), opset).is_some());
        let last = pool.unwrap_or(relu);
        let result = graph.node(last).output_at(0)?.to_owned();
        let running = [1, 2].map(|i| match first.output_at(i) {
            Some(name) => name.to_owned(),
            None => graph.fresh_name(&format!("{result}/running_{i}")),
        });
        let statistics = ["mean", "var"].map(|kind| graph.fresh_name(&format!("{result}/batch_{kind}")));
        let operator: &Fused = if pool.is_some() { &BATCH_NORMALIZATION_RELU_POOL } else { &BATCH_NORMALIZATION_RELU };
        let fused = node(operator.name)
            .domain(DOMAIN)
            .name(first.label())
            .inputs(first.input.iter())
            .outputs([result.as_str()].into_iter().chain(running.iter().chain(&statistics).map(String::as_str)))
            .float("epsilon", first.attr_float("epsilon").unwrap_or(1e-5))
            .float("momentum", first.attr_float("momentum").unwrap_or(0.9));
        let fused = match pool {
            Some(id) => pool_attributes(graph.node(id), opset)?.write(fused),
            None => fused,
        };
        Some(Block {
            fused: fused.build(),
            output: shapes.get(&result),
            channels: shapes.get(first.input_at(1)?),
            rest: [Some(relu), pool].into_iter().flatten().collect(),
        })
    }

    fn put(self, document: &mut Document, at: usize) {
        let graph = document.graph_mut();
        let values = self.fused.output.clone();
        graph.replace_node(NodeId(at), self.fused);
        graph.remove_nodes(&self.rest);
        let types = std::iter::once(&self.output).chain(std::iter::repeat(&self.channels));
        for (value, found) in values.iter().zip(types) {
            graph.remove_value_info(value);
            graph.add_value_info(value_info(value, DataType::Float as i32, found.dims.as_deref()));
        }
    }
}

/// The attributes of a MaxPool over two axes.
pub(crate) struct Pool {
    kernel: Vec<i64>,
    strides: Vec<i64>,
    pads: Vec<i64>,
    dilations: Vec<i64>,
    ceil_mode: i64,
}

impl Pool {
    /// Gives them to a fused operator.
    pub(crate) fn write(&self, node: NodeBuilder) -> NodeBuilder {
        node.ints("kernel_shape", &self.kernel)
            .ints("strides", &self.strides)
            .ints("pads", &self.pads)
            .ints("dilations", &self.dilations)
            .int("ceil_mode", self.ceil_mode)
    }
}

/// Of a MaxPool that has a fused operator; None: it has none.
pub(crate) fn pool_attributes(pool: &NodeProto, opset: i64) -> Option<Pool> {
    let plain = pool.is("", "MaxPool")
        && opset >= MAX_POOL_GRAD_OPSET
        && matches!(pool.attr_str("auto_pad").unwrap_or("NOTSET"), "NOTSET" | "VALID")
        && pool.attr_int("storage_order").unwrap_or(0) == 0
        && pool.output_at(1).is_none();
    let kernel = pool.attr_ints("kernel_shape")?.to_vec();
    let list =
        |name: &str, default: i64, len: usize| pool.attr_ints(name).map_or_else(|| vec![default; len], <[i64]>::to_vec);
    let attributes = Pool {
        strides: list("strides", 1, 2),
        pads: list("pads", 0, 4),
        dilations: list("dilations", 1, 2),
        ceil_mode: pool.attr_int("ceil_mode").unwrap_or(0),
        kernel,
    };
    let of_planes = attributes.kernel.len() == 2 && attributes.strides.len() == 2 && attributes.pads.len() == 4;
    (plain && of_planes && attributes.dilations.len() == 2).then_some(attributes)
}
