//! Random problems for the tests of this room.

use proptest::prelude::*;

use super::encouraging_loss::{Bonus, EncouragingLoss, Reduction};
use super::reference::Input;

/// A problem in f64; tests round it to the type under test.
#[derive(Clone, Debug)]
pub struct Case {
    pub loss: EncouragingLoss,
    pub shape: Vec<usize>,
    pub logits: Vec<f64>,
    pub labels: Vec<i64>,
    pub class_weights: Option<Vec<f64>>,
    pub dloss: Vec<f64>,
}

impl Case {
    pub fn input(&self) -> Input<'_> {
        Input {
            logits: &self.logits,
            shape: &self.shape,
            labels: &self.labels,
            class_weights: self.class_weights.as_deref(),
            bonus_weight: None,
        }
    }
}

/// Any valid parameters.
pub fn loss() -> impl Strategy<Value = EncouragingLoss> {
    let bonus = prop::sample::select(vec![Bonus::Log, Bonus::Log, Bonus::Power, Bonus::Cosine]);
    let log_end = prop_oneof![Just(1.0f32), Just(0.75), 0.05f32..1.0];
    let bonus_weight = prop_oneof![Just(1.0f32), Just(0.0), 0.0f32..3.0];
    let smoothing = prop_oneof![3 => Just(0.0f32), 2 => 0.0f32..=1.0];
    let reduction = prop::sample::select(vec![Reduction::Mean, Reduction::Sum, Reduction::None]);
    let ignore = prop::sample::select(vec![None, Some(-100i64), Some(1)]);
    (bonus, log_end, 0.3f32..5.0, bonus_weight, smoothing, reduction, ignore).prop_map(
        |(bonus, log_end, power, bonus_weight, smoothing, reduction, ignore)| {
            EncouragingLoss::builder()
                .bonus(bonus)
                .log_end(log_end)
                .power(power)
                .bonus_weight(bonus_weight)
                .label_smoothing(smoothing)
                .reduction(reduction)
                .ignore_index(ignore)
                .build()
                .unwrap()
        },
    )
}

/// A small problem whose logits are as large as one of `scales`.
pub fn case(scales: &'static [f64]) -> impl Strategy<Value = Case> {
    let shape = (1usize..5, 2usize..9, prop::collection::vec(1usize..4, 0..3)).prop_map(|(n, c, inner)| {
        let mut shape = vec![n, c];
        shape.extend(inner);
        shape
    });
    (loss(), shape, prop::sample::select(scales)).prop_flat_map(|(loss, shape, scale)| {
        let (elements, classes) = (shape.iter().product::<usize>(), shape[1]);
        let rows = elements / classes;
        let losses = if loss.reduction() == Reduction::None { rows } else { 1 };
        let ignored = loss.ignore_index().unwrap_or(0);
        let label = prop_oneof![4 => 0..classes as i64, 1 => Just(ignored)];
        let weights = prop::collection::vec(prop_oneof![4 => 0.1..3.0f64, 1 => Just(0.0)], classes);
        (
            prop::collection::vec(-scale..scale, elements),
            prop::collection::vec(label, rows),
            prop::option::of(weights),
            prop::collection::vec(-2.0..2.0f64, losses),
        )
            .prop_map(move |(logits, labels, class_weights, dloss)| Case {
                loss,
                shape: shape.clone(),
                logits,
                labels,
                class_weights,
                dloss,
            })
    })
}
