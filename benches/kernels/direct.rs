//! The loss of one row in float64, in time proportional to its classes.
//!
//! `elonnx::loss::reference` is the oracle, but with label smoothing it takes time quadratic in the classes. This takes
//! each class out of one common sum instead, and is held against the oracle on small shapes at every start.

use std::error::Error;

use elonnx::loss::{EncouragingLoss, reference};

/// Loss (before reduction), soft margin and gradient of a row.
pub struct Row {
    pub loss: f64,
    pub margin: f64,
    pub gradient: Vec<f64>,
}

/// The row's loss with the log bonus and no class weights.
pub fn row(loss: &EncouragingLoss, logits: &[f64], label: usize) -> Row {
    let max = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let powers: Vec<f64> = logits.iter().map(|z| (z - max).exp()).collect();
    let sum: f64 = powers.iter().sum();
    let margin_loss = |class: usize| {
        // where the class has most of the sum, the difference would cancel
        let others = if powers[class] > 0.5 * sum { sum_without(&powers, class) } else { sum - powers[class] };
        (others.ln() + max - logits[class], others)
    };
    let smooth = f64::from(loss.label_smoothing()) / logits.len() as f64;
    let hard = 1.0 - f64::from(loss.label_smoothing());
    let mut result = Row { loss: 0.0, margin: -margin_loss(label).0, gradient: vec![0.0; logits.len()] };
    // Σ_j a_j·f′(m_j)·p_k/(1 − p_j) over j ≠ k: the sum over all j, and each k takes its own out
    let (mut shared, mut own) = (0.0, vec![0.0; logits.len()]);
    for (class, own) in own.iter_mut().enumerate() {
        let weight = smooth + if class == label { hard } else { 0.0 };
        if weight == 0.0 {
            continue;
        }
        let (m, others) = margin_loss(class);
        let (value, slope) = value_and_slope(f64::from(loss.log_end()), m);
        result.loss += weight * value;
        result.gradient[class] -= weight * slope;
        *own = weight * slope / others;
        shared += *own;
    }
    for ((gradient, power), own) in result.gradient.iter_mut().zip(&powers).zip(own) {
        *gradient += power * if shared == own { 0.0 } else { shared - own };
    }
    result
}

fn sum_without(powers: &[f64], class: usize) -> f64 {
    powers[..class].iter().sum::<f64>() + powers[class + 1..].iter().sum::<f64>()
}

/// f(m) and f′(m) of the log bonus, continued by its tangent above `log_end`.
fn value_and_slope(log_end: f64, m: f64) -> (f64, f64) {
    let p = 1.0 / (1.0 + m.exp());
    if p <= log_end {
        return (m, 1.0);
    }
    let minus_log_p = m.exp().ln_1p();
    let above = (p - log_end) / (1.0 - log_end);
    (minus_log_p + (1.0 - log_end).ln() - above, (1.0 - p) * (1.0 + p / (1.0 - log_end)))
}

/// Holds [`row`] against the oracle.
///
/// # Errors
/// The first number that differs.
pub fn check() -> Result<(), Box<dyn Error>> {
    for smoothing in [0.0, 0.1] {
        let loss = EncouragingLoss::builder().label_smoothing(smoothing).build()?;
        for (classes, label) in [(2, 0), (10, 3), (100, 99)] {
            for scale in [0.5, 6.0] {
                let logits: Vec<f64> = (0..classes).map(|i| scale * f64::from(i * 37 % 101).sin()).collect();
                let input = reference::Input {
                    logits: &logits,
                    shape: &[1, logits.len()],
                    labels: &[label as i64],
                    class_weights: None,
                    bonus_weight: None,
                };
                let oracle = reference::evaluate(&loss, &input, &[1.0])?;
                let found = row(&loss, &logits, label);
                let pairs = [(found.loss, oracle.loss[0]), (found.margin, oracle.margin[0])];
                for (found, oracle) in pairs.into_iter().chain(found.gradient.into_iter().zip(oracle.dlogits)) {
                    if (found - oracle).abs() > 1e-12 * (1.0 + oracle.abs()) {
                        return Err(format!(
                            "the benchmark's own formula gives {found}, the reference {oracle} ({classes} classes, \
                             label smoothing {smoothing}); mend benches/kernels/direct.rs"
                        )
                        .into());
                    }
                }
            }
        }
    }
    Ok(())
}
