//! ONNX Runtime: the ops on its C tables, the plugin, `ort` sessions.

pub mod library;
