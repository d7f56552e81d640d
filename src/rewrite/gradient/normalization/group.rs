//! GroupNormalization and InstanceNormalization: over the plane and a group of channels.

use crate::rewrite::gradient::backward::{Backward, Refusal, refusal};

use super::{EPSILON, mean_square, reciprocal_root, through_standardising};

/// Version of the standard operators since which scale and bias are per channel, not per group.
const PER_CHANNEL: i64 = 21;

/// `GroupNormalization`: as [`normalize`] by groups of channels.
pub(super) fn group_normalization(c: &mut Backward<'_, '_>) -> Result<(), Refusal> {
    let groups = c.int("num_groups", 0);
    if groups < 1 {
        return Err(refusal(format!("its num_groups is {groups}")));
    }
    let by_group = [0, groups, -1];
    let of_parameters = if c.b.opset() >= PER_CHANNEL { BY_CHANNEL } else { by_group };
    normalize(c, by_group, of_parameters)
}

/// `InstanceNormalization`: every channel is a group.
pub(super) fn instance_normalization(c: &mut Backward<'_, '_>) -> Result<(), Refusal> {
    normalize(c, BY_CHANNEL, BY_CHANNEL)
}

/// Target of a Reshape: batch, channels, plane.
const BY_CHANNEL: [i64; 3] = [0, 0, -1];

/// y = x̂·scale + bias with x̂ = (x − mean)·r, r = 1/√(variance + ε), mean and variance over the last axis of x in the
/// shape `groups`: dscale = Σ dy·x̂, dbias = Σ dy over batch and plane in the shape `parameters`,
/// dx = r·(g − mean of g − x̂·mean of g·x̂) with g = dy·scale.
fn normalize(c: &mut Backward<'_, '_>, groups: [i64; 3], parameters: [i64; 3]) -> Result<(), Refusal> {
    let (dy, x, scale) = (c.dy()?, c.x(0), c.x(1));
    let epsilon = c.float("epsilon", EPSILON);
    let (wants_x, wants_scale) = (c.wants(0), c.wants(1));
    let b = &mut *c.b;
    let (by_group, by_parameter) = (b.ints(&groups), b.ints(&parameters));
    let dy_by_parameter = b.op("Reshape", &[&dy, &by_parameter]);
    let summed = |b: &mut super::Builder<'_>, value: &str| b.reduce("ReduceSum", value, &[0, 2], false);
    let mut given = [None, None];
    if wants_x || wants_scale {
        let grouped = b.op("Reshape", &[&x, &by_group]);
        let mean = b.reduce("ReduceMean", &grouped, &[2], true);
        let centred = b.op("Sub", &[&grouped, &mean]);
        let variance = mean_square(b, &centred, &[2]);
        let r = reciprocal_root(b, &variance, epsilon);
        let standard = b.op("Mul", &[&centred, &r]);
        if wants_x {
            let column = b.ints(&[-1, 1]);
            let scale = b.op("Reshape", &[&scale, &column]);
            let g = b.op("Mul", &[&dy_by_parameter, &scale]);
            let g = if groups == parameters { g } else { b.op("Reshape", &[&g, &by_group]) };
            let dx = through_standardising(b, &g, &standard, &r, &[2]);
            let dx = b.reshape_like(&dx, &x);
            b.declare_like(&dx, &x);
            given[0] = Some(dx);
        }
        if wants_scale {
            let standard = if groups == parameters {
                standard
            } else {
                let whole = b.reshape_like(&standard, &x);
                b.op("Reshape", &[&whole, &by_parameter])
            };
            let product = b.op("Mul", &[&dy_by_parameter, &standard]);
            given[1] = Some(summed(b, &product));
        }
    }
    for (i, gradient) in given.into_iter().enumerate() {
        if let Some(gradient) = gradient {
            c.give(i, gradient);
        }
    }
    if c.wants(2) {
        let dbias = summed(c.b, &dy_by_parameter);
        c.give(2, dbias);
    }
    Ok(())
}
