//! Operators that work element by element, with broadcasting.

use std::f64::consts::PI;

use super::tensor::{Data, Kind, Tensor, broadcast_dims, mixed};
use super::{Call, Fault};

/// Runs the node if it is of this family.
pub(super) fn run(call: &Call) -> Result<Option<Vec<Tensor>>, Fault> {
    let result = match call.node.op() {
        "Identity" => call.input(0)?.clone(),
        "Dropout" => return dropout(call).map(Some),
        "Cast" => cast(call)?,
        "CastLike" => {
            let x = call.input(0)?;
            Tensor { dims: x.dims.clone(), data: x.data.cast(call.input(1)?.kind()) }
        }
        "Neg" => signed(call, |x| -x, i64::wrapping_neg)?,
        "Abs" => signed(call, f64::abs, i64::wrapping_abs)?,
        "Sign" => signed(call, sign, i64::signum)?,
        "Relu" => signed(call, |x| if x < 0.0 { 0.0 } else { x }, |x| x.max(0))?,
        "Exp" => float(call, f64::exp)?,
        "Log" => float(call, f64::ln)?,
        "Sqrt" => float(call, f64::sqrt)?,
        "Reciprocal" => float(call, f64::recip)?,
        "Sigmoid" => float(call, sigmoid)?,
        "Softplus" => float(call, softplus)?,
        "Tanh" => float(call, f64::tanh)?,
        "Erf" => float(call, erf)?,
        "Floor" => float(call, f64::floor)?,
        "Ceil" => float(call, f64::ceil)?,
        "Round" => float(call, f64::round_ties_even)?,
        "Sin" => float(call, f64::sin)?,
        "Cos" => float(call, f64::cos)?,
        "Tan" => float(call, f64::tan)?,
        "Asin" => float(call, f64::asin)?,
        "Acos" => float(call, f64::acos)?,
        "Atan" => float(call, f64::atan)?,
        "Sinh" => float(call, f64::sinh)?,
        "Cosh" => float(call, f64::cosh)?,
        "Asinh" => float(call, f64::asinh)?,
        "Acosh" => float(call, f64::acosh)?,
        "Atanh" => float(call, f64::atanh)?,
        "IsNaN" => test(call, f64::is_nan)?,
        "IsInf" => {
            let negative = call.int("detect_negative", 1) != 0;
            let positive = call.int("detect_positive", 1) != 0;
            test(call, |x| x.is_infinite() && if x > 0.0 { positive } else { negative })?
        }
        "Not" => {
            let x = call.input(0)?;
            Tensor::bools(&x.dims, x.as_bools()?.iter().map(|b| !b).collect())
        }
        "And" => logical(call, |a, b| a && b)?,
        "Or" => logical(call, |a, b| a || b)?,
        "Xor" => logical(call, |a, b| a != b)?,
        "Equal" => compare(call, |a, b| a == b, |a, b| a == b)?,
        "Greater" => compare(call, |a, b| a > b, |a, b| a > b)?,
        "Less" => compare(call, |a, b| a < b, |a, b| a < b)?,
        "GreaterOrEqual" => compare(call, |a, b| a >= b, |a, b| a >= b)?,
        "LessOrEqual" => compare(call, |a, b| a <= b, |a, b| a <= b)?,
        "Add" => binary(call, |a, b| a + b, |a, b| Ok(a.wrapping_add(b)))?,
        "Sub" => binary(call, |a, b| a - b, |a, b| Ok(a.wrapping_sub(b)))?,
        "Mul" => binary(call, |a, b| a * b, |a, b| Ok(a.wrapping_mul(b)))?,
        "Div" => binary(call, |a, b| a / b, |a, b| nonzero(b).map(|b| a.wrapping_div(b)))?,
        "Mod" if call.int("fmod", 0) != 0 => binary(call, |a, b| a % b, |a, b| nonzero(b).map(|b| a.wrapping_rem(b)))?,
        "Mod" => binary(call, floor_modulo, |a, b| nonzero(b).map(|b| integer_floor_modulo(a, b)))?,
        "Pow" => pow(call)?,
        "Min" => variadic(call, float_min, |a, b| a.min(b))?,
        "Max" => variadic(call, float_max, |a, b| a.max(b))?,
        "Sum" => variadic(call, |a, b| a + b, i64::wrapping_add)?,
        "Mean" => {
            let count = call.inputs.len() as f64;
            let sum = variadic(call, |a, b| a + b, i64::wrapping_add)?;
            Tensor::floats(&sum.dims, sum.as_floats()?.iter().map(|x| x / count).collect())
        }
        "Clip" => clip(call)?,
        "Where" => choose(call)?,
        _ => return Ok(None),
    };
    Ok(Some(vec![result]))
}

/// As in inference. A graph may ask for training through its third input; that is random, hence refused.
fn dropout(call: &Call) -> Result<Vec<Tensor>, Fault> {
    let x = call.input(0)?;
    let training = match call.optional(2) {
        Some(mode) => mode.single().is_none_or(|on| on != 0.0),
        // before opset 7 an attribute says so
        None => call.opset < 7 && call.int("is_test", 0) == 0,
    };
    let ratio = call.optional(1).map_or(Some(0.5), Tensor::single);
    if training && ratio != Some(0.0) {
        return Err(Fault::Unsupported("Dropout in training mode".into()));
    }
    let mask = Tensor::bools(&x.dims, vec![true; x.len()]);
    Ok(vec![x.clone(), mask])
}

fn cast(call: &Call) -> Result<Tensor, Fault> {
    let to = i32::try_from(call.int("to", 0)).unwrap_or_default();
    let kind = Kind::of(to).ok_or_else(|| Fault::Unsupported(format!("Cast to data type {to}")))?;
    let x = call.input(0)?;
    Ok(Tensor { dims: x.dims.clone(), data: x.data.cast(kind) })
}

pub(super) fn float(call: &Call, f: impl Fn(f64) -> f64) -> Result<Tensor, Fault> {
    let x = call.input(0)?;
    Ok(Tensor::floats(&x.dims, x.as_floats()?.iter().map(|&v| f(v)).collect()))
}

fn signed(call: &Call, f: impl Fn(f64) -> f64, g: impl Fn(i64) -> i64) -> Result<Tensor, Fault> {
    let x = call.input(0)?;
    match &x.data {
        Data::Int(v) => Ok(Tensor::ints(&x.dims, v.iter().map(|&v| g(v)).collect())),
        _ => float(call, f),
    }
}

fn test(call: &Call, f: impl Fn(f64) -> bool) -> Result<Tensor, Fault> {
    let x = call.input(0)?;
    Ok(Tensor::bools(&x.dims, x.as_floats()?.iter().map(|&v| f(v)).collect()))
}

/// Both inputs, brought to one shape.
fn broadcast_pair(a: &Tensor, b: &Tensor) -> Result<(Tensor, Tensor), Fault> {
    let dims = broadcast_dims(&[&a.dims, &b.dims])?;
    Ok((a.broadcast_to(&dims)?, b.broadcast_to(&dims)?))
}

fn zip<T: Copy, U: Copy, R>(a: &[T], b: &[U], f: impl Fn(T, U) -> R) -> Vec<R> {
    a.iter().zip(b).map(|(&a, &b)| f(a, b)).collect()
}

fn logical(call: &Call, f: impl Fn(bool, bool) -> bool) -> Result<Tensor, Fault> {
    let (a, b) = broadcast_pair(call.input(0)?, call.input(1)?)?;
    Ok(Tensor::bools(&a.dims, zip(a.as_bools()?, b.as_bools()?, f)))
}

fn compare(call: &Call, f: impl Fn(f64, f64) -> bool, g: impl Fn(i64, i64) -> bool) -> Result<Tensor, Fault> {
    let (a, b) = broadcast_pair(call.input(0)?, call.input(1)?)?;
    let result = match (&a.data, &b.data) {
        (Data::Float(x), Data::Float(y)) => zip(x, y, f),
        (Data::Int(x), Data::Int(y)) => zip(x, y, g),
        (Data::Bool(x), Data::Bool(y)) => zip(x, y, |a, b| g(a.into(), b.into())),
        (x, y) => return Err(mixed(x.kind(), y.kind())),
    };
    Ok(Tensor::bools(&a.dims, result))
}

fn arithmetic(
    a: &Tensor,
    b: &Tensor,
    f: impl Fn(f64, f64) -> f64,
    g: impl Fn(i64, i64) -> Result<i64, Fault>,
) -> Result<Tensor, Fault> {
    let (a, b) = broadcast_pair(a, b)?;
    match (&a.data, &b.data) {
        (Data::Float(x), Data::Float(y)) => Ok(Tensor::floats(&a.dims, zip(x, y, f))),
        (Data::Int(x), Data::Int(y)) => {
            let values = x.iter().zip(y).map(|(&x, &y)| g(x, y)).collect::<Result<_, _>>()?;
            Ok(Tensor::ints(&a.dims, values))
        }
        (Data::Bool(_), Data::Bool(_)) => Err(Fault::invalid("arithmetic on bools")),
        (x, y) => Err(mixed(x.kind(), y.kind())),
    }
}

fn binary(
    call: &Call,
    f: impl Fn(f64, f64) -> f64,
    g: impl Fn(i64, i64) -> Result<i64, Fault>,
) -> Result<Tensor, Fault> {
    arithmetic(call.input(0)?, call.input(1)?, f, g)
}

fn variadic(call: &Call, f: impl Fn(f64, f64) -> f64, g: impl Fn(i64, i64) -> i64) -> Result<Tensor, Fault> {
    let inputs = call.all_inputs()?;
    let mut result = call.input(0)?.clone();
    for input in inputs.into_iter().skip(1) {
        result = arithmetic(&result, input, &f, |a, b| Ok(g(a, b)))?;
    }
    Ok(result)
}

/// The result has the base's type; the exponent may be of another.
fn pow(call: &Call) -> Result<Tensor, Fault> {
    let base = call.input(0)?;
    let exponent = call.input(1)?;
    let as_float = |t: &Tensor| Tensor { dims: t.dims.clone(), data: t.data.cast(Kind::Float) };
    let power = arithmetic(&as_float(base), &as_float(exponent), f64::powf, |_, _| Ok(0))?;
    match (&base.data, &exponent.data) {
        (Data::Bool(_), _) | (_, Data::Bool(_)) => Err(Fault::invalid("arithmetic on bools")),
        (Data::Int(_), Data::Int(e)) if e.iter().all(|&e| e >= 0) => {
            arithmetic(base, exponent, |_, _| 0.0, |b, e| Ok(b.wrapping_pow(u32::try_from(e).unwrap_or(u32::MAX))))
        }
        (Data::Int(_), _) => Ok(Tensor { dims: power.dims.clone(), data: power.data.cast(Kind::Int) }),
        (Data::Float(_), _) => Ok(power),
    }
}

fn nonzero(divisor: i64) -> Result<i64, Fault> {
    if divisor == 0 { Err(Fault::invalid("division of an integer by zero")) } else { Ok(divisor) }
}

/// The remainder with the divisor's sign, as in Python.
fn floor_modulo(a: f64, b: f64) -> f64 {
    let remainder = a % b;
    if remainder != 0.0 && (remainder < 0.0) != (b < 0.0) { remainder + b } else { remainder }
}

fn integer_floor_modulo(a: i64, b: i64) -> i64 {
    let remainder = a.wrapping_rem(b);
    if remainder != 0 && (remainder < 0) != (b < 0) { remainder + b } else { remainder }
}

/// NaN wins, as in numpy.
fn float_min(a: f64, b: f64) -> f64 {
    if a.is_nan() || b.is_nan() { f64::NAN } else { a.min(b) }
}

fn float_max(a: f64, b: f64) -> f64 {
    if a.is_nan() || b.is_nan() { f64::NAN } else { a.max(b) }
}

fn sign(x: f64) -> f64 {
    if x == 0.0 || x.is_nan() { x } else { x.signum() }
}

pub(super) fn sigmoid(x: f64) -> f64 {
    if x < 0.0 { x.exp() / (1.0 + x.exp()) } else { 1.0 / (1.0 + (-x).exp()) }
}

pub(super) fn softplus(x: f64) -> f64 {
    float_max(x, 0.0) + (-x.abs()).exp().ln_1p()
}

/// The error function by its series of positive terms, erf x = 2/√π · e^(−x²) · Σ 2ⁿ x^(2n+1) / (2n+1)!!
/// (Abramowitz and Stegun 7.1.6), exact to rounding; beyond |x| = 6 it is ±1 in f64.
pub(super) fn erf(x: f64) -> f64 {
    if x.is_nan() || x.abs() > 6.0 {
        return if x.is_nan() { x } else { x.signum() };
    }
    let mut term = x;
    let mut sum = x;
    let mut n = 0.0;
    while term.abs() > sum.abs() * 1e-17 {
        n += 1.0;
        term *= 2.0 * x * x / (2.0 * n + 1.0);
        sum += term;
    }
    2.0 / PI.sqrt() * (-x * x).exp() * sum
}

/// Bounds are attributes before opset 11 and optional inputs since.
fn clip(call: &Call) -> Result<Tensor, Fault> {
    let x = call.input(0)?;
    let bound = |position: usize, name: &str| -> Result<Option<Tensor>, Fault> {
        match (call.optional(position), call.node.attr_float(name)) {
            (Some(t), _) if t.len() == 1 => Ok(Some(Tensor { dims: vec![], data: t.data.clone() })),
            (Some(t), _) => Err(Fault::invalid(format!("a bound of Clip has the shape {:?}", t.dims))),
            (None, Some(value)) => Ok(Some(Tensor::scalar(value.into()))),
            (None, None) => Ok(None),
        }
    };
    let mut result = x.clone();
    if let Some(low) = bound(1, "min")? {
        result = arithmetic(&result, &low, |x, low| if x < low { low } else { x }, |x, low| Ok(x.max(low)))?;
    }
    if let Some(high) = bound(2, "max")? {
        result = arithmetic(&result, &high, |x, high| if x > high { high } else { x }, |x, high| Ok(x.min(high)))?;
    }
    Ok(result)
}

fn choose(call: &Call) -> Result<Tensor, Fault> {
    let (condition, x, y) = (call.input(0)?, call.input(1)?, call.input(2)?);
    let dims = broadcast_dims(&[&condition.dims, &x.dims, &y.dims])?;
    let condition = condition.broadcast_to(&dims)?;
    let mut both = x.broadcast_to(&dims)?.data;
    let size = both.len();
    both.append(&y.broadcast_to(&dims)?.data)?;
    let indices: Vec<usize> =
        condition.as_bools()?.iter().enumerate().map(|(i, &first)| if first { i } else { size + i }).collect();
    Tensor::new(dims, both.take(&indices))
}
