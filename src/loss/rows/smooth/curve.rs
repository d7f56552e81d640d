//! The bonus of a class whose p is at most [`LARGEST`], straight from p: b(p), and what it adds to f′(m)/q.
//!
//! | bonus | b(p) | r(p) = (f′(m)/q − 1)/ρ |
//! | --- | --- | --- |
//! | log, p ≤ LE | ln(1 − p) | p/(1 − p) |
//! | log, p > LE | ln(1 − LE) − (p − LE)/(1 − LE) | p/(1 − LE) |
//! | power g | −p^g | g·p^g |
//! | cosine | cos(πp) − 1 | πp·sin(πp) |
//!
//! Both are 0 at p = 0: a class is taken out of a sum by setting its p to 0.

use super::super::simd::Vector;
use crate::loss::element::{Arithmetic, Real};
use crate::loss::encouraging_loss::{Bonus, EncouragingLoss};
use crate::loss::rows::exp::exp;

/// More than half: at most one class of a row can have a larger p. All others have 1 − p ≥ 0.499, so that neither
/// 1 − p nor ln(1 − p) loses digits when formed from a rounded p.
pub const LARGEST: f64 = 0.501;

/// The bonus.
#[derive(Clone, Copy, Debug)]
pub enum Curve<R> {
    /// No bonus: cross entropy.
    None,
    /// Log, never continued by its tangent for p ≤ [`LARGEST`].
    Log,
    /// Log, continued from `end` on.
    LogUntil { end: R, value: R, steepness: R },
    /// Power 2.
    Square,
    /// Any power.
    Power(R),
    /// Cosine.
    Cosine,
}

impl<R: Real> Curve<R> {
    pub fn new(loss: &EncouragingLoss) -> Self {
        let end = f64::from(loss.log_end());
        match loss.bonus() {
            _ if loss.bonus_weight() == 0.0 => Curve::None,
            Bonus::Log if end >= LARGEST => Curve::Log,
            Bonus::Log => Curve::LogUntil {
                end: R::from_f64(end),
                value: R::from_f64((-end).ln_1p()),
                steepness: R::from_f64(1.0 / (1.0 - end)),
            },
            Bonus::Power if loss.power() == 2.0 => Curve::Square,
            Bonus::Power => Curve::Power(R::from_f64(f64::from(loss.power()))),
            Bonus::Cosine => Curve::Cosine,
        }
    }

    /// Up to this p the curve is its [`series`]; a negative number if it is nowhere.
    pub fn series_end(&self) -> f64 {
        // the next term, p⁴, is below 6e-8, or 4e-15
        let end = if size_of::<R>() == 4 { 1.0 / 64.0 } else { 1.0 / 4096.0 };
        match self {
            Curve::None => LARGEST,
            Curve::Log => end,
            Curve::LogUntil { end: log_end, .. } => end.min(log_end.to_f64()),
            Curve::Square | Curve::Power(_) | Curve::Cosine => -1.0,
        }
    }

    #[inline(always)]
    pub fn is_log(&self) -> bool {
        matches!(self, Curve::Log | Curve::LogUntil { .. })
    }

    /// ln p is asked for.
    #[inline(always)]
    pub fn is_power(&self) -> bool {
        matches!(self, Curve::Power(_))
    }

    /// b(p); `log_p` is only read for a power.
    ///
    /// # Safety
    /// As [`Vector`].
    #[inline(always)]
    pub unsafe fn value<V: Vector<Real = R>>(&self, p: V, log_p: V) -> V {
        // SAFETY: the caller's.
        unsafe {
            let zero = V::splat(R::ZERO);
            match *self {
                Curve::None => zero,
                Curve::Log => log_of_rest(p),
                Curve::LogUntil { end, value, steepness } => {
                    let end = V::splat(end);
                    let beyond = V::splat(value).sub(p.sub(end).mul(V::splat(steepness)));
                    end.if_less(p, beyond, log_of_rest(p))
                }
                Curve::Square => zero.sub(p.mul(p)),
                Curve::Power(power) => zero.sub(exp(log_p.mul(V::splat(power)))),
                Curve::Cosine => one_less_cosine(p.mul(V::splat(R::from_f64(std::f64::consts::PI)))),
            }
        }
    }

    /// r(p); `log_p` is only read for a power.
    ///
    /// # Safety
    /// As [`Vector`].
    #[inline(always)]
    pub unsafe fn pull<V: Vector<Real = R>>(&self, p: V, log_p: V) -> V {
        // SAFETY: the caller's.
        unsafe {
            let one = V::splat(R::ONE);
            match *self {
                Curve::None => V::splat(R::ZERO),
                Curve::Log => p.div(one.sub(p)),
                Curve::LogUntil { end, steepness, .. } => {
                    V::splat(end).if_less(p, p.mul(V::splat(steepness)), p.div(one.sub(p)))
                }
                Curve::Square => p.add(p).mul(p),
                Curve::Power(power) => V::splat(power).mul(exp(log_p.mul(V::splat(power)))),
                Curve::Cosine => {
                    let x = p.mul(V::splat(R::from_f64(std::f64::consts::PI)));
                    x.mul(sine(x))
                }
            }
        }
    }
}

/// Σ c_i·x^i, the last coefficient first; only the last `SINGLE` of them in single precision.
#[inline(always)]
unsafe fn polynomial<V: Vector, const N: usize, const SINGLE: usize>(x: V, coefficients: &[f64; N]) -> V {
    let first = if size_of::<V::Real>() == 4 { N - SINGLE } else { 0 };
    // SAFETY: the caller's.
    unsafe {
        let mut sum = V::splat(V::Real::from_f64(coefficients[first]));
        let mut i = first + 1;
        while i < N {
            sum = sum.mul_add(x, V::splat(V::Real::from_f64(coefficients[i])));
            i += 1;
        }
        sum
    }
}

/// ln(1 − p) = −2·artanh(p/(2 − p)) for p ≤ 0.501: s² ≤ 0.112, the first term left out is below 2e-8, or 3e-18.
#[inline(always)]
unsafe fn log_of_rest<V: Vector>(p: V) -> V {
    const ODD: [f64; 17] = [
        1.0 / 33.0,
        1.0 / 31.0,
        1.0 / 29.0,
        1.0 / 27.0,
        1.0 / 25.0,
        1.0 / 23.0,
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
    // SAFETY: the caller's.
    unsafe {
        let two = V::splat(V::Real::from_f64(2.0));
        let s = p.div(p.sub(two));
        s.mul(two).mul(polynomial::<V, 17, 7>(s.mul(s), &ODD))
    }
}

/// sin x for 0 ≤ x ≤ 1.575: the first term left out is below 6e-8 · x, or 2e-18 · x.
#[inline(always)]
unsafe fn sine<V: Vector>(x: V) -> V {
    const ODD: [f64; 11] = [
        1.0 / 51_090_942_171_709_440_000.0,
        -1.0 / 121_645_100_408_832_000.0,
        1.0 / 355_687_428_096_000.0,
        -1.0 / 1_307_674_368_000.0,
        1.0 / 6_227_020_800.0,
        -1.0 / 39_916_800.0,
        1.0 / 362_880.0,
        -1.0 / 5_040.0,
        1.0 / 120.0,
        -1.0 / 6.0,
        1.0,
    ];
    // SAFETY: the caller's.
    unsafe { x.mul(polynomial::<V, 11, 6>(x.mul(x), &ODD)) }
}

/// cos x − 1 for 0 ≤ x ≤ 1.575: the first term left out is below 7e-9 · x², or 2e-18 · x².
#[inline(always)]
unsafe fn one_less_cosine<V: Vector>(x: V) -> V {
    const EVEN: [f64; 11] = [
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
    ];
    // SAFETY: the caller's.
    unsafe {
        let square = x.mul(x);
        square.mul(polynomial::<V, 11, 7>(square, &EVEN))
    }
}
