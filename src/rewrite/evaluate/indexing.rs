//! Operators that read or write elements by index, and those that make indices and masks.

use super::tensor::{Data, Kind, MAX_ELEMENTS, Tensor, axis_of, element_count, strides};
use super::{Call, Fault};

/// Runs the node if it is of this family.
pub(super) fn run(call: &Call) -> Result<Option<Vec<Tensor>>, Fault> {
    let result = match call.node.op() {
        "Gather" => gather(call)?,
        "GatherElements" => gather_elements(call)?,
        "GatherND" => gather_nd(call)?,
        "ScatterElements" | "Scatter" => scatter_elements(call)?,
        "ScatterND" => scatter_nd(call)?,
        "OneHot" => one_hot(call)?,
        "Range" => range(call)?,
        "EyeLike" => eye_like(call)?,
        "NonZero" => non_zero(call)?,
        "Compress" => compress(call)?,
        _ => return Ok(None),
    };
    Ok(Some(vec![result]))
}

/// An index of a file as a position; negative ones count from the end.
fn position(index: i64, size: usize) -> Result<usize, Fault> {
    let from_start = if index < 0 { index + size as i64 } else { index };
    usize::try_from(from_start)
        .ok()
        .filter(|&i| i < size)
        .ok_or_else(|| Fault::invalid(format!("index {index} lies outside an axis of {size}")))
}

/// One column per element that is not zero: its place, in row-major order.
fn non_zero(call: &Call) -> Result<Tensor, Fault> {
    let x = call.input(0)?;
    let Data::Bool(set) = x.data.cast(Kind::Bool) else { return Err(Fault::invalid("no numbers")) };
    let places: Vec<usize> = set.iter().enumerate().filter_map(|(at, set)| set.then_some(at)).collect();
    let steps = strides(&x.dims);
    let along = |axis: usize| {
        let (step, size) = (steps[axis].max(1) as usize, x.dims[axis].max(1));
        places.iter().map(move |at| (at / step % size) as i64)
    };
    let elements = (0..x.rank()).flat_map(along).collect();
    Ok(Tensor::ints(&[x.rank(), places.len()], elements))
}

/// The parts along an axis, or the elements, for which a condition holds; it may be shorter than there are.
fn compress(call: &Call) -> Result<Tensor, Fault> {
    let (x, chosen) = (call.input(0)?, call.input(1)?.as_bools()?);
    let kept = |size: usize| -> Vec<usize> { (0..size).filter(|&at| chosen.get(at) == Some(&true)).collect() };
    let Some(axis) = call.attr("axis").and_then(|a| a.i) else {
        let kept = kept(x.len());
        return x.gathered(vec![kept.len()], &kept);
    };
    let axis = axis_of(axis, x.rank())?;
    let kept = kept(x.dims[axis]);
    let (outer, inner) = (element_count(&x.dims[..axis])?, element_count(&x.dims[axis + 1..])?);
    let row = |o: usize, at: usize| (o * x.dims[axis] + at) * inner..(o * x.dims[axis] + at + 1) * inner;
    let positions: Vec<usize> = (0..outer).flat_map(|o| kept.iter().flat_map(move |&at| row(o, at))).collect();
    let mut dims = x.dims.clone();
    dims[axis] = kept.len();
    x.gathered(dims, &positions)
}

fn gather(call: &Call) -> Result<Tensor, Fault> {
    let (x, indices) = (call.input(0)?, call.input(1)?);
    let axis = axis_of(call.int("axis", 0), x.rank())?;
    let dims = [&x.dims[..axis], &indices.dims, &x.dims[axis + 1..]].concat();
    if element_count(&dims)? == 0 {
        return x.gathered(dims, &[]);
    }
    let rows: Vec<usize> = indices.as_ints()?.iter().map(|&i| position(i, x.dims[axis])).collect::<Result<_, _>>()?;
    let outer = element_count(&x.dims[..axis])?;
    let inner = element_count(&x.dims[axis + 1..])?;
    let mut positions = Vec::with_capacity(outer * rows.len() * inner);
    for o in 0..outer {
        for &row in &rows {
            let start = (o * x.dims[axis] + row) * inner;
            positions.extend(start..start + inner);
        }
    }
    x.gathered(dims, &positions)
}

/// For each element of `indices`, the position it names in a tensor of shape `dims` along `axis`.
fn positions_along(dims: &[usize], indices: &Tensor, axis: usize) -> Result<Vec<usize>, Fault> {
    let fits = indices.rank() == dims.len() && (0..dims.len()).all(|a| a == axis || indices.dims[a] <= dims[a]);
    if !fits {
        return Err(Fault::invalid(format!("indices of shape {:?} do not fit data of shape {dims:?}", indices.dims)));
    }
    let own = strides(&indices.dims);
    let steps = strides(dims);
    let locate = |(flat, &index): (usize, &i64)| -> Result<usize, Fault> {
        let mut at = 0_i64;
        for a in 0..dims.len() {
            let coordinate = flat as i64 / own[a] % indices.dims[a] as i64;
            at += steps[a] * if a == axis { position(index, dims[a])? as i64 } else { coordinate };
        }
        Ok(at as usize)
    };
    indices.as_ints()?.iter().enumerate().map(locate).collect()
}

fn gather_elements(call: &Call) -> Result<Tensor, Fault> {
    let (x, indices) = (call.input(0)?, call.input(1)?);
    let axis = axis_of(call.int("axis", 0), x.rank())?;
    let positions = positions_along(&x.dims, indices, axis)?;
    x.gathered(indices.dims.clone(), &positions)
}

/// Start of the block of `dims[..tuple.len()]`-indexed data that an index tuple names.
fn block_start(tuple: &[i64], dims: &[usize], steps: &[i64]) -> Result<usize, Fault> {
    let mut at = 0_i64;
    for ((&index, &size), &step) in tuple.iter().zip(dims).zip(steps) {
        at = at.wrapping_add(step.wrapping_mul(position(index, size)? as i64));
    }
    Ok(at as usize)
}

fn gather_nd(call: &Call) -> Result<Tensor, Fault> {
    let (x, indices) = (call.input(0)?, call.input(1)?);
    let mismatch =
        || Fault::invalid(format!("indices of shape {:?} do not fit data of shape {:?}", indices.dims, x.dims));
    let batch = usize::try_from(call.int("batch_dims", 0)).map_err(|_| mismatch())?;
    let (&width, leading) = indices.dims.split_last().ok_or_else(mismatch)?;
    let depth = batch.checked_add(width).filter(|&d| d <= x.rank()).ok_or_else(mismatch)?;
    if leading.get(..batch).ok_or_else(mismatch)? != &x.dims[..batch] {
        return Err(mismatch());
    }
    let dims = [leading, &x.dims[depth..]].concat();
    element_count(&dims)?;
    let block = element_count(&x.dims[depth..])?;
    let tuples = element_count(leading)?;
    let batches = element_count(&x.dims[..batch])?;
    let per_batch = tuples.checked_div(batches).unwrap_or_default();
    let batch_size = x.len().checked_div(batches).unwrap_or_default();
    let steps = strides(&x.dims);
    let all = indices.as_ints()?;
    let mut positions = Vec::with_capacity(tuples * block);
    for tuple in 0..tuples {
        let index = &all[tuple * width..(tuple + 1) * width];
        let start = tuple / per_batch * batch_size + block_start(index, &x.dims[batch..depth], &steps[batch..depth])?;
        positions.extend(start..start + block);
    }
    x.gathered(dims, &positions)
}

/// Writes `updates` at `positions` of `data`: replaced, or added to what is there.
fn scatter(call: &Call, data: &Tensor, positions: &[usize], updates: &Tensor) -> Result<Tensor, Fault> {
    let add = match call.string("reduction", "none") {
        "none" => false,
        "add" => true,
        other => {
            return Err(Fault::Unsupported(format!("{} with reduction {other}", call.node.op())));
        }
    };
    let mut result = data.data.clone();
    match (&mut result, &updates.data) {
        (Data::Float(to), Data::Float(from)) => {
            for (&at, &value) in positions.iter().zip(from) {
                to[at] = if add { to[at] + value } else { value };
            }
        }
        (Data::Int(to), Data::Int(from)) => {
            for (&at, &value) in positions.iter().zip(from) {
                to[at] = if add { to[at].wrapping_add(value) } else { value };
            }
        }
        (Data::Bool(to), Data::Bool(from)) if !add => {
            for (&at, &value) in positions.iter().zip(from) {
                to[at] = value;
            }
        }
        (a, b) => return Err(super::tensor::mixed(a.kind(), b.kind())),
    }
    Tensor::new(data.dims.clone(), result)
}

fn scatter_elements(call: &Call) -> Result<Tensor, Fault> {
    let (x, indices, updates) = (call.input(0)?, call.input(1)?, call.input(2)?);
    if indices.dims != updates.dims {
        return Err(Fault::invalid(format!(
            "indices of shape {:?} and updates of shape {:?} differ",
            indices.dims, updates.dims
        )));
    }
    let axis = axis_of(call.int("axis", 0), x.rank())?;
    let positions = positions_along(&x.dims, indices, axis)?;
    scatter(call, x, &positions, updates)
}

fn scatter_nd(call: &Call) -> Result<Tensor, Fault> {
    let (x, indices, updates) = (call.input(0)?, call.input(1)?, call.input(2)?);
    let mismatch = || {
        Fault::invalid(format!(
            "indices of shape {:?} and updates of shape {:?} do not fit data of shape {:?}",
            indices.dims, updates.dims, x.dims
        ))
    };
    let (&width, leading) = indices.dims.split_last().ok_or_else(mismatch)?;
    let rest = x.dims.get(width..).ok_or_else(mismatch)?;
    if [leading, rest].concat() != updates.dims {
        return Err(mismatch());
    }
    let block = element_count(rest)?;
    let steps = strides(&x.dims);
    let all = indices.as_ints()?;
    let mut positions = Vec::with_capacity(updates.len());
    for tuple in 0..element_count(leading)? {
        let start = block_start(&all[tuple * width..(tuple + 1) * width], &x.dims, &steps)?;
        positions.extend(start..start + block);
    }
    scatter(call, x, &positions, updates)
}

fn one_hot(call: &Call) -> Result<Tensor, Fault> {
    let (indices, values) = (call.input(0)?, call.input(2)?);
    let depth = call.input(1)?.single().ok_or_else(|| Fault::invalid("depth is not a single number"))?;
    if !(1.0..=MAX_ELEMENTS as f64).contains(&depth) || values.len() != 2 {
        return Err(Fault::invalid(format!("depth {depth} with {} values", values.len())));
    }
    let depth = depth as usize;
    let rank = indices.rank() + 1;
    let axis = axis_of(call.int("axis", -1), rank)?;
    let mut dims = indices.dims.clone();
    dims.insert(axis, depth);
    if element_count(&dims)? == 0 {
        return values.gathered(dims, &[]);
    }
    let Data::Int(labels) = indices.data.cast(Kind::Int) else {
        return Err(Fault::invalid("indices are bools"));
    };
    let inner = element_count(&indices.dims[axis..])?;
    let outer = element_count(&indices.dims[..axis])?;
    let mut chosen = Vec::with_capacity(labels.len() * depth);
    for o in 0..outer {
        for class in 0..depth {
            // an index outside the range gives a row without the on value
            chosen.extend((0..inner).map(|i| usize::from(position(labels[o * inner + i], depth) == Ok(class))));
        }
    }
    values.gathered(dims, &chosen)
}

fn range(call: &Call) -> Result<Tensor, Fault> {
    let (start, limit, delta) = (call.input(0)?, call.input(1)?, call.input(2)?);
    let single = |t: &Tensor| t.single().ok_or_else(|| Fault::invalid("start, limit or delta is not a single number"));
    let count = ((single(limit)? - single(start)?) / single(delta)?).ceil().max(0.0);
    if !count.is_finite() || single(delta)? == 0.0 {
        return Err(Fault::invalid("the range has no end"));
    }
    let count = count as usize;
    element_count(&[count])?;
    match (&start.data, &limit.data, &delta.data) {
        (Data::Int(start), Data::Int(_), Data::Int(delta)) => {
            let (start, delta) = (start[0], delta[0]);
            let values = (0..count as i64).map(|i| start.wrapping_add(delta.wrapping_mul(i))).collect();
            Ok(Tensor::ints(&[count], values))
        }
        (Data::Float(start), Data::Float(_), Data::Float(delta)) => {
            let (start, delta) = (start[0], delta[0]);
            Ok(Tensor::floats(&[count], (0..count).map(|i| start + delta * i as f64).collect()))
        }
        (a, _, b) => Err(super::tensor::mixed(a.kind(), b.kind())),
    }
}

fn eye_like(call: &Call) -> Result<Tensor, Fault> {
    let x = call.input(0)?;
    let [_, columns] = x.dims[..] else {
        return Err(Fault::invalid(format!("the shape {:?} is no matrix", x.dims)));
    };
    let kind = match call.attr("dtype").and_then(|a| a.i) {
        Some(to) => i32::try_from(to)
            .ok()
            .and_then(Kind::of)
            .ok_or_else(|| Fault::Unsupported(format!("EyeLike of data type {to}")))?,
        None => x.kind(),
    };
    let k = call.int("k", 0);
    let on = |flat: usize| ((flat % columns) as i64).wrapping_sub((flat / columns) as i64) == k;
    let data = Data::Bool((0..x.len()).map(on).collect()).cast(kind);
    Tensor::new(x.dims.clone(), data)
}
