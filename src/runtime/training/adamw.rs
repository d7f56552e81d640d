//! `AdamW`

use super::{FLOAT, INT64, OutputShape, Run, Training, allocate, on_threads, one_number, require};
use crate::kernels::adamw::{AdamW, After, Before};
use crate::runtime::abi::{Context, Failure, NodeInfo};
use crate::runtime::attributes::real;

/// `AdamW`(parameter, gradient, exp_avg, exp_avg_sq, learning_rate, step, scale) → parameter, exp_avg, exp_avg_sq
pub(super) const OPERATOR: Training = Training {
    name: "AdamW",
    inputs: &[FLOAT, FLOAT, FLOAT, FLOAT, FLOAT, INT64, FLOAT],
    outputs: &[FLOAT, FLOAT, FLOAT],
    shapes: &[OutputShape::Like(0), OutputShape::Like(2), OutputShape::Like(3)],
    create,
};

fn create(node: &NodeInfo) -> Result<Box<dyn Run>, Failure> {
    Ok(Box::new(AdamW {
        beta1: real(node, c"beta1", 0.9)?,
        beta2: real(node, c"beta2", 0.999)?,
        epsilon: real(node, c"epsilon", 1e-8)?,
        weight_decay: real(node, c"weight_decay", 0.01)?,
    }))
}

impl Run for AdamW {
    fn run(&self, context: &Context) -> Result<(), Failure> {
        let parameter = require(context, 0, "parameter")?;
        let before = Before {
            parameter: parameter.values()?,
            gradient: require(context, 1, "gradient")?.values()?,
            exp_avg: require(context, 2, "exp_avg")?.values()?,
            exp_avg_sq: require(context, 3, "exp_avg_sq")?.values()?,
            learning_rate: one_number(context, 4, "learning_rate")?,
            step: one_number(context, 5, "step")?,
            scale: one_number(context, 6, "scale")?,
        };
        let after = After {
            parameter: allocate(context, 0, "parameter", parameter.dims())?,
            exp_avg: allocate(context, 1, "exp_avg", parameter.dims())?,
            exp_avg_sq: allocate(context, 2, "exp_avg_sq", parameter.dims())?,
        };
        on_threads(context, |threads| self.step(threads, &before, after))
    }
}
