//! Operators that move blocks of elements to other places: depth to space and back, sequences reversed.

use super::tensor::{Tensor, axis_of, element_count, strides, walk};
use super::{Call, Fault};

/// Runs the node if it is of this family.
pub(super) fn run(call: &Call) -> Result<Option<Vec<Tensor>>, Fault> {
    let result = match call.node.op() {
        "DepthToSpace" => depth_to_space(call)?,
        "SpaceToDepth" => space_to_depth(call)?,
        "ReverseSequence" => reverse_sequence(call)?,
        _ => return Ok(None),
    };
    Ok(Some(vec![result]))
}

/// [N, C, H, W] and the block size.
fn image(call: &Call) -> Result<([usize; 4], usize), Fault> {
    let x = call.input(0)?;
    let dims = <[usize; 4]>::try_from(&x.dims[..])
        .map_err(|_| Fault::invalid(format!("the shape {:?} is no image [N, C, H, W]", x.dims)))?;
    let block = usize::try_from(call.int("blocksize", 0)).ok().filter(|&block| (1..=1 << 16).contains(&block));
    Ok((dims, block.ok_or_else(|| Fault::invalid("its blocksize is not positive"))?))
}

/// `x` seen as `split`, its axes in another order, seen as `dims`.
fn reordered(x: &Tensor, split: &[usize], order: &[usize], dims: Vec<usize>) -> Result<Tensor, Fault> {
    element_count(&dims)?;
    let steps = strides(split);
    let sizes: Vec<usize> = order.iter().map(|&axis| split[axis]).collect();
    let moves: Vec<i64> = order.iter().map(|&axis| steps[axis]).collect();
    x.gathered(dims, &walk(&sizes, &moves, 0))
}

fn depth_to_space(call: &Call) -> Result<Tensor, Fault> {
    let ([n, c, h, w], block) = image(call)?;
    if c % (block * block) != 0 {
        return Err(Fault::invalid(format!("{c} channels are no multiple of {block}²")));
    }
    let (depth, dims) = (c / block / block, vec![n, c / block / block, h * block, w * block]);
    match call.string("mode", "DCR") {
        "DCR" => reordered(call.input(0)?, &[n, block, block, depth, h, w], &[0, 3, 4, 1, 5, 2], dims),
        "CRD" => reordered(call.input(0)?, &[n, depth, block, block, h, w], &[0, 1, 4, 2, 5, 3], dims),
        other => Err(Fault::Unsupported(format!("DepthToSpace with mode {other}"))),
    }
}

fn space_to_depth(call: &Call) -> Result<Tensor, Fault> {
    let ([n, c, h, w], block) = image(call)?;
    if h % block != 0 || w % block != 0 {
        return Err(Fault::invalid(format!("{h} × {w} is not made of blocks of {block}")));
    }
    let (rows, columns) = (h / block, w / block);
    let dims = vec![n, c.saturating_mul(block * block), rows, columns];
    reordered(call.input(0)?, &[n, c, rows, block, columns, block], &[0, 3, 5, 1, 2, 4], dims)
}

/// The first so many steps of each sequence, backwards.
fn reverse_sequence(call: &Call) -> Result<Tensor, Fault> {
    let (x, lengths) = (call.input(0)?, call.input(1)?.as_ints()?);
    let (time, batch) = (call.int("time_axis", 0), call.int("batch_axis", 1));
    let (time, batch) = (axis_of(time, x.rank())?, axis_of(batch, x.rank())?);
    let fits = |&length: &i64| (0..=x.dims[time] as i64).contains(&length);
    if time == batch || lengths.len() != x.dims[batch] || !lengths.iter().all(fits) {
        return Err(Fault::invalid(format!("lengths {lengths:?} do not fit the shape {:?}", x.dims)));
    }
    let steps = strides(&x.dims);
    let place = |flat: usize| {
        let at = |axis: usize| (flat as i64 / steps[axis]) % x.dims[axis] as i64;
        let (step, length) = (at(time), lengths[at(batch) as usize]);
        let from = if step < length { length - 1 - step } else { step };
        (flat as i64 + (from - step) * steps[time]) as usize
    };
    let positions: Vec<usize> = (0..x.len()).map(place).collect();
    x.gathered(x.dims.clone(), &positions)
}
