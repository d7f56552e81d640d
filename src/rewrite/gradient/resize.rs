//! Resize is linear in its input, along one axis after another: y = W·x. The gradient is that of a matrix product, with W a
//! constant.

use crate::model::Dimension;
use crate::model::proto::TensorProto;
use crate::rewrite::evaluate::Interpolation;

use super::Builder;
use super::backward::{Backward, Refusal, Vjp, refusal};
use super::sizes::Size;

pub(super) const RULES: &[(&str, Vjp)] = &[("Resize", resize)];

/// Largest matrix of weights that is written into a model, in elements.
const MAX_WEIGHTS: usize = 1 << 20;

/// What happens along one axis.
enum Along {
    /// Every element becomes so many.
    Copies(i64),
    /// The weights [output, input].
    Weights { weights: Vec<f64>, input: usize, output: usize },
}

/// `Resize`, y = W·x along each axis: dx = Wᵀ·dy. Where every element becomes k of the same, that is a sum over the copies,
/// for which no size needs to be known.
fn resize(c: &mut Backward<'_, '_>) -> Result<(), Refusal> {
    let dy = c.dy()?;
    let x = c.x(0);
    let rank = c.rank(&x)?;
    let how = Interpolation::of(&c.node).map_err(|form| refusal(format!("{form} has no gradient here")))?;
    let mut found = Vec::new();
    for (axis, scale) in scales(c, rank)? {
        if let Some(along) = along(c, &how, axis, scale)? {
            found.push((axis, along));
        }
    }
    let mut dx = dy;
    for (axis, along) in found {
        dx = match along {
            Along::Copies(times) => summed_copies(c.b, &dx, &x, axis, rank, times),
            Along::Weights { weights, input, output } => applied(c.b, &dx, axis, rank, &weights, input, output),
        };
    }
    c.b.declare_like(&dx, &x);
    c.give(0, dx);
    Ok(())
}

/// The axes that change, with their scales; None where it is to be had from the sizes.
fn scales(c: &Backward<'_, '_>, rank: usize) -> Result<Vec<(usize, Option<f32>)>, Refusal> {
    let axes: Vec<usize> = match c.node.attr_ints("axes") {
        Some(axes) => axes.iter().map(|&axis| c.axis(axis, rank)).collect::<Result<_, _>>()?,
        None => (0..rank).collect(),
    };
    let given = |i: usize| c.node.input_at(i).filter(|input| c.b.sizes(input).as_deref() != Some(&[0]));
    if given(3).is_some() {
        return Ok(axes.into_iter().map(|axis| (axis, None)).collect());
    }
    let Some(input) = given(2) else { return Err(refusal("it has neither scales nor sizes")) };
    let Some(scales) = c.b.constant_value(input) else {
        return Err(refusal(format!("its scales ('{input}') are computed when the graph runs")));
    };
    if scales.data.len() != axes.len() {
        return Err(refusal(format!("it has {} scales for {} axes", scales.data.len(), axes.len())));
    }
    Ok(axes.into_iter().zip(scales.data.iter().map(|&scale| Some(scale as f32))).collect())
}

/// None where nothing happens along the axis.
fn along(c: &Backward<'_, '_>, how: &Interpolation, axis: usize, scale: Option<f32>) -> Result<Option<Along>, Refusal> {
    let size = |value: Option<&String>| value.and_then(|value| c.b.dims(value)?.get(axis).cloned());
    let (input, output) = (size(c.node.input.first()), size(c.node.output.first()));
    if scale == Some(1.0) {
        return Ok(None);
    }
    if let Some(scale) = scale
        && how.is_local()
        && let Some(times) = copies_at_every_size(how, scale)
    {
        return Ok(Some(Along::Copies(times)));
    }
    let known =
        |size: &Option<Dimension>| size.as_ref().and_then(Dimension::known).and_then(|n| usize::try_from(n).ok());
    let (Some(input_size), Some(output_size)) = (known(&input), known(&output)) else {
        // the same symbol before and after
        if scale.is_none() && input.is_some() && input == output && input != Some(Dimension::Unknown) {
            return Ok(None);
        }
        return Err(refusal(format!(
            "the size of its axis {axis} is not known, and how it interpolates depends on it; give the model a fixed \
             input size"
        )));
    };
    let scale = scale.unwrap_or(output_size as f32 / input_size as f32);
    if scale == 1.0 && input_size == output_size {
        return Ok(None);
    }
    // with a scale that cuts the last element, runtimes disagree about what the corners are
    if !how.is_local() && (f64::from(scale) * input_size as f64 - output_size as f64).abs() > 1e-3 {
        return Err(refusal(format!("its scale {scale} does not divide {input_size} elements evenly")));
    }
    if input_size.saturating_mul(output_size) > MAX_WEIGHTS {
        return Err(refusal(format!("the weights from {input_size} to {output_size} elements would be too many")));
    }
    let weights = how.weights(input_size, output_size, scale);
    let weights = weights.ok_or_else(|| refusal(format!("its axis {axis} has no elements")))?;
    if output_size % input_size == 0 && is_copying(&weights, input_size, output_size / input_size) {
        return Ok(Some(Along::Copies((output_size / input_size) as i64)));
    }
    Ok(Some(Along::Weights { weights, input: input_size, output: output_size }))
}

/// Whether every element becomes `times` of the same.
fn is_copying(weights: &[f64], input: usize, times: usize) -> bool {
    weights.chunks_exact(input).enumerate().all(|(to, row)| {
        row.iter().enumerate().all(|(from, &weight)| weight == if from == to / times { 1.0 } else { 0.0 })
    })
}

/// How many copies a whole scale makes of every element, whatever the size; what holds inside a few elements holds
/// everywhere, because only the scale counts.
fn copies_at_every_size(how: &Interpolation, scale: f32) -> Option<i64> {
    const PROBE: usize = 8;
    if scale.fract() != 0.0 || !(2.0..=1024.0).contains(&scale) {
        return None;
    }
    let times = scale as usize;
    let weights = how.weights(PROBE, PROBE * times, scale)?;
    is_copying(&weights, PROBE, times).then_some(times as i64)
}

/// Σ over the copies, which are an axis of their own: [.., n·k, ..] is [.., n, k, ..].
fn summed_copies(b: &mut Builder<'_>, dy: &str, x: &str, axis: usize, rank: usize, times: i64) -> String {
    let mut sizes: Vec<Size> = (0..rank).map(|at| b.size(if at == axis { x } else { dy }, at)).collect();
    sizes.insert(axis + 1, Size::Known(times));
    let copies = b.reshape_to(dy, &sizes);
    b.reduce("ReduceSum", &copies, &[axis as i64 + 1], false)
}

/// Σ over an axis with weights [output, input]: from output elements to input elements.
fn applied(
    b: &mut Builder<'_>,
    dy: &str,
    axis: usize,
    rank: usize,
    weights: &[f64],
    input: usize,
    output: usize,
) -> String {
    let data_type = b.number_type(dy);
    let mut constant = |dims: [usize; 2], values: &[f64]| {
        let mut tensor = TensorProto::vector("", data_type, values);
        tensor.dims = dims.map(|size| size as i64).to_vec();
        b.constant(&tensor)
    };
    // the second last axis: from the left, where nothing needs to be transposed
    if axis + 2 == rank {
        let flipped: Vec<f64> = (0..weights.len()).map(|i| weights[i % output * input + i / output]).collect();
        let weights = constant([input, output], &flipped);
        return b.op("MatMul", &[&weights, dy]);
    }
    let weights = constant([output, input], weights);
    if axis + 1 == rank {
        return b.op("MatMul", &[dy, &weights]);
    }
    let mut order: Vec<i64> = (0..rank as i64).collect();
    order.swap(axis, rank - 1);
    let last = b.node("Transpose", &[dy], |node| node.ints("perm", &order));
    let product = b.op("MatMul", &[&last, &weights]);
    b.node("Transpose", &[&product], |node| node.ints("perm", &order))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::model::{NodeBuilder, node};
    use crate::rewrite::gradient::testing::{Case, Known, numbers, tensor};

    fn by_sizes(dims: &[usize], sizes: &[i64], how: impl Fn(NodeBuilder) -> NodeBuilder) -> Case {
        let resize = how(node("Resize").inputs(["x", "", "", "sizes"]).outputs(["y"])).build();
        let inputs = vec![("x", tensor(dims, numbers(dims.iter().product(), 4)))];
        Case::new(inputs, vec![resize]).ints("sizes", &[sizes.len()], sizes)
    }

    fn by_scales(dims: &[usize], scales: &[f64], how: impl Fn(NodeBuilder) -> NodeBuilder) -> Case {
        let resize = how(node("Resize").inputs(["x", "", "scales"]).outputs(["y"])).build();
        let inputs = vec![("x", tensor(dims, numbers(dims.iter().product(), 4)))];
        Case::new(inputs, vec![resize]).floats("scales", &[scales.len()], scales)
    }

    fn check(case: &Case) {
        case.check_knowing(Known::All);
    }

    const COORDINATES: [&str; 4] = ["half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric"];

    #[test]
    fn every_mode() {
        for mode in ["nearest", "linear", "cubic"] {
            for coordinates in COORDINATES {
                let how =
                    |node: NodeBuilder| node.string("mode", mode).string("coordinate_transformation_mode", coordinates);
                check(&by_sizes(&[2, 1, 3, 2], &[2, 1, 5, 4], how));
                check(&by_sizes(&[1, 2, 4, 5], &[1, 2, 2, 1], how));
            }
        }
    }

    #[test]
    fn every_rounding() {
        for rounding in ["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"] {
            for coordinates in COORDINATES {
                let how = |node: NodeBuilder| {
                    node.string("nearest_mode", rounding).string("coordinate_transformation_mode", coordinates)
                };
                check(&by_scales(&[1, 1, 3, 4], &[1.0, 1.0, 2.0, 0.5], how));
            }
        }
    }

    #[test]
    fn any_rank_and_axis() {
        let linear = |node: NodeBuilder| node.string("mode", "linear");
        check(&by_sizes(&[3], &[5], linear));
        check(&by_sizes(&[2, 1, 3], &[2, 1, 4], linear));
        check(&by_sizes(&[1, 1, 2, 3, 2], &[1, 1, 3, 2, 5], linear));
        // channels last, and by the axes of opset 18
        check(&by_sizes(&[1, 3, 2, 2], &[1, 4, 3, 2], linear));
        check(&by_sizes(&[2, 3, 2], &[4], |node| linear(node).ints("axes", &[1])));
        check(&by_sizes(&[2, 1, 2, 2], &[3, 4], |node| node.ints("axes", &[-1, 2])));
        check(&by_scales(&[2, 1, 3], &[1.0, 1.0, 2.5], linear).opset(13));
    }

    #[test]
    fn any_batch() {
        let linear = |node: NodeBuilder| node.string("mode", "linear");
        by_scales(&[2, 2, 3, 2], &[1.0, 1.0, 1.5, 2.0], linear).check_knowing(Known::AllButBatch);
        // as exporters write it: batch and channels of x, then sizes
        let nodes = vec![
            node("Shape").inputs(["x"]).outputs(["shape"]).build(),
            node("Slice").inputs(["shape", "zero", "two"]).outputs(["kept"]).build(),
            node("Concat").inputs(["kept", "space"]).outputs(["sizes"]).int("axis", 0).build(),
            linear(node("Resize").inputs(["x", "", "", "sizes"]).outputs(["y"])).build(),
        ];
        let case = Case::new(vec![("x", tensor(&[2, 1, 2, 3], numbers(12, 8)))], nodes);
        let case = case.ints("zero", &[1], &[0]).ints("two", &[1], &[2]).ints("space", &[2], &[3, 5]);
        case.check_knowing(Known::AllButBatch);
    }

    #[test]
    fn copies_need_no_sizes() {
        for how in [
            [("coordinate_transformation_mode", "asymmetric"), ("nearest_mode", "floor")],
            [("coordinate_transformation_mode", "half_pixel"), ("nearest_mode", "round_prefer_floor")],
        ] {
            let how = |node: NodeBuilder| how.iter().fold(node, |node, (name, value)| node.string(name, value));
            by_scales(&[2, 2, 2, 3], &[1.0, 1.0, 2.0, 3.0], how).check();
        }
    }

    #[test]
    fn what_cannot_be_known_is_refused() {
        let case = by_scales(&[2, 2, 3, 3], &[1.0, 1.0, 1.5, 1.5], |node| node.string("mode", "linear"));
        let refused = std::panic::catch_unwind(|| case.check_knowing(Known::Rank)).unwrap_err();
        let text = refused.downcast_ref::<String>().cloned().unwrap_or_default();
        assert!(text.contains("fixed input size"), "{text}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn any_sizes(
            from in (1..5usize, 1..5usize),
            to in (1..7i64, 1..7i64),
            mode in prop::sample::select(vec!["nearest", "linear", "cubic"]),
            coordinates in prop::sample::select(COORDINATES.to_vec()),
            exclude in 0i64..2,
        ) {
            let how = |node: NodeBuilder| {
                let node = node.string("mode", mode).string("coordinate_transformation_mode", coordinates);
                if mode == "cubic" { node.int("exclude_outside", exclude) } else { node }
            };
            check(&by_sizes(&[2, 1, from.0, from.1], &[2, 1, to.0, to.1], how));
        }
    }
}
