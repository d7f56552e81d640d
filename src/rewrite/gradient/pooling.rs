//! Pools: every window of a plane, or all of it, becomes one number.

mod average;
mod max;
#[cfg(test)]
mod tests;

use super::Builder;
use super::backward::{Backward, Refusal, Vjp, refusal};
use super::convolution::{Geometry, spread};
use crate::model::proto::TensorProto;

pub(super) const RULES: &[(&str, Vjp)] = &[
    ("AveragePool", average::average_pool),
    ("GlobalAveragePool", global_average_pool),
    ("GlobalLpPool", global_lp_pool),
    ("GlobalMaxPool", global_max_pool),
    ("LpPool", lp_pool),
    ("MaxPool", max::max_pool),
];

/// Every element of dy times `weight`, added up over its window of x: channel by channel. `rounds_up`: the pool may have
/// windows that reach beyond the padding.
fn over_windows(
    b: &mut Builder<'_>,
    dy: &str,
    x: &str,
    weight: f64,
    kernel: &[i64],
    geometry: &Geometry,
    rounds_up: bool,
) -> String {
    let shape = b.shape_with_tail(&[-1, 1], dy, 2);
    let planes = b.op("Reshape", &[dy, &shape]);
    let ones = filled(b, x, &[&[1, 1], kernel].concat(), weight);
    let spread = spread(b, &planes, &ones, x, geometry, !rounds_up);
    let dx = b.reshape_like(&spread, x);
    b.declare_like(&dx, x);
    dx
}

/// A small constant tensor of one number, in the element type of `like`.
fn filled(b: &mut Builder<'_>, like: &str, dims: &[i64], value: f64) -> String {
    let count = dims.iter().product::<i64>().clamp(0, MAX_CONSTANT);
    let data_type = b.number_type(like);
    let mut tensor = TensorProto::vector("", data_type, &vec![value; usize::try_from(count).unwrap_or_default()]);
    tensor.dims = dims.to_vec();
    b.constant(&tensor)
}

/// Most elements of a constant that is written out.
const MAX_CONSTANT: i64 = 1 << 20;

/// The number of elements of a window.
fn elements(kernel: &[i64]) -> Result<i64, Refusal> {
    let count = kernel.iter().try_fold(1i64, |n, &k| n.checked_mul(k)).filter(|&n| n <= MAX_CONSTANT);
    count.ok_or_else(|| refusal(format!("its windows of {kernel:?} elements are too large")))
}

/// The axes of the plane.
fn plane_axes(c: &Backward<'_, '_>) -> Result<Vec<i64>, Refusal> {
    Ok((2..c.rank(&c.x(0))? as i64).collect())
}

/// `GlobalAveragePool`, y = mean of x over the plane: dx = dy / elements of the plane, everywhere.
fn global_average_pool(c: &mut Backward<'_, '_>) -> Result<(), Refusal> {
    let (dy, x, axes) = (c.dy()?, c.x(0), plane_axes(c)?);
    let count = c.b.count(&x, Some(&axes));
    let share = c.b.op("Div", &[&dy, &count]);
    let dx = c.b.broadcast_to(&share, &x);
    c.give(0, dx);
    Ok(())
}

/// `GlobalMaxPool`, y = max of x over the plane: dx = dy where x is y, shared by those that are equal.
fn global_max_pool(c: &mut Backward<'_, '_>) -> Result<(), Refusal> {
    let (dy, x, axes) = (c.dy()?, c.x(0), plane_axes(c)?);
    let y = c.y(0);
    let is_largest = c.b.op("Equal", &[&x, &y]);
    let mask = c.b.cast_like(&is_largest, &x);
    let ties = c.b.reduce("ReduceSum", &mask, &axes, true);
    let share = c.b.op("Div", &[&dy, &ties]);
    let dx = c.b.op("Mul", &[&mask, &share]);
    c.give(0, dx);
    Ok(())
}

/// `LpPool`, y = (Σ |x|^p)^(1/p) over each window: dx = sign(x)·|x|^(p−1) · Σ over the windows of dy·y^(1−p).
fn lp_pool(c: &mut Backward<'_, '_>) -> Result<(), Refusal> {
    let (dy, x) = (c.dy()?, c.x(0));
    let y = c.y(0);
    c.b.declare_like(&dy, &y);
    let geometry = Geometry::of_pool(c)?;
    let kernel = geometry.kernel_of_pool(c)?;
    elements(&kernel)?;
    let rounds_up = c.int("ceil_mode", 0) != 0;
    let p = power(c)?;
    let share = share_of_norm(c.b, &dy, &y, p);
    let reached = over_windows(c.b, &share, &x, 1.0, &kernel, &geometry, rounds_up);
    let inner = inner_of_norm(c.b, &x, p);
    let dx = c.b.op("Mul", &[&inner, &reached]);
    c.give(0, dx);
    Ok(())
}

/// `GlobalLpPool`: as [`lp_pool`], with one window.
fn global_lp_pool(c: &mut Backward<'_, '_>) -> Result<(), Refusal> {
    let (dy, x) = (c.dy()?, c.x(0));
    let y = c.y(0);
    let p = power(c)?;
    let share = share_of_norm(c.b, &dy, &y, p);
    let inner = inner_of_norm(c.b, &x, p);
    let dx = c.b.op("Mul", &[&inner, &share]);
    c.give(0, dx);
    Ok(())
}

fn power(c: &Backward<'_, '_>) -> Result<i64, Refusal> {
    let p = c.int("p", 2);
    if p < 1 { Err(refusal(format!("its p is {p}"))) } else { Ok(p) }
}

/// dy·y^(1−p) of a norm y; 0 where that is 0.
fn share_of_norm(b: &mut Builder<'_>, dy: &str, y: &str, p: i64) -> String {
    if p == 1 {
        return dy.to_owned();
    }
    let zero = b.number(y, 0.0);
    let power = if p == 2 {
        y.to_owned()
    } else {
        let exponent = b.number(y, (p - 1) as f64);
        b.op("Pow", &[y, &exponent])
    };
    let share = b.op("Div", &[dy, &power]);
    let is_zero = b.op("Equal", &[&power, &zero]);
    b.op("Where", &[&is_zero, &zero, &share])
}

/// sign(x)·|x|^(p−1).
fn inner_of_norm(b: &mut Builder<'_>, x: &str, p: i64) -> String {
    match p {
        1 => b.op("Sign", &[x]),
        2 => x.to_owned(),
        _ => {
            let size = b.op("Abs", &[x]);
            let exponent = b.number(x, (p - 2) as f64);
            let power = b.op("Pow", &[&size, &exponent]);
            b.op("Mul", &[x, &power])
        }
    }
}
