//! The element types that the kernels take.

use half::{bf16, f16};

use super::rows::Packed;

pub(super) mod sealed {
    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for f64 {}
    impl Sealed for half::f16 {}
    impl Sealed for half::bf16 {}
    impl Sealed for i32 {}
    impl Sealed for i64 {}
}

/// What f and f′ are made from: `f32`, `f64`, and the kernels' registers of rows.
pub trait Arithmetic:
    sealed::Sealed
    + Copy
    + std::ops::Add<Output = Self>
    + std::ops::Sub<Output = Self>
    + std::ops::Mul<Output = Self>
    + std::ops::Div<Output = Self>
    + std::ops::Neg<Output = Self>
    + 'static
{
    /// The nearest number of this type.
    fn from_f64(x: f64) -> Self;
    /// e^x; registers: for x ≤ 0.
    fn exp(self) -> Self;
    /// log(1 + x), accurate for small x; registers: for 0 ≤ x ≤ 1.
    fn ln_1p(self) -> Self;
    /// Sine; registers: for 0 ≤ x ≤ π.
    fn sin(self) -> Self;
    /// |x|.
    fn abs(self) -> Self;
    /// self < than ? yes : no; so `no` where one is NaN.
    fn if_less(self, than: Self, yes: Self, no: Self) -> Self;
}

/// A floating point type that can be computed with: `f32` or `f64`.
pub trait Real: Arithmetic + Send + Sync + PartialOrd + std::fmt::Debug {
    /// 0.
    const ZERO: Self;
    /// 1.
    const ONE: Self;
    /// −∞.
    const NEG_INFINITY: Self;
    /// The same number as `f64`.
    fn to_f64(self) -> f64;
}

macro_rules! real {
    ($($t:ident),*) => {$(
        impl Arithmetic for $t {
            #[inline]
            fn from_f64(x: f64) -> Self {
                x as $t
            }
            #[inline]
            fn exp(self) -> Self {
                $t::exp(self)
            }
            #[inline]
            fn ln_1p(self) -> Self {
                $t::ln_1p(self)
            }
            #[inline]
            fn sin(self) -> Self {
                $t::sin(self)
            }
            #[inline]
            fn abs(self) -> Self {
                $t::abs(self)
            }
            #[inline]
            fn if_less(self, than: Self, yes: Self, no: Self) -> Self {
                if self < than { yes } else { no }
            }
        }

        impl Real for $t {
            const ZERO: Self = 0.0;
            const ONE: Self = 1.0;
            const NEG_INFINITY: Self = $t::NEG_INFINITY;
            #[inline]
            fn to_f64(self) -> f64 {
                self.into()
            }
        }
    )*};
}
real!(f32, f64);

/// An element type of logits: `f16`, `bf16`, `f32` or `f64`.
pub trait Element: sealed::Sealed + Packed + Send + Sync + std::fmt::Debug + 'static {
    /// The exact value as `f64`.
    fn to_f64(self) -> f64;
    /// The number of this type nearest to x.
    fn from_f64(x: f64) -> Self;
}

macro_rules! element {
    ($t:ty, $to:expr, $from:expr) => {
        impl Element for $t {
            #[inline]
            fn to_f64(self) -> f64 {
                $to(self)
            }
            #[inline]
            fn from_f64(x: f64) -> Self {
                $from(x)
            }
        }
    };
}
element!(f16, f16::to_f64, f16::from_f64);
element!(bf16, bf16::to_f64, bf16::from_f64);
element!(f32, f64::from, |x| x as f32);
element!(f64, |x| x, |x| x);

/// An element type of labels: `i32` or `i64`.
pub trait Label: sealed::Sealed + Copy + Into<i64> + Send + Sync + 'static {
    /// These labels, without their type.
    fn erase(labels: &[Self]) -> Labels<'_>;
}

impl Label for i32 {
    fn erase(labels: &[i32]) -> Labels<'_> {
        Labels::Int32(labels)
    }
}

impl Label for i64 {
    fn erase(labels: &[i64]) -> Labels<'_> {
        Labels::Int64(labels)
    }
}

/// Labels of either type. The kernels read them once per row, so that code for each type would be size without speed.
#[derive(Clone, Copy, Debug)]
pub enum Labels<'a> {
    /// `i32`
    Int32(&'a [i32]),
    /// `i64`
    Int64(&'a [i64]),
}

impl<'a, L: Label> From<&'a [L]> for Labels<'a> {
    fn from(labels: &'a [L]) -> Self {
        L::erase(labels)
    }
}

impl<'a, L: Label, const N: usize> From<&'a [L; N]> for Labels<'a> {
    fn from(labels: &'a [L; N]) -> Self {
        L::erase(labels)
    }
}

impl<'a, L: Label> From<&'a Vec<L>> for Labels<'a> {
    fn from(labels: &'a Vec<L>) -> Self {
        L::erase(labels)
    }
}

impl Labels<'_> {
    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Labels::Int32(labels) => labels.len(),
            Labels::Int64(labels) => labels.len(),
        }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The label of a row.
    ///
    /// # Panics
    /// If there are not so many.
    #[inline]
    #[must_use]
    pub fn get(&self, row: usize) -> i64 {
        match self {
            Labels::Int32(labels) => labels[row].into(),
            Labels::Int64(labels) => labels[row],
        }
    }
}
