//! Why there is no report.

use std::path::PathBuf;

/// Every variant says what, where and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReportError {
    /// A file name that does not say what to write.
    #[error("{path} is no name for a report: it is written as .html, .svg or .png", path = .path.display())]
    UnknownFormat {
        /// The name.
        path: PathBuf,
    },
    /// The picture could not be drawn.
    #[error("the picture could not be drawn as PNG: {reason}; .svg and .html need no drawing")]
    Raster {
        /// What the renderer says.
        reason: String,
    },
    /// The file could not be written.
    #[error("write {path}: {source}", path = .path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
}
