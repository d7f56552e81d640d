//! Which shapes fit which.

use super::preprocessing::Layout;
use super::{InputSpec, Values};

/// How the elements of a sample come into the order of the model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Arrangement {
    /// Shape of a sample in the model.
    pub(super) dims: Vec<usize>,
    /// Rows and columns of a transposition of each sample: [h·w, c] to [c, h·w] or back.
    transposed: Option<(usize, usize)>,
}

/// The way from samples of shape `dims` to `spec`, or why there is none.
pub(super) fn arrange(dims: &[usize], spec: &InputSpec, layout: Option<Layout>) -> Result<Arrangement, String> {
    if spec.dims.is_empty() {
        return Ok(Arrangement { dims: dims.to_vec(), transposed: None });
    }
    let wanted = &spec.dims[1..];
    let fits =
        |dims: &[usize]| dims.len() == wanted.len() && dims.iter().zip(wanted).all(|(d, w)| w.is_none_or(|w| w == *d));
    if let Some((turned, transposed)) = turn(dims, wanted, layout, &fits) {
        return Ok(Arrangement { dims: turned, transposed: Some(transposed) });
    }
    if fits(dims) {
        return Ok(Arrangement { dims: dims.to_vec(), transposed: None });
    }
    let elements: usize = dims.iter().product();
    let known: usize = wanted.iter().flatten().product();
    let free = wanted.iter().filter(|dim| dim.is_none()).count();
    let reshaped: Vec<usize> = match free {
        0 if known == elements => wanted.iter().map(|dim| dim.unwrap_or(1)).collect(),
        0 => return Err(format!("{elements} elements are not {known}")),
        1 if known > 0 && elements.is_multiple_of(known) => {
            wanted.iter().map(|dim| dim.unwrap_or(elements / known)).collect()
        }
        1 => return Err(format!("{elements} elements are no multiple of {known}")),
        _ => return Err("the model leaves open how they would be divided among its axes".to_owned()),
    };
    let squeezed = |dims: &[usize]| dims.iter().copied().filter(|&dim| dim != 1).collect::<Vec<_>>();
    let (from, to) = (squeezed(dims), squeezed(&reshaped));
    if from != to && from.len() > 1 && to.len() > 1 {
        return Err(format!("both have {elements} elements, and their order would be anyone's guess"));
    }
    Ok(Arrangement { dims: reshaped, transposed: None })
}

/// Channels last to channels first, or back: where a sample fits only then, or the layout says so.
fn turn(
    dims: &[usize],
    wanted: &[Option<usize>],
    layout: Option<Layout>,
    fits: &dyn Fn(&[usize]) -> bool,
) -> Option<(Vec<usize>, (usize, usize))> {
    let &[a, b, c] = dims else { return None };
    if wanted.len() != 3 || fits(dims) && layout.is_none() {
        return None;
    }
    let few = |channels: usize| (2..=4).contains(&channels);
    let to_first = few(c) && !few(a) && fits(&[c, a, b]) && layout != Some(Layout::Nhwc);
    let to_last = few(a) && !few(c) && fits(&[b, c, a]) && layout != Some(Layout::Nchw);
    match (to_first, to_last) {
        (true, false) => Some((vec![c, a, b], (a * b, c))),
        (false, true) => Some((vec![b, c, a], (a, b * c))),
        _ => None,
    }
}

impl Arrangement {
    /// What is done to shapes, where something is.
    pub(super) fn sentence(&self, dims: &[usize]) -> Option<String> {
        let (from, to) = (describe_dims(dims), describe_dims(&self.dims));
        match self.transposed {
            Some(_) => Some(format!("samples of shape {from} are transposed to {to}")),
            None if self.dims != dims => Some(format!("samples of shape {from} are reshaped to {to}")),
            None => None,
        }
    }

    /// Elements in the order of the model.
    pub(super) fn permute(&self, values: Values) -> Values {
        let Some((rows, columns)) = self.transposed else { return values };
        macro_rules! each {
            ($($variant:ident)*) => {
                match values { $(Values::$variant(values) => Values::$variant(transpose(&values, rows, columns)),)* }
            };
        }
        each!(Bool U8 I8 U16 I16 I32 I64 F16 F32 F64)
    }
}

/// Each [rows, columns] of many becomes [columns, rows].
fn transpose<T: Copy>(values: &[T], rows: usize, columns: usize) -> Vec<T> {
    let mut out = Vec::with_capacity(values.len());
    for sample in values.chunks_exact(rows * columns) {
        for column in 0..columns {
            out.extend(sample[column..].iter().step_by(columns));
        }
    }
    out
}

/// "[1, 28, 28]".
pub(super) fn describe_dims(dims: &[usize]) -> String {
    format!("{dims:?}")
}

/// What a sample for an input looks like, "[1, 28, ?]".
pub(super) fn wanted_dims(spec: &InputSpec) -> String {
    let dims = spec.dims.iter().skip(1).map(|dim| dim.map_or("?".to_owned(), |dim| dim.to_string()));
    format!("[{}]", dims.collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::DataType;

    fn arranged(dims: &[usize], wanted: &[i64]) -> Result<Arrangement, String> {
        let wanted = wanted.iter().map(|&dim| usize::try_from(dim).ok());
        let dims_of_input = std::iter::once(None).chain(wanted).collect();
        arrange(dims, &InputSpec { name: "x".into(), data_type: DataType::Float, dims: dims_of_input }, None)
    }

    #[test]
    fn flat_and_square_and_with_a_channel() {
        for from in [&[784][..], &[28, 28], &[1, 28, 28], &[28, 28, 1]] {
            for to in [&[784][..], &[28, 28], &[1, 28, 28], &[28, 28, 1]] {
                let wanted: Vec<i64> = to.iter().map(|&dim| i64::try_from(dim).unwrap()).collect();
                assert_eq!(arranged(from, &wanted).unwrap(), Arrangement { dims: to.to_vec(), transposed: None });
            }
        }
    }

    #[test]
    fn open_axes_take_what_comes() {
        assert_eq!(arranged(&[3, 20, 30], &[3, -1, -1]).unwrap().dims, [3, 20, 30]);
        assert_eq!(arranged(&[17], &[-1]).unwrap().dims, [17]);
        assert_eq!(arranged(&[784], &[1, 28, -1]).unwrap().dims, [1, 28, 28]);
        assert!(arranged(&[784], &[1, -1, -1]).unwrap_err().contains("leaves open"));
    }

    #[test]
    fn rows_and_channels_are_not_mixed_up() {
        let there = arranged(&[8, 9, 3], &[3, 8, 9]).unwrap();
        let values = Values::I32((0..216).collect());
        let Values::I32(first) = there.permute(values.clone()) else { panic!() };
        assert_eq!(&first[..3], [0, 3, 6]);
        assert_eq!(first[72], 1);
        let back = arranged(&[3, 8, 9], &[8, 9, 3]).unwrap();
        assert_eq!(back.permute(there.permute(values.clone())), values);
        assert_eq!(arranged(&[8, 9, 3], &[3, -1, -1]).unwrap().dims, [3, 8, 9]);
    }

    #[test]
    fn what_does_not_fit_is_explained() {
        assert_eq!(arranged(&[28, 29], &[1, 28, 28]).unwrap_err(), "812 elements are not 784");
        assert!(arranged(&[14, 56], &[28, 28]).unwrap_err().contains("anyone's guess"));
        assert!(arranged(&[10], &[3, -1]).unwrap_err().contains("no multiple of 3"));
    }
}
