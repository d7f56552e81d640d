//! The types of logits.

use elonnx::loss::Element;
use half::{bf16, f16};

/// An element type and what it is called.
pub trait Dtype: Element + Copy + Default {
    const NAME: &'static str;
    /// Distance from 1 to the next number.
    const EPSILON: f64;
    /// Distance from 0 to the next number.
    const TINY: f64;
}

impl Dtype for f32 {
    const NAME: &'static str = "f32";
    const EPSILON: f64 = f32::EPSILON as f64;
    const TINY: f64 = 1e-45;
}

impl Dtype for f64 {
    const NAME: &'static str = "f64";
    const EPSILON: f64 = f64::EPSILON;
    const TINY: f64 = 0.0;
}

impl Dtype for f16 {
    const NAME: &'static str = "f16";
    const EPSILON: f64 = 1.0 / 1024.0;
    const TINY: f64 = 5.97e-8;
}

impl Dtype for bf16 {
    const NAME: &'static str = "bf16";
    const EPSILON: f64 = 1.0 / 128.0;
    const TINY: f64 = 9.2e-41;
}
