//! The operators on NVIDIA GPUs: kernels in PTX, put on ONNX Runtime's stream through the driver.
//!
//! A call of an operator goes through these, from the top down:
//!
//! * [`kernel`]: reads the tensors of a node and makes a [`problem::Problem`] of them;
//! * [`plan`]: which kernels compute it, on which grids;
//! * [`stream`]: puts them on the host's stream, in the stream's context;
//! * [`context`], [`module`], [`scratch`]: what is made once per context, element type and stream;
//! * [`driver`]: the functions of libcuda, if there is one.
//!
//! [`mod@survey`] tells `elonnx doctor` what is there.
//!
//! Nothing here waits for the device, so the operators can be captured into a CUDA graph, but not in the first run on a
//! stream, which loads modules and allocates. Registering the operators does not touch the driver: the plugin is the
//! same where there is none.

mod context;
#[cfg(test)]
mod contract;
mod driver;
mod element;
mod error;
mod kernel;
mod launch;
mod module;
mod plan;
mod problem;
mod scratch;
mod stream;
mod survey;

pub(crate) use kernel::for_types;
pub(crate) use survey::survey;
