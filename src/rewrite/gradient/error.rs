//! Why a graph has no gradient.

use std::fmt;

use crate::model::ModelError;
use crate::rewrite::RewriteError;

/// A node that stands between the loss and a value whose gradient is asked for, and that has no gradient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Undifferentiable {
    /// The node, described.
    pub node: String,
    /// Why, a clause.
    pub reason: String,
    /// The nodes from it to the loss, described, nearest first.
    pub path: Vec<String>,
}

impl fmt::Display for Undifferentiable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.node, self.reason)?;
        match &self.path[..] {
            [] => Ok(()),
            [first, .., last] if self.path.len() > 3 => {
                write!(f, " (on the way {first} → … {} nodes … → {last})", self.path.len() - 2)
            }
            path => write!(f, " (on the way {})", path.join(" → ")),
        }
    }
}

/// Why a gradient graph could not be built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GradientError {
    /// The file, or a function or parameter in it.
    #[error(transparent)]
    Rewrite(#[from] RewriteError),
    /// The file.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// Nodes without a gradient on the way from the loss to what it is asked of: all of them.
    #[error("no gradient can go through {}", list(.0))]
    Undifferentiable(Vec<Undifferentiable>),
    /// A value that the graph does not have, or that is no float tensor.
    #[error("{name}: {reason}")]
    Value {
        /// Its name.
        name: String,
        /// What is wrong with it, a clause.
        reason: String,
    },
    /// Values on which the loss does not depend.
    #[error("the loss '{loss}' does not depend on {}", names.join(", "))]
    NotConnected {
        /// The loss.
        loss: String,
        /// Their names.
        names: Vec<String>,
    },
    /// An opset that the gradient graph cannot be written in.
    #[error("{0}")]
    Opset(String),
}

fn list(nodes: &[Undifferentiable]) -> String {
    let lines: Vec<String> = nodes.iter().map(|node| format!("\n  {node}")).collect();
    format!(
        "{} {}:{}\nfreeze the parameters in front of {} (--freeze PATTERN), or export the model without {}",
        nodes.len(),
        if nodes.len() == 1 { "node" } else { "nodes" },
        lines.concat(),
        if nodes.len() == 1 { "it" } else { "them" },
        if nodes.len() == 1 { "it" } else { "them" },
    )
}
