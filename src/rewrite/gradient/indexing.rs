//! Operators that read or write elements by index. What was read twice gets the sum of both gradients.

use crate::model::DataType;
use crate::model::proto::TensorProto;

use super::Builder;
use super::backward::{Backward, Refusal, Vjp, refusal};
use super::positions::{ADDING, positions, scatter, scatter_along};
use super::sizes::Size;

pub(super) const RULES: &[(&str, Vjp)] = &[
    ("Gather", gather),
    ("GatherElements", gather_elements),
    ("GatherND", gather_nd),
    ("ScatterElements", scatter_elements),
    ("ScatterND", scatter_nd),
    ("TopK", top_k),
    ("Compress", compress),
];

/// Longest axis whose elements are put back by a constant list of indices.
const MAX_LISTED: i64 = 1 << 16;
/// Longest axis along which a product with one-hot columns is faster than adding one by one.
const ONE_HOT: i64 = 128;

/// `Gather`, y = x[.., indices, ..]: dx = zeros with dy added at the indices. Constant indices that follow each other: Pad;
/// that are all different: Gather by the inverse list. Else ScatterElements; of a short axis, and before opset 16, which has none that adds,
/// a product with the indices as one-hot columns.
fn gather(c: &mut Backward<'_, '_>) -> Result<(), Refusal> {
    let dy = c.dy()?;
    let (x, indices) = (c.x(0), c.x(1));
    let (rank, index_rank) = (c.rank(&x)?, c.rank(&indices)?);
    let axis = c.axis(c.int("axis", 0), rank)?;
    let dx = match known_places(c.b, &x, &indices, axis) {
        Some((size, places)) => {
            let rows = one_index_axis(c.b, &dy, &x, axis, index_rank, Some(places.len() as i64));
            put_back(c.b, &rows, axis, size, &places)
        }
        None if index_rank <= 1 && neighbours(c.b, &indices).is_some() => {
            let (first, count) = neighbours(c.b, &indices).unwrap_or_default();
            let rows = one_index_axis(c.b, &dy, &x, axis, index_rank, None);
            put_back_neighbours(c.b, &rows, &x, axis, first, count)
        }
        None => {
            let rows = one_index_axis(c.b, &dy, &x, axis, index_rank, None);
            let all = c.b.ints(&[-1]);
            let indices = if index_rank == 1 { indices } else { c.b.op("Reshape", &[&indices, &all]) };
            let is_short = matches!(c.b.size(&x, axis), Size::Known(size) if size <= ONE_HOT);
            if c.b.opset() < ADDING || is_short {
                one_hot_product(c.b, &rows, &x, &indices, axis)
            } else {
                // one index for each element
                let mut dims = vec![1; rank];
                dims[axis] = -1;
                let dims = c.b.ints(&dims);
                let column = c.b.op("Reshape", &[&indices, &dims]);
                let shape = c.b.shape_of(&rows);
                let column = c.b.op("Expand", &[&column, &shape]);
                let zeros = c.b.zeros_like(&x);
                scatter_along(c.b, &zeros, &column, &rows, axis, true)?
            }
        }
    };
    c.b.declare_like(&dx, &x);
    c.give(0, dx);
    Ok(())
}

/// The size of the axis and the places that are read, counted from the front, where all that is constant and no place is
/// read twice.
fn known_places(b: &Builder<'_>, x: &str, indices: &str, axis: usize) -> Option<(i64, Vec<i64>)> {
    let Size::Known(size) = b.size(x, axis) else { return None };
    let indices = b.known_ints(indices)?;
    let places: Vec<i64> = indices.iter().map(|&index| if index < 0 { index + size } else { index }).collect();
    let mut seen = std::collections::HashSet::new();
    let fits = |place: &i64| (0..size).contains(place) && seen.insert(*place);
    (size <= MAX_LISTED && places.iter().all(fits)).then_some((size, places))
}

/// dy with the axes of the indices as one: [.., n, ..] has the rank of x.
fn one_index_axis(
    b: &mut Builder<'_>,
    dy: &str,
    x: &str,
    axis: usize,
    index_rank: usize,
    count: Option<i64>,
) -> String {
    if index_rank == 1 {
        return dy.to_owned();
    }
    if index_rank == 0 {
        let axis = b.ints(&[axis as i64]);
        return b.op("Unsqueeze", &[dy, &axis]);
    }
    let rank = b.rank(x).unwrap_or_default();
    let mut sizes: Vec<Size> = (0..rank).map(|at| b.size(x, at)).collect();
    let counted = match b.dims(dy) {
        _ if count.is_some() => count,
        Some(dims) => dims
            .get(axis..axis + index_rank)
            .and_then(|dims| dims.iter().try_fold(1i64, |product, dim| product.checked_mul(dim.known()?))),
        None => None,
    };
    if let Some(slot) = sizes.get_mut(axis) {
        // the free one, if any: a stand-in that is not known
        *slot = counted.map_or(Size::Free, Size::Known);
    }
    b.reshape_to(dy, &sizes)
}

/// Rows put to their places along an axis, zeros elsewhere.
fn put_back(b: &mut Builder<'_>, rows: &str, axis: usize, size: i64, places: &[i64]) -> String {
    let first = places.first().copied().unwrap_or(0);
    if places.iter().enumerate().all(|(at, &place)| place == first + at as i64) {
        return b.pad(rows, &[(axis, first, size - first - places.len() as i64)]);
    }
    let with_zero = b.pad(rows, &[(axis, 0, 1)]);
    let mut inverse = vec![places.len() as i64; usize::try_from(size).unwrap_or_default()];
    for (at, &place) in places.iter().enumerate() {
        if let Some(slot) = usize::try_from(place).ok().and_then(|place| inverse.get_mut(place)) {
            *slot = at as i64;
        }
    }
    let inverse = b.ints(&inverse);
    b.node("Gather", &[&with_zero, &inverse], |node| node.int("axis", axis as i64))
}

/// The first index and how many there are, where they are constant and follow each other on one side of 0.
fn neighbours(b: &Builder<'_>, indices: &str) -> Option<(i64, i64)> {
    let indices = b.known_ints(indices)?;
    let (first, count) = (*indices.first()?, i64::try_from(indices.len()).ok()?);
    let follow = indices.iter().zip(0..).all(|(&index, at)| first.checked_add(at) == Some(index));
    let one_side = first >= 0 || first.checked_add(count)? <= 0;
    (follow && one_side && first.checked_add(count)?.checked_neg().is_some()).then_some((first, count))
}

/// Rows put to their places along an axis whose size is found at run time.
fn put_back_neighbours(b: &mut Builder<'_>, rows: &str, x: &str, axis: usize, first: i64, count: i64) -> String {
    let rank = b.rank(x).unwrap_or_default();
    let size = b.size(x, axis);
    let (size, end) = (b.size_vector(&size), first + count);
    let (before, after) = if first >= 0 {
        let ends = b.ints(&[end]);
        (b.ints(&[first]), b.op("Sub", &[&size, &ends]))
    } else {
        let starts = b.ints(&[first]);
        (b.op("Add", &[&size, &starts]), b.ints(&[-end]))
    };
    // zeros for the axes in front, between, and behind
    let mut parts = Vec::new();
    let zeros = [axis, rank.saturating_sub(1), rank.saturating_sub(axis + 1)].map(|count| vec![0; count]);
    for (zeros, amount) in zeros.iter().zip([Some(before), Some(after), None]) {
        if !zeros.is_empty() {
            parts.push(b.ints(zeros));
        }
        parts.extend(amount);
    }
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    let pads = b.node("Concat", &parts, |node| node.int("axis", 0));
    b.op("Pad", &[rows, &pads])
}

/// Σ over the indices: [size, n], one where a place is the index, times the rows [.., n, rest].
fn one_hot_product(b: &mut Builder<'_>, rows: &str, x: &str, indices: &str, axis: usize) -> String {
    let size = b.size(x, axis);
    let depth = b.size_vector(&size);
    let hot = one_hot(b, indices, &depth, 0, rows);
    let rank = b.rank(x).unwrap_or_default();
    // the axis as the second last
    let mut lead: Vec<Size> = (0..axis).map(|at| b.size(x, at)).collect();
    if axis == 0 && rank == 2 {
        return b.op("Gemm", &[&hot, rows]);
    }
    if axis + 1 == rank {
        // [.., n] times [n, size]
        let hot = b.node("Transpose", &[&hot], |node| node.ints("perm", &[1, 0]));
        return b.op("MatMul", &[rows, &hot]);
    }
    let flat = if axis + 2 == rank {
        rows.to_owned()
    } else {
        let count = b.size(rows, axis);
        lead.extend([count, Size::Free]);
        b.reshape_to(rows, &lead)
    };
    let product = b.op("MatMul", &[&hot, &flat]);
    b.reshape_like(&product, x)
}

/// Ones at the indices along a new axis, in the element type of `like`.
fn one_hot(b: &mut Builder<'_>, indices: &str, depth: &str, axis: i64, like: &str) -> String {
    let indices = as_long(b, indices);
    let values = b.constant(&TensorProto::vector("", DataType::Float as i32, &[0.0, 1.0]));
    let hot = b.node("OneHot", &[&indices, depth, &values], |node| node.int("axis", axis));
    b.cast_like(&hot, like)
}

/// Indices as int64, the one type that all kernels have.
fn as_long(b: &mut Builder<'_>, indices: &str) -> String {
    if b.data_type(indices) == Some(DataType::Int64 as i32) {
        return indices.to_owned();
    }
    b.node("Cast", &[indices], |node| node.int("to", DataType::Int64 as i64))
}

/// `GatherElements`: dx = zeros with dy added at the indices along the axis. Before opset 16: dy times the indices as one-hot
/// axes, summed over those of the indices.
fn gather_elements(c: &mut Backward<'_, '_>) -> Result<(), Refusal> {
    let dy = c.dy()?;
    let (x, indices) = (c.x(0), c.x(1));
    let rank = c.rank(&x)?;
    let axis = c.axis(c.int("axis", 0), rank)?;
    let dx = if c.b.opset() >= ADDING {
        let zeros = c.b.zeros_like(&x);
        scatter_along(c.b, &zeros, &indices, &dy, axis, true)?
    } else {
        let size = c.b.size(&x, axis);
        let depth = c.b.size_vector(&size);
        let hot = one_hot(c.b, &indices, &depth, axis as i64, &dy);
        let place = c.b.ints(&[axis as i64]);
        let wide = c.b.op("Unsqueeze", &[&dy, &place]);
        let product = c.b.op("Mul", &[&hot, &wide]);
        let sum = c.b.reduce("ReduceSum", &product, &[axis as i64 + 1], false);
        behind(c.b, &sum, &x, rank)
    };
    c.b.declare_like(&dx, &x);
    c.give(0, dx);
    Ok(())
}

/// Zeros behind a value along all axes, up to the shape of another.
fn behind(b: &mut Builder<'_>, value: &str, like: &str, rank: usize) -> String {
    if b.same_shape(value, like) {
        return value.to_owned();
    }
    if let (Some(from), Some(to)) = (b.sizes(value), b.sizes(like)) {
        let pads: Vec<_> = from.iter().zip(&to).enumerate().map(|(axis, (from, to))| (axis, 0, to - from)).collect();
        return b.pad(value, &pads);
    }
    let [own, wanted] = [value, like].map(|value| b.op("Shape", &[value]));
    let missing = b.op("Sub", &[&wanted, &own]);
    let before = b.ints(&vec![0; rank]);
    let pads = b.node("Concat", &[&before, &missing], |node| node.int("axis", 0));
    b.op("Pad", &[value, &pads])
}

/// `GatherND`: the same, run on the positions of the elements of x, says where dy is added.
fn gather_nd(c: &mut Backward<'_, '_>) -> Result<(), Refusal> {
    let dy = c.dy()?;
    let (x, indices) = (c.x(0), c.x(1));
    let batch = c.int("batch_dims", 0);
    let places = positions(c.b, &x);
    let places = c.b.node("GatherND", &[&places, &indices], |node| node.int("batch_dims", batch));
    let dx = scatter(c.b, &places, &dy, &x, true)?;
    c.give(0, dx);
    Ok(())
}

/// Whether a scatter adds to the data; else it replaces.
fn adds(c: &Backward<'_, '_>) -> Result<bool, Refusal> {
    match c.string("reduction", "none").as_str() {
        "none" => Ok(false),
        "add" => Ok(true),
        other => Err(refusal(format!("its reduction '{other}' has no gradient here"))),
    }
}

/// `ScatterElements`: the updates get what became of them, GatherElements(dy, indices); the data get dy, but zero where they
/// were replaced (reduction none).
fn scatter_elements(c: &mut Backward<'_, '_>) -> Result<(), Refusal> {
    let dy = c.dy()?;
    let adds = adds(c)?;
    let (indices, updates) = (c.x(1), c.x(2));
    let axis = c.int("axis", 0);
    if c.wants(0) {
        let data = if adds {
            dy.clone()
        } else {
            let zeros = c.b.zeros_like(&updates);
            c.b.node("ScatterElements", &[&dy, &indices, &zeros], |node| node.int("axis", axis))
        };
        c.give(0, data);
    }
    if c.wants(2) {
        let found = c.b.node("GatherElements", &[&dy, &indices], |node| node.int("axis", axis));
        c.b.declare_like(&found, &updates);
        c.give(2, found);
    }
    Ok(())
}

/// `ScatterND`: as `ScatterElements`, with GatherND.
fn scatter_nd(c: &mut Backward<'_, '_>) -> Result<(), Refusal> {
    let dy = c.dy()?;
    let adds = adds(c)?;
    let (indices, updates) = (c.x(1), c.x(2));
    if c.wants(0) {
        let data = if adds {
            dy.clone()
        } else {
            let zeros = c.b.zeros_like(&updates);
            c.b.op("ScatterND", &[&dy, &indices, &zeros])
        };
        c.give(0, data);
    }
    if c.wants(2) {
        let found = c.b.op("GatherND", &[&dy, &indices]);
        c.b.declare_like(&found, &updates);
        c.give(2, found);
    }
    Ok(())
}

/// `TopK`: the values were read at the indices that it gives, each once: dx = zeros with dy there.
fn top_k(c: &mut Backward<'_, '_>) -> Result<(), Refusal> {
    let dy = c.dy()?;
    let x = c.x(0);
    let rank = c.rank(&x)?;
    let axis = c.axis(c.int("axis", -1), rank)?;
    let indices = c.y(1);
    let zeros = c.b.zeros_like(&x);
    let dx = scatter_along(c.b, &zeros, &indices, &dy, axis, false)?;
    c.give(0, dx);
    Ok(())
}

/// `Compress`: the same, run on the positions of the elements of x, says where dy goes; each once.
fn compress(c: &mut Backward<'_, '_>) -> Result<(), Refusal> {
    let dy = c.dy()?;
    let (x, condition) = (c.x(0), c.x(1));
    let attributes = c.node.attribute.clone();
    let places = positions(c.b, &x);
    let places = c.b.node("Compress", &[&places, &condition], |node| node.attributes(attributes));
    let dx = scatter(c.b, &places, &dy, &x, false)?;
    c.give(0, dx);
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::model::{NodeBuilder, node};
    use crate::rewrite::gradient::testing::{Case, Known, numbers, tensor};

    fn on(dims: &[usize]) -> Vec<(&'static str, crate::rewrite::evaluate::Tensor)> {
        vec![("x", tensor(dims, numbers(dims.iter().product(), 7)))]
    }

    fn indexed(op: NodeBuilder, dims: &[usize], index_dims: &[usize], indices: &[i64]) -> Case {
        let op = op.inputs(["x", "indices"]).outputs(["y"]).build();
        Case::new(on(dims), vec![op]).ints("indices", index_dims, indices)
    }

    /// The indices are not constant: the sum of two halves.
    fn at_run_time(op: NodeBuilder, dims: &[usize], index_dims: &[usize], indices: &[i64]) -> Case {
        let halves: Vec<f64> = indices.iter().map(|&index| index as f64).collect();
        let nodes = vec![
            node("Cast").inputs(["halves"]).outputs(["whole"]).int("to", 7).build(),
            node("Add").inputs(["whole", "nothing"]).outputs(["indices"]).build(),
            op.inputs(["x", "indices"]).outputs(["y"]).build(),
        ];
        Case::new(on(dims), nodes).floats("halves", index_dims, &halves).ints("nothing", &[], &[0])
    }

    const OPSETS: [i64; 3] = [13, 16, 18];

    #[test]
    fn rows_at_constant_indices() {
        for opset in OPSETS {
            let gather = |axis: i64| node("Gather").int("axis", axis);
            indexed(gather(0), &[4, 3], &[], &[2]).opset(opset).check();
            indexed(gather(1), &[2, 4, 3], &[], &[-1]).opset(opset).check();
            indexed(gather(-1), &[2, 4], &[2], &[1, 2]).opset(opset).check();
            indexed(gather(0), &[4, 3], &[3], &[3, 0, 2]).opset(opset).check();
            indexed(gather(1), &[2, 4], &[2, 2], &[3, 0, -2, 1]).opset(opset).check();
            indexed(gather(1), &[2, 4, 3], &[2], &[-3, -2]).opset(opset).check();
            indexed(gather(2), &[2, 2, 3], &[1], &[-1]).opset(opset).check();
            // twice the same
            indexed(gather(0), &[3, 2], &[3], &[1, -2, 0]).opset(opset).check();
            indexed(gather(1), &[2, 3, 2], &[2, 2], &[1, 1, 0, -1]).opset(opset).check();
        }
    }

    #[test]
    fn rows_at_indices_found_at_run_time() {
        for opset in OPSETS {
            for axis in [0, 1, 2] {
                let gather = || node("Gather").int("axis", axis);
                at_run_time(gather(), &[3, 2, 3], &[], &[1]).opset(opset).check();
                at_run_time(gather(), &[2, 2, 2], &[3], &[1, -1, 0]).opset(opset).check();
                at_run_time(gather(), &[2, 3, 2], &[2, 2], &[1, -1, 0, 1]).opset(opset).check();
            }
            at_run_time(node("Gather").int("axis", 0), &[3], &[2, 1, 2], &[1, 1, -1, 0]).opset(opset).check();
        }
    }

    #[test]
    fn single_elements() {
        for opset in OPSETS {
            let along = |axis: i64| node("GatherElements").int("axis", axis);
            indexed(along(0), &[3, 2], &[2, 2], &[0, 2, -1, 2]).opset(opset).check();
            indexed(along(1), &[2, 3], &[2, 1], &[2, 0]).opset(opset).check();
            indexed(along(-1), &[2, 2, 3], &[1, 2, 4], &[0, 0, 1, 2, -3, 1, 1, 1]).opset(opset).check();
            at_run_time(along(1), &[3, 3], &[2, 2], &[0, 2, 1, 1]).opset(opset).check();
        }
    }

    #[test]
    fn tuples_of_indices() {
        let nd = |batch: i64| node("GatherND").int("batch_dims", batch);
        for opset in [16, 18] {
            indexed(nd(0), &[3, 2], &[3, 2], &[0, 0, 2, 1, -1, -1]).opset(opset).check();
            indexed(nd(0), &[3, 2], &[2, 1], &[2, 2]).opset(opset).check();
            indexed(nd(1), &[2, 3, 2], &[2, 1], &[1, -1]).opset(opset).check();
            indexed(nd(1), &[2, 3, 2], &[2, 2, 2], &[0, 0, 1, 1, 2, 0, 2, 0]).opset(opset).check();
        }
        let old = std::panic::catch_unwind(|| indexed(nd(0), &[2], &[1, 1], &[0]).opset(15).check()).unwrap_err();
        let text = old.downcast_ref::<String>().cloned().unwrap_or_default();
        assert!(text.contains("opset 16") && text.contains("has 15"), "{text}");
    }

    #[test]
    fn scattered_updates() {
        let both = |dims: &[usize], updates: &[usize]| {
            let mut inputs = on(dims);
            inputs.push(("updates", tensor(updates, numbers(updates.iter().product(), 8))));
            inputs
        };
        for (opset, reduction) in [(13, None), (16, Some("none")), (16, Some("add")), (18, Some("add"))] {
            let op = |name: &str| {
                let op = node(name).inputs(["x", "indices", "updates"]).outputs(["y"]);
                reduction.map_or(op.clone(), |reduction| op.string("reduction", reduction))
            };
            let elements = op("ScatterElements").int("axis", 1).build();
            let case = Case::new(both(&[2, 3], &[2, 2]), vec![elements]).opset(opset);
            case.ints("indices", &[2, 2], &[0, -1, 1, 0]).check();
            let nd = op("ScatterND").build();
            let case = Case::new(both(&[3, 2], &[2, 2]), vec![nd]).opset(opset);
            case.ints("indices", &[2, 1], &[2, 0]).check();
        }
        // added twice to one place
        let op = node("ScatterElements").inputs(["x", "indices", "updates"]).outputs(["y"]).string("reduction", "add");
        let case = Case::new(both(&[3], &[3]), vec![op.build()]);
        case.ints("indices", &[3], &[1, 1, 0]).check();
    }

    #[test]
    fn the_largest() {
        for (axis, largest) in [(-1, 1), (0, 0), (1, 1)] {
            let top = node("TopK").inputs(["x", "k"]).outputs(["y", "where"]).int("axis", axis).int("largest", largest);
            Case::new(on(&[3, 4]), vec![top.build()]).opset(13).ints("k", &[1], &[2]).check();
        }
        let values_only = node("TopK").inputs(["x", "k"]).outputs(["y"]).build();
        Case::new(on(&[2, 3]), vec![values_only]).ints("k", &[1], &[3]).check();
    }

    #[test]
    fn what_a_condition_picks() {
        for axis in [None, Some(0), Some(-1)] {
            let compress = node("Compress").inputs(["x", "chosen"]).outputs(["y"]);
            let compress = axis.map_or(compress.clone(), |axis| compress.int("axis", axis));
            let nodes = vec![node("Cast").inputs(["flags"]).outputs(["chosen"]).int("to", 9).build(), compress.build()];
            Case::new(on(&[3, 3]), nodes).opset(13).ints("flags", &[3], &[1, 0, 1]).check();
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]

        #[test]
        fn any_rows(
            dims in prop::collection::vec(1..4usize, 1..4),
            axis in 0..3usize,
            index_dims in prop::collection::vec(1..3usize, 0..3),
            picks in prop::collection::vec(any::<prop::sample::Index>(), 8),
            negative in prop::collection::vec(any::<bool>(), 8),
            opset in prop::sample::select(OPSETS.to_vec()),
            constant in any::<bool>(),
        ) {
            let axis = axis % dims.len();
            let size = dims[axis];
            let count = index_dims.iter().product();
            let pick = |at: usize| {
                let index = picks[at].index(size) as i64;
                if negative[at] { index - size as i64 } else { index }
            };
            let indices: Vec<i64> = (0..count).map(pick).collect();
            let gather = node("Gather").int("axis", axis as i64);
            let make = if constant { indexed } else { at_run_time };
            make(gather, &dims, &index_dims, &indices).opset(opset).check();
        }

        #[test]
        fn any_elements(
            dims in prop::collection::vec(1..4usize, 1..4),
            axis in 0..3usize,
            count in 1..4usize,
            picks in prop::collection::vec(any::<prop::sample::Index>(), 32),
            opset in prop::sample::select(OPSETS.to_vec()),
        ) {
            let axis = axis % dims.len();
            let mut index_dims = dims.clone();
            index_dims[axis] = count;
            let total: usize = index_dims.iter().product();
            let indices: Vec<i64> = (0..total).map(|at| picks[at % 32].index(dims[axis]) as i64).collect();
            let gather = node("GatherElements").int("axis", axis as i64);
            indexed(gather, &dims, &index_dims, &indices).opset(opset).check_knowing(Known::Rank);
        }
    }
}
