//! The kinds of file.

use std::path::Path;

use super::ReportError;

/// What a report is written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A page.
    Html,
    /// A picture of the main panels.
    Svg,
    /// The same picture in pixels.
    Png,
}

impl Format {
    /// The format that a file name asks for.
    ///
    /// # Errors
    /// An extension other than `html`, `htm`, `svg` and `png`, or none.
    pub fn of(path: &Path) -> Result<Self, ReportError> {
        let extension = path.extension().map(|extension| extension.to_string_lossy().to_ascii_lowercase());
        match extension.as_deref() {
            Some("html" | "htm") => Ok(Format::Html),
            Some("svg") => Ok(Format::Svg),
            Some("png") => Ok(Format::Png),
            _ => Err(ReportError::UnknownFormat { path: path.to_owned() }),
        }
    }
}
