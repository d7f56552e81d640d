//! NEON (every 64-bit ARM): 4 × f32 or 2 × f64.

use std::arch::aarch64::*;

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};

use super::{Simd, Vector};

#[derive(Clone, Copy)]
pub struct Neon;

macro_rules! vector {
    ($name:ident, $real:ty, $register:ty, $lanes:expr, $mantissa:expr, $bias:expr,
     $dup:ident $load:ident $store:ident $add:ident $sub:ident $mul:ident $div:ident $fma:ident
     $gt:ident $eq:ident $select:ident $bits:ident $float:ident $shift:ident $add_int:ident $dup_int:ident) => {
        #[derive(Clone, Copy)]
        pub struct $name($register);

        // SAFETY (all blocks): the instruction set is there and pointers are good by the contract of `Vector`.
        impl Vector for $name {
            type Real = $real;
            const LANES: usize = $lanes;

            #[inline(always)]
            unsafe fn splat(x: $real) -> Self {
                unsafe { $name($dup(x)) }
            }
            #[inline(always)]
            unsafe fn load(from: *const $real) -> Self {
                unsafe { $name($load(from)) }
            }
            #[inline(always)]
            unsafe fn store(self, to: *mut $real) {
                unsafe { $store(to, self.0) }
            }
            #[inline(always)]
            unsafe fn stream(self, to: *mut $real) {
                // these machines recognise a stream of whole lines by themselves
                unsafe { $store(to, self.0) }
            }
            #[inline(always)]
            unsafe fn add(self, other: Self) -> Self {
                unsafe { $name($add(self.0, other.0)) }
            }
            #[inline(always)]
            unsafe fn sub(self, other: Self) -> Self {
                unsafe { $name($sub(self.0, other.0)) }
            }
            #[inline(always)]
            unsafe fn mul(self, other: Self) -> Self {
                unsafe { $name($mul(self.0, other.0)) }
            }
            #[inline(always)]
            unsafe fn div(self, other: Self) -> Self {
                unsafe { $name($div(self.0, other.0)) }
            }
            #[inline(always)]
            unsafe fn mul_add(self, factor: Self, summand: Self) -> Self {
                unsafe { $name($fma(summand.0, self.0, factor.0)) }
            }
            #[inline(always)]
            unsafe fn max(self, other: Self) -> Self {
                // not fmax, which gives NaN where one is NaN
                unsafe { $name($select($gt(self.0, other.0), self.0, other.0)) }
            }
            #[inline(always)]
            unsafe fn if_less(self, than: Self, yes: Self, no: Self) -> Self {
                unsafe { $name($select($gt(than.0, self.0), yes.0, no.0)) }
            }
            #[inline(always)]
            unsafe fn if_equal(self, to: Self, yes: Self, no: Self) -> Self {
                unsafe { $name($select($eq(self.0, to.0), yes.0, no.0)) }
            }
            #[inline(always)]
            unsafe fn scale(self, rounded: Self, _: Self) -> Self {
                unsafe {
                    let power = $add_int($shift::<$mantissa>($bits(rounded.0)), $dup_int($bias << $mantissa));
                    $name($mul(self.0, $float(power)))
                }
            }
        }
    };
}

vector!(F32x4, f32, float32x4_t, 4, 23, 127,
    vdupq_n_f32 vld1q_f32 vst1q_f32 vaddq_f32 vsubq_f32 vmulq_f32 vdivq_f32 vfmaq_f32
    vcgtq_f32 vceqq_f32 vbslq_f32 vreinterpretq_s32_f32 vreinterpretq_f32_s32 vshlq_n_s32 vaddq_s32 vdupq_n_s32);
vector!(F64x2, f64, float64x2_t, 2, 52, 1023,
    vdupq_n_f64 vld1q_f64 vst1q_f64 vaddq_f64 vsubq_f64 vmulq_f64 vdivq_f64 vfmaq_f64
    vcgtq_f64 vceqq_f64 vbslq_f64 vreinterpretq_s64_f64 vreinterpretq_f64_s64 vshlq_n_s64 vaddq_s64 vdupq_n_s64);

// SAFETY (all blocks): the caller's.
impl Simd for Neon {
    type F32 = F32x4;
    type F64 = F64x2;

    #[inline(always)]
    unsafe fn prefetch<X>(_: *const X) {}
    #[inline(always)]
    unsafe fn load_pairs(from: *const f32) -> [F32x4; 2] {
        unsafe {
            let float32x4x2_t(even, odd) = vld2q_f32(from);
            [F32x4(even), F32x4(odd)]
        }
    }
    #[inline(always)]
    unsafe fn interleave(a: F32x4, b: F32x4) -> [F32x4; 2] {
        unsafe { [F32x4(vzip1q_f32(a.0, b.0)), F32x4(vzip2q_f32(a.0, b.0))] }
    }
    // the conversions of std::arch need the type f16, which is not stable; half has them as inline assembly
    #[inline(always)]
    unsafe fn load_f16(from: *const f16) -> F32x4 {
        unsafe {
            let mut wide = [0.0f32; 4];
            from.cast::<[f16; 4]>().read_unaligned().convert_to_f32_slice(&mut wide);
            F32x4::load(wide.as_ptr())
        }
    }
    #[inline(always)]
    unsafe fn store_f16(x: F32x4, to: *mut f16) {
        unsafe {
            let mut narrow = [f16::ZERO; 4];
            let mut wide = [0.0f32; 4];
            x.store(wide.as_mut_ptr());
            narrow.convert_from_f32_slice(&wide);
            to.cast::<[f16; 4]>().write_unaligned(narrow);
        }
    }
    #[inline(always)]
    unsafe fn stream_f16(x: F32x4, to: *mut f16) {
        unsafe { Self::store_f16(x, to) }
    }
    #[inline(always)]
    unsafe fn load_bf16(from: *const bf16) -> F32x4 {
        unsafe { F32x4(vreinterpretq_f32_u32(vshll_n_u16::<16>(vld1_u16(from.cast())))) }
    }
    /// To nearest, ties to even; a NaN keeps the upper half of its payload and is made quiet.
    #[inline(always)]
    unsafe fn store_bf16(x: F32x4, to: *mut bf16) {
        unsafe {
            let bits = vreinterpretq_u32_f32(x.0);
            let odd = vandq_u32(vshrq_n_u32::<16>(bits), vdupq_n_u32(1));
            let rounded = vaddq_u32(bits, vaddq_u32(odd, vdupq_n_u32(0x7fff)));
            let quiet = vorrq_u32(bits, vdupq_n_u32(0x40_0000));
            let number = vceqq_f32(x.0, x.0);
            vst1_u16(to.cast(), vshrn_n_u32::<16>(vbslq_u32(number, rounded, quiet)));
        }
    }
    #[inline(always)]
    unsafe fn stream_bf16(x: F32x4, to: *mut bf16) {
        unsafe { Self::store_bf16(x, to) }
    }
}
