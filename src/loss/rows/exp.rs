//! e^x in registers.

use super::simd::Vector;
use crate::loss::element::Real;

/// Σ c_i·x^i in registers, the last coefficient first: written out, since a loop over coefficients is only as fast where
/// the compiler unrolls it, and that it does not when it optimises for size.
macro_rules! horner {
    ($vector:ident, $x:expr, $last:expr $(, $c:expr)* $(,)?) => {{
        let x = $x;
        // SAFETY: the caller's, as for `Vector`.
        unsafe {
            let sum = $vector::splat($last);
            $(let sum = sum.mul_add(x, $vector::splat($c));)*
            sum
        }
    }};
}
pub(super) use horner;

/// What the exponential function needs of a type: e^x = 2^n · e^r with n = round(x / ln 2) and |r| ≤ ln 2 / 2, and
/// e^r = 1 + r + r² · (c₀ + c₁·r + …).
pub trait Exponential: Sized + 'static {
    /// 1.5 · 2^(bits of the mantissa): adding it rounds to a whole number, which then stands in the lowest bits.
    const ROUNDER: Self;
    /// Below this the result is not a normal number, and 0 is given.
    const LOWEST: Self;
    const LOG2_E: Self;
    /// −ln 2 in two parts; n times the first is exact.
    const MINUS_LN_2: [Self; 2];
    /// c₀ + c₁·r + …
    ///
    /// # Safety
    /// As [`Vector`].
    unsafe fn polynomial<V: Vector<Real = Self>>(r: V) -> V;
    /// Lane numbers.
    const IOTA: [Self; super::simd::MOST_LANES];
    /// 2^n of the whole number n given as n + `ROUNDER`.
    fn power_of_two(self) -> Self;
    /// k and u in [1, 2) of a positive normal number 2^k · u.
    fn exponent_and_fraction(self) -> (Self, Self);
}

impl Exponential for f32 {
    const ROUNDER: f32 = 12_582_912.0;
    const LOWEST: f32 = -87.33;
    const LOG2_E: f32 = std::f32::consts::LOG2_E;
    const MINUS_LN_2: [f32; 2] = [-0.693_359_4, 2.121_944_4e-4];
    const IOTA: [f32; 16] = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 11.0, 12.0, 13.0, 14.0, 15.0];

    #[inline(always)]
    unsafe fn polynomial<V: Vector<Real = f32>>(r: V) -> V {
        // minimax of the relative error on |r| ≤ ln 2 / 2, by Remez
        horner!(V, r, 1.381_454_9e-3, 8.368_745e-3, 4.166_839e-2, 1.666_652_1e-1, 4.999_999_4e-1)
    }
    #[inline(always)]
    fn power_of_two(self) -> f32 {
        f32::from_bits((self.to_bits() << 23).wrapping_add(127 << 23))
    }
    #[inline(always)]
    fn exponent_and_fraction(self) -> (f32, f32) {
        let bits = self.to_bits();
        // 2^23 + exponent as a number, then minus 2^23 and the bias
        let exponent = f32::from_bits((bits >> 23) | 0x4b00_0000) - (8_388_608.0 + 127.0);
        (exponent, f32::from_bits((bits & 0x007f_ffff) | 0x3f80_0000))
    }
}

impl Exponential for f64 {
    const ROUNDER: f64 = 6_755_399_441_055_744.0;
    const LOWEST: f64 = -708.39;
    const LOG2_E: f64 = std::f64::consts::LOG2_E;
    const MINUS_LN_2: [f64; 2] = [-0.693_145_751_953_125, -1.428_606_820_309_417_2e-6];
    const IOTA: [f64; 16] = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 11.0, 12.0, 13.0, 14.0, 15.0];

    #[inline(always)]
    unsafe fn polynomial<V: Vector<Real = f64>>(r: V) -> V {
        // 1/k! from k = 13 to 2: what is left out is below 2e-17
        horner!(
            V,
            r,
            1.0 / 6_227_020_800.0,
            1.0 / 479_001_600.0,
            1.0 / 39_916_800.0,
            1.0 / 3_628_800.0,
            1.0 / 362_880.0,
            1.0 / 40_320.0,
            1.0 / 5_040.0,
            1.0 / 720.0,
            1.0 / 120.0,
            1.0 / 24.0,
            1.0 / 6.0,
            1.0 / 2.0
        )
    }
    #[inline(always)]
    fn power_of_two(self) -> f64 {
        f64::from_bits((self.to_bits() << 52).wrapping_add(1023 << 52))
    }
    #[inline(always)]
    fn exponent_and_fraction(self) -> (f64, f64) {
        let bits = self.to_bits();
        // without the conversion that AVX2 lacks: 2^52 + exponent as a number, then minus 2^52 and the bias
        let exponent = f64::from_bits((bits >> 52) | 0x4330_0000_0000_0000) - (4_503_599_627_370_496.0 + 1023.0);
        (exponent, f64::from_bits((bits & 0x000f_ffff_ffff_ffff) | 0x3ff0_0000_0000_0000))
    }
}

/// e^x for x ≤ 88 (f64: 709), and 0 where that is not a normal number; NaN for NaN. Within 1.5 ulp (tests below).
///
/// # Safety
/// As [`Vector`].
#[inline(always)]
pub unsafe fn exp<V: Vector>(x: V) -> V {
    // SAFETY: the caller's.
    unsafe {
        let rounder = V::splat(V::Real::ROUNDER);
        let rounded = x.mul_add(V::splat(V::Real::LOG2_E), rounder);
        let n = rounded.sub(rounder);
        let [high, low] = V::Real::MINUS_LN_2;
        let r = n.mul_add(V::splat(low), n.mul_add(V::splat(high), x));
        let e = V::Real::polynomial(r).mul_add(r.mul(r), r).add(V::splat(V::Real::ONE));
        e.scale_or_zero(rounded, n, x, V::splat(V::Real::LOWEST))
    }
}

#[cfg(test)]
mod tests {
    use super::super::isa::{Isa, with_isa};
    use super::super::simd::{Packed, Simd};
    use super::*;

    with_isa! {
        /// e^x of sixteen numbers.
        fn exp_16<T: Packed>(x: &mut [T::Compute; 16]) = exp_16_in;
    }

    #[inline(always)]
    unsafe fn exp_16_in<S: Simd, T: Packed>(x: &mut [T::Compute; 16]) {
        for at in (0..16).step_by(T::Vector::<S>::LANES) {
            // SAFETY: within the array, on an instruction set that is there.
            unsafe { exp(T::Vector::<S>::load(x.as_ptr().add(at))).store(x.as_mut_ptr().add(at)) };
        }
    }

    /// The largest error in ulp over the floats whose bits are in steps of `step`, from 0 down to −87.33.
    fn largest_error(isa: Isa, step: u32) -> f64 {
        let last = 87.33f32.to_bits();
        let mut largest = 0.0f64;
        let mut bits = 0;
        while bits <= last {
            let x: [f32; 16] = std::array::from_fn(|i| -f32::from_bits((bits + i as u32 * step).min(last)));
            let mut e = x;
            // SAFETY: the instruction set is available.
            unsafe { exp_16::<f32>(isa, &mut e) };
            for (x, e) in x.into_iter().zip(e) {
                let exact = f64::from(x).exp();
                let ulp = 2f64.powi(exact.log2().floor() as i32 - 23);
                largest = largest.max((f64::from(e) - exact).abs() / ulp);
            }
            bits += 16 * step;
        }
        largest
    }

    /// Every 1009th float; 1009 is prime, so that all low bits occur.
    #[test]
    fn single_precision_is_within_one_and_a_half_ulp() {
        for isa in Isa::available() {
            let error = largest_error(isa, 1009);
            assert!(error < 1.5, "{isa}: {error} ulp");
        }
    }

    /// All 1 118 742 905 floats.
    #[test]
    #[ignore = "a minute per instruction set in a release build"]
    fn single_precision_is_within_one_and_a_half_ulp_everywhere() {
        for isa in Isa::available() {
            let error = largest_error(isa, 1);
            println!("{isa}: {error} ulp");
            assert!(error < 1.5, "{isa}: {error} ulp");
        }
    }

    #[test]
    fn double_precision_is_within_one_and_a_half_ulp() {
        for isa in Isa::available() {
            for i in 0..100_000 {
                let x: [f64; 16] = std::array::from_fn(|lane| -708.39 * f64::from(16 * i + lane as i32) / 1_600_000.0);
                let mut e = x;
                // SAFETY: the instruction set is available.
                unsafe { exp_16::<f64>(isa, &mut e) };
                for (x, e) in x.into_iter().zip(e) {
                    // the C library's is within one ulp itself
                    let error = (e - x.exp()).abs() / x.exp() * 2f64.powi(52);
                    assert!(error < 2.5, "{isa}: e^{x} is off by {error}");
                }
            }
        }
    }

    #[test]
    fn what_is_no_normal_number_is_zero_and_nan_stays() {
        for isa in Isa::available() {
            let mut x = [0.0f32; 16];
            x[..6].copy_from_slice(&[-87.34, -200.0, -1e30, f32::NEG_INFINITY, f32::NAN, f32::from_bits(0xffc1_2345)]);
            // SAFETY: the instruction set is available.
            unsafe { exp_16::<f32>(isa, &mut x) };
            assert_eq!(x[..4], [0.0; 4], "{isa}");
            assert!(x[4].is_nan() && x[5].is_nan(), "{isa}: {x:?}");
            assert_eq!(x[6..], [1.0; 10], "{isa}");
        }
    }
}
