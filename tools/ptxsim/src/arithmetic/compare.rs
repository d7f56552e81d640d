//! Comparisons and tests of class.

use std::cmp::Ordering::{Equal, Greater, Less};

use half::{bf16, f16};

use crate::arithmetic::float::flushed;
use crate::lanes::{Comparison, comparison};
use crate::types::{Type, Value, with_integer};

/// The comparison with this name, of integers or floats.
pub(crate) fn compare(name: &str, of: Type, flush: bool) -> Option<Comparison> {
    match of {
        Type::F16 => float::<f16>(name, f64::from),
        Type::Bf16 => float::<bf16>(name, f64::from),
        Type::F32 if flush => float::<f32>(name, |a| flushed(a).into()),
        Type::F32 => float::<f32>(name, f64::from),
        Type::F64 => float::<f64>(name, |a| a),
        _ => integer(name, of),
    }
}

fn integer(name: &str, of: Type) -> Option<Comparison> {
    with_integer!(of, T => Some(match name {
        "eq" => comparison(|a: T, b: T| a == b),
        "ne" => comparison(|a: T, b: T| a != b),
        "lt" | "lo" => comparison(|a: T, b: T| a < b),
        "le" | "ls" => comparison(|a: T, b: T| a <= b),
        "gt" | "hi" => comparison(|a: T, b: T| a > b),
        "ge" | "hs" => comparison(|a: T, b: T| a >= b),
        _ => return None,
    }))?
}

/// A `u` at the end makes NaN true, which has no order.
fn float<T: Value>(name: &str, wide: impl Fn(T) -> f64 + Send + Sync + 'static) -> Option<Comparison> {
    let order = move |a: T, b: T| wide(a).partial_cmp(&wide(b));
    macro_rules! true_where {
        ($order:pat) => {
            comparison(move |a: T, b: T| matches!(order(a, b), $order))
        };
    }
    Some(match name {
        "eq" => true_where!(Some(Equal)),
        "ne" => true_where!(Some(Less | Greater)),
        "lt" => true_where!(Some(Less)),
        "le" => true_where!(Some(Less | Equal)),
        "gt" => true_where!(Some(Greater)),
        "ge" => true_where!(Some(Greater | Equal)),
        "equ" => true_where!(Some(Equal) | None),
        "neu" => true_where!(Some(Less | Greater) | None),
        "ltu" => true_where!(Some(Less) | None),
        "leu" => true_where!(Some(Less | Equal) | None),
        "gtu" => true_where!(Some(Greater) | None),
        "geu" => true_where!(Some(Greater | Equal) | None),
        "num" => comparison(move |a, b| order(a, b).is_some()),
        "nan" => comparison(move |a, b| order(a, b).is_none()),
        _ => return None,
    })
}

/// The class of a float; the second value is not looked at.
pub(crate) fn test_class(name: &str, of: Type) -> Option<Comparison> {
    macro_rules! classes {
        ($T:ty) => {
            match name {
                "finite" => comparison(|a: $T, _| a.is_finite()),
                "infinite" => comparison(|a: $T, _| a.is_infinite()),
                "number" => comparison(|a: $T, _| !a.is_nan()),
                "notanumber" => comparison(|a: $T, _| a.is_nan()),
                "normal" => comparison(|a: $T, _| a.is_normal()),
                "subnormal" => comparison(|a: $T, _| a.is_subnormal()),
                _ => return None,
            }
        };
    }
    match of {
        Type::F32 => Some(classes!(f32)),
        Type::F64 => Some(classes!(f64)),
        _ => None,
    }
}
