//! Activations. Masks come from the output where it tells as much as the input, which then need not be kept.

use std::f64::consts::{FRAC_1_SQRT_2, PI};

use super::backward::{Backward, Refusal, Vjp, refusal};

pub(super) const RULES: &[(&str, Vjp)] = &[
    ("Relu", relu),
    ("LeakyRelu", leaky_relu),
    ("PRelu", prelu),
    ("ThresholdedRelu", thresholded_relu),
    ("Shrink", shrink),
    ("Elu", elu),
    ("Selu", selu),
    ("Celu", celu),
    ("Sigmoid", sigmoid),
    ("Tanh", tanh),
    ("Softplus", softplus),
    ("Softsign", softsign),
    ("HardSigmoid", hard_sigmoid),
    ("HardSwish", hard_swish),
    ("Mish", mish),
    ("Gelu", gelu),
    ("Swish", swish),
];

/// dx = dy·`slope`
fn give_times(c: &mut Backward<'_, '_>, slope: &str) -> Result<(), Refusal> {
    let dy = c.dy()?;
    let dx = c.b.op("Mul", &[&dy, slope]);
    c.give(0, dx);
    Ok(())
}

/// `Relu`, y = max(x, 0): dx = dy where y > 0.
fn relu(c: &mut Backward<'_, '_>) -> Result<(), Refusal> {
    let (dy, y) = (c.dy()?, c.y(0));
    let mask = c.b.with_number("Greater", &y, 0.0);
    let dx = c.b.masked(&mask, &dy);
    c.give(0, dx);
    Ok(())
}

/// `LeakyRelu`, y = x where x > 0, else αx: dx = dy where x > 0, else α·dy. With α > 0 the sign of y is that of x.
fn leaky_relu(c: &mut Backward<'_, '_>) -> Result<(), Refusal> {
    let dy = c.dy()?;
    let alpha = c.float("alpha", 0.01);
    let signed = if alpha > 0.0 { c.y(0) } else { c.x(0) };
    let mask = c.b.with_number("Greater", &signed, 0.0);
    let scaled = c.b.with_number("Mul", &dy, alpha);
    let dx = c.b.op("Where", &[&mask, &dy, &scaled]);
    c.give(0, dx);
    Ok(())
}

/// `PRelu`, y = x where x ≥ 0, else s·x, with s stretched to x: dx = dy where x ≥ 0, else s·dy; ds = Σ dy·x where x < 0.
fn prelu(c: &mut Backward<'_, '_>) -> Result<(), Refusal> {
    let dy = c.dy()?;
    let (x, slope) = (c.x(0), c.x(1));
    let mask = c.b.with_number("Less", &x, 0.0);
    if c.wants(0) {
        let scaled = c.b.op("Mul", &[&dy, &slope]);
        let dx = c.b.op("Where", &[&mask, &scaled, &dy]);
        c.give(0, dx);
    }
    if c.wants(1) {
        let product = c.b.op("Mul", &[&dy, &x]);
        let dslope = c.b.masked(&mask, &product);
        c.give_summed(1, &dslope);
    }
    Ok(())
}

/// `ThresholdedRelu`, y = x where x > α, else 0: dx = dy where x > α.
fn thresholded_relu(c: &mut Backward<'_, '_>) -> Result<(), Refusal> {
    let dy = c.dy()?;
    let alpha = c.float("alpha", 1.0);
    let mask = c.b.with_number("Greater", &c.x(0), alpha);
    let dx = c.b.masked(&mask, &dy);
    c.give(0, dx);
    Ok(())
}

/// `Shrink`, y = x + bias where x < −λ, x − bias where x > λ, else 0: dx = dy where |x| > λ.
fn shrink(c: &mut Backward<'_, '_>) -> Result<(), Refusal> {
    let lambd = c.float("lambd", 0.5);
    if lambd < 0.0 {
        return Err(refusal(format!("its lambd is {lambd}, below 0")));
    }
    let dy = c.dy()?;
    let size = c.b.op("Abs", &[&c.x(0)]);
    let mask = c.b.with_number("Greater", &size, lambd);
    let dx = c.b.masked(&mask, &dy);
    c.give(0, dx);
    Ok(())
}

/// `Elu`, y = x where x > 0, else α(eˣ − 1): dx = dy where x > 0, else dy·(y + α).
fn elu(c: &mut Backward<'_, '_>) -> Result<(), Refusal> {
    let (dy, y) = (c.dy()?, c.y(0));
    let alpha = c.float("alpha", 1.0);
    let signed = if alpha > 0.0 { y.clone() } else { c.x(0) };
    let mask = c.b.with_number("Greater", &signed, 0.0);
    let slope = c.b.with_number("Add", &y, alpha);
    let scaled = c.b.op("Mul", &[&dy, &slope]);
    let dx = c.b.op("Where", &[&mask, &dy, &scaled]);
    c.give(0, dx);
    Ok(())
}

/// `Selu`, y = γx where x > 0, else γα(eˣ − 1): dx = γ·dy where x > 0, else dy·(y + γα).
fn selu(c: &mut Backward<'_, '_>) -> Result<(), Refusal> {
    let y = c.y(0);
    let (alpha, gamma) = (c.float("alpha", 1.673_263_2), c.float("gamma", 1.050_701));
    let signed = if alpha > 0.0 && gamma > 0.0 { y.clone() } else { c.x(0) };
    let mask = c.b.with_number("Greater", &signed, 0.0);
    let low = c.b.with_number("Add", &y, alpha * gamma);
    let high = c.b.number(&y, gamma);
    let slope = c.b.op("Where", &[&mask, &high, &low]);
    give_times(c, &slope)
}

/// `Celu`, y = max(x, 0) + min(α(e^(x/α) − 1), 0): dx = dy where x > 0, else dy·(y/α + 1). The sign of y is that of x.
fn celu(c: &mut Backward<'_, '_>) -> Result<(), Refusal> {
    let alpha = c.float("alpha", 1.0);
    if alpha == 0.0 {
        return Err(refusal("its alpha is 0, by which it divides"));
    }
    let (dy, y) = (c.dy()?, c.y(0));
    let mask = c.b.with_number("Greater", &y, 0.0);
    let scaled = if alpha == 1.0 { y } else { c.b.with_number("Mul", &y, 1.0 / alpha) };
    let slope = c.b.with_number("Add", &scaled, 1.0);
    let low = c.b.op("Mul", &[&dy, &slope]);
    let dx = c.b.op("Where", &[&mask, &dy, &low]);
    c.give(0, dx);
    Ok(())
}

/// `Sigmoid`, y = σ(x): dx = dy·y·(1 − y).
fn sigmoid(c: &mut Backward<'_, '_>) -> Result<(), Refusal> {
    let y = c.y(0);
    let slope = sigmoid_slope(c, &y);
    give_times(c, &slope)
}

/// s·(1 − s), the derivative of s = σ(x).
fn sigmoid_slope(c: &mut Backward<'_, '_>, s: &str) -> String {
    let one = c.b.number(s, 1.0);
    let rest = c.b.op("Sub", &[&one, s]);
    c.b.op("Mul", &[s, &rest])
}

/// `Tanh`, y = tanh x: dx = dy·(1 − y²).
fn tanh(c: &mut Backward<'_, '_>) -> Result<(), Refusal> {
    let y = c.y(0);
    let slope = tanh_slope(c, &y);
    give_times(c, &slope)
}

/// 1 − t², the derivative of t = tanh x.
fn tanh_slope(c: &mut Backward<'_, '_>, t: &str) -> String {
    let square = c.b.op("Mul", &[t, t]);
    let one = c.b.number(t, 1.0);
    c.b.op("Sub", &[&one, &square])
}

/// `Softplus`, y = ln(1 + eˣ): dx = dy·σ(x).
fn softplus(c: &mut Backward<'_, '_>) -> Result<(), Refusal> {
    let slope = c.b.op("Sigmoid", &[&c.x(0)]);
    give_times(c, &slope)
}

/// `Softsign`, y = x/(1 + |x|): dx = dy/(1 + |x|)².
fn softsign(c: &mut Backward<'_, '_>) -> Result<(), Refusal> {
    let dy = c.dy()?;
    let size = c.b.op("Abs", &[&c.x(0)]);
    let divisor = c.b.with_number("Add", &size, 1.0);
    let square = c.b.op("Mul", &[&divisor, &divisor]);
    let dx = c.b.op("Div", &[&dy, &square]);
    c.give(0, dx);
    Ok(())
}

/// `HardSigmoid`, y = αx + β cut to [0, 1]: dx = α·dy where 0 < y < 1.
fn hard_sigmoid(c: &mut Backward<'_, '_>) -> Result<(), Refusal> {
    let (dy, y) = (c.dy()?, c.y(0));
    let alpha = c.float("alpha", 0.2);
    let above = c.b.with_number("Greater", &y, 0.0);
    let below = c.b.with_number("Less", &y, 1.0);
    let mask = c.b.op("And", &[&above, &below]);
    let scaled = c.b.with_number("Mul", &dy, alpha);
    let dx = c.b.masked(&mask, &scaled);
    c.give(0, dx);
    Ok(())
}

/// `HardSwish`, y = x·h(x), h(x) = x/6 + ½ cut to [0, 1]: dx = dy·(x/3 + ½) where |x| < 3, else dy·h(x).
fn hard_swish(c: &mut Backward<'_, '_>) -> Result<(), Refusal> {
    let x = c.x(0);
    let size = c.b.op("Abs", &[&x]);
    let mask = c.b.with_number("Less", &size, 3.0);
    let third = c.b.with_number("Mul", &x, 1.0 / 3.0);
    let inner = c.b.with_number("Add", &third, 0.5);
    let outer = c.b.node("HardSigmoid", &[&x], |node| node.float("alpha", 1.0 / 6.0).float("beta", 0.5));
    let slope = c.b.op("Where", &[&mask, &inner, &outer]);
    give_times(c, &slope)
}

/// `Mish`, y = x·t, t = tanh(softplus x): dx = dy·(t + x·σ(x)·(1 − t²)).
fn mish(c: &mut Backward<'_, '_>) -> Result<(), Refusal> {
    let x = c.x(0);
    let soft = c.b.op("Softplus", &[&x]);
    let t = c.b.op("Tanh", &[&soft]);
    let inner = c.b.op("Sigmoid", &[&x]);
    let scaled = c.b.op("Mul", &[&x, &inner]);
    let outer = tanh_slope(c, &t);
    let product = c.b.op("Mul", &[&scaled, &outer]);
    let slope = c.b.op("Add", &[&t, &product]);
    give_times(c, &slope)
}

/// `Gelu` (opset 20), y = x·Φ(x), Φ(x) = ½(1 + erf(x/√2)): dx = dy·(Φ(x) + x·e^(−x²/2)/√(2π)).
///
/// With approximate = "tanh", y = ½x(1 + t), t = tanh(k(x + 0.044715·x³)), k = √(2/π):
/// dx = dy·½(1 + t + x·(1 − t²)·k(1 + 3·0.044715·x²)).
fn gelu(c: &mut Backward<'_, '_>) -> Result<(), Refusal> {
    let slope = match c.string("approximate", "none").as_str() {
        "none" => gelu_slope(c),
        "tanh" => gelu_tanh_slope(c),
        other => return Err(refusal(format!("its approximation '{other}' is none of the specification's"))),
    };
    give_times(c, &slope)
}

/// ½(1 + erf u + 2/√π·u·e^(−u²)) with u = x/√2
fn gelu_slope(c: &mut Backward<'_, '_>) -> String {
    let u = c.b.with_number("Mul", &c.x(0), FRAC_1_SQRT_2);
    let erf = c.b.op("Erf", &[&u]);
    let square = c.b.op("Mul", &[&u, &u]);
    let exponent = c.b.op("Neg", &[&square]);
    let bell = c.b.op("Exp", &[&exponent]);
    let product = c.b.op("Mul", &[&u, &bell]);
    let scaled = c.b.with_number("Mul", &product, 2.0 / PI.sqrt());
    half_of_one_plus(c, &erf, &scaled)
}

fn gelu_tanh_slope(c: &mut Backward<'_, '_>) -> String {
    const CUBE: f64 = 0.044_715;
    let x = c.x(0);
    let k = (2.0 / PI).sqrt();
    let square = c.b.op("Mul", &[&x, &x]);
    let scaled = c.b.with_number("Mul", &square, k * CUBE);
    let shifted = c.b.with_number("Add", &scaled, k);
    let argument = c.b.op("Mul", &[&x, &shifted]);
    let t = c.b.op("Tanh", &[&argument]);
    let scaled = c.b.with_number("Mul", &square, 3.0 * k * CUBE);
    let inner = c.b.with_number("Add", &scaled, k);
    let outer = tanh_slope(c, &t);
    let chain = c.b.op("Mul", &[&outer, &inner]);
    let product = c.b.op("Mul", &[&x, &chain]);
    half_of_one_plus(c, &t, &product)
}

/// ½(1 + a + b)
fn half_of_one_plus(c: &mut Backward<'_, '_>, a: &str, b: &str) -> String {
    let sum = c.b.op("Add", &[a, b]);
    let sum = c.b.with_number("Add", &sum, 1.0);
    c.b.with_number("Mul", &sum, 0.5)
}

/// `Swish` (opset 24), y = x·s, s = σ(αx): dx = dy·(s + αy·(1 − s)).
fn swish(c: &mut Backward<'_, '_>) -> Result<(), Refusal> {
    let (x, y) = (c.x(0), c.y(0));
    let alpha = c.float("alpha", 1.0);
    let scaled = if alpha == 1.0 { x } else { c.b.with_number("Mul", &x, alpha) };
    let s = c.b.op("Sigmoid", &[&scaled]);
    let one = c.b.number(&s, 1.0);
    let rest = c.b.op("Sub", &[&one, &s]);
    let product = c.b.op("Mul", &[&y, &rest]);
    let product = if alpha == 1.0 { product } else { c.b.with_number("Mul", &product, alpha) };
    let slope = c.b.op("Add", &[&s, &product]);
    give_times(c, &slope)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::model::{NodeBuilder, node};
    use crate::rewrite::gradient::gradient;
    use crate::rewrite::gradient::testing::{Case, broadcast_shapes, numbers, tensor};

    /// From −2 to 2, then wide: both sides of every bend.
    fn xs() -> Vec<f64> {
        numbers(6, 7).into_iter().chain([-7.3, 6.1, 2.4, -2.7, 3.3, -3.4]).collect()
    }

    fn check(built: NodeBuilder, opset: i64) {
        let built = built.inputs(["x"]).outputs(["y"]).build();
        for dims in [vec![12], vec![2, 3, 2]] {
            Case::new(vec![("x", tensor(&dims, xs()))], vec![built.clone()]).opset(opset).check();
        }
        for value in [-0.7, 0.6] {
            Case::new(vec![("x", tensor(&[], vec![value]))], vec![built.clone()]).opset(opset).check();
        }
    }

    #[test]
    fn piecewise() {
        for opset in [13, 18] {
            check(node("Relu"), opset);
            check(node("LeakyRelu"), opset);
            for alpha in [0.3, 0.0, -0.4] {
                check(node("LeakyRelu").float("alpha", alpha), opset);
            }
            check(node("ThresholdedRelu"), opset);
            check(node("ThresholdedRelu").float("alpha", -0.6), opset);
            check(node("Shrink").float("bias", 0.3).float("lambd", 0.77), opset);
            check(node("HardSigmoid"), opset);
            check(node("HardSigmoid").float("alpha", -0.7).float("beta", 0.3), opset);
        }
        check(node("HardSwish"), 14);
    }

    #[test]
    fn exponential() {
        check(node("Elu"), 13);
        check(node("Selu"), 13);
        check(node("Celu"), 13);
        for alpha in [0.6, 2.0, -1.5] {
            check(node("Elu").float("alpha", alpha), 18);
            check(node("Selu").float("alpha", alpha).float("gamma", 0.7), 18);
        }
        // gradients of the other side of 0 grow as e^|x|, differences get coarse
        check(node("Celu").float("alpha", 2.0), 18);
        check(node("Celu").float("alpha", -3.0), 18);
        check(node("Selu").float("gamma", -0.7), 18);
    }

    #[test]
    fn smooth() {
        for op in ["Sigmoid", "Tanh", "Softplus", "Softsign"] {
            check(node(op), 13);
            check(node(op), 22);
        }
        check(node("Mish"), 18);
        check(node("Gelu"), 20);
        check(node("Gelu").string("approximate", "tanh"), 20);
        check(node("Swish"), 24);
        check(node("Swish").float("alpha", 1.7), 24);
    }

    fn prelu(dims: &[usize], slope: &[usize]) -> Case {
        let count = |dims: &[usize]| dims.iter().product();
        let inputs =
            vec![("x", tensor(dims, numbers(count(dims), 8))), ("slope", tensor(slope, numbers(count(slope), 9)))];
        Case::new(inputs, vec![node("PRelu").inputs(["x", "slope"]).outputs(["y"]).build()])
    }

    #[test]
    fn a_slope_gets_the_sum_over_what_it_scales() {
        for opset in [13, 18] {
            for slope in [&[3, 1, 1][..], &[1], &[], &[2, 3, 2, 2], &[1, 3, 1, 1], &[2]] {
                prelu(&[2, 3, 2, 2], slope).opset(opset).check();
            }
        }
    }

    /// The upstream gradient is infinite where the mask is closed: zero comes out, not 0·∞.
    #[test]
    fn a_closed_mask_lets_nothing_through() {
        let model = crate::rewrite::testing::TestModel::new(18)
            .input("x", crate::model::DataType::Double, &["2"])
            .op("Relu", &["x"], &["y"])
            .op("Log", &["y"], &["l"])
            .op("ReduceSum", &["l"], &["loss"])
            .output("loss", crate::model::DataType::Double, &["1"])
            .build();
        let found = gradient(&model, "loss", &["x"]).unwrap();
        let x = tensor(&[2], vec![-1.0, 2.0]);
        let nodes: Vec<_> = found.document.graph().nodes().iter().map(|node| &**node).collect();
        let values = std::collections::HashMap::from([("x".to_owned(), x)]);
        let values = crate::rewrite::evaluate::evaluate(&nodes, values, 18).unwrap();
        assert_eq!(values[&found.outputs[0]], tensor(&[2], vec![0.0, 0.5]));
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn slopes_of_any_shape((dims, shapes) in broadcast_shapes(1), opset in 13_i64..=26) {
            prelu(&dims, &shapes[0]).opset(opset).check();
        }
    }
}
