//! Samples in any order, for training.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use memmap2::Mmap;

use super::array::{Array, Rows, place};
use super::arrays::Arrays;
use super::csv::Csv;
use super::element::ElementType;
use super::fit::Fit;
use super::format::Format;
use super::images::Images;
use super::labels::Labels;
use super::picture::Target;
use super::shift::{Grid, Shift};
use super::source::{Options, Part, groups, label_count};
use super::{Batch, DataError, InputSpec, Preprocessing, Tensor, Values, stream};

/// Files from this size on are mapped instead of read.
const MAPPED_FROM: u64 = 64 << 20;

/// Samples at hand: arrays as their files have them (bytes stay bytes), mapped where the file is large and not compressed;
/// pictures by name, decoded when their turn comes.
#[derive(Clone, Default)]
pub struct Samples {
    inputs: Vec<InputSpec>,
    preprocessing: Preprocessing,
    /// With the index of the first sample of each.
    parts: Vec<(usize, Arc<Held>)>,
    /// Which of them these are, where not all in their order.
    chosen: Option<Vec<usize>>,
    count: usize,
    labels: Option<Vec<i64>>,
    classes: Vec<(i64, String)>,
    sentences: Vec<String>,
}

/// Samples of one file or folder.
enum Held {
    /// A column per input of the model.
    Columns(Vec<Column>),
    /// Files of pictures.
    Pictures { files: Vec<PathBuf>, target: Target },
}

/// What feeds one input.
enum Column {
    /// As the file has it.
    Raw { path: String, dims: Vec<usize>, rows: Rows, fit: Box<Fit> },
    /// As the input takes it.
    Fitted(Tensor),
}

impl Samples {
    /// Opens files and folders as [`super::open`] does; `options.batch` means nothing here.
    ///
    /// # Errors
    /// As [`super::open`], and as reading all of the arrays.
    pub fn open(options: &Options, inputs: &[InputSpec]) -> Result<Self, DataError> {
        options.preprocessing.check()?;
        if options.paths.is_empty() {
            return Err(DataError::NoPaths);
        }
        let mut samples = Self {
            inputs: inputs.to_vec(),
            preprocessing: options.preprocessing.clone(),
            parts: Vec::new(),
            chosen: None,
            count: 0,
            labels: None,
            classes: Vec::new(),
            sentences: Vec::new(),
        };
        let mut labels = Vec::new();
        let (mut with, mut without) = (None, None);
        for group in groups(options) {
            let Some(first) = group.first() else { continue };
            let found = samples.add(&group, options)?;
            match found {
                Some(found) => {
                    labels.extend(found);
                    with = Some(stream::name(first));
                }
                None => without = Some(stream::name(first)),
            }
        }
        if let Some(path) = &options.labels {
            labels = samples.named_labels(path, options)?;
        } else if let (Some(with), Some(without)) = (&with, without) {
            return Err(DataError::MixedLabels { with: with.clone(), without });
        }
        samples.labels = (options.labels.is_some() || with.is_some()).then_some(labels);
        if let Some(limit) = options.limit.and_then(|limit| usize::try_from(limit).ok()) {
            samples.count = samples.count.min(limit);
            samples.labels.iter_mut().for_each(|labels| labels.truncate(limit));
        }
        Ok(samples)
    }

    /// The samples at these places, in this order; places that hold none are left out. Nothing is read again or copied.
    #[must_use]
    pub fn choose(&self, places: &[usize]) -> Self {
        let places: Vec<usize> = places.iter().copied().filter(|&place| place < self.count).collect();
        let label = |&place: &usize| self.labels.as_ref().and_then(|labels| labels.get(place).copied());
        Self {
            labels: self.labels.as_ref().map(|_| places.iter().filter_map(label).collect()),
            count: places.len(),
            chosen: Some(places.iter().map(|&place| self.place(place)).collect()),
            ..self.clone()
        }
    }

    /// Where a sample is among all that were opened.
    fn place(&self, index: usize) -> usize {
        self.chosen.as_ref().map_or(index, |chosen| chosen.get(index).copied().unwrap_or(usize::MAX))
    }

    /// Number of samples.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The class of each, where it is known.
    #[must_use]
    pub fn labels(&self) -> Option<&[i64]> {
        self.labels.as_deref()
    }

    /// Classes and their names, where folders are classes.
    #[must_use]
    pub fn classes(&self) -> &[(i64, String)] {
        &self.classes
    }

    /// What is done to the samples, a sentence each: for the user to read.
    #[must_use]
    pub fn describe(&self) -> &[String] {
        &self.sentences
    }

    /// Whether making a batch takes work: pictures that are decoded.
    #[must_use]
    pub fn decodes(&self) -> bool {
        self.parts.iter().any(|(_, held)| matches!(&**held, Held::Pictures { .. }))
    }

    /// Why they cannot be moved and mirrored; None where they can.
    #[must_use]
    pub fn refuses_shifts(&self) -> Option<String> {
        let flat = self.parts.iter().find_map(|(_, held)| match &**held {
            Held::Pictures { target, .. } => Some(target.dims()).filter(|dims| Grid::of(dims, None).is_none()),
            Held::Columns(columns) => match columns.as_slice() {
                [Column::Raw { dims, .. }] => {
                    Some(dims.clone()).filter(|dims| Grid::of(dims, self.preprocessing.layout).is_none())
                }
                [Column::Fitted(tensor)] => Some(tensor.dims.get(1..).unwrap_or_default().to_vec()),
                _ => Some(Vec::new()),
            },
        })?;
        Some(format!("samples of shape {flat:?} are no pictures with rows and columns"))
    }

    /// Some samples, in the order of `indices`; each is moved by what `shift` says for its place in `indices`.
    ///
    /// # Errors
    /// A picture that cannot be read, a value that the model does not take, pictures of different sizes.
    pub fn batch(&self, indices: &[usize], shift: Option<&dyn Fn(usize) -> Shift>) -> Result<Batch, DataError> {
        let mut batch: Option<Vec<Tensor>> = None;
        let mut from = 0;
        while from < indices.len() {
            let Some((first, held)) = indices.get(from).and_then(|&index| self.part_of(index)) else {
                from += 1;
                continue;
            };
            let same = |&index: &usize| self.part_of(index).is_some_and(|(other, _)| other == first);
            let run = indices.iter().skip(from).take_while(|index| same(index)).count().max(1);
            let rows: Vec<usize> =
                indices.iter().skip(from).take(run).map(|&index| self.place(index) - first).collect();
            let shift_of = shift.map(|shift| move |place: usize| shift(from + place));
            let tensors = self.gather(held, &rows, shift_of.as_ref().map(|shift| shift as &dyn Fn(usize) -> Shift))?;
            match &mut batch {
                None => batch = Some(tensors),
                Some(batch) => append(batch, &tensors)?,
            }
            from += run;
        }
        let labels = self.labels.as_ref();
        let labels = labels.map(|labels| indices.iter().filter_map(|&index| labels.get(index).copied()).collect());
        Ok(Batch { inputs: batch.unwrap_or_default(), labels, names: None })
    }

    /// The part that holds a sample, and the place of its first.
    fn part_of(&self, index: usize) -> Option<(usize, &Held)> {
        let index = self.place(index);
        let behind = self.parts.partition_point(|(first, _)| *first <= index);
        let (first, held) = self.parts.get(behind.checked_sub(1)?)?;
        Some((*first, held))
    }

    /// Adds a part; gives its labels.
    fn add(&mut self, group: &[PathBuf], options: &Options) -> Result<Option<Vec<i64>>, DataError> {
        let Some(path) = group.first() else { return Ok(None) };
        if path.is_dir() {
            return self.add_images(Images::folder(path, options, &self.inputs)?);
        }
        let opened = stream::open(path)?;
        let format = options.format.or_else(|| Format::of(path, &opened.start));
        let mapped = map(path, &opened, format);
        match format {
            Some(Format::Npy) => self.add_arrays(Arrays::npy(opened, options, &self.inputs)?, mapped),
            Some(Format::Npz) => self.add_arrays(Arrays::npz(path, options, &self.inputs)?, None),
            Some(Format::Idx) => self.add_arrays(Arrays::idx(path, opened, options, &self.inputs)?, mapped),
            Some(Format::Raw) => self.add_arrays(Arrays::raw(path, opened, options, &self.inputs)?, mapped),
            Some(Format::Csv) => self.add_csv(Csv::open(opened, options, &self.inputs)?),
            Some(Format::Image) => self.add_images(Images::files(group.to_vec(), options, &self.inputs)?),
            None => Err(DataError::UnknownFormat { path: opened.name }),
        }
    }

    fn add_arrays(&mut self, arrays: Arrays, mapped: Option<Bytes>) -> Result<Option<Vec<i64>>, DataError> {
        let (columns, labels) = arrays.into_parts();
        let mut held = Vec::with_capacity(columns.len());
        for (array, fit) in columns {
            self.tell(fit.sentences());
            let (path, dims) = (array.path.clone(), array.dims.clone());
            let rows = rows_of(array, mapped.clone())?;
            held.push(Column::Raw { path, dims, rows, fit: Box::new(fit) });
        }
        let count = match held.first() {
            Some(Column::Raw { rows, .. }) => rows.len(),
            _ => 0,
        };
        let labels = labels.map(|labels| all_labels(labels, count)).transpose()?;
        self.push(Held::Columns(held), count);
        Ok(labels)
    }

    fn add_csv(&mut self, mut csv: Csv) -> Result<Option<Vec<i64>>, DataError> {
        self.tell(&csv.sentences());
        let labelled = csv.labelled();
        let mut held: Option<Vec<Tensor>> = None;
        let mut labels = Vec::new();
        while let Some(batch) = csv.next(4096)? {
            labels.extend(batch.labels.unwrap_or_default());
            match &mut held {
                None => held = Some(batch.inputs),
                Some(held) => append(held, &batch.inputs)?,
            }
        }
        let held = held.unwrap_or_default();
        let count = held.first().and_then(|tensor| tensor.dims.first()).copied().unwrap_or(0);
        self.push(Held::Columns(held.into_iter().map(Column::Fitted).collect()), count);
        Ok(labelled.then_some(labels))
    }

    fn add_images(&mut self, images: Images) -> Result<Option<Vec<i64>>, DataError> {
        self.tell(&images.sentences());
        self.classes = images.classes();
        let ((files, labels), target) = images.into_files()?;
        let count = files.len();
        self.push(Held::Pictures { files, target }, count);
        Ok(labels)
    }

    fn push(&mut self, held: Held, count: usize) {
        self.parts.push((self.count, Arc::new(held)));
        self.count += count;
    }

    fn tell(&mut self, sentences: &[String]) {
        for sentence in sentences {
            if !self.sentences.contains(sentence) {
                self.sentences.push(sentence.clone());
            }
        }
    }

    fn named_labels(&self, path: &Path, options: &Options) -> Result<Vec<i64>, DataError> {
        let mut labels = Labels::open(path, options.label_column.as_deref())?;
        let found = labels.read(self.count.saturating_add(1))?;
        if found.len() == self.count {
            return Ok(found);
        }
        let more = if found.len() > self.count { format!("more than {}", self.count) } else { found.len().to_string() };
        Err(label_count(labels.path(), more, self.count.to_string(), &options.paths))
    }

    /// Samples of one part, by their places in it.
    fn gather(
        &self,
        held: &Held,
        rows: &[usize],
        shift: Option<&dyn Fn(usize) -> Shift>,
    ) -> Result<Vec<Tensor>, DataError> {
        match held {
            Held::Columns(columns) => {
                columns.iter().map(|column| column.gather(rows, self.preprocessing.layout, shift)).collect()
            }
            Held::Pictures { files, target } => Ok(vec![self.pictures(files, target, rows, shift)?]),
        }
    }

    fn pictures(
        &self,
        files: &[PathBuf],
        target: &Target,
        rows: &[usize],
        shift: Option<&dyn Fn(usize) -> Shift>,
    ) -> Result<Tensor, DataError> {
        let mut bytes = Vec::new();
        let mut dims: Option<Vec<usize>> = None;
        let named = |row: usize| files.get(row).map(|file| file.display().to_string()).unwrap_or_default();
        for (index, &row) in rows.iter().enumerate() {
            let Some(file) = files.get(row) else { continue };
            let picture = target.read(file)?;
            if dims.as_ref().is_some_and(|dims| *dims != picture.dims) {
                let problem = format!(
                    "becomes a sample of shape {:?}, and others have {:?}; batches need one: say --resize and --crop",
                    picture.dims,
                    dims.unwrap_or_default()
                );
                return Err(DataError::Unsupported { path: named(row), problem });
            }
            match (shift, Grid::of(&picture.dims, Some(target.layout()))) {
                (Some(shift), Some(grid)) => grid.shifted(&picture.bytes, 1, shift(index), &mut bytes),
                _ => bytes.extend_from_slice(&picture.bytes),
            }
            dims = Some(picture.dims);
        }
        let dims = dims.unwrap_or_default();
        let name = rows.first().map(|&row| named(row)).unwrap_or_default();
        let Some(input) = self.inputs.first() else { return Err(DataError::NoPaths) };
        let fit = Fit::new(input, &name, &dims, ElementType::U8, &self.preprocessing)?;
        fit.apply(Values::U8(bytes), 0)
    }
}

impl Column {
    fn gather(
        &self,
        rows: &[usize],
        layout: Option<super::Layout>,
        shift: Option<&dyn Fn(usize) -> Shift>,
    ) -> Result<Tensor, DataError> {
        match self {
            Self::Fitted(tensor) => {
                let sample = tensor.dims.get(1..).unwrap_or_default();
                let values = tensor.values.gather(sample.iter().product(), rows);
                let dims = std::iter::once(rows.len()).chain(sample.iter().copied()).collect();
                Ok(Tensor { dims, values })
            }
            Self::Raw { path, dims, rows: held, fit } => {
                let mut bytes = Vec::with_capacity(rows.len() * held.row(0).len());
                let grid = shift.and_then(|_| Grid::of(dims, layout));
                for (index, &row) in rows.iter().enumerate() {
                    match (shift, &grid) {
                        (Some(shift), Some(grid)) => {
                            grid.shifted(held.row(row), held.element.size(), shift(index), &mut bytes);
                        }
                        _ => bytes.extend_from_slice(held.row(row)),
                    }
                }
                let decode = |bytes: &[u8], first: u64| {
                    held.decode(bytes).map_err(|index| DataError::Value {
                        path: path.clone(),
                        place: place(first, index, dims),
                        value: "above 2^63".to_owned(),
                        wanted: "int64".to_owned(),
                    })
                };
                let made = decode(&bytes, 0).and_then(|values| fit.apply(values, 0));
                if made.is_err() {
                    // one by one, for the number of the sample at fault
                    for &row in rows {
                        fit.apply(decode(held.row(row), row as u64)?, row as u64)?;
                    }
                }
                made
            }
        }
    }
}

/// Tensors behind tensors, input by input.
fn append(batch: &mut [Tensor], more: &[Tensor]) -> Result<(), DataError> {
    for (to, from) in batch.iter_mut().zip(more) {
        if to.dims.get(1..) != from.dims.get(1..) || !to.values.append(&from.values) {
            let problem = format!("have samples of shapes {:?} and {:?}, which make no batch", to.dims, from.dims);
            return Err(DataError::Unsupported { path: "the files".to_owned(), problem });
        }
        if let (Some(rows), Some(some)) = (to.dims.first_mut(), from.dims.first()) {
            *rows += some;
        }
    }
    Ok(())
}

/// All labels of a file that has `count` samples.
fn all_labels(mut labels: Labels, count: usize) -> Result<Vec<i64>, DataError> {
    let found = labels.read(count)?;
    if found.len() < count {
        return Err(DataError::LabelCount {
            labels_path: labels.path().to_owned(),
            labels: found.len().to_string(),
            samples: count.to_string(),
            place: String::new(),
        });
    }
    Ok(found)
}

/// What follows the header of a file that is large enough to be mapped.
fn map(path: &Path, opened: &stream::Opened, format: Option<Format>) -> Option<Bytes> {
    let file = File::open(path).ok()?;
    let metadata = file.metadata().ok().filter(std::fs::Metadata::is_file)?;
    if opened.unpacked || metadata.len() < MAPPED_FROM {
        return None;
    }
    let header = header_length(format?, &opened.start)?;
    // SAFETY: the map is read-only and lives as long as the Bytes that own it. A file that shrinks under it would end the
    // process with SIGBUS, as with every mapped file; data sets do not change while they are trained on.
    let map = unsafe { Mmap::map(&file) }.ok()?;
    let map = Bytes::from_owner(map);
    (header <= map.len()).then(|| map.slice(header..))
}

/// Bytes before the elements, by how the file begins.
fn header_length(format: Format, start: &[u8]) -> Option<usize> {
    match (format, start) {
        (Format::Raw, _) => Some(0),
        (Format::Idx, [_, _, _, axes, ..]) => Some(4 + 4 * usize::from(*axes)),
        (Format::Npy, [_, _, _, _, _, _, 1, _, a, b, ..]) => Some(10 + usize::from(u16::from_le_bytes([*a, *b]))),
        (Format::Npy, [_, _, _, _, _, _, 2 | 3, _, a, b, c, d, ..]) => {
            usize::try_from(u32::from_le_bytes([*a, *b, *c, *d])).ok()?.checked_add(12)
        }
        _ => None,
    }
}

/// The samples of an array: mapped, where that is as long as its header says, else read.
fn rows_of(array: Array, mapped: Option<Bytes>) -> Result<Rows, DataError> {
    match mapped.and_then(|bytes| array.with_bytes(bytes)) {
        Some(rows) => Ok(rows),
        None => array.into_rows(),
    }
}

#[cfg(test)]
mod tests;
