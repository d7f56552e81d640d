//! AVX-512 (F, BW, DQ, VL): 16 × f32 or 8 × f64.

use std::arch::x86_64::*;

use half::{bf16, f16};

use super::{Simd, Vector};

#[derive(Clone, Copy)]
pub struct Avx512;

macro_rules! vector {
    ($name:ident, $real:ty, $register:ty, $lanes:expr,
     $set1:ident $loadu:ident $storeu:ident $stream:ident $add:ident $sub:ident $mul:ident $div:ident $fmadd:ident
     $max:ident $cmp:ident $blend:ident $scalef:ident $maskz_scalef:ident $getexp:ident $getmant:ident $reduce_max:ident $reduce_add:ident) => {
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
                unsafe { $name($blend($cmp::<_CMP_LT_OQ>(self.0, than.0), no.0, yes.0)) }
            }
            #[inline(always)]
            unsafe fn if_equal(self, to: Self, yes: Self, no: Self) -> Self {
                unsafe { $name($blend($cmp::<_CMP_EQ_OQ>(self.0, to.0), no.0, yes.0)) }
            }
            #[inline(always)]
            unsafe fn any_above(self, bound: Self) -> bool {
                unsafe { $cmp::<_CMP_GT_OQ>(self.0, bound.0) != 0 }
            }
            #[inline(always)]
            unsafe fn scale(self, _: Self, n: Self) -> Self {
                unsafe { $name($scalef(self.0, n.0)) }
            }
            #[inline(always)]
            unsafe fn scale_or_zero(self, _: Self, n: Self, x: Self, lowest: Self) -> Self {
                unsafe { $name($maskz_scalef($cmp::<_CMP_NLT_UQ>(x.0, lowest.0), self.0, n.0)) }
            }
            #[inline(always)]
            unsafe fn exponent_and_fraction(self) -> (Self, Self) {
                unsafe { ($name($getexp(self.0)), $name($getmant::<_MM_MANT_NORM_1_2, _MM_MANT_SIGN_SRC>(self.0))) }
            }
            #[inline(always)]
            unsafe fn largest(self) -> $real {
                unsafe { $reduce_max(self.0) }
            }
            #[inline(always)]
            unsafe fn sum(self) -> $real {
                unsafe { $reduce_add(self.0) }
            }
        }
    };
}

vector!(F32x16, f32, __m512, 16,
    _mm512_set1_ps _mm512_loadu_ps _mm512_storeu_ps _mm512_stream_ps _mm512_add_ps _mm512_sub_ps _mm512_mul_ps
    _mm512_div_ps _mm512_fmadd_ps _mm512_max_ps _mm512_cmp_ps_mask _mm512_mask_blend_ps _mm512_scalef_ps _mm512_maskz_scalef_ps
    _mm512_getexp_ps _mm512_getmant_ps     _mm512_reduce_max_ps _mm512_reduce_add_ps);
vector!(F64x8, f64, __m512d, 8,
    _mm512_set1_pd _mm512_loadu_pd _mm512_storeu_pd _mm512_stream_pd _mm512_add_pd _mm512_sub_pd _mm512_mul_pd
    _mm512_div_pd _mm512_fmadd_pd _mm512_max_pd _mm512_cmp_pd_mask _mm512_mask_blend_pd _mm512_scalef_pd _mm512_maskz_scalef_pd
    _mm512_getexp_pd _mm512_getmant_pd     _mm512_reduce_max_pd _mm512_reduce_add_pd);

/// The upper halves of 16 numbers of 32 bits, twice.
static UPPER: [u16; 32] = {
    let mut upper = [0; 32];
    let mut i = 0;
    while i < 32 {
        upper[i] = (2 * i + 1) as u16 % 32;
        i += 1;
    }
    upper
};

/// To nearest, ties to even; a NaN keeps the upper half of its payload and is made quiet.
#[inline(always)]
unsafe fn round_to_bf16(x: __m512) -> __m256i {
    // SAFETY: the caller's.
    unsafe {
        let bits = _mm512_castps_si512(x);
        let odd = _mm512_test_epi32_mask(bits, _mm512_set1_epi32(0x1_0000));
        let down = _mm512_add_epi32(bits, _mm512_set1_epi32(0x7fff));
        let rounded = _mm512_mask_add_epi32(down, odd, bits, _mm512_set1_epi32(0x8000));
        let nan = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(x, x);
        let rounded = _mm512_mask_or_epi32(rounded, nan, bits, _mm512_set1_epi32(0x40_0000));
        // the upper halves
        _mm512_castsi512_si256(_mm512_permutexvar_epi16(_mm512_loadu_si512(UPPER.as_ptr().cast()), rounded))
    }
}

// SAFETY (all blocks): the caller's.
impl Simd for Avx512 {
    type F32 = F32x16;
    type F64 = F64x8;

    #[inline(always)]
    unsafe fn prefetch<X>(address: *const X) {
        unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) }
    }
    #[inline(always)]
    unsafe fn load_pairs(from: *const f32) -> [F32x16; 2] {
        unsafe {
            let (low, high) = (_mm512_loadu_ps(from), _mm512_loadu_ps(from.add(16)));
            let even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
            let odd = _mm512_setr_epi32(1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
            [F32x16(_mm512_permutex2var_ps(low, even, high)), F32x16(_mm512_permutex2var_ps(low, odd, high))]
        }
    }
    #[inline(always)]
    unsafe fn interleave(a: F32x16, b: F32x16) -> [F32x16; 2] {
        unsafe {
            let low = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
            let high = _mm512_setr_epi32(8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
            [F32x16(_mm512_permutex2var_ps(a.0, low, b.0)), F32x16(_mm512_permutex2var_ps(a.0, high, b.0))]
        }
    }
    #[inline(always)]
    unsafe fn load_f16(from: *const f16) -> F32x16 {
        unsafe { F32x16(_mm512_cvtph_ps(_mm256_loadu_si256(from.cast()))) }
    }
    #[inline(always)]
    unsafe fn store_f16(x: F32x16, to: *mut f16) {
        unsafe { _mm256_storeu_si256(to.cast(), _mm512_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(x.0)) }
    }
    #[inline(always)]
    unsafe fn stream_f16(x: F32x16, to: *mut f16) {
        unsafe { _mm256_stream_si256(to.cast(), _mm512_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(x.0)) }
    }
    #[inline(always)]
    unsafe fn load_bf16(from: *const bf16) -> F32x16 {
        unsafe {
            let wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256(from.cast()));
            F32x16(_mm512_castsi512_ps(_mm512_slli_epi32::<16>(wide)))
        }
    }
    #[inline(always)]
    unsafe fn store_bf16(x: F32x16, to: *mut bf16) {
        unsafe { _mm256_storeu_si256(to.cast(), round_to_bf16(x.0)) }
    }
    #[inline(always)]
    unsafe fn stream_bf16(x: F32x16, to: *mut bf16) {
        unsafe { _mm256_stream_si256(to.cast(), round_to_bf16(x.0)) }
    }
}
