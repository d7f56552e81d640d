//! Activations other than Relu, Sigmoid, Softplus and Tanh.

use std::f64::consts::{FRAC_1_SQRT_2, PI};

use super::elementwise::{erf, float, sigmoid, softplus};
use super::tensor::Tensor;
use super::{Call, Fault};

/// Runs the node if it is of this family.
pub(super) fn run(call: &Call) -> Result<Option<Vec<Tensor>>, Fault> {
    let alpha = |default: f32| call.float("alpha", default.into());
    let result = match call.node.op() {
        "LeakyRelu" => {
            let alpha = alpha(0.01);
            float(call, |x| if x < 0.0 { alpha * x } else { x })?
        }
        "PRelu" => prelu(call)?,
        "Elu" => {
            let alpha = alpha(1.0);
            float(call, |x| if x < 0.0 { alpha * x.exp_m1() } else { x })?
        }
        "Selu" => {
            let alpha = alpha(1.673_263_2);
            let gamma = call.float("gamma", 1.050_701_f32.into());
            float(call, |x| if x > 0.0 { gamma * x } else { gamma * alpha * x.exp_m1() })?
        }
        "Celu" => {
            let alpha = alpha(1.0);
            // not f64::max and min, which lose NaN
            float(call, |x| if x < 0.0 { alpha * (x / alpha).exp_m1() } else { x })?
        }
        "ThresholdedRelu" => {
            let alpha = alpha(1.0);
            float(call, |x| if x <= alpha { 0.0 } else { x })?
        }
        "Shrink" => {
            let (bias, lambd) = (call.float("bias", 0.0), call.float("lambd", 0.5));
            float(call, |x| match x {
                x if x < -lambd => x + bias,
                x if x > lambd => x - bias,
                x if x.is_nan() => x,
                _ => 0.0,
            })?
        }
        "Softsign" => float(call, |x| x / (1.0 + x.abs()))?,
        "HardSigmoid" => {
            let (alpha, beta) = (alpha(0.2), call.float("beta", 0.5));
            float(call, |x| unit(alpha * x + beta))?
        }
        "HardSwish" => float(call, |x| x * unit(x / 6.0 + 0.5))?,
        "Mish" => float(call, |x| x * softplus(x).tanh())?,
        "Swish" => {
            let alpha = alpha(1.0);
            float(call, |x| x * sigmoid(alpha * x))?
        }
        "Gelu" => match call.string("approximate", "none") {
            "none" => float(call, |x| 0.5 * x * (1.0 + erf(x * FRAC_1_SQRT_2)))?,
            "tanh" => float(call, |x| 0.5 * x * (1.0 + ((2.0 / PI).sqrt() * (x + 0.044_715 * x.powi(3))).tanh()))?,
            other => return Err(Fault::invalid(format!("Gelu with the approximation '{other}'"))),
        },
        _ => return Ok(None),
    };
    Ok(Some(vec![result]))
}

/// Cut to [0, 1]; NaN stays.
fn unit(x: f64) -> f64 {
    x.clamp(0.0, 1.0)
}

/// The slope is broadcast to the input, never the other way.
fn prelu(call: &Call) -> Result<Tensor, Fault> {
    let x = call.input(0)?;
    let slope = call.input(1)?.broadcast_to(&x.dims)?;
    let values = x.as_floats()?.iter().zip(slope.as_floats()?);
    Ok(Tensor::floats(&x.dims, values.map(|(&x, &slope)| if x < 0.0 { slope * x } else { x }).collect()))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::model::{NodeBuilder, node};
    use crate::rewrite::evaluate::{Data, evaluate};

    const XS: [f64; 8] = [-4.0, -1.5, -0.25, 0.0, 0.3, 0.9, 2.0, 5.0];

    #[track_caller]
    fn check(built: NodeBuilder, f: impl Fn(f64) -> f64) {
        let node = built.inputs(["x"]).outputs(["y"]).build();
        let x = Tensor::floats(&[XS.len() + 1], [&XS[..], &[f64::NAN]].concat());
        let values = evaluate(&[&node], HashMap::from([("x".to_owned(), x)]), 22).unwrap();
        let Data::Float(found) = &values["y"].data else { panic!("floats") };
        for (&x, &y) in XS.iter().zip(found) {
            assert!((y - f(x)).abs() < 1e-12, "{}({x}) is {y}, not {}", node.op(), f(x));
        }
        assert!(found[XS.len()].is_nan(), "{} of NaN", node.op());
    }

    /// The formulas of the specification, word for word.
    #[test]
    fn activations_are_those_of_the_specification() {
        let below = |x: f64| f64::from(u8::from(x < 0.0));
        let above = |x: f64| f64::from(u8::from(x >= 0.0));
        let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
        let phi = |x: f64| 0.5 * (1.0 + erf(x / 2.0f64.sqrt()));
        check(node("LeakyRelu").float("alpha", 0.25), |x| below(x) * 0.25 * x + above(x) * x);
        check(node("LeakyRelu"), |x| below(x) * f64::from(0.01f32) * x + above(x) * x);
        check(node("Elu").float("alpha", 1.5), |x| below(x) * 1.5 * (x.exp() - 1.0) + above(x) * x);
        let (alpha, gamma) = (1.673_263_192_176_818_8, 1.050_701_022_148_132_3);
        check(node("Selu"), |x| gamma * (below(x) * (alpha * x.exp() - alpha) + above(x) * x));
        check(node("Celu").float("alpha", 2.0), |x| x.max(0.0) + (2.0 * ((x / 2.0).exp() - 1.0)).min(0.0));
        check(node("ThresholdedRelu"), |x| if x > 1.0 { x } else { 0.0 });
        check(node("Softsign"), |x| x / (1.0 + x.abs()));
        check(node("HardSigmoid"), |x| (f64::from(0.2f32) * x + 0.5).min(1.0).max(0.0));
        check(node("HardSwish"), |x| x * (x / 6.0 + 0.5).min(1.0).max(0.0));
        check(node("Mish"), |x| x * (1.0 + x.exp()).ln().tanh());
        check(node("Swish").float("alpha", 1.5), |x| x * sigmoid(1.5 * x));
        check(node("Gelu"), |x| x * phi(x));
        // 0.0005 is how near the approximation comes
        let node = node("Gelu").string("approximate", "tanh");
        let coarse = |x: f64| 0.5 * x * (1.0 + (0.797_884_560_802_865_4 * (x + 0.044_715 * x * x * x)).tanh());
        assert!(XS.iter().all(|&x| (coarse(x) - x * phi(x)).abs() < 5e-4));
        check(node, coarse);
        check(crate::model::node("Shrink").float("bias", 0.5).float("lambd", 1.0), |x| {
            if x < -1.0 {
                x + 0.5
            } else if x > 1.0 {
                x - 0.5
            } else {
                0.0
            }
        });
    }

    #[test]
    fn a_slope_is_broadcast_to_its_input_only() {
        let node = node("PRelu").inputs(["x", "slope"]).outputs(["y"]).build();
        let run = |x: Tensor, slope: Tensor| {
            let values = HashMap::from([("x".to_owned(), x), ("slope".to_owned(), slope)]);
            evaluate(&[&node], values, 18).map(|values| values["y"].clone())
        };
        let x = Tensor::floats(&[2, 2], vec![-1.0, 2.0, -3.0, -4.0]);
        let found = run(x, Tensor::floats(&[2, 1], vec![0.5, 0.25])).unwrap();
        assert_eq!(found, Tensor::floats(&[2, 2], vec![-0.5, 2.0, -0.75, -1.0]));
        run(Tensor::floats(&[1], vec![1.0]), Tensor::floats(&[2], vec![0.5, 0.25])).unwrap_err();
    }
}
