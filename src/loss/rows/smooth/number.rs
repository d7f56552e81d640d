//! Functions of one row's number in plain arithmetic, so that the compiler puts a loop over rows into registers.

use super::super::exp::Exponential;

#[inline(always)]
fn polynomial<const N: usize>(x: f64, coefficients: &[f64; N]) -> f64 {
    coefficients[1..].iter().fold(coefficients[0], |sum, c| sum * x + c)
}

/// e^x for x ≤ 0, and 0 where that is not a normal number.
#[inline(always)]
pub fn exp(x: f64) -> f64 {
    let rounded = x * f64::LOG2_E + f64::ROUNDER;
    let n = rounded - f64::ROUNDER;
    let [high, low] = f64::MINUS_LN_2;
    let r = n * low + (n * high + x);
    let e = polynomial(r, &f64::COEFFICIENTS) * (r * r) + r + 1.0;
    if x < f64::LOWEST { 0.0 } else { e * rounded.power_of_two() }
}

/// The natural logarithm of a positive normal number: x = 2^k·u with u in [√½, √2), ln u = 2·artanh((u − 1)/(u + 1)).
#[inline(always)]
pub fn ln(x: f64) -> f64 {
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
    let bits = x.to_bits();
    // the exponent as a number, without the conversion that AVX2 lacks: 2^52 + exponent, then minus 2^52 and bias
    let exponent = f64::from_bits((bits >> 52) | 0x4330_0000_0000_0000) - (4_503_599_627_370_496.0 + 1023.0);
    let fraction = f64::from_bits((bits & 0x000f_ffff_ffff_ffff) | 0x3ff0_0000_0000_0000);
    let large = fraction > std::f64::consts::SQRT_2;
    let u = if large { fraction * 0.5 } else { fraction };
    let k = if large { exponent + 1.0 } else { exponent };
    let s = (u - 1.0) / (u + 1.0);
    let [high, low] = f64::MINUS_LN_2;
    2.0 * s * polynomial(s * s, &ODD) - k * low - k * high
}

/// ln(1 + x) for 0 ≤ x ≤ 1, accurate for small x.
#[inline(always)]
pub fn ln_1p(x: f64) -> f64 {
    let u = 1.0 + x;
    // what rounding took from u
    ln(u) + (x - (u - 1.0)) / u
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_agree_with_the_c_library() {
        let close = |got: f64, exact: f64| (got - exact).abs() <= 1e-15 * exact.abs();
        for i in 0..=100_000 {
            let unit = f64::from(i) / 100_000.0;
            let x = -708.0 * unit;
            assert!(close(exp(x), x.exp()), "exp {x}");
            assert!(close(ln(x.exp()), x.exp().ln()), "ln {}", x.exp());
            let x = 10f64.powf(300.0 * unit) + 1e-9;
            assert!(close(ln(x), x.ln()), "ln {x}");
            for x in [unit, unit * 1e-9, unit * 1e-200] {
                assert!(close(ln_1p(x), x.ln_1p()), "ln_1p {x}");
            }
        }
        assert_eq!((ln(1.0), ln_1p(0.0), exp(-800.0), exp(f64::NEG_INFINITY)), (0.0, 0.0, 0.0, 0.0));
        assert!(exp(f64::NAN).is_nan());
    }
}
