//! From samples as they lie in a file to what an input of a model takes: shape, type, preprocessing.

use half::f16;

use super::array::place;
use super::element::ElementType;
use super::preprocessing::{Layout, Preprocessing};
use super::shape::{Arrangement, arrange, describe_dims, wanted_dims};
use super::{DataError, InputSpec, Tensor, Values};
use crate::model::DataType;

/// A way from one file's samples to one input.
#[derive(Clone, Debug)]
pub(super) struct Fit {
    path: String,
    input: String,
    data_type: DataType,
    source: Vec<usize>,
    fixed_batch: bool,
    arrangement: Arrangement,
    affine: Option<Affine>,
    sentences: Vec<String>,
}

/// invert, scale, mean, std.
#[derive(Clone, Debug)]
struct Affine {
    /// x becomes this − x.
    invert: Option<f64>,
    scale: f64,
    /// Per channel, or one.
    mean: Vec<f32>,
    std: Vec<f32>,
    /// Elements of one channel that follow each other.
    run: usize,
}

impl Fit {
    /// Finds the way, or says why there is none.
    pub(super) fn new(
        spec: &InputSpec,
        path: &str,
        dims: &[usize],
        element: ElementType,
        preprocessing: &Preprocessing,
    ) -> Result<Self, DataError> {
        preprocessing.check()?;
        if matches!(
            spec.data_type,
            DataType::String | DataType::Undefined | DataType::Uint32 | DataType::Uint64 | DataType::Bfloat16
        ) {
            let data_type = spec.data_type.name().to_owned();
            return Err(DataError::InputType { input: spec.name.clone(), data_type });
        }
        let arrangement = arrange(dims, spec, preprocessing.layout).map_err(|reason| DataError::Shape {
            path: path.to_owned(),
            found: describe_dims(dims),
            input: spec.name.clone(),
            wanted: wanted_dims(spec),
            reason,
        })?;
        let mut sentences = arrangement.sentence(dims).into_iter().collect::<Vec<_>>();
        let affine = affine(spec, element, &arrangement.dims, preprocessing, &mut sentences)?;
        Ok(Self {
            path: path.to_owned(),
            input: spec.name.clone(),
            data_type: spec.data_type,
            source: dims.to_vec(),
            fixed_batch: spec.dims.first().is_some_and(Option::is_some),
            arrangement,
            affine,
            sentences,
        })
    }

    /// Whether the input takes batches of one size only.
    pub(super) fn fixed_batch(&self) -> bool {
        self.fixed_batch
    }

    /// What is done, a sentence each; nothing where samples are taken as they are.
    pub(super) fn sentences(&self) -> &[String] {
        &self.sentences
    }

    /// Samples for the model; `first` is the number of the first of them, for messages.
    pub(super) fn apply(&self, values: Values, first: u64) -> Result<Tensor, DataError> {
        if let Some(index) = first_nan(&values) {
            return Err(DataError::NotANumber { path: self.path.clone(), place: place(first, index, &self.source) });
        }
        let size: usize = self.source.iter().product::<usize>().max(1);
        let rows = values.len() / size;
        let values = self.arrangement.permute(values);
        let values = match &self.affine {
            Some(affine) => affine.apply(&values, self.data_type),
            None => self.convert(values, first)?,
        };
        let mut dims = Vec::with_capacity(self.arrangement.dims.len() + 1);
        dims.push(rows);
        dims.extend_from_slice(&self.arrangement.dims);
        Ok(Tensor { dims, values })
    }

    /// To the type of the input, exactly or not at all (floats round to the nearest).
    fn convert(&self, values: Values, first: u64) -> Result<Values, DataError> {
        let wanted = self.data_type;
        match (&values, wanted) {
            (Values::F32(_), DataType::Float)
            | (Values::F64(_), DataType::Double)
            | (Values::F16(_), DataType::Float16)
            | (Values::I64(_), DataType::Int64)
            | (Values::I32(_), DataType::Int32)
            | (Values::U8(_), DataType::Uint8)
            | (Values::Bool(_), DataType::Bool) => return Ok(values),
            _ => {}
        }
        match wanted {
            DataType::Float => return Ok(Values::F32(floats(&values).map(|v| v as f32).collect())),
            DataType::Double => return Ok(Values::F64(floats(&values).collect())),
            DataType::Float16 => return Ok(Values::F16(floats(&values).map(f16::from_f64).collect())),
            _ => {}
        }
        let whole = whole_numbers(&values);
        let refuse = |index: usize| {
            let value = floats(&values).nth(index).unwrap_or(f64::NAN);
            DataError::Value {
                path: self.path.clone(),
                place: place(first, index, &self.arrangement.dims),
                value: value.to_string(),
                wanted: format!("input '{}', {},", self.input, wanted.name()),
            }
        };
        let whole = whole.map_err(refuse)?;
        macro_rules! narrow {
            ($variant:ident, $type:ty) => {{
                let narrowed = whole.iter().enumerate().map(|(i, &v)| <$type>::try_from(v).map_err(|_| i));
                narrowed.collect::<Result<Vec<_>, usize>>().map(Values::$variant).map_err(refuse)
            }};
        }
        match wanted {
            DataType::Bool => {
                let bits = whole
                    .iter()
                    .enumerate()
                    .map(|(i, &v)| u8::try_from(v).ok().filter(|&v| v < 2).map(|v| v == 1).ok_or(i));
                bits.collect::<Result<Vec<_>, usize>>().map(Values::Bool).map_err(refuse)
            }
            DataType::Uint8 => narrow!(U8, u8),
            DataType::Int8 => narrow!(I8, i8),
            DataType::Uint16 => narrow!(U16, u16),
            DataType::Int16 => narrow!(I16, i16),
            DataType::Int32 => narrow!(I32, i32),
            _ => Ok(Values::I64(whole)),
        }
    }
}

/// What the numbers go through, None where they are only converted.
fn affine(
    spec: &InputSpec,
    element: ElementType,
    dims: &[usize],
    wanted: &Preprocessing,
    sentences: &mut Vec<String>,
) -> Result<Option<Affine>, DataError> {
    let to_float = matches!(spec.data_type, DataType::Float | DataType::Double | DataType::Float16);
    let asked =
        wanted.mean.is_some() || wanted.std.is_some() || wanted.invert || wanted.scale.is_some_and(|s| s != 1.0);
    if !to_float {
        if asked {
            return Err(DataError::Preprocessing(format!(
                "input '{}' takes {} elements as they are; scale, mean, std and invert are for float inputs",
                spec.name,
                spec.data_type.name()
            )));
        }
        return Ok(None);
    }
    let full = element.full_scale();
    let scale = match (wanted.scale, full) {
        (Some(scale), _) => scale,
        (None, Some(full)) => {
            sentences.push(format!(
                "{} values are divided by {full}, to 0…1; --scale 1 leaves them as they are",
                element.name()
            ));
            1.0 / full
        }
        (None, None) => 1.0,
    };
    if !asked && scale == 1.0 {
        return Ok(None);
    }
    let mean = wanted.mean.clone().unwrap_or_else(|| vec![0.0]);
    let std = wanted.std.clone().unwrap_or_else(|| vec![1.0]);
    let run = channel_run(mean.len().max(std.len()), dims, wanted.layout).ok_or_else(|| {
        DataError::Preprocessing(format!(
            "mean and std have {} numbers, and samples of input '{}' have shape {}: no axis of channels has that size; \
             give one number, or one per channel",
            mean.len().max(std.len()),
            spec.name,
            describe_dims(dims)
        ))
    })?;
    Ok(Some(Affine { invert: wanted.invert.then(|| full.unwrap_or(1.0)), scale, mean, std, run }))
}

/// Elements of one channel that follow each other, where `channels` is the size of the axis of channels.
fn channel_run(channels: usize, dims: &[usize], layout: Option<Layout>) -> Option<usize> {
    if channels == 1 {
        return Some(1);
    }
    let (first, last) = (*dims.first()?, *dims.last()?);
    let first_run = dims[1..].iter().product();
    match layout {
        _ if dims.len() == 1 => (first == channels).then_some(1),
        Some(Layout::Nhwc) => (last == channels).then_some(1),
        Some(Layout::Nchw) => (first == channels).then_some(first_run),
        None if first == channels => Some(first_run),
        None => (last == channels).then_some(1),
    }
}

impl Affine {
    /// In f32, operation by operation, as torchvision does it.
    fn apply(&self, values: &Values, data_type: DataType) -> Values {
        let value = |raw: f64, channel: usize| {
            let raw = self.invert.map_or(raw, |full| full - raw);
            let scaled = (raw * self.scale) as f32;
            (scaled - self.mean[channel % self.mean.len()]) / self.std[channel % self.std.len()]
        };
        let channels = self.mean.len().max(self.std.len());
        let values: Vec<f32> = if let Values::U8(bytes) = values {
            // 256 values per channel are all there are
            let table: Vec<[f32; 256]> =
                (0..channels).map(|channel| std::array::from_fn(|byte| value(byte as f64, channel))).collect();
            let mut out = Vec::with_capacity(bytes.len());
            for (index, run) in bytes.chunks(if channels == 1 { bytes.len().max(1) } else { self.run }).enumerate() {
                let table = &table[index % channels];
                out.extend(run.iter().map(|&byte| table[usize::from(byte)]));
            }
            out
        } else {
            floats(values).enumerate().map(|(index, raw)| value(raw, index / self.run % channels)).collect()
        };
        match data_type {
            DataType::Double => Values::F64(values.into_iter().map(f64::from).collect()),
            DataType::Float16 => Values::F16(values.into_iter().map(f16::from_f32).collect()),
            _ => Values::F32(values),
        }
    }
}

fn first_nan(values: &Values) -> Option<usize> {
    match values {
        Values::F16(values) => values.iter().position(|v| v.is_nan()),
        Values::F32(values) => values.iter().position(|v| v.is_nan()),
        Values::F64(values) => values.iter().position(|v| v.is_nan()),
        _ => None,
    }
}

/// All elements as f64: exact but for integers above 2^53.
fn floats(values: &Values) -> Box<dyn Iterator<Item = f64> + '_> {
    match values {
        Values::Bool(values) => Box::new(values.iter().map(|&v| f64::from(u8::from(v)))),
        Values::U8(values) => Box::new(values.iter().map(|&v| f64::from(v))),
        Values::I8(values) => Box::new(values.iter().map(|&v| f64::from(v))),
        Values::U16(values) => Box::new(values.iter().map(|&v| f64::from(v))),
        Values::I16(values) => Box::new(values.iter().map(|&v| f64::from(v))),
        Values::I32(values) => Box::new(values.iter().map(|&v| f64::from(v))),
        Values::I64(values) => Box::new(values.iter().map(|&v| v as f64)),
        Values::F16(values) => Box::new(values.iter().map(|&v| f64::from(v))),
        Values::F32(values) => Box::new(values.iter().map(|&v| f64::from(v))),
        Values::F64(values) => Box::new(values.iter().copied()),
    }
}

/// All elements as i64, or the index of the first that is no whole number.
pub(super) fn whole_numbers(values: &Values) -> Result<Vec<i64>, usize> {
    match values {
        Values::I64(values) => Ok(values.clone()),
        Values::F16(_) | Values::F32(_) | Values::F64(_) => {
            // 2^63 itself is no i64
            const END: f64 = 9_223_372_036_854_775_808.0;
            let whole = |v: f64| v.fract() == 0.0 && (-END..END).contains(&v);
            floats(values).enumerate().map(|(i, v)| if whole(v) { Ok(v as i64) } else { Err(i) }).collect()
        }
        _ => Ok(floats(values).map(|v| v as i64).collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(data_type: DataType, dims: &[usize]) -> InputSpec {
        let dims = std::iter::once(None).chain(dims.iter().map(|&d| Some(d))).collect();
        InputSpec { name: "x".into(), data_type, dims }
    }

    fn fitted(
        values: Values,
        element: ElementType,
        dims: &[usize],
        to: &InputSpec,
        p: &Preprocessing,
    ) -> Result<Tensor, String> {
        Fit::new(to, "f", dims, element, p).and_then(|fit| fit.apply(values, 0)).map_err(|e| e.to_string())
    }

    #[test]
    fn bytes_become_what_to_tensor_makes_of_them() {
        let bytes: Vec<u8> = (0..=255).collect();
        let to = spec(DataType::Float, &[256]);
        let fit = Fit::new(&to, "f", &[256], ElementType::U8, &Preprocessing::default()).unwrap();
        assert!(fit.sentences()[0].contains("divided by 255"), "{:?}", fit.sentences());
        let expected: Vec<f32> = bytes.iter().map(|&b| f32::from(b) / 255.0).collect();
        assert_eq!(fit.apply(Values::U8(bytes.clone()), 0).unwrap().values, Values::F32(expected));
        let raw = Preprocessing { scale: Some(1.0), ..Default::default() };
        let as_is: Vec<f32> = bytes.iter().map(|&b| f32::from(b)).collect();
        assert_eq!(fitted(Values::U8(bytes), ElementType::U8, &[256], &to, &raw).unwrap().values, Values::F32(as_is));
    }

    #[test]
    fn normalisation_goes_by_channel() {
        let p = Preprocessing {
            mean: Some(vec![0.5, 1.0]),
            std: Some(vec![0.5, 2.0]),
            scale: Some(1.0),
            ..Default::default()
        };
        let first =
            fitted(Values::U8(vec![1, 2, 3, 5]), ElementType::U8, &[2, 1, 2], &spec(DataType::Float, &[2, 1, 2]), &p);
        assert_eq!(first.unwrap().values, Values::F32(vec![1.0, 3.0, 1.0, 2.0]));
        let last = fitted(
            Values::F32(vec![1.0, 3.0, 2.0, 5.0]),
            ElementType::F32,
            &[1, 2, 2],
            &spec(DataType::Float, &[1, 2, 2]),
            &p,
        );
        assert_eq!(last.unwrap().values, Values::F32(vec![1.0, 1.0, 3.0, 2.0]));
        let features =
            fitted(Values::F32(vec![1.0, 3.0, 2.0, 5.0]), ElementType::F32, &[2], &spec(DataType::Float, &[2]), &p);
        assert_eq!(features.unwrap().values, Values::F32(vec![1.0, 1.0, 3.0, 2.0]));
        let wrong = fitted(Values::F32(vec![0.0; 3]), ElementType::F32, &[3], &spec(DataType::Float, &[3]), &p);
        assert!(wrong.unwrap_err().contains("mean and std have 2 numbers"));
    }

    #[test]
    fn black_becomes_white() {
        let p = Preprocessing { invert: true, ..Default::default() };
        let to = spec(DataType::Float, &[2]);
        assert_eq!(
            fitted(Values::U8(vec![0, 255]), ElementType::U8, &[2], &to, &p).unwrap().values,
            Values::F32(vec![1.0, 0.0])
        );
        assert_eq!(
            fitted(Values::F32(vec![0.25, 1.0]), ElementType::F32, &[2], &to, &p).unwrap().values,
            Values::F32(vec![0.75, 0.0])
        );
    }

    #[test]
    fn whole_numbers_stay_exact() {
        let none = Preprocessing::default();
        let to = spec(DataType::Int64, &[2]);
        let large = (1i64 << 62) + 1;
        assert_eq!(
            fitted(Values::I64(vec![large, -1]), ElementType::I64, &[2], &to, &none).unwrap().values,
            Values::I64(vec![large, -1])
        );
        assert_eq!(
            fitted(Values::F64(vec![3.0, -1.0]), ElementType::F64, &[2], &to, &none).unwrap().values,
            Values::I64(vec![3, -1])
        );
        let text = fitted(Values::F32(vec![3.0, 1.5]), ElementType::F32, &[2], &to, &none).unwrap_err();
        assert!(text.contains("sample 0, element 1 is 1.5, which input 'x', int64,"), "{text}");
        let bytes = spec(DataType::Uint8, &[2]);
        assert_eq!(
            fitted(Values::U8(vec![3, 255]), ElementType::U8, &[2], &bytes, &none).unwrap().values,
            Values::U8(vec![3, 255])
        );
        assert!(
            fitted(Values::I32(vec![3, 256]), ElementType::I32, &[2], &bytes, &none).unwrap_err().contains("is 256")
        );
        let scaled = Preprocessing { scale: Some(0.5), ..Default::default() };
        assert!(
            fitted(Values::U8(vec![3, 4]), ElementType::U8, &[2], &bytes, &scaled).unwrap_err().contains("as they are")
        );
    }

    #[test]
    fn nan_is_named_by_its_place() {
        let to = spec(DataType::Float, &[2, 2]);
        let values = Values::F32(vec![0.0, 1.0, 2.0, 3.0, 4.0, 5.0, f32::NAN, 0.0]);
        let text = fitted(values, ElementType::F32, &[2, 2], &to, &Preprocessing::default()).unwrap_err();
        assert!(text.contains("sample 1, element [1, 0] is NaN"), "{text}");
    }
}
