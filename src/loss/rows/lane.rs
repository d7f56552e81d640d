//! Registers of rows, in double precision: what f and f′ are computed in. A call of the C library per row would cost
//! more than the row where classes are few.

use std::marker::PhantomData;
use std::ops::{Add, Div, Mul, Neg, Sub};

use super::exp::{Exponential, horner};
use super::simd::Vector;
use crate::loss::element::{Arithmetic, sealed::Sealed};

/// Polynomials for a precision: enough terms for what rounding the results to the type leaves.
///
/// # Safety
/// As [`Vector`].
pub trait Precision: Copy + 'static {
    /// (e^r − 1 − r)/r² for |r| ≤ ln 2 / 2: 1/k! from k = 2.
    unsafe fn exp<V: Vector<Real = f64>>(r: V) -> V;
    /// artanh(s)/s for |s| ≤ 3 − 2√2, given s²: 1/(2k + 1).
    unsafe fn artanh<V: Vector<Real = f64>>(square: V) -> V;
    /// artanh(s)/s for 0 ≤ s ≤ 1/3, given s².
    unsafe fn artanh_third<V: Vector<Real = f64>>(square: V) -> V;
    /// cos y for |y| ≤ π/2, given y²: ±1/(2k)!.
    unsafe fn cos<V: Vector<Real = f64>>(square: V) -> V;
}

/// Σ x^k/(2k + 1), from the divisors of the last term to the first.
macro_rules! odd_reciprocals {
    ($x:expr, $($divisor:literal)*) => { horner!(V, $x, $(1.0 / $divisor),*) };
}

/// 1e-9, a fiftieth of what rounding to float32 leaves.
impl Precision for f32 {
    #[inline(always)]
    unsafe fn exp<V: Vector<Real = f64>>(r: V) -> V {
        // r⁹/9! = 2e-10
        horner!(V, r, 1.0 / 40_320.0, 1.0 / 5_040.0, 1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 1.0 / 2.0)
    }
    #[inline(always)]
    unsafe fn artanh<V: Vector<Real = f64>>(square: V) -> V {
        // s¹²/13 = 5e-11
        odd_reciprocals!(square, 11.0 9.0 7.0 5.0 3.0 1.0)
    }
    #[inline(always)]
    unsafe fn artanh_third<V: Vector<Real = f64>>(square: V) -> V {
        // s¹⁸/19 = 1.4e-10
        odd_reciprocals!(square, 17.0 15.0 13.0 11.0 9.0 7.0 5.0 3.0 1.0)
    }
    #[inline(always)]
    unsafe fn cos<V: Vector<Real = f64>>(square: V) -> V {
        // y¹⁸/18! = 5e-13
        horner!(
            V,
            square,
            1.0 / 20_922_789_888_000.0,
            -1.0 / 87_178_291_200.0,
            1.0 / 479_001_600.0,
            -1.0 / 3_628_800.0,
            1.0 / 40_320.0,
            -1.0 / 720.0,
            1.0 / 24.0,
            -1.0 / 2.0,
            1.0
        )
    }
}

/// Within 4 ulp.
impl Precision for f64 {
    #[inline(always)]
    unsafe fn exp<V: Vector<Real = f64>>(r: V) -> V {
        // SAFETY: the caller's.
        unsafe { f64::polynomial(r) }
    }
    #[inline(always)]
    unsafe fn artanh<V: Vector<Real = f64>>(square: V) -> V {
        // s²²/23 = 7e-19
        odd_reciprocals!(square, 21.0 19.0 17.0 15.0 13.0 11.0 9.0 7.0 5.0 3.0 1.0)
    }
    #[inline(always)]
    unsafe fn artanh_third<V: Vector<Real = f64>>(square: V) -> V {
        // s³²/33 = 2e-17
        odd_reciprocals!(square, 31.0 29.0 27.0 25.0 23.0 21.0 19.0 17.0 15.0 13.0 11.0 9.0 7.0 5.0 3.0 1.0)
    }
    #[inline(always)]
    unsafe fn cos<V: Vector<Real = f64>>(square: V) -> V {
        // y²⁴/24! = 8e-20
        horner!(
            V,
            square,
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
            1.0
        )
    }
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
        // SAFETY: the instruction set is available (see `Lane`).
        let series: Self = Lane::new(unsafe { P::artanh((s * s).0) });
        let small = (s + s) * series - k * Lane::from_f64(low);
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
        // SAFETY: the instruction set is available (see `Lane`).
        let series: Self = Lane::new(unsafe { P::exp(r.0) });
        let e = series.mul_add(r * r, r) + Lane::from_f64(1.0);
        // SAFETY: the instruction set is available (see `Lane`).
        let y = Lane::new(unsafe { e.0.scale(rounded.0, n.0) });
        self.if_less(Lane::from_f64(f64::LOWEST), Lane::from_f64(0.0), y)
    }
    /// log(1 + x) = 2·artanh(x/(2 + x))
    #[inline(always)]
    fn ln_1p(self) -> Self {
        let s = self / (Lane::from_f64(2.0) + self);
        // SAFETY: the instruction set is available (see `Lane`).
        (s + s) * Lane::new(unsafe { P::artanh_third((s * s).0) })
    }
    /// sin x = cos(π/2 − x)
    #[inline(always)]
    fn sin(self) -> Self {
        let y = Lane::from_f64(std::f64::consts::FRAC_PI_2) - self;
        // SAFETY: the instruction set is available (see `Lane`).
        Lane::new(unsafe { P::cos((y * y).0) })
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
