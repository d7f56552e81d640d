//! Operators that move elements without changing them: Reshape, Transpose, Concat, Pad … Their gradients move back; what
//! was copied is summed, what was left out gets zeros. Slice is in `slice`.

use super::backward::{Backward, Refusal, Vjp, refusal};
use super::positions::{positions, scatter};
use super::sizes::Size;
use super::slice;

pub(super) const RULES: &[(&str, Vjp)] = &[
    ("Identity", identity),
    ("Cast", cast),
    ("CastLike", cast),
    ("Reshape", reshape),
    ("Flatten", reshape),
    ("Squeeze", squeeze),
    ("Unsqueeze", unsqueeze),
    ("Transpose", transpose),
    ("Concat", concat),
    ("Split", split),
    ("Slice", slice::slice),
    ("Pad", pad),
    ("Expand", expand),
    ("Tile", tile),
    ("DepthToSpace", depth_to_space),
    ("SpaceToDepth", space_to_depth),
    ("CumSum", cumulative_sum),
    ("Trilu", trilu),
    ("ReverseSequence", reverse_sequence),
];

/// `Identity`: dx = dy.
fn identity(c: &mut Backward<'_, '_>) -> Result<(), Refusal> {
    let dy = c.dy()?;
    c.give(0, dy);
    Ok(())
}

/// `Cast`, `CastLike` from float to float: dx = dy in the type of x.
fn cast(c: &mut Backward<'_, '_>) -> Result<(), Refusal> {
    let dy = c.dy()?;
    let dx = c.b.cast_like(&dy, &c.x(0));
    c.give(0, dx);
    Ok(())
}

/// `Reshape`, `Flatten`: dx = dy in the shape of x.
fn reshape(c: &mut Backward<'_, '_>) -> Result<(), Refusal> {
    let dy = c.dy()?;
    let dx = c.b.reshape_like(&dy, &c.x(0));
    c.give(0, dx);
    Ok(())
}

/// `Squeeze`: dx = dy with the axes put back.
fn squeeze(c: &mut Backward<'_, '_>) -> Result<(), Refusal> {
    let dy = c.dy()?;
    match c.ints("axes", 1) {
        Ok(Some(axes)) => restore(c, "Unsqueeze", &dy, &axes),
        // all of size 1, or those found when the graph runs
        _ => reshape(c)?,
    }
    Ok(())
}

/// `Unsqueeze`: dx = dy without the axes.
fn unsqueeze(c: &mut Backward<'_, '_>) -> Result<(), Refusal> {
    let dy = c.dy()?;
    match c.ints("axes", 1) {
        Ok(Some(axes)) => restore(c, "Squeeze", &dy, &axes),
        _ => reshape(c)?,
    }
    Ok(())
}

fn restore(c: &mut Backward<'_, '_>, op: &str, dy: &str, axes: &[i64]) {
    let axes = c.b.ints(axes);
    let dx = c.b.op(op, &[dy, &axes]);
    c.b.declare_like(&dx, &c.x(0));
    c.give(0, dx);
}

/// `Transpose`: dx = dy by the inverse permutation; the default, all axes reversed, is its own inverse.
fn transpose(c: &mut Backward<'_, '_>) -> Result<(), Refusal> {
    let dy = c.dy()?;
    let dx = match c.node.attr_ints("perm") {
        None => c.b.op("Transpose", &[&dy]),
        Some(order) => {
            let mut inverse = vec![-1; order.len()];
            for (to, &from) in order.iter().enumerate() {
                let slot = usize::try_from(from).ok().and_then(|from| inverse.get_mut(from));
                *slot.ok_or_else(|| refusal(format!("its perm {order:?} is no permutation")))? = to as i64;
            }
            if inverse.contains(&-1) {
                return Err(refusal(format!("its perm {order:?} is no permutation")));
            }
            c.b.node("Transpose", &[&dy], |node| node.ints("perm", &inverse))
        }
    };
    c.give(0, dx);
    Ok(())
}

/// `Concat`: every input gets its part of dy.
fn concat(c: &mut Backward<'_, '_>) -> Result<(), Refusal> {
    let dy = c.dy()?;
    let inputs = c.node.input.clone();
    let rank = c.rank(&inputs.first().cloned().unwrap_or_default())?;
    let axis = c.axis(c.int("axis", 0), rank)?;
    if inputs.len() == 1 {
        c.give(0, dy);
        return Ok(());
    }
    let sizes: Vec<Size> = inputs.iter().map(|input| c.b.size(input, axis)).collect();
    let wanted: Vec<usize> = (0..inputs.len()).filter(|&i| c.wants(i)).collect();
    if wanted.len() < inputs.len() && sizes.iter().all(|size| matches!(size, Size::Known(_))) {
        let mut start = 0;
        for (i, (input, size)) in inputs.iter().zip(&sizes).enumerate() {
            let end = start + if let Size::Known(size) = size { *size } else { 0 };
            if c.wants(i) {
                let bounds = [[start], [end], [axis as i64]].map(|bound| c.b.ints(&bound));
                let part = c.b.op("Slice", &[&dy, &bounds[0], &bounds[1], &bounds[2]]);
                c.b.declare_like(&part, input);
                c.give(i, part);
            }
            start = end;
        }
        return Ok(());
    }
    let lengths = c.b.shape_vector(&sizes);
    let parts = c.b.multi("Split", &[&dy, &lengths], inputs.len(), |node| node.int("axis", axis as i64));
    for (i, (part, input)) in parts.into_iter().zip(&inputs).enumerate() {
        c.b.declare_like(&part, input);
        c.give(i, part);
    }
    Ok(())
}

/// `Split`: dx = the gradients of the parts, joined; zeros for a part that the loss does not depend on.
fn split(c: &mut Backward<'_, '_>) -> Result<(), Refusal> {
    let axis = c.int("axis", 0);
    let mut parts = Vec::with_capacity(c.node.output.len());
    for i in 0..c.node.output.len() {
        parts.push(match c.dy_at(i) {
            Some(part) => part,
            None => {
                let part = c.y(i);
                c.b.zeros_like(&part)
            }
        });
    }
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    let dx = match parts[..] {
        [only] => only.to_owned(),
        _ => c.b.node("Concat", &parts, |node| node.int("axis", axis)),
    };
    c.b.declare_like(&dx, &c.x(0));
    c.give(0, dx);
    Ok(())
}

/// `Pad`. Constant: dx = dy padded by −pads, which cuts what was added and puts zeros where x was cut; the value that
/// padding is filled with gets Σ dy − Σ dx. The other modes copy elements of x: dx sums dy over the copies.
fn pad(c: &mut Backward<'_, '_>) -> Result<(), Refusal> {
    let dy = c.dy()?;
    let (x, pads) = (c.x(0), c.x(1));
    if c.string("mode", "constant") != "constant" {
        return copying_pad(c, &dy);
    }
    let known = c.b.known_ints(&pads);
    let axes: Option<Vec<i64>> = match c.node.input_at(3) {
        Some(axes) => c.b.known_ints(axes),
        None => known.as_ref().map(|pads| (0..pads.len() as i64 / 2).collect()),
    };
    let dx = match (known, axes) {
        // cutting by Slice is what runtimes do best
        (Some(pads), Some(axes)) if pads.iter().all(|&pad| pad >= 0) && pads.len() == 2 * axes.len() => {
            let (before, after) = pads.split_at(axes.len());
            let padded = axes.iter().zip(before.iter().zip(after)).filter(|(_, (b, a))| **b != 0 || **a != 0);
            let (mut starts, mut ends, mut cut) = (vec![], vec![], vec![]);
            for (&axis, (&before, &after)) in padded {
                starts.push(before);
                ends.push(if after == 0 { i64::MAX } else { -after });
                cut.push(axis);
            }
            if cut.is_empty() {
                dy.clone()
            } else {
                let bounds = [starts, ends, cut].map(|bound| c.b.ints(&bound));
                c.b.op("Slice", &[&dy, &bounds[0], &bounds[1], &bounds[2]])
            }
        }
        (known, _) => {
            let negative = match known {
                Some(pads) => c.b.ints(&pads.iter().map(|pad| pad.saturating_neg()).collect::<Vec<_>>()),
                None => c.b.op("Neg", &[&pads]),
            };
            match c.node.input_at(3).map(str::to_owned) {
                Some(axes) => c.b.op("Pad", &[&dy, &negative, "", &axes]),
                None => c.b.op("Pad", &[&dy, &negative]),
            }
        }
    };
    c.b.declare_like(&dx, &x);
    if c.wants(2) {
        let (all, kept) = (c.b.reduce_all("ReduceSum", &dy), c.b.reduce_all("ReduceSum", &dx));
        let rest = c.b.op("Sub", &[&all, &kept]);
        let value = c.x(2);
        let rest = c.b.reshape_like(&rest, &value);
        c.give(2, rest);
    }
    c.give(0, dx);
    Ok(())
}

/// The positions of the elements of x, padded the same way, say where each element of dy comes from.
fn copying_pad(c: &mut Backward<'_, '_>, dy: &str) -> Result<(), Refusal> {
    let x = c.x(0);
    let sources = positions(c.b, &x);
    let mut inputs = c.node.input.clone();
    if let Some(data) = inputs.first_mut() {
        data.clone_from(&sources);
    }
    // the value that constant padding would have
    if let Some(value) = inputs.get_mut(2) {
        value.clear();
    }
    let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
    let attributes = c.node.attribute.clone();
    let sources = c.b.node("Pad", &inputs, |node| node.attributes(attributes));
    let dx = scatter(c.b, &sources, dy, &x, true)?;
    c.give(0, dx);
    Ok(())
}

/// `Expand`: dx = Σ dy over the axes along which x was stretched.
fn expand(c: &mut Backward<'_, '_>) -> Result<(), Refusal> {
    let dy = c.dy()?;
    c.give_summed(0, &dy);
    Ok(())
}

/// `Tile`: dx = Σ dy over the copies, which are axes of their own: [r₀·n₀, …] is [r₀, n₀, …].
fn tile(c: &mut Backward<'_, '_>) -> Result<(), Refusal> {
    let dy = c.dy()?;
    let (x, repeats) = (c.x(0), c.x(1));
    let rank = c.rank(&x)?;
    let (copies, axes) = match c.b.known_ints(&repeats).filter(|repeats| repeats.len() == rank) {
        Some(repeats) => {
            let (mut sizes, mut axes) = (Vec::new(), Vec::new());
            for (axis, repeat) in repeats.into_iter().enumerate() {
                if repeat != 1 {
                    axes.push(sizes.len() as i64);
                    sizes.push(Size::Known(repeat));
                }
                sizes.push(c.b.size(&x, axis));
            }
            (c.b.reshape_to(&dy, &sizes), axes)
        }
        None => {
            let (shape, second, all) = (c.b.shape_of(&x), c.b.ints(&[1]), c.b.ints(&[-1]));
            let columns = [&repeats, &shape].map(|column| c.b.op("Unsqueeze", &[column, &second]));
            let pairs = c.b.node("Concat", &[&columns[0], &columns[1]], |node| node.int("axis", 1));
            let target = c.b.op("Reshape", &[&pairs, &all]);
            (c.b.op("Reshape", &[&dy, &target]), (0..rank as i64).map(|axis| 2 * axis).collect())
        }
    };
    let dx = c.b.reduce("ReduceSum", &copies, &axes, false);
    c.b.declare_like(&dx, &x);
    c.give(0, dx);
    Ok(())
}

/// `DepthToSpace`: dx = SpaceToDepth(dy). In mode CRD the blocks are the inner part of the channels, while SpaceToDepth makes
/// them the outer one: [N, b², C, H, W] becomes [N, C, b², H, W].
fn depth_to_space(c: &mut Backward<'_, '_>) -> Result<(), Refusal> {
    let dy = c.dy()?;
    let x = c.x(0);
    let block = c.int("blocksize", 0);
    let moved = c.b.node("SpaceToDepth", &[&dy], |node| node.int("blocksize", block));
    let dx = if c.string("mode", "DCR") == "CRD" {
        let channels = c.b.size(&c.node.output.first().cloned().unwrap_or_default(), 1);
        let target =
            [c.b.size(&x, 0), Size::Known(block.saturating_mul(block)), channels, c.b.size(&x, 2), c.b.size(&x, 3)];
        let parts = c.b.reshape_to(&moved, &target);
        let swapped = c.b.node("Transpose", &[&parts], |node| node.ints("perm", &[0, 2, 1, 3, 4]));
        c.b.reshape_like(&swapped, &x)
    } else {
        moved
    };
    c.b.declare_like(&dx, &x);
    c.give(0, dx);
    Ok(())
}

/// `SpaceToDepth`: dx = DepthToSpace(dy) in mode DCR.
fn space_to_depth(c: &mut Backward<'_, '_>) -> Result<(), Refusal> {
    let dy = c.dy()?;
    let block = c.int("blocksize", 0);
    let dx = c.b.node("DepthToSpace", &[&dy], |node| node.int("blocksize", block).string("mode", "DCR"));
    c.b.declare_like(&dx, &c.x(0));
    c.give(0, dx);
    Ok(())
}

/// `CumSum`, yᵢ = Σ_{j≤i} xⱼ: dxⱼ = Σ_{i≥j} dyᵢ, the same sum from the other end.
fn cumulative_sum(c: &mut Backward<'_, '_>) -> Result<(), Refusal> {
    let dy = c.dy()?;
    let axis = c.x(1);
    let (exclusive, reverse) = (c.int("exclusive", 0), c.int("reverse", 0));
    let reverse = i64::from(reverse == 0);
    let dx = c.b.node("CumSum", &[&dy, &axis], |node| node.int("exclusive", exclusive).int("reverse", reverse));
    c.give(0, dx);
    Ok(())
}

/// `Trilu`: dx = Trilu(dy), zero where x was not read.
fn trilu(c: &mut Backward<'_, '_>) -> Result<(), Refusal> {
    let dy = c.dy()?;
    let (k, upper) = (c.x(1), c.int("upper", 1));
    let dx = c.b.node("Trilu", &[&dy, &k], |node| node.int("upper", upper));
    c.give(0, dx);
    Ok(())
}

/// `ReverseSequence` is its own inverse: dx = ReverseSequence(dy).
fn reverse_sequence(c: &mut Backward<'_, '_>) -> Result<(), Refusal> {
    let dy = c.dy()?;
    let lengths = c.x(1);
    let attributes = c.node.attribute.clone();
    let dx = c.b.node("ReverseSequence", &[&dy, &lengths], |node| node.attributes(attributes));
    c.give(0, dx);
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::model::node;
    use crate::rewrite::gradient::testing::{Case, Known, numbers, tensor};

    fn on(dims: &[usize]) -> Vec<(&'static str, crate::rewrite::evaluate::Tensor)> {
        vec![("x", tensor(dims, numbers(dims.iter().product(), 7)))]
    }

    fn unary(op: crate::model::NodeBuilder, dims: &[usize]) {
        Case::new(on(dims), vec![op.inputs(["x"]).outputs(["y"]).build()]).check();
    }

    fn with_ints(op: crate::model::NodeBuilder, dims: &[usize], second: &[i64]) -> Case {
        Case::new(on(dims), vec![op.inputs(["x", "second"]).outputs(["y"]).build()]).ints(
            "second",
            &[second.len()],
            second,
        )
    }

    #[test]
    fn identity_and_casts() {
        unary(node("Identity"), &[2, 3]);
        unary(node("Identity"), &[]);
        // all floats are f64 in the evaluator; the type that dx has is looked at below
        unary(node("Cast").int("to", 11), &[3]);
        let nodes = vec![node("CastLike").inputs(["x", "other"]).outputs(["y"]).build()];
        Case::new(on(&[2]), nodes).floats("other", &[1], &[0.0]).check();
    }

    #[test]
    fn a_cast_is_undone() {
        use crate::model::DataType;
        let model = crate::rewrite::testing::TestModel::new(18)
            .input("x", DataType::Float, &["N"])
            .with(node("Cast").inputs(["x"]).outputs(["y"]).int("to", DataType::Float16 as i64))
            .output("y", DataType::Float16, &["N"]);
        let found = crate::rewrite::gradient::gradient(&model.build(), "y", &["x"]).unwrap();
        let last = found.document.graph().nodes().last().unwrap().clone();
        assert_eq!((last.op(), last.attr_int("to")), ("Cast", Some(DataType::Float as i64)));
    }

    #[test]
    fn reshapes() {
        with_ints(node("Reshape"), &[2, 3, 4], &[6, 4]).check();
        with_ints(node("Reshape"), &[2, 3, 4], &[0, -1]).check();
        with_ints(node("Reshape"), &[2, 3, 4], &[-1]).check();
        with_ints(node("Reshape"), &[1, 1], &[]).check();
        with_ints(node("Reshape").int("allowzero", 1), &[3, 2], &[2, 3]).opset(14).check();
        unary(node("Flatten"), &[2, 3, 2]);
        unary(node("Flatten").int("axis", 0), &[2, 3]);
        unary(node("Flatten").int("axis", -1), &[2, 3, 2]);
        unary(node("Flatten").int("axis", 3), &[2, 3, 2]);
    }

    #[test]
    fn ones_put_in_and_taken_out() {
        with_ints(node("Unsqueeze"), &[2, 3], &[0, -1]).check();
        with_ints(node("Unsqueeze"), &[], &[0]).check();
        with_ints(node("Squeeze"), &[1, 2, 1, 3], &[0, -2]).check();
        unary(node("Squeeze"), &[1, 2, 1, 3]);
        with_ints(node("Squeeze"), &[1], &[0]).opset(13).check();
        // axes that nobody knows, by way of a cast
        for (op, dims) in [("Squeeze", vec![2, 1, 3]), ("Unsqueeze", vec![2, 3])] {
            let nodes = vec![
                node("Cast").inputs(["place"]).outputs(["axes"]).int("to", 7).build(),
                node(op).inputs(["x", "axes"]).outputs(["y"]).build(),
            ];
            Case::new(on(&dims), nodes).floats("place", &[1], &[1.0]).check();
        }
    }

    #[test]
    fn transposes() {
        unary(node("Transpose"), &[2, 3, 4]);
        unary(node("Transpose").ints("perm", &[2, 0, 1]), &[2, 3, 4]);
        unary(node("Transpose").ints("perm", &[0, 3, 1, 2]), &[2, 1, 3, 2]);
    }

    #[test]
    fn concatenations() {
        let three = || vec![("a", tensor(&[2, 3], numbers(6, 1))), ("b", tensor(&[2, 1], numbers(2, 2)))];
        for axis in [1, -1] {
            let join = node("Concat").inputs(["a", "b", "a"]).outputs(["y"]).int("axis", axis).build();
            Case::new(three(), vec![join]).check();
        }
        let join = node("Concat").inputs(["a", "constant"]).outputs(["y"]).int("axis", 0).build();
        let first = vec![three().swap_remove(0)];
        Case::new(first.clone(), vec![join]).floats("constant", &[1, 3], &[1.0, 2.0, 3.0]).check();
        let alone = node("Concat").inputs(["a"]).outputs(["y"]).int("axis", 0).build();
        Case::new(first, vec![alone]).check();
    }

    #[test]
    fn splits_of_all_forms() {
        // the middle part is not used
        let total =
            |parts: &[&'static str]| node("Concat").inputs(parts.to_vec()).outputs(["y"]).int("axis", 1).build();
        let parts = ["p", "q", "r"];
        let given = node("Split").inputs(["x", "sizes"]).outputs(parts).int("axis", 1).build();
        Case::new(on(&[2, 6]), vec![given, total(&["r", "p"])]).opset(13).ints("sizes", &[3], &[1, 2, 3]).check();
        let equal = node("Split").inputs(["x"]).outputs(parts).int("axis", -1).build();
        Case::new(on(&[2, 6]), vec![equal, total(&["p", "r", "q"])]).opset(13).check();
        let uneven = node("Split").inputs(["x"]).outputs(parts).int("axis", 1).int("num_outputs", 3).build();
        Case::new(on(&[2, 7]), vec![uneven, total(&["q", "r"])]).check();
        let unused = node("Split").inputs(["x"]).outputs(["", "q"]).int("axis", 1).int("num_outputs", 2).build();
        Case::new(on(&[2, 4]), vec![unused, total(&["q", "q"])]).check();
        let alone = node("Split").inputs(["x"]).outputs(["p"]).int("axis", 1).int("num_outputs", 1).build();
        Case::new(on(&[2, 3]), vec![alone, total(&["p"])]).check();
    }

    fn padded(dims: &[usize], pads: &[i64], axes: Option<&[i64]>, mode: &str) -> Case {
        let inputs = ["x", "pads", "", if axes.is_some() { "axes" } else { "" }];
        let pad = node("Pad").inputs(inputs).outputs(["y"]).string("mode", mode).build();
        let axes = axes.unwrap_or_default();
        Case::new(on(dims), vec![pad]).ints("pads", &[pads.len()], pads).ints("axes", &[axes.len()], axes).opset(19)
    }

    #[test]
    fn pads() {
        padded(&[2, 3], &[0, 1, 0, 2], None, "constant").check();
        padded(&[2, 3], &[0, 0, 0, 0], None, "constant").check();
        padded(&[3, 4], &[-1, 1, 0, -2], None, "constant").check();
        padded(&[2, 3, 4], &[1, 2, -1, 0], Some(&[-1, 0]), "constant").check();
        for mode in ["edge", "reflect", "wrap"] {
            padded(&[2, 3], &[0, 2, 0, 1], None, mode).check();
            padded(&[3, 3], &[1, 2], Some(&[1]), mode).check();
        }
        let filled = node("Pad").inputs(["x", "pads", "value"]).outputs(["y"]).build();
        let mut inputs = on(&[2, 3]);
        inputs.push(("value", tensor(&[], vec![0.3])));
        Case::new(inputs, vec![filled]).opset(13).ints("pads", &[4], &[1, 1, 0, -1]).check();
    }

    #[test]
    fn pads_found_at_run_time() {
        let nodes = vec![
            node("Cast").inputs(["amounts"]).outputs(["pads"]).int("to", 7).build(),
            node("Pad").inputs(["x", "pads"]).outputs(["y"]).build(),
        ];
        Case::new(on(&[2, 3]), nodes).floats("amounts", &[4], &[1.0, -1.0, 0.0, 2.0]).check_knowing(Known::Rank);
    }

    #[test]
    fn copies() {
        with_ints(node("Expand"), &[2, 1], &[2, 3]).check();
        with_ints(node("Expand"), &[3], &[2, 2, 1]).check();
        with_ints(node("Expand"), &[], &[2]).check();
        with_ints(node("Tile"), &[2, 3], &[2, 1]).check();
        with_ints(node("Tile"), &[2, 3], &[3, 2]).check();
        with_ints(node("Tile"), &[2, 3], &[1, 1]).check();
        let nodes = vec![
            node("Cast").inputs(["times"]).outputs(["repeats"]).int("to", 7).build(),
            node("Tile").inputs(["x", "repeats"]).outputs(["y"]).build(),
        ];
        Case::new(on(&[2, 3]), nodes).floats("times", &[2], &[2.0, 3.0]).check();
    }

    #[test]
    fn blocks() {
        for mode in ["DCR", "CRD"] {
            unary(node("DepthToSpace").int("blocksize", 2).string("mode", mode), &[2, 12, 2, 3]);
        }
        unary(node("DepthToSpace").int("blocksize", 3), &[1, 9, 1, 2]);
        unary(node("SpaceToDepth").int("blocksize", 2), &[2, 3, 4, 2]);
    }

    #[test]
    fn running_sums_and_triangles() {
        for (exclusive, reverse) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
            let sum = node("CumSum").int("exclusive", exclusive).int("reverse", reverse);
            let case = Case::new(on(&[2, 4]), vec![sum.inputs(["x", "axis"]).outputs(["y"]).build()]);
            case.ints("axis", &[], &[-1]).check();
        }
        unary(node("Trilu"), &[3, 4]);
        let shifted = node("Trilu").inputs(["x", "k"]).outputs(["y"]).int("upper", 0).build();
        Case::new(on(&[2, 3, 3]), vec![shifted]).ints("k", &[], &[-1]).check();
    }

    #[test]
    fn reversed_sequences() {
        with_ints(node("ReverseSequence"), &[4, 3, 2], &[4, 1, 2]).check();
        let batch_first = node("ReverseSequence").int("batch_axis", 0).int("time_axis", 1);
        with_ints(batch_first, &[2, 4], &[3, 4]).check();
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]

        #[test]
        fn any_pads(
            dims in prop::collection::vec(2..5usize, 1..3),
            amounts in prop::collection::vec(-1i64..3, 4),
            mode in prop::sample::select(vec!["constant", "edge", "reflect", "wrap"]),
        ) {
            let pads: Vec<i64> = amounts[..2 * dims.len()].to_vec();
            // a reflection is shorter than the axis; whether copies may cut, the specification leaves open
            let pads: Vec<i64> = pads.iter().enumerate().map(|(i, &pad)| {
                let size = dims[i % dims.len()] as i64;
                if mode == "constant" { pad } else { pad.clamp(0, size - 1) }
            }).collect();
            prop_assume!((0..dims.len()).all(|a| dims[a] as i64 + pads[a] + pads[a + dims.len()] > 0));
            padded(&dims, &pads, None, mode).check();
        }

        #[test]
        fn any_permutation_and_tiles(
            order in Just(vec![0i64, 1, 2]).prop_shuffle(),
            dims in prop::collection::vec(1..4usize, 3),
            repeats in prop::collection::vec(1i64..3, 3),
        ) {
            let nodes = vec![
                node("Transpose").inputs(["x"]).outputs(["t"]).ints("perm", &order).build(),
                node("Tile").inputs(["t", "repeats"]).outputs(["y"]).build(),
            ];
            Case::new(on(&dims), nodes).ints("repeats", &[3], &repeats).check();
        }
    }
}
