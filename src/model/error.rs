//! What can be wrong with an ONNX file.

use std::path::PathBuf;

/// A place in an encoded model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    /// The file, or `<memory>`.
    pub file: String,
    /// Byte position in the file (in the encoded graph, for a graph that an attribute holds).
    pub offset: usize,
    /// The message the position lies in, e.g. `graph.node[17]`.
    pub place: String,
}

impl std::fmt::Display for Location {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: byte {}, in {}", self.file, self.offset, self.place)
    }
}

/// Why a file could not be read, edited or written; every variant names the place.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// The operating system refused.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried, a verb: "read", "write", "replace".
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A folder, a pipe or a device where a file is expected.
    #[error("{} is {what}; give the .onnx file itself", path.display())]
    NotAFile {
        /// What was given.
        path: PathBuf,
        /// What it is: "a folder" or "not a regular file".
        what: &'static str,
    },
    /// A file without any byte.
    #[error("{file} is empty; an ONNX model has at least a graph")]
    Empty {
        /// The file, or `<memory>`.
        file: String,
    },
    /// Another format, recognised by its first bytes.
    #[error("{file} is not an ONNX model: it looks like {format}")]
    OtherFormat {
        /// The file, or `<memory>`.
        file: String,
        /// What it looks like and what to do, a clause.
        format: &'static str,
    },
    /// The bytes end inside a varint.
    #[error("{at}: the file ends inside a number; it is truncated or damaged")]
    TruncatedVarint {
        /// Where the varint starts.
        at: Location,
    },
    /// A varint with more than 64 bits.
    #[error("{at}: a number has more than 64 bits; this is not an ONNX model, or it is damaged")]
    OversizedVarint {
        /// Where the varint starts.
        at: Location,
    },
    /// A fixed-width number or a length-delimited field runs past the end of the message that holds it.
    #[error("{at}: a field claims {claimed} bytes where {left} are left; the file is truncated or damaged")]
    PastEnd {
        /// Where the field starts.
        at: Location,
        /// Bytes the field should have.
        claimed: u64,
        /// Bytes that are there.
        left: usize,
    },
    /// Field number 0, or one beyond protobuf's 2^29 − 1.
    #[error("{at}: field number {number} does not exist in protobuf; this is not an ONNX model, or it is damaged")]
    FieldNumber {
        /// Where the field starts.
        at: Location,
        /// The number found.
        number: u64,
    },
    /// Wire types 3 and 4.
    #[error("{at}: field {number} is a protobuf group, which ONNX does not have; the file is damaged or hostile")]
    Group {
        /// Where the field starts.
        at: Location,
        /// The field's number.
        number: u32,
    },
    /// Wire types 6 and 7.
    #[error("{at}: field {number} has wire type {wire_type}, which does not exist; the file is damaged")]
    WireType {
        /// Where the field starts.
        at: Location,
        /// The field's number.
        number: u32,
        /// 6 or 7.
        wire_type: u8,
    },
    /// A known field with the wire type of another kind of value.
    #[error("{at}: {field} should be {expected} but is {found}; this is not an ONNX model, or it is damaged")]
    FieldType {
        /// Where the field starts.
        at: Location,
        /// The field's name.
        field: &'static str,
        /// What onnx.proto says.
        expected: &'static str,
        /// What the file has.
        found: &'static str,
    },
    /// A string that is not UTF-8.
    #[error("{at}: {field} is not valid UTF-8; rename it in the tool that wrote the model")]
    Utf8 {
        /// Where the field starts.
        at: Location,
        /// The field's name.
        field: &'static str,
    },
    /// A message that may occur once occurs again (protobuf would merge both; parsers differ).
    #[error("{at}: {field} occurs twice; parsers disagree on what that means, so it is refused")]
    Duplicate {
        /// Where the second one starts.
        at: Location,
        /// The field's name.
        field: &'static str,
    },
    /// Graphs nested in graphs beyond [`super::MAX_GRAPH_DEPTH`].
    #[error("{at}: graphs are nested more than {limit} deep; no exporter does that")]
    TooDeep {
        /// Where the graph starts.
        at: Location,
        /// The limit.
        limit: usize,
    },
    /// So many tiny fields that decoding them would need far more memory than the file has bytes.
    #[error(
        "{at}: decoding the nodes and names up to here would need more than {limit} bytes of memory for a file of \
         {length}; the file is damaged or hostile"
    )]
    TooManyFields {
        /// The field at which the limit was reached.
        at: Location,
        /// The limit in bytes, see [`super::decoded_limit`].
        limit: u64,
        /// Length of the file in bytes.
        length: usize,
    },
    /// A message that the protobuf decoder refuses for another reason.
    #[error("{at}: {reason}")]
    Undecodable {
        /// Where the message starts.
        at: Location,
        /// The decoder's reason.
        reason: String,
    },
    /// A model without a graph.
    #[error("{file}: no graph in it; it is not an ONNX model, or only the beginning of one")]
    NoGraph {
        /// The file, or `<memory>`.
        file: String,
    },
    /// `external_data` that cannot be followed.
    #[error("tensor '{tensor}': {reason}")]
    ExternalData {
        /// The tensor's name.
        tensor: String,
        /// What is wrong, a clause.
        reason: String,
    },
    /// A `location` that is absolute or leads out of the model's folder.
    #[error(
        "tensor '{tensor}': its data is said to be at '{location}', {reason}; external data must lie in the model's \
         folder or below"
    )]
    ExternalEscape {
        /// The tensor's name.
        tensor: String,
        /// The location as written.
        location: String,
        /// How it leads out, a clause.
        reason: &'static str,
    },
    /// A data file that is a symbolic link out of the model's folder, in a model that is written to another folder.
    #[error(
        "tensor '{tensor}': its data file {} is a symbolic link out of the model's folder, to {}, which is not \
         followed into another folder; write the new model beside the old one (-o in the same folder), or put the file itself in \
         the link's place first",
        path.display(), target.display()
    )]
    ExternalLink {
        /// The tensor's name.
        tensor: String,
        /// The link.
        path: PathBuf,
        /// Where it leads.
        target: PathBuf,
    },
    /// The data file is not there.
    #[error("tensor '{tensor}': its data file {} does not exist; copy it beside the model", path.display())]
    ExternalMissing {
        /// The tensor's name.
        tensor: String,
        /// Where it was looked for.
        path: PathBuf,
    },
    /// Writing would replace or collide with a data file.
    #[error("{} {reason}; write the model to another folder, or remove that file first", path.display())]
    ExternalConflict {
        /// The file in the way.
        path: PathBuf,
        /// Why it is in the way, a clause.
        reason: &'static str,
    },
    /// A model that no protobuf parser could read back.
    #[error(
        "{} would have {length} bytes; protobuf ends at 2 GiB, so no runtime could read it. Store the weights as \
         external data first (onnx.save_model(..., save_as_external_data=True))",
        path.display()
    )]
    TooLarge {
        /// The file to be written.
        path: PathBuf,
        /// Encoded length in bytes.
        length: usize,
    },
    /// A tensor whose data does not fit its type and shape, or is of a type that has no numbers.
    #[error("tensor '{tensor}': {reason}")]
    TensorData {
        /// The tensor's name.
        tensor: String,
        /// What is wrong, a clause.
        reason: String,
    },
}

impl ModelError {
    pub(super) fn io(action: &'static str, path: impl Into<PathBuf>, source: std::io::Error) -> Self {
        Self::Io { action, path: path.into(), source }
    }

    pub(super) fn no_initializer(name: &str) -> Self {
        Self::TensorData { tensor: name.to_owned(), reason: "there is no such initializer".to_owned() }
    }
}
