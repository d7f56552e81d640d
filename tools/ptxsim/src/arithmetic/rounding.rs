//! Directed rounding, for which Rust has no arithmetic of its own.

/// The `.rn .rz .rm .rp` of PTX.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rounding {
    Nearest,
    Zero,
    Down,
    Up,
}

/// The sum of two numbers as its rounded value and the error of that, which is exact.
pub(crate) fn two_sum(a: f64, b: f64) -> (f64, f64) {
    let sum = a + b;
    let b_part = sum - a;
    (sum, (a - (sum - b_part)) + (b - b_part))
}

/// `high` + `low` as f32, where `high` is that sum rounded to f64, and of `low` only the sign counts.
pub(crate) fn to_f32(high: f64, low: f64, rounding: Rounding) -> f32 {
    let nearest = to_odd(high, low) as f32;
    if !high.is_finite() || rounding == Rounding::Nearest {
        return nearest;
    }
    let wide = f64::from(nearest);
    let too_high = wide > high || (wide == high && low < 0.0);
    let too_low = wide < high || (wide == high && low > 0.0);
    match rounding {
        Rounding::Down if too_high => nearest.next_down(),
        Rounding::Up if too_low => nearest.next_up(),
        Rounding::Zero if too_high && high > 0.0 => nearest.next_down(),
        Rounding::Zero if too_low && high < 0.0 => nearest.next_up(),
        _ => nearest,
    }
}

/// `high` + `low` with the last place odd where it isn't exact: a second rounding to fewer places then errs nowhere.
pub(crate) fn to_odd(high: f64, low: f64) -> f64 {
    if low == 0.0 || low.is_nan() || !high.is_finite() || high.to_bits() & 1 == 1 {
        return high;
    }
    if low > 0.0 { high.next_up() } else { high.next_down() }
}

/// Zero that `a` + `b` gives: negative where both are, and where they cancel and are rounded down.
fn zero_sum(a: f32, b: f32, rounding: Rounding) -> f32 {
    let negative = if a == 0.0 && b == 0.0 && a.is_sign_negative() == b.is_sign_negative() {
        a.is_sign_negative()
    } else {
        rounding == Rounding::Down
    };
    if negative { -0.0 } else { 0.0 }
}

#[inline(always)]
pub(crate) fn add(a: f32, b: f32, rounding: Rounding) -> f32 {
    if rounding == Rounding::Nearest {
        return a + b;
    }
    let (sum, error) = two_sum(a.into(), b.into());
    if sum == 0.0 { zero_sum(a, b, rounding) } else { to_f32(sum, error, rounding) }
}

#[inline(always)]
pub(crate) fn multiply(a: f32, b: f32, rounding: Rounding) -> f32 {
    // 48 places: exact
    if rounding == Rounding::Nearest { a * b } else { to_f32(f64::from(a) * f64::from(b), 0.0, rounding) }
}

#[inline(always)]
pub(crate) fn multiply_add(a: f32, b: f32, c: f32, rounding: Rounding) -> f32 {
    if rounding == Rounding::Nearest {
        return a.mul_add(b, c);
    }
    let product = f64::from(a) * f64::from(b);
    let (sum, error) = two_sum(product, c.into());
    if sum == 0.0 {
        let sign_of_product = if product.is_sign_negative() { -0.0 } else { 0.0 };
        zero_sum(if product == 0.0 { sign_of_product } else { 1.0 }, c, rounding)
    } else {
        to_f32(sum, error, rounding)
    }
}

pub(crate) fn divide(a: f32, b: f32, rounding: Rounding) -> f32 {
    if rounding == Rounding::Nearest || b == 0.0 || !a.is_finite() || !b.is_finite() {
        return a / b;
    }
    let quotient = f64::from(a) / f64::from(b);
    let remainder = (-quotient).mul_add(b.into(), a.into());
    to_f32(quotient, if b < 0.0 { -remainder } else { remainder }, rounding)
}

pub(crate) fn square_root(a: f32, rounding: Rounding) -> f32 {
    if rounding == Rounding::Nearest || a.is_nan() || a <= 0.0 || a.is_infinite() {
        return a.sqrt();
    }
    let root = f64::from(a).sqrt();
    to_f32(root, (-root).mul_add(root, a.into()), rounding)
}

/// To an integer that is still a float.
pub(crate) fn to_integral(a: f64, rounding: Rounding) -> f64 {
    match rounding {
        Rounding::Nearest => a.round_ties_even(),
        Rounding::Zero => a.trunc(),
        Rounding::Down => a.floor(),
        Rounding::Up => a.ceil(),
    }
}
