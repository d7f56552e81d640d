//! Gemm of any float type.
//!
//! tract 0.23.9 multiplies the bias by a float32 β, whatever the type, and then refuses its own result for float16 and
//! float64.

use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::{
    AxesMapping, Expansion, InferenceOp, InferenceResult, OutletId, Solver, SpecialOps as _, StaticName, TVec,
    TensorProxy, TractResult, TypedModel, bail, expand, tensor0, tvec,
};
use tract_onnx::tract_hir::ops::math;
use tract_onnx::tract_hir::tract_core::ops::change_axes::AxisOp;
use tract_onnx::tract_hir::tract_core::ops::einsum::EinSum;

/// α·A'·B' + β·C
#[derive(Clone, Debug)]
struct Gemm {
    alpha: f32,
    beta: f32,
    transposed: [bool; 2],
}

/// As tract's registry wants it.
pub(super) fn gemm(_: &ParsingContext, node: &NodeProto) -> TractResult<(Box<dyn InferenceOp>, Vec<String>)> {
    let number = |name: &str, default: f32| -> TractResult<f32> { Ok(node.get_attr_opt(name)?.unwrap_or(default)) };
    let flag = |name: &str| -> TractResult<bool> { Ok(node.get_attr_opt(name)?.unwrap_or(false)) };
    let transposed = [flag("transA")?, flag("transB")?];
    Ok((expand(Gemm { alpha: number("alpha", 1.0)?, beta: number("beta", 1.0)?, transposed }), Vec::new()))
}

impl Gemm {
    /// A factor of the value's type, where it is not 1.
    fn scaled(&self, model: &mut TypedModel, name: &str, factor: f32, value: OutletId) -> TractResult<OutletId> {
        if factor == 1.0 {
            return Ok(value);
        }
        let fact = model.outlet_fact(value)?;
        let factor = tensor0(factor).cast_to_dt(fact.datum_type)?.into_owned().broadcast_into_rank(fact.rank())?;
        let factor = model.add_const(format!("{name}.factor"), factor)?;
        Ok(model.wire_node(name, math::mul(), &[factor, value])?[0])
    }
}

impl Expansion for Gemm {
    fn name(&self) -> StaticName {
        "Gemm".into()
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        s: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        if !(2..=3).contains(&inputs.len()) || outputs.len() != 1 {
            bail!("Gemm has two or three inputs and one output, not {} and {}", inputs.len(), outputs.len());
        }
        for input in inputs {
            s.equals(&input.datum_type, &outputs[0].datum_type)?;
        }
        for matrix in [&inputs[0], &inputs[1], &outputs[0]] {
            s.equals(&matrix.rank, 2)?;
        }
        let [a, b] = self.transposed.map(usize::from);
        s.equals(&inputs[0].shape[a], &outputs[0].shape[0])?;
        s.equals(&inputs[0].shape[1 - a], &inputs[1].shape[b])?;
        s.equals(&inputs[1].shape[1 - b], &outputs[0].shape[1])
    }

    fn wire(&self, prefix: &str, model: &mut TypedModel, inputs: &[OutletId]) -> TractResult<TVec<OutletId>> {
        let [trans_a, trans_b] = self.transposed;
        let axes = AxesMapping::for_numpy_matmul(2, trans_a, trans_b, false)?;
        let data_type = model.outlet_fact(inputs[0])?.datum_type;
        let product = model.wire_node(format!("{prefix}.ab"), EinSum::new(axes, data_type), &inputs[..2])?[0];
        let product = self.scaled(model, &format!("{prefix}.alpha_ab"), self.alpha, product)?;
        let Some(&bias) = inputs.get(2).filter(|_| self.beta != 0.0) else {
            return Ok(tvec!(product));
        };
        let mut bias = self.scaled(model, &format!("{prefix}.beta_c"), self.beta, bias)?;
        while model.outlet_fact(bias)?.rank() < 2 {
            let name = format!("{prefix}.c_axis_{}", model.outlet_fact(bias)?.rank());
            bias = model.wire_node(name, AxisOp::Add(0), &[bias])?[0];
        }
        model.wire_node(prefix, math::add(), &[product, bias])
    }
}
