//! Elements by their place in the flattened tensor.
//!
//! What moves elements by indices moves whole numbers the same way: run on the positions 0, 1, 2 … instead of x, it tells
//! for each element of y where it came from, and dx is dy scattered there. Right for every form of such an operator, at the
//! price of one integer per element.

use super::Builder;
use super::backward::{Refusal, refusal};

/// Oldest opset whose ScatterElements adds.
pub(super) const ADDING: i64 = 16;

/// 0, 1, 2 … in the shape of a value.
pub(super) fn positions(b: &mut Builder<'_>, value: &str) -> String {
    let count = match b.sizes(value).and_then(|sizes| sizes.iter().try_fold(1i64, |n, &size| n.checked_mul(size))) {
        Some(count) => b.int(count),
        None => b.op("Size", &[value]),
    };
    let (zero, one) = (b.int(0), b.int(1));
    let all = b.op("Range", &[&zero, &count, &one]);
    let shape = b.shape_of(value);
    b.op("Reshape", &[&all, &shape])
}

/// Zeros in the shape of `like` with the elements of `values` at `positions` (int64, as many as values); those of one
/// position are added up where `add`, else there must be one each.
///
/// # Errors
/// Adding, in an opset that cannot.
pub(super) fn scatter(
    b: &mut Builder<'_>,
    positions: &str,
    values: &str,
    like: &str,
    add: bool,
) -> Result<String, Refusal> {
    let all = b.ints(&[-1]);
    let [positions, values] = [positions, values].map(|value| b.op("Reshape", &[value, &all]));
    let shape = b.shape_of(like);
    let zeros = b.zeros(&shape, like);
    let zeros = b.op("Reshape", &[&zeros, &all]);
    let flat = scatter_along(b, &zeros, &positions, &values, 0, add)?;
    Ok(b.reshape_like(&flat, like))
}

/// `values` put into `data` along an axis, or added to what is there.
///
/// ScatterND would write rows at once, but ONNX Runtime (1.23 to 1.32 at least) adds from many threads without a lock and
/// loses some of what goes to one place; its ScatterElements goes one by one.
///
/// # Errors
/// Adding, in an opset that cannot.
pub(super) fn scatter_along(
    b: &mut Builder<'_>,
    data: &str,
    indices: &str,
    values: &str,
    axis: usize,
    add: bool,
) -> Result<String, Refusal> {
    if add && b.opset() < ADDING {
        return Err(refusal(format!(
            "its gradient adds by index, which standard operators do from opset {ADDING} on (the model has {}); convert \
             the model (onnx.version_converter) or export it again",
            b.opset()
        )));
    }
    Ok(b.node("ScatterElements", &[data, indices, values], |node| {
        let node = node.int("axis", axis as i64);
        if add { node.string("reduction", "add") } else { node }
    }))
}
