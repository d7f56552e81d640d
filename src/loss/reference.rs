//! The plain f64 oracle: the loss and its gradient written down as defined, one row at a time.
//!
//! Everything that computes the loss (kernels, function bodies, plugin) is held against this. It is written to be
//! read: loops over classes inside loops over classes, no statistics shared between rows, and the bonus in terms of
//! p rather than of m. It shares no code with the kernels. The label is kept out of the log-sum-exp, so that it is
//! exact where p is close to 1.

use super::encouraging_loss::{Bonus, EncouragingLoss, Reduction};
use super::error::LossError;
use super::shape::Shape;

/// Inputs of the loss, in f64.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// Logits, N·C·d… elements in row-major order.
    pub logits: &'a [f64],
    /// Dimensions of the logits: [N, C, d…].
    pub shape: &'a [usize],
    /// Labels, N·d… elements.
    pub labels: &'a [i64],
    /// Class weights, C elements.
    pub class_weights: Option<&'a [f64]>,
    /// ρ where it is an input; wins over the parameter.
    pub bonus_weight: Option<f32>,
}

/// What [`evaluate`] gives.
#[derive(Clone, Debug, PartialEq)]
pub struct Evaluation {
    /// One element for reduction mean and sum, one per row for none.
    pub loss: Vec<f64>,
    /// The soft margin −m of each row's label; 0 for ignored rows.
    pub margin: Vec<f64>,
    /// Gradient with respect to the logits, in their shape.
    pub dlogits: Vec<f64>,
}

/// Loss, soft margin and gradient.
///
/// `dloss` is the gradient of the loss output: one element, or one per row; one element serves all rows.
///
/// # Errors
/// A length that does not fit the shape, fewer than two classes, a label outside [0, C) that is not `ignore_index`,
/// `bonus_weight` outside its range.
pub fn evaluate(loss: &EncouragingLoss, input: &Input<'_>, dloss: &[f64]) -> Result<Evaluation, LossError> {
    let loss = match input.bonus_weight {
        Some(rho) => loss.to_builder().bonus_weight(rho).build()?,
        None => *loss,
    };
    let shape = Shape::new(input.shape)?;
    let (rows, classes, inner) = (shape.rows(), shape.classes(), shape.inner());
    let per_row = loss.reduction() == Reduction::None && dloss.len() != 1;
    for (tensor, expected, found) in [
        ("logits", shape.elements(), input.logits.len()),
        ("labels", rows, input.labels.len()),
        ("class_weights", classes, input.class_weights.map_or(classes, <[f64]>::len)),
        ("dloss", if per_row { rows } else { 1 }, dloss.len()),
    ] {
        if expected != found {
            return Err(LossError::Length { tensor, expected, found });
        }
    }
    let ones = vec![1.0; classes];
    let weights = input.class_weights.unwrap_or(&ones);
    let labels = labels(&loss, input.labels, classes)?;
    let index = |row: usize, class: usize| (row / inner * classes + class) * inner + row % inner;

    let sum_of_weights: f64 = labels.iter().flatten().map(|&label| weights[label]).sum();
    // what a row's weighted loss is multiplied by before the rows are added up
    let share = match loss.reduction() {
        Reduction::Mean if sum_of_weights == 0.0 => 0.0,
        Reduction::Mean => 1.0 / sum_of_weights,
        Reduction::Sum | Reduction::None => 1.0,
    };
    let mut losses = vec![0.0; rows];
    let mut margin = vec![0.0; rows];
    let mut dlogits = vec![0.0; input.logits.len()];
    for row in 0..rows {
        let Some(label) = labels[row] else { continue };
        let z: Vec<f64> = (0..classes).map(|class| input.logits[index(row, class)]).collect();
        let upstream = share * dloss[if per_row { row } else { 0 }];
        losses[row] = row_loss(&loss, &z, label, weights);
        margin[row] = -margin_loss(&z, label);
        for (class, gradient) in row_gradient(&loss, &z, label, weights).into_iter().enumerate() {
            dlogits[index(row, class)] = upstream * gradient;
        }
    }
    let loss = match loss.reduction() {
        Reduction::None => losses,
        Reduction::Mean | Reduction::Sum => vec![times(share, losses.iter().sum())],
    };
    Ok(Evaluation { loss, margin, dlogits })
}

/// The class of each row; `None` for an ignored row.
fn labels(loss: &EncouragingLoss, labels: &[i64], classes: usize) -> Result<Vec<Option<usize>>, LossError> {
    labels
        .iter()
        .enumerate()
        .map(|(row, &label)| {
            if loss.ignore_index() == Some(label) {
                Ok(None)
            } else if (0..classes as i64).contains(&label) {
                Ok(Some(label as usize))
            } else {
                Err(LossError::Label { row, label, classes })
            }
        })
        .collect()
}

/// Σ_j a_j·f(m_j), with a_j = (1 − ε)·w_y·[j = y] + ε/C·w_j.
fn row_loss(loss: &EncouragingLoss, z: &[f64], label: usize, weights: &[f64]) -> f64 {
    (0..z.len())
        .map(|class| (smoothed_weight(loss, class, label, weights), class))
        // without label smoothing the other classes do not take part at all
        .filter(|&(_, class)| class == label || loss.label_smoothing() > 0.0)
        .map(|(weight, class)| times(weight, class_loss(loss, margin_loss(z, class))))
        .sum()
}

/// The gradient of [`row_loss`]: Σ_j a_j·f′(m_j)·∂m_j/∂z, where ∂m_j/∂z_j = −1 and ∂m_j/∂z_k is the softmax over the
/// classes other than j.
fn row_gradient(loss: &EncouragingLoss, z: &[f64], label: usize, weights: &[f64]) -> Vec<f64> {
    let mut gradient = vec![0.0; z.len()];
    for class in 0..z.len() {
        if class != label && loss.label_smoothing() == 0.0 {
            continue;
        }
        let slope = smoothed_weight(loss, class, label, weights) * class_loss_slope(loss, margin_loss(z, class));
        for (other, share) in softmax_without(z, class).into_iter().enumerate() {
            gradient[other] += if other == class { -slope } else { slope * share };
        }
    }
    gradient
}

fn smoothed_weight(loss: &EncouragingLoss, class: usize, label: usize, weights: &[f64]) -> f64 {
    let epsilon = f64::from(loss.label_smoothing());
    let smooth = epsilon / weights.len() as f64 * weights[class];
    if class == label { (1.0 - epsilon) * weights[label] + smooth } else { smooth }
}

/// m = log Σ_{j≠y} exp(z_j − z_y); a masked class (−∞) takes no part in the sum.
fn margin_loss(z: &[f64], label: usize) -> f64 {
    let differences: Vec<f64> = (0..z.len())
        .filter(|&class| class != label && z[class] != f64::NEG_INFINITY)
        .map(|class| z[class] - z[label])
        .collect();
    if differences.is_empty() {
        return f64::NEG_INFINITY - z[label];
    }
    if differences.iter().any(|d| d.is_nan()) {
        return f64::NAN;
    }
    let max = differences.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if max.is_infinite() {
        return max;
    }
    max + differences.iter().map(|d| (d - max).exp()).sum::<f64>().ln()
}

/// Softmax over all classes but one, whose entry is 0. Masked classes have no share, even if all are masked; several
/// logits of +∞ share equally.
fn softmax_without(z: &[f64], label: usize) -> Vec<f64> {
    let others = || (0..z.len()).filter(|&class| class != label);
    let max = others().map(|class| z[class]).fold(f64::NEG_INFINITY, f64::max);
    let mut shares = vec![0.0; z.len()];
    for class in others() {
        shares[class] = match z[class] {
            f64::NEG_INFINITY => 0.0,
            same if same == max => 1.0,
            value => (value - max).exp(),
        };
    }
    let sum: f64 = shares.iter().sum();
    if sum != 0.0 {
        shares.iter_mut().for_each(|share| *share /= sum);
    }
    shares
}

/// log(1 + e^x)
fn softplus(x: f64) -> f64 {
    if x > 0.0 { x + (-x).exp().ln_1p() } else { x.exp().ln_1p() }
}

/// −log p + ρ·b(p) at p = σ(−m), bonuses as defined in the paper.
fn class_loss(loss: &EncouragingLoss, m: f64) -> f64 {
    let minus_log_p = softplus(m);
    let log_1_minus_p = -softplus(-m);
    let p = (-minus_log_p).exp();
    let log_end = f64::from(loss.log_end());
    let bonus = match loss.bonus() {
        Bonus::Log if p <= log_end || log_end == 1.0 => log_1_minus_p,
        Bonus::Log => (1.0 - log_end).ln() - (p - log_end) / (1.0 - log_end),
        Bonus::Power => -p.powf(f64::from(loss.power())),
        Bonus::Cosine => (std::f64::consts::PI * p).cos() - 1.0,
    };
    minus_log_p + times(f64::from(loss.bonus_weight()), bonus)
}

/// The derivative of [`class_loss`]: (1 − p) − ρ·b′(p)·p·(1 − p), by dp/dm = −p·(1 − p).
fn class_loss_slope(loss: &EncouragingLoss, m: f64) -> f64 {
    let p = (-softplus(m)).exp();
    let q = (-softplus(-m)).exp();
    let log_end = f64::from(loss.log_end());
    let bonus = match loss.bonus() {
        // b′ = −1/(1 − p), which cancels the factor 1 − p
        Bonus::Log if p <= log_end || log_end == 1.0 => p,
        Bonus::Log => p * q / (1.0 - log_end),
        Bonus::Power => f64::from(loss.power()) * p.powf(f64::from(loss.power())) * q,
        Bonus::Cosine => std::f64::consts::PI * (std::f64::consts::PI * p).sin() * p * q,
    };
    q + f64::from(loss.bonus_weight()) * bonus
}

/// A factor of 0 takes infinity out too; NaN stays.
fn times(factor: f64, x: f64) -> f64 {
    if factor == 0.0 && x.is_infinite() { 0.0 } else { factor * x }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{self, Case};
    use super::*;
    use proptest::prelude::*;

    /// L = Σ dloss·loss, moved along one logit.
    fn objective(case: &Case, logits: &[f64]) -> f64 {
        let input = Input { logits, ..case.input() };
        let out = evaluate(&case.loss, &input, &case.dloss).unwrap();
        out.loss.iter().zip(&case.dloss).map(|(l, d)| l * d).sum()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]

        #[test]
        fn gradient_is_the_finite_difference_of_the_loss(case in testing::case(&[1.0, 4.0])) {
            let analytic = evaluate(&case.loss, &case.input(), &case.dloss).unwrap().dlogits;
            let h = 1e-6;
            for i in 0..case.logits.len() {
                let mut moved = case.logits.clone();
                moved[i] += h;
                let above = objective(&case, &moved);
                moved[i] -= 2.0 * h;
                let below = objective(&case, &moved);
                let difference = (above - below) / (2.0 * h);
                prop_assert!(
                    (difference - analytic[i]).abs() < 3e-6 * (1.0 + analytic[i].abs()),
                    "logit {i}: {difference} by differences, {} analytically", analytic[i]
                );
            }
        }
    }

    /// torch.nn.functional.cross_entropy(z, y, weight=w, ignore_index=-100, reduction='mean', label_smoothing=0.1)
    /// written out: (0.9·Σ w_y·nll + 0.1/3·Σ_rows Σ_j w_j·nll_j) / Σ w_y.
    #[test]
    fn label_smoothing_and_class_weights_enter_as_in_pytorch() {
        let z = [[0.5, -1.0, 2.0], [1.5, 0.0, -0.5], [9.0, 9.0, 9.0]];
        let w = [1.0, 2.0, 0.5];
        let loss = EncouragingLoss::cross_entropy()
            .to_builder()
            .label_smoothing(0.125)
            .ignore_index(Some(-100))
            .build()
            .unwrap();
        let input = Input {
            logits: &z.concat(),
            shape: &[3, 3],
            labels: &[2, 1, -100],
            class_weights: Some(&w),
            bonus_weight: None,
        };
        let nll = |row: usize, class: usize| z[row].iter().map(|x| x.exp()).sum::<f64>().ln() - z[row][class];
        let smooth: f64 = (0..2).map(|row| (0..3).map(|j| w[j] * nll(row, j)).sum::<f64>()).sum();
        let hard = w[2] * nll(0, 2) + w[1] * nll(1, 1);
        let expected = (0.875 * hard + 0.125 / 3.0 * smooth) / (w[2] + w[1]);
        let out = evaluate(&loss, &input, &[1.0]).unwrap();
        assert!((out.loss[0] - expected).abs() < 1e-14, "{} {expected}", out.loss[0]);
    }

    /// Losses and gradients by PyTorch, where the project's shared data is at hand.
    #[test]
    fn cross_entropy_is_pytorchs() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/models/exports_loss/reference_torch.npz");
        let Ok(file) = std::fs::File::open(path) else {
            println!("skipped: no {path}");
            return;
        };
        let mut npz = ndarray_npy::NpzReader::new(file).unwrap();
        let plain = EncouragingLoss::cross_entropy().to_builder();
        for (name, builder) in [
            ("ce_mean", plain),
            ("ce_sum", plain.reduction(Reduction::Sum)),
            ("ce_ignore-100", plain.ignore_index(Some(-100))),
            ("ce_smooth0.1", plain.label_smoothing(0.1)),
            ("ce_3d_ncd", plain),
            ("ce_3d_ignore", plain.ignore_index(Some(-100))),
        ] {
            let mut array = |what: &str| -> ndarray::ArrayD<f32> { npz.by_name(&format!("{name}/{what}")).unwrap() };
            let (logits, loss, dlogits) = (array("logits"), array("loss"), array("dloss_dlogits"));
            let labels: ndarray::ArrayD<i64> = npz.by_name(&format!("{name}/labels")).unwrap();
            let values: Vec<f64> = logits.iter().map(|&x| x.into()).collect();
            let labels: Vec<i64> = labels.iter().copied().collect();
            let input = Input {
                logits: &values,
                shape: logits.shape(),
                labels: &labels,
                class_weights: None,
                bonus_weight: None,
            };
            let out = evaluate(&builder.build().unwrap(), &input, &[1.0]).unwrap();
            assert!((out.loss[0] / f64::from(loss.sum()) - 1.0).abs() < 1e-6, "{name}");
            for (got, expected) in out.dlogits.iter().zip(&dlogits) {
                assert!((got - f64::from(*expected)).abs() < 1e-6, "{name}: {got} {expected}");
            }
        }
    }

    /// The paper's own form, on probabilities.
    #[test]
    fn encouraging_loss_is_cross_entropy_plus_the_papers_bonus() {
        let z = [1.0, 0.25, -0.5f64];
        let sum: f64 = z.iter().map(|x| x.exp()).sum();
        let p = z[0].exp() / sum;
        for (log_end, bonus) in [(0.75f32, (1.0 - p).ln()), (0.25, 0.75f64.ln() - (p - 0.25) / 0.75)] {
            let loss = EncouragingLoss::builder().log_end(log_end).build().unwrap();
            let input = Input { logits: &z, shape: &[1, 3], labels: &[0], class_weights: None, bonus_weight: None };
            let out = evaluate(&loss, &input, &[1.0]).unwrap();
            assert!((out.loss[0] - (bonus - p.ln())).abs() < 1e-14);
        }
    }
}
