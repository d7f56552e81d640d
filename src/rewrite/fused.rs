//! Operators of `ai.elonnx` beside the losses: steps of training that take standard operators many passes over memory.
//!
//! Each has a body of standard operators, as the losses have, so a file that uses them runs anywhere; the plugin makes
//! it fast. They are for float32: other types stay with standard operators, for a plugin that knows a name must know
//! all its types. A body serves every node of its name, so it depends on nothing but the opset; what differs from node
//! to node comes by attribute reference or is computed from shapes.

mod adamw;
mod batch_normalization;
mod body;
mod convolution;
mod forward;
mod max_pool;

use std::collections::BTreeSet;

use crate::model::Document;
use crate::model::proto::FunctionProto;

use super::{DOMAIN, RewriteError};
pub(crate) use adamw::ADAMW;
pub(crate) use batch_normalization::{
    BATCH_NORMALIZATION_GRAD, BATCH_NORMALIZATION_OPSET, BATCH_NORMALIZATION_RELU, BATCH_NORMALIZATION_RELU_GRAD,
    BATCH_NORMALIZATION_RELU_POOL, BATCH_NORMALIZATION_RELU_POOL_GRAD,
};
pub(crate) use convolution::{CONV, CONV_GRAD_INPUT, CONV_GRAD_WEIGHT};
pub(crate) use forward::{fuse_forward, pool_attributes};
pub(crate) use max_pool::{MAX_POOL, MAX_POOL_GRAD, MAX_POOL_GRAD_OPSET};

/// One operator.
pub(crate) struct Fused {
    /// Its name in `ai.elonnx`.
    pub name: &'static str,
    /// Its body for a version of the standard operators.
    pub body: fn(opset: i64) -> FunctionProto,
}

/// All of them.
pub(crate) const ALL: &[&Fused] = &[
    &ADAMW,
    &CONV,
    &CONV_GRAD_INPUT,
    &CONV_GRAD_WEIGHT,
    &BATCH_NORMALIZATION_RELU,
    &BATCH_NORMALIZATION_RELU_POOL,
    &BATCH_NORMALIZATION_GRAD,
    &BATCH_NORMALIZATION_RELU_GRAD,
    &BATCH_NORMALIZATION_RELU_POOL_GRAD,
    &MAX_POOL,
    &MAX_POOL_GRAD,
];

/// The operator of that name.
pub(crate) fn find(name: &str) -> Option<&'static Fused> {
    ALL.iter().copied().find(|operator| operator.name == name)
}

/// Gives a model the bodies of those that its main graph uses.
///
/// # Errors
/// None so far; bodies may come to depend on more.
pub(crate) fn attach(document: &mut Document, opset: i64, version: i64) -> Result<(), RewriteError> {
    let nodes = document.graph().nodes();
    let used: BTreeSet<&'static str> =
        nodes.iter().filter(|node| node.op_domain() == DOMAIN).filter_map(|node| Some(find(node.op())?.name)).collect();
    for operator in used.iter().filter_map(|name| find(name)) {
        document.set_function((operator.body)(opset));
    }
    if !used.is_empty() {
        document.set_opset_version(DOMAIN, version);
        if document.ir_version() < 8 {
            document.set_ir_version(8);
        }
    }
    Ok(())
}
