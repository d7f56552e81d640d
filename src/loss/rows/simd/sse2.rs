//! SSE2, which every x86-64 has: 4 × f32 or 2 × f64.

use std::arch::x86_64::*;

use half::{bf16, f16};

use super::portable::{narrow, widen};
use super::{Simd, Vector};

#[derive(Clone, Copy)]
pub struct Sse2;

macro_rules! vector {
    ($name:ident, $real:ty, $register:ty, $lanes:expr, $mantissa:expr, $bias:expr,
     $set1:ident $loadu:ident $storeu:ident $stream:ident $add:ident $sub:ident $mul:ident $div:ident $max:ident
     $less:ident $equal:ident $and:ident $and_not:ident $or:ident $movemask:ident $bits:ident $float:ident $shift:ident
     $add_int:ident $set1_int:ident) => {
        #[derive(Clone, Copy)]
        pub struct $name($register);

        // SAFETY (all blocks): every x86-64 has SSE2; pointers are good by the contract of `Vector`.
        impl Vector for $name {
            type Real = $real;
            const LANES: usize = $lanes;

            #[inline(always)]
            unsafe fn splat(x: $real) -> Self {
                unsafe { $name($set1(x)) }
            }
            #[inline(always)]
            unsafe fn load(from: *const $real) -> Self {
                unsafe { $name($loadu(from)) }
            }
            #[inline(always)]
            unsafe fn store(self, to: *mut $real) {
                unsafe { $storeu(to, self.0) }
            }
            #[inline(always)]
            unsafe fn stream(self, to: *mut $real) {
                unsafe { $stream(to, self.0) }
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
                unsafe { $name($add($mul(self.0, factor.0), summand.0)) }
            }
            #[inline(always)]
            unsafe fn max(self, other: Self) -> Self {
                unsafe { $name($max(self.0, other.0)) }
            }
            #[inline(always)]
            unsafe fn if_less(self, than: Self, yes: Self, no: Self) -> Self {
                unsafe {
                    let mask = $less(self.0, than.0);
                    $name($or($and(mask, yes.0), $and_not(mask, no.0)))
                }
            }
            #[inline(always)]
            unsafe fn if_equal(self, to: Self, yes: Self, no: Self) -> Self {
                unsafe {
                    let mask = $equal(self.0, to.0);
                    $name($or($and(mask, yes.0), $and_not(mask, no.0)))
                }
            }
            #[inline(always)]
            unsafe fn any_above(self, bound: Self) -> bool {
                unsafe { $movemask($less(bound.0, self.0)) != 0 }
            }
            #[inline(always)]
            unsafe fn scale(self, rounded: Self, _: Self) -> Self {
                unsafe {
                    let power = $add_int($shift::<$mantissa>($bits(rounded.0)), $set1_int($bias << $mantissa));
                    $name($mul(self.0, $float(power)))
                }
            }
        }
    };
}

vector!(F32x4, f32, __m128, 4, 23, 127,
    _mm_set1_ps _mm_loadu_ps _mm_storeu_ps _mm_stream_ps _mm_add_ps _mm_sub_ps _mm_mul_ps _mm_div_ps _mm_max_ps
    _mm_cmplt_ps _mm_cmpeq_ps _mm_and_ps _mm_andnot_ps _mm_or_ps _mm_movemask_ps _mm_castps_si128 _mm_castsi128_ps
    _mm_slli_epi32 _mm_add_epi32 _mm_set1_epi32);
vector!(F64x2, f64, __m128d, 2, 52, 1023,
    _mm_set1_pd _mm_loadu_pd _mm_storeu_pd _mm_stream_pd _mm_add_pd _mm_sub_pd _mm_mul_pd _mm_div_pd _mm_max_pd
    _mm_cmplt_pd _mm_cmpeq_pd _mm_and_pd _mm_andnot_pd _mm_or_pd _mm_movemask_pd _mm_castpd_si128 _mm_castsi128_pd
    _mm_slli_epi64 _mm_add_epi64 _mm_set1_epi64x);

/// To nearest, ties to even, in the lower half; a NaN keeps the upper half of its payload and is made quiet.
#[inline(always)]
unsafe fn round_to_bf16(x: __m128) -> __m128i {
    // SAFETY: the caller's.
    unsafe {
        let bits = _mm_castps_si128(x);
        let odd = _mm_and_si128(_mm_srli_epi32::<16>(bits), _mm_set1_epi32(1));
        let rounded = _mm_add_epi32(bits, _mm_add_epi32(odd, _mm_set1_epi32(0x7fff)));
        let quiet = _mm_or_si128(bits, _mm_set1_epi32(0x40_0000));
        let nan = _mm_castps_si128(_mm_cmpunord_ps(x, x));
        let chosen = _mm_or_si128(_mm_and_si128(nan, quiet), _mm_andnot_si128(nan, rounded));
        // the shift keeps the sign, so that the saturation of the pack changes nothing
        let upper = _mm_srai_epi32::<16>(chosen);
        _mm_packs_epi32(upper, upper)
    }
}

// SAFETY (all blocks): the caller's.
impl Simd for Sse2 {
    type F32 = F32x4;
    type F64 = F64x2;

    #[inline(always)]
    unsafe fn prefetch<X>(address: *const X) {
        unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) }
    }
    #[inline(always)]
    unsafe fn load_pairs(from: *const f32) -> [F32x4; 2] {
        unsafe {
            let (low, high) = (_mm_loadu_ps(from), _mm_loadu_ps(from.add(4)));
            [F32x4(_mm_shuffle_ps::<0b10_00_10_00>(low, high)), F32x4(_mm_shuffle_ps::<0b11_01_11_01>(low, high))]
        }
    }
    #[inline(always)]
    unsafe fn interleave(a: F32x4, b: F32x4) -> [F32x4; 2] {
        unsafe { [F32x4(_mm_unpacklo_ps(a.0, b.0)), F32x4(_mm_unpackhi_ps(a.0, b.0))] }
    }
    #[inline(always)]
    unsafe fn load_f16(from: *const f16) -> F32x4 {
        unsafe { F32x4::load(widen(from.cast::<[f16; 4]>().read_unaligned()).as_ptr()) }
    }
    #[inline(always)]
    unsafe fn store_f16(x: F32x4, to: *mut f16) {
        unsafe {
            let mut lanes = [0.0; 4];
            x.store(lanes.as_mut_ptr());
            to.cast::<[f16; 4]>().write_unaligned(narrow(lanes));
        }
    }
    #[inline(always)]
    unsafe fn stream_f16(x: F32x4, to: *mut f16) {
        unsafe { Self::store_f16(x, to) }
    }
    #[inline(always)]
    unsafe fn load_bf16(from: *const bf16) -> F32x4 {
        unsafe { F32x4(_mm_castsi128_ps(_mm_unpacklo_epi16(_mm_setzero_si128(), _mm_loadl_epi64(from.cast())))) }
    }
    #[inline(always)]
    unsafe fn store_bf16(x: F32x4, to: *mut bf16) {
        unsafe { _mm_storel_epi64(to.cast(), round_to_bf16(x.0)) }
    }
    #[inline(always)]
    unsafe fn stream_bf16(x: F32x4, to: *mut bf16) {
        unsafe { Self::store_bf16(x, to) }
    }
}
