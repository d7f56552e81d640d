//! Samples for a model, the same every time.

use elonnx::data::{InputSpec, Tensor, Values};
use elonnx::model::DataType;

/// Numbers from 0 to 1; whole ones from 0 to 8, since they may be tokens. Sizes that the model leaves free are 32.
pub fn of(specs: &[InputSpec], rows: usize) -> Vec<Tensor> {
    let mut seed = 1_u64;
    let mut next = move || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 40) as f32 / (1_u64 << 24) as f32
    };
    let mut tensor = |spec: &InputSpec| {
        let size = |(i, dim): (usize, &Option<usize>)| if i == 0 { rows } else { dim.unwrap_or(32) };
        let dims: Vec<usize> = spec.dims.iter().enumerate().map(size).collect();
        let values: Vec<f32> = (0..dims.iter().product()).map(|_| next()).collect();
        let whole = values.iter().map(|x| x * 8.0);
        let values = match spec.data_type {
            DataType::Double => Values::F64(values.into_iter().map(f64::from).collect()),
            DataType::Int32 => Values::I32(whole.map(|x| x as i32).collect()),
            DataType::Int64 => Values::I64(whole.map(|x| x as i64).collect()),
            _ => Values::F32(values),
        };
        Tensor { dims, values }
    };
    specs.iter().map(&mut tensor).collect()
}
