//! Conv and ConvTranspose.

use super::tensor::{Tensor, dims_of, element_count};
use super::windows::{Place, Windows, pads};
use super::{Call, Fault};

/// Runs the node if it is of this family.
pub(super) fn run(call: &Call) -> Result<Option<Vec<Tensor>>, Fault> {
    let result = match call.node.op() {
        "Conv" => conv(call)?,
        "ConvTranspose" => conv_transpose(call)?,
        _ => return Ok(None),
    };
    Ok(Some(vec![result]))
}

/// Data, weights and how many groups there are, in a form whose sizes fit each other.
struct Operands<'a> {
    x: &'a [f64],
    w: &'a [f64],
    batch: usize,
    groups: usize,
    plane: &'a [usize],
    kernel: &'a [usize],
}

fn operands<'a>(call: &Call<'a>) -> Result<Operands<'a>, Fault> {
    let (x, w) = (call.input(0)?, call.input(1)?);
    let mismatch = || Fault::invalid(format!("weights of shape {:?} do not fit data of shape {:?}", w.dims, x.dims));
    let ([batch, _, plane @ ..], [_, _, kernel @ ..]) = (&x.dims[..], &w.dims[..]) else { return Err(mismatch()) };
    if plane.is_empty() || kernel.len() != plane.len() || w.len() == 0 {
        return Err(mismatch());
    }
    if call.node.attr_ints("kernel_shape").is_some_and(|given| dims_of(given) != Ok(kernel.to_vec())) {
        return Err(mismatch());
    }
    let groups = usize::try_from(call.int("group", 1)).ok().filter(|&groups| groups > 0).ok_or_else(mismatch)?;
    Ok(Operands { x: x.as_floats()?, w: w.as_floats()?, batch: *batch, groups, plane, kernel })
}

/// The bias of each output channel; zeros where there is none.
fn bias(call: &Call, channels: usize) -> Result<Vec<f64>, Fault> {
    match call.optional(2) {
        None => Ok(vec![0.0; channels]),
        Some(bias) if bias.dims == [channels] => Ok(bias.as_floats()?.to_vec()),
        Some(bias) => Err(Fault::invalid(format!("a bias of shape {:?} for {channels} channels", bias.dims))),
    }
}

/// y\[n, m, o\] = b\[m\] + Σ over c, k of x\[n, c, s·o + d·k − p\]·w\[m, c, k\], c in the group of m.
fn conv(call: &Call) -> Result<Tensor, Fault> {
    let Operands { x, w, batch, groups, plane, kernel } = operands(call)?;
    let (channels, outputs, per_group) = (call.input(0)?.dims[1], call.input(1)?.dims[0], call.input(1)?.dims[1]);
    if per_group.checked_mul(groups) != Some(channels) || outputs % groups != 0 {
        return Err(Fault::invalid(format!("{channels} channels to {outputs} in {groups} groups")));
    }
    let windows = Windows::of(call, plane, kernel)?;
    windows.check_work(&[batch, outputs, per_group])?;
    let bias = bias(call, outputs)?;
    let dims = [&[batch, outputs], &windows.count[..]].concat();
    let mut y = vec![0.0; element_count(&dims)?];
    let (inner, taps, count) = (windows.plane_len(), windows.kernel_len(), windows.len());
    for window in 0..count {
        let places = windows.elements(window);
        for n in 0..batch {
            for m in 0..outputs {
                let first = m / (outputs / groups) * per_group;
                let mut sum = bias[m];
                for c in 0..per_group {
                    for (k, place) in places.iter().enumerate() {
                        if let Place::Inside(at) = place {
                            sum += x[(n * channels + first + c) * inner + at] * w[(m * per_group + c) * taps + k];
                        }
                    }
                }
                y[(n * outputs + m) * count + window] = sum;
            }
        }
    }
    Tensor::new(dims, super::Data::Float(y))
}

/// y\[n, m, s·i + d·k − p\] += x\[n, c, i\]·w\[c, m, k\], m in the group of c; plus b\[m\].
fn conv_transpose(call: &Call) -> Result<Tensor, Fault> {
    let Operands { x, w, batch, groups, plane, kernel } = operands(call)?;
    let (channels, per_group) = (call.input(0)?.dims[1], call.input(1)?.dims[1]);
    if call.input(1)?.dims[0] != channels || channels % groups != 0 {
        return Err(Fault::invalid(format!("weights for other channels than {channels} in {groups} groups")));
    }
    let outputs = per_group.saturating_mul(groups);
    let windows = transposed_windows(call, plane, kernel)?;
    windows.check_work(&[batch, channels, per_group])?;
    let bias = bias(call, outputs)?;
    let dims = [&[batch, outputs], &windows.plane[..]].concat();
    let mut y = vec![0.0; element_count(&dims)?];
    let (inner, taps, count) = (windows.plane_len(), windows.kernel_len(), windows.len());
    for (at, value) in y.iter_mut().enumerate() {
        *value = bias[at / inner % outputs];
    }
    for window in 0..count {
        let places = windows.elements(window);
        for n in 0..batch {
            for c in 0..channels {
                let first = c / (channels / groups) * per_group;
                let value = x[(n * channels + c) * count + window];
                for m in 0..per_group {
                    for (k, place) in places.iter().enumerate() {
                        if let Place::Inside(at) = place {
                            y[(n * outputs + first + m) * inner + at] += value * w[(c * per_group + m) * taps + k];
                        }
                    }
                }
            }
        }
    }
    Tensor::new(dims, super::Data::Float(y))
}

/// The windows of the convolution whose transpose it is: one per element of the data, over the plane of the result.
fn transposed_windows(call: &Call, data: &[usize], kernel: &[usize]) -> Result<Windows, Fault> {
    let rank = data.len();
    let list = |name: &str| -> Result<Option<Vec<usize>>, Fault> {
        match call.node.attr_ints(name) {
            None => Ok(None),
            Some(values) if values.len() == rank => {
                let values = dims_of(values)?;
                element_count(&values)?;
                Ok(Some(values))
            }
            Some(values) => Err(Fault::invalid(format!("{name} {values:?} do not fit {rank} spatial axes"))),
        }
    };
    let mut windows = Windows::unpadded(call, data, kernel)?;
    windows.count = data.to_vec();
    let extra = list("output_padding")?.unwrap_or_else(|| vec![0; rank]);
    let auto = call.string("auto_pad", "NOTSET");
    let wanted = match (list("output_shape")?, auto) {
        (Some(shape), _) => Some(shape),
        (None, "SAME_UPPER" | "SAME_LOWER") => {
            Some(data.iter().zip(&windows.strides).map(|(size, stride)| size * stride).collect())
        }
        (None, _) => None,
    };
    let full: Vec<usize> = (0..rank)
        .map(|axis| windows.strides[axis] * data[axis].saturating_sub(1) + extra[axis] + windows.extent(axis))
        .collect();
    if wanted.is_none() && auto == "NOTSET" {
        (windows.before, windows.after) = pads(call, rank)?;
    }
    for axis in 0..rank {
        if let Some(wanted) = &wanted {
            // larger than the windows reach: the specification and runtimes differ
            let total = full[axis]
                .checked_sub(wanted[axis])
                .ok_or_else(|| Fault::Unsupported("ConvTranspose with an output larger than it makes".into()))?;
            let half = total / 2;
            (windows.before[axis], windows.after[axis]) =
                if auto == "SAME_UPPER" { (half, total - half) } else { (total - half, half) };
        }
        windows.plane[axis] = full[axis]
            .checked_sub(windows.before[axis] + windows.after[axis])
            .ok_or_else(|| Fault::invalid("pads cut more than there is"))?;
    }
    element_count(&windows.plane)?;
    Ok(windows)
}
