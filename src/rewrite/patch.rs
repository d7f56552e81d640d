//! `patch`: swaps every loss found, or puts one on a model without.
use crate::model::Document;
use super::{PatchOptions, Report, RewriteError};

/// The rewritten model and what was done.
#[derive(Clone, Debug)]
pub struct Patched {
    /// The new model; equal to the input where nothing was to be done.
    pub document: Document,
    /// What was done.
    pub report: Report,
}

/// Swaps the losses of `document` for the encouraging loss.
pub fn patch(document: &Document, options: &PatchOptions) -> Result<Patched, RewriteError> { todo!() }
