//! From a match to edits: the op in place of the old loss, its gradient with it.

use crate::loss::{EncouragingLoss, ParameterError, Reduction};
use crate::model::proto::{NodeProto, TensorProto};
use crate::model::{DataType, Dimension, NodeBuilder, node, value_info};

use super::function::attributes;
use super::options::PatchOptions;
use super::plan::Plan;
use super::rules::{ClassAxis, Context, GradientMatch, LossShape, Match};
use super::{DOMAIN, GRAD_OP, LOSS_OP, RewriteError};

/// Metadata keys on every node we make.
pub(crate) const NODE_VERSION: &str = "elonnx.version";
/// The rule that led to the node.
pub(crate) const NODE_RULE: &str = "elonnx.rule";
/// What the node replaced, in words.
pub(crate) const NODE_REPLACED: &str = "elonnx.replaced";

/// The parameters a match gets: what the user asks, then what the old loss had, then the operator's defaults.
pub(crate) fn merge(
    found: &EncouragingLoss,
    encouraging: bool,
    options: &PatchOptions,
) -> Result<EncouragingLoss, ParameterError> {
    let base = if encouraging { *found } else { EncouragingLoss::default() };
    base.to_builder()
        .log_end(options.log_end.unwrap_or(base.log_end()))
        .bonus(options.bonus.unwrap_or(base.bonus()))
        .power(options.power.unwrap_or(base.power()))
        .bonus_weight(options.bonus_weight.unwrap_or(base.bonus_weight()))
        .label_smoothing(options.label_smoothing.unwrap_or(found.label_smoothing()))
        .reduction(options.reduction.unwrap_or(found.reduction()))
        .ignore_index(options.ignore_index.or(found.ignore_index()))
        .build()
}

/// A node that carries our stamp.
pub(crate) fn stamped(op: &str, rule: &str) -> NodeBuilder {
    node(op).metadata(NODE_VERSION, env!("CARGO_PKG_VERSION")).metadata(NODE_RULE, rule)
}

/// Adds the edits for one match to the plan; the notes say what the user should know.
pub(crate) fn swap(
    context: &Context,
    found: &Match,
    loss: &EncouragingLoss,
    plan: &mut Plan,
) -> Result<Vec<String>, RewriteError> {
    refuse_other_shape(context, found, loss)?;
    let mut swap = Swap { context, found, plan, name: node_name(context, found), notes: Vec::new() };
    swap.run(loss)?;
    Ok(swap.notes)
}

/// `--reduction` may not turn a scalar into rows or back where something reads the loss.
fn refuse_other_shape(context: &Context, found: &Match, loss: &EncouragingLoss) -> Result<(), RewriteError> {
    let rows = |r: Reduction| r == Reduction::None;
    if rows(loss.reduction()) == rows(found.parameters.reduction()) {
        return Ok(());
    }
    Err(RewriteError::Unsupported {
        node: context.graph.node(found.at).describe(),
        reason: format!(
            "reduction {} instead of {} changes the shape of the loss '{}', which the rest of the graph depends on; leave --reduction out",
            loss.reduction(),
            found.parameters.reduction(),
            found.loss
        ),
    })
}

fn node_name(context: &Context, found: &Match) -> String {
    let old = context.graph.node(found.at).label();
    format!("{}/{LOSS_OP}", if old.is_empty() { &found.loss } else { old })
}

struct Swap<'a, 'g> {
    context: &'a Context<'g>,
    found: &'a Match,
    plan: &'a mut Plan,
    name: String,
    notes: Vec<String>,
}

impl Swap<'_, '_> {
    fn run(&mut self, loss: &EncouragingLoss) -> Result<(), RewriteError> {
        let (context, found) = (self.context, self.found);
        let data_type = context.data_type(&found.logits);
        self.check_type(data_type)?;
        // ORT's mixed precision takes half logits and gives a float loss: compute in the loss's type
        let computed = found.loss_type.filter(|t| Some(*t) != data_type);
        let logits = self.prepare_logits(computed);
        let labels = self.prepare_labels();
        let weights = self.prepare_weights(computed.or(data_type));
        let margin = found.gradient.as_ref().map(|_| self.fresh(&format!("{}_margin", found.loss)));

        let made = self.emit_loss(loss, [&logits, &labels, &weights], margin.as_deref());
        self.finish_loss(&made, computed.or(data_type));
        self.keep_log_prob();
        if let Some(gradient) = &found.gradient {
            self.emit_gradient(
                loss,
                gradient,
                [&logits, &labels, &weights],
                margin.as_deref().unwrap_or_default(),
                computed.and(data_type),
            );
        }
        let row_dims = if found.flatten_labels { None } else { context.shapes.get(&found.labels).dims };
        let loss_dims = if loss.reduction() == Reduction::None { row_dims.clone() } else { Some(Vec::new()) };
        self.declare(&made, computed.or(data_type), loss_dims);
        if let Some(margin) = margin {
            self.declare(&margin, Some(DataType::Float), row_dims);
        }
        self.plan.remove(found.at);
        self.plan.remove_unread(&context.index, &found.nodes);
        Ok(())
    }

    /// Writes down the type of an output of ours, unless the model does. ONNX Runtime 1.17 cannot infer it for a node
    /// that leaves an input out, and hosts before 1.24 know no shapes.
    fn declare(&mut self, value: &str, data_type: Option<DataType>, dims: Option<Vec<Dimension>>) {
        let graph = self.context.graph;
        let declared = graph.value_infos().iter().chain(graph.outputs()).any(|v| v.name.as_deref() == Some(value));
        if let Some(data_type) = data_type.filter(|_| !declared) {
            self.plan.add_value_info(value_info(value, data_type as i32, dims.as_deref()));
        }
    }

    fn check_type(&self, data_type: Option<DataType>) -> Result<(), RewriteError> {
        let supported =
            matches!(data_type, Some(DataType::Float | DataType::Double | DataType::Float16 | DataType::Bfloat16));
        if supported {
            return Ok(());
        }
        Err(RewriteError::Unsupported {
            node: self.context.graph.node(self.found.at).describe(),
            reason: match data_type {
                None => format!(
                    "the element type of its logits '{}' is not known; run onnx.shape_inference on the model first",
                    self.found.logits
                ),
                Some(other) => format!(
                    "its logits are {}; they must be float16, bfloat16, float32 or float64",
                    super::rules::data_type_name(other)
                ),
            },
        })
    }

    fn fresh(&mut self, base: &str) -> String {
        self.plan.fresh_name(self.context.graph, base)
    }

    fn insert(&mut self, node: NodeProto) {
        self.plan.insert(self.found.at, node);
    }

    fn helper(&self, op: &str, what: &str) -> NodeBuilder {
        stamped(op, self.found.rule).name(&format!("{}/{what}", self.name))
    }

    /// Classes to axis 1, mixed precision to the loss's type.
    fn prepare_logits(&mut self, computed: Option<DataType>) -> String {
        let mut logits = self.found.logits.clone();
        if let ClassAxis::Last { rank } = self.found.class_axis {
            let moved = self.fresh(&format!("{logits}_classes_first"));
            let mut order: Vec<i64> = vec![0, rank as i64 - 1];
            order.extend(1..rank as i64 - 1);
            let transpose =
                self.helper("Transpose", "Transpose").inputs([&logits]).outputs([&moved]).ints("perm", &order).build();
            self.insert(transpose);
            logits = moved;
        }
        if let Some(data_type) = computed {
            logits = self.cast(&logits, data_type);
            self.notes.push(format!(
                "computes in {}: the old loss took half-precision logits and gave a loss of that type",
                super::rules::data_type_name(data_type)
            ));
        }
        logits
    }

    fn cast(&mut self, value: &str, to: DataType) -> String {
        let cast = self.fresh(&format!("{value}_{}", super::rules::data_type_name(to)));
        let node = self.helper("Cast", "Cast").inputs([value]).outputs([&cast]).int("to", to as i64).build();
        self.insert(node);
        cast
    }

    /// Class indices of the rows, int32 or int64.
    fn prepare_labels(&mut self) -> String {
        let mut labels = self.found.labels.clone();
        if self.found.flatten_labels {
            let flat = self.fresh(&format!("{labels}_rows"));
            let shape = self.fresh(&format!("{labels}_rows_shape"));
            let constant = self
                .helper("Constant", "rows")
                .outputs([&shape])
                .tensor("value", &TensorProto::vector(&shape, DataType::Int64 as i32, &self.rows_shape()))
                .build();
            self.insert(constant);
            let reshape = self.helper("Reshape", "Reshape").inputs([&labels, &shape]).outputs([&flat]).build();
            self.insert(reshape);
            labels = flat;
        }
        match self.context.data_type(&self.found.labels) {
            None | Some(DataType::Int32 | DataType::Int64) => labels,
            Some(_) => self.cast(&labels, DataType::Int64),
        }
    }

    /// [N·1] → [-1]; [N, 1, d…] → [0, d…] cannot be said with one Reshape, but the ranks that occur are 2 and 3.
    fn rows_shape(&self) -> Vec<f64> {
        match self.context.shapes.rank(&self.found.logits) {
            Some(3) => vec![0.0, -1.0],
            _ => vec![-1.0],
        }
    }

    fn prepare_weights(&mut self, wanted: Option<DataType>) -> String {
        let Some(weights) = self.found.class_weights.clone() else { return String::new() };
        match (self.context.data_type(&weights), wanted) {
            (Some(have), Some(want)) if have != want => self.cast(&weights, want),
            _ => weights,
        }
    }

    /// The op; gives the name of its loss.
    fn emit_loss(
        &mut self,
        loss: &EncouragingLoss,
        [logits, labels, weights]: [&str; 3],
        margin: Option<&str>,
    ) -> String {
        let plain = self.found.loss_shape == LossShape::AsIs && self.found.scale == 1.0 && self.same_type_as_loss();
        let made = if plain { self.found.loss.clone() } else { self.fresh(&format!("{}_rows", self.found.loss)) };
        let old = self.context.graph.node(self.found.at).describe();
        let node = stamped(LOSS_OP, self.found.rule)
            .attributes(attributes(loss))
            .domain(DOMAIN)
            .name(&self.name)
            .metadata(NODE_REPLACED, &old)
            .inputs([logits, labels, weights])
            .outputs(std::iter::once(made.as_str()).chain(margin))
            .build();
        self.insert(node);
        made
    }

    /// Whether the op's loss has the type that the old loss has.
    fn same_type_as_loss(&self) -> bool {
        let computed = self.found.loss_type.or(self.context.data_type(&self.found.logits));
        self.context.data_type(&self.found.loss).is_none_or(|t| Some(t) == computed)
    }

    /// Gives the loss the shape and type that its readers know.
    fn finish_loss(&mut self, made: &str, computed: Option<DataType>) {
        let old_type = self.context.data_type(&self.found.loss).filter(|t| Some(*t) != computed);
        let plain = self.found.loss_shape == LossShape::AsIs && old_type.is_none();
        let scaled = self.scale(made, plain, computed);
        let made = scaled.as_str();
        let axes: Option<Vec<i64>> = match self.found.loss_shape {
            LossShape::AsIs => None,
            LossShape::KeptAxis(axis) => Some(vec![axis as i64]),
            LossShape::Ones(rank) => Some((0..rank as i64).collect()),
        };
        let loss = self.found.loss.clone();
        match (axes, old_type) {
            (None, None) => {}
            (Some(axes), None) => self.unsqueeze(made, &loss, &axes),
            (None, Some(to)) => {
                let cast = self.helper("Cast", "CastLoss").inputs([made]).outputs([&loss]).int("to", to as i64).build();
                self.insert(cast);
            }
            (Some(axes), Some(to)) => {
                let cast = self.cast(made, to);
                self.unsqueeze(&cast, &loss, &axes);
            }
        }
    }

    /// Multiplies the op's loss with what the old loss was multiplied with; `last`: the result is the old loss.
    fn scale(&mut self, made: &str, last: bool, computed: Option<DataType>) -> String {
        let scale = self.found.scale;
        if scale == 1.0 {
            return made.to_owned();
        }
        let scaled = if last { self.found.loss.clone() } else { self.fresh(&format!("{}_scaled", self.found.loss)) };
        let node = if scale == -1.0 {
            self.helper("Neg", "Neg").inputs([made]).outputs([&scaled]).build()
        } else {
            let factor = self.fresh(&format!("{}_scale", self.found.loss));
            let data_type = computed.unwrap_or(DataType::Float) as i32;
            let mut tensor = TensorProto::vector(&factor, data_type, &[scale]);
            tensor.dims.clear();
            let constant = self.helper("Constant", "scale").outputs([&factor]).tensor("value", &tensor).build();
            self.insert(constant);
            self.helper("Mul", "Mul").inputs([made, &factor]).outputs([&scaled]).build()
        };
        self.insert(node);
        scaled
    }

    fn unsqueeze(&mut self, from: &str, to: &str, axes: &[i64]) {
        // axes became an input at opset 13
        if self.context.opset < 13 {
            let node = self.helper("Unsqueeze", "Unsqueeze").inputs([from]).outputs([to]).ints("axes", axes).build();
            self.insert(node);
            return;
        }
        let name = self.fresh(&format!("{to}_axes"));
        let values: Vec<f64> = axes.iter().map(|a| *a as f64).collect();
        let constant = self
            .helper("Constant", "axes")
            .outputs([&name])
            .tensor("value", &TensorProto::vector(&name, DataType::Int64 as i32, &values))
            .build();
        self.insert(constant);
        let node = self.helper("Unsqueeze", "Unsqueeze").inputs([from, &name]).outputs([to]).build();
        self.insert(node);
    }

    /// Somebody else reads the old loss's log-probabilities: they get a node of their own.
    fn keep_log_prob(&mut self) {
        let Some(log_prob) = self.found.log_prob.clone() else { return };
        let index = &self.context.index;
        let gradient = self.found.gradient.as_ref().map(|g| g.node);
        let read = index.is_output(&log_prob) || index.consumers(&log_prob).iter().any(|id| Some(*id) != gradient);
        if !read {
            return;
        }
        let logits = self.found.logits.clone();
        if self.context.opset >= 13 {
            let node =
                self.helper("LogSoftmax", "LogSoftmax").inputs([&logits]).outputs([&log_prob]).int("axis", 1).build();
            self.insert(node);
        } else {
            // before opset 13 LogSoftmax flattens all axes from `axis` on
            let sum = self.fresh(&format!("{log_prob}_lse"));
            let lse = self
                .helper("ReduceLogSumExp", "LogSumExp")
                .inputs([&logits])
                .outputs([&sum])
                .ints("axes", &[1])
                .int("keepdims", 1)
                .build();
            self.insert(lse);
            let node = self.helper("Sub", "LogSoftmax").inputs([&logits, &sum]).outputs([&log_prob]).build();
            self.insert(node);
        }
        self.notes.push(format!("'{log_prob}' is read by others: it is computed by a log-softmax of its own"));
    }

    fn emit_gradient(
        &mut self,
        loss: &EncouragingLoss,
        gradient: &GradientMatch,
        [logits, labels, weights]: [&str; 3],
        margin: &str,
        back: Option<DataType>,
    ) {
        let at = gradient.node;
        let direct = back.is_none() && gradient.bias.is_none();
        let made =
            if direct { gradient.dlogits.clone() } else { self.fresh(&format!("{}_computed", gradient.dlogits)) };
        let old = self.context.graph.node(at);
        let mut builder = stamped(GRAD_OP, self.found.rule)
            .attributes(attributes(loss))
            .domain(DOMAIN)
            .name(&format!("{}/{GRAD_OP}", old.label()))
            .metadata(NODE_REPLACED, &old.describe())
            .inputs([&gradient.dloss, logits, labels, weights, "", margin])
            .outputs([&made]);
        if let Some(doc) = &old.doc_string {
            builder = builder.doc_string(doc);
        }
        self.plan.insert(at, builder.build());
        let made_type = back.map_or(self.context.data_type(&self.found.logits), |_| self.found.loss_type);
        let dims = self.context.shapes.get(&self.found.logits).dims;
        self.declare(&made, made_type, dims);
        let mut value = made;
        if let Some(to) = back {
            let cast = if gradient.bias.is_none() {
                gradient.dlogits.clone()
            } else {
                self.fresh(&format!("{}_cast", gradient.dlogits))
            };
            let node =
                self.helper("Cast", "CastGradient").inputs([&value]).outputs([&cast]).int("to", to as i64).build();
            self.plan.insert(at, node);
            value = cast;
        }
        if let Some(bias) = &gradient.bias {
            let node = self.helper("Add", "AddGradient").inputs([&value, bias]).outputs([&gradient.dlogits]).build();
            self.plan.insert(at, node);
        }
        self.plan.remove(at);
    }
}
