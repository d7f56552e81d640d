//! Functions that a GPU computes approximately: here they are rounded correctly, and may be blurred on request.

/// An approximate function of f32. The second argument is for division only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Approximation {
    Exp2,
    Log2,
    Sine,
    Cosine,
    Tanh,
    Reciprocal,
    ReciprocalRoot,
    Root,
    Divide,
}

impl Approximation {
    /// f64 has places to spare, so that the result is the nearest f32 but in ties of the last of f64's places.
    #[inline]
    pub(crate) fn compute(self, a: f32, b: f32) -> f32 {
        let wide = f64::from(a);
        match self {
            Approximation::Exp2 => wide.exp2() as f32,
            Approximation::Log2 => wide.log2() as f32,
            Approximation::Sine => wide.sin() as f32,
            Approximation::Cosine => wide.cos() as f32,
            Approximation::Tanh => wide.tanh() as f32,
            Approximation::Reciprocal => 1.0 / a,
            Approximation::ReciprocalRoot => (1.0 / wide.sqrt()) as f32,
            Approximation::Root => a.sqrt(),
            Approximation::Divide => a / b,
        }
    }
}

/// `value` moved by up to `ulps` places, by an amount that depends on the value alone. Zero, infinity and NaN stay.
#[inline]
pub(crate) fn blurred(value: f32, ulps: u32) -> f32 {
    if ulps == 0 || !value.is_normal() {
        return value;
    }
    let spread = 2 * u64::from(ulps) + 1;
    let hash = u64::from(value.to_bits()).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 33;
    let moved = f32::from_bits((value.to_bits() + (hash % spread) as u32).wrapping_sub(ulps));
    if moved.is_normal() && moved.is_sign_negative() == value.is_sign_negative() { moved } else { value }
}

/// 1/a or 1/√a of f64 as far as `.approx.ftz` has it: the lower half of the result is zero.
pub(crate) fn gross_f64(root: bool, a: f64) -> f64 {
    let a = if a.is_subnormal() { 0f64.copysign(a) } else { a };
    let exact = if root { 1.0 / a.sqrt() } else { 1.0 / a };
    let exact = if exact.is_subnormal() { 0f64.copysign(exact) } else { exact };
    if exact.is_nan() { f64::from_bits(0x7fff_ffff_0000_0000) } else { f64::from_bits(exact.to_bits() & !0xffff_ffff) }
}
