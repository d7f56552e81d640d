//! Samples of files that hold arrays: npy, npz, idx.

use std::path::Path;

use super::array::Array;
use super::element::{ElementType, Endian};
use super::fit::Fit;
use super::labels::{self, Labels};
use super::npz::{Archive, roles};
use super::shape::wanted_dims;
use super::source::{Options, Part};
use super::stream::{self, Opened};
use super::{Batch, DataError, InputSpec, idx, npy};

/// One array per input of the model, read in step.
pub(super) struct Arrays {
    path: String,
    inputs: Vec<(Array, Fit)>,
    labels: Option<Labels>,
    /// Whether the model takes batches of one size only.
    exact: bool,
    done: u64,
}

impl Arrays {
    /// An npy file.
    pub(super) fn npy(opened: Opened, options: &Options, inputs: &[InputSpec]) -> Result<Self, DataError> {
        let input = only(&opened.name, inputs)?;
        let array = npy::open(&opened.name, opened.stream)?;
        Self::new(opened.name, vec![fitted(array, input, options)?], None)
    }

    /// An idx file, with the labels beside it.
    pub(super) fn idx(path: &Path, opened: Opened, options: &Options, inputs: &[InputSpec]) -> Result<Self, DataError> {
        let input = only(&opened.name, inputs)?;
        let array = idx::open(&opened.name, opened.stream)?;
        let beside = if options.labels.is_none() { labels::beside(path) } else { None };
        let labels = beside.as_deref().map(|labels| Labels::open(labels, None)).transpose()?;
        Self::new(opened.name, vec![fitted(array, input, options)?], labels)
    }

    /// Nothing but float32, little-endian; how many make a sample, the model says.
    pub(super) fn raw(path: &Path, opened: Opened, options: &Options, inputs: &[InputSpec]) -> Result<Self, DataError> {
        let input = only(&opened.name, inputs)?;
        let dims: Option<Vec<usize>> = input.dims.get(1..).and_then(|dims| dims.iter().copied().collect());
        let Some(dims) = dims else {
            let problem = format!(
                "is raw float32, and input '{}' takes samples of shape {}: nothing says how many numbers make one; save \
                 it as npy",
                input.name,
                wanted_dims(input)
            );
            return Err(DataError::Unsupported { path: opened.name, problem });
        };
        let row = dims.iter().product::<usize>().max(1) as u64 * 4;
        let bytes =
            std::fs::metadata(path).ok().filter(|file| file.is_file() && !opened.unpacked).map(|file| file.len());
        let rows = bytes.filter(|bytes| bytes.is_multiple_of(row)).map(|bytes| bytes / row);
        let type_ = (ElementType::F32, Endian::Little);
        let array = Array::new(opened.name.clone(), opened.stream, dims, type_, rows)?;
        let fit = Fit::new(input, &array.path, &array.dims, array.element, &options.preprocessing)?;
        Self::new(opened.name, vec![(array, fit)], None)
    }

    /// An npz file.
    pub(super) fn npz(path: &Path, options: &Options, inputs: &[InputSpec]) -> Result<Self, DataError> {
        let name = stream::name(path);
        let archive = Archive::open(path)?;
        let wanted: Vec<&str> = inputs.iter().map(|input| input.name.as_str()).collect();
        let roles = roles(&name, &archive.names(), &wanted, options.array.as_deref())?;
        let arrays = inputs.iter().zip(&roles.inputs).map(|(input, array)| {
            let array = archive.array(path, array)?;
            fitted(array, input, options)
        });
        let arrays = arrays.collect::<Result<Vec<_>, _>>()?;
        let labels = roles.labels.filter(|_| options.labels.is_none());
        let labels = labels.map(|labels| Labels::new(archive.array(path, &labels)?)).transpose()?;
        Self::new(name, arrays, labels)
    }

    fn new(path: String, inputs: Vec<(Array, Fit)>, labels: Option<Labels>) -> Result<Self, DataError> {
        let rows = inputs.iter().map(|(array, _)| array.rows);
        if let Some(uneven) = rows.clone().find(|&rows| rows != inputs[0].0.rows) {
            let count = |rows: Option<u64>| rows.map_or("?".to_owned(), |rows| rows.to_string());
            let problem = format!("holds arrays of {} and of {} samples", count(inputs[0].0.rows), count(uneven));
            return Err(DataError::Arrays { path, problem });
        }
        if let (Some(labels), Some(rows)) = (&labels, inputs[0].0.rows)
            && let Some(count) = labels.rows().filter(|&count| count != rows)
        {
            return Err(DataError::LabelCount {
                labels_path: labels.path().to_owned(),
                labels: count.to_string(),
                samples: rows.to_string(),
                place: format!(" in {path}"),
            });
        }
        let exact = inputs.iter().any(|(_, fit)| fit.fixed_batch());
        Ok(Self { path, inputs, labels, exact, done: 0 })
    }
}

impl Arrays {
    /// An array and its fit for each input, and the labels.
    pub(super) fn into_parts(self) -> (Vec<(Array, Fit)>, Option<Labels>) {
        (self.inputs, self.labels)
    }
}

/// The one input of a model.
pub(super) fn only<'a>(path: &str, inputs: &'a [InputSpec]) -> Result<&'a InputSpec, DataError> {
    match inputs {
        [only] => Ok(only),
        _ => Err(DataError::SeveralInputs {
            path: path.to_owned(),
            inputs: inputs.iter().map(|input| input.name.clone()).collect(),
        }),
    }
}

/// The way into an input; an array without an axis for the samples is one sample.
fn fitted(mut array: Array, input: &InputSpec, options: &Options) -> Result<(Array, Fit), DataError> {
    let fit = |array: &Array| Fit::new(input, &array.path, &array.dims, array.element, &options.preprocessing);
    match fit(&array) {
        Err(error @ DataError::Shape { .. }) => {
            if !array.become_one_sample() {
                return Err(error);
            }
            let fit = fit(&array).map_err(|_| error)?;
            Ok((array, fit))
        }
        fit => Ok((array, fit?)),
    }
}

impl Part for Arrays {
    fn next(&mut self, rows: usize) -> Result<Option<Batch>, DataError> {
        let mut wanted = rows;
        let mut tensors = Vec::with_capacity(self.inputs.len());
        for (array, fit) in &mut self.inputs {
            // what the first array gives at once, the others have to give, too
            let up_to = tensors.is_empty() && !self.exact;
            let values = if up_to { array.read(wanted)? } else { array.read_exactly(wanted)? };
            if values.is_empty() {
                return Ok(None);
            }
            let tensor = fit.apply(values, self.done)?;
            wanted = tensor.dims[0];
            tensors.push(tensor);
        }
        let labels = self.labels.as_mut().map(|labels| labels.read(wanted)).transpose()?;
        if let (Some(labels), Some(from)) = (&labels, &self.labels)
            && labels.len() < wanted
        {
            return Err(DataError::LabelCount {
                labels_path: from.path().to_owned(),
                labels: (self.done + labels.len() as u64).to_string(),
                samples: "more".to_owned(),
                place: format!(" in {}", self.path),
            });
        }
        self.done += wanted as u64;
        Ok(Some(Batch { inputs: tensors, labels, names: None }))
    }

    fn rows(&self) -> Option<u64> {
        self.inputs[0].0.rows
    }

    fn labelled(&self) -> bool {
        self.labels.is_some()
    }

    fn sentences(&self) -> Vec<String> {
        self.inputs.iter().flat_map(|(_, fit)| fit.sentences()).cloned().collect()
    }
}
