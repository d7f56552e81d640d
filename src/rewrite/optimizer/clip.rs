//! Gradient clipping by global norm, as `torch.nn.utils.clip_grad_norm_`.

use crate::model::DataType;
use crate::rewrite::gradient::Builder;

use super::update::Trained;

/// Added to the norm before dividing by it, as in PyTorch.
const EPSILON: f64 = 1e-6;

/// The norm of all gradients as if they were one vector: √Σ g², a float scalar.
pub(crate) fn global_norm(b: &mut Builder<'_>, trained: &[Trained]) -> Option<String> {
    b.set_scope("gradient_norm");
    let mut squares = Vec::with_capacity(trained.len());
    for one in trained {
        let gradient = cast(b, &one.gradient, DataType::Float);
        squares.push(b.reduce_all("ReduceSumSquare", &gradient));
    }
    let sum = b.sum(&squares)?;
    Some(b.op("Sqrt", &[&sum]))
}

/// Gradients times min(1, max_norm/(norm + 1e-6)).
pub(crate) fn clip(b: &mut Builder<'_>, trained: &mut [Trained], norm: &str, max_norm: f32) {
    b.set_scope("clip");
    let (epsilon, largest) = (b.number(norm, EPSILON), b.number(norm, max_norm.into()));
    let divisor = b.op("Add", &[norm, &epsilon]);
    let factor = b.op("Div", &[&largest, &divisor]);
    let one = b.number(norm, 1.0);
    let factor = b.op("Min", &[&factor, &one]);
    for gradient in trained.iter_mut().map(|one| &mut one.gradient) {
        let own = b.cast_like(&factor, gradient);
        *gradient = b.op("Mul", &[gradient, &own]);
    }
}

fn cast(b: &mut Builder<'_>, value: &str, to: DataType) -> String {
    if b.data_type(value) == Some(to as i32) {
        return value.to_owned();
    }
    b.node("Cast", &[value], |node| node.int("to", to as i64))
}
