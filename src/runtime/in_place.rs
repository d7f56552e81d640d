//! Gradients in the memory of the logits: half the memory of a training step's largest tensors.
//!
//! ONNX Runtime decides: it reuses the buffer where nobody needs the logits afterwards. Only the CUDA kernels offer it;
//! those of the CPU work on Rust slices, which must not overlap.

use std::ffi::c_int;

use super::custom_op::{CustomOp, LAYOUT_18};
use super::ops::Operator;

/// logits, dlogits of `EncouragingLossGrad`
static GRADIENT: (c_int, c_int) = (1, 0);
/// logits, dlogits of `EncouragingLossAndGrad`
static LOSS_AND_GRADIENT: (c_int, c_int) = (0, 2);

/// `op` with dlogits offered in the memory of logits, where the operator has both; for hosts from 1.18 on.
pub(crate) fn offered(operator: Operator, op: CustomOp) -> CustomOp {
    let get: unsafe extern "system" fn(*mut *mut c_int, *mut *mut c_int) -> usize = match operator {
        Operator::Loss => return op,
        Operator::Gradient => get_for_gradient,
        Operator::LossAndGradient => get_for_loss_and_gradient,
    };
    CustomOp { version: LAYOUT_18, GetMayInplace: Some(get), ReleaseMayInplace: Some(release), ..op }
}

unsafe extern "system" fn get_for_gradient(inputs: *mut *mut c_int, outputs: *mut *mut c_int) -> usize {
    // SAFETY: the host's, as passed.
    unsafe { hand_out(&GRADIENT, inputs, outputs) }
}

unsafe extern "system" fn get_for_loss_and_gradient(inputs: *mut *mut c_int, outputs: *mut *mut c_int) -> usize {
    // SAFETY: the host's, as passed.
    unsafe { hand_out(&LOSS_AND_GRADIENT, inputs, outputs) }
}

/// Gives one pair, as two arrays of one number.
///
/// # Safety
/// `inputs` and `outputs` must be where the host wants the arrays, which it only reads.
unsafe fn hand_out(pair: &'static (c_int, c_int), inputs: *mut *mut c_int, outputs: *mut *mut c_int) -> usize {
    // SAFETY: the caller's.
    unsafe {
        *inputs = (&raw const pair.0).cast_mut();
        *outputs = (&raw const pair.1).cast_mut();
    }
    1
}

/// The arrays are static.
unsafe extern "system" fn release(_: *mut c_int, _: *mut c_int) {}

#[cfg(test)]
mod tests {
    use std::ptr::null_mut;

    use super::*;
    use crate::runtime::custom_op::LAYOUT_17;

    fn pair(operator: Operator) -> Option<(c_int, c_int)> {
        let op = offered(operator, CustomOp::empty(LAYOUT_17));
        assert_eq!(op.version, if op.GetMayInplace.is_some() { LAYOUT_18 } else { LAYOUT_17 });
        let (mut inputs, mut outputs) = (null_mut(), null_mut());
        // SAFETY: both take a pointer each; the arrays hold the number of entries that comes back.
        unsafe {
            assert_eq!(op.GetMayInplace?(&mut inputs, &mut outputs), 1);
            let pair = (*inputs, *outputs);
            op.ReleaseMayInplace?(inputs, outputs);
            Some(pair)
        }
    }

    #[test]
    fn dlogits_may_take_the_memory_of_logits() {
        assert_eq!(pair(Operator::Loss), None, "it has no dlogits");
        assert_eq!(pair(Operator::Gradient), Some((1, 0)));
        assert_eq!(pair(Operator::LossAndGradient), Some((0, 2)));
    }
}
