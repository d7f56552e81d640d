//! Integers and bits.

use crate::lanes::{Function, binary, quaternary, ternary, unary};
use crate::types::{Type, low_bits, sign_extended, with_integer};

/// Which part of a product an instruction keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Low,
    High,
    /// All of it, in a register twice as wide.
    Wide,
}

pub(crate) fn add(of: Type) -> Option<Function> {
    with_integer!(of, T => binary(|a: T, b: T| a.wrapping_add(b)))
}

pub(crate) fn subtract(of: Type) -> Option<Function> {
    with_integer!(of, T => binary(|a: T, b: T| a.wrapping_sub(b)))
}

pub(crate) fn multiply(of: Type, part: Part) -> Option<Function> {
    match part {
        Part::Low => with_integer!(of, T => binary(|a: T, b: T| a.wrapping_mul(b))),
        Part::High => with_integer!(of, T => {
            binary(|a: T, b: T| ((a as i128).wrapping_mul(b as i128) >> T::BITS) as T)
        }),
        Part::Wide => Some(match of {
            Type::U16 => binary(|a: u16, b: u16| u32::from(a) * u32::from(b)),
            Type::S16 => binary(|a: i16, b: i16| i32::from(a) * i32::from(b)),
            Type::U32 => binary(|a: u32, b: u32| u64::from(a) * u64::from(b)),
            Type::S32 => binary(|a: i32, b: i32| i64::from(a) * i64::from(b)),
            _ => return None,
        }),
    }
}

pub(crate) fn multiply_add(of: Type, part: Part) -> Option<Function> {
    match part {
        Part::Low => with_integer!(of, T => ternary(|a: T, b: T, c: T| a.wrapping_mul(b).wrapping_add(c))),
        Part::High => with_integer!(of, T => ternary(|a: T, b: T, c: T| {
            (((a as i128).wrapping_mul(b as i128) >> T::BITS) as T).wrapping_add(c)
        })),
        Part::Wide => Some(match of {
            Type::U16 => ternary(|a: u16, b: u16, c: u32| (u32::from(a) * u32::from(b)).wrapping_add(c)),
            Type::S16 => ternary(|a: i16, b: i16, c: i32| (i32::from(a) * i32::from(b)).wrapping_add(c)),
            Type::U32 => ternary(|a: u32, b: u32, c: u64| (u64::from(a) * u64::from(b)).wrapping_add(c)),
            Type::S32 => ternary(|a: i32, b: i32, c: i64| (i64::from(a) * i64::from(b)).wrapping_add(c)),
            _ => return None,
        }),
    }
}

/// Products of the low 24 bits: bits 0 to 31 of them, or 16 to 47.
pub(crate) fn multiply_24(of: Type, part: Part) -> Option<Function> {
    Some(match (of, part) {
        (Type::U32, Part::Low) => binary(|a: u32, b: u32| product_24(a, b) as u32),
        (Type::U32, Part::High) => binary(|a: u32, b: u32| (product_24(a, b) >> 16) as u32),
        (Type::S32, Part::Low) => binary(|a: u32, b: u32| signed_product_24(a, b) as u32),
        (Type::S32, Part::High) => binary(|a: u32, b: u32| (signed_product_24(a, b) >> 16) as u32),
        _ => return None,
    })
}

fn product_24(a: u32, b: u32) -> u64 {
    u64::from(a & 0xff_ffff) * u64::from(b & 0xff_ffff)
}

fn signed_product_24(a: u32, b: u32) -> i64 {
    sign_extended(a.into(), 24) as i64 * sign_extended(b.into(), 24) as i64
}

/// A zero divisor is the caller's to find: what a GPU returns then isn't specified.
pub(crate) fn divide(of: Type) -> Option<Function> {
    with_integer!(of, T => binary(|a: T, b: T| if b == 0 { T::MAX } else { a.wrapping_div(b) }))
}

pub(crate) fn remainder(of: Type) -> Option<Function> {
    with_integer!(of, T => binary(|a: T, b: T| if b == 0 { a } else { a.wrapping_rem(b) }))
}

pub(crate) fn minimum(of: Type) -> Option<Function> {
    with_integer!(of, T => binary(|a: T, b: T| a.min(b)))
}

pub(crate) fn maximum(of: Type) -> Option<Function> {
    with_integer!(of, T => binary(|a: T, b: T| a.max(b)))
}

pub(crate) fn negate(of: Type) -> Option<Function> {
    with_integer!(of, T => unary(|a: T| a.wrapping_neg()))
}

pub(crate) fn absolute(of: Type) -> Option<Function> {
    Some(match of {
        Type::S16 => unary(i16::wrapping_abs),
        Type::S32 => unary(i32::wrapping_abs),
        Type::S64 => unary(i64::wrapping_abs),
        _ => return None,
    })
}

/// |a - b| + c
pub(crate) fn sum_of_absolute_differences(of: Type) -> Option<Function> {
    with_integer!(of, T => ternary(|a: T, b: T, c: T| c.wrapping_add(a.abs_diff(b) as T)))
}

pub(crate) fn and(of: Type) -> Option<Function> {
    with_integer!(of, T => binary(|a: T, b: T| a & b))
}

pub(crate) fn or(of: Type) -> Option<Function> {
    with_integer!(of, T => binary(|a: T, b: T| a | b))
}

pub(crate) fn exclusive_or(of: Type) -> Option<Function> {
    with_integer!(of, T => binary(|a: T, b: T| a ^ b))
}

pub(crate) fn not(of: Type) -> Option<Function> {
    with_integer!(of, T => unary(|a: T| !a))
}

pub(crate) fn logical_not(of: Type) -> Option<Function> {
    with_integer!(of, T => unary(|a: T| (a == 0) as T))
}

/// Any function of three bits, as its truth table.
pub(crate) fn three_bits(table: u8) -> Function {
    ternary(move |a: u32, b: u32, c: u32| {
        (0..8).filter(|row| table >> row & 1 == 1).fold(0, |bits, row| {
            let a = if row & 4 == 0 { !a } else { a };
            let b = if row & 2 == 0 { !b } else { b };
            let c = if row & 1 == 0 { !c } else { c };
            bits | (a & b & c)
        })
    })
}

/// Amounts beyond the width shift everything out.
pub(crate) fn shift_left(of: Type) -> Option<Function> {
    with_integer!(of, T => binary(|a: T, amount: u32| a.checked_shl(amount).unwrap_or(0)))
}

/// Signed types repeat their sign.
pub(crate) fn shift_right(of: Type) -> Option<Function> {
    with_integer!(of, T => binary(|a: T, amount: u32| a >> amount.min(T::BITS - 1) >> (amount >= T::BITS) as u32))
}

/// Bits of the pair `high:low`, shifted; the amount wraps at 32 or stays there.
pub(crate) fn funnel_shift(left: bool, wrap: bool) -> Function {
    ternary(move |low: u32, high: u32, amount: u32| {
        let amount = if wrap { amount & 31 } else { amount.min(32) };
        let pair = u64::from(high) << 32 | u64::from(low);
        if left { (pair << amount >> 32) as u32 } else { (pair >> amount) as u32 }
    })
}

/// `length` bits of `a` from `position` on; signed types repeat the highest.
pub(crate) fn extract_bits(of: Type) -> Option<Function> {
    let width = of.size() as u32 * 8;
    let signed = of.is_signed();
    let extract = move |a: u64, position: u32, length: u32| {
        let (position, length) = (position & 0xff, length & 0xff);
        let a = if signed { sign_extended(a, width) } else { a };
        let above = if signed { ((a as i64) >> position.min(63)) as u64 } else { a.checked_shr(position).unwrap_or(0) };
        match (length, signed) {
            (0, _) => 0,
            (_, true) => sign_extended(above, length.min(64)) & low_bits(width),
            (_, false) => above & low_bits(length),
        }
    };
    matches!(of, Type::U32 | Type::S32 | Type::U64 | Type::S64).then(|| ternary(extract))
}

/// `length` bits of `a` put into `b` at `position`.
pub(crate) fn insert_bits(of: Type) -> Option<Function> {
    let mask = of.mask();
    matches!(of, Type::B32 | Type::B64).then(|| {
        quaternary(move |a: u64, b: u64, position, length| {
            let bits = low_bits(length & 0xff).checked_shl(position & 0xff).unwrap_or(0);
            let a = a.checked_shl(position & 0xff).unwrap_or(0);
            ((a & bits) | (b & !bits)) & mask
        })
    })
}

pub(crate) fn count_ones(of: Type) -> Option<Function> {
    with_integer!(of, T => unary(|a: T| a.count_ones()))
}

pub(crate) fn leading_zeros(of: Type) -> Option<Function> {
    with_integer!(of, T => unary(|a: T| a.leading_zeros()))
}

pub(crate) fn reverse_bits(of: Type) -> Option<Function> {
    with_integer!(of, T => unary(|a: T| a.reverse_bits()))
}

/// The place of the highest bit that differs from the sign, or how far it is from the top.
pub(crate) fn find_highest(of: Type, shift_amount: bool) -> Option<Function> {
    let (width, signed) = (of.size() as u32 * 8, of.is_signed());
    matches!(of, Type::U32 | Type::S32 | Type::U64 | Type::S64).then(|| {
        unary(move |a: u64| {
            let negative = signed && a >> (width - 1) & 1 == 1;
            let a = if negative { !a & low_bits(width) } else { a & low_bits(width) };
            match a {
                0 => u32::MAX,
                _ if shift_amount => a.leading_zeros() - (64 - width),
                _ => 63 - a.leading_zeros(),
            }
        })
    })
}

/// How `prmt` chooses the four bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Permutation {
    Generic,
    Forward,
    Backward,
    Replicate8,
    EdgeLeft,
    EdgeRight,
    Replicate16,
}

pub(crate) fn permute_bytes(mode: Permutation) -> Function {
    ternary(move |a: u32, b: u32, selector: u32| {
        let bytes = (u64::from(b) << 32 | u64::from(a)).to_le_bytes();
        let start = selector & 3;
        let choice = |place: u32| match mode {
            Permutation::Generic => selector >> (4 * place) & 15,
            Permutation::Forward => start + place,
            Permutation::Backward => (start + 8 - place) & 7,
            Permutation::Replicate8 => start,
            Permutation::EdgeLeft => start.max(place),
            Permutation::EdgeRight => start.min(place),
            Permutation::Replicate16 => 2 * (start & 1) + (place & 1),
        };
        u32::from_le_bytes([0, 1, 2, 3].map(|place| {
            let choice = choice(place);
            let byte = bytes[choice as usize & 7];
            if choice & 8 == 0 { byte } else { (byte as i8 >> 7) as u8 }
        }))
    })
}

/// c + the dot product of four bytes.
pub(crate) fn dot_of_bytes(a_is: Type, b_is: Type) -> Option<Function> {
    let widen = |signed: bool| move |byte: u8| if signed { i32::from(byte as i8) } else { i32::from(byte) };
    let known = |of| matches!(of, Type::U32 | Type::S32);
    let (a_of, b_of) = (widen(a_is.is_signed()), widen(b_is.is_signed()));
    (known(a_is) && known(b_is)).then(|| {
        ternary(move |a: u32, b: u32, c: u32| {
            let pairs = a.to_le_bytes().into_iter().zip(b.to_le_bytes());
            pairs.fold(c, |sum, (a, b)| sum.wrapping_add((a_of(a) * b_of(b)) as u32))
        })
    })
}

/// `a` where `c` isn't negative, else `b`.
pub(crate) fn select_by_sign(of: Type, sign_of: Type) -> Option<Function> {
    let mask = of.mask();
    match sign_of {
        Type::S32 => Some(ternary(move |a: u64, b: u64, c: i32| if c >= 0 { a & mask } else { b & mask })),
        Type::F32 => Some(ternary(move |a: u64, b: u64, c: f32| if c >= 0.0 { a & mask } else { b & mask })),
        _ => None,
    }
}
