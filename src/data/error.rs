//! What can be wrong with samples.

use std::path::PathBuf;

/// Why samples cannot be read. Every variant says which file, where in it, and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// The system refused.
    #[error("{action} {path}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: String,
        /// The system's reason.
        source: std::io::Error,
    },
    /// No such file.
    #[error("there is no {}{hint}", .path.display())]
    NotFound {
        /// The name given.
        path: PathBuf,
        /// What its folder has instead, a clause.
        hint: String,
    },
    /// Nothing was named.
    #[error("no data: name files or folders, or `-` for standard input")]
    NoPaths,
    /// No samples.
    #[error("{path} holds no samples; {advice}")]
    Empty {
        /// The file.
        path: String,
        /// What it could hold.
        advice: &'static str,
    },
    /// A file of no known kind.
    #[error(
        "{path} is none of npy, npz, idx, CSV, raw float32 or an image; where it is one of them under a strange name, \
         say which with --input-format"
    )]
    UnknownFormat {
        /// The file.
        path: String,
    },
    /// A file that is not what it was said to be.
    #[error("{path} is not {format}: {found}")]
    NotOfFormat {
        /// The file.
        path: String,
        /// The format, with its article: "an npy file".
        format: &'static str,
        /// What was found instead.
        found: String,
    },
    /// The file ends early.
    #[error("{path} ends after {found} of {expected}; it is truncated, copy or make it anew")]
    Truncated {
        /// The file.
        path: String,
        /// What is there: "3 samples and 17 bytes".
        found: String,
        /// What was announced: "10 samples of 784 bytes".
        expected: String,
    },
    /// The file goes on behind its last sample.
    #[error("{path} goes on after the {samples} samples that its header announces; the header or the file is damaged")]
    TrailingBytes {
        /// The file.
        path: String,
        /// As the header says.
        samples: u64,
    },
    /// Compressed data that do not unpack, or unpack to something else.
    #[error("{path} is damaged: {problem}; copy or make it anew")]
    Damaged {
        /// The file.
        path: String,
        /// What the decompressor says.
        problem: String,
    },
    /// A kind of file that exists but is not read.
    #[error("{path}: {problem}")]
    Unsupported {
        /// The file.
        path: String,
        /// What it is, and what to do.
        problem: String,
    },
    /// Samples of a shape that the model does not take.
    #[error(
        "{path} holds samples of shape {found}, and input '{input}' takes {wanted}; {reason}, so they cannot be fitted"
    )]
    Shape {
        /// The file.
        path: String,
        /// Shape of a sample in it.
        found: String,
        /// Input of the model.
        input: String,
        /// What it takes.
        wanted: String,
        /// Why there is no way from one to the other.
        reason: String,
    },
    /// Samples too large to be samples.
    #[error("{path} says that a sample has {bytes} bytes; that is no sample: its header is damaged")]
    RowTooLarge {
        /// The file.
        path: String,
        /// Bytes of a sample; 2^64 − 1 where even that is not enough.
        bytes: u64,
    },
    /// An input of a type that is not fed from files.
    #[error("input '{input}' takes {data_type} elements, which cannot be read from files")]
    InputType {
        /// Input of the model.
        input: String,
        /// Its type.
        data_type: String,
    },
    /// NaN.
    #[error("{path}: {place} is NaN; a model's answer to it means nothing: replace or remove it")]
    NotANumber {
        /// The file.
        path: String,
        /// Which element: "sample 3, element [0, 4, 5]".
        place: String,
    },
    /// A number that the input's type cannot hold.
    #[error("{path}: {place} is {value}, which {wanted} cannot hold")]
    Value {
        /// The file.
        path: String,
        /// Which element.
        place: String,
        /// The number.
        value: String,
        /// Type of the input: "input 'x', uint8,".
        wanted: String,
    },
    /// A line of CSV with more or fewer fields than the first.
    #[error("{path}, line {line}: {found} fields, where the lines before have {expected}")]
    Ragged {
        /// The file.
        path: String,
        /// Its line, from 1.
        line: u64,
        /// Fields in it.
        found: usize,
        /// Fields in the first line.
        expected: usize,
    },
    /// A field of CSV that is no number.
    #[error("{path}, line {line}, column {column}: '{text}' is not a number")]
    Field {
        /// The file.
        path: String,
        /// Its line, from 1.
        line: u64,
        /// Its column, from 1, with its name where there is one.
        column: String,
        /// What stands there.
        text: String,
    },
    /// A column that is not there.
    #[error("{path} has no column '{column}' for --label-column; it has {known}")]
    LabelColumn {
        /// The file.
        path: String,
        /// As asked for.
        column: String,
        /// Those that are there.
        known: String,
    },
    /// A label that is no class.
    #[error("{path}: the label of sample {sample} is {value}; labels are whole numbers, the index of the class")]
    Label {
        /// The file.
        path: String,
        /// From 0.
        sample: u64,
        /// What stands there.
        value: String,
    },
    /// Labels that are no list of numbers.
    #[error("{path} cannot be labels: {problem}; labels are one whole number per sample")]
    LabelShape {
        /// The file.
        path: String,
        /// What they are.
        problem: String,
    },
    /// More or fewer labels than samples.
    #[error("{labels_path} holds {labels} labels, and there are {samples} samples{place}; one label belongs to each")]
    LabelCount {
        /// Where the labels are.
        labels_path: String,
        /// How many: a number, or "more than 100".
        labels: String,
        /// How many.
        samples: String,
        /// Where the samples are, a clause.
        place: String,
    },
    /// Some data with labels and some without.
    #[error("{with} has labels and {without} has none; score them apart, or name all labels with --labels")]
    MixedLabels {
        /// With.
        with: String,
        /// Without.
        without: String,
    },
    /// A picture that cannot be decoded.
    #[error("{path} cannot be read as an image: {problem}")]
    Image {
        /// The file.
        path: String,
        /// The decoder's reason.
        problem: String,
    },
    /// A folder that is neither a list of pictures nor one folder per class.
    #[error("{path}: {problem}")]
    Folder {
        /// The folder.
        path: String,
        /// What is in it, and what to do.
        problem: String,
    },
    /// Arrays of an archive that cannot be told apart, or are missing.
    #[error("{path} {problem}")]
    Arrays {
        /// The file.
        path: String,
        /// What it holds, and what to do.
        problem: String,
    },
    /// A model with several inputs, and a file that feeds one.
    #[error(
        "the model has {} inputs, {}, and {path} feeds one; give an npz file with an array for each, named like them",
        .inputs.len(), .inputs.join(", ")
    )]
    SeveralInputs {
        /// The file.
        path: String,
        /// Inputs of the model.
        inputs: Vec<String>,
    },
    /// A model that takes batches of one size only, and samples that don't fill the last.
    #[error("the model takes {batch} samples at a time, and {path} ends with {rows}; leave them out, or add some")]
    FixedBatch {
        /// Samples per run.
        batch: usize,
        /// The file.
        path: String,
        /// Samples left over.
        rows: usize,
    },
    /// Preprocessing that does not go with the data or the model.
    #[error("{0}")]
    Preprocessing(String),
}

impl DataError {
    /// From what reading from a decompressor or the system gives.
    pub(super) fn reading(path: &str, source: std::io::Error) -> Self {
        match source.kind() {
            std::io::ErrorKind::InvalidData | std::io::ErrorKind::InvalidInput => {
                Self::Damaged { path: path.to_owned(), problem: source.to_string() }
            }
            std::io::ErrorKind::UnexpectedEof => Self::Damaged {
                path: path.to_owned(),
                problem: "its compressed data end early, it is truncated".to_owned(),
            },
            _ => Self::Io { action: "read", path: path.to_owned(), source },
        }
    }

    /// Whether the system refused, rather than that something is wrong with the data: a failing disk, no permission.
    #[must_use]
    pub fn is_system(&self) -> bool {
        matches!(self, Self::Io { action: "read", .. })
    }
}
