//! Plain Rust, for targets that have none of the other instruction sets: arrays that the compiler puts into whatever
//! registers there are.

use half::{bf16, f16};

use super::super::super::element::Real;
use super::{Exponential, Simd, Vector};

#[derive(Clone, Copy)]
pub struct Portable;

/// `N` numbers.
#[derive(Clone, Copy)]
pub struct Lanes<R, const N: usize>([R; N]);

impl<R: Real + Exponential, const N: usize> Lanes<R, N> {
    #[inline(always)]
    fn zip(self, other: Self, f: impl Fn(R, R) -> R) -> Self {
        Lanes(std::array::from_fn(|i| f(self.0[i], other.0[i])))
    }
}

// SAFETY (all blocks): pointers are good by the contract of `Vector`.
impl<R: Real + Exponential, const N: usize> Vector for Lanes<R, N> {
    type Real = R;
    const LANES: usize = N;

    #[inline(always)]
    unsafe fn splat(x: R) -> Self {
        Lanes([x; N])
    }
    #[inline(always)]
    unsafe fn load(from: *const R) -> Self {
        unsafe { Lanes(from.cast::<[R; N]>().read_unaligned()) }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut R) {
        unsafe { to.cast::<[R; N]>().write_unaligned(self.0) }
    }
    #[inline(always)]
    unsafe fn stream(self, to: *mut R) {
        unsafe { self.store(to) }
    }
    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        self.zip(other, |a, b| a + b)
    }
    #[inline(always)]
    unsafe fn sub(self, other: Self) -> Self {
        self.zip(other, |a, b| a - b)
    }
    #[inline(always)]
    unsafe fn mul(self, other: Self) -> Self {
        self.zip(other, |a, b| a * b)
    }
    #[inline(always)]
    unsafe fn div(self, other: Self) -> Self {
        self.zip(other, |a, b| a / b)
    }
    #[inline(always)]
    unsafe fn mul_add(self, factor: Self, summand: Self) -> Self {
        // a fused one is a call of the C library where the machine has no instruction for it
        self.zip(factor, |a, b| a * b).zip(summand, |a, b| a + b)
    }
    #[inline(always)]
    unsafe fn max(self, other: Self) -> Self {
        self.zip(other, |a, b| if a > b { a } else { b })
    }
    #[inline(always)]
    unsafe fn if_less(self, than: Self, yes: Self, no: Self) -> Self {
        Lanes(std::array::from_fn(|i| if self.0[i] < than.0[i] { yes.0[i] } else { no.0[i] }))
    }
    #[inline(always)]
    unsafe fn if_equal(self, to: Self, yes: Self, no: Self) -> Self {
        Lanes(std::array::from_fn(|i| if self.0[i] == to.0[i] { yes.0[i] } else { no.0[i] }))
    }
    #[inline(always)]
    unsafe fn scale(self, rounded: Self, _: Self) -> Self {
        self.zip(rounded, |x, rounded| x * rounded.power_of_two())
    }
}

// Functions of their own, because they are long and used in many places; machines where f16 matters have an instruction.

#[inline(never)]
pub fn widen(x: [f16; 4]) -> [f32; 4] {
    x.map(f16::to_f32_const)
}

#[inline(never)]
pub fn narrow(x: [f32; 4]) -> [f16; 4] {
    x.map(f16::from_f32_const)
}

// SAFETY (all blocks): pointers are good by the contract of `Simd`.
impl Simd for Portable {
    type F32 = Lanes<f32, 4>;
    type F64 = Lanes<f64, 2>;

    #[inline(always)]
    unsafe fn prefetch<X>(_: *const X) {}
    #[inline(always)]
    unsafe fn load_f16(from: *const f16) -> Lanes<f32, 4> {
        unsafe { Lanes(widen(from.cast::<[f16; 4]>().read_unaligned())) }
    }
    #[inline(always)]
    unsafe fn store_f16(x: Lanes<f32, 4>, to: *mut f16) {
        unsafe { to.cast::<[f16; 4]>().write_unaligned(narrow(x.0)) }
    }
    #[inline(always)]
    unsafe fn stream_f16(x: Lanes<f32, 4>, to: *mut f16) {
        unsafe { Self::store_f16(x, to) }
    }
    #[inline(always)]
    unsafe fn load_bf16(from: *const bf16) -> Lanes<f32, 4> {
        unsafe { Lanes(from.cast::<[bf16; 4]>().read_unaligned().map(bf16::to_f32)) }
    }
    #[inline(always)]
    unsafe fn store_bf16(x: Lanes<f32, 4>, to: *mut bf16) {
        unsafe { to.cast::<[bf16; 4]>().write_unaligned(x.0.map(bf16::from_f32)) }
    }
    #[inline(always)]
    unsafe fn stream_bf16(x: Lanes<f32, 4>, to: *mut bf16) {
        unsafe { Self::store_bf16(x, to) }
    }
}
