//! MaxPool.

use crate::model::proto::{NodeProto, TensorProto};
use crate::rewrite::gradient::Builder;
use crate::rewrite::gradient::backward::{Backward, Refusal, refusal};
use crate::rewrite::gradient::convolution::Geometry;
use crate::rewrite::gradient::fused;

/// Version of the standard operators from which on a scatter can add.
const ADDING_SCATTER: i64 = 16;

/// `MaxPool`, y\[o\] = the largest element of window o, at Indices\[o\]: dx is 0 but there, where dy is added up.
pub(super) fn max_pool(c: &mut Backward<'_, '_>) -> Result<(), Refusal> {
    let (dy, x) = (c.dy()?, c.x(0));
    let y = c.y(0);
    c.b.declare_like(&dy, &y);
    if fused::max_pool(c, &dy, &x) {
        return Ok(());
    }
    let indices = row_major_indices(c, &x)?;
    let overlap = overlap(c)?;
    let zeros = zeros_for(c.b, &x);
    let flat = if overlap.iter().all(|&windows| windows == 1) {
        scatter(c.b, &zeros, &indices, &dy, false)
    } else if c.b.opset() >= ADDING_SCATTER {
        scatter(c.b, &zeros, &indices, &dy, true)
    } else {
        scatter_in_turns(c.b, &zeros, &indices, &dy, &overlap)?
    };
    let dx = c.b.reshape_like(&flat, &x);
    c.b.declare_like(&dx, &x);
    c.give(0, dx);
    Ok(())
}

/// How many windows in a row may share an element, along each axis.
fn overlap(c: &Backward<'_, '_>) -> Result<Vec<i64>, Refusal> {
    let kernel = c.node.attr_ints("kernel_shape").unwrap_or_default();
    let or_ones = |name: &str| c.node.attr_ints(name).map_or_else(|| vec![1; kernel.len()], <[i64]>::to_vec);
    let (strides, dilations) = (or_ones("strides"), or_ones("dilations"));
    let along = |axis: usize| -> Option<i64> {
        let stride = strides.get(axis).copied().filter(|&stride| stride > 0)?;
        let extent = kernel.get(axis)?.checked_sub(1)?.checked_mul(*dilations.get(axis)?)?.checked_add(1)?;
        Some(extent.checked_add(stride - 1)? / stride)
    };
    let found: Option<Vec<i64>> = (0..kernel.len()).map(along).collect();
    found
        .filter(|found| found.iter().all(|&n| n > 0))
        .ok_or_else(|| refusal("its kernel_shape, strides and dilations do not fit"))
}

/// As many zeros as x has elements, in a row.
fn zeros_for(b: &mut Builder<'_>, x: &str) -> String {
    let count = b.sizes(x).and_then(|sizes| sizes.iter().try_fold(1i64, |n, &size| n.checked_mul(size)));
    let count = match count {
        Some(count) => b.ints(&[count]),
        None => {
            let (count, one) = (b.op("Size", &[x]), b.ints(&[1]));
            b.op("Reshape", &[&count, &one])
        }
    };
    let zero = TensorProto::vector("", b.number_type(x), &[0.0]);
    b.node("ConstantOfShape", &[&count], |node| node.tensor("value", &zero))
}

/// dy at its indices into `zeros`, replacing or adding.
fn scatter(b: &mut Builder<'_>, zeros: &str, indices: &str, dy: &str, add: bool) -> String {
    let row = b.ints(&[-1]);
    let (indices, dy) = (b.op("Reshape", &[indices, &row]), b.op("Reshape", &[dy, &row]));
    b.node("ScatterElements", &[zeros, &indices, &dy], |node| {
        let node = node.int("axis", 0);
        if add { node.string("reduction", "add") } else { node }
    })
}

/// Without adding: windows that do not overlap at once, one scatter for each such set, and their sum.
fn scatter_in_turns(
    b: &mut Builder<'_>,
    zeros: &str,
    indices: &str,
    dy: &str,
    overlap: &[i64],
) -> Result<String, Refusal> {
    let turns = overlap.iter().try_fold(1i64, |n, &k| n.checked_mul(k)).filter(|&turns| turns <= 64);
    if turns.is_none() {
        let wanted = "its windows overlap much: convert the model to version 16 of the standard operators or newer";
        return Err(refusal(wanted));
    }
    let rank = overlap.len();
    let axes: Vec<i64> = (2..2 + rank as i64).collect();
    let (axes, ends, steps) = (b.ints(&axes), b.ints(&vec![i32::MAX.into(); rank]), b.ints(overlap));
    let windows = b.dims(dy);
    let mut first = vec![0i64; rank];
    let mut parts = Vec::new();
    loop {
        // a set may be empty
        let is_there = (0..rank).all(|axis| {
            let count = windows.as_ref().and_then(|dims| dims.get(2 + axis)?.known());
            count.is_none_or(|count| first[axis] < count)
        });
        if is_there {
            let starts = b.ints(&first);
            let indices = b.op("Slice", &[indices, &starts, &ends, &axes, &steps]);
            let dy = b.op("Slice", &[dy, &starts, &ends, &axes, &steps]);
            parts.push(scatter(b, zeros, &indices, &dy, false));
        }
        let Some(axis) = (0..rank).rev().find(|&axis| first[axis] + 1 < overlap[axis]) else { break };
        first[axis] += 1;
        first[axis + 1..].fill(0);
    }
    b.sum(&parts).ok_or_else(|| refusal("it has no windows"))
}

/// The Indices output, which the node gets if it has none: positions in the whole of x, in row-major order.
fn row_major_indices(c: &mut Backward<'_, '_>, x: &str) -> Result<String, Refusal> {
    if c.int("storage_order", 0) == 0 {
        return Ok(c.y(1));
    }
    if c.node.output_at(1).is_none() {
        // nobody reads them yet, so their order is ours to choose
        let mut plain = NodeProto::clone(c.b.node_at(c.at));
        plain.attribute.retain(|attribute| attribute.name() != "storage_order");
        c.b.replace_node(c.at, plain);
        return Ok(c.y(1));
    }
    let indices = c.y(1);
    from_column_major(c.b, &indices, x, Geometry::of_pool(c)?.rank())
}

/// Positions whose plane is counted in column-major order as positions in row-major order.
fn from_column_major(b: &mut Builder<'_>, indices: &str, x: &str, rank: usize) -> Result<String, Refusal> {
    let sizes: Vec<String> = (0..rank)
        .map(|axis| match b.dims(x).and_then(|dims| dims.get(2 + axis)?.known()) {
            Some(size) => b.int(size),
            None => {
                let (shape, at) = (b.op("Shape", &[x]), b.int(2 + axis as i64));
                b.node("Gather", &[&shape, &at], |node| node.int("axis", 0))
            }
        })
        .collect();
    let mut product = b.int(1);
    for size in &sizes {
        product = b.op("Mul", &[&product, size]);
    }
    // position = plane·elements + rest; rest = c₀ + n₀·(c₁ + n₁·(…)), wanted: ((c₀·n₁ + c₁)·n₂ + …)
    let mut rest = b.op("Mod", &[indices, &product]);
    let start = b.op("Sub", &[indices, &rest]);
    let mut flat: Option<String> = None;
    for size in &sizes {
        let coordinate = b.op("Mod", &[&rest, size]);
        rest = b.op("Div", &[&rest, size]);
        flat = Some(match flat {
            None => coordinate,
            Some(flat) => {
                let scaled = b.op("Mul", &[&flat, size]);
                b.op("Add", &[&scaled, &coordinate])
            }
        });
    }
    let flat = flat.ok_or_else(|| refusal("it has no spatial axes"))?;
    Ok(b.op("Add", &[&start, &flat]))
}
