//! f32 and f64.

use crate::arithmetic::rounding::{self, Rounding};
use crate::lanes::{Function, binary, ternary, unary};
use crate::types::Type;

/// What an instruction does to its f32 operands and results besides computing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Style {
    pub(crate) rounding: Rounding,
    /// Subnormals count as zero and become zero.
    pub(crate) flush: bool,
    /// Results are held between 0 and 1; NaN becomes 0.
    pub(crate) saturate: bool,
}

impl Style {
    fn is_plain(self) -> bool {
        self.rounding == Rounding::Nearest && !self.flush && !self.saturate
    }

    fn enter(self, a: f32) -> f32 {
        if self.flush { flushed(a) } else { a }
    }

    fn leave(self, a: f32) -> f32 {
        let a = if self.saturate { saturated(a) } else { canonical(a) };
        if self.flush { flushed(a) } else { a }
    }
}

/// Zero of the same sign where `a` is subnormal.
#[inline(always)]
pub(crate) fn flushed(a: f32) -> f32 {
    if a.abs() < f32::MIN_POSITIVE { 0f32.copysign(a) } else { a }
}

/// f32 arithmetic makes one NaN only.
#[inline(always)]
pub(crate) fn canonical(a: f32) -> f32 {
    // of bits, not of numbers: to an optimiser one NaN is as good as another, and the choice not worth an instruction
    let bits = a.to_bits();
    f32::from_bits(if bits & 0x7fff_ffff > 0x7f80_0000 { 0x7fff_ffff } else { bits })
}

fn saturated(a: f32) -> f32 {
    if a > 0.0 { a.min(1.0) } else { 0.0 }
}

fn unary_f32(style: Style, function: impl Fn(f32, Rounding) -> f32 + Send + Sync + 'static) -> Function {
    if style.is_plain() {
        return unary(move |a| canonical(function(a, Rounding::Nearest)));
    }
    unary(move |a| style.leave(function(style.enter(a), style.rounding)))
}

fn binary_f32(style: Style, function: impl Fn(f32, f32, Rounding) -> f32 + Send + Sync + 'static) -> Function {
    if style.is_plain() {
        return binary(move |a, b| canonical(function(a, b, Rounding::Nearest)));
    }
    binary(move |a, b| style.leave(function(style.enter(a), style.enter(b), style.rounding)))
}

/// f64 is rounded to nearest only; libdevice has no use for the rest.
fn nearest_only(style: Style) -> Option<()> {
    (style.rounding == Rounding::Nearest && !style.saturate).then_some(())
}

pub(crate) fn add(of: Type, style: Style) -> Option<Function> {
    match of {
        Type::F32 => Some(binary_f32(style, rounding::add)),
        Type::F64 => nearest_only(style).map(|()| binary(|a: f64, b: f64| a + b)),
        _ => None,
    }
}

pub(crate) fn subtract(of: Type, style: Style) -> Option<Function> {
    match of {
        Type::F32 => Some(binary_f32(style, |a, b, rounding| rounding::add(a, -b, rounding))),
        Type::F64 => nearest_only(style).map(|()| binary(|a: f64, b: f64| a - b)),
        _ => None,
    }
}

pub(crate) fn multiply(of: Type, style: Style) -> Option<Function> {
    match of {
        Type::F32 => Some(binary_f32(style, rounding::multiply)),
        Type::F64 => nearest_only(style).map(|()| binary(|a: f64, b: f64| a * b)),
        _ => None,
    }
}

/// One rounding.
pub(crate) fn multiply_add(of: Type, style: Style) -> Option<Function> {
    match of {
        Type::F32 if style.is_plain() => Some(ternary(|a: f32, b: f32, c: f32| canonical(a.mul_add(b, c)))),
        Type::F32 => Some(ternary(move |a: f32, b: f32, c: f32| {
            style.leave(rounding::multiply_add(style.enter(a), style.enter(b), style.enter(c), style.rounding))
        })),
        Type::F64 => nearest_only(style).map(|()| ternary(|a: f64, b: f64, c: f64| a.mul_add(b, c))),
        _ => None,
    }
}

pub(crate) fn divide(of: Type, style: Style) -> Option<Function> {
    match of {
        Type::F32 => Some(binary_f32(style, rounding::divide)),
        Type::F64 => nearest_only(style).map(|()| binary(|a: f64, b: f64| a / b)),
        _ => None,
    }
}

pub(crate) fn reciprocal(of: Type, style: Style) -> Option<Function> {
    match of {
        Type::F32 => Some(unary_f32(style, |a, rounding| rounding::divide(1.0, a, rounding))),
        Type::F64 => nearest_only(style).map(|()| unary(|a: f64| 1.0 / a)),
        _ => None,
    }
}

pub(crate) fn square_root(of: Type, style: Style) -> Option<Function> {
    match of {
        Type::F32 => Some(unary_f32(style, rounding::square_root)),
        Type::F64 => nearest_only(style).map(|()| unary(|a: f64| a.sqrt())),
        _ => None,
    }
}

/// NaN keeps its bits, apart from the sign.
pub(crate) fn negate(of: Type, flush: bool) -> Option<Function> {
    Some(match of {
        Type::F32 if flush => unary(|a: f32| -flushed(a)),
        Type::F32 => unary(|a: f32| -a),
        Type::F64 => unary(|a: f64| -a),
        _ => return None,
    })
}

pub(crate) fn absolute(of: Type, flush: bool) -> Option<Function> {
    Some(match of {
        Type::F32 if flush => unary(|a: f32| flushed(a).abs()),
        Type::F32 => unary(|a: f32| a.abs()),
        Type::F64 => unary(|a: f64| a.abs()),
        _ => return None,
    })
}

/// `a` with the sign of `sign`.
pub(crate) fn copy_sign(of: Type) -> Option<Function> {
    Some(match of {
        Type::F32 => binary(|sign: f32, a: f32| a.copysign(sign)),
        Type::F64 => binary(|sign: f64, a: f64| a.copysign(sign)),
        _ => return None,
    })
}

/// The smaller number; of a number and a NaN the number, unless NaN is asked for. -0 is smaller than 0.
pub(crate) fn minimum(of: Type, flush: bool, keep_nan: bool) -> Option<Function> {
    extreme(of, flush, keep_nan, true)
}

/// As [`minimum`].
pub(crate) fn maximum(of: Type, flush: bool, keep_nan: bool) -> Option<Function> {
    extreme(of, flush, keep_nan, false)
}

fn extreme(of: Type, flush: bool, keep_nan: bool, smallest: bool) -> Option<Function> {
    Some(match of {
        Type::F32 => binary(move |a: f32, b: f32| {
            let (a, b) = if flush { (flushed(a), flushed(b)) } else { (a, b) };
            match extreme_of(a.into(), b.into(), keep_nan, smallest) {
                Some(chosen) => chosen as f32,
                None => canonical(f32::NAN),
            }
        }),
        Type::F64 => binary(move |a: f64, b: f64| {
            extreme_of(a, b, keep_nan, smallest).unwrap_or(f64::from_bits(0x7fff_ffff_ffff_ffff))
        }),
        _ => return None,
    })
}

/// `None` is NaN.
#[inline(always)]
pub(crate) fn extreme_of(a: f64, b: f64, keep_nan: bool, smallest: bool) -> Option<f64> {
    match (a.is_nan(), b.is_nan()) {
        (true, true) => None,
        (true, false) => (!keep_nan).then_some(b),
        (false, true) => (!keep_nan).then_some(a),
        (false, false) => {
            let a_is_smaller = a < b || (a == b && a.is_sign_negative());
            Some(if a_is_smaller == smallest { a } else { b })
        }
    }
}
