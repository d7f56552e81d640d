//! What comes of looking at a piece of graph.

use crate::model::NodeId;
use crate::rewrite::rules::Match;

pub(super) const RULE: &str = "computed";

/// A loss of the family.
pub(super) struct Recognised {
    /// The loss value.
    pub end: String,
    pub found: Match,
    /// A loss of another name that is computed from it further on, and where.
    pub beyond: Option<(String, NodeId)>,
}

/// Why a piece is not a loss of the family.
pub(super) enum Miss {
    /// Nothing about it looks like a loss (attention, a classifier's head).
    NotALoss,
    /// It is a loss, another one.
    Other { what: String, nodes: Vec<NodeId>, at: NodeId },
    /// It is a loss against class probabilities.
    SoftLabels { what: String, nodes: Vec<NodeId>, at: NodeId },
    /// It looked like one up to this node.
    Near { node: NodeId, reason: String },
}
