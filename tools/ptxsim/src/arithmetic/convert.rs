//! `cvt`: integers to integers, to floats and back.

use half::{bf16, f16};

use crate::arithmetic::float::{canonical, flushed};
use crate::arithmetic::rounding::{Rounding, to_f32, to_integral};
use crate::lanes::{Function, binary, unary};
use crate::types::{Type, Value, sign_extended};

/// Everything `cvt` says besides the types.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Conversion {
    pub(crate) rounding: Rounding,
    /// A float stays a float and becomes integral.
    pub(crate) to_integral: bool,
    pub(crate) flush: bool,
    pub(crate) saturate: bool,
    pub(crate) relu: bool,
}

/// From `from` to `to`, or `None` where there is no such conversion here.
pub(crate) fn function(to: Type, from: Type, how: Conversion) -> Option<Function> {
    match (to.is_float(), from.is_float()) {
        (false, false) => Some(between_integers(to, from, how.saturate)),
        (true, false) => from_integer(to, from, how),
        (false, true) => to_integer(to, from, how),
        (true, true) => between_floats(to, from, how),
    }
}

fn between_integers(to: Type, from: Type, saturate: bool) -> Function {
    let (mask, width, signed) = (from.mask(), from.size() as u32 * 8, from.is_signed());
    let widened = move |a: u64| if signed { sign_extended(a, width) } else { a & mask };
    if saturate {
        let (lowest, highest) = limits(to);
        return unary(move |a: u64| {
            let a = widened(a);
            let wide = if signed { i128::from(a as i64) } else { i128::from(a) };
            wide.clamp(lowest, highest) as u64 & to.mask()
        });
    }
    let mask = to.mask();
    unary(move |a: u64| widened(a) & mask)
}

fn limits(of: Type) -> (i128, i128) {
    let width = of.size() as u32 * 8;
    if of.is_signed() { (-(1 << (width - 1)), (1 << (width - 1)) - 1) } else { (0, (1 << width) - 1) }
}

fn from_integer(to: Type, from: Type, how: Conversion) -> Option<Function> {
    let (mask, width, signed) = (from.mask(), from.size() as u32 * 8, from.is_signed());
    let wide = move |a: u64| if signed { i128::from(sign_extended(a, width) as i64) } else { i128::from(a & mask) };
    let rounding = how.rounding;
    let saturated = move |a: f64| if how.saturate { a.clamp(0.0, 1.0) } else { a };
    Some(match to {
        Type::F64 if rounding == Rounding::Nearest => unary(move |a: u64| saturated(wide(a) as f64)),
        Type::F64 => unary(move |a: u64| saturated(directed_f64(wide(a), rounding))),
        Type::F32 if rounding == Rounding::Nearest && !how.saturate => unary(move |a: u64| wide(a) as f32),
        Type::F32 => unary(move |a: u64| {
            let exact = wide(a);
            let high = exact as f64;
            let low = exact.wrapping_sub(high as i128) as f64;
            saturated(to_f32(high, low, rounding).into()) as f32
        }),
        // 16-bit integers and wider have more places than f16, but fewer than f64
        Type::F16 if rounding == Rounding::Nearest && width <= 32 => {
            unary(move |a: u64| f16::from_f64(saturated(wide(a) as f64)))
        }
        Type::Bf16 if rounding == Rounding::Nearest && width <= 32 => {
            unary(move |a: u64| bf16::from_f64(saturated(wide(a) as f64)))
        }
        _ => return None,
    })
}

fn directed_f64(exact: i128, rounding: Rounding) -> f64 {
    let nearest = exact as f64;
    let error = (nearest as i128).wrapping_sub(exact);
    match rounding {
        Rounding::Down if error > 0 => nearest.next_down(),
        Rounding::Up if error < 0 => nearest.next_up(),
        Rounding::Zero if error > 0 && exact > 0 => nearest.next_down(),
        Rounding::Zero if error < 0 && exact < 0 => nearest.next_up(),
        _ => nearest,
    }
}

fn to_integer(to: Type, from: Type, how: Conversion) -> Option<Function> {
    let (lowest, highest) = limits(to);
    let wide_ends = to.size() == 8 || from == Type::F64;
    let not_a_number = if wide_ends { 1 << (to.size() * 8 - 1) } else { 0 };
    let convert = move |a: f64| {
        if a.is_nan() {
            return not_a_number;
        }
        (to_integral(a, how.rounding) as i128).clamp(lowest, highest) as u64 & to.mask()
    };
    Some(match from {
        Type::F64 => unary(convert),
        Type::F32 if how.flush => unary(move |a: f32| convert(flushed(a).into())),
        Type::F32 => unary(move |a: f32| convert(a.into())),
        Type::F16 => unary(move |a: f16| convert(a.into())),
        Type::Bf16 => unary(move |a: bf16| convert(a.into())),
        _ => return None,
    })
}

fn between_floats(to: Type, from: Type, how: Conversion) -> Option<Function> {
    match (to, from) {
        (Type::F16x2, Type::F32) if how.rounding == Rounding::Nearest => {
            return Some(binary(move |high: f32, low: f32| paired(narrow::<f16>(high, how), narrow::<f16>(low, how))));
        }
        (Type::Bf16x2, Type::F32) if how.rounding == Rounding::Nearest => {
            return Some(binary(move |high: f32, low: f32| {
                paired(narrow::<bf16>(high, how), narrow::<bf16>(low, how))
            }));
        }
        _ => {}
    }
    let enter = move |a: f64| {
        let a = if how.flush && from == Type::F32 { flushed(a as f32).into() } else { a };
        if how.to_integral { to_integral(a, how.rounding) } else { a }
    };
    Some(match from {
        Type::F64 => float_to::<f64>(to, how, enter)?,
        Type::F32 => float_to::<f32>(to, how, enter)?,
        Type::F16 => float_to::<f16>(to, how, enter)?,
        Type::Bf16 => float_to::<bf16>(to, how, enter)?,
        _ => return None,
    })
}

fn float_to<T: Value + Into<f64>>(
    to: Type,
    how: Conversion,
    enter: impl Fn(f64) -> f64 + Send + Sync + 'static,
) -> Option<Function> {
    let leave = move |a: f64| {
        let saturated = if a > 0.0 { a.min(1.0) } else { 0.0 };
        let a = if how.saturate { saturated } else { a };
        if how.relu && a < 0.0 { 0.0 } else { a }
    };
    let nearest = how.rounding == Rounding::Nearest || how.to_integral;
    Some(match to {
        Type::F64 => unary(move |a: T| leave(enter(a.into()))),
        Type::F32 => unary(move |a: T| {
            let rounding = if how.to_integral { Rounding::Nearest } else { how.rounding };
            let rounded = canonical(to_f32(leave(enter(a.into())), 0.0, rounding));
            if how.flush { flushed(rounded) } else { rounded }
        }),
        Type::F16 if nearest => unary(move |a: T| <f16 as Narrow>::of(leave(enter(a.into())))),
        Type::Bf16 if nearest => unary(move |a: T| <bf16 as Narrow>::of(leave(enter(a.into())))),
        _ => return None,
    })
}

trait Narrow: Value {
    fn of(a: f64) -> Self;
}

impl Narrow for f16 {
    fn of(a: f64) -> Self {
        if a.is_nan() { f16::from_bits(0x7fff) } else { f16::from_f64(a) }
    }
}

impl Narrow for bf16 {
    fn of(a: f64) -> Self {
        if a.is_nan() { bf16::from_bits(0x7fff) } else { bf16::from_f64(a) }
    }
}

fn narrow<T: Narrow>(a: f32, how: Conversion) -> T {
    <T as Narrow>::of(if how.relu && a < 0.0 { 0.0 } else { a.into() })
}

fn paired<T: Value>(high: T, low: T) -> u32 {
    (high.bits() as u32) << 16 | low.bits() as u32
}
