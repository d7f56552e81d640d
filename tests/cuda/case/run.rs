//! A case through the plugin's kernels.

use std::ffi::c_void;

use elonnx::loss::Bonus;
use half::{bf16, f16};

use super::Case;
use crate::device::{Buffer, Device, Element};
use crate::host::{Attribute, Host, Kernel, Node, Status, Tensor};

/// A type of logits: what it rounds to.
pub trait Precision: Element + elonnx::loss::Element {
    /// Bits of the mantissa, the hidden one included.
    const PRECISION: i32;
    /// Exponent of the smallest normal number.
    const LOWEST: i32;
    const MAX: f64;
    const NAME: &'static str;

    fn half_ulp(x: f64) -> f64 {
        let exponent = if x == 0.0 { Self::LOWEST } else { (x.abs().log2().floor() as i32).max(Self::LOWEST) };
        2f64.powi(exponent - Self::PRECISION)
    }
}

macro_rules! precision {
    ($($t:ident: $precision:expr, $lowest:expr, $max:expr;)*) => {$(
        impl Precision for $t {
            const PRECISION: i32 = $precision;
            const LOWEST: i32 = $lowest;
            const MAX: f64 = $max;
            const NAME: &'static str = stringify!($t);
        }
    )*};
}
precision! {
    f16: 11, -14, 65504.0;
    bf16: 8, -126, 3.3895e38;
    f32: 24, -126, f32::MAX as f64;
    f64: 53, -1022, f64::MAX;
}

/// The execution provider that a host asks CUDA kernels by.
pub const CUDA: Option<&str> = Some("CUDAExecutionProvider");

/// The node of a case, every attribute written.
pub fn node(case: &Case) -> Node {
    let loss = &case.loss;
    let bonus = match loss.bonus() {
        Bonus::Log => "log",
        Bonus::Power => "power",
        Bonus::Cosine => "cosine",
    };
    let mut attributes = vec![
        ("log_end", Attribute::Float(loss.log_end())),
        ("bonus", Attribute::Text(bonus)),
        ("power", Attribute::Float(loss.power())),
        ("bonus_weight", Attribute::Float(loss.bonus_weight())),
        ("label_smoothing", Attribute::Float(loss.label_smoothing())),
        ("reduction", Attribute::Text(loss.reduction().as_str())),
    ];
    attributes.extend(loss.ignore_index().map(|index| ("ignore_index", Attribute::Int(index))));
    Node { name: "the_loss", attributes }
}

/// What the operators gave, whichever of it the operator has.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome<T> {
    pub loss: Vec<T>,
    pub margin: Vec<f32>,
    pub dlogits: Vec<T>,
    /// all of it as bits, to compare runs by
    pub bits: Vec<u64>,
}

/// What `EncouragingLossAndGrad` writes.
pub struct Buffers<'d, T> {
    loss: Buffer<'d, T>,
    margin: Option<Buffer<'d, f32>>,
    dlogits: Buffer<'d, T>,
}

impl<T: Precision> Buffers<'_, T> {
    /// What is in them, once the device's stream is done.
    pub fn outcome(&self) -> Outcome<T> {
        outcome(Some(&self.loss), self.margin.as_ref(), Some(&self.dlogits))
    }

    /// As if nothing had been written.
    pub fn forget(&self) {
        self.loss.forget();
        self.dlogits.forget();
        self.margin.iter().for_each(Buffer::forget);
    }
}

/// A case on a device: inputs uploaded once, kernels of the three operators.
pub struct Run<'d, T, L> {
    pub case: Case,
    device: &'d Device,
    logits: Buffer<'d, T>,
    labels: Buffer<'d, L>,
    class_weights: Option<Buffer<'d, T>>,
    bonus_weight: Option<Buffer<'d, f32>>,
    dloss: Buffer<'d, T>,
    kernels: [Kernel; 3],
    pub stream: *mut c_void,
}

// SAFETY: the stream is a handle of the driver's, which any thread may use; nothing else is not `Sync`.
unsafe impl<T: Sync, L: Sync> Sync for Run<'_, T, L> {}

impl<'d, T: Precision, L: Element + TryFrom<i64>> Run<'d, T, L> {
    /// Makes the kernels and uploads; `case` is rounded.
    pub fn new(device: &'d Device, case: &Case) -> Run<'d, T, L> {
        let case = case.rounded::<T>();
        let narrow = |values: &[f64]| values.iter().map(|&x| T::from_f64(x)).collect::<Vec<T>>();
        let label = |&label: &i64| L::try_from(label).unwrap_or_else(|_| panic!("label {label} does not fit"));
        let labels: Vec<L> = case.labels.iter().map(label).collect();
        let kernels = [
            ("EncouragingLoss", &[T::NUMBER, L::NUMBER][..]),
            ("EncouragingLossGrad", &[T::NUMBER, T::NUMBER, L::NUMBER]),
            ("EncouragingLossAndGrad", &[T::NUMBER, L::NUMBER]),
        ];
        Run {
            device,
            logits: Buffer::with(device, case.offsets[0], &narrow(&case.logits)),
            labels: Buffer::with(device, 0, &labels),
            class_weights: case.class_weights.as_deref().map(|weights| Buffer::with(device, 0, &narrow(weights))),
            bonus_weight: case.bonus_weight.map(|rho| Buffer::with(device, 0, &[rho])),
            dloss: Buffer::with(device, 0, &narrow(&case.dloss)),
            kernels: kernels.map(|(name, types)| {
                Kernel::new(Host::newest().find(CUDA, name, types), &node(&case)).expect("the kernel is made")
            }),
            stream: device.stream(),
            case,
        }
    }

    /// Of the loss; the gradient has dloss before and margins after them.
    pub fn inputs(&self) -> Vec<Option<Tensor>> {
        vec![
            Some(self.logits.tensor(&self.case.shape)),
            Some(self.labels.tensor(&self.case.labels_shape())),
            self.class_weights.as_ref().map(|weights| weights.tensor(&[self.case.classes()])),
            self.bonus_weight.as_ref().map(|rho| rho.tensor(&[])),
        ]
    }

    fn dlogits(&self) -> Buffer<'d, T> {
        Buffer::unwritten(self.device, self.case.offsets[1], self.case.logits.len())
    }

    fn losses(&self) -> (Buffer<'d, T>, Buffer<'d, f32>) {
        let losses = self.case.loss_shape().iter().product();
        (Buffer::unwritten(self.device, 0, losses), Buffer::unwritten(self.device, 0, self.case.rows()))
    }

    /// `EncouragingLoss`, with or without its margin output.
    pub fn forward(&self, with_margin: bool) -> Result<Outcome<T>, Status> {
        let (loss, margin) = self.losses();
        let margin_tensor = with_margin.then(|| margin.tensor(&self.case.labels_shape()));
        let outputs = vec![Some(loss.tensor(&self.case.loss_shape())), margin_tensor];
        self.kernels[0].run(self.inputs(), outputs, self.stream)?;
        Ok(outcome(Some(&loss), with_margin.then_some(&margin), None))
    }

    /// `EncouragingLossAndGrad`, with or without its margin output.
    pub fn fused(&self, with_margin: bool) -> Result<Outcome<T>, Status> {
        let buffers = self.buffers();
        let buffers = Buffers { margin: buffers.margin.filter(|_| with_margin), ..buffers };
        self.fused_on(&buffers)?;
        Ok(buffers.outcome())
    }

    /// The same, with dlogits in the place of the logits, which are gone afterwards.
    pub fn fused_in_place(self) -> Result<Outcome<T>, Status> {
        let (loss, margin) = self.losses();
        self.fused_into(&loss, Some(&margin), &self.logits)?;
        Ok(outcome(Some(&loss), Some(&margin), Some(&self.logits)))
    }

    /// Outputs of `EncouragingLossAndGrad` that are not written yet.
    pub fn buffers(&self) -> Buffers<'d, T> {
        let (loss, margin) = self.losses();
        Buffers { loss, margin: Some(margin), dlogits: self.dlogits() }
    }

    /// `EncouragingLossAndGrad` into these; does not wait for it.
    pub fn fused_on(&self, buffers: &Buffers<'d, T>) -> Result<(), Status> {
        self.fused_into(&buffers.loss, buffers.margin.as_ref(), &buffers.dlogits)
    }

    /// The same with other inputs.
    pub fn fused_of(&self, inputs: Vec<Option<Tensor>>, buffers: &Buffers<'d, T>) -> Result<(), Status> {
        let outputs = self.fused_outputs(&buffers.loss, buffers.margin.as_ref(), &buffers.dlogits);
        self.kernels[2].run(inputs, outputs, self.stream)
    }

    fn fused_into(
        &self,
        loss: &Buffer<'d, T>,
        margin: Option<&Buffer<'d, f32>>,
        dlogits: &Buffer<'d, T>,
    ) -> Result<(), Status> {
        self.kernels[2].run(self.inputs(), self.fused_outputs(loss, margin, dlogits), self.stream)
    }

    fn fused_outputs(
        &self,
        loss: &Buffer<'d, T>,
        margin: Option<&Buffer<'d, f32>>,
        dlogits: &Buffer<'d, T>,
    ) -> Vec<Option<Tensor>> {
        vec![
            Some(loss.tensor(&self.case.loss_shape())),
            margin.map(|margin| margin.tensor(&self.case.labels_shape())),
            Some(dlogits.tensor(&self.case.shape)),
        ]
    }

    /// `EncouragingLossGrad`, with or without the margins of a forward pass.
    pub fn gradient(&self, margins: Option<&[f32]>) -> Result<Outcome<T>, Status> {
        let dlogits = self.dlogits();
        self.gradient_into(margins, dlogits.tensor(&self.case.shape))?;
        Ok(outcome(None, None, Some(&dlogits)))
    }

    /// The same, with dlogits in the place of the logits, which are gone afterwards.
    pub fn gradient_in_place(self, margins: Option<&[f32]>) -> Result<Outcome<T>, Status> {
        self.gradient_into(margins, self.logits.tensor(&self.case.shape))?;
        Ok(outcome(None, None, Some(&self.logits)))
    }

    fn gradient_into(&self, margins: Option<&[f32]>, dlogits: Tensor) -> Result<(), Status> {
        let margins = margins.map(|margins| Buffer::with(self.device, 0, margins));
        let dloss_shape = if self.case.dloss.len() == 1 { vec![] } else { self.case.labels_shape() };
        let mut inputs = vec![Some(self.dloss.tensor(&dloss_shape))];
        inputs.extend(self.inputs());
        inputs.push(margins.as_ref().map(|margins| margins.tensor(&self.case.labels_shape())));
        self.kernels[1].run(inputs, vec![Some(dlogits)], self.stream)?;
        // the margins are read until the stream is done
        self.device.synchronize();
        Ok(())
    }
}

fn outcome<T: Precision>(
    loss: Option<&Buffer<'_, T>>,
    margin: Option<&Buffer<'_, f32>>,
    dlogits: Option<&Buffer<'_, T>>,
) -> Outcome<T> {
    let mut bits = loss.map_or_else(Vec::new, Buffer::bits);
    bits.extend(margin.map_or_else(Vec::new, Buffer::bits));
    bits.extend(dlogits.map_or_else(Vec::new, Buffer::bits));
    Outcome {
        loss: loss.map_or_else(Vec::new, Buffer::read),
        margin: margin.map_or_else(Vec::new, Buffer::read),
        dlogits: dlogits.map_or_else(Vec::new, Buffer::read),
        bits,
    }
}
