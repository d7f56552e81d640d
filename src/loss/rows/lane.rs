//! Registers of rows, in double precision: what f and f′ are computed in. A call of the C library per row would cost
//! more than the row where classes are few.

use std::marker::PhantomData;
use std::ops::{Add, Div, Mul, Neg, Sub};

use super::exp::Exponential;
use super::simd::Vector;
use crate::loss::element::{Arithmetic, sealed::Sealed};

/// Polynomials for a precision: enough terms for what rounding the results to the type leaves.
pub trait Precision: Copy + 'static {
    /// e^r = 1 + r + r²·(…) for |r| ≤ ln 2 / 2: 1/k!, the last first.
    const EXP: &'static [f64];
    /// artanh(s)/s in s² for |s| ≤ 3 − 2√2: 1/(2k + 1), the last first.
    const ARTANH: &'static [f64];
    /// artanh(s)/s in s² for 0 ≤ s ≤ 1/3.
    const ARTANH_THIRD: &'static [f64];
    /// cos y in y² for |y| ≤ π/2: ±1/(2k)!, the last first.
    const COS: &'static [f64];
}

/// 1/(2k + 1) from k = N − 1 to 0.
const fn odd_reciprocals<const N: usize>() -> [f64; N] {
    let mut terms = [0.0; N];
    let mut k = 0;
    while k < N {
        terms[N - 1 - k] = 1.0 / (2 * k + 1) as f64;
        k += 1;
    }
    terms
}

/// (−1)^k/(2k)! from k = N − 1 to 0.
const fn cosine_terms<const N: usize>() -> [f64; N] {
    let mut terms = [0.0; N];
    let mut term = 1.0;
    let mut k = 0;
    while k < N {
        terms[N - 1 - k] = term;
        term /= -(((2 * k + 1) * (2 * k + 2)) as f64);
        k += 1;
    }
    terms
}

/// 1e-9, a fiftieth of what rounding to float32 leaves.
impl Precision for f32 {
    // r⁹/9! = 2e-10
    const EXP: &'static [f64] = {
        let all = <f64 as Exponential>::COEFFICIENTS.as_slice();
        all.split_at(all.len() - 7).1
    };
    // s¹⁰/11 = 2e-9 of a logarithm that is a summand of m
    const ARTANH: &'static [f64] = &odd_reciprocals::<6>();
    // s¹⁸/19 = 1.4e-10
    const ARTANH_THIRD: &'static [f64] = &odd_reciprocals::<9>();
    // y¹⁶/16! = 7e-11
    const COS: &'static [f64] = &cosine_terms::<9>();
}

/// Within 4 ulp.
impl Precision for f64 {
    const EXP: &'static [f64] = <f64 as Exponential>::COEFFICIENTS.as_slice();
    // s²²/23 = 7e-19
    const ARTANH: &'static [f64] = &odd_reciprocals::<11>();
    // s³²/33 = 2e-17
    const ARTANH_THIRD: &'static [f64] = &odd_reciprocals::<16>();
    // y²²/22! = 2e-17
    const COS: &'static [f64] = &cosine_terms::<12>();
}

/// A register of rows' numbers, computed with to the precision of `P`.
///
/// The functions may only be used where the register's instruction set is available, as those of [`Vector`]; they are
/// safe in name because operators are.
#[derive(Clone, Copy)]
pub struct Lane<V, P>(pub V, PhantomData<P>);

impl<V: Vector<Real = f64>, P: Precision> Lane<V, P> {
    #[inline(always)]
    pub fn new(lanes: V) -> Self {
        Lane(lanes, PhantomData)
    }

    #[inline(always)]
    fn mul_add(self, factor: Self, summand: Self) -> Self {
        // SAFETY: the instruction set is available (see `Lane`).
        Lane::new(unsafe { self.0.mul_add(factor.0, summand.0) })
    }

    /// Σ c_i·x^i, the last coefficient first.
    #[inline(always)]
    fn polynomial(self, coefficients: &[f64]) -> Self {
        let mut sum = Lane::from_f64(coefficients[0]);
        for &c in &coefficients[1..] {
            sum = sum.mul_add(self, Lane::from_f64(c));
        }
        sum
    }

    /// The natural logarithm of positive normal numbers: x = 2^k·u with u in [√½, √2), ln u = 2·artanh((u − 1)/(u + 1)).
    #[inline(always)]
    pub fn ln(self) -> Self {
        let one = Lane::from_f64(1.0);
        // SAFETY: the instruction set is available (see `Lane`).
        let (exponent, fraction) = unsafe { self.0.exponent_and_fraction() };
        let (exponent, fraction) = (Lane::new(exponent), Lane::new(fraction));
        let limit = Lane::from_f64(std::f64::consts::SQRT_2);
        let u = limit.if_less(fraction, fraction * Lane::from_f64(0.5), fraction);
        let k = limit.if_less(fraction, exponent + one, exponent);
        let s: Self = (u - one) / (u + one);
        let [high, low] = <f64 as Exponential>::MINUS_LN_2;
        let small = (s + s) * (s * s).polynomial(P::ARTANH) - k * Lane::from_f64(low);
        small - k * Lane::from_f64(high)
    }
}

macro_rules! operator {
    ($($trait:ident $method:ident),*) => {$(
        impl<V: Vector<Real = f64>, P> $trait for Lane<V, P> {
            type Output = Self;
            #[inline(always)]
            fn $method(self, other: Self) -> Self {
                // SAFETY: the instruction set is available (see `Lane`).
                Lane(unsafe { self.0.$method(other.0) }, PhantomData)
            }
        }
    )*};
}
operator!(Add add, Sub sub, Mul mul, Div div);

impl<V: Vector<Real = f64>, P> Neg for Lane<V, P> {
    type Output = Self;
    #[inline(always)]
    fn neg(self) -> Self {
        // SAFETY: the instruction set is available (see `Lane`).
        Lane(unsafe { V::splat(-0.0).sub(self.0) }, PhantomData)
    }
}

impl<V, P> Sealed for Lane<V, P> {}

impl<V: Vector<Real = f64> + 'static, P: Precision> Arithmetic for Lane<V, P> {
    #[inline(always)]
    fn from_f64(x: f64) -> Self {
        // SAFETY: the instruction set is available (see `Lane`).
        Lane::new(unsafe { V::splat(x) })
    }
    #[inline(always)]
    fn exp(self) -> Self {
        let rounder = Lane::from_f64(f64::ROUNDER);
        let rounded = self.mul_add(Lane::from_f64(f64::LOG2_E), rounder);
        let n = rounded - rounder;
        let [high, low] = f64::MINUS_LN_2;
        let r: Self = n.mul_add(Lane::from_f64(low), n.mul_add(Lane::from_f64(high), self));
        let e = r.polynomial(P::EXP).mul_add(r * r, r) + Lane::from_f64(1.0);
        // SAFETY: the instruction set is available (see `Lane`).
        let y = Lane::new(unsafe { e.0.scale(rounded.0, n.0) });
        self.if_less(Lane::from_f64(f64::LOWEST), Lane::from_f64(0.0), y)
    }
    /// log(1 + x) = 2·artanh(x/(2 + x))
    #[inline(always)]
    fn ln_1p(self) -> Self {
        let s = self / (Lane::from_f64(2.0) + self);
        (s + s) * (s * s).polynomial(P::ARTANH_THIRD)
    }
    /// sin x = cos(π/2 − x)
    #[inline(always)]
    fn sin(self) -> Self {
        let y = Lane::from_f64(std::f64::consts::FRAC_PI_2) - self;
        (y * y).polynomial(P::COS)
    }
    #[inline(always)]
    fn abs(self) -> Self {
        let negative = -self;
        self.if_less(Lane::from_f64(0.0), negative, self)
    }
    #[inline(always)]
    fn if_less(self, than: Self, yes: Self, no: Self) -> Self {
        // SAFETY: the instruction set is available (see `Lane`).
        Lane::new(unsafe { self.0.if_less(than.0, yes.0, no.0) })
    }
}

#[cfg(test)]
mod tests {
    use super::super::isa::{Isa, with_isa};
    use super::super::simd::{MOST_LANES, Packed, Simd};
    use super::*;

    #[derive(Clone, Copy, Debug)]
    pub enum Function {
        Exp,
        Ln,
        Ln1p,
        Sin,
    }

    with_isa! {
        /// The function of sixteen numbers.
        fn of_16<T: Packed>(function: Function, x: &mut [f64; MOST_LANES]) = of_16_in;
    }

    #[inline(always)]
    unsafe fn of_16_in<S: Simd, T: Packed>(function: Function, x: &mut [f64; MOST_LANES]) {
        for at in (0..MOST_LANES).step_by(S::F64::LANES) {
            // SAFETY: within the array, on an instruction set that is there.
            unsafe {
                let lanes = Lane::<S::F64, T::Compute>::new(S::F64::load(x.as_ptr().add(at)));
                let result = match function {
                    Function::Exp => lanes.exp(),
                    Function::Ln => lanes.ln(),
                    Function::Ln1p => lanes.ln_1p(),
                    Function::Sin => lanes.sin(),
                };
                result.0.store(x.as_mut_ptr().add(at));
            }
        }
    }

    fn evaluate<T: Packed>(isa: Isa, function: Function, x: f64) -> f64 {
        let mut lanes = [x; MOST_LANES];
        // SAFETY: the instruction set is available.
        unsafe { of_16::<T>(isa, function, &mut lanes) };
        assert!(lanes.iter().all(|lane| lane.to_bits() == lanes[0].to_bits()), "{isa}: {function:?}({x}) = {lanes:?}");
        lanes[0]
    }

    /// Relative errors; of the sine and of logarithms for float32 absolute ones.
    fn check<T: Packed>(relative: f64, absolute: f64) {
        for isa in Isa::available() {
            let check = |function: Function, x: f64, exact: f64| {
                let got = evaluate::<T>(isa, function, x);
                let allowed = match function {
                    Function::Exp | Function::Ln1p => relative * exact.abs(),
                    Function::Ln => (relative * exact.abs()).max(absolute),
                    Function::Sin => absolute,
                };
                assert!((got - exact).abs() <= allowed, "{isa}: {function:?}({x}) is {got}, should be {exact}");
            };
            for i in 0..=20_000 {
                let unit = f64::from(i) / 20_000.0;
                let x = -708.0 * unit;
                check(Function::Exp, x, x.exp());
                // 10^-7 to 10^12, where sums of exponentials lie
                let x = 10f64.powf(19.0 * unit - 7.0);
                check(Function::Ln, x, x.ln());
                for x in [unit, unit * 1e-9, unit * 1e-200] {
                    check(Function::Ln1p, x, x.ln_1p());
                }
                let x = std::f64::consts::PI * unit;
                check(Function::Sin, x, x.sin());
            }
            assert_eq!(evaluate::<T>(isa, Function::Ln, 1.0), 0.0);
            assert_eq!(evaluate::<T>(isa, Function::Ln1p, 0.0), 0.0);
            for x in [-800.0, f64::NEG_INFINITY] {
                assert_eq!(evaluate::<T>(isa, Function::Exp, x), 0.0);
            }
            for function in [Function::Exp, Function::Ln1p, Function::Sin] {
                assert!(evaluate::<T>(isa, function, f64::NAN).is_nan(), "{isa}: {function:?}");
            }
        }
    }

    #[test]
    fn functions_agree_with_the_c_library() {
        check::<f64>(4.0 * f64::EPSILON, 4.0 * f64::EPSILON);
    }

    #[test]
    fn functions_for_single_precision_are_within_a_billionth() {
        check::<f32>(1e-9, 1e-9);
    }
}
