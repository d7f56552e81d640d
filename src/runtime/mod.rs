//! ONNX Runtime: the ops on its C tables, the plugin, `ort` sessions.
//!
//! * [`RegisterCustomOps`]: the plugin's entry point, for `register_custom_ops_library` of any ONNX Runtime ≥ 1.17.
//! * [`WithElonnx`]: the same operators for a session of the `ort` crate, without a file.
//!
//! | operator of `ai.elonnx` | inputs | outputs |
//! | --- | --- | --- |
//! | `EncouragingLoss` | logits T \[N,C,d…\], labels Tind \[N,d…\], class_weights? T \[C\], bonus_weight? float \[\] | loss T, margin? float \[N,d…\] |
//! | `EncouragingLossGrad` | dloss T, then as above, margin? float \[N,d…\] | dlogits T \[N,C,d…\] |
//! | `EncouragingLossAndGrad` | as `EncouragingLoss` | loss T, margin? float \[N,d…\], dlogits T \[N,C,d…\] |
//!
//! T is float16, bfloat16, float or double, Tind int32 or int64. The loss has shape \[\] with reduction mean and sum,
//! \[N,d…\] with none; dloss has the loss's shape, or is one number for all rows. Wrong attributes, shapes and labels come
//! back as ONNX Runtime's `INVALID_ARGUMENT` with a sentence; no panic crosses into the host.

mod abi;
mod attributes;
#[cfg(feature = "cuda")]
mod cuda;
mod custom_op;
#[cfg(feature = "cuda")]
mod in_place;
mod inputs;
mod kernel;
pub mod library;
mod ops;
mod plugin;
mod session;
mod shapes;

pub use plugin::RegisterCustomOps;
pub use session::WithElonnx;
