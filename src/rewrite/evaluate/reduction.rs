//! Operators along axes: reductions, arg max, top k, cumulative sum, softmax.

use super::tensor::{Data, Kind, Runs, Tensor, axes_of, axis_of, element_count};
use super::{Call, Fault};

/// Runs the node if it is of this family.
pub(super) fn run(call: &Call) -> Result<Option<Vec<Tensor>>, Fault> {
    let result = match call.node.op() {
        "ReduceSum" => reduce(call, sum, |v| Ok(v.iter().fold(0, |a, b| a.wrapping_add(*b))))?,
        "ReduceMean" => reduce(call, |v| sum(v) / v.len() as f64, integer_mean)?,
        "ReduceMax" => reduce(call, max, |v| v.iter().copied().max().ok_or_else(nothing))?,
        "ReduceMin" => reduce(
            call,
            |v| -max(&v.iter().map(|x| -x).collect::<Vec<_>>()),
            |v| v.iter().copied().min().ok_or_else(nothing),
        )?,
        "ReduceProd" => reduce(call, |v| v.iter().product(), |v| Ok(v.iter().fold(1, |a, b| a.wrapping_mul(*b))))?,
        "ReduceL1" => reduce(call, |v| v.iter().map(|x| x.abs()).sum(), no_integers)?,
        "ReduceL2" => reduce(call, |v| v.iter().map(|x| x * x).sum::<f64>().sqrt(), no_integers)?,
        "ReduceSumSquare" => reduce(call, |v| v.iter().map(|x| x * x).sum(), no_integers)?,
        "ReduceLogSum" => reduce(call, |v| sum(v).ln(), no_integers)?,
        "ReduceLogSumExp" => reduce(call, log_sum_exp, no_integers)?,
        "ArgMax" => arg_best(call, |v| v)?,
        "ArgMin" => arg_best(call, |v| -v)?,
        "TopK" => return top_k(call).map(Some),
        "CumSum" => cumulative_sum(call)?,
        "Softmax" => along_classes(call, softmax)?,
        "LogSoftmax" => along_classes(call, log_softmax)?,
        "Hardmax" => along_classes(call, hardmax)?,
        _ => return Ok(None),
    };
    Ok(Some(vec![result]))
}

fn sum(v: &[f64]) -> f64 {
    v.iter().sum()
}

/// The largest, NaN if there is one, −∞ of nothing.
fn max(v: &[f64]) -> f64 {
    v.iter().fold(f64::NEG_INFINITY, |a, &b| if a.is_nan() || b.is_nan() { f64::NAN } else { a.max(b) })
}

pub(super) fn log_sum_exp(v: &[f64]) -> f64 {
    let top = max(v);
    if !top.is_finite() {
        return top;
    }
    top + v.iter().map(|x| (x - top).exp()).sum::<f64>().ln()
}

fn softmax(row: &[f64]) -> Vec<f64> {
    let top = max(row);
    let total: f64 = row.iter().map(|x| (x - top).exp()).sum();
    row.iter().map(|x| (x - top).exp() / total).collect()
}

pub(super) fn log_softmax(row: &[f64]) -> Vec<f64> {
    let top = max(row);
    let rest = row.iter().map(|x| (x - top).exp()).sum::<f64>().ln();
    row.iter().map(|x| x - top - rest).collect()
}

fn hardmax(row: &[f64]) -> Vec<f64> {
    let top = max(row);
    let first = row.iter().position(|&x| x == top);
    (0..row.len()).map(|i| f64::from(u8::from(Some(i) == first))).collect()
}

fn nothing() -> Fault {
    Fault::invalid("the reduced axes are empty")
}

fn no_integers(_: &[i64]) -> Result<i64, Fault> {
    Err(Fault::Unsupported("this reduction of integers".into()))
}

fn integer_mean(v: &[i64]) -> Result<i64, Fault> {
    let total = v.iter().fold(0_i64, |a, b| a.wrapping_add(*b));
    total.checked_div(v.len() as i64).ok_or_else(nothing)
}

/// Axes are an input since opset 13 (ReduceSum) or 18, an attribute before; none means all.
fn reduce(call: &Call, f: impl Fn(&[f64]) -> f64, g: impl Fn(&[i64]) -> Result<i64, Fault>) -> Result<Tensor, Fault> {
    let x = call.input(0)?;
    let named = call.ints_at(1, "axes")?.unwrap_or_default();
    let plain = matches!(call.node.op(), "ReduceSum" | "ReduceMean" | "ReduceMax" | "ReduceMin" | "ReduceProd");
    if named.is_empty() && call.int("noop_with_empty_axes", 0) != 0 {
        // for the others the versions of the specification disagree on what happens to each element
        return if plain {
            Ok(x.clone())
        } else {
            Err(Fault::Unsupported(format!("{} with noop_with_empty_axes", call.node.op())))
        };
    }
    let axes = if named.is_empty() { (0..x.rank()).collect() } else { axes_of(named, x.rank())? };
    let dims = reduced_dims(&x.dims, &axes, call.int("keepdims", 1) != 0);
    element_count(&dims)?;
    let runs = Runs::along(&x.dims, &axes);
    match &x.data {
        Data::Float(v) => {
            let values = (0..runs.count).map(|i| f(&pick(v, runs.run(i)))).collect();
            Tensor::new(dims, Data::Float(values))
        }
        Data::Int(v) => {
            let values = (0..runs.count).map(|i| g(&pick(v, runs.run(i)))).collect::<Result<_, _>>()?;
            Tensor::new(dims, Data::Int(values))
        }
        Data::Bool(v) if call.node.op() == "ReduceMax" => {
            let values = (0..runs.count).map(|i| runs.run(i).iter().any(|&at| v[at])).collect();
            Tensor::new(dims, Data::Bool(values))
        }
        Data::Bool(v) if call.node.op() == "ReduceMin" => {
            let values = (0..runs.count).map(|i| runs.run(i).iter().all(|&at| v[at])).collect();
            Tensor::new(dims, Data::Bool(values))
        }
        Data::Bool(_) => Err(Fault::invalid("a reduction of bools")),
    }
}

fn pick<T: Copy>(v: &[T], positions: &[usize]) -> Vec<T> {
    positions.iter().map(|&at| v[at]).collect()
}

fn reduced_dims(dims: &[usize], axes: &[usize], keep: bool) -> Vec<usize> {
    let kept = |(a, &d): (usize, &usize)| match (axes.contains(&a), keep) {
        (false, _) => Some(d),
        (true, true) => Some(1),
        (true, false) => None,
    };
    dims.iter().enumerate().filter_map(kept).collect()
}

fn arg_best(call: &Call, score: impl Fn(f64) -> f64) -> Result<Tensor, Fault> {
    let x = call.input(0)?;
    let axis = axis_of(call.int("axis", 0), x.rank())?;
    let last = call.int("select_last_index", 0) != 0;
    let Data::Float(values) = x.data.cast(Kind::Float) else {
        return Err(nothing());
    };
    if x.dims[axis] == 0 {
        return Err(nothing());
    }
    let dims = reduced_dims(&x.dims, &[axis], call.int("keepdims", 1) != 0);
    let runs = Runs::along(&x.dims, &[axis]);
    let best = |run: &[usize]| -> i64 {
        let mut best = (0, score(values[run[0]]));
        for (i, &at) in run.iter().enumerate().skip(1) {
            let s = score(values[at]);
            if s > best.1 || (last && s == best.1) || (s.is_nan() && !best.1.is_nan()) {
                best = (i, s);
            }
        }
        best.0 as i64
    };
    let found = if runs.positions.is_empty() { vec![] } else { (0..runs.count).map(|i| best(runs.run(i))).collect() };
    Tensor::new(dims, Data::Int(found))
}

/// k is an attribute before opset 10. Ties go to the lower index.
fn top_k(call: &Call) -> Result<Vec<Tensor>, Fault> {
    let x = call.input(0)?;
    let axis = axis_of(call.int("axis", -1), x.rank())?;
    let k = call.ints_at(1, "k")?.and_then(|k| k.first().copied()).unwrap_or_else(|| call.int("k", -1));
    let size = x.dims[axis];
    let k = usize::try_from(k)
        .ok()
        .filter(|&k| k <= size)
        .ok_or_else(|| Fault::invalid(format!("k = {k} of an axis of {size}")))?;
    let largest = call.int("largest", 1) != 0;
    let Data::Float(keys) = x.data.cast(Kind::Float) else {
        return Err(nothing());
    };
    let mut dims = x.dims.clone();
    dims[axis] = k;
    let count = element_count(&dims)?;
    let runs = Runs::along(&x.dims, &[axis]);
    // results are made run by run; where each element goes
    let places = Runs::along(&dims, &[axis]);
    let mut positions = vec![0; count];
    let mut indices = vec![0_i64; count];
    if count > 0 {
        for i in 0..runs.count {
            let run = runs.run(i);
            let mut order: Vec<usize> = (0..size).collect();
            order.sort_by(|&a, &b| {
                let (a, b) = (keys[run[a]], keys[run[b]]);
                if largest { b.total_cmp(&a) } else { a.total_cmp(&b) }
            });
            for (&place, &chosen) in places.run(i).iter().zip(&order) {
                positions[place] = run[chosen];
                indices[place] = chosen as i64;
            }
        }
    }
    Ok(vec![x.gathered(dims.clone(), &positions)?, Tensor::new(dims, Data::Int(indices))?])
}

fn cumulative_sum(call: &Call) -> Result<Tensor, Fault> {
    let x = call.input(0)?;
    let axis = call.input(1)?.as_ints()?.first().copied().ok_or(Fault::Missing(1))?;
    let axis = axis_of(axis, x.rank())?;
    let (exclusive, reverse) = (call.int("exclusive", 0) != 0, call.int("reverse", 0) != 0);
    let runs = Runs::along(&x.dims, &[axis]);
    if x.len() == 0 {
        return Ok(x.clone());
    }
    let mut data = x.data.clone();
    for i in 0..runs.count {
        let mut order = runs.run(i).to_vec();
        if reverse {
            order.reverse();
        }
        match &mut data {
            Data::Float(v) => accumulate(v, &order, exclusive, 0.0, |a, b| a + b),
            Data::Int(v) => accumulate(v, &order, exclusive, 0, i64::wrapping_add),
            Data::Bool(_) => return Err(Fault::invalid("a sum of bools")),
        }
    }
    Tensor::new(x.dims.clone(), data)
}

fn accumulate<T: Copy>(v: &mut [T], order: &[usize], exclusive: bool, zero: T, add: impl Fn(T, T) -> T) {
    let mut total = zero;
    for &at in order {
        let next = add(total, v[at]);
        v[at] = if exclusive { total } else { next };
        total = next;
    }
}

/// Softmax and its kin: before opset 13 the tensor is seen as a matrix cut at `axis` (default 1), since then they work
/// along `axis` (default −1).
fn along_classes(call: &Call, f: impl Fn(&[f64]) -> Vec<f64>) -> Result<Tensor, Fault> {
    let x = call.input(0)?;
    let values = x.as_floats()?;
    let axes: Vec<usize> = if call.opset < 13 {
        let axis = call.int("axis", 1);
        let first = if axis == x.rank() as i64 { x.rank() } else { axis_of(axis, x.rank())? };
        (first..x.rank()).collect()
    } else if x.rank() == 0 {
        vec![]
    } else {
        vec![axis_of(call.int("axis", -1), x.rank())?]
    };
    if x.len() == 0 {
        return Ok(x.clone());
    }
    let runs = Runs::along(&x.dims, &axes);
    let mut result = vec![0.0; x.len()];
    for i in 0..runs.count {
        let run = runs.run(i);
        for (&at, value) in run.iter().zip(f(&pick(values, run))) {
            result[at] = value;
        }
    }
    Tensor::new(x.dims.clone(), Data::Float(result))
}
