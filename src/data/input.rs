//! What a model wants to be fed.

use crate::model::DataType;

/// One input of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputSpec {
    /// Its name.
    pub name: String,
    /// Its element type.
    pub data_type: DataType,
    /// Sizes of the axes, the batch first; `None` where any size will do. The first axis counts samples: where the file
    /// fixes it (to 1, mostly) the scorer makes it free, so it is `None` here unless that failed.
    pub dims: Vec<Option<usize>>,
}
