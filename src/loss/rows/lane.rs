//! Double precision whose functions are plain arithmetic, so that the compiler puts a loop over rows into registers:
//! a call of the C library per row costs more than the row where classes are few.

use std::ops::{Add, Div, Mul, Neg, Sub};

use super::exp::Exponential;
use crate::loss::element::{Real, sealed::Sealed};

/// A row's number. `exp` is for x ≤ 0, `ln_1p` for 0 ≤ x ≤ 1, `sin` for 0 ≤ x ≤ π: what [`crate::loss::MarginLoss`]
/// asks for. Within 4 ulp of the C library's (`sin`: of 1), tests below.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Lane(pub f64);

macro_rules! operator {
    ($($trait:ident $method:ident $op:tt),*) => {$(
        impl $trait for Lane {
            type Output = Lane;
            #[inline(always)]
            fn $method(self, other: Lane) -> Lane {
                Lane(self.0 $op other.0)
            }
        }
    )*};
}
operator!(Add add +, Sub sub -, Mul mul *, Div div /);

impl Neg for Lane {
    type Output = Lane;
    #[inline(always)]
    fn neg(self) -> Lane {
        Lane(-self.0)
    }
}

/// Σ c_i·x^i, the last coefficient first.
#[inline(always)]
fn polynomial<const N: usize>(x: f64, coefficients: &[f64; N]) -> f64 {
    let mut sum = coefficients[0];
    let mut i = 1;
    while i < N {
        sum = sum * x + coefficients[i];
        i += 1;
    }
    sum
}

impl Lane {
    /// The natural logarithm of a normal number ≥ 0.5: x = 2^k·u with u in [√½, √2), ln u = 2·artanh((u − 1)/(u + 1)).
    #[inline(always)]
    pub fn ln(self) -> Lane {
        // the last term left out is s²³/23 · 2 < 1e-18 for s² ≤ 0.0295
        const ODD: [f64; 11] = [
            1.0 / 21.0,
            1.0 / 19.0,
            1.0 / 17.0,
            1.0 / 15.0,
            1.0 / 13.0,
            1.0 / 11.0,
            1.0 / 9.0,
            1.0 / 7.0,
            1.0 / 5.0,
            1.0 / 3.0,
            1.0,
        ];
        let bits = self.0.to_bits();
        // the exponent as a number, without the conversion that AVX2 lacks: 2^52 + exponent, then minus 2^52 and bias
        let exponent = f64::from_bits((bits >> 52) | 0x4330_0000_0000_0000) - (4_503_599_627_370_496.0 + 1023.0);
        let fraction = f64::from_bits((bits & 0x000f_ffff_ffff_ffff) | 0x3ff0_0000_0000_0000);
        let large = fraction > std::f64::consts::SQRT_2;
        let u = if large { fraction * 0.5 } else { fraction };
        let k = if large { exponent + 1.0 } else { exponent };
        let s = (u - 1.0) / (u + 1.0);
        let [high, low] = f64::MINUS_LN_2;
        Lane(2.0 * s * polynomial(s * s, &ODD) - k * low - k * high)
    }
}

impl Sealed for Lane {}

impl Real for Lane {
    const ZERO: Lane = Lane(0.0);
    const ONE: Lane = Lane(1.0);
    const PI: Lane = Lane(std::f64::consts::PI);
    const NEG_INFINITY: Lane = Lane(f64::NEG_INFINITY);

    #[inline(always)]
    fn from_f64(x: f64) -> Lane {
        Lane(x)
    }
    #[inline(always)]
    fn to_f64(self) -> f64 {
        self.0
    }
    #[inline(always)]
    fn exp(self) -> Lane {
        let x = self.0;
        let rounded = x * f64::LOG2_E + f64::ROUNDER;
        let n = rounded - f64::ROUNDER;
        let [high, low] = f64::MINUS_LN_2;
        let r = n * low + (n * high + x);
        let e = polynomial(r, &f64::COEFFICIENTS) * (r * r) + r + 1.0;
        Lane(if x < f64::LOWEST { 0.0 } else { e * rounded.power_of_two() })
    }
    #[inline(always)]
    fn ln_1p(self) -> Lane {
        let u = 1.0 + self.0;
        // what rounding took from u
        let rest = (self.0 - (u - 1.0)) / u;
        Lane(Lane(u).ln().0 + rest)
    }
    /// sin x = cos(π/2 − x)
    #[inline(always)]
    fn sin(self) -> Lane {
        const EVEN: [f64; 12] = [
            -1.0 / 1_124_000_727_777_607_680_000.0,
            1.0 / 2_432_902_008_176_640_000.0,
            -1.0 / 6_402_373_705_728_000.0,
            1.0 / 20_922_789_888_000.0,
            -1.0 / 87_178_291_200.0,
            1.0 / 479_001_600.0,
            -1.0 / 3_628_800.0,
            1.0 / 40_320.0,
            -1.0 / 720.0,
            1.0 / 24.0,
            -1.0 / 2.0,
            1.0,
        ];
        let y = std::f64::consts::FRAC_PI_2 - self.0;
        Lane(polynomial(y * y, &EVEN))
    }
    #[inline(always)]
    fn abs(self) -> Lane {
        Lane(self.0.abs())
    }
    #[inline(always)]
    fn is_nan(self) -> bool {
        self.0.is_nan()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(got: Lane, exact: f64) -> f64 {
        (got.0 - exact).abs() / exact.abs()
    }

    #[test]
    fn functions_agree_with_the_c_library() {
        const ULP: f64 = f64::EPSILON;
        for i in 0..=200_000 {
            let unit = f64::from(i) / 200_000.0;
            let x = -708.0 * unit;
            assert!(error(Lane(x).exp(), x.exp()) < 4.0 * ULP, "exp {x}");
            // 10^0 to 10^12, where sums of exponentials lie
            let x = 10f64.powf(12.0 * unit) + 1e-9;
            assert!(error(Lane(x).ln(), x.ln()) < 4.0 * ULP, "ln {x}");
            for x in [unit, unit * 1e-9, unit * 1e-200] {
                assert!(x == 0.0 || error(Lane(x).ln_1p(), x.ln_1p()) < 4.0 * ULP, "ln_1p {x}");
            }
            let x = std::f64::consts::PI * unit;
            assert!((Lane(x).sin().0 - x.sin()).abs() < 4.0 * ULP, "sin {x}");
        }
        assert_eq!(Lane(1.0).ln().0, 0.0);
        assert_eq!(Lane(0.0).ln_1p().0, 0.0);
        assert_eq!(Lane(-800.0).exp().0, 0.0);
        assert_eq!(Lane(f64::NEG_INFINITY).exp().0, 0.0);
        assert!(Lane(f64::NAN).exp().0.is_nan());
    }
}
