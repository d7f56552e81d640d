//! One optimizer step in a graph.

use crate::model::{DataType, value_info};
use crate::rewrite::gradient::Builder;

use super::{Optimizer, adamw, sgd};

/// A parameter with its gradient.
pub(crate) struct Trained {
    /// The value of the parameter, also its name.
    pub parameter: String,
    /// The value of its gradient.
    pub gradient: String,
}

/// What the optimizer remembers of a parameter.
pub(crate) struct State {
    /// "momentum_buffer", "exp_avg", "exp_avg_sq".
    pub kind: &'static str,
    /// The input.
    pub input: String,
    /// The value that it becomes.
    pub updated: String,
}

/// A parameter after the step.
pub(crate) struct Updated {
    /// Its new value.
    pub value: String,
    /// What is remembered of it, in a fixed order.
    pub state: Vec<State>,
}

/// Inputs that all parameters share.
pub(crate) struct Scalars {
    /// float32
    pub learning_rate: String,
    /// int64, counted from 1; None where the optimizer does not count.
    pub step: Option<String>,
}

impl Scalars {
    /// Adds the inputs that an optimizer needs; None for one that updates nothing.
    pub fn add(b: &mut Builder<'_>, optimizer: &Optimizer) -> Option<Self> {
        let mut scalar = |name: &str, data_type: DataType| {
            let name = b.fresh(name);
            b.add_input(value_info(&name, data_type as i32, Some(&[])));
            name
        };
        match optimizer {
            Optimizer::None => None,
            Optimizer::Sgd { .. } => Some(Self { learning_rate: scalar("learning_rate", DataType::Float), step: None }),
            Optimizer::AdamW { .. } => Some(Self {
                learning_rate: scalar("learning_rate", DataType::Float),
                step: Some(scalar("step", DataType::Int64)),
            }),
        }
    }
}

/// The new value of each parameter, and its state, which becomes inputs of the graph. None for [`Optimizer::None`].
pub(crate) fn update(
    b: &mut Builder<'_>,
    optimizer: &Optimizer,
    scalars: &Scalars,
    trained: &[Trained],
) -> Option<Vec<Updated>> {
    let all = match *optimizer {
        Optimizer::None => return None,
        Optimizer::Sgd { momentum, nesterov, weight_decay } => {
            let rule = sgd::Sgd { momentum, nesterov, weight_decay };
            trained.iter().map(|one| rule.update(b, scalars, one)).collect()
        }
        Optimizer::AdamW { beta1, beta2, epsilon, weight_decay } => {
            let rule = adamw::AdamW { beta1, beta2, epsilon, weight_decay };
            trained.iter().map(|one| adamw::update_adamw(b, &rule, scalars, one)).collect()
        }
    };
    Some(all)
}

/// Adds an input "PARAMETER/KIND" in the type and shape of the parameter.
pub(super) fn add_state(b: &mut Builder<'_>, parameter: &str, kind: &str) -> String {
    let name = b.fresh(&format!("{parameter}/{kind}"));
    let found = b.value_type(parameter);
    b.add_input(value_info(&name, found.data_type.unwrap_or_default(), found.dims.as_deref()));
    name
}

/// value · factor, and nothing where the factor is 1.
pub(super) fn scaled(b: &mut Builder<'_>, value: &str, factor: f64) -> String {
    if factor == 1.0 {
        return value.to_owned();
    }
    let factor = b.number(value, factor);
    b.op("Mul", &[value, &factor])
}
