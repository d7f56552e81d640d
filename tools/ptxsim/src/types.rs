//! The fundamental types of PTX, and how a lane's 64 bits are read as one of them.

use half::{bf16, f16};

/// A fundamental type. `B…` types are read as unsigned integers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Type {
    Pred,
    B8,
    B16,
    B32,
    B64,
    U8,
    U16,
    U32,
    U64,
    S8,
    S16,
    S32,
    S64,
    F16,
    F16x2,
    Bf16,
    Bf16x2,
    F32,
    F64,
}

impl Type {
    /// The type with this name, without its dot.
    pub(crate) fn parse(name: &str) -> Option<Type> {
        Some(match name {
            "pred" => Type::Pred,
            "b8" => Type::B8,
            "b16" => Type::B16,
            "b32" => Type::B32,
            "b64" => Type::B64,
            "u8" => Type::U8,
            "u16" => Type::U16,
            "u32" => Type::U32,
            "u64" => Type::U64,
            "s8" => Type::S8,
            "s16" => Type::S16,
            "s32" => Type::S32,
            "s64" => Type::S64,
            "f16" => Type::F16,
            "f16x2" => Type::F16x2,
            "bf16" => Type::Bf16,
            "bf16x2" => Type::Bf16x2,
            "f32" => Type::F32,
            "f64" => Type::F64,
            _ => return None,
        })
    }

    /// Bytes; a predicate has none.
    pub(crate) fn size(self) -> u64 {
        match self {
            Type::Pred => 0,
            Type::B8 | Type::U8 | Type::S8 => 1,
            Type::B16 | Type::U16 | Type::S16 | Type::F16 | Type::Bf16 => 2,
            Type::B32 | Type::U32 | Type::S32 | Type::F16x2 | Type::Bf16x2 | Type::F32 => 4,
            Type::B64 | Type::U64 | Type::S64 | Type::F64 => 8,
        }
    }

    /// Bits set in every place the type has.
    pub(crate) fn mask(self) -> u64 {
        low_bits(self.size() as u32 * 8)
    }

    pub(crate) fn is_signed(self) -> bool {
        matches!(self, Type::S8 | Type::S16 | Type::S32 | Type::S64)
    }

    pub(crate) fn is_float(self) -> bool {
        matches!(self, Type::F16 | Type::F16x2 | Type::Bf16 | Type::Bf16x2 | Type::F32 | Type::F64)
    }
}

/// The lowest `count` bits set.
pub(crate) fn low_bits(count: u32) -> u64 {
    if count >= 64 { u64::MAX } else { (1 << count) - 1 }
}

/// `bits`, whose highest bit is number `width` - 1, with that bit repeated above.
pub(crate) fn sign_extended(bits: u64, width: u32) -> u64 {
    let unused = 64 - width.clamp(1, 64);
    ((bits << unused) as i64 >> unused) as u64
}

/// What a register's 64 bits stand for in one instruction.
pub(crate) trait Value: Copy + 'static {
    fn of(bits: u64) -> Self;
    fn bits(self) -> u64;
}

macro_rules! integer_value {
    ($($integer:ty as $unsigned:ty),*) => {$(
        impl Value for $integer {
            #[inline(always)]
            fn of(bits: u64) -> Self {
                bits as $integer
            }
            #[inline(always)]
            fn bits(self) -> u64 {
                self as $unsigned as u64
            }
        }
    )*};
}
integer_value!(u8 as u8, u16 as u16, u32 as u32, u64 as u64, i8 as u8, i16 as u16, i32 as u32, i64 as u64);

macro_rules! float_value {
    ($($float:ty as $unsigned:ty),*) => {$(
        impl Value for $float {
            #[inline(always)]
            fn of(bits: u64) -> Self {
                <$float>::from_bits(bits as $unsigned)
            }
            #[inline(always)]
            fn bits(self) -> u64 {
                self.to_bits() as u64
            }
        }
    )*};
}
float_value!(f16 as u16, bf16 as u16, f32 as u32, f64 as u64);

impl Value for bool {
    #[inline(always)]
    fn of(bits: u64) -> Self {
        bits != 0
    }
    #[inline(always)]
    fn bits(self) -> u64 {
        self as u64
    }
}

/// Evaluates `$body` with `$T` standing for the Rust integer that `$type` is; `None` where it is no integer.
macro_rules! with_integer {
    ($type:expr, $T:ident => $body:expr) => {
        match $type {
            $crate::types::Type::B8 | $crate::types::Type::U8 => Some({
                type $T = u8;
                $body
            }),
            $crate::types::Type::B16 | $crate::types::Type::U16 => Some({
                type $T = u16;
                $body
            }),
            $crate::types::Type::B32 | $crate::types::Type::U32 => Some({
                type $T = u32;
                $body
            }),
            $crate::types::Type::B64 | $crate::types::Type::U64 => Some({
                type $T = u64;
                $body
            }),
            $crate::types::Type::S8 => Some({
                type $T = i8;
                $body
            }),
            $crate::types::Type::S16 => Some({
                type $T = i16;
                $body
            }),
            $crate::types::Type::S32 => Some({
                type $T = i32;
                $body
            }),
            $crate::types::Type::S64 => Some({
                type $T = i64;
                $body
            }),
            _ => None,
        }
    };
}
pub(crate) use with_integer;
