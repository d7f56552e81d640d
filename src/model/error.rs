//! What can be wrong with an ONNX file.

use std::path::PathBuf;

/// Why a file could not be read, edited or written; every variant names the place.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// The operating system refused.
    #[error("{action} {}: {source}", path.display())]
    Io {
        /// What was tried, a verb: "read", "write", "replace".
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The bytes are not an ONNX model.
    #[error("{path}: {what} (at byte {offset} of the file, in {place})")]
    Malformed {
        /// The file, or "<memory>".
        path: String,
        /// What is wrong, a clause.
        what: String,
        /// Byte position in the file.
        offset: usize,
        /// The message the position lies in, e.g. "graph.node[17]".
        place: String,
    },
}
