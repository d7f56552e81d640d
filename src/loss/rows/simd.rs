//! Registers of numbers: what the kernels need of a machine, and which machine this is.
//!
//! The kernels are written once, over [`Vector`]; each instruction set gives it its registers. Everything is
//! `#[inline(always)]` and ends up in the functions that `with_isa!` makes, one per instruction set, which carry the
//! `#[target_feature]`. Nothing here may be called from elsewhere: outside of those functions the compiler would
//! call each instruction as a function.
//!
//! Why an own layer: three ways to write the forward kernel were measured on 2026-11-23 (2 cores of an AMD EPYC, Zen 4,
//! AVX-512; f32 \[512, 50257\], minimum of 9; the scratch crate is not kept). GB/s on 1 / 2 threads, where plain
//! reading gave 23.4 / 41.4:
//!
//! | | AVX-512 | AVX2 | SSE2 or scalar |
//! | --- | --- | --- | --- |
//! | arrays left to the autovectoriser | 20.1 / 39.4 | 12.3 / 23.7 | 4.4 / 8.8 |
//! | pulp 0.22.3 | 20.3 / 39.9 | 11.1 / 21.5 | 3.8 / 7.5 |
//! | this layer | 21.0 / 40.5 | 13.1 / 25.6 | 4.3 / 8.4 |
//!
//! They hardly differ for f32. But f16 converted inside the kernel is 1.5 times as fast as through a buffer (10.3
//! against 6.8 GB/s), and neither conversions nor stores past the caches are in pulp's trait; it has no level between
//! AVX2 and one lane, and depends on the unmaintained `paste` (RUSTSEC-2024-0436).

#[cfg(target_arch = "x86_64")]
pub mod avx2;
#[cfg(target_arch = "x86_64")]
pub mod avx512;
#[cfg(target_arch = "aarch64")]
pub mod neon;
#[cfg_attr(any(target_arch = "x86_64", target_arch = "aarch64"), allow(dead_code, reason = "for other targets"))]
pub mod portable;
#[cfg(target_arch = "x86_64")]
pub mod sse2;

use half::{bf16, f16};

use super::super::element::Real;
use super::exp::Exponential;
use super::lane::Precision;

/// Lanes of the widest register: 16 × f32.
pub const MOST_LANES: usize = 16;

/// A register of `f32` or `f64`.
///
/// # Safety
/// All methods demand that the machine has the instruction set of the type, and valid memory behind pointers, which
/// need no alignment.
pub trait Vector: Copy + 'static {
    type Real: Real + Exponential;
    const LANES: usize;

    unsafe fn splat(x: Self::Real) -> Self;
    unsafe fn load(from: *const Self::Real) -> Self;
    unsafe fn store(self, to: *mut Self::Real);
    /// Past the caches; `to` is aligned to the size of the register.
    unsafe fn stream(self, to: *mut Self::Real);
    unsafe fn add(self, other: Self) -> Self;
    unsafe fn sub(self, other: Self) -> Self;
    unsafe fn mul(self, other: Self) -> Self;
    unsafe fn div(self, other: Self) -> Self;
    /// self · factor + summand, rounded once where the machine can.
    unsafe fn mul_add(self, factor: Self, summand: Self) -> Self;
    /// self > other ? self : other; so `other` where one is NaN.
    unsafe fn max(self, other: Self) -> Self;
    /// self < than ? yes : no; so `no` where one is NaN.
    unsafe fn if_less(self, than: Self, yes: Self, no: Self) -> Self;
    /// self = to ? yes : no
    unsafe fn if_equal(self, to: Self, yes: Self, no: Self) -> Self;
    /// Whether a lane is > bound.
    #[inline(always)]
    unsafe fn any_above(self, bound: Self) -> bool {
        // SAFETY: the caller's.
        let (lanes, bounds) = unsafe { (self.to_array(), bound.to_array()) };
        (0..Self::LANES).any(|lane| lanes[lane] > bounds[lane])
    }
    /// self · 2^n of whole numbers −126 ≤ n ≤ 127 (f64: −1022 ≤ n ≤ 1023), given as `n` and as n + ROUNDER.
    unsafe fn scale(self, rounded: Self, n: Self) -> Self;

    /// [`Vector::scale`], and 0 where x < lowest.
    #[inline(always)]
    unsafe fn scale_or_zero(self, rounded: Self, n: Self, x: Self, lowest: Self) -> Self {
        // SAFETY: the caller's.
        unsafe { x.if_less(lowest, Self::splat(Self::Real::ZERO), self.scale(rounded, n)) }
    }

    /// 0, 1, 2 …
    #[inline(always)]
    unsafe fn iota() -> Self {
        // SAFETY: IOTA holds as many numbers as the widest register.
        unsafe { Self::load(Self::Real::IOTA.as_ptr()) }
    }

    #[inline(always)]
    unsafe fn to_array(self) -> [Self::Real; MOST_LANES] {
        let mut lanes = [Self::Real::ZERO; MOST_LANES];
        // SAFETY: no register has more lanes.
        unsafe { self.store(lanes.as_mut_ptr()) };
        lanes
    }

    /// k and u in [1, 2) of positive normal numbers 2^k · u; of others some numbers.
    #[inline(always)]
    unsafe fn exponent_and_fraction(self) -> (Self, Self) {
        // SAFETY: the caller's.
        unsafe {
            let (mut exponents, mut fractions) = (self.to_array(), self.to_array());
            for lane in 0..Self::LANES {
                (exponents[lane], fractions[lane]) = exponents[lane].exponent_and_fraction();
            }
            (Self::load(exponents.as_ptr()), Self::load(fractions.as_ptr()))
        }
    }

    /// The largest lane; NaN lanes may be lost.
    #[inline(always)]
    unsafe fn largest(self) -> Self::Real {
        // SAFETY: the caller's.
        let lanes = unsafe { self.to_array() };
        lanes[1..Self::LANES].iter().fold(lanes[0], |max, &x| if x > max { x } else { max })
    }

    /// The sum of the lanes, in halves: lane 0 + lane n/2 and so on.
    #[inline(always)]
    unsafe fn sum(self) -> Self::Real {
        // SAFETY: the caller's.
        let mut lanes = unsafe { self.to_array() };
        let mut n = Self::LANES;
        while n > 1 {
            n /= 2;
            for lane in 0..n {
                lanes[lane] = lanes[lane] + lanes[lane + n];
            }
        }
        lanes[0]
    }
}

/// The registers of one instruction set, and how 16-bit numbers get into them.
///
/// # Safety
/// As [`Vector`].
pub trait Simd: Copy + 'static {
    type F32: Vector<Real = f32>;
    type F64: Vector<Real = f64>;

    /// Brings the line at this address, which may be any, closer.
    unsafe fn prefetch<X>(address: *const X);
    /// Twice as many numbers as a register has: those at even and those at odd places.
    #[inline(always)]
    unsafe fn load_pairs(from: *const f32) -> [Self::F32; 2] {
        let (mut even, mut odd) = ([0.0f32; MOST_LANES], [0.0f32; MOST_LANES]);
        // SAFETY: no register has more lanes; the caller's.
        unsafe {
            for lane in 0..Self::F32::LANES {
                even[lane] = *from.add(2 * lane);
                odd[lane] = *from.add(2 * lane + 1);
            }
            [Self::F32::load(even.as_ptr()), Self::F32::load(odd.as_ptr())]
        }
    }
    /// a0 b0 a1 b1 … of two registers.
    #[inline(always)]
    unsafe fn interleave(a: Self::F32, b: Self::F32) -> [Self::F32; 2] {
        let mut both = [0.0f32; 2 * MOST_LANES];
        // SAFETY: no register has more lanes; the caller's.
        unsafe {
            let (a, b) = (a.to_array(), b.to_array());
            for lane in 0..Self::F32::LANES {
                both[2 * lane] = a[lane];
                both[2 * lane + 1] = b[lane];
            }
            [Self::F32::load(both.as_ptr()), Self::F32::load(both.as_ptr().add(Self::F32::LANES))]
        }
    }
    /// The inverse of [`Simd::load_pairs`].
    #[inline(always)]
    unsafe fn store_pairs(halves: [Self::F32; 2], to: *mut f32) {
        // SAFETY: the caller's.
        unsafe {
            let [first, second] = Self::interleave(halves[0], halves[1]);
            first.store(to);
            second.store(to.add(Self::F32::LANES));
        }
    }
    unsafe fn load_f16(from: *const f16) -> Self::F32;
    unsafe fn store_f16(x: Self::F32, to: *mut f16);
    /// Past the caches; `to` is aligned to the bytes written.
    unsafe fn stream_f16(x: Self::F32, to: *mut f16);
    unsafe fn load_bf16(from: *const bf16) -> Self::F32;
    unsafe fn store_bf16(x: Self::F32, to: *mut bf16);
    /// Past the caches; `to` is aligned to the bytes written.
    unsafe fn stream_bf16(x: Self::F32, to: *mut bf16);
}

/// A type of logits in registers of the type that it is computed in.
///
/// # Safety
/// As the registers: the instruction set is there, and pointers are good; `to` of `stream` is aligned to the bytes written.
pub trait Packed: Copy {
    /// The type to compute in: `f32`, for `f64` itself.
    type Compute: Real + Exponential + Precision + Packed<Compute = Self::Compute>;
    #[doc(hidden)]
    type Vector<S: Simd>: Vector<Real = Self::Compute>;

    #[doc(hidden)]
    unsafe fn load<S: Simd>(from: *const Self) -> Self::Vector<S>;
    #[doc(hidden)]
    unsafe fn store<S: Simd>(x: Self::Vector<S>, to: *mut Self);
    #[doc(hidden)]
    unsafe fn stream<S: Simd>(x: Self::Vector<S>, to: *mut Self);
}

/// SAFETY in all of them: the caller's.
macro_rules! packed {
    ($($t:ty: $compute:ty, $vector:ident, $load:expr, $store:expr, $stream:expr;)*) => {$(
        impl Packed for $t {
            type Compute = $compute;
            type Vector<S: Simd> = S::$vector;

            #[inline(always)]
            unsafe fn load<S: Simd>(from: *const Self) -> S::$vector {
                unsafe { $load(from) }
            }
            #[inline(always)]
            unsafe fn store<S: Simd>(x: S::$vector, to: *mut Self) {
                unsafe { $store(x, to) }
            }
            #[inline(always)]
            unsafe fn stream<S: Simd>(x: S::$vector, to: *mut Self) {
                unsafe { $stream(x, to) }
            }
        }
    )*};
}
packed! {
    f16: f32, F32, S::load_f16, S::store_f16, S::stream_f16;
    bf16: f32, F32, S::load_bf16, S::store_bf16, S::stream_bf16;
    f32: f32, F32, S::F32::load, S::F32::store, S::F32::stream;
    f64: f64, F64, S::F64::load, S::F64::store, S::F64::stream;
}
