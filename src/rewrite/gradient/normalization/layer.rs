//! LayerNormalization and RMSNormalization: over the last axes.

use crate::rewrite::gradient::backward::{Backward, Refusal};

use super::{EPSILON, mean_square, reciprocal_root, through_scaling, through_standardising};

/// The axes from attribute `axis` on.
fn normalised_axes(c: &Backward<'_, '_>) -> Result<Vec<i64>, Refusal> {
    let rank = c.rank(&c.x(0))?;
    let first = c.axis(c.int("axis", -1), rank)?;
    Ok((first as i64..rank as i64).collect())
}

/// `LayerNormalization`, y = x̂·scale + bias with x̂ = (x − mean)·r, mean and r = 1/√(variance + ε) its second and third
/// output: dscale = Σ dy·x̂, dbias = Σ dy, dx = r·(g − mean of g − x̂·mean of g·x̂) with g = dy·scale.
pub(super) fn layer_normalization(c: &mut Backward<'_, '_>) -> Result<(), Refusal> {
    let (dy, x, scale) = (c.dy()?, c.x(0), c.x(1));
    let axes = normalised_axes(c)?;
    if c.wants(0) || c.wants(1) {
        let (mean, r) = (c.y(1), c.y(2));
        // they may be of another float type
        let (mean, r) = (c.b.cast_like(&mean, &x), c.b.cast_like(&r, &x));
        let centred = c.b.op("Sub", &[&x, &mean]);
        let standard = c.b.op("Mul", &[&centred, &r]);
        if c.wants(0) {
            let g = c.b.op("Mul", &[&dy, &scale]);
            let dx = through_standardising(c.b, &g, &standard, &r, &axes);
            c.give(0, dx);
        }
        if c.wants(1) {
            let product = c.b.op("Mul", &[&dy, &standard]);
            c.give_summed(1, &product);
        }
    }
    if c.wants(2) {
        c.give_summed(2, &dy);
    }
    Ok(())
}

/// `RMSNormalization`, y = x̂·scale with x̂ = x·r, r = 1/√(mean of x² + ε): dscale = Σ dy·x̂,
/// dx = r·(g − x̂·mean of g·x̂) with g = dy·scale.
pub(super) fn rms_normalization(c: &mut Backward<'_, '_>) -> Result<(), Refusal> {
    let (dy, x, scale) = (c.dy()?, c.x(0), c.x(1));
    let axes = normalised_axes(c)?;
    let square = mean_square(c.b, &x, &axes);
    let r = reciprocal_root(c.b, &square, c.float("epsilon", EPSILON));
    let standard = c.b.op("Mul", &[&x, &r]);
    // scale may be of another float type
    if c.wants(0) {
        let scale = c.b.cast_like(&scale, &x);
        let dy = c.b.cast_like(&dy, &x);
        let g = c.b.op("Mul", &[&dy, &scale]);
        let dx = through_scaling(c.b, &g, &g, &standard, &r, &axes);
        c.give(0, dx);
    }
    if c.wants(1) {
        let standard = c.b.cast_like(&standard, &dy);
        let product = c.b.op("Mul", &[&dy, &standard]);
        let product = c.b.cast_like(&product, &scale);
        c.give_summed(1, &product);
    }
    Ok(())
}
