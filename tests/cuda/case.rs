//! A problem for the operators: its run on a device, held against the f64 reference.

mod check;
mod run;

use elonnx::loss::reference::Input;
use elonnx::loss::{Bonus, EncouragingLoss, Reduction};

pub use check::{check, check_fused};
pub use run::{CUDA, Outcome, Precision, Run, node};

/// A problem in f64, and how it lies in the device's memory; [`Case::rounded`] is what the type under test makes of it.
#[derive(Clone, Debug)]
pub struct Case {
    pub loss: EncouragingLoss,
    pub shape: Vec<usize>,
    pub logits: Vec<f64>,
    pub labels: Vec<i64>,
    pub class_weights: Option<Vec<f64>>,
    /// ρ as an input
    pub bonus_weight: Option<f32>,
    /// one number, or one per row
    pub dloss: Vec<f64>,
    /// where logits and dlogits begin, in elements after an aligned address
    pub offsets: [usize; 2],
}

impl Case {
    /// Defaults of the operator, logits between −8 and 8, labels all over the classes, all from a seed.
    pub fn of_shape(shape: &[usize], seed: u64) -> Case {
        let mut random = fastrand::Rng::with_seed(seed);
        let (elements, classes) = (shape.iter().product::<usize>(), shape[1]);
        let rows = shape[0] * shape[2..].iter().product::<usize>();
        Case {
            loss: EncouragingLoss::default(),
            shape: shape.to_vec(),
            logits: (0..elements).map(|_| random.f64() * 16.0 - 8.0).collect(),
            labels: (0..rows).map(|_| random.i64(0..classes as i64)).collect(),
            class_weights: None,
            bonus_weight: None,
            dloss: vec![-1.5],
            offsets: [0, 0],
        }
    }

    pub fn rows(&self) -> usize {
        self.labels.len()
    }

    pub fn classes(&self) -> usize {
        self.shape[1]
    }

    /// The product of the axes after the classes.
    pub fn inner(&self) -> usize {
        self.shape[2..].iter().product()
    }

    /// [N, d…]
    pub fn labels_shape(&self) -> Vec<usize> {
        self.shape[..1].iter().chain(&self.shape[2..]).copied().collect()
    }

    pub fn loss_shape(&self) -> Vec<usize> {
        if self.loss.reduction() == Reduction::None { self.labels_shape() } else { vec![] }
    }

    /// Where a class of a row is.
    pub fn index(&self, row: usize, class: usize) -> usize {
        let inner = self.inner();
        (row / inner * self.classes() + class) * inner + row % inner
    }

    pub fn input(&self) -> Input<'_> {
        Input {
            logits: &self.logits,
            shape: &self.shape,
            labels: &self.labels,
            class_weights: self.class_weights.as_deref(),
            bonus_weight: self.bonus_weight,
        }
    }

    /// With other parameters.
    pub fn with(&self, loss: EncouragingLoss) -> Case {
        Case { loss, ..self.clone() }
    }

    /// Class weights between 0.5 and 2, one of five 0.
    pub fn with_weights(self, seed: u64) -> Case {
        let mut random = fastrand::Rng::with_seed(seed);
        let weight = |_| if random.u8(0..5) == 0 { 0.0 } else { 0.5 + 1.5 * random.f64() };
        Case { class_weights: Some((0..self.classes()).map(weight).collect()), ..self }
    }

    /// One dloss per row, for reduction none.
    pub fn with_dloss_per_row(self, seed: u64) -> Case {
        let mut random = fastrand::Rng::with_seed(seed);
        Case { dloss: self.labels.iter().map(|_| random.f64() * 4.0 - 2.0).collect(), ..self }
    }

    /// As the type under test sees it.
    pub fn rounded<T: Precision>(&self) -> Case {
        let round = |values: &[f64]| values.iter().map(|&x| T::from_f64(x).to_f64()).collect::<Vec<_>>();
        Case {
            logits: round(&self.logits),
            class_weights: self.class_weights.as_deref().map(round),
            dloss: round(&self.dloss),
            ..self.clone()
        }
    }

    /// Enough to find the test's line by: everything but the numbers.
    pub fn describe(&self) -> String {
        let Case { loss, shape, offsets, .. } = self;
        let bonus = match loss.bonus() {
            Bonus::Log => format!("log up to {}", loss.log_end()),
            Bonus::Power => format!("power {}", loss.power()),
            Bonus::Cosine => "cosine".to_owned(),
        };
        let given = |there: bool| if there { "with" } else { "without" };
        format!(
            "shape {shape:?}, offsets {offsets:?}, bonus {bonus} × {} (input {:?}), smoothing {}, {}, ignore {:?}, {} \
             weights, {} dloss",
            loss.bonus_weight(),
            self.bonus_weight,
            loss.label_smoothing(),
            loss.reduction(),
            loss.ignore_index(),
            given(self.class_weights.is_some()),
            self.dloss.len(),
        )
    }
}
