//! Stochastic gradient descent, in the order of operations of `torch.optim.SGD`.

use crate::rewrite::gradient::Builder;

use super::update::{Scalars, State, Trained, Updated, add_state, scaled};

/// See [`super::Optimizer::Sgd`].
pub(super) struct Sgd {
    pub momentum: f64,
    pub nesterov: bool,
    pub weight_decay: f64,
}

impl Sgd {
    /// g ← g + λp; b ← μb + g; d = g + μb (Nesterov), b, or without momentum g; p ← p − lr·d. A buffer of zeros gives
    /// PyTorch's first step, b = g.
    pub fn update(&self, b: &mut Builder<'_>, scalars: &Scalars, one: &Trained) -> Updated {
        let parameter = &one.parameter;
        b.set_scope(parameter);
        let mut gradient = one.gradient.clone();
        if self.weight_decay != 0.0 {
            let decay = scaled(b, parameter, self.weight_decay);
            gradient = b.op("Add", &[&gradient, &decay]);
        }
        let mut state = Vec::new();
        let mut direction = gradient.clone();
        if self.momentum != 0.0 {
            let input = add_state(b, parameter, "momentum_buffer");
            let kept = scaled(b, &input, self.momentum);
            let updated = b.op("Add", &[&kept, &gradient]);
            direction = updated.clone();
            if self.nesterov {
                let ahead = scaled(b, &updated, self.momentum);
                direction = b.op("Add", &[&gradient, &ahead]);
            }
            state.push(State { kind: "momentum_buffer", input, updated });
        }
        let rate = b.cast_like(&scalars.learning_rate, parameter);
        let change = b.op("Mul", &[&rate, &direction]);
        let value = b.op("Sub", &[parameter, &change]);
        Updated { value, state }
    }
}
