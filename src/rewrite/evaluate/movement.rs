//! Operators that make, reshape or move whole tensors without looking at the elements.

use super::tensor::{Data, MAX_ELEMENTS, MAX_RANK, Tensor, axes_of, axis_of, dims_of, element_count, strides, walk};
use super::{Call, Fault};
use crate::model::proto::TensorProto;
use prost::Message;

/// Runs the node if it is of this family.
pub(super) fn run(call: &Call) -> Result<Option<Vec<Tensor>>, Fault> {
    let result = match call.node.op() {
        "Constant" => constant(call)?,
        "ConstantOfShape" => constant_of_shape(call)?,
        "Shape" => shape(call)?,
        "Size" => Tensor::ints(&[], vec![call.input(0)?.len() as i64]),
        "Reshape" => reshape(call)?,
        "Flatten" => flatten(call)?,
        "Squeeze" => squeeze(call)?,
        "Unsqueeze" => unsqueeze(call)?,
        "Expand" => expand(call)?,
        "Transpose" => transpose(call)?,
        "Concat" => concat(call)?,
        "Split" => return split(call).map(Some),
        "Slice" => slice(call)?,
        "Tile" => tile(call)?,
        "Pad" => pad(call)?,
        "Trilu" => trilu(call)?,
        _ => return Ok(None),
    };
    Ok(Some(vec![result]))
}

fn constant(call: &Call) -> Result<Tensor, Fault> {
    if let Some(tensor) = call.attr("value").and_then(|a| a.t.as_ref()) {
        return decode(tensor);
    }
    if let Some(value) = call.attr("value_float").and_then(|a| a.f) {
        return Ok(Tensor::scalar(value.into()));
    }
    if let Some(value) = call.attr("value_int").and_then(|a| a.i) {
        return Ok(Tensor::ints(&[], vec![value]));
    }
    if let Some(a) = call.attr("value_floats") {
        let values: Vec<f64> = a.floats.iter().map(|&x| x.into()).collect();
        return Tensor::new(vec![values.len()], Data::Float(values));
    }
    if let Some(a) = call.attr("value_ints") {
        return Tensor::new(vec![a.ints.len()], Data::Int(a.ints.clone()));
    }
    Err(Fault::Unsupported("Constant of strings, sparse or without a value".into()))
}

fn decode(bytes: &bytes::Bytes) -> Result<Tensor, Fault> {
    let tensor = TensorProto::decode(bytes.clone())
        .map_err(|error| Fault::invalid(format!("its tensor attribute cannot be read: {error}")))?;
    Tensor::from_proto(&tensor)
}

fn constant_of_shape(call: &Call) -> Result<Tensor, Fault> {
    let dims = dims_of(call.input(0)?.as_ints()?)?;
    let value = match call.attr("value").and_then(|a| a.t.as_ref()) {
        Some(bytes) => decode(bytes)?,
        None => Tensor::scalar(0.0),
    };
    if value.len() != 1 {
        return Err(Fault::invalid(format!("its value has {} elements", value.len())));
    }
    let count = element_count(&dims)?;
    value.gathered(dims, &vec![0; count])
}

fn shape(call: &Call) -> Result<Tensor, Fault> {
    let dims = &call.input(0)?.dims;
    let rank = dims.len() as i64;
    let clamp = |at: i64| if at < 0 { (at + rank).max(0) } else { at.min(rank) } as usize;
    let (start, end) = (clamp(call.int("start", 0)), clamp(call.int("end", rank)));
    let part: Vec<i64> = dims.iter().take(end).skip(start).map(|&d| d as i64).collect();
    Ok(Tensor::ints(&[part.len()], part))
}

fn reshape(call: &Call) -> Result<Tensor, Fault> {
    let x = call.input(0)?;
    let wanted = call.ints_at(1, "shape")?.ok_or(Fault::Missing(1))?;
    if wanted.len() > MAX_RANK {
        return Err(Fault::invalid(format!("a shape of rank {}", wanted.len())));
    }
    let mismatch = || Fault::invalid(format!("{:?} cannot become {wanted:?}", x.dims));
    let keep_zero = call.int("allowzero", 0) != 0;
    let mut dims = Vec::with_capacity(wanted.len());
    let mut open = None;
    for (axis, &d) in wanted.iter().enumerate() {
        dims.push(match d {
            -1 if open.is_none() => {
                open = Some(axis);
                1
            }
            0 if !keep_zero => *x.dims.get(axis).ok_or_else(mismatch)?,
            d => usize::try_from(d).map_err(|_| mismatch())?,
        });
    }
    let known = element_count(&dims)?;
    if let Some(axis) = open {
        if known == 0 || x.len() % known != 0 {
            return Err(mismatch());
        }
        dims[axis] = x.len() / known;
    }
    if element_count(&dims)? != x.len() {
        return Err(mismatch());
    }
    Tensor::new(dims, x.data.clone())
}

fn flatten(call: &Call) -> Result<Tensor, Fault> {
    let x = call.input(0)?;
    let axis = call.int("axis", 1);
    let axis = if axis == x.rank() as i64 { x.rank() } else { axis_of(axis, x.rank())? };
    let rows = element_count(&x.dims[..axis])?;
    let columns = element_count(&x.dims[axis..])?;
    Tensor::new(vec![rows, columns], x.data.clone())
}

fn squeeze(call: &Call) -> Result<Tensor, Fault> {
    let x = call.input(0)?;
    let axes = match call.ints_at(1, "axes")? {
        Some(axes) => axes_of(axes, x.rank())?,
        None => (0..x.rank()).filter(|&a| x.dims[a] == 1).collect(),
    };
    if let Some(axis) = axes.iter().find(|&&a| x.dims[a] != 1) {
        return Err(Fault::invalid(format!("axis {axis} of {:?} cannot be squeezed", x.dims)));
    }
    let dims = (0..x.rank()).filter(|a| !axes.contains(a)).map(|a| x.dims[a]).collect();
    Tensor::new(dims, x.data.clone())
}

fn unsqueeze(call: &Call) -> Result<Tensor, Fault> {
    let x = call.input(0)?;
    let axes = call.ints_at(1, "axes")?.ok_or(Fault::Missing(1))?;
    let rank = x.rank().saturating_add(axes.len());
    if rank > MAX_RANK {
        return Err(Fault::invalid(format!("a result of rank {rank}")));
    }
    let axes = axes_of(axes, rank)?;
    let mut old = x.dims.iter();
    let dims = (0..rank).map(|a| if axes.contains(&a) { 1 } else { old.next().copied().unwrap_or(1) }).collect();
    Tensor::new(dims, x.data.clone())
}

fn expand(call: &Call) -> Result<Tensor, Fault> {
    let x = call.input(0)?;
    let wanted = dims_of(call.input(1)?.as_ints()?)?;
    let dims = super::tensor::broadcast_dims(&[&x.dims, &wanted])?;
    x.broadcast_to(&dims)
}

fn transpose(call: &Call) -> Result<Tensor, Fault> {
    let x = call.input(0)?;
    let order: Vec<usize> = match call.node.attr_ints("perm") {
        Some(perm) => {
            // an axis named twice or left out
            if axes_of(perm, x.rank())?.len() != x.rank() {
                return Err(Fault::invalid(format!("perm {perm:?} does not fit the shape {:?}", x.dims)));
            }
            perm.iter().map(|&a| axis_of(a, x.rank())).collect::<Result<_, _>>()?
        }
        None => (0..x.rank()).rev().collect(),
    };
    let from = strides(&x.dims);
    let dims: Vec<usize> = order.iter().map(|&a| x.dims[a]).collect();
    let steps: Vec<i64> = order.iter().map(|&a| from[a]).collect();
    let positions = walk(&dims, &steps, 0);
    x.gathered(dims, &positions)
}

fn concat(call: &Call) -> Result<Tensor, Fault> {
    let inputs = call.all_inputs()?;
    let first = call.input(0)?;
    let axis = axis_of(call.int("axis", 1), first.rank())?;
    let mut dims = first.dims.clone();
    dims[axis] = 0;
    for input in &inputs {
        let fits = input.rank() == dims.len() && (0..dims.len()).all(|a| a == axis || input.dims[a] == dims[a]);
        if !fits {
            return Err(Fault::invalid(format!("{:?} and {:?} do not join on axis {axis}", first.dims, input.dims)));
        }
        dims[axis] = dims[axis].saturating_add(input.dims[axis]);
    }
    element_count(&dims)?;
    let outer = element_count(&dims[..axis])?;
    let mut data = first.data.take(&[]);
    for row in 0..outer {
        for input in &inputs {
            let block = input.len() / outer;
            let positions: Vec<usize> = (row * block..(row + 1) * block).collect();
            data.append(&input.data.take(&positions))?;
        }
    }
    Tensor::new(dims, data)
}

fn split(call: &Call) -> Result<Vec<Tensor>, Fault> {
    let x = call.input(0)?;
    let axis = axis_of(call.int("axis", 0), x.rank())?;
    let whole = x.dims[axis];
    let sizes: Vec<usize> = match call.ints_at(1, "split")? {
        Some(sizes) => dims_of(sizes)?,
        None => {
            let parts = usize::try_from(call.int("num_outputs", call.node.output.len() as i64)).unwrap_or_default();
            if parts == 0 || parts > whole.max(1) {
                return Err(Fault::invalid(format!("{whole} elements cannot be split into {parts} parts")));
            }
            let size = whole.div_ceil(parts);
            (0..parts).map(|i| size.min(whole.saturating_sub(i * size))).collect()
        }
    };
    if sizes.iter().try_fold(0_usize, |n, &s| n.checked_add(s)) != Some(whole) || sizes.len() > MAX_ELEMENTS {
        return Err(Fault::invalid(format!("parts of {sizes:?} do not make up {whole} elements")));
    }
    let steps = strides(&x.dims);
    let mut start = 0;
    let mut results = Vec::with_capacity(sizes.len());
    for size in sizes {
        let mut dims = x.dims.clone();
        dims[axis] = size;
        let positions = walk(&dims, &steps, steps[axis].wrapping_mul(start as i64));
        results.push(x.gathered(dims, &positions)?);
        start += size;
    }
    Ok(results)
}

fn slice(call: &Call) -> Result<Tensor, Fault> {
    let x = call.input(0)?;
    let starts = call.ints_at(1, "starts")?.ok_or(Fault::Missing(1))?;
    let ends = call.ints_at(2, "ends")?.ok_or(Fault::Missing(2))?;
    let default_axes: Vec<i64> = (0..starts.len().min(MAX_RANK + 1) as i64).collect();
    let axes = call.ints_at(3, "axes")?.unwrap_or(&default_axes);
    let default_steps = vec![1; axes.len()];
    let steps = match call.optional(4) {
        Some(steps) => steps.as_ints()?,
        None => &default_steps,
    };
    if starts.len() != ends.len() || starts.len() != axes.len() || starts.len() != steps.len() {
        return Err(Fault::invalid("starts, ends, axes and steps differ in length"));
    }
    axes_of(axes, x.rank())?;
    let mut dims = x.dims.clone();
    let mut moves = strides(&x.dims);
    let mut origin = 0_i64;
    for (((&start, &end), &axis), &step) in starts.iter().zip(ends).zip(axes).zip(steps) {
        if step == 0 {
            return Err(Fault::invalid("a step of 0"));
        }
        let axis = axis_of(axis, x.rank())?;
        let size = x.dims[axis] as i64;
        let from_start = |at: i64| if at < 0 { at.saturating_add(size) } else { at };
        let (low, high) = if step > 0 { (0, size) } else { (-1, size - 1) };
        let start = from_start(start).max(if step > 0 { 0 } else { -1 }).min(high);
        let end = from_start(end).max(low).min(high);
        let span = if step > 0 { end - start } else { start - end };
        let stride = step.unsigned_abs().min(MAX_ELEMENTS as u64 + 1);
        let count = if span <= 0 { 0 } else { (span as u64).div_ceil(stride) };
        dims[axis] = count as usize;
        if count > 0 {
            origin = origin.wrapping_add(moves[axis].wrapping_mul(start));
            moves[axis] = moves[axis].wrapping_mul(stride as i64 * step.signum());
        }
    }
    let positions = walk(&dims, &moves, origin);
    x.gathered(dims, &positions)
}

fn tile(call: &Call) -> Result<Tensor, Fault> {
    let x = call.input(0)?;
    let repeats = dims_of(call.input(1)?.as_ints()?)?;
    if repeats.len() != x.rank() {
        return Err(Fault::invalid(format!("{} repeats for the shape {:?}", repeats.len(), x.dims)));
    }
    // every axis becomes (repeat, size) with the repeat standing still
    let mut paired = Vec::with_capacity(2 * x.rank());
    let mut steps = Vec::with_capacity(2 * x.rank());
    let mut dims = Vec::with_capacity(x.rank());
    for ((&size, &repeat), step) in x.dims.iter().zip(&repeats).zip(strides(&x.dims)) {
        paired.extend([repeat, size]);
        steps.extend([0, step]);
        dims.push(size.saturating_mul(repeat));
    }
    element_count(&dims)?;
    let positions = walk(&paired, &steps, 0);
    x.gathered(dims, &positions)
}

fn pad(call: &Call) -> Result<Tensor, Fault> {
    let x = call.input(0)?;
    let source: fn(i64, i64) -> Option<i64> = match call.string("mode", "constant") {
        "constant" => |at, size| (0..size).contains(&at).then_some(at),
        "edge" => |at, size| (size > 0).then(|| at.clamp(0, size - 1)),
        "reflect" => |at, size| reflected(at, size),
        "wrap" => |at, size| at.checked_rem_euclid(size),
        mode => return Err(Fault::Unsupported(format!("Pad with mode {mode}"))),
    };
    let is_constant = call.string("mode", "constant") == "constant";
    let pads = call.ints_at(1, "pads")?.ok_or(Fault::Missing(1))?;
    let axes: Vec<usize> = match call.optional(3) {
        Some(axes) => {
            axes_of(axes.as_ints()?, x.rank())?;
            axes.as_ints()?.iter().map(|&a| axis_of(a, x.rank())).collect::<Result<_, _>>()?
        }
        None => (0..x.rank()).collect(),
    };
    if pads.len() != 2 * axes.len() || pads.iter().any(|p| p.unsigned_abs() > MAX_ELEMENTS as u64) {
        return Err(Fault::invalid(format!("pads {pads:?} do not fit the shape {:?}", x.dims)));
    }
    let mut before = vec![0_i64; x.rank()];
    let mut dims = x.dims.clone();
    for (i, &axis) in axes.iter().enumerate() {
        before[axis] = pads[i];
        let size = x.dims[axis] as i64 + pads[i] + pads[i + axes.len()];
        dims[axis] = usize::try_from(size).map_err(|_| Fault::invalid("pads cut more than there is"))?;
    }
    let count = element_count(&dims)?;
    let mut data = x.data.clone();
    let fill = match call.optional(2) {
        Some(value) if value.len() == 1 => value.data.clone(),
        Some(value) => {
            return Err(Fault::invalid(format!("a pad value of shape {:?}", value.dims)));
        }
        None => Data::Float(vec![call.float("value", 0.0)]).cast(x.kind()),
    };
    data.append(&fill)?;
    let outside = x.len();
    let inner = strides(&x.dims);
    let outer = strides(&dims);
    if !is_constant && count > 0 && x.len() == 0 {
        return Err(Fault::invalid(format!("there is nothing to copy in the shape {:?}", x.dims)));
    }
    let place = |flat: usize| -> usize {
        let mut at = 0_i64;
        for axis in 0..dims.len() {
            let coordinate = (flat as i64 / outer[axis]) % dims[axis] as i64 - before[axis];
            match source(coordinate, x.dims[axis] as i64) {
                Some(coordinate) => at += coordinate * inner[axis],
                None => return outside,
            }
        }
        at as usize
    };
    let positions: Vec<usize> = (0..count).map(place).collect();
    Tensor::new(dims, data.take(&positions))
}

/// Back and forth between the first and the last element, neither of them twice.
fn reflected(at: i64, size: i64) -> Option<i64> {
    let period = (2 * (size - 1)).max(1);
    let at = at.rem_euclid(period);
    (size > 0).then(|| if at < size { at } else { period - at })
}

fn trilu(call: &Call) -> Result<Tensor, Fault> {
    let x = call.input(0)?;
    let [.., rows, columns] = x.dims[..] else {
        return Err(Fault::invalid(format!("the shape {:?} is no matrix", x.dims)));
    };
    let k = match call.optional(1) {
        Some(k) => k.as_ints()?.first().copied().unwrap_or_default(),
        None => 0,
    };
    let upper = call.int("upper", 1) != 0;
    let mut data = x.data.clone();
    data.append(&Data::Float(vec![0.0]).cast(x.kind()))?;
    let outside = x.len();
    let positions: Vec<usize> = (0..x.len())
        .map(|flat| {
            let (row, column) = ((flat / columns % rows) as i64, (flat % columns) as i64);
            let kept = if upper { column - row >= k } else { column - row <= k };
            if kept { flat } else { outside }
        })
        .collect();
    Tensor::new(x.dims.clone(), data.take(&positions))
}
