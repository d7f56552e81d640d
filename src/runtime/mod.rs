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
//!
//! # Operators of training
//! For float32 on the CPU, so that a training step does not wait for memory; the steps that elonnx makes carry bodies of
//! standard operators for them. Images are \[N, C, H, W\].
//!
//! | operator of `ai.elonnx` | inputs | outputs | attributes |
//! | --- | --- | --- | --- |
//! | `AdamW` | parameter, gradient, exp_avg, exp_avg_sq, learning_rate, step int64, scale | parameter, exp_avg, exp_avg_sq | beta1, beta2, epsilon, weight_decay |
//! | `Conv` | x, w, b | y | strides, pads, dilations, group |
//! | `ConvGradInput` | dy, w, x | dx | the same |
//! | `ConvGradWeight` | dy, x, w | dw, db | the same |
//! | `MaxPool` | x | y | kernel_shape, strides, pads, dilations, ceil_mode |
//! | `MaxPoolGrad` | dy, x | dx | the same |
//! | `BatchNormalizationGrad` | dy, x, scale | dx, dscale, dB | epsilon |
//! | `BatchNormalizationRelu`, `BatchNormalizationReluMaxPool` | x, scale, B, input_mean, input_var | y, running_mean, running_var, mean, var | epsilon, momentum, those of the pool |
//! | `BatchNormalizationReluGrad`, `BatchNormalizationReluMaxPoolGrad` | dy, x, scale, B, mean, var | dx, dscale, dB | the same |
//!
//! # On NVIDIA GPUs (feature `cuda`)
//! The losses are registered for `CUDAExecutionProvider` as well; hosts without it don't mind, and the driver is not
//! touched before a CUDA kernel runs. Inputs lie on the device, single numbers too: nothing waits for the device, and a
//! session can be captured into a CUDA graph after its first run. What differs from the CPU:
//!
//! * A label outside \[0, C) that is not `ignore_index` is no error: loss, margin and gradient of its row are NaN, and so
//!   is a mean or sum over it.
//! * A `bonus_weight` input that is negative, infinite or NaN is no error: loss and gradient of all rows that count are NaN.
//! * From ONNX Runtime 1.24 on, `dlogits` takes the memory of `logits` where nothing needs the logits afterwards.
//!   (Hosts from 1.18 on are offered it, but before 1.24 they don't know the shapes beforehand.)
//!
//! The kernels need a GPU of compute capability 8.0 or newer and driver R525 (CUDA 12.0) or newer. `elonnx doctor` says
//! whether they load. The plugin needs no other library of NVIDIA's, so one file serves ONNX Runtimes built for CUDA 11.8,
//! 12 and 13.

mod abi;
mod attributes;
#[cfg(feature = "cuda")]
mod cuda;
mod custom_op;
#[cfg(feature = "edge")]
mod environment;
#[cfg(feature = "cuda")]
mod in_place;
mod inputs;
mod kernel;
pub mod library;
mod ops;
mod plugin;
mod session;
mod shapes;
mod training;

#[cfg(feature = "edge")]
pub(crate) use environment::environment;
pub use plugin::RegisterCustomOps;
pub use session::WithElonnx;
