//! Matrix products.

use super::tensor::{Data, Tensor, broadcast_dims, element_count};
use super::{Call, Fault};

/// Most multiplications one node may need.
pub(super) const MAX_WORK: usize = 200_000_000;

/// Runs the node if it is of this family.
pub(super) fn run(call: &Call) -> Result<Option<Vec<Tensor>>, Fault> {
    let result = match call.node.op() {
        "MatMul" => matmul(call)?,
        "Gemm" => gemm(call)?,
        _ => return Ok(None),
    };
    Ok(Some(vec![result]))
}

/// Row-major `a` [n, k] times `b` [k, m].
fn multiply(a: &[f64], b: &[f64], n: usize, k: usize, m: usize) -> Vec<f64> {
    let mut out = vec![0.0; n * m];
    for row in 0..n {
        for i in 0..k {
            let factor = a[row * k + i];
            for column in 0..m {
                out[row * m + column] += factor * b[i * m + column];
            }
        }
    }
    out
}

/// As numpy's matmul: leading axes broadcast, a vector is a row on the left and a column on the right.
fn matmul(call: &Call) -> Result<Tensor, Fault> {
    let (a, b) = (call.input(0)?, call.input(1)?);
    let mismatch = || Fault::invalid(format!("{:?} cannot be multiplied with {:?}", a.dims, b.dims));
    let (left_dims, right_dims) = match (a.rank(), b.rank()) {
        (0, _) | (_, 0) => return Err(mismatch()),
        (1, 1) => (vec![1, a.dims[0]], vec![b.dims[0], 1]),
        (1, _) => (vec![1, a.dims[0]], b.dims.clone()),
        (_, 1) => (a.dims.clone(), vec![b.dims[0], 1]),
        _ => (a.dims.clone(), b.dims.clone()),
    };
    let (lead_a, [n, k]) = left_dims.split_last_chunk::<2>().ok_or_else(mismatch)?;
    let (lead_b, [depth, m]) = right_dims.split_last_chunk::<2>().ok_or_else(mismatch)?;
    let (n, k, m) = (*n, *k, *m);
    if k != *depth {
        return Err(mismatch());
    }
    let lead = broadcast_dims(&[lead_a, lead_b])?;
    let mut dims = lead.clone();
    dims.extend([n, m]);
    let size = element_count(&dims)?;
    if size.saturating_mul(k) > MAX_WORK {
        return Err(Fault::TooLarge(dims));
    }
    let (x, y) = (a.as_floats()?, b.as_floats()?);
    let mut values = Vec::with_capacity(size);
    if size > 0 && k > 0 {
        let blocks = |lead_of: &[usize]| -> Result<Vec<usize>, Fault> {
            let count = element_count(lead_of)?;
            let numbered = Tensor::ints(lead_of, (0..count as i64).collect());
            Ok(numbered.broadcast_to(&lead)?.as_ints()?.iter().map(|&i| i as usize).collect())
        };
        for (i, j) in blocks(lead_a)?.into_iter().zip(blocks(lead_b)?) {
            values.extend(multiply(&x[i * n * k..(i + 1) * n * k], &y[j * k * m..(j + 1) * k * m], n, k, m));
        }
    } else {
        values = vec![0.0; size];
    }
    if b.rank() == 1 {
        dims.pop();
    }
    if a.rank() == 1 {
        dims.remove(lead.len());
    }
    Tensor::new(dims, Data::Float(values))
}

fn gemm(call: &Call) -> Result<Tensor, Fault> {
    let (a, b) = (call.input(0)?, call.input(1)?);
    let matrix = |t: &Tensor, flip: bool| -> Result<(Vec<f64>, usize, usize), Fault> {
        let [rows, columns] = t.dims[..] else {
            return Err(Fault::invalid(format!("the shape {:?} is no matrix", t.dims)));
        };
        let values = t.as_floats()?;
        if !flip {
            return Ok((values.to_vec(), rows, columns));
        }
        let flipped = (0..values.len()).map(|i| values[i % rows * columns + i / rows]).collect();
        Ok((flipped, columns, rows))
    };
    let (x, n, k) = matrix(a, call.int("transA", 0) != 0)?;
    let (y, depth, m) = matrix(b, call.int("transB", 0) != 0)?;
    if k != depth {
        return Err(Fault::invalid(format!("{:?} cannot be multiplied with {:?}", a.dims, b.dims)));
    }
    if element_count(&[n, m])?.saturating_mul(k) > MAX_WORK {
        return Err(Fault::TooLarge(vec![n, k, m]));
    }
    let alpha = call.float("alpha", 1.0);
    let mut values = multiply(&x, &y, n, k, m);
    values.iter_mut().for_each(|v| *v *= alpha);
    if let Some(c) = call.optional(2) {
        let beta = call.float("beta", 1.0);
        let c = c.broadcast_to(&[n, m])?;
        values.iter_mut().zip(c.as_floats()?).for_each(|(v, c)| *v += beta * c);
    }
    Tensor::new(vec![n, m], Data::Float(values))
}
