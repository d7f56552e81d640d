//! The operators, called as ONNX Runtime calls them: through the plugin, on a stream.

use std::ffi::c_void;

use elonnx::loss::EncouragingLoss;

use crate::buffers::{Buffers, Slot};
use crate::device::{Device, Memory, Outcome};
use crate::host::{Host, Kernel, Node, Status, Tensor, Type};

const PROVIDER: Option<&str> = Some("CUDAExecutionProvider");

/// What is computed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pass {
    /// Loss and margins.
    Forward,
    /// The gradient, from the margins.
    Backward,
    /// Loss, margins and gradient.
    Fused,
}

impl Pass {
    pub const ALL: [Pass; 3] = [Pass::Forward, Pass::Backward, Pass::Fused];

    pub fn name(self) -> &'static str {
        match self {
            Pass::Forward => "forward",
            Pass::Backward => "backward",
            Pass::Fused => "fused",
        }
    }

    fn operator(self) -> &'static str {
        match self {
            Pass::Forward => "EncouragingLoss",
            Pass::Backward => "EncouragingLossGrad",
            Pass::Fused => "EncouragingLossAndGrad",
        }
    }
}

/// The parameters that all passes have, those of a node without attributes.
pub fn loss() -> EncouragingLoss {
    EncouragingLoss::builder().build().expect("the defaults are in their ranges")
}

/// A kernel of the plugin for each pass.
pub struct Operators {
    kernels: [Kernel; 3],
    stream: *mut c_void,
}

impl Operators {
    /// # Errors
    /// What the plugin says where it cannot make its kernels.
    pub fn new<T: Type>(device: &Device) -> Outcome<Operators> {
        let node = Node { name: "benchmark", attributes: Vec::new() };
        let kernel = |pass: Pass| {
            let types: &[i32] = match pass {
                Pass::Backward => &[T::NUMBER, T::NUMBER, i64::NUMBER],
                Pass::Forward | Pass::Fused => &[T::NUMBER, i64::NUMBER],
            };
            Kernel::new(Host::newest().find(PROVIDER, pass.operator(), types), &node).map_err(sentence)
        };
        let kernels = [kernel(Pass::Forward)?, kernel(Pass::Backward)?, kernel(Pass::Fused)?];
        Ok(Operators { kernels, stream: device.stream() })
    }

    /// One call on one slot.
    ///
    /// # Errors
    /// What the plugin says.
    pub fn run<T: Type>(&self, pass: Pass, buffers: &Buffers<T>, slot: &Slot) -> Outcome<()> {
        let (rows, classes) = (buffers.dims.rows, buffers.dims.classes);
        let logits = of::<T>(&[rows, classes], &slot.logits);
        let labels = of::<i64>(&[rows], &slot.labels);
        let loss = of::<T>(&[], &slot.loss);
        let margins = of::<f32>(&[rows], &slot.margins);
        let dlogits = of::<T>(&[rows, classes], &slot.dlogits);
        let (kernel, inputs, outputs) = match pass {
            Pass::Forward => (&self.kernels[0], vec![logits, labels], vec![loss, margins]),
            Pass::Backward => {
                let dloss = of::<T>(&[], &buffers.dloss);
                (&self.kernels[1], vec![dloss, logits, labels, None, None, margins], vec![dlogits])
            }
            Pass::Fused => (&self.kernels[2], vec![logits, labels], vec![loss, margins, dlogits]),
        };
        kernel.run(inputs, outputs, self.stream).map_err(sentence)
    }
}

fn of<T: Type>(shape: &[usize], memory: &Memory) -> Option<Tensor> {
    Some(Tensor::new::<T>(shape, memory.address))
}

fn sentence(status: Status) -> Box<dyn std::error::Error> {
    format!("the plugin: {}", status.message).into()
}
