//! ONNX Runtime as an [`Engine`], through `ort`.
//!
//! One session for each engine, on one thread: batches are spread over threads by who calls. `ort` takes one library per
//! process; the first engine decides which.

use std::borrow::Cow;
use std::fmt::Display;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use half::f16;
use ort::environment::Environment;
use ort::logging::LogLevel;
use ort::session::{Session, SessionInputValue};
use ort::value::{DynValue, PrimitiveTensorElementType, Tensor, TensorRef};

use crate::data::{InputSpec, Tensor as Samples, Values};
use crate::model::Document;
use crate::runtime;

use super::engine::{Engine, Evidence};
use super::error::EdgeError;
use super::outlet::Outlet;

const NAME: &str = "ONNX Runtime";

/// Where tensors lie whose data is external, for a model that comes from memory (ONNX Runtime 1.21 and newer).
const EXTERNAL_FOLDER: &str = "session.model_external_initializers_file_folder_path";

/// One thread's session.
pub(super) struct OrtEngine {
    model: Arc<Model>,
    session: Session,
}

/// What threads share.
struct Model {
    environment: Environment,
    bytes: Vec<u8>,
    folder: Option<PathBuf>,
    specs: Vec<InputSpec>,
    outlet: Outlet,
    /// Samples that go through at once, where not all of them may.
    fixed: Option<usize>,
}

impl OrtEngine {
    /// Loads a model that has nothing but standard operators; `library` is looked for where it is not given.
    pub fn new(
        document: &Document,
        specs: &[InputSpec],
        outlet: Outlet,
        fixed: Option<usize>,
        library: Option<&Path>,
    ) -> Result<Self, EdgeError> {
        let external = !document.external_files()?.is_empty();
        let folder = document.path().filter(|_| external).and_then(Path::parent).map(Path::to_owned);
        let model = Model {
            environment: environment(library)?,
            bytes: document.to_bytes(),
            folder,
            specs: specs.to_vec(),
            outlet,
            fixed: fixed.filter(|&rows| rows > 0),
        };
        Self::of(Arc::new(model))
    }

    fn of(model: Arc<Model>) -> Result<Self, EdgeError> {
        let session = model.session()?;
        Ok(Self { model, session })
    }

    /// Runs `rows` of the inputs at once, filled up to `count`.
    fn run_at_once(
        &mut self,
        inputs: &[Samples],
        rows: Range<usize>,
        count: usize,
        evidence: &mut Evidence,
    ) -> Result<(), EdgeError> {
        let Model { specs, outlet, .. } = &*self.model;
        let kept = rows.len();
        let values = specs
            .iter()
            .zip(inputs)
            .map(|(spec, samples)| Ok((Cow::from(spec.name.as_str()), value(samples, rows.clone(), count)?)))
            .collect::<ort::Result<Vec<_>>>()
            .map_err(failed)?;
        let outputs = self.session.run(values).map_err(failed)?;
        let missing = || refused("it gives no output");
        let mut outputs = outputs.values();
        let logits = outputs.next().ok_or_else(missing)?;
        let (dims, floats) = floats(&logits)?;
        let classes = outlet.classes(&dims, count)?;
        outlet.append(&dims, count, evidence, |all| all.extend_from_slice(&floats[..kept * classes]))?;
        evidence.rows -= count - kept;
        if outlet.feature.is_some() {
            let feature = outputs.next().ok_or_else(missing)?;
            let (dims, floats) = self::floats(&feature)?;
            let features = outlet.features(&dims, count)?;
            evidence.features.extend_from_slice(&floats[..kept * features]);
        }
        Ok(())
    }
}

impl Engine for OrtEngine {
    fn run_rows(&mut self, inputs: &[Samples], rows: Range<usize>, evidence: &mut Evidence) -> Result<(), EdgeError> {
        let Some(fixed) = self.model.fixed else {
            let count = rows.len();
            return if count == 0 { Ok(()) } else { self.run_at_once(inputs, rows, count, evidence) };
        };
        let mut from = rows.start;
        while from < rows.end {
            let to = rows.end.min(from + fixed);
            self.run_at_once(inputs, from..to, fixed, evidence)?;
            from = to;
        }
        Ok(())
    }

    fn another(&self) -> Result<Box<dyn Engine>, EdgeError> {
        Ok(Box::new(Self::of(Arc::clone(&self.model))?))
    }
}

impl Model {
    fn session(&self) -> Result<Session, EdgeError> {
        let builder = Session::builder(&self.environment).map_err(refused)?;
        let builder = builder.with_intra_threads(1).map_err(refused)?;
        let mut builder = builder.with_log_level(LogLevel::Error).map_err(refused)?;
        if let Some(folder) = &self.folder {
            builder = builder.with_config_entry(EXTERNAL_FOLDER, folder.to_string_lossy()).map_err(refused)?;
        }
        builder.commit_from_memory(&self.bytes).map_err(refused)
    }
}

/// Some rows as a value, in place where they need not be filled up; rows that are missing repeat the last one.
fn value(samples: &Samples, rows: Range<usize>, count: usize) -> ort::Result<SessionInputValue<'_>> {
    let part = Part { dims: &samples.dims, rows, count };
    match &samples.values {
        Values::Bool(v) => part.value(v),
        Values::U8(v) => part.value(v),
        Values::I8(v) => part.value(v),
        Values::U16(v) => part.value(v),
        Values::I16(v) => part.value(v),
        Values::I32(v) => part.value(v),
        Values::I64(v) => part.value(v),
        Values::F16(v) => part.value(v),
        Values::F32(v) => part.value(v),
        Values::F64(v) => part.value(v),
    }
}

/// Some rows of a tensor.
struct Part<'a> {
    dims: &'a [usize],
    rows: Range<usize>,
    count: usize,
}

impl Part<'_> {
    fn value<'v, T>(&self, values: &'v [T]) -> ort::Result<SessionInputValue<'v>>
    where
        T: PrimitiveTensorElementType + Clone + std::fmt::Debug + 'static,
    {
        let mut dims = self.dims.to_vec();
        let Some(first) = dims.first_mut() else {
            return Ok(TensorRef::from_array_view((dims, values))?.into());
        };
        *first = self.count;
        let width: usize = dims[1..].iter().product();
        let given = &values[self.rows.start * width..self.rows.end * width];
        if self.rows.len() == self.count {
            return Ok(TensorRef::from_array_view((dims, given))?.into());
        }
        let last = &given[given.len() - width..];
        let mut filled = given.to_vec();
        for _ in self.rows.len()..self.count {
            filled.extend_from_slice(last);
        }
        Ok(Tensor::from_array((dims, filled))?.into())
    }
}

/// Sizes and elements of an output of any float type.
fn floats<'a>(value: &'a DynValue) -> Result<(Vec<usize>, Cow<'a, [f32]>), EdgeError> {
    let sizes = |shape: &ort::value::Shape| shape.iter().map(|&d| usize::try_from(d).unwrap_or(0)).collect();
    if let Ok((shape, floats)) = value.try_extract_tensor::<f32>() {
        return Ok((sizes(shape), Cow::Borrowed(floats)));
    }
    if let Ok((shape, halves)) = value.try_extract_tensor::<f16>() {
        return Ok((sizes(shape), halves.iter().map(|x| x.to_f32()).collect()));
    }
    let (shape, doubles) = value.try_extract_tensor::<f64>().map_err(failed)?;
    Ok((sizes(shape), doubles.iter().map(|&x| x as f32).collect()))
}

fn environment(wanted: Option<&Path>) -> Result<Environment, EdgeError> {
    runtime::environment(wanted).map_err(|reason| EdgeError::NoOnnxRuntime { reason })
}

fn refused(reason: impl Display) -> EdgeError {
    EdgeError::Refused { engine: NAME, reason: reason.to_string() }
}

fn failed(reason: impl Display) -> EdgeError {
    EdgeError::Failed { engine: NAME, reason: reason.to_string() }
}
