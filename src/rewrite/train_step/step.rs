//! Forward, loss, gradients and optimizer put together.

use std::collections::BTreeSet;

use crate::model::{DataType, Dimension, Document, GraphIndex, ValueType, value_info};
use crate::rewrite::Precision;
use crate::rewrite::fused::fuse_forward;
use crate::rewrite::gradient::{Builder, GradientError, differentiate};
use crate::rewrite::optimizer::{Optimizer, Scalars, Trained, Updated, clip, global_norm, update};
use crate::rewrite::patch::{MODEL_LOSSES, MODEL_VERSION, default_opset};
use crate::rewrite::rules::data_type_name;

use super::batch_norm::{self, Normalizations};
use super::dropout::{Dropouts, explicit_dropout};
use super::forward::{Forward, LossPorts, add_loss, forward};
use super::loss_scaling::{LossScaling, Overflow};
use super::precision::lower_forward;
use super::roles::{is_float, roles};
use super::selection::{Selection, listed, select};
use super::signature::{Initial, InputGradient, Port, Signature, Size, StatePort, UpdatedPort};
use super::{METADATA_KEY, TrainStep, TrainStepError, TrainStepOptions, VERSION};

/// See [`super::train_step`].
pub(super) fn assemble(document: &Document, options: &TrainStepOptions) -> Result<TrainStep, TrainStepError> {
    let mut forward = forward(document, options)?;
    let opset = default_opset(&forward.document)?;
    let found = roles(&forward.document, opset, &forward.logits);
    let selection = select(&found, options)?;
    check_wrt(&forward, options)?;
    let data: Vec<String> = {
        let index = GraphIndex::new(forward.document.graph());
        let inputs = forward.document.graph().inputs().iter().map(|input| input.name());
        inputs.filter(|name| index.is_input(name) && *name != forward.labels_input).map(str::to_owned).collect()
    };
    let normalizations = batch_norm::train(forward.document.graph_mut(), &selection, options);
    let mut notes = std::mem::take(&mut forward.notes);
    let seed = drop_out(&mut forward.document, options, &mut notes)?;
    let ports = add_loss(&mut forward, options)?;
    notes.extend(selection.notes.iter().cloned());
    notes.extend(about_normalizations(&normalizations, options));
    notes.extend(lower_forward(&mut forward.document, &selection, options)?);

    let mut parameters = selection.parameters.clone();
    let plan =
        Plan { forward: &forward, ports: &ports, selection: &selection, normalizations: &normalizations, data, seed };
    loop {
        match plan.build(&parameters, options) {
            Ok((document, signature)) => {
                let frozen = selection.frozen.iter().cloned().collect();
                return Ok(TrainStep { document, signature, options: options.clone(), frozen, notes });
            }
            Err(TrainStepError::Gradient(GradientError::NotConnected { names, .. }))
                if names.iter().any(|name| parameters.contains(name)) =>
            {
                let shown: Vec<&str> = names.iter().map(String::as_str).collect();
                notes.push(format!("no gradient reaches {}: not trained", listed(&shown)));
                parameters.retain(|name| !names.contains(name));
                if parameters.is_empty() {
                    let why = "no gradient of the loss reaches any parameter".to_owned();
                    return Err(TrainStepError::NoParameters(why));
                }
            }
            Err(error) => return Err(error),
        }
    }
}

/// Dropouts draw from a seed that comes in; its name, if there are any that drop.
fn drop_out(
    document: &mut Document,
    options: &TrainStepOptions,
    notes: &mut Vec<String>,
) -> Result<Option<String>, TrainStepError> {
    let seed = document.graph().fresh_name("seed");
    let which = if options.dropout { Dropouts::All } else { Dropouts::ThatTrain };
    let count = explicit_dropout(document, &seed, which)?;
    if document.graph().nodes().iter().any(|node| node.is("", "Dropout")) {
        notes.push("the file was exported for inference: its Dropouts stay off (--dropout turns them on)".to_owned());
    }
    if count == 0 {
        return Ok(None);
    }
    document.graph_mut().add_input(value_info(&seed, DataType::Int64 as i32, Some(&[])));
    Ok(Some(seed))
}

/// Gradients are asked of float inputs only.
fn check_wrt(forward: &Forward, options: &TrainStepOptions) -> Result<(), TrainStepError> {
    let graph = forward.document.graph();
    let index = GraphIndex::new(graph);
    for name in &options.wrt {
        let info = graph.inputs().iter().find(|input| input.name() == name && index.is_input(name));
        let Some(info) = info.filter(|_| *name != forward.labels_input) else {
            let inputs: Vec<&str> = graph.inputs().iter().map(|input| input.name()).collect();
            let inputs: Vec<&str> =
                inputs.into_iter().filter(|i| index.is_input(i) && *i != forward.labels_input).collect();
            return Err(TrainStepError::Option(format!(
                "--wrt {name}: the model has no such input; it has {}",
                inputs.join(", ")
            )));
        };
        if !ValueType::of_value_info(info).data_type.is_some_and(is_float) {
            return Err(TrainStepError::Option(format!("--wrt {name}: it is no float tensor, so it has no gradient")));
        }
    }
    Ok(())
}

fn about_normalizations(done: &Normalizations, options: &TrainStepOptions) -> Option<String> {
    let count =
        |n: usize| if n == 1 { "one BatchNormalization".to_owned() } else { format!("{n} BatchNormalizations") };
    match (done.trained, done.frozen) {
        (_, 0) => None,
        (_, frozen) if options.freeze_batch_norm => {
            Some(format!("{} frozen: running statistics are used", count(frozen)))
        }
        (_, frozen) => Some(format!(
            "{} frozen with scale and bias, or without stored statistics: running statistics are used",
            count(frozen)
        )),
    }
}

struct Plan<'a> {
    forward: &'a Forward,
    ports: &'a LossPorts,
    selection: &'a Selection,
    normalizations: &'a Normalizations,
    /// Inputs of the model but the labels.
    data: Vec<String>,
    /// Where random numbers come from.
    seed: Option<String>,
}

impl Plan<'_> {
    fn build(
        &self,
        parameters: &BTreeSet<String>,
        options: &TrainStepOptions,
    ) -> Result<(Document, Signature), TrainStepError> {
        let mut forward = self.forward.document.clone();
        if options.plugin {
            let opset = forward.opset_version("").unwrap_or_default();
            fuse_forward(&mut forward, opset);
        }
        let mut builder = Builder::new(&forward)?;
        if options.plugin {
            builder = builder.with_fused_operators();
        }
        let signature = self.append(&mut builder, parameters, options)?;
        let mut document = builder.finish()?;
        stamp(&mut document, &signature, options);
        Ok((document, signature))
    }

    /// Appends gradients and optimizer.
    fn append(
        &self,
        b: &mut Builder<'_>,
        parameters: &BTreeSet<String>,
        options: &TrainStepOptions,
    ) -> Result<Signature, TrainStepError> {
        // in the order of the file
        let stored = self.forward.document.graph().initializers().iter().map(|tensor| tensor.name());
        let names: Vec<&str> = stored.filter(|name| parameters.contains(*name)).collect();
        let wrt: Vec<&str> = names.iter().copied().chain(options.wrt.iter().map(String::as_str)).collect();
        let scaling = (options.precision == Precision::F16).then(|| LossScaling::add(b));
        let scale = scaling.as_ref().map(LossScaling::scale);
        let mut gradients = differentiate(b, &self.ports.loss, scale, &wrt)?;
        if let Some(scaling) = &scaling {
            gradients = scaling.unscaled(b, &gradients);
        }
        let (of_parameters, of_inputs) = gradients.split_at(names.len());
        let mut trained: Vec<Trained> = names
            .iter()
            .zip(of_parameters)
            .map(|(name, gradient)| Trained { parameter: (*name).to_owned(), gradient: gradient.clone() })
            .collect();

        let norm = match options.clip_norm.is_some() || options.gradient_norm || scaling.is_some() {
            true => global_norm(b, &trained),
            false => None,
        };
        if let (Some(norm), Some(max_norm)) = (&norm, options.clip_norm) {
            clip(b, &mut trained, norm, max_norm);
        }
        let scalars = Scalars::add(b, &options.optimizer);
        for name in names.iter().copied() {
            b.release(name);
        }
        let overflow = scaling.as_ref().zip(norm.as_ref()).map(|(scaling, norm)| Overflow::of(b, scaling, norm));
        let updated =
            scalars.as_ref().and_then(|scalars| updated(b, &options.optimizer, scalars, &trained, overflow.as_ref()));

        let told = options.clip_norm.is_some() || options.gradient_norm;
        let gradient_norm = norm.filter(|_| told).map(|norm| {
            let name = b.name_value(&norm, "gradient_norm");
            b.add_output(value_info(&name, DataType::Float as i32, Some(&[])));
            name
        });
        let (parameters, mut state) = (ports_of_parameters(b, &trained, updated.as_deref()), Vec::new());
        let buffers = self.buffers(b);
        for (one, updated) in trained.iter().zip(updated.iter().flatten()) {
            for part in &updated.state {
                let name = give(b, &part.updated, &format!("{}/updated", part.input), &one.parameter);
                state.push(StatePort {
                    name: part.input.clone(),
                    updated: name,
                    parameter: Some(one.parameter.clone()),
                    kind: part.kind.to_owned(),
                    initial: Initial::Zeros,
                    data_type: type_name(b.data_type(&one.parameter)),
                    shape: b.sizes(&one.parameter).unwrap_or_default(),
                });
            }
        }
        if let Some(overflow) = &overflow {
            for (mut port, value) in overflow.update(b) {
                port.updated = give(b, &value, &format!("{}/updated", port.name), &port.name);
                state.push(port);
            }
        }
        let mut input_gradients = Vec::new();
        for (input, gradient) in options.wrt.iter().zip(of_inputs) {
            let gradient = give(b, gradient, &format!("{input}/gradient"), input);
            input_gradients.push(InputGradient { input: input.clone(), gradient });
        }
        Ok(Signature {
            version: VERSION,
            optimizer: options.optimizer.name().to_owned(),
            precision: options.precision,
            data: self.data.iter().map(|name| port(b, name)).collect(),
            labels: port(b, &self.forward.labels_input),
            learning_rate: scalars.as_ref().map(|scalars| scalars.learning_rate.clone()),
            step: scalars.and_then(|scalars| scalars.step),
            bonus_weight: self.ports.bonus_weight.clone(),
            class_weights: self.ports.class_weights.clone(),
            seed: self.seed.clone(),
            parameters,
            buffers,
            state,
            loss: self.ports.loss.clone(),
            margin: self.ports.margin.clone(),
            logits: port(b, &self.ports.logits),
            class_axis: 1,
            gradient_norm,
            input_gradients,
        })
    }

    /// Running statistics in and out.
    fn buffers(&self, b: &mut Builder<'_>) -> Vec<UpdatedPort> {
        let mut ports = Vec::new();
        for (name, updated) in &self.normalizations.updated {
            if !self.selection.buffers.contains(name) {
                continue;
            }
            let found = b.value_type(name);
            b.release(name);
            b.add_output(value_info(updated, found.data_type.unwrap_or_default(), found.dims.as_deref()));
            ports.push(UpdatedPort {
                name: name.clone(),
                updated: Some(updated.clone()),
                gradient: None,
                data_type: type_name(found.data_type),
                shape: b.sizes(name).unwrap_or_default(),
            });
        }
        ports
    }
}

/// The optimizer's update, which an overflow undoes.
fn updated(
    b: &mut Builder<'_>,
    optimizer: &Optimizer,
    scalars: &Scalars,
    trained: &[Trained],
    overflow: Option<&Overflow<'_>>,
) -> Option<Vec<Updated>> {
    let Some(overflow) = overflow else { return update(b, optimizer, scalars, trained) };
    let counted = Scalars {
        learning_rate: scalars.learning_rate.clone(),
        step: scalars.step.as_ref().map(|step| overflow.scaling.counted(b, step)),
    };
    let mut updated = update(b, optimizer, &counted, trained)?;
    for (one, updated) in trained.iter().zip(&mut updated) {
        b.set_scope(&one.parameter);
        updated.value = overflow.unless(b, &updated.value, &one.parameter);
        for state in &mut updated.state {
            state.updated = overflow.unless(b, &state.updated, &state.input);
        }
    }
    Some(updated)
}

/// Version, loss and signature as metadata.
fn stamp(document: &mut Document, signature: &Signature, options: &TrainStepOptions) {
    stamp_loss(document, &signature.loss, options);
    document.set_metadata(METADATA_KEY, &serde_json::to_string(signature).unwrap_or_default());
}

/// Version and loss as metadata.
pub(super) fn stamp_loss(document: &mut Document, loss: &str, options: &TrainStepOptions) {
    let losses = serde_json::json!({ loss: options.loss }).to_string();
    document.set_metadata(MODEL_VERSION, env!("CARGO_PKG_VERSION"));
    document.set_metadata(MODEL_LOSSES, &losses);
}

/// New values as outputs, or the gradients where nothing is updated.
fn ports_of_parameters(b: &mut Builder<'_>, trained: &[Trained], updated: Option<&[Updated]>) -> Vec<UpdatedPort> {
    let mut ports = Vec::with_capacity(trained.len());
    for (at, one) in trained.iter().enumerate() {
        let name = &one.parameter;
        let new = updated.and_then(|all| all.get(at)).map(|updated| updated.value.clone());
        let port = UpdatedPort {
            name: name.clone(),
            gradient: new.is_none().then(|| give(b, &one.gradient, &format!("{name}/gradient"), name)),
            updated: new.map(|value| give(b, &value, &format!("{name}/updated"), name)),
            data_type: type_name(b.data_type(name)),
            shape: b.sizes(name).unwrap_or_default(),
        };
        ports.push(port);
    }
    ports
}

/// Makes a value an output of that name, in the type and shape of `like`.
fn give(b: &mut Builder<'_>, value: &str, name: &str, like: &str) -> String {
    let name = b.name_value(value, name);
    let found = b.value_type(like);
    b.add_output(value_info(&name, found.data_type.unwrap_or_default(), found.dims.as_deref()));
    name
}

fn port(b: &Builder<'_>, value: &str) -> Port {
    port_of(value, &b.value_type(value))
}

/// A value as the signature tells of it.
fn port_of(value: &str, found: &ValueType) -> Port {
    let size = |dim: &Dimension| match dim {
        Dimension::Known(size) => Size::Fixed(*size),
        Dimension::Symbol(name) => Size::Free(name.clone()),
        Dimension::Unknown => Size::Free(String::new()),
    };
    Port {
        name: value.to_owned(),
        data_type: type_name(found.data_type),
        shape: found.dims.iter().flatten().map(size).collect(),
    }
}

fn type_name(data_type: Option<i32>) -> String {
    let data_type = data_type.and_then(|number| DataType::try_from(number).ok()).unwrap_or(DataType::Undefined);
    data_type_name(data_type).to_owned()
}
