//! Reverse-mode differentiation, ONNX to ONNX: a graph that computes a loss becomes one that computes its gradients too,
//! in standard operators and the loss op, so that it runs on any runtime.
//!
//! Words: a *rule* is the vector-Jacobian product (VJP) of one operator: from the gradients of a node's outputs (its
//! *upstream*) to those of its inputs. Each family of operators has a file with its rules and their formulas; `table`
//! lists them all. `walk` goes through the nodes from the loss back, `builder` appends nodes: it knows shapes, makes
//! nothing twice, and throws away what nobody reads.

mod activation;
mod arithmetic;
mod backward;
mod batch_normalization;
mod branches;
mod builder;
mod convolution;
mod dropout;
mod einsum;
mod elementary;
mod error;
mod fused;
mod indexing;
mod loss;
#[cfg(test)]
mod loss_graph_tests;
mod movement;
mod normalization;
mod path;
mod pooling;
mod positions;
mod prepare;
mod product;
mod reduction;
mod resize;
mod selection;
mod shaping;
mod sizes;
mod slice;
mod softmax;
mod table;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod walk;

use crate::model::{Document, value_info};

pub(crate) use builder::Builder;
pub use error::{GradientError, Undifferentiable};
pub(crate) use prepare::prepare;
pub(crate) use walk::differentiate;

/// A graph with gradients.
#[derive(Clone, Debug)]
pub struct Gradient {
    /// The graph with the old outputs, then one per gradient.
    pub document: Document,
    /// For each value asked for, in that order, the output that holds ∂loss/∂value: same type and shape as the value.
    pub outputs: Vec<String>,
}

/// Adds the gradients of `loss` with respect to `wrt`: initializers, graph inputs, or any float values between.
///
/// The outputs are called "gradient/" and the name of the value. The loss is usually a scalar; of a tensor the gradient
/// of its sum is taken. Functions of the model are written out, and so is an If whose condition is constant.
///
/// ```no_run
/// use elonnx::model::{Document, ExternalData};
///
/// let document = Document::open("patched.onnx")?;
/// let gradient = elonnx::rewrite::gradient(&document, "loss", &["fc1.weight", "input"])?;
/// gradient.document.save("with_gradients.onnx", ExternalData::Copy)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`GradientError::Undifferentiable`] with every node on the way that has no gradient;
/// [`GradientError::NotConnected`] where the loss does not depend on a value; values that are not there or no floats.
pub fn gradient(document: &Document, loss: &str, wrt: &[&str]) -> Result<Gradient, GradientError> {
    let prepared = prepare(document)?;
    let mut builder = Builder::new(&prepared)?;
    let gradients = differentiate(&mut builder, loss, None, wrt)?;
    let mut outputs = Vec::with_capacity(wrt.len());
    for (value, gradient) in wrt.iter().zip(gradients) {
        let name = builder.name_value(&gradient, &format!("gradient/{value}"));
        let found = builder.value_type(value);
        builder.add_output(value_info(&name, found.data_type.unwrap_or_default(), found.dims.as_deref()));
        outputs.push(name);
    }
    Ok(Gradient { document: builder.finish()?, outputs })
}
