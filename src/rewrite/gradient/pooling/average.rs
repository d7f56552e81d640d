//! AveragePool.

use crate::model::Dimension;
use crate::model::proto::TensorProto;
use crate::rewrite::gradient::Builder;
use crate::rewrite::gradient::backward::{Backward, Refusal};
use crate::rewrite::gradient::convolution::Geometry;

use super::{MAX_CONSTANT, elements, filled, over_windows};

/// `AveragePool`, y\[o\] = Σ over the window o of x / count(o): dx = Σ over the windows of dy / count.
///
/// The count is that of all elements of a window, or without the padding, which changes from window to window.
pub(super) fn average_pool(c: &mut Backward<'_, '_>) -> Result<(), Refusal> {
    let (dy, x) = (c.dy()?, c.x(0));
    let y = c.y(0);
    c.b.declare_like(&dy, &y);
    let geometry = Geometry::of_pool(c)?;
    let kernel = geometry.kernel_of_pool(c)?;
    let count = elements(&kernel)? as f64;
    let rounds_up = c.int("ceil_mode", 0) != 0;
    let with_padding = c.int("count_include_pad", 0) != 0;
    let is_padded = geometry.before.iter().chain(&geometry.after).any(|&pad| pad != 0);
    let dx = if !rounds_up && (with_padding || !is_padded) {
        over_windows(c.b, &dy, &x, 1.0 / count, &kernel, &geometry, false)
    } else {
        let share = share(c, &x, &dy, &kernel, &geometry, with_padding && rounds_up);
        let weighted = c.b.op("Mul", &[&dy, &share]);
        c.b.declare_like(&weighted, &dy);
        over_windows(c.b, &weighted, &x, 1.0, &kernel, &geometry, rounds_up)
    };
    c.give(0, dx);
    Ok(())
}

/// 1 / count of each window, [1, 1, windows…].
///
/// Releases of ONNX Runtime differ in what they count of a window that reaches beyond the padding. `asked`: the runtime
/// is asked, by a plane of ones of which the pool makes inside / count.
fn share(c: &mut Backward<'_, '_>, x: &str, dy: &str, kernel: &[i64], geometry: &Geometry, asked: bool) -> String {
    if !asked && let Some(known) = known_share(c.b, x, dy, kernel, geometry) {
        return known;
    }
    let b = &mut *c.b;
    let one = filled(b, x, &[1], 1.0);
    let shape = b.shape_with_tail(&[1, 1], x, 2);
    let ones = b.op("Expand", &[&one, &shape]);
    let ones_in_window = filled(b, x, &[&[1, 1], kernel].concat(), 1.0);
    // room for the last window, where sizes are rounded up
    let mut roomy = geometry.clone();
    for (after, stride) in roomy.after.iter_mut().zip(&geometry.strides) {
        *after += stride - 1;
    }
    let inside = b.node("Conv", &[&ones, &ones_in_window], |node| roomy.attributes(node));
    let axes: Vec<i64> = (2..2 + geometry.rank() as i64).collect();
    let inside = b.cut_to(&inside, dy, &axes);
    let of_ones = if asked {
        let attributes = c.node.attribute.clone();
        b.node("AveragePool", &[&ones], |node| node.attributes(attributes))
    } else {
        one
    };
    b.op("Div", &[&of_ones, &inside])
}

/// As a constant, where all sizes are known: elements inside the plane, which is a product over the axes.
fn known_share(b: &mut Builder<'_>, x: &str, dy: &str, kernel: &[i64], geometry: &Geometry) -> Option<String> {
    let sizes = |value: &str| -> Option<Vec<i64>> { b.dims(value)?.get(2..)?.iter().map(Dimension::known).collect() };
    let (plane, windows) = (sizes(x)?, sizes(dy)?);
    let all = windows.iter().try_fold(1i64, |n, &size| n.checked_mul(size).filter(|_| size > 0))?;
    if windows.len() != kernel.len() || plane.len() != kernel.len() || all > MAX_CONSTANT {
        return None;
    }
    let mut shares = vec![1.0];
    for (axis, &windows) in windows.iter().enumerate() {
        let dilation = geometry.dilations[axis];
        // elements of a window in front of `at`, which is counted from the window's first
        let in_front_of = |at: i64| (at.clamp(0, kernel[axis] * dilation) + dilation - 1) / dilation;
        let inside = |window: i64| {
            let start = window * geometry.strides[axis] - geometry.before[axis];
            (in_front_of(plane[axis].saturating_sub(start)) - in_front_of(-start)).max(0) as f64
        };
        let of_axis: Vec<f64> = (0..windows).map(inside).collect();
        shares = shares.iter().flat_map(|share| of_axis.iter().map(move |inside| share / inside)).collect();
    }
    let data_type = b.number_type(x);
    let mut tensor = TensorProto::vector("", data_type, &shares);
    tensor.dims = [&[1, 1], &windows[..]].concat();
    Some(b.constant(&tensor))
}
