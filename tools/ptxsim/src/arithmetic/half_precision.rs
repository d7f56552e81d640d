//! f16 and bf16, one at a time or two in a register: computed wider and rounded once.

use half::{bf16, f16};

use crate::arithmetic::float::extreme_of;
use crate::arithmetic::rounding::{to_odd, two_sum};
use crate::lanes::{Function, binary, ternary, unary};
use crate::types::Type;

/// A 16-bit float.
pub(crate) trait Half: Copy + 'static {
    fn of(bits: u16) -> Self;
    fn bits(self) -> u16;
    fn wide(self) -> f64;
    /// Rounded to nearest; one NaN only.
    fn rounded(wide: f64) -> Self;
}

impl Half for f16 {
    fn of(bits: u16) -> Self {
        f16::from_bits(bits)
    }
    fn bits(self) -> u16 {
        self.to_bits()
    }
    fn wide(self) -> f64 {
        self.to_f64()
    }
    fn rounded(wide: f64) -> Self {
        if wide.is_nan() { f16::from_bits(0x7fff) } else { f16::from_f64(wide) }
    }
}

impl Half for bf16 {
    fn of(bits: u16) -> Self {
        bf16::from_bits(bits)
    }
    fn bits(self) -> u16 {
        self.to_bits()
    }
    fn wide(self) -> f64 {
        self.to_f64()
    }
    fn rounded(wide: f64) -> Self {
        if wide.is_nan() { bf16::from_bits(0x7fff) } else { bf16::from_f64(wide) }
    }
}

/// Operations of 16-bit floats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HalfOperation {
    Add,
    Subtract,
    Multiply,
    MultiplyAdd { relu: bool },
    Minimum { keep_nan: bool },
    Maximum { keep_nan: bool },
    Negate,
    Absolute,
    Exp2,
    Tanh,
}

/// The function for f16, bf16 or a pair of them.
pub(crate) fn function(operation: HalfOperation, of: Type) -> Option<Function> {
    match of {
        Type::F16 => Some(lifted::<f16>(operation, false)),
        Type::F16x2 => Some(lifted::<f16>(operation, true)),
        Type::Bf16 => Some(lifted::<bf16>(operation, false)),
        Type::Bf16x2 => Some(lifted::<bf16>(operation, true)),
        _ => None,
    }
}

fn lifted<T: Half>(operation: HalfOperation, pair: bool) -> Function {
    use HalfOperation::*;
    match operation {
        Negate | Absolute | Exp2 | Tanh => {
            unary(move |a: u32| each(pair, |place| one::<T>(operation, at(a, place), 0, 0)))
        }
        MultiplyAdd { .. } => ternary(move |a: u32, b: u32, c: u32| {
            each(pair, |place| one::<T>(operation, at(a, place), at(b, place), at(c, place)))
        }),
        _ => binary(move |a: u32, b: u32| each(pair, |place| one::<T>(operation, at(a, place), at(b, place), 0))),
    }
}

fn at(bits: u32, place: u32) -> u16 {
    (bits >> (16 * place)) as u16
}

fn each(pair: bool, compute: impl Fn(u32) -> u16) -> u32 {
    let low = u32::from(compute(0));
    if pair { low | u32::from(compute(1)) << 16 } else { low }
}

fn one<T: Half>(operation: HalfOperation, a: u16, b: u16, c: u16) -> u16 {
    use HalfOperation::*;
    let (x, y, z) = (T::of(a).wide(), T::of(b).wide(), T::of(c).wide());
    let chosen = |keep_nan, smallest| extreme_of(x, y, keep_nan, smallest).unwrap_or(f64::NAN);
    let wide = match operation {
        Negate => return a ^ 0x8000,
        Absolute => return a & 0x7fff,
        Add => odd_sum(x, y),
        Subtract => odd_sum(x, -y),
        Multiply => x * y,
        MultiplyAdd { relu } => {
            let sum = odd_sum(x * y, z);
            if relu && sum < 0.0 { 0.0 } else { sum }
        }
        Minimum { keep_nan } => chosen(keep_nan, true),
        Maximum { keep_nan } => chosen(keep_nan, false),
        Exp2 => x.exp2(),
        Tanh => x.tanh(),
    };
    T::rounded(wide).bits()
}

/// The sum in a form that rounds to 16 bits as the exact one does.
fn odd_sum(a: f64, b: f64) -> f64 {
    let (sum, error) = two_sum(a, b);
    to_odd(sum, error)
}
