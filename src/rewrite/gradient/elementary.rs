//! Unary functions of each element: dx = dy·f′(x).

use std::f64::consts::PI;

use super::backward::{Backward, Refusal, Vjp};

pub(super) const RULES: &[(&str, Vjp)] = &[
    ("Exp", exp),
    ("Log", log),
    ("Sqrt", sqrt),
    ("Erf", erf),
    ("Abs", abs),
    ("Sin", sin),
    ("Cos", cos),
    ("Tan", tan),
    ("Asin", asin),
    ("Acos", acos),
    ("Atan", atan),
    ("Sinh", sinh),
    ("Cosh", cosh),
    ("Asinh", asinh),
    ("Acosh", acosh),
    ("Atanh", atanh),
];

/// dx = dy·`slope`
fn times(c: &mut Backward<'_, '_>, slope: &str) -> Result<(), Refusal> {
    let dy = c.dy()?;
    let dx = c.b.op("Mul", &[&dy, slope]);
    c.give(0, dx);
    Ok(())
}

/// dx = dy/`divisor`
fn over(c: &mut Backward<'_, '_>, divisor: &str) -> Result<(), Refusal> {
    let dy = c.dy()?;
    let dx = c.b.op("Div", &[&dy, divisor]);
    c.give(0, dx);
    Ok(())
}

/// dx = −dy/`divisor`
fn minus_over(c: &mut Backward<'_, '_>, divisor: &str) -> Result<(), Refusal> {
    let dy = c.dy()?;
    let quotient = c.b.op("Div", &[&dy, divisor]);
    let dx = c.b.op("Neg", &[&quotient]);
    c.give(0, dx);
    Ok(())
}

/// `Exp`, y = eˣ: dx = dy·y.
fn exp(c: &mut Backward<'_, '_>) -> Result<(), Refusal> {
    let y = c.y(0);
    times(c, &y)
}

/// `Log`, y = ln x: dx = dy/x.
fn log(c: &mut Backward<'_, '_>) -> Result<(), Refusal> {
    let x = c.x(0);
    over(c, &x)
}

/// `Sqrt`, y = √x: dx = dy/(2y).
fn sqrt(c: &mut Backward<'_, '_>) -> Result<(), Refusal> {
    let y = c.y(0);
    let double = c.b.op("Add", &[&y, &y]);
    over(c, &double)
}

/// `Erf`, y = 2/√π·∫₀ˣ e^(−t²) dt: dx = dy·2/√π·e^(−x²).
fn erf(c: &mut Backward<'_, '_>) -> Result<(), Refusal> {
    let x = c.x(0);
    let square = c.b.op("Mul", &[&x, &x]);
    let exponent = c.b.op("Neg", &[&square]);
    let bell = c.b.op("Exp", &[&exponent]);
    let factor = c.b.number(&x, 2.0 / PI.sqrt());
    let slope = c.b.op("Mul", &[&bell, &factor]);
    times(c, &slope)
}

/// `Abs`, y = |x|: dx = dy·sign x, 0 where x = 0.
fn abs(c: &mut Backward<'_, '_>) -> Result<(), Refusal> {
    let x = c.x(0);
    let sign = c.b.op("Sign", &[&x]);
    times(c, &sign)
}

/// `Sin`: dx = dy·cos x.
fn sin(c: &mut Backward<'_, '_>) -> Result<(), Refusal> {
    let x = c.x(0);
    let slope = c.b.op("Cos", &[&x]);
    times(c, &slope)
}

/// `Cos`: dx = −dy·sin x.
fn cos(c: &mut Backward<'_, '_>) -> Result<(), Refusal> {
    let x = c.x(0);
    let sine = c.b.op("Sin", &[&x]);
    let slope = c.b.op("Neg", &[&sine]);
    times(c, &slope)
}

/// `Tan`, y = tan x: dx = dy·(1 + y²).
fn tan(c: &mut Backward<'_, '_>) -> Result<(), Refusal> {
    let y = c.y(0);
    let slope = one_plus_square(c, &y);
    times(c, &slope)
}

/// 1 + v²
fn one_plus_square(c: &mut Backward<'_, '_>, v: &str) -> String {
    let square = c.b.op("Mul", &[v, v]);
    let one = c.b.number(v, 1.0);
    c.b.op("Add", &[&square, &one])
}

/// 1 − x² as (1 − x)(1 + x), which stays exact near ±1.
fn one_minus_square(c: &mut Backward<'_, '_>) -> String {
    let x = c.x(0);
    let one = c.b.number(&x, 1.0);
    let (below, above) = (c.b.op("Sub", &[&one, &x]), c.b.op("Add", &[&one, &x]));
    c.b.op("Mul", &[&below, &above])
}

/// `Asin`: dx = dy/√(1 − x²).
fn asin(c: &mut Backward<'_, '_>) -> Result<(), Refusal> {
    let square = one_minus_square(c);
    let root = c.b.op("Sqrt", &[&square]);
    over(c, &root)
}

/// `Acos`: dx = −dy/√(1 − x²).
fn acos(c: &mut Backward<'_, '_>) -> Result<(), Refusal> {
    let square = one_minus_square(c);
    let root = c.b.op("Sqrt", &[&square]);
    minus_over(c, &root)
}

/// `Atan`: dx = dy/(1 + x²).
fn atan(c: &mut Backward<'_, '_>) -> Result<(), Refusal> {
    let x = c.x(0);
    let divisor = one_plus_square(c, &x);
    over(c, &divisor)
}

/// `Sinh`: dx = dy·cosh x.
fn sinh(c: &mut Backward<'_, '_>) -> Result<(), Refusal> {
    let x = c.x(0);
    let slope = c.b.op("Cosh", &[&x]);
    times(c, &slope)
}

/// `Cosh`: dx = dy·sinh x.
fn cosh(c: &mut Backward<'_, '_>) -> Result<(), Refusal> {
    let x = c.x(0);
    let slope = c.b.op("Sinh", &[&x]);
    times(c, &slope)
}

/// `Asinh`: dx = dy/√(1 + x²).
fn asinh(c: &mut Backward<'_, '_>) -> Result<(), Refusal> {
    let x = c.x(0);
    let square = one_plus_square(c, &x);
    let root = c.b.op("Sqrt", &[&square]);
    over(c, &root)
}

/// `Acosh`: dx = dy/√((x − 1)(x + 1)).
fn acosh(c: &mut Backward<'_, '_>) -> Result<(), Refusal> {
    let x = c.x(0);
    let one = c.b.number(&x, 1.0);
    let (below, above) = (c.b.op("Sub", &[&x, &one]), c.b.op("Add", &[&x, &one]));
    let square = c.b.op("Mul", &[&below, &above]);
    let root = c.b.op("Sqrt", &[&square]);
    over(c, &root)
}

/// `Atanh`: dx = dy/(1 − x²).
fn atanh(c: &mut Backward<'_, '_>) -> Result<(), Refusal> {
    let divisor = one_minus_square(c);
    over(c, &divisor)
}

#[cfg(test)]
mod tests {
    use crate::model::node;
    use crate::rewrite::gradient::testing::{Case, numbers, tensor};

    fn check(op: &str, values: Vec<f64>) {
        for opset in [13, 18] {
            for dims in [vec![2, 3], vec![6]] {
                let inputs = vec![("x", tensor(&dims, values.clone()))];
                Case::new(inputs, vec![node(op).inputs(["x"]).outputs(["y"]).build()]).opset(opset).check();
            }
        }
        let inputs = vec![("x", tensor(&[], values[..1].to_vec()))];
        Case::new(inputs, vec![node(op).inputs(["x"]).outputs(["y"]).build()]).check();
    }

    #[test]
    fn functions_of_all_numbers() {
        for op in ["Exp", "Erf", "Abs", "Sin", "Cos", "Atan", "Sinh", "Cosh", "Asinh"] {
            check(op, numbers(6, 4));
        }
    }

    #[test]
    fn functions_of_some_numbers() {
        let positive: Vec<f64> = numbers(6, 5).into_iter().map(f64::abs).collect();
        for op in ["Log", "Sqrt"] {
            check(op, positive.clone());
        }
        check("Acosh", positive.iter().map(|x| 1.0 + x).collect());
        // within (-1, 1), away from the ends and from the poles of tan
        let inner: Vec<f64> = numbers(6, 6).into_iter().map(|x| x * 0.45).collect();
        for op in ["Asin", "Acos", "Atanh", "Tan"] {
            check(op, inner.clone());
        }
    }
}
