//! The plain f64 oracle.
