//! External data: where it is, and keeping its locations valid.
use std::path::PathBuf;

/// What happens to external data when a model is written to another folder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ExternalData {
    /// Hard link beside the new model where the file system can, else copy. No tensor is read to link.
    #[default]
    Link,
    /// Always copy.
    Copy,
}

/// One tensor's `external_data`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExternalReference {
    /// Tensor name.
    pub tensor: String,
    /// `location`, relative to the model's folder.
    pub location: PathBuf,
    /// `offset` in bytes.
    pub offset: u64,
    /// `length` in bytes, where given.
    pub length: Option<u64>,
}
