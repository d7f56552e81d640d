//! Pages and pictures of an evaluation.
