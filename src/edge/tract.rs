//! tract as an [`Engine`].
//!
//! tract is several times as fast with a plan for one shape of a batch as with symbols in its place (five times, for
//! efficientnet_lite0). So there are two plans: for the number of samples that goes through at once, and for one sample.
//! What is left of a batch is filled up or goes through one by one. Only where a sample itself has sizes that the file does
//! not tell (the length of a text) there is one plan with symbols, or, where tract needs numbers, a plan for each shape
//! that comes. Where the file fixes the batch, samples go through in batches of that size.
//!
//! tract panics on some damaged models, so every call of it is caught; a state that panicked is thrown away.

mod gemm;

use std::cell::Cell;
use std::collections::HashMap;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};

use tract_onnx::tract_hir::internal::{
    Datum, DatumType, Factoid as _, Framework as _, InferenceModel, InferenceModelExt as _, IntoRunnable as _,
    IntoTValue as _, ShapeFactoid, TDim, TValue, TVec, Tensor, ToDim as _, TractError, TractResult, TypedNode,
    TypedRunnableModel, TypedSimpleState, bail, f16,
};
use tract_onnx::tract_hir::tract_core::floats::FloatPrecisionTranslator;
use tract_onnx::tract_hir::tract_core::transform::ModelTransform as _;

use crate::data::{InputSpec, Tensor as Samples, Values};
use crate::model::{Document, Graph};

use super::engine::{Engine, Evidence};
use super::error::EdgeError;
use super::outlet::Outlet;

const NAME: &str = "tract";

/// Plans (and, in each thread, states) that are kept: a batch, the last, shorter one, and some to spare.
const KEPT: usize = 4;

type Plan = Arc<TypedRunnableModel>;

/// One thread's way through a model.
pub(super) struct TractEngine {
    model: Arc<Model>,
    /// By the dims of the inputs; no dims: the plan for all of them. The last used comes last.
    states: Vec<(Vec<Vec<usize>>, TypedSimpleState)>,
    /// The tensors that were fed last; their memory is used again.
    fed: Vec<Arc<Tensor>>,
    /// How many samples the larger plan is for.
    at_once: usize,
}

/// What threads share.
struct Model {
    parsed: InferenceModel,
    specs: Vec<InputSpec>,
    outlet: Outlet,
    /// For any shape, where the file does not tell that of a sample.
    symbolic: Option<Plan>,
    /// For one shape of a batch each.
    concrete: Mutex<HashMap<Vec<Vec<usize>>, Plan>>,
    /// Samples that go through at once, where not all of them may.
    fixed: Option<usize>,
}

impl TractEngine {
    /// Reads and plans a model that has nothing but standard operators.
    pub fn new(
        document: &Document,
        specs: &[InputSpec],
        outlet: Outlet,
        fixed: Option<usize>,
    ) -> Result<Self, EdgeError> {
        let parsed = parse(document)?;
        let inputs = parsed.inputs.len();
        if inputs != specs.len() {
            let reason = format!("it finds {inputs} inputs where the file has {}", specs.len());
            return Err(refused(reason));
        }
        let mut model = Model {
            parsed,
            specs: specs.to_vec(),
            outlet,
            symbolic: None,
            concrete: Mutex::default(),
            fixed: fixed.filter(|&rows| rows > 0),
        };
        if model.fixed.is_none() && !specs.iter().all(sizes_are_known) {
            model.symbolic = model.plan_any_batch().ok();
        }
        if model.symbolic.is_none() {
            model.plan_ahead()?;
        }
        let at_once = model.fixed.unwrap_or(1);
        Ok(Self { model: Arc::new(model), states: Vec::new(), fed: Vec::new(), at_once })
    }

    /// The place in `states` of one for such inputs.
    fn state(&mut self, rows: usize, inputs: &[Samples]) -> Result<usize, EdgeError> {
        let model = &self.model;
        let found = self.states.iter().position(|(dims, _)| model.symbolic.is_some() || fits(dims, rows, inputs));
        if let Some(at) = found {
            let last = self.states.len() - 1;
            self.states.swap(at, last);
            return Ok(last);
        }
        let dims = match model.symbolic {
            Some(_) => Vec::new(),
            None => inputs.iter().map(|t| with_rows(&t.dims, rows)).collect(),
        };
        let plan = model.plan(&dims)?;
        let state = guarded(|| TypedSimpleState::new(&plan)).map_err(failed)?;
        if self.states.len() == KEPT {
            self.states.remove(0);
        }
        self.states.push((dims, state));
        Ok(self.states.len() - 1)
    }

    /// Runs `rows` of the inputs at once, filled up to `count`.
    fn run_at_once(
        &mut self,
        inputs: &[Samples],
        rows: Range<usize>,
        count: usize,
        evidence: &mut Evidence,
    ) -> Result<(), EdgeError> {
        let at = self.state(count, inputs)?;
        feed(&mut self.fed, inputs, rows.clone(), count)?;
        let (_, state) = &mut self.states[at];
        let fed = self.fed.iter().map(|tensor| Arc::clone(tensor).into_tvalue()).collect();
        let outputs = match guarded(|| state.run(fed)) {
            Ok(outputs) => outputs,
            Err(reason) => {
                self.states.remove(at);
                return Err(failed(reason));
            }
        };
        self.collect(&outputs, count, rows.len(), evidence)
    }

    /// Takes the first `kept` of `rows` rows.
    fn collect(&self, outputs: &[TValue], rows: usize, kept: usize, evidence: &mut Evidence) -> Result<(), EdgeError> {
        let outlet = &self.model.outlet;
        let missing = || refused("it gives no output".to_owned());
        let logits = outputs.first().ok_or_else(missing)?;
        let classes = outlet.classes(logits.shape(), rows)?;
        let values = floats(logits, &outlet.value)?;
        let logits_of = |all: &mut Vec<f32>| values.append(kept * classes, all);
        outlet.append(logits.shape(), rows, evidence, logits_of)?;
        evidence.rows -= rows - kept;
        if let Some(name) = &outlet.feature {
            let feature = outputs.get(1).ok_or_else(missing)?;
            let features = outlet.features(feature.shape(), rows)?;
            floats(feature, name)?.append(kept * features, &mut evidence.features);
        }
        Ok(())
    }
}

impl Engine for TractEngine {
    fn run_rows(&mut self, inputs: &[Samples], rows: Range<usize>, evidence: &mut Evidence) -> Result<(), EdgeError> {
        if self.model.symbolic.is_some() {
            let count = rows.len();
            return if count == 0 { Ok(()) } else { self.run_at_once(inputs, rows, count, evidence) };
        }
        let mut from = rows.start;
        while from < rows.end {
            let (to, count) = match rows.end - from {
                left if left >= self.at_once => (from + self.at_once, self.at_once),
                // filled up a plan for many still costs less than a run for each
                left if self.model.fixed.is_some() || 2 * left > self.at_once => (rows.end, self.at_once),
                _ => (from + 1, 1),
            };
            self.run_at_once(inputs, from..to, count, evidence)?;
            from = to;
        }
        Ok(())
    }

    fn set_samples_at_once(&mut self, samples: usize) {
        self.at_once = self.model.fixed.unwrap_or(samples.max(1));
    }

    fn another(&self) -> Result<Box<dyn Engine>, EdgeError> {
        let model = Arc::clone(&self.model);
        Ok(Box::new(Self { model, states: Vec::new(), fed: Vec::new(), at_once: self.at_once }))
    }
}

impl Model {
    /// A plan for inputs of these dims; without dims the one for all.
    fn plan(&self, dims: &[Vec<usize>]) -> Result<Plan, EdgeError> {
        if let Some(plan) = &self.symbolic {
            return Ok(Arc::clone(plan));
        }
        // what a panic left behind is a map of whole plans
        let mut plans = self.concrete.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(plan) = plans.get(dims) {
            return Ok(Arc::clone(plan));
        }
        let plan = guarded(|| {
            let mut model = self.parsed.clone();
            for (i, dims) in dims.iter().enumerate() {
                let shape: TVec<TDim> = dims.iter().map(|&d| d.to_dim()).collect();
                set_shape(&mut model, i, shape)?;
            }
            finish(model)
        })
        .map_err(|reason| refused(self.with_sizes(dims, reason)))?;
        if plans.len() >= KEPT {
            plans.clear();
        }
        plans.insert(dims.to_vec(), Arc::clone(&plan));
        Ok(plan)
    }

    /// Where the file does not tell all sizes, those that came may be what is wrong.
    fn with_sizes(&self, dims: &[Vec<usize>], reason: String) -> String {
        if self.specs.iter().all(sizes_are_known) {
            return reason;
        }
        let inputs = self.specs.iter().zip(dims).map(|(spec, dims)| format!("'{}' of shape {dims:?}", spec.name));
        format!("with input {}: {reason}", inputs.collect::<Vec<_>>().join(" and "))
    }

    /// A plan in which the batch is a symbol, as are sizes that the file does not tell.
    fn plan_any_batch(&self) -> Result<Plan, EdgeError> {
        guarded(|| {
            let mut model = self.parsed.clone();
            let symbols = model.symbols.clone();
            let batch = symbols.new_with_prefix("batch");
            for (i, spec) in self.specs.iter().enumerate() {
                let declared = model.input_fact(i)?.shape.dims().cloned().collect::<Vec<_>>();
                let shape = spec.dims.iter().enumerate().map(|(axis, size)| match (axis, size) {
                    (0, _) => batch.to_dim(),
                    (_, Some(size)) => size.to_dim(),
                    // one symbol where the file uses one name in several places
                    (_, None) => declared
                        .get(axis)
                        .and_then(|dim| dim.concretize())
                        .unwrap_or_else(|| symbols.new_with_prefix("size").to_dim()),
                });
                let shape: TVec<TDim> = shape.collect();
                set_shape(&mut model, i, shape)?;
            }
            let plan = finish(model)?;
            let first = plan.model().output_fact(0)?.shape.first().cloned();
            if first != Some(batch.to_dim()) {
                bail!("the batch of the output is {first:?}");
            }
            Ok(plan)
        })
        .map_err(refused)
    }

    /// Plans one sample (one fixed batch), where all other sizes are known: what tract cannot do shows now and not at the
    /// first sample.
    fn plan_ahead(&self) -> Result<(), EdgeError> {
        let rows = self.fixed.unwrap_or(1);
        let dims = |spec: &InputSpec| -> Option<Vec<usize>> {
            spec.dims.iter().enumerate().map(|(i, size)| if i == 0 { Some(rows) } else { *size }).collect()
        };
        match self.specs.iter().map(dims).collect::<Option<Vec<_>>>() {
            Some(dims) => self.plan(&dims).map(drop),
            None => Ok(()),
        }
    }
}

/// The file as tract's graph.
fn parse(document: &Document) -> Result<InferenceModel, EdgeError> {
    // what exporters declare of values between is for the batch of the file
    let mut onnx = tract_onnx::onnx().with_ignore_value_info(true);
    onnx.op_register.insert("Gemm", gemm::gemm);
    let missing = |op: &str| !onnx.op_register.0.contains_key(op);
    check_operators(document.graph(), &missing)?;
    let folder = document.path().and_then(|path| path.parent()).map(|folder| folder.to_string_lossy().into_owned());
    let bytes = document.to_bytes();
    guarded(|| {
        let proto = onnx.proto_model_for_read(&mut bytes.as_slice())?;
        let parsed = onnx.parse(&proto, folder.as_deref())?;
        if let Some(name) = parsed.unresolved_inputs.first() {
            bail!("'{name}' is read, and nothing gives it");
        }
        Ok(parsed.model)
    })
    .map_err(refused)
}

/// tract finds operators by their type alone; one that it does not have shows up late and without its node.
fn check_operators(graph: &Graph, missing: &impl Fn(&str) -> bool) -> Result<(), EdgeError> {
    for node in graph.nodes() {
        if missing(node.op()) {
            let op = match node.op_domain() {
                "" => node.op().to_owned(),
                domain => format!("{domain}::{}", node.op()),
            };
            return Err(EdgeError::UnsupportedOperator { op, node: node.describe() });
        }
        for body in node.subgraphs() {
            check_operators(&Graph::decode(body.clone(), node.label())?, missing)?;
        }
    }
    Ok(())
}

fn set_shape(model: &mut InferenceModel, input: usize, shape: TVec<TDim>) -> TractResult<()> {
    let fact = model.input_fact(input)?.clone().with_shape(ShapeFactoid::from(shape));
    model.set_input_fact(input, fact)
}

fn finish(model: InferenceModel) -> TractResult<Plan> {
    let mut model = model.into_typed()?;
    let is_half = |node: &TypedNode| node.outputs.iter().any(|output| output.fact.datum_type == DatumType::F16);
    if model.nodes().iter().any(is_half) {
        // few processors compute in float16, and sums in it lose digits; inputs are float32 from here on
        FloatPrecisionTranslator::new(DatumType::F16, DatumType::F32).transform(&mut model)?;
    }
    model.into_optimized()?.into_runnable()
}

/// But for the batch.
fn sizes_are_known(spec: &InputSpec) -> bool {
    spec.dims.iter().skip(1).all(Option::is_some)
}

/// Whether a state is for such inputs.
fn fits(dims: &[Vec<usize>], rows: usize, inputs: &[Samples]) -> bool {
    dims.iter().zip(inputs).all(|(dims, tensor)| match (dims.split_first(), tensor.dims.split_first()) {
        (Some((&first, rest)), Some((_, wanted))) => first == rows && rest == wanted,
        (None, None) => true,
        _ => false,
    })
}

fn with_rows(dims: &[usize], rows: usize) -> Vec<usize> {
    let mut dims = dims.to_vec();
    if let Some(first) = dims.first_mut() {
        *first = rows;
    }
    dims
}

/// Copies `rows` of the inputs to tensors of `count` rows, into the memory of those that were fed before where it fits;
/// rows that are missing repeat the last one.
fn feed(fed: &mut Vec<Arc<Tensor>>, inputs: &[Samples], rows: Range<usize>, count: usize) -> Result<(), EdgeError> {
    if fed.len() != inputs.len() {
        fed.clear();
    }
    for (i, samples) in inputs.iter().enumerate() {
        let part = Part { dims: &samples.dims, rows: rows.clone(), count };
        let old = fed.get_mut(i);
        let made = match &samples.values {
            Values::Bool(v) => part.copy(v, |x| x, old),
            Values::U8(v) => part.copy(v, |x| x, old),
            Values::I8(v) => part.copy(v, |x| x, old),
            Values::U16(v) => part.copy(v, |x| x, old),
            Values::I16(v) => part.copy(v, |x| x, old),
            Values::I32(v) => part.copy(v, |x| x, old),
            Values::I64(v) => part.copy(v, |x| x, old),
            // see `finish`
            Values::F16(v) => part.copy(v, f16::to_f32, old),
            Values::F32(v) => part.copy(v, |x| x, old),
            Values::F64(v) => part.copy(v, |x| x, old),
        };
        match made.map_err(|error| failed(chain(&error)))? {
            Some(new) if i < fed.len() => fed[i] = new,
            Some(new) => fed.push(new),
            None => {}
        }
    }
    Ok(())
}

/// Some rows of a tensor.
struct Part<'a> {
    dims: &'a [usize],
    rows: Range<usize>,
    count: usize,
}

impl Part<'_> {
    /// A tensor with the rows, where they could not be put into the old one.
    fn copy<S: Copy, T: Datum + Copy>(
        &self,
        values: &[S],
        convert: impl Fn(S) -> T,
        old: Option<&mut Arc<Tensor>>,
    ) -> TractResult<Option<Arc<Tensor>>> {
        let Some((_, sample)) = self.dims.split_first() else {
            let values: Vec<T> = values.iter().map(|&x| convert(x)).collect();
            return Ok(Some(Arc::new(Tensor::from_shape(self.dims, &values)?)));
        };
        let width: usize = sample.iter().product();
        let given = &values[self.rows.start * width..self.rows.end * width];
        let last = &given[given.len().saturating_sub(width)..];
        let fill = |into: &mut [T]| {
            let missing = std::iter::repeat_n(last, self.count - self.rows.len()).flatten();
            into.iter_mut().zip(given.iter().chain(missing)).for_each(|(to, &from)| *to = convert(from));
        };
        let same_shape = |old: &Tensor| old.shape().split_first() == Some((&self.count, sample));
        // nobody else holds it once a run is over
        if let Some(tensor) = old.filter(|old| same_shape(old)).and_then(Arc::get_mut)
            && let Some(mut plain) = tensor.as_plain_ram_mut()
            && let Ok(into) = plain.as_slice_mut::<T>()
        {
            fill(into);
            return Ok(None);
        }
        let mut shape = self.dims.to_vec();
        shape[0] = self.count;
        let mut values = vec![T::default(); self.count * width];
        fill(&mut values);
        Ok(Some(Arc::new(Tensor::from_shape(&shape, &values)?)))
    }
}

/// An output's elements, of whichever float type.
enum Floats<'a> {
    Half(&'a [f16]),
    Single(&'a [f32]),
    Double(&'a [f64]),
}

impl Floats<'_> {
    fn append(&self, count: usize, to: &mut Vec<f32>) {
        match self {
            Self::Half(v) => to.extend(v[..count].iter().map(|x| x.to_f32())),
            Self::Single(v) => to.extend_from_slice(&v[..count]),
            Self::Double(v) => to.extend(v[..count].iter().map(|&x| x as f32)),
        }
    }
}

fn floats<'a>(tensor: &'a Tensor, name: &str) -> Result<Floats<'a>, EdgeError> {
    let read = || -> TractResult<Floats<'a>> {
        let plain = tensor.try_as_plain_ram()?;
        Ok(match tensor.datum_type() {
            DatumType::F16 => Floats::Half(plain.as_slice()?),
            DatumType::F32 => Floats::Single(plain.as_slice()?),
            DatumType::F64 => Floats::Double(plain.as_slice()?),
            other => bail!("'{name}' holds {other:?}, no float"),
        })
    };
    read().map_err(|error| failed(chain(&error)))
}

thread_local! {
    /// Whether tract is being called on this thread.
    static GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// Whether a panic on this thread would be tract's and come back as an [`EdgeError`](super::EdgeError). For panic hooks,
/// which run before it is caught and would call it a bug of the program.
#[must_use]
pub fn catches_panics() -> bool {
    GUARDED.get()
}

/// Calls tract; a panic is an error like another.
fn guarded<T>(call: impl FnOnce() -> TractResult<T>) -> Result<T, String> {
    let outer = GUARDED.replace(true);
    let result = catch_unwind(AssertUnwindSafe(call));
    GUARDED.set(outer);
    match result {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(chain(&error)),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no reason given");
            Err(shortened(&format!("it panicked: {text}")))
        }
    }
}

/// An error with its causes, in one line.
fn chain(error: &TractError) -> String {
    shortened(&format!("{error:#}"))
}

/// tract prints whole tensors and nodes into its errors.
fn shortened(text: &str) -> String {
    const MOST: usize = 400;
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(MOST) {
        Some((end, _)) => format!("{} …", &line[..end]),
        None => line,
    }
}

fn refused(reason: String) -> EdgeError {
    EdgeError::Refused { engine: NAME, reason }
}

fn failed(reason: String) -> EdgeError {
    EdgeError::Failed { engine: NAME, reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_error_and_known_to_hooks() {
        let outcome = guarded::<()>(|| {
            assert!(catches_panics());
            assert_eq!(guarded(|| Ok(1)), Ok(1));
            assert!(catches_panics());
            panic!("index out of bounds")
        });
        assert_eq!(outcome, Err("it panicked: index out of bounds".to_owned()));
        assert!(!catches_panics());
    }
}
