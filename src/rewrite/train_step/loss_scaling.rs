//! Gradients in float16 without those that are too small for it becoming 0: the loss is scaled before it is
//! differentiated, the parameters' gradients are scaled back; by how much follows the gradients, as in
//! `torch.amp.GradScaler`.
//!
//! ```text
//! gradients = ∂(scale·loss)/∂parameters / scale
//! all finite:  good_steps + 1; after 2000 of them scale·2 and good_steps 0
//! else:        no parameter, nothing that the optimizer remembers; scale/2, good_steps 0, skipped_steps + 1
//! ```
//!
//! All scales are powers of two, so that scaling itself rounds nothing. Unlike PyTorch's they stay between 2⁻⁶⁴ and 2⁶⁴:
//! a scale of 0 or ∞ would be one for ever. The optimizer counts the steps that it made, not those that were left out.
//! Running statistics follow every batch, as in PyTorch: only a forward pass that overflows spoils them, and its loss is
//! no number either.

use crate::model::{DataType, value_info};
use crate::rewrite::gradient::Builder;

use super::signature::{Initial, StatePort};

/// What scales begin with.
const FIRST: i64 = 1 << 16;
/// Steps without an overflow after which the scale is doubled.
const GROWTH_INTERVAL: i64 = 2000;
/// The smallest and the largest scale.
const SMALLEST: f64 = 5.421_010_862_427_522e-20;
const LARGEST: f64 = 1.844_674_407_370_955_2e19;

/// Inputs of a step that scales its loss.
pub(super) struct LossScaling {
    scale: String,
    good_steps: String,
    skipped_steps: String,
}

impl LossScaling {
    /// Adds the inputs `loss_scale` (float32), `good_steps` and `skipped_steps` (int64), scalars.
    pub fn add(b: &mut Builder<'_>) -> Self {
        let mut scalar = |name: &str, data_type: DataType| {
            let name = b.fresh(name);
            b.add_input(value_info(&name, data_type as i32, Some(&[])));
            name
        };
        Self {
            scale: scalar("loss_scale", DataType::Float),
            good_steps: scalar("good_steps", DataType::Int64),
            skipped_steps: scalar("skipped_steps", DataType::Int64),
        }
    }

    /// What the loss is multiplied by.
    pub fn scale(&self) -> &str {
        &self.scale
    }

    /// Gradients of the scaled loss as those of the loss itself.
    pub fn unscaled(&self, b: &mut Builder<'_>, gradients: &[String]) -> Vec<String> {
        b.set_scope("loss_scale");
        let inverse = b.op("Reciprocal", &[&self.scale]);
        let unscaled = |gradient: &String| {
            let own = b.cast_like(&inverse, gradient);
            b.op("Mul", &[gradient, &own])
        };
        gradients.iter().map(unscaled).collect()
    }

    /// The number of this step without those that were left out, from 1.
    pub fn counted(&self, b: &mut Builder<'_>, step: &str) -> String {
        b.set_scope("loss_scale");
        b.op("Sub", &[step, &self.skipped_steps])
    }
}

/// What a step does whose gradients left the range of numbers.
pub(super) struct Overflow<'a> {
    pub scaling: &'a LossScaling,
    /// Whether they did not: a bool scalar.
    finite: String,
}

impl<'a> Overflow<'a> {
    /// `norm` of all gradients is a number where all of them are (and no square leaves the range of float32).
    pub fn of(b: &mut Builder<'_>, scaling: &'a LossScaling, norm: &str) -> Self {
        b.set_scope("loss_scale");
        Self { scaling, finite: b.with_number("Less", norm, f64::INFINITY) }
    }

    /// A new value, or the old one where gradients overflowed.
    pub fn unless(&self, b: &mut Builder<'_>, new: &str, old: &str) -> String {
        b.op("Where", &[&self.finite, new, old])
    }

    /// The state of the scale after the step; each with the value that it becomes.
    pub fn update(&self, b: &mut Builder<'_>) -> [(StatePort, String); 3] {
        b.set_scope("loss_scale");
        let LossScaling { scale, good_steps, skipped_steps } = self.scaling;
        let (zero, one) = (b.int(0), b.int(1));
        let good = b.op("Add", &[good_steps, &one]);
        let interval = b.int(GROWTH_INTERVAL);
        let grows = b.op("Equal", &[&good, &interval]);
        let larger = b.with_number("Mul", scale, 2.0);
        let larger = b.with_number("Min", &larger, LARGEST);
        let smaller = b.with_number("Mul", scale, 0.5);
        let smaller = b.with_number("Max", &smaller, SMALLEST);
        let kept = b.op("Where", &[&grows, &larger, scale]);
        let kept = self.unless(b, &kept, &smaller);
        let good = b.op("Where", &[&grows, &zero, &good]);
        let good = self.unless(b, &good, &zero);
        let skipped = b.op("Add", &[skipped_steps, &one]);
        let skipped = self.unless(b, skipped_steps, &skipped);
        [
            (port(scale, "loss_scale", "float32", Initial::Value(FIRST)), kept),
            (port(good_steps, "good_steps", "int64", Initial::Zeros), good),
            (port(skipped_steps, "skipped_steps", "int64", Initial::Zeros), skipped),
        ]
    }
}

fn port(name: &str, kind: &str, data_type: &str, initial: Initial) -> StatePort {
    StatePort {
        name: name.to_owned(),
        updated: String::new(),
        parameter: None,
        kind: kind.to_owned(),
        initial,
        data_type: data_type.to_owned(),
        shape: Vec::new(),
    }
}
