//! A model as gradients need it: one flat graph.

use crate::model::Document;
use crate::rewrite::RewriteError;
use crate::rewrite::patch::default_opset;
use crate::rewrite::write_out::Library;

use super::branches::write_out_branches;

/// Functions of the model are written out, and so is every If whose condition is known: its branch stays.
///
/// # Errors
/// A function or branch that cannot be written out, a model without the default domain.
pub(crate) fn prepare(document: &Document) -> Result<Document, RewriteError> {
    let opset = default_opset(document)?;
    let library = Library::of(document);
    let mut flat = document.clone();
    library.write_out(&mut flat)?;
    library.remove_from(&mut flat)?;
    write_out_branches(&mut flat, opset)?;
    Ok(flat)
}
