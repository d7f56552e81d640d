//! LpNormalization and MeanVarianceNormalization: no parameters.

use crate::rewrite::gradient::backward::{Backward, Refusal, refusal};

use super::{mean_square, through_standardising};

/// `LpNormalization`, y = x / n with n = ‖x‖ along an axis: dx = (dy − e·Σ dy·y) / n with e = y for p = 2, sign(x) for
/// p = 1; 0 where n is.
pub(super) fn lp_normalization(c: &mut Backward<'_, '_>) -> Result<(), Refusal> {
    let (dy, x) = (c.dy()?, c.x(0));
    let y = c.y(0);
    let axis = c.axis(c.int("axis", -1), c.rank(&x)?)? as i64;
    let p = c.int("p", 2);
    let b = &mut *c.b;
    let (norm, direction) = match p {
        1 => (b.reduce("ReduceL1", &x, &[axis], true), b.op("Sign", &[&x])),
        2 => (b.reduce("ReduceL2", &x, &[axis], true), y.clone()),
        p => return Err(refusal(format!("its p is {p}"))),
    };
    let product = b.op("Mul", &[&dy, &y]);
    let along = b.reduce("ReduceSum", &product, &[axis], true);
    let projected = b.op("Mul", &[&direction, &along]);
    let rest = b.op("Sub", &[&dy, &projected]);
    let quotient = b.op("Div", &[&rest, &norm]);
    let zero = b.number(&x, 0.0);
    let is_zero = b.op("Equal", &[&norm, &zero]);
    let dx = b.op("Where", &[&is_zero, &zero, &quotient]);
    b.declare_like(&dx, &x);
    c.give(0, dx);
    Ok(())
}

/// `MeanVarianceNormalization`, y = (x − mean) / (deviation + 1e-9) over some axes:
/// dx = (dy − mean of dy − y·mean of dy·y) / deviation.
pub(super) fn mean_variance_normalization(c: &mut Backward<'_, '_>) -> Result<(), Refusal> {
    let (dy, x) = (c.dy()?, c.x(0));
    let y = c.y(0);
    let rank = c.rank(&x)?;
    let axes = c.node.attr_ints("axes").unwrap_or(&[0, 2, 3]).to_vec();
    let axes: Vec<i64> = axes.into_iter().map(|axis| Ok(c.axis(axis, rank)? as i64)).collect::<Result<_, Refusal>>()?;
    let mean = c.b.reduce("ReduceMean", &x, &axes, true);
    let centred = c.b.op("Sub", &[&x, &mean]);
    let variance = mean_square(c.b, &centred, &axes);
    let root = c.b.op("Sqrt", &[&variance]);
    let epsilon = c.b.number(&x, 1e-9);
    let deviation = c.b.op("Add", &[&root, &epsilon]);
    let r = c.b.op("Reciprocal", &[&deviation]);
    let dx = through_standardising(c.b, &dy, &y, &r, &axes);
    c.give(0, dx);
    Ok(())
}
