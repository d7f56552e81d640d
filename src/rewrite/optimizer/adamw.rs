//! AdamW, in the order of operations of `torch.optim.AdamW`.

use crate::model::DataType;
use crate::model::proto::TensorProto;
use crate::rewrite::fused::ADAMW;
use crate::rewrite::gradient::Builder;

use super::update::{Scalars, State, Trained, Updated, add_state, scaled};

/// See [`super::Optimizer::AdamW`].
pub(super) struct AdamW {
    pub beta1: f64,
    pub beta2: f64,
    pub epsilon: f64,
    pub weight_decay: f64,
}

/// The update of one parameter: the place where a fused operator may stand in for a dozen passes over memory.
pub(super) fn update_adamw(b: &mut Builder<'_>, rule: &AdamW, scalars: &Scalars, one: &Trained) -> Updated {
    match &scalars.step {
        Some(step) if b.fuses(&one.parameter) => rule.fused(b, &scalars.learning_rate, step, one),
        _ => rule.update(b, scalars, one),
    }
}

/// What a step is scaled by, in the element type of a parameter.
struct Factors {
    /// 1 − lr·λ; None where nothing decays.
    decay: Option<String>,
    /// lr/(1 − β₁ᵗ)
    step_size: String,
    /// √(1 − β₂ᵗ)
    correction: String,
}

impl AdamW {
    /// The same by one operator.
    fn fused(&self, b: &mut Builder<'_>, learning_rate: &str, step: &str, one: &Trained) -> Updated {
        let (parameter, gradient) = (&one.parameter, &one.gradient);
        b.set_scope(parameter);
        let mean = add_state(b, parameter, "exp_avg");
        let square = add_state(b, parameter, "exp_avg_sq");
        let scale = b.number(parameter, 1.0);
        let inputs = [parameter, gradient, &mean, &square, learning_rate, step, &scale];
        let outputs = b.fused(&ADAMW, &inputs, 3, |node| {
            node.float("beta1", self.beta1 as f32)
                .float("beta2", self.beta2 as f32)
                .float("epsilon", self.epsilon as f32)
                .float("weight_decay", self.weight_decay as f32)
        });
        for output in &outputs {
            b.declare_like(output, parameter);
        }
        let [value, new_mean, new_square] = [0, 1, 2].map(|i| outputs[i].clone());
        let state = vec![
            State { kind: "exp_avg", input: mean, updated: new_mean },
            State { kind: "exp_avg_sq", input: square, updated: new_square },
        ];
        Updated { value, state }
    }

    /// p ← p·(1 − lr·λ); m ← m + (g − m)(1 − β₁); v ← vβ₂ + (1 − β₂)g²;
    /// p ← p − lr/(1 − β₁ᵗ) · m/(√v/√(1 − β₂ᵗ) + ε).
    fn update(&self, b: &mut Builder<'_>, scalars: &Scalars, one: &Trained) -> Updated {
        let (parameter, gradient) = (&one.parameter, &one.gradient);
        b.set_scope("adamw");
        let factors = self.factors(b, scalars, parameter);
        b.set_scope(parameter);
        let mean = add_state(b, parameter, "exp_avg");
        let square = add_state(b, parameter, "exp_avg_sq");

        let decayed = match &factors.decay {
            Some(decay) => b.op("Mul", &[parameter, decay]),
            None => parameter.clone(),
        };
        let off = b.op("Sub", &[gradient, &mean]);
        let off = scaled(b, &off, 1.0 - self.beta1);
        let new_mean = b.op("Add", &[&mean, &off]);
        let kept = scaled(b, &square, self.beta2);
        let squared = b.op("Mul", &[gradient, gradient]);
        let squared = scaled(b, &squared, 1.0 - self.beta2);
        let new_square = b.op("Add", &[&kept, &squared]);

        let root = b.op("Sqrt", &[&new_square]);
        let root = b.op("Div", &[&root, &factors.correction]);
        let epsilon = b.number(parameter, self.epsilon);
        let divisor = b.op("Add", &[&root, &epsilon]);
        let direction = b.op("Div", &[&new_mean, &divisor]);
        let change = b.op("Mul", &[&direction, &factors.step_size]);
        let value = b.op("Sub", &[&decayed, &change]);
        let state = vec![
            State { kind: "exp_avg", input: mean, updated: new_mean },
            State { kind: "exp_avg_sq", input: square, updated: new_square },
        ];
        Updated { value, state }
    }

    /// In double, as PyTorch computes them: 1 − 0.999 has three digits too few in float. The builder shares them among
    /// parameters.
    fn factors(&self, b: &mut Builder<'_>, scalars: &Scalars, parameter: &str) -> Factors {
        let double =
            |b: &mut Builder<'_>, value: f64| b.constant(&TensorProto::scalar("", DataType::Double as i32, value));
        let one = double(b, 1.0);
        let rate = self.wide(b, &scalars.learning_rate);
        let step = self.wide(b, scalars.step.as_deref().unwrap_or(&scalars.learning_rate));
        let corrected = |b: &mut Builder<'_>, beta: f64| {
            let beta = double(b, beta);
            let power = b.op("Pow", &[&beta, &step]);
            b.op("Sub", &[&one, &power])
        };
        let (first, second) = (corrected(b, self.beta1), corrected(b, self.beta2));
        let step_size = b.op("Div", &[&rate, &first]);
        let correction = b.op("Sqrt", &[&second]);
        let decay = (self.weight_decay != 0.0).then(|| {
            let share = scaled(b, &rate, self.weight_decay);
            let left = b.op("Sub", &[&one, &share]);
            b.cast_like(&left, parameter)
        });
        Factors {
            decay,
            step_size: b.cast_like(&step_size, parameter),
            correction: b.cast_like(&correction, parameter),
        }
    }

    fn wide(&self, b: &mut Builder<'_>, value: &str) -> String {
        b.node("Cast", &[value], |node| node.int("to", DataType::Double as i64))
    }
}
