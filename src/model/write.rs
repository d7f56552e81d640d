//! Atomic replacement of files.
