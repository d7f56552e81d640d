//! Pages and pictures of an evaluation.
//!
//! A page is one HTML file with its pictures inside: nothing is fetched, there is no script, and it follows the reader's
//! choice of light or dark. A picture holds the main panels on white, as SVG or PNG. The same evaluation gives the same
//! bytes.

mod chart;
mod colours;
mod curves;
mod error;
mod facts;
mod format;
mod histogram;
mod numbers;
mod page;
mod panels;
mod picture;
mod raster;
mod reliability;
mod roc;
mod scale;
mod svg;
mod table;
mod text;

pub use curves::{Curve, curves_picture};
pub use error::ReportError;
pub use facts::ModelFacts;
pub use format::Format;

use std::io::Write as _;
use std::path::Path;

use crate::edge::evaluate::{Evaluation, ScoredSet};

/// Everything a report tells.
#[derive(Clone, Debug)]
pub struct Report<'a> {
    /// What was evaluated.
    pub model: &'a ModelFacts,
    /// The numbers.
    pub evaluation: &'a Evaluation,
    /// The samples that count as in-distribution.
    pub in_distribution: &'a ScoredSet,
    /// The others, in the order of the evaluation.
    pub out_of_distribution: &'a [ScoredSet],
    /// Whether ROC curves have a logarithmic axis of false positive rates, which shows more of very good scores.
    pub log_roc: bool,
}

impl Report<'_> {
    /// The report as the bytes of a file.
    ///
    /// # Errors
    /// A picture that cannot be rasterised.
    pub fn render(&self, format: Format) -> Result<Vec<u8>, ReportError> {
        match format {
            Format::Html => Ok(page::page(self).into_bytes()),
            Format::Svg => Ok(picture::picture(self).into_bytes()),
            Format::Png => raster::png(&picture::picture(self)),
        }
    }

    /// Writes the report in the format that the extension of `path` names. The file is whole or not there.
    ///
    /// # Errors
    /// An unknown extension, a picture that cannot be rasterised, a file that cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), ReportError> {
        let bytes = self.render(Format::of(path)?)?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let write = || {
            let mut builder = tempfile::Builder::new();
            builder.prefix(".elonnx-report-");
            #[cfg(unix)]
            {
                use std::os::unix::fs::PermissionsExt as _;
                // less the umask, as for any new file
                builder.permissions(std::fs::Permissions::from_mode(0o666));
            }
            let mut file = builder.tempfile_in(folder)?;
            file.write_all(&bytes)?;
            file.persist(path)?;
            Ok(())
        };
        write().map_err(|source: std::io::Error| ReportError::Write { path: path.to_owned(), source })
    }
}

#[cfg(test)]
mod tests;
