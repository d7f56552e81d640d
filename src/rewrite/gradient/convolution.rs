//! Conv and ConvTranspose: each is the other's gradient by its data.

mod geometry;
mod input;
#[cfg(test)]
mod tests;
mod weight;

use super::backward::{Backward, Refusal, Vjp};
use super::fused;

pub(crate) use geometry::Geometry;
pub(crate) use input::input_gradient;
pub(in crate::rewrite::gradient) use input::spread;
pub(crate) use weight::{bias_gradient, weight_gradient};

pub(super) const RULES: &[(&str, Vjp)] = &[("Conv", conv), ("ConvTranspose", conv_transpose)];

/// `Conv`, y\[n, m, o\] = b\[m\] + Σ over c, k of x\[n, c, s·o + d·k − p\]·w\[m, c, k\]:
/// dx = ConvTranspose(dy, w), dw as [`weight_gradient`], db = Σ over n, o of dy.
fn conv(c: &mut Backward<'_, '_>) -> Result<(), Refusal> {
    let dy = c.dy()?;
    let y = c.y(0);
    c.b.declare_like(&dy, &y);
    let (x, w) = (c.x(0), c.x(1));
    let geometry = Geometry::of_conv(c)?;
    if fused::conv(c, &dy, &geometry) {
        return Ok(());
    }
    if c.wants(0) {
        let dx = input_gradient(c.b, &dy, &w, &x, &geometry);
        c.give(0, dx);
    }
    if c.wants(1) {
        let dw = weight_gradient(c.b, &dy, &x, &w, &geometry);
        c.give(1, dw);
    }
    if c.wants(2) {
        let db = bias_gradient(c.b, &dy, geometry.rank());
        c.give(2, db);
    }
    Ok(())
}

/// `ConvTranspose`, y\[n, m, s·i + d·k − p\] += x\[n, c, i\]·w\[c, m, k\]: dx = Conv(dy, w); for the weights x and dy
/// change places; db = Σ over n, o of dy.
fn conv_transpose(c: &mut Backward<'_, '_>) -> Result<(), Refusal> {
    let dy = c.dy()?;
    let y = c.y(0);
    c.b.declare_like(&dy, &y);
    let (x, w) = (c.x(0), c.x(1));
    let geometry = Geometry::of_conv_transpose(c)?;
    if c.wants(0) {
        let convolved = c.b.node("Conv", &[&dy, &w], |node| geometry.attributes(node));
        // output_padding of a stride or more makes room for windows that no element of x has
        let rank = geometry.rank() as i64;
        let extra = c.node.attr_ints("output_padding").unwrap_or_default().iter();
        let dx = if extra.zip(&geometry.strides).any(|(extra, stride)| extra >= stride) {
            let axes: Vec<i64> = (2..2 + rank).collect();
            c.b.cut_to(&convolved, &x, &axes)
        } else {
            convolved
        };
        c.b.declare_like(&dx, &x);
        c.give(0, dx);
    }
    if c.wants(1) {
        let dw = weight_gradient(c.b, &x, &dy, &w, &geometry);
        c.give(1, dw);
    }
    if c.wants(2) {
        let db = bias_gradient(c.b, &dy, geometry.rank());
        c.give(2, db);
    }
    Ok(())
}
