//! e^x in registers.

use super::simd::Vector;
use crate::loss::element::Real;

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
    /// The last coefficient first.
    const COEFFICIENTS: Self::Coefficients;
    /// An array.
    type Coefficients: Copy + AsRef<[Self]>;
    /// Lane numbers.
    const IOTA: [Self; super::simd::MOST_LANES];
    /// 2^n of the whole number n given as n + `ROUNDER`.
    fn power_of_two(self) -> Self;
}

impl Exponential for f32 {
    const ROUNDER: f32 = 12_582_912.0;
    const LOWEST: f32 = -87.33;
    const LOG2_E: f32 = std::f32::consts::LOG2_E;
    const MINUS_LN_2: [f32; 2] = [-0.693_359_4, 2.121_944_4e-4];
    // minimax of the relative error on |r| ≤ ln 2 / 2, by Remez
    type Coefficients = [f32; 5];
    const COEFFICIENTS: [f32; 5] = [1.381_454_9e-3, 8.368_745e-3, 4.166_839e-2, 1.666_652_1e-1, 4.999_999_4e-1];
    const IOTA: [f32; 16] = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 11.0, 12.0, 13.0, 14.0, 15.0];

    #[inline(always)]
    fn power_of_two(self) -> f32 {
        f32::from_bits((self.to_bits() << 23).wrapping_add(127 << 23))
    }
}

impl Exponential for f64 {
    const ROUNDER: f64 = 6_755_399_441_055_744.0;
    const LOWEST: f64 = -708.39;
    const LOG2_E: f64 = std::f64::consts::LOG2_E;
    const MINUS_LN_2: [f64; 2] = [-0.693_145_751_953_125, -1.428_606_820_309_417_2e-6];
    // 1/k! from k = 13 to 2: what is left out is below 2e-17
    type Coefficients = [f64; 12];
    const COEFFICIENTS: [f64; 12] = [
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
        1.0 / 2.0,
    ];
    const IOTA: [f64; 16] = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 11.0, 12.0, 13.0, 14.0, 15.0];

    #[inline(always)]
    fn power_of_two(self) -> f64 {
        f64::from_bits((self.to_bits() << 52).wrapping_add(1023 << 52))
    }
}

/// e^x for x ≤ 88 (f64: 709), and 0 where that is not a normal number; NaN for NaN. Within 1.5 ulp (tests below; with
/// fused multiply-add, `f32` is within 0.9 ulp).
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
        let coefficients = V::Real::COEFFICIENTS;
        let mut q = V::splat(V::Real::ZERO);
        for (i, &c) in coefficients.as_ref().iter().enumerate() {
            q = if i == 0 { V::splat(c) } else { q.mul_add(r, V::splat(c)) };
        }
        let e = q.mul_add(r.mul(r), r).add(V::splat(V::Real::ONE));
        let y = e.scale(rounded, n);
        x.if_less(V::splat(V::Real::LOWEST), V::splat(V::Real::ZERO), y)
    }
}
