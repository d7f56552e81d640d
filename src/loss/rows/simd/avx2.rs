//! AVX2 with FMA and F16C: 8 × f32 or 4 × f64.

use std::arch::x86_64::*;

use half::{bf16, f16};

use super::{Simd, Vector};

#[derive(Clone, Copy)]
pub struct Avx2;

macro_rules! vector {
    ($name:ident, $real:ty, $register:ty, $lanes:expr, $mantissa:expr, $bias:expr,
     $set1:ident $loadu:ident $storeu:ident $stream:ident $add:ident $sub:ident $mul:ident $div:ident $fmadd:ident
     $max:ident $cmp:ident $blend:ident $bits:ident $float:ident $shift:ident $add_int:ident $set1_int:ident $movemask:ident) => {
        #[derive(Clone, Copy)]
        pub struct $name($register);

        // SAFETY (all blocks): the instruction set is there and pointers are good by the contract of `Vector`.
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
                unsafe { $name($fmadd(self.0, factor.0, summand.0)) }
            }
            #[inline(always)]
            unsafe fn max(self, other: Self) -> Self {
                unsafe { $name($max(self.0, other.0)) }
            }
            #[inline(always)]
            unsafe fn if_less(self, than: Self, yes: Self, no: Self) -> Self {
                unsafe { $name($blend(no.0, yes.0, $cmp::<_CMP_LT_OQ>(self.0, than.0))) }
            }
            #[inline(always)]
            unsafe fn if_equal(self, to: Self, yes: Self, no: Self) -> Self {
                unsafe { $name($blend(no.0, yes.0, $cmp::<_CMP_EQ_OQ>(self.0, to.0))) }
            }
            #[inline(always)]
            unsafe fn any_above(self, bound: Self) -> bool {
                unsafe { $movemask($cmp::<_CMP_GT_OQ>(self.0, bound.0)) != 0 }
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

vector!(F32x8, f32, __m256, 8, 23, 127,
    _mm256_set1_ps _mm256_loadu_ps _mm256_storeu_ps _mm256_stream_ps _mm256_add_ps _mm256_sub_ps _mm256_mul_ps
    _mm256_div_ps _mm256_fmadd_ps _mm256_max_ps _mm256_cmp_ps _mm256_blendv_ps _mm256_castps_si256
    _mm256_castsi256_ps _mm256_slli_epi32 _mm256_add_epi32 _mm256_set1_epi32 _mm256_movemask_ps);
vector!(F64x4, f64, __m256d, 4, 52, 1023,
    _mm256_set1_pd _mm256_loadu_pd _mm256_storeu_pd _mm256_stream_pd _mm256_add_pd _mm256_sub_pd _mm256_mul_pd
    _mm256_div_pd _mm256_fmadd_pd _mm256_max_pd _mm256_cmp_pd _mm256_blendv_pd _mm256_castpd_si256
    _mm256_castsi256_pd _mm256_slli_epi64 _mm256_add_epi64 _mm256_set1_epi64x _mm256_movemask_pd);

/// To nearest, ties to even; a NaN keeps the upper half of its payload and is made quiet.
#[inline(always)]
unsafe fn round_to_bf16(x: __m256) -> __m128i {
    // SAFETY: the caller's.
    unsafe {
        let bits = _mm256_castps_si256(x);
        let odd = _mm256_and_si256(_mm256_srli_epi32::<16>(bits), _mm256_set1_epi32(1));
        let rounded = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
        let quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x40_0000));
        let nan = _mm256_castps_si256(_mm256_cmp_ps::<_CMP_UNORD_Q>(x, x));
        let upper = _mm256_srli_epi32::<16>(_mm256_blendv_epi8(rounded, quiet, nan));
        _mm_packus_epi32(_mm256_castsi256_si128(upper), _mm256_extracti128_si256::<1>(upper))
    }
}

// SAFETY (all blocks): the caller's.
impl Simd for Avx2 {
    type F32 = F32x8;
    type F64 = F64x4;

    #[inline(always)]
    unsafe fn prefetch<X>(address: *const X) {
        unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) }
    }
    #[inline(always)]
    unsafe fn load_pairs(from: *const f32) -> [F32x8; 2] {
        unsafe {
            let (low, high) = (_mm256_loadu_ps(from), _mm256_loadu_ps(from.add(8)));
            // low 0 2, high 0 2, low 4 6, high 4 6
            let even = _mm256_castps_pd(_mm256_shuffle_ps::<0b10_00_10_00>(low, high));
            let odd = _mm256_castps_pd(_mm256_shuffle_ps::<0b11_01_11_01>(low, high));
            let (even, odd) =
                (_mm256_permute4x64_pd::<0b11_01_10_00>(even), _mm256_permute4x64_pd::<0b11_01_10_00>(odd));
            [F32x8(_mm256_castpd_ps(even)), F32x8(_mm256_castpd_ps(odd))]
        }
    }
    #[inline(always)]
    unsafe fn interleave(a: F32x8, b: F32x8) -> [F32x8; 2] {
        unsafe {
            // pairs 0 1 4 5 and 2 3 6 7
            let (first, second) = (_mm256_unpacklo_ps(a.0, b.0), _mm256_unpackhi_ps(a.0, b.0));
            [F32x8(_mm256_permute2f128_ps::<0x20>(first, second)), F32x8(_mm256_permute2f128_ps::<0x31>(first, second))]
        }
    }
    #[inline(always)]
    unsafe fn load_f16(from: *const f16) -> F32x8 {
        unsafe { F32x8(_mm256_cvtph_ps(_mm_loadu_si128(from.cast()))) }
    }
    #[inline(always)]
    unsafe fn store_f16(x: F32x8, to: *mut f16) {
        unsafe { _mm_storeu_si128(to.cast(), _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(x.0)) }
    }
    #[inline(always)]
    unsafe fn stream_f16(x: F32x8, to: *mut f16) {
        unsafe { _mm_stream_si128(to.cast(), _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(x.0)) }
    }
    #[inline(always)]
    unsafe fn load_bf16(from: *const bf16) -> F32x8 {
        unsafe {
            let wide = _mm256_cvtepu16_epi32(_mm_loadu_si128(from.cast()));
            F32x8(_mm256_castsi256_ps(_mm256_slli_epi32::<16>(wide)))
        }
    }
    #[inline(always)]
    unsafe fn store_bf16(x: F32x8, to: *mut bf16) {
        unsafe { _mm_storeu_si128(to.cast(), round_to_bf16(x.0)) }
    }
    #[inline(always)]
    unsafe fn stream_bf16(x: F32x8, to: *mut bf16) {
        unsafe { _mm_stream_si128(to.cast(), round_to_bf16(x.0)) }
    }
}
