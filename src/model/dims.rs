//! Arithmetic on dimensions that may be known, symbolic or unknown.

use super::proto::NodeProto;
use super::shape::Dimension;
use Dimension::{Known, Unknown};

pub(super) type Dims = Vec<Dimension>;

pub(super) fn size(count: usize) -> Dimension {
    i64::try_from(count).map_or(Unknown, Known)
}

/// An axis or index that may count from the end.
pub(super) fn position(index: i64, length: usize) -> Option<usize> {
    let length = i64::try_from(length).ok()?;
    let index = if index < 0 { index.checked_add(length)? } else { index };
    usize::try_from(index).ok().filter(|_| index < length)
}

/// A slice bound that may count from the end or lie outside.
pub(super) fn clamp(bound: i64, length: usize) -> usize {
    let length = length as i64;
    let bound = if bound < 0 { bound.saturating_add(length) } else { bound };
    bound.clamp(0, length) as usize
}

/// What was an element is a size now: negative ones say nothing.
pub(super) fn only_sizes(dims: Dims) -> Dims {
    dims.into_iter().map(|dim| dim.known().map_or(dim, Dimension::of)).collect()
}

/// The part of a shape that `Shape` with start and end gives.
pub(super) fn shape_range(node: &NodeProto, dims: Dims) -> Dims {
    let start = clamp(node.attr_int("start").unwrap_or(0), dims.len());
    let end = clamp(node.attr_int("end").unwrap_or(i64::MAX), dims.len());
    dims[start..end.max(start)].to_vec()
}

/// NumPy broadcasting; `None` where the shapes do not fit.
pub(super) fn broadcast(one: Dims, other: Dims) -> Option<Dims> {
    let (mut long, short) = if one.len() >= other.len() { (one, other) } else { (other, one) };
    let offset = long.len() - short.len();
    for (mine, theirs) in long[offset..].iter_mut().zip(short) {
        *mine = match (&*mine, theirs) {
            (Known(1), theirs) => theirs,
            (mine, Known(1)) => mine.clone(),
            (Known(one), Known(other)) if *one != other => return None,
            (Known(one), _) => Known(*one),
            (_, Known(other)) => Known(other),
            (mine, theirs) if *mine == theirs => theirs,
            // either could be 1
            _ => Unknown,
        };
    }
    Some(long)
}

pub(super) fn matmul(one: Option<Dims>, other: Option<Dims>) -> Option<Dims> {
    let (one, other) = (one?, other?);
    match (&one[..], &other[..]) {
        ([_], [_]) => Some(vec![]),
        ([_], [batch @ .., _, columns]) => Some([batch, std::slice::from_ref(columns)].concat()),
        ([batch @ .., rows, _], [_]) => Some([batch, std::slice::from_ref(rows)].concat()),
        ([one @ .., rows, _], [other @ .., _, columns]) => {
            let mut dims = broadcast(one.to_vec(), other.to_vec())?;
            dims.extend([rows.clone(), columns.clone()]);
            Some(dims)
        }
        _ => None,
    }
}

pub(super) fn flatten(node: &NodeProto, dims: Option<Dims>) -> Option<Dims> {
    let Some(dims) = dims else {
        return Some(vec![Unknown, Unknown]);
    };
    let axis = clamp(node.attr_int("axis").unwrap_or(1), dims.len());
    Some(vec![product(&dims[..axis]), product(&dims[axis..])])
}

pub(super) fn product(dims: &[Dimension]) -> Dimension {
    match dims {
        [only] => only.clone(),
        dims => dims.iter().try_fold(1i64, |product, dim| product.checked_mul(dim.known()?)).map_or(Unknown, Known),
    }
}

/// What is left for the free dimension of a reshape: equal symbols cancel, the rest must be known.
pub(super) fn quotient(mut data: Dims, rest: Dims) -> Dimension {
    let mut divisor = 1i64;
    for dim in rest {
        match dim {
            Known(size) => match divisor.checked_mul(size) {
                Some(product) => divisor = product,
                None => return Unknown,
            },
            symbol => match data.iter().position(|dim| *dim == symbol) {
                Some(at) => drop(data.remove(at)),
                None => return Unknown,
            },
        }
    }
    if let (1, [only]) = (divisor, &data[..]) {
        return only.clone();
    }
    match product(&data) {
        Known(size) if divisor > 0 && size % divisor == 0 => Known(size / divisor),
        // [batch, 3, 4] to [-1, 12]
        _ => {
            let symbols: Vec<_> = data.iter().filter(|dim| dim.known().is_none()).collect();
            let known: Dims = data.iter().filter(|dim| dim.known().is_some()).cloned().collect();
            match (&symbols[..], product(&known)) {
                ([symbol], Known(size)) if size == divisor => (*symbol).clone(),
                _ => Unknown,
            }
        }
    }
}

pub(super) fn transpose(node: &NodeProto, dims: Dims) -> Option<Dims> {
    match node.attr_ints("perm") {
        None => Some(dims.into_iter().rev().collect()),
        Some(perm) if perm.len() == dims.len() => {
            perm.iter().map(|&from| dims.get(usize::try_from(from).ok()?).cloned()).collect()
        }
        Some(_) => None,
    }
}

/// Dimensions after reducing or squeezing axes.
pub(super) fn without(dims: Dims, axes: &[i64], keep: bool) -> Option<Dims> {
    let gone: Vec<usize> = axes.iter().map(|&axis| position(axis, dims.len())).collect::<Option<_>>()?;
    let left = dims.into_iter().enumerate().filter_map(|(at, dim)| match (gone.contains(&at), keep) {
        (false, _) => Some(dim),
        (true, true) => Some(Known(1)),
        (true, false) => None,
    });
    Some(left.collect())
}

/// Spatial sizes after a convolution or pooling.
pub(super) fn windows(node: &NodeProto, spatial: &[Dimension], kernel: Option<&[i64]>) -> Dims {
    let list = |name: &str, at: usize, default: i64| -> i128 {
        node.attr_ints(name).and_then(|values| values.get(at).copied()).unwrap_or(default).into()
    };
    let ceil = node.attr_int("ceil_mode").unwrap_or(0) != 0;
    let auto = node.attr_str("auto_pad").unwrap_or("NOTSET");
    let window = |(at, dim): (usize, &Dimension)| -> Option<Dimension> {
        let (size, kernel) = (i128::from(dim.known()?), i128::from(*kernel?.get(at)?));
        let (stride, dilation) = (list("strides", at, 1), list("dilations", at, 1));
        if stride < 1 || kernel < 1 || dilation < 1 {
            return None;
        }
        let extent = dilation * (kernel - 1) + 1;
        let up = |value: i128| (value + stride - 1).div_euclid(stride);
        let windows = match auto {
            "NOTSET" | "VALID" => {
                let pads = if auto == "VALID" { 0 } else { list("pads", at, 0) + list("pads", at + spatial.len(), 0) };
                let room = size + pads - extent;
                if ceil { up(room) + 1 } else { room.div_euclid(stride) + 1 }
            }
            _ => up(size),
        };
        // rounding up may leave a window that starts in the padding; ONNX and runtimes differ there
        if ceil && windows != (size - extent).div_euclid(stride) + 1 && auto == "NOTSET" {
            return None;
        }
        i64::try_from(windows).ok().map(Dimension::of)
    };
    spatial.iter().enumerate().map(|at| window(at).unwrap_or(Unknown)).collect()
}

/// Spatial sizes after a transposed convolution.
pub(super) fn windows_transposed(node: &NodeProto, spatial: &[Dimension], kernel: Option<&[i64]>) -> Dims {
    let list = |name: &str, at: usize, default: i64| -> i128 {
        node.attr_ints(name).and_then(|values| values.get(at).copied()).unwrap_or(default).into()
    };
    let auto = node.attr_str("auto_pad").unwrap_or("NOTSET");
    let size = |(at, dim): (usize, &Dimension)| -> Option<Dimension> {
        let (size, kernel) = (i128::from(dim.known()?), i128::from(*kernel?.get(at)?));
        // written by some exporters with batch and channels; runtimes and the specification differ for SAME
        if node.attr("output_shape").is_some() || !matches!(auto, "NOTSET" | "VALID") {
            return None;
        }
        let (stride, dilation) = (list("strides", at, 1), list("dilations", at, 1));
        let pads = if auto == "VALID" { 0 } else { list("pads", at, 0) + list("pads", at + spatial.len(), 0) };
        let extent = dilation.checked_mul(kernel - 1)?.checked_add(1)?;
        let full = stride.checked_mul(size - 1)?.checked_add(extent)?.checked_add(list("output_padding", at, 0))?;
        i64::try_from(full - pads).ok().filter(|&size| size > 0).map(Dimension::of)
    };
    spatial.iter().enumerate().map(|at| size(at).unwrap_or(Unknown)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sym(name: &str) -> Dimension {
        Dimension::Symbol(name.to_owned())
    }

    #[test]
    fn broadcasting() {
        let of = |one: &[Dimension], other: &[Dimension]| broadcast(one.to_vec(), other.to_vec());
        assert_eq!(of(&[sym("n"), Known(1)], &[Known(10)]), Some(vec![sym("n"), Known(10)]));
        assert_eq!(of(&[sym("n")], &[sym("m")]), Some(vec![Unknown]));
        assert_eq!(of(&[Known(2)], &[Known(3)]), None);
        assert_eq!(of(&[], &[Known(3)]), Some(vec![Known(3)]));
    }
}
