//! Samples from files, one file after the other.

use std::path::{Path, PathBuf};

use super::arrays::Arrays;
use super::csv::Csv;
use super::format::{Format, is_image_name};
use super::images::Images;
use super::labels::Labels;
use super::preprocessing::Preprocessing;
use super::{Batch, DataError, InputSpec, stream};

/// What to read, and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// Files and folders, read one after the other; `-` is standard input.
    pub paths: Vec<PathBuf>,
    /// Where the labels are, if not in or beside the files: npy, npz, idx or a text file with one per line.
    pub labels: Option<PathBuf>,
    /// What happens to samples before the model sees them.
    pub preprocessing: Preprocessing,
    /// Samples per batch, at most: large samples come in smaller ones.
    pub batch: usize,
    /// Kind of the files, where neither content nor name tells.
    pub format: Option<Format>,
    /// Array of an npz file that holds the samples.
    pub array: Option<String>,
    /// Column of a CSV file that holds the labels: its name, or its index from 0 (−1 is the last).
    pub label_column: Option<String>,
    /// Samples to stop after.
    pub limit: Option<u64>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            paths: Vec::new(),
            labels: None,
            preprocessing: Preprocessing::default(),
            batch: 64,
            format: None,
            array: None,
            label_column: None,
            limit: None,
        }
    }
}

/// Samples of one file or folder.
pub(super) trait Part: Send {
    /// Up to `rows` samples; None after the last.
    fn next(&mut self, rows: usize) -> Result<Option<Batch>, DataError>;
    /// Samples in all, where that is known.
    fn rows(&self) -> Option<u64>;
    /// Whether they have labels.
    fn labelled(&self) -> bool;
    /// Whether they have names.
    fn named(&self) -> bool {
        false
    }
    /// What is done to them, a sentence each.
    fn sentences(&self) -> Vec<String>;
}

/// Files that are one part, and the part itself where it is open already.
type Waiting = (Vec<PathBuf>, Option<Box<dyn Part>>);

/// A stream of [`Batch`]es that fit a model.
pub struct Source {
    options: Options,
    inputs: Vec<InputSpec>,
    /// To come; a file is opened when it is its turn, a pipe is open already.
    waiting: std::vec::IntoIter<Waiting>,
    /// With its name.
    current: Option<(String, Box<dyn Part>)>,
    labels: Option<Labels>,
    rows: Option<u64>,
    labelled: bool,
    named: bool,
    sentences: Vec<String>,
    done: u64,
    over: bool,
}

/// Opens files and folders, and checks what their headers tell.
///
/// # Errors
/// What is not there, not readable, no samples, or samples that cannot be brought into the shape of `inputs`.
pub fn open(options: &Options, inputs: &[InputSpec]) -> Result<Source, DataError> {
    options.preprocessing.check()?;
    if options.paths.is_empty() {
        return Err(DataError::NoPaths);
    }
    if options.paths.iter().chain(&options.labels).filter(|path| stream::is_stdin(path)).count() > 1 {
        let problem = "is named twice, and can be read once".to_owned();
        return Err(DataError::Unsupported { path: "standard input".to_owned(), problem });
    }
    let mut waiting = Vec::new();
    let mut rows = Some(0u64);
    let mut sentences: Vec<String> = Vec::new();
    let (mut with, mut without) = (None, None);
    let mut named = false;
    for group in groups(options) {
        let path = &group[0];
        let part = open_part(&group, options, inputs)?;
        named |= part.named();
        rows = rows.zip(part.rows()).and_then(|(a, b)| a.checked_add(b));
        *(if part.labelled() { &mut with } else { &mut without }) = Some(stream::name(path));
        for sentence in part.sentences() {
            if !sentences.contains(&sentence) {
                sentences.push(sentence);
            }
        }
        let reopens = path.is_file() || path.is_dir();
        waiting.push((group, (!reopens).then_some(part)));
    }
    let labels =
        options.labels.as_deref().map(|path| Labels::open(path, options.label_column.as_deref())).transpose()?;
    if let (None, Some(with), Some(without)) = (&labels, &with, without) {
        return Err(DataError::MixedLabels { with: with.clone(), without });
    }
    if let Some((labels, rows)) = labels.as_ref().zip(rows)
        && let Some(count) = labels.rows().filter(|&count| count != rows)
    {
        return Err(label_count(labels.path(), count.to_string(), rows.to_string(), &options.paths));
    }
    Ok(Source {
        options: options.clone(),
        inputs: inputs.to_vec(),
        waiting: waiting.into_iter(),
        current: None,
        labelled: labels.is_some() || with.is_some(),
        named,
        labels,
        rows,
        sentences,
        done: 0,
        over: false,
    })
}

/// Files that are one part: pictures that follow each other make batches together, all else stands alone.
pub(super) fn groups(options: &Options) -> Vec<Vec<PathBuf>> {
    let picture = |path: &Path| {
        options.format.is_none_or(|format| format == Format::Image) && is_image_name(path) && path.is_file()
    };
    let mut groups: Vec<Vec<PathBuf>> = Vec::new();
    for path in &options.paths {
        match groups.last_mut() {
            Some(last) if picture(path) && picture(&last[0]) => last.push(path.clone()),
            _ => groups.push(vec![path.clone()]),
        }
    }
    groups
}

fn open_part(group: &[PathBuf], options: &Options, inputs: &[InputSpec]) -> Result<Box<dyn Part>, DataError> {
    let path = group[0].as_path();
    if path.is_dir() {
        return Ok(Box::new(Images::folder(path, options, inputs)?));
    }
    let opened = stream::open(path)?;
    match options.format.or_else(|| Format::of(path, &opened.start)) {
        Some(Format::Npy) => Ok(Box::new(Arrays::npy(opened, options, inputs)?)),
        Some(Format::Npz) => Ok(Box::new(Arrays::npz(path, options, inputs)?)),
        Some(Format::Idx) => Ok(Box::new(Arrays::idx(path, opened, options, inputs)?)),
        Some(Format::Csv) => Ok(Box::new(Csv::open(opened, options, inputs)?)),
        Some(Format::Raw) => Ok(Box::new(Arrays::raw(path, opened, options, inputs)?)),
        Some(Format::Image) => Ok(Box::new(Images::files(group.to_vec(), options, inputs)?)),
        None => Err(DataError::UnknownFormat { path: opened.name }),
    }
}

pub(super) fn label_count(labels_path: &str, labels: String, samples: String, paths: &[PathBuf]) -> DataError {
    let place = match paths {
        [only] => format!(" in {}", stream::name(only)),
        _ => format!(" in the {} files", paths.len()),
    };
    DataError::LabelCount { labels_path: labels_path.to_owned(), labels, samples, place }
}

impl Source {
    /// Samples in all, where headers tell before they are read.
    #[must_use]
    pub fn rows(&self) -> Option<u64> {
        match (self.rows, self.options.limit) {
            (Some(rows), Some(limit)) => Some(rows.min(limit)),
            (rows, _) => rows,
        }
    }

    /// Whether batches will have labels.
    #[must_use]
    pub fn labelled(&self) -> bool {
        self.labelled
    }

    /// Whether some samples will have names.
    #[must_use]
    pub fn named(&self) -> bool {
        self.named
    }

    /// What is done to the samples, a sentence each: for the user to read.
    #[must_use]
    pub fn describe(&self) -> &[String] {
        &self.sentences
    }

    /// How samples are prepared, for calibration to keep in the model.
    #[must_use]
    pub fn preprocessing(&self) -> &Preprocessing {
        &self.options.preprocessing
    }

    /// Samples per run, where the model takes batches of one size only.
    fn fixed_batch(&self) -> Option<usize> {
        self.inputs.iter().find_map(|input| input.dims.first().copied().flatten())
    }

    fn read(&mut self) -> Result<Option<Batch>, DataError> {
        let left = self.options.limit.map_or(u64::MAX, |limit| limit.saturating_sub(self.done));
        if left == 0 {
            return Ok(None);
        }
        let fixed = self.fixed_batch();
        let rows = fixed.unwrap_or(self.options.batch).max(1);
        let rows = usize::try_from(left).unwrap_or(usize::MAX).min(rows);
        loop {
            if self.current.is_none() {
                let Some((group, part)) = self.waiting.next() else {
                    self.expect_no_more_labels()?;
                    return Ok(None);
                };
                let part = match part {
                    Some(part) => part,
                    None => open_part(&group, &self.options, &self.inputs)?,
                };
                self.current = Some((stream::name(&group[0]), part));
            }
            let Some((path, part)) = &mut self.current else { continue };
            let Some(mut batch) = part.next(rows)? else {
                self.current = None;
                continue;
            };
            let count = batch.rows();
            if let Some(fixed) = fixed
                && count != fixed
            {
                return Err(DataError::FixedBatch { batch: fixed, path: path.clone(), rows: count });
            }
            if let Some(labels) = &mut self.labels {
                let some = labels.read(count)?;
                if some.len() < count {
                    let found = self.done + some.len() as u64;
                    let samples = "more".to_owned();
                    return Err(label_count(labels.path(), found.to_string(), samples, &self.options.paths));
                }
                batch.labels = Some(some);
            }
            self.done += count as u64;
            return Ok(Some(batch));
        }
    }

    fn expect_no_more_labels(&mut self) -> Result<(), DataError> {
        let Some(labels) = &mut self.labels else { return Ok(()) };
        if labels.read(1)?.is_empty() {
            return Ok(());
        }
        let found = format!("more than {}", self.done);
        Err(label_count(labels.path(), found, self.done.to_string(), &self.options.paths))
    }
}

impl Iterator for Source {
    type Item = Result<Batch, DataError>;

    /// The next batch; nothing comes after an error.
    fn next(&mut self) -> Option<Self::Item> {
        if self.over {
            return None;
        }
        let result = self.read();
        self.over = !matches!(result, Ok(Some(_)));
        result.transpose()
    }
}
