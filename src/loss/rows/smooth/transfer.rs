//! Logits and class weights in the type computed in.

use super::super::isa::with_isa;
use super::super::simd::{Packed, Simd, Vector};

with_isa! {
    /// Loads `count` numbers, no fewer than the widest register has lanes.
    ///
    /// # Safety
    /// The instruction set is available; both pointers are good for `count` numbers.
    fn widen<T: Packed>(from: *const T, to: *mut T::Compute, count: usize) = widen_in;
}

#[inline(always)]
unsafe fn widen_in<S: Simd, T: Packed>(from: *const T, to: *mut T::Compute, count: usize) {
    let lanes = T::Vector::<S>::LANES;
    // SAFETY: the caller's.
    unsafe {
        let mut at = 0;
        while at + lanes <= count {
            T::load::<S>(from.add(at)).store(to.add(at));
            at += lanes;
        }
        if at < count {
            T::load::<S>(from.add(count - lanes)).store(to.add(count - lanes));
        }
    }
}
