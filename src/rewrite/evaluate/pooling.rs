//! Pools: one number per window, or per channel.

use super::tensor::{Data, Tensor, dims_of, element_count};
use super::windows::{Place, Windows, coordinates};
use super::{Call, Fault};

/// Runs the node if it is of this family.
pub(super) fn run(call: &Call) -> Result<Option<Vec<Tensor>>, Fault> {
    let result = match call.node.op() {
        "MaxPool" => return max_pool(call).map(Some),
        "AveragePool" => average_pool(call)?,
        "LpPool" => lp_pool(call)?,
        "GlobalAveragePool" => global(call, |plane| Ok(plane.iter().sum::<f64>() / plane.len() as f64))?,
        "GlobalMaxPool" => global(call, |plane| largest(plane.iter().copied()))?,
        "GlobalLpPool" => {
            let p = power(call)?;
            global(call, |plane| Ok(norm(plane.iter().copied(), p)))?
        }
        _ => return Ok(None),
    };
    Ok(Some(vec![result]))
}

/// Data as [batch·channels, plane], and the windows.
fn windows<'a>(call: &Call<'a>) -> Result<(&'a Tensor, usize, Windows), Fault> {
    let x = call.input(0)?;
    let [batch, channels, plane @ ..] = &x.dims[..] else {
        return Err(Fault::invalid(format!("the shape {:?} has no spatial axes", x.dims)));
    };
    let kernel = dims_of(call.node.attr_ints("kernel_shape").ok_or_else(|| Fault::invalid("no kernel_shape"))?)?;
    let windows = Windows::of(call, plane, &kernel)?;
    let planes = batch.saturating_mul(*channels);
    windows.check_work(&[planes])?;
    Ok((x, planes, windows))
}

fn result_dims(x: &Tensor, windows: &Windows) -> Vec<usize> {
    [&x.dims[..2], &windows.count[..]].concat()
}

fn nothing() -> Fault {
    Fault::invalid("a window without elements")
}

fn largest(values: impl Iterator<Item = f64>) -> Result<f64, Fault> {
    values.reduce(|a, b| if b > a || b.is_nan() { b } else { a }).ok_or_else(nothing)
}

fn norm(values: impl Iterator<Item = f64>, p: i32) -> f64 {
    values.map(|x| x.abs().powi(p)).sum::<f64>().powf(1.0 / f64::from(p))
}

fn power(call: &Call) -> Result<i32, Fault> {
    i32::try_from(call.int("p", 2)).ok().filter(|&p| p > 0).ok_or_else(|| Fault::invalid("p is below 1"))
}

/// The largest of each window and where the first such lies: its position in the whole tensor, in row-major order or,
/// within a plane, in column-major order.
fn max_pool(call: &Call) -> Result<Vec<Tensor>, Fault> {
    let (x, planes, windows) = windows(call)?;
    let values = x.as_floats()?;
    let column_major = call.int("storage_order", 0) != 0;
    let dims = result_dims(x, &windows);
    let size = element_count(&dims)?;
    let (mut best, mut indices) = (vec![0.0; size], vec![0; size]);
    let (inner, count) = (windows.plane_len(), windows.len());
    for window in 0..count {
        let places = windows.elements(window);
        for plane in 0..planes {
            let mut found: Option<(usize, f64)> = None;
            for place in &places {
                if let Place::Inside(at) = *place {
                    let value = values[plane * inner + at];
                    if found.is_none_or(|(_, best)| value > best) {
                        found = Some((at, value));
                    }
                }
            }
            let (at, value) = found.ok_or_else(nothing)?;
            let at = if column_major { in_column_major(at, &windows.plane) } else { at };
            best[plane * count + window] = value;
            indices[plane * count + window] = (plane * inner + at) as i64;
        }
    }
    Ok(vec![Tensor::new(dims.clone(), Data::Float(best))?, Tensor::new(dims, Data::Int(indices))?])
}

/// A position in row-major order as one in column-major order.
fn in_column_major(at: usize, dims: &[usize]) -> usize {
    coordinates(at, dims).iter().zip(dims).rev().fold(0, |flat, (coordinate, size)| flat * size + coordinate)
}

/// The mean of each window: of its elements, or with `count_include_pad` of these and the padding.
fn average_pool(call: &Call) -> Result<Tensor, Fault> {
    let with_padding = call.int("count_include_pad", 0) != 0;
    each_window(call, |places, value| {
        let inside = places.iter().filter(|place| matches!(place, Place::Inside(_))).count();
        let padding = places.iter().filter(|place| matches!(place, Place::Padding)).count();
        let sum: f64 = places.iter().filter_map(value).sum();
        let count = inside + if with_padding { padding } else { 0 };
        if count == 0 { Err(nothing()) } else { Ok(sum / count as f64) }
    })
}

/// (Σ |x|^p)^(1/p) of each window.
fn lp_pool(call: &Call) -> Result<Tensor, Fault> {
    let p = power(call)?;
    each_window(call, |places, value| Ok(norm(places.iter().filter_map(value), p)))
}

fn each_window(
    call: &Call,
    f: impl Fn(&[Place], &dyn Fn(&Place) -> Option<f64>) -> Result<f64, Fault>,
) -> Result<Tensor, Fault> {
    let (x, planes, windows) = windows(call)?;
    let values = x.as_floats()?;
    let dims = result_dims(x, &windows);
    let mut y = vec![0.0; element_count(&dims)?];
    let (inner, count) = (windows.plane_len(), windows.len());
    for window in 0..count {
        let places = windows.elements(window);
        for plane in 0..planes {
            let value = |place: &Place| match place {
                Place::Inside(at) => Some(values[plane * inner + at]),
                _ => None,
            };
            y[plane * count + window] = f(&places, &value)?;
        }
    }
    Tensor::new(dims, Data::Float(y))
}

fn global(call: &Call, f: impl Fn(&[f64]) -> Result<f64, Fault>) -> Result<Tensor, Fault> {
    let x = call.input(0)?;
    let [batch, channels, plane @ ..] = &x.dims[..] else {
        return Err(Fault::invalid(format!("the shape {:?} has no spatial axes", x.dims)));
    };
    let size = element_count(plane)?;
    if size == 0 {
        return Err(nothing());
    }
    let y = x.as_floats()?.chunks(size).map(f).collect::<Result<_, _>>()?;
    let dims = [&[*batch, *channels], &vec![1; plane.len()][..]].concat();
    Tensor::new(dims, Data::Float(y))
}
