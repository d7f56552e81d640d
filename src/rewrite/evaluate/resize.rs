//! Resize: linear in its input, one axis after another.

use super::tensor::{Data, Kind, Tensor, axis_of, element_count};
use super::{Call, Fault};
use crate::model::proto::NodeProto;

/// Most weights of one axis.
const MAX_WEIGHTS: usize = 1 << 24;

/// How a Resize finds elements between elements.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Interpolation {
    mode: Mode,
    coordinates: Coordinates,
    exclude_outside: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Mode {
    Nearest(Rounding),
    Linear,
    /// with its coefficient a
    Cubic(f64),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Rounding {
    PreferFloor,
    PreferCeil,
    Floor,
    Ceil,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Coordinates {
    HalfPixel,
    HalfPixelSymmetric,
    PytorchHalfPixel,
    AlignCorners,
    Asymmetric,
}

impl Interpolation {
    /// That of a Resize since opset 11.
    ///
    /// # Errors
    /// A clause that says which form of it is not known here.
    pub(crate) fn of(node: &NodeProto) -> Result<Self, String> {
        let text = |name: &str, default: &'static str| node.attr_str(name).unwrap_or(default).to_owned();
        let unknown = |name: &str, value: &str| format!("{name} '{value}' of Resize");
        if node.attr_int("antialias").unwrap_or(0) != 0 {
            return Err("antialias of Resize".to_owned());
        }
        let policy = text("keep_aspect_ratio_policy", "stretch");
        if policy != "stretch" {
            return Err(unknown("keep_aspect_ratio_policy", &policy));
        }
        let rounding = text("nearest_mode", "round_prefer_floor");
        let mode = text("mode", "nearest");
        let mode = match mode.as_str() {
            "nearest" => Mode::Nearest(match rounding.as_str() {
                "round_prefer_floor" => Rounding::PreferFloor,
                "round_prefer_ceil" => Rounding::PreferCeil,
                "floor" => Rounding::Floor,
                "ceil" => Rounding::Ceil,
                other => return Err(unknown("nearest_mode", other)),
            }),
            "linear" => Mode::Linear,
            "cubic" => Mode::Cubic(node.attr_float("cubic_coeff_a").unwrap_or(-0.75).into()),
            other => return Err(unknown("mode", other)),
        };
        let coordinates = text("coordinate_transformation_mode", "half_pixel");
        let coordinates = match coordinates.as_str() {
            "half_pixel" => Coordinates::HalfPixel,
            "half_pixel_symmetric" => Coordinates::HalfPixelSymmetric,
            "pytorch_half_pixel" => Coordinates::PytorchHalfPixel,
            "align_corners" => Coordinates::AlignCorners,
            "asymmetric" => Coordinates::Asymmetric,
            other => return Err(unknown("coordinate_transformation_mode", other)),
        };
        Ok(Self { mode, coordinates, exclude_outside: node.attr_int("exclude_outside").unwrap_or(0) != 0 })
    }

    /// Whether what an element is made of depends on the scale alone, and not on the sizes.
    pub(crate) fn is_local(&self) -> bool {
        matches!(self.coordinates, Coordinates::HalfPixel | Coordinates::Asymmetric)
    }

    /// The weights [output, input] of one axis: output = weights · input. None where they would be too many, or a size is 0.
    pub(crate) fn weights(&self, input: usize, output: usize, scale: f32) -> Option<Vec<f64>> {
        let count = input.checked_mul(output).filter(|count| (1..=MAX_WEIGHTS).contains(count))?;
        let mut all = vec![0.0; count];
        for (at, row) in all.chunks_exact_mut(input).enumerate() {
            self.row(at, output, scale, row);
        }
        Some(all)
    }

    fn row(&self, at: usize, output: usize, scale: f32, row: &mut [f64]) {
        let input = row.len();
        let inside = |at: f64| at.clamp(0.0, (input - 1) as f64) as usize;
        if scale == 1.0 && input == output {
            row[at] = 1.0;
            return;
        }
        match self.mode {
            Mode::Nearest(rounding) => {
                // in f32, as runtimes do: which neighbour is nearer may hang on the last digit
                let x = self.place_f32(at as f32, input as f32, output as f32, scale);
                let chosen = match rounding {
                    Rounding::PreferFloor if x - x.floor() == 0.5 => x.floor(),
                    Rounding::PreferFloor | Rounding::PreferCeil => x.round(),
                    Rounding::Floor => x.floor(),
                    Rounding::Ceil => x.ceil(),
                };
                row[inside(chosen.into())] = 1.0;
            }
            Mode::Linear => {
                let x = self.place(at as f64, input as f64, output as f64, scale.into());
                let ratio = x - x.floor();
                row[inside(x.floor())] += 1.0 - ratio;
                row[inside(x.floor() + 1.0)] += ratio;
            }
            Mode::Cubic(a) => {
                let x = self.place(at as f64, input as f64, output as f64, scale.into());
                let first = x.floor() - 1.0;
                let mut weights = cubic(x - x.floor(), a);
                if self.exclude_outside {
                    for (i, weight) in weights.iter_mut().enumerate() {
                        if !(0.0..input as f64).contains(&(first + i as f64)) {
                            *weight = 0.0;
                        }
                    }
                    let total: f64 = weights.iter().sum();
                    weights.iter_mut().for_each(|weight| *weight /= total);
                }
                for (i, weight) in weights.into_iter().enumerate() {
                    row[inside(first + i as f64)] += weight;
                }
            }
        }
    }

    /// Where in the input an output element lies.
    fn place(&self, at: f64, input: f64, output: f64, scale: f64) -> f64 {
        match self.coordinates {
            Coordinates::HalfPixel => (at + 0.5) / scale - 0.5,
            Coordinates::HalfPixelSymmetric => {
                input / 2.0 * (1.0 - output / (scale * input)) + (at + 0.5) / scale - 0.5
            }
            Coordinates::PytorchHalfPixel if output > 1.0 => (at + 0.5) / scale - 0.5,
            Coordinates::AlignCorners if output > 1.0 => at * (input - 1.0) / (output - 1.0),
            Coordinates::PytorchHalfPixel | Coordinates::AlignCorners => 0.0,
            Coordinates::Asymmetric => at / scale,
        }
    }

    /// The same, rounded at every step.
    fn place_f32(&self, at: f32, input: f32, output: f32, scale: f32) -> f32 {
        match self.coordinates {
            Coordinates::HalfPixel => (at + 0.5) / scale - 0.5,
            Coordinates::HalfPixelSymmetric => {
                input / 2.0 * (1.0 - output / (scale * input)) + (at + 0.5) / scale - 0.5
            }
            Coordinates::PytorchHalfPixel if output > 1.0 => (at + 0.5) / scale - 0.5,
            Coordinates::AlignCorners if output > 1.0 => at * (input - 1.0) / (output - 1.0),
            Coordinates::PytorchHalfPixel | Coordinates::AlignCorners => 0.0,
            Coordinates::Asymmetric => at / scale,
        }
    }
}

/// Keys' weights of the four elements around a place `ratio` behind the second.
fn cubic(ratio: f64, a: f64) -> [f64; 4] {
    let near = |x: f64| ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0;
    let far = |x: f64| ((a * x - 5.0 * a) * x + 8.0 * a) * x - 4.0 * a;
    [far(ratio + 1.0), near(ratio), near(1.0 - ratio), far(2.0 - ratio)]
}

/// Runs the node if it is of this family.
pub(super) fn run(call: &Call) -> Result<Option<Vec<Tensor>>, Fault> {
    if call.node.op() != "Resize" {
        return Ok(None);
    }
    Ok(Some(vec![resize(call)?]))
}

fn resize(call: &Call) -> Result<Tensor, Fault> {
    if call.opset < 11 {
        return Err(Fault::Unsupported("Resize of opset 10".into()));
    }
    let x = call.input(0)?;
    let how = Interpolation::of(call.node).map_err(Fault::Unsupported)?;
    let axes: Vec<usize> = match call.node.attr_ints("axes") {
        Some(axes) => axes.iter().map(|&axis| axis_of(axis, x.rank())).collect::<Result<_, _>>()?,
        None => (0..x.rank()).collect(),
    };
    let mut dims = x.dims.clone();
    let Data::Float(mut data) = x.data.cast(Kind::Float) else {
        return Err(Fault::invalid("bools cannot be resized"));
    };
    for (axis, output, scale) in targets(call, x, &axes)? {
        let (input, inner) = (dims[axis], element_count(&dims[axis + 1..])?);
        dims[axis] = output;
        let count = element_count(&dims)?;
        if count == 0 {
            data = Vec::new();
            continue;
        }
        let weights = how.weights(input, output, scale).ok_or_else(|| Fault::TooLarge(vec![output, input]))?;
        let outer = count / output / inner;
        let mut resized = vec![0.0; count];
        for o in 0..outer {
            for (to, row) in weights.chunks_exact(input).enumerate() {
                for (from, &weight) in row.iter().enumerate().filter(|(_, weight)| **weight != 0.0) {
                    for i in 0..inner {
                        resized[(o * output + to) * inner + i] += weight * data[(o * input + from) * inner + i];
                    }
                }
            }
        }
        data = resized;
    }
    let data = Data::Float(data);
    let data = if x.kind() == Kind::Int { data.cast(Kind::Int) } else { data };
    Tensor::new(dims, data)
}

/// Axis, new size, scale.
fn targets(call: &Call, x: &Tensor, axes: &[usize]) -> Result<Vec<(usize, usize, f32)>, Fault> {
    let mismatch = |count: usize| Fault::invalid(format!("{count} scales or sizes for {} axes", axes.len()));
    if let Some(sizes) = call.optional(3).filter(|sizes| sizes.len() > 0) {
        let sizes = super::tensor::dims_of(sizes.as_ints()?)?;
        if sizes.len() != axes.len() {
            return Err(mismatch(sizes.len()));
        }
        let target = |(&axis, size): (&usize, usize)| (axis, size, size as f32 / x.dims[axis] as f32);
        return Ok(axes.iter().zip(sizes).map(target).collect());
    }
    let scales = call.optional(2).filter(|scales| scales.len() > 0).ok_or(Fault::Missing(2))?.as_floats()?;
    if scales.len() != axes.len() {
        return Err(mismatch(scales.len()));
    }
    let target = |(&axis, &scale): (&usize, &f64)| {
        let size = x.dims[axis] as f32 * scale as f32;
        let fits = scale > 0.0 && size < 1e9;
        fits.then_some((axis, size as usize, scale as f32)).ok_or_else(|| Fault::invalid(format!("a scale of {scale}")))
    };
    axes.iter().zip(scales).map(target).collect()
}
