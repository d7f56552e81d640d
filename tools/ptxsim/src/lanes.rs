//! A warp's 32 values of one register, and functions applied to all of them at once.
//!
//! An instruction is decoded once into a closure that holds the loop over the lanes, so that what one instruction costs
//! beyond its arithmetic is shared by up to 32 threads.

use std::cell::Cell;

use crate::types::Value;

/// Threads in a warp.
pub(crate) const LANES: usize = 32;

/// One register of every lane of a warp.
pub(crate) type Row = [Cell<u64>; LANES];

type Map1 = Box<dyn Fn(u32, &Row, &Row) + Send + Sync>;
type Map2 = Box<dyn Fn(u32, &Row, &Row, &Row) + Send + Sync>;
type Map3 = Box<dyn Fn(u32, &Row, &Row, &Row, &Row) + Send + Sync>;
type Map4 = Box<dyn Fn(u32, &Row, &Row, &Row, &Row, &Row) + Send + Sync>;

/// A value computed from values of the same lane. The first arguments are the active lanes and the row to write.
pub(crate) enum Function {
    Unary(Map1),
    Binary(Map2),
    Ternary(Map3),
    Quaternary(Map4),
}

/// Truth values, one bit a lane, computed from two values of the same lane.
pub(crate) type Comparison = Box<dyn Fn(u32, &Row, &Row) -> u32 + Send + Sync>;

/// Calls `visit` with the number of each lane in `mask`.
#[inline(always)]
pub(crate) fn for_each_lane(mask: u32, mut visit: impl FnMut(usize)) {
    if mask == u32::MAX {
        for lane in 0..LANES {
            visit(lane);
        }
    } else {
        let mut rest = mask;
        while rest != 0 {
            visit(rest.trailing_zeros() as usize % LANES);
            rest &= rest - 1;
        }
    }
}

pub(crate) fn unary<A: Value, R: Value>(function: impl Fn(A) -> R + Send + Sync + 'static) -> Function {
    Function::Unary(Box::new(move |mask, to, a| {
        for_each_lane(mask, |lane| to[lane].set(function(A::of(a[lane].get())).bits()))
    }))
}

pub(crate) fn binary<A: Value, B: Value, R: Value>(function: impl Fn(A, B) -> R + Send + Sync + 'static) -> Function {
    Function::Binary(Box::new(move |mask, to, a, b| {
        for_each_lane(mask, |lane| to[lane].set(function(A::of(a[lane].get()), B::of(b[lane].get())).bits()))
    }))
}

pub(crate) fn ternary<A: Value, B: Value, C: Value, R: Value>(
    function: impl Fn(A, B, C) -> R + Send + Sync + 'static,
) -> Function {
    Function::Ternary(Box::new(move |mask, to, a, b, c| {
        for_each_lane(mask, |lane| {
            to[lane].set(function(A::of(a[lane].get()), B::of(b[lane].get()), C::of(c[lane].get())).bits())
        })
    }))
}

pub(crate) fn quaternary<T: Value>(function: impl Fn(T, T, u32, u32) -> T + Send + Sync + 'static) -> Function {
    Function::Quaternary(Box::new(move |mask, to, a, b, c, d| {
        for_each_lane(mask, |lane| {
            let (a, b) = (T::of(a[lane].get()), T::of(b[lane].get()));
            to[lane].set(function(a, b, c[lane].get() as u32, d[lane].get() as u32).bits())
        })
    }))
}

pub(crate) fn comparison<T: Value>(function: impl Fn(T, T) -> bool + Send + Sync + 'static) -> Comparison {
    Box::new(move |mask, a, b| {
        let mut truths = 0;
        for_each_lane(mask, |lane| {
            truths |= (function(T::of(a[lane].get()), T::of(b[lane].get())) as u32) << lane;
        });
        truths
    })
}
