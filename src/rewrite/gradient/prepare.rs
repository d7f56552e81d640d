//! A model as gradients need it: one flat graph.

use crate::model::Document;
use crate::rewrite::RewriteError;
use crate::rewrite::patch::default_opset;
use crate::rewrite::raise::raise;
use crate::rewrite::write_out::Library;

use super::branches::write_out_branches;

/// Version of the standard operators that older models are raised to: the oldest that gradients are written in.
const MIN_OPSET: i64 = 13;

/// Functions of the model are written out, and so is every If whose condition is known: its branch stays. Models in older
/// operators are raised.
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
    raise(&flat, MIN_OPSET)
}
