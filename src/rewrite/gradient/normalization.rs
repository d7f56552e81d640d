//! Normalisations of each sample by itself.

mod group;
mod layer;
mod local_response;
mod power;
#[cfg(test)]
mod tests;

use super::Builder;
use super::backward::Vjp;

pub(super) const RULES: &[(&str, Vjp)] = &[
    ("GroupNormalization", group::group_normalization),
    ("InstanceNormalization", group::instance_normalization),
    ("LRN", local_response::local_response_normalization),
    ("LayerNormalization", layer::layer_normalization),
    ("LpNormalization", power::lp_normalization),
    ("MeanVarianceNormalization", power::mean_variance_normalization),
    ("RMSNormalization", layer::rms_normalization),
];

/// What ONNX adds to a variance where the node says nothing.
const EPSILON: f32 = 1e-5;

/// 1/√(value + ε).
fn reciprocal_root(b: &mut Builder<'_>, value: &str, epsilon: f64) -> String {
    let epsilon = b.number(value, epsilon);
    let sum = b.op("Add", &[value, &epsilon]);
    let root = b.op("Sqrt", &[&sum]);
    b.op("Reciprocal", &[&root])
}

/// The mean of squares over some axes, which stay.
fn mean_square(b: &mut Builder<'_>, value: &str, axes: &[i64]) -> String {
    let squares = b.op("Mul", &[value, value]);
    b.reduce("ReduceMean", &squares, axes, true)
}

/// Through x̂ = (x − mean)·r, r one over the deviation: dx = r·(g − mean of g − x̂·mean of g·x̂), where g = dx̂ and the
/// means go over the normalised axes.
fn through_standardising(b: &mut Builder<'_>, g: &str, standard: &str, r: &str, axes: &[i64]) -> String {
    let mean = b.reduce("ReduceMean", g, axes, true);
    let centred = b.op("Sub", &[g, &mean]);
    through_scaling(b, &centred, g, standard, r, axes)
}

/// r·(g − x̂·mean of h·x̂), which for g = h is the gradient through x̂ = x·r, r one over the root of the mean square.
fn through_scaling(b: &mut Builder<'_>, g: &str, h: &str, standard: &str, r: &str, axes: &[i64]) -> String {
    let product = b.op("Mul", &[h, standard]);
    let along = b.reduce("ReduceMean", &product, axes, true);
    let projected = b.op("Mul", &[standard, &along]);
    let rest = b.op("Sub", &[g, &projected]);
    b.op("Mul", &[&rest, r])
}
