//! The training step and its validation as sessions of ONNX Runtime.
//!
//! Parameters, buffers and state lie in two sets of tensors. A step reads one and writes the other, the next step the
//! other way round: nothing of them is copied, and nothing allocated. All that is written per step is the batch and a few
//! numbers, in place.

use std::path::Path;

use ort::environment::Environment;
use ort::logging::LogLevel;
use ort::memory::{AllocationDevice, AllocatorType, MemoryInfo, MemoryType};
use ort::session::{IoBinding, Session};
use ort::value::{DynTensor, DynValue};

use super::frozen::frozen;
use super::tensors::{bytes_of, floats, set_bytes, set_values, type_of, type_of_values, zeros};
use super::{TrainError, kernels};
use crate::data::Batch;
use crate::model::{DataType, Document};
use crate::rewrite::Precision;
use crate::rewrite::train_step::Signature;
use crate::runtime::{self, WithElonnx};

const STEP: &str = "training step";
const VALIDATION: &str = "validation graph";

/// The numbers of a step.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Scalars {
    /// Learning rate.
    pub learning_rate: f32,
    /// Which step, from 1.
    pub step: i64,
    /// Where dropout comes from.
    pub seed: i64,
    /// Weight of the bonus.
    pub bonus_weight: f32,
}

/// What a run of either graph gives.
#[derive(Debug)]
pub struct Given<'a> {
    /// The loss of the batch.
    pub loss: f32,
    /// Soft margins.
    pub margins: &'a [f32],
    /// Logits.
    pub logits: &'a [f32],
    /// Their sizes.
    pub dims: &'a [usize],
}

/// A tensor that lives from step to step.
struct Slot {
    input: String,
    output: String,
    data_type: DataType,
    dims: Vec<usize>,
}

/// A session with its bindings for every size of batch that came along: the full one, and the last of an epoch.
struct Bound {
    session: Session,
    graph: &'static str,
    /// With the sizes of the data.
    batches: Vec<BoundBatch>,
}

struct BoundBatch {
    dims: Vec<Vec<usize>>,
    data: Vec<DynTensor>,
    labels: DynTensor,
    /// Reading the first set of tensors, and the second.
    bindings: [IoBinding; 2],
}

/// Both graphs with the tensors they share.
pub struct Sessions {
    signature: Signature,
    slots: Vec<Slot>,
    sets: [Vec<DynTensor>; 2],
    /// The set that holds the newest values.
    newest: usize,
    learning_rate: DynTensor,
    step: DynTensor,
    seed: DynTensor,
    bonus_weight: DynTensor,
    class_weights: Option<DynTensor>,
    training: Bound,
    validation: Option<Bound>,
    notes: Vec<String>,
}

impl Sessions {
    /// Loads the graphs; all tensors are zero.
    pub fn new(
        step: &Document,
        signature: &Signature,
        validation: Option<&Document>,
        threads: usize,
        library: Option<&Path>,
    ) -> Result<Self, TrainError> {
        let environment = runtime::environment(library).map_err(TrainError::NoOnnxRuntime)?;
        let refused = |reason: String| TrainError::Refused { graph: STEP, reason };
        let slots = slots(signature).map_err(refused)?;
        let set = || slots.iter().map(|slot| zeros(slot.data_type, &slot.dims)).collect::<Result<Vec<_>, _>>();
        let scalar = |data_type| zeros(data_type, &[]);
        let (training, note) = Bound::training(&environment, step, threads, signature.precision)?;
        Ok(Self {
            sets: [set().map_err(refused)?, set().map_err(refused)?],
            newest: 0,
            learning_rate: scalar(DataType::Float).map_err(refused)?,
            step: scalar(DataType::Int64).map_err(refused)?,
            seed: scalar(DataType::Int64).map_err(refused)?,
            bonus_weight: scalar(DataType::Float).map_err(refused)?,
            class_weights: None,
            training,
            validation: validation.map(|graph| Bound::validation(&environment, graph, threads)).transpose()?,
            notes: note.into_iter().collect(),
            slots,
            signature: signature.clone(),
        })
    }

    /// What ONNX Runtime does otherwise than asked for, a sentence each.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// The weight of each class, for steps that have it as an input.
    pub fn set_class_weights(&mut self, weights: &[f32]) -> Result<(), TrainError> {
        let failed = |reason| TrainError::Failed { graph: STEP, reason };
        let mut tensor = zeros(DataType::Float, &[weights.len()]).map_err(failed)?;
        let bytes: Vec<u8> = weights.iter().flat_map(|weight| weight.to_le_bytes()).collect();
        set_bytes(&mut tensor, DataType::Float, &bytes).map_err(failed)?;
        self.class_weights = Some(tensor);
        Ok(())
    }

    /// Names, types and sizes of all that lives from step to step.
    pub fn tensors(&self) -> impl Iterator<Item = (&str, DataType, &[usize])> {
        self.slots.iter().map(|slot| (slot.input.as_str(), slot.data_type, slot.dims.as_slice()))
    }

    /// Sets one of them, to little-endian elements.
    pub fn set(&mut self, name: &str, bytes: &[u8]) -> Result<(), TrainError> {
        let failed = |reason: String| TrainError::Failed { graph: STEP, reason: format!("{name}: {reason}") };
        let at =
            self.slots.iter().position(|slot| slot.input == name).ok_or_else(|| failed("is none of it".to_owned()))?;
        let newest = self.newest;
        let slot = self.slots.get(at).zip(self.sets.get_mut(newest).and_then(|set| set.get_mut(at)));
        let Some((slot, tensor)) = slot else { return Ok(()) };
        set_bytes(tensor, slot.data_type, bytes).map_err(failed)
    }

    /// The newest elements of one of them, little-endian.
    pub fn get(&self, name: &str) -> Result<Vec<u8>, TrainError> {
        let failed = |reason: String| TrainError::Failed { graph: STEP, reason: format!("{name}: {reason}") };
        let at =
            self.slots.iter().position(|slot| slot.input == name).ok_or_else(|| failed("is none of it".to_owned()))?;
        let tensor = self.sets.get(self.newest).and_then(|set| set.get(at));
        let Some((slot, tensor)) = self.slots.get(at).zip(tensor) else { return Ok(Vec::new()) };
        bytes_of(tensor, slot.data_type).map_err(failed)
    }

    /// Makes a step; `take` is given what came out.
    pub fn train<R>(
        &mut self,
        batch: &Batch,
        scalars: Scalars,
        take: impl FnOnce(&Given<'_>) -> R,
    ) -> Result<R, TrainError> {
        let failed = |reason| TrainError::Failed { graph: STEP, reason };
        set_number(&mut self.learning_rate, DataType::Float, &scalars.learning_rate.to_le_bytes()).map_err(failed)?;
        set_number(&mut self.step, DataType::Int64, &scalars.step.to_le_bytes()).map_err(failed)?;
        set_number(&mut self.seed, DataType::Int64, &scalars.seed.to_le_bytes()).map_err(failed)?;
        set_number(&mut self.bonus_weight, DataType::Float, &scalars.bonus_weight.to_le_bytes()).map_err(failed)?;
        let numbers = Numbers {
            signature: &self.signature,
            learning_rate: &self.learning_rate,
            step: &self.step,
            seed: &self.seed,
            bonus_weight: &self.bonus_weight,
            class_weights: self.class_weights.as_ref(),
        };
        let from = self.newest;
        let given = self.training.run(batch, &numbers, &self.slots, &mut self.sets, from, true, take);
        let given = given.map_err(failed)?;
        self.newest = 1 - from;
        Ok(given)
    }

    /// Runs the validation graph with the newest values; `take` is given what came out.
    pub fn validate<R>(
        &mut self,
        batch: &Batch,
        bonus_weight: f32,
        take: impl FnOnce(&Given<'_>) -> R,
    ) -> Result<R, TrainError> {
        let failed = |reason| TrainError::Failed { graph: VALIDATION, reason };
        set_number(&mut self.bonus_weight, DataType::Float, &bonus_weight.to_le_bytes()).map_err(failed)?;
        let numbers = Numbers {
            signature: &self.signature,
            learning_rate: &self.learning_rate,
            step: &self.step,
            seed: &self.seed,
            bonus_weight: &self.bonus_weight,
            class_weights: self.class_weights.as_ref(),
        };
        let Some(validation) = &mut self.validation else { return Err(failed("it was not made".to_owned())) };
        validation.run(batch, &numbers, &self.slots, &mut self.sets, self.newest, false, take).map_err(failed)
    }
}

/// Inputs that are numbers, by their names in the signature.
struct Numbers<'a> {
    signature: &'a Signature,
    learning_rate: &'a DynTensor,
    step: &'a DynTensor,
    seed: &'a DynTensor,
    bonus_weight: &'a DynTensor,
    class_weights: Option<&'a DynTensor>,
}

impl Numbers<'_> {
    fn of(&self, name: &str) -> Option<&DynTensor> {
        let is = |port: &Option<String>| port.as_deref() == Some(name);
        match self.signature {
            signature if is(&signature.learning_rate) => Some(self.learning_rate),
            signature if is(&signature.step) => Some(self.step),
            signature if is(&signature.seed) => Some(self.seed),
            signature if is(&signature.bonus_weight) => Some(self.bonus_weight),
            signature if is(&signature.class_weights) => self.class_weights,
            _ => None,
        }
    }
}

/// A session; ONNX Runtime writes what it makes of the graph to `optimized`, where that is given.
fn load(
    environment: &Environment,
    graph: &Document,
    frozen: Vec<(String, DynValue)>,
    threads: usize,
    optimized: Option<&Path>,
) -> ort::Result<Session> {
    let builder = Session::builder(environment)?;
    let builder = builder.with_intra_threads(threads.max(1))?;
    let mut builder = builder.with_log_level(LogLevel::Error)?;
    if let Some(path) = optimized {
        builder = builder.with_optimized_model_path(path)?;
    }
    let mut builder = builder.with_elonnx()?;
    for (name, tensor) in frozen {
        builder = builder.with_external_initializer(name, tensor)?;
    }
    builder.commit_from_memory(&graph.to_bytes())
}

impl Bound {
    /// The training step, and what the user should know of how it is run.
    fn training(
        environment: &Environment,
        graph: &Document,
        threads: usize,
        precision: Precision,
    ) -> Result<(Self, Option<String>), TrainError> {
        let optimized = kernels::place_for(graph, precision);
        let optimized = optimized.as_ref().map(|file| file.path());
        let frozen = frozen(graph).map_err(|reason| TrainError::Refused { graph: STEP, reason })?;
        let session = load(environment, graph, frozen, threads, optimized);
        let session = session.map_err(|error| kernels::refused(STEP, error.to_string(), precision))?;
        let note = optimized.and_then(|path| kernels::about(path, precision));
        Ok((Self { session, graph: STEP, batches: Vec::new() }, note))
    }

    fn validation(environment: &Environment, graph: &Document, threads: usize) -> Result<Self, TrainError> {
        let refused = |error: ort::Error| TrainError::Refused { graph: VALIDATION, reason: error.to_string() };
        let frozen = frozen(graph).map_err(|reason| TrainError::Refused { graph: VALIDATION, reason })?;
        let session = load(environment, graph, frozen, threads, None).map_err(refused)?;
        Ok(Self { session, graph: VALIDATION, batches: Vec::new() })
    }

    /// Runs a batch with the tensors of set `from`; what a step updates goes to the other set.
    #[expect(clippy::too_many_arguments, reason = "the parts of one object, borrowed apart")]
    fn run<R>(
        &mut self,
        batch: &Batch,
        numbers: &Numbers<'_>,
        slots: &[Slot],
        sets: &mut [Vec<DynTensor>; 2],
        from: usize,
        updates: bool,
        take: impl FnOnce(&Given<'_>) -> R,
    ) -> Result<R, String> {
        let signature = numbers.signature;
        let dims: Vec<Vec<usize>> = batch.inputs.iter().map(|tensor| tensor.dims.clone()).collect();
        let at = match self.batches.iter().position(|bound| bound.dims == dims) {
            Some(at) => at,
            None => {
                let bound = self.bind(batch, dims, numbers, slots, sets, updates).map_err(|error| error.to_string())?;
                self.batches.push(bound);
                self.batches.len() - 1
            }
        };
        let bound = self.batches.get_mut(at).ok_or("no such batch")?;
        for (tensor, values) in bound.data.iter_mut().zip(&batch.inputs) {
            set_values(tensor, &values.values)?;
        }
        set_labels(&mut bound.labels, signature, batch.labels.as_deref().unwrap_or_default())?;
        let binding = bound.bindings.get(from).ok_or("no such set")?;
        let outputs = self.session.run_binding(binding).map_err(|error| error.to_string())?;
        let output = |name: &str| outputs.get(name).ok_or_else(|| format!("{} gives no '{name}'", self.graph));
        let (mut first, mut second, mut third) = (Vec::new(), Vec::new(), Vec::new());
        let (_, loss) = floats(output(&signature.loss)?, &mut first)?;
        let (_, margins) = floats(output(&signature.margin)?, &mut second)?;
        let (dims, logits) = floats(output(&signature.logits.name)?, &mut third)?;
        let loss = loss.first().copied().unwrap_or(f32::NAN);
        Ok(take(&Given { loss, margins, logits, dims: &dims }))
    }

    /// Binds all inputs and outputs for batches of one size, once.
    fn bind(
        &self,
        batch: &Batch,
        dims: Vec<Vec<usize>>,
        numbers: &Numbers<'_>,
        slots: &[Slot],
        sets: &mut [Vec<DynTensor>; 2],
        updates: bool,
    ) -> Result<BoundBatch, String> {
        let signature = numbers.signature;
        let failed = |error: ort::Error| error.to_string();
        let data = batch.inputs.iter().map(|tensor| zeros(type_of_values(&tensor.values), &tensor.dims));
        let data = data.collect::<Result<Vec<_>, _>>()?;
        let label_type = type_of(&signature.labels.data_type).unwrap_or(DataType::Int64);
        let labels = zeros(label_type, &label_dims(batch, signature))?;
        let cpu =
            MemoryInfo::new(AllocationDevice::CPU, 0, AllocatorType::Device, MemoryType::CPUOutput).map_err(failed)?;
        let mut bind = |from: usize| -> Result<IoBinding, String> {
            let mut binding = self.session.create_binding().map_err(failed)?;
            for input in self.session.inputs() {
                let name = input.name();
                if let Some(tensor) =
                    signature.data.iter().position(|port| port.name == name).and_then(|at| data.get(at))
                {
                    binding.bind_input(name, tensor).map_err(failed)?;
                } else if name == signature.labels.name {
                    binding.bind_input(name, &labels).map_err(failed)?;
                } else if let Some(tensor) = numbers.of(name) {
                    binding.bind_input(name, tensor).map_err(failed)?;
                } else if let Some(at) = slots.iter().position(|slot| slot.input == name)
                    && let Some(tensor) = sets.get(from).and_then(|set| set.get(at))
                {
                    binding.bind_input(name, tensor).map_err(failed)?;
                } else {
                    return Err(format!("nothing is known for its input '{name}'"));
                }
            }
            for name in [&signature.loss, &signature.margin, &signature.logits.name] {
                binding.bind_output_to_device(name.as_str(), &cpu).map_err(failed)?;
            }
            let to = sets.get_mut(1 - from).into_iter().flatten();
            for (slot, tensor) in slots.iter().zip(to).filter(|_| updates) {
                binding.bind_output(slot.output.as_str(), tensor).map_err(failed)?;
            }
            Ok(binding)
        };
        let bindings = [bind(0)?, bind(1)?];
        Ok(BoundBatch { dims, data, labels, bindings })
    }
}

/// Labels have the shape of the logits without their classes; of labels that come one per sample that is [N].
fn label_dims(batch: &Batch, signature: &Signature) -> Vec<usize> {
    let rows = batch.labels.as_ref().map_or(0, Vec::len);
    let inner = signature.labels.shape.len().saturating_sub(1);
    std::iter::once(rows).chain(std::iter::repeat_n(1, inner)).collect()
}

fn set_labels(tensor: &mut DynTensor, signature: &Signature, labels: &[i64]) -> Result<(), String> {
    if signature.labels.data_type == "int32" {
        let bytes: Vec<u8> = labels.iter().flat_map(|&label| (label as i32).to_le_bytes()).collect();
        return set_bytes(tensor, DataType::Int32, &bytes);
    }
    let bytes: Vec<u8> = labels.iter().flat_map(|label| label.to_le_bytes()).collect();
    set_bytes(tensor, DataType::Int64, &bytes)
}

fn set_number(tensor: &mut DynTensor, data_type: DataType, bytes: &[u8]) -> Result<(), String> {
    set_bytes(tensor, data_type, bytes)
}

/// All that lives from step to step.
fn slots(signature: &Signature) -> Result<Vec<Slot>, String> {
    let slot = |input: &str, output: Option<&String>, data_type: &str, shape: &[i64]| {
        let output = output.ok_or_else(|| format!("it does not update '{input}'"))?.clone();
        let data_type = type_of(data_type).ok_or_else(|| format!("'{input}' has elements of type {data_type}"))?;
        let dims = shape.iter().map(|&size| usize::try_from(size)).collect::<Result<Vec<_>, _>>();
        let dims = dims.map_err(|_| format!("'{input}' has no fixed shape"))?;
        Ok(Slot { input: input.to_owned(), output, data_type, dims })
    };
    let updated = signature.parameters.iter().chain(&signature.buffers);
    let updated = updated.map(|port| slot(&port.name, port.updated.as_ref(), &port.data_type, &port.shape));
    let state = signature.state.iter().map(|port| slot(&port.name, Some(&port.updated), &port.data_type, &port.shape));
    updated.chain(state).collect()
}
