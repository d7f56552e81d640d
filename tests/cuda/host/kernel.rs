//! Nodes, their kernels, and runs of them.

use std::ffi::c_void;

use half::{bf16, f16};
use ort_sys::{OrtCustomOp, OrtStatusPtr};

use super::{Operator, Status, api};

/// The number that ONNX has for a type.
pub trait Type: Copy + 'static {
    const NUMBER: i32;
}

macro_rules! types {
    ($($type:ty = $number:literal),*) => { $(impl Type for $type { const NUMBER: i32 = $number; })* };
}
types!(f32 = 1, i32 = 6, i64 = 7, f16 = 10, f64 = 11, bf16 = 16);

/// A tensor: where its elements are is the test's business.
#[derive(Clone, Debug)]
pub struct Tensor {
    pub data_type: i32,
    pub shape: Vec<i64>,
    pub data: *mut c_void,
}

impl Tensor {
    pub fn new<T: Type>(shape: &[usize], address: u64) -> Tensor {
        let shape = shape.iter().map(|&d| d as i64).collect();
        Tensor { data_type: T::NUMBER, shape, data: address as *mut c_void }
    }
}

/// The value of an attribute.
#[derive(Clone, Debug)]
pub enum Attribute {
    Float(f32),
    Int(i64),
    Text(&'static str),
}

/// A node as its kernel sees it while it is made.
pub struct Node {
    pub name: &'static str,
    pub attributes: Vec<(&'static str, Attribute)>,
}

/// One run of a kernel.
pub(super) struct Run {
    pub inputs: Vec<Option<Tensor>>,
    pub outputs: Vec<Option<Tensor>>,
    pub stream: *mut c_void,
}

/// A kernel of the plugin; may run on several threads at once, as in ONNX Runtime.
pub struct Kernel {
    op: *const OrtCustomOp,
    kernel: *mut c_void,
}

// SAFETY: the plugin's kernels are made to run on any thread.
unsafe impl Send for Kernel {}
// SAFETY: on several at once.
unsafe impl Sync for Kernel {}

impl Kernel {
    /// Makes the kernel of a node.
    pub fn new(operator: &Operator, node: &Node) -> Result<Kernel, Status> {
        let mut kernel = std::ptr::null_mut();
        // SAFETY: the operator is the plugin's; the node outlives the call.
        unsafe {
            let create = (*operator.op).CreateKernelV2.expect("a kernel");
            let info = std::ptr::from_ref(node).cast();
            check(create(operator.op, api::table(), info, &mut kernel))?;
        }
        Ok(Kernel { op: operator.op, kernel })
    }

    /// Runs it on a stream. Outputs have the shape that the test expects; the plugin asking for another fails the run.
    pub fn run(
        &self,
        inputs: Vec<Option<Tensor>>,
        outputs: Vec<Option<Tensor>>,
        stream: *mut c_void,
    ) -> Result<(), Status> {
        let mut run = Run { inputs, outputs, stream };
        // SAFETY: the kernel is the plugin's; the run outlives the call.
        unsafe {
            let compute = (*self.op).KernelComputeV2.expect("a function");
            check(compute(self.kernel, (&raw mut run).cast()))
        }
    }
}

impl Drop for Kernel {
    fn drop(&mut self) {
        // SAFETY: the kernel is the plugin's and not used again.
        unsafe { (*self.op).KernelDestroy.expect("a function")(self.kernel) };
    }
}

/// Takes over what the plugin gave back.
pub(super) fn check(status: OrtStatusPtr) -> Result<(), Status> {
    // SAFETY: not null: a status of this host.
    if status.0.is_null() { Ok(()) } else { Err(unsafe { api::take(status.0) }) }
}
