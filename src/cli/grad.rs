//! `elonnx grad`.

use std::io::Write as _;
use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, TypedValueParser as _};
use clap::{Args, ValueHint};
use serde_json::json;

use super::exit::{NothingToDo, WrongInput, wrong_input};
use super::files::{Input, Output, Wish, resolve_output};
use super::output::{Page, clean, print, shorten, size};
use super::report::{describe, show_next_step};
use super::{loss, precision};
use crate::model::{Document, ExternalData, replace_file};
use crate::rewrite::optimizer::Optimizer;
use crate::rewrite::train_step::{
    Port, Size, TrainStep, TrainStepError, TrainStepOptions, UpdatedPort, eval_step, loss_of, train_step,
};
use crate::rewrite::{GradientError, Precision, RewriteError};

/// Make one step of training of a classifier: a graph that any ONNX Runtime runs
///
/// MODEL is a classifier, exported for inference or for training, with a loss or without. The step takes data, labels,
/// parameters and the optimizer's state, and gives the loss, the margins and all that is new of them (or, with
/// --optimizer none, the gradients). Whoever drives it hands the outputs of one step to the next; the first parameters
/// are the initializers of MODEL. What goes in and what comes out is in the step's metadata (elonnx.train_step) and, as
/// JSON, in a file beside it.
///
/// Without -o, model.onnx becomes model.train.onnx beside it, with model.train.json.
#[derive(Debug, Args)]
pub struct Arguments {
    /// ONNX file; `-` reads standard input
    #[arg(value_name = "MODEL", value_hint = ValueHint::AnyPath)]
    input: PathBuf,
    /// Where to write; `-` is standard output [default: a new file beside the model]
    #[arg(short, long, value_name = "PATH", value_hint = ValueHint::AnyPath)]
    output: Option<PathBuf>,
    /// Write the model as it is between steps, too: inference mode, parameters as inputs, the same loss
    #[arg(long, value_name = "PATH", value_hint = ValueHint::AnyPath)]
    eval_step: Option<PathBuf>,
    /// Replace outputs if they exist
    #[arg(short, long)]
    force: bool,
    /// Show what would be done and write nothing
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Print the signature and what was decided as JSON
    #[arg(long, conflicts_with = "quiet")]
    pub json: bool,
    /// Print errors only
    #[arg(short, long)]
    quiet: bool,

    /// How parameters follow their gradients; the learning rate is an input of every step
    #[arg(long, value_name = "NAME", value_parser = optimizer_parser(), default_value = "adamw", help_heading = "Optimizer")]
    optimizer: String,
    /// Momentum of sgd, from 0 to below 1 [default: 0]
    #[arg(long, value_name = "M", allow_negative_numbers = true, help_heading = "Optimizer")]
    momentum: Option<f64>,
    /// Nesterov's momentum, for sgd
    #[arg(long, help_heading = "Optimizer")]
    nesterov: bool,
    /// Weight decay; decoupled in adamw, L2 in sgd [default: 0.01 for adamw, 0 for sgd]
    #[arg(long, value_name = "D", allow_negative_numbers = true, help_heading = "Optimizer")]
    weight_decay: Option<f64>,
    /// Decay of the mean of gradients in adamw [default: 0.9]
    #[arg(long, value_name = "B", allow_negative_numbers = true, help_heading = "Optimizer")]
    beta1: Option<f64>,
    /// Decay of the mean of squared gradients in adamw [default: 0.999]
    #[arg(long, value_name = "B", allow_negative_numbers = true, help_heading = "Optimizer")]
    beta2: Option<f64>,
    /// Added to the denominator of adamw [default: 1e-8]
    #[arg(long, value_name = "E", allow_negative_numbers = true, help_heading = "Optimizer")]
    epsilon: Option<f64>,
    /// Largest global norm of the gradients; larger ones are scaled down to it
    #[arg(long, value_name = "NORM", allow_negative_numbers = true, help_heading = "Optimizer")]
    clip_norm: Option<f32>,
    /// Give the global norm of the gradients as an output (with --clip-norm it is one)
    #[arg(long, help_heading = "Optimizer")]
    gradient_norm: bool,

    /// Parameters that are not trained: names, `*` is any text, `?` any character; may be given again
    #[arg(long, value_name = "PATTERN", value_delimiter = ',', help_heading = "Parameters")]
    freeze: Vec<String>,
    /// Train these only; a name given in full is trained whatever it looks like
    #[arg(long, value_name = "PATTERN", value_delimiter = ',', help_heading = "Parameters")]
    train_only: Vec<String>,
    /// Leave BatchNormalization as it is in inference
    #[arg(long, help_heading = "Parameters")]
    freeze_batch_norm: bool,
    /// Turn on the Dropouts of a file that was exported for inference; those of a training export are on anyway
    #[arg(long, help_heading = "Parameters")]
    dropout: bool,
    /// Give the gradient of this input of the model, too
    #[arg(long, value_name = "INPUT", help_heading = "Parameters")]
    wrt: Vec<String>,

    #[command(flatten)]
    loss: loss::Arguments,
    /// Make the factor on the bonus an input, so that it can follow a schedule
    #[arg(long, help_heading = "Loss")]
    bonus_weight_input: bool,
    /// Make a weight per class an input
    #[arg(long, help_heading = "Loss")]
    class_weights_input: bool,

    /// Value to take as logits
    #[arg(long, value_name = "NAME", help_heading = "Graph")]
    logits: Option<String>,
    /// Input to take as labels, or the name of the one to add [default: labels]
    #[arg(long, value_name = "NAME", help_heading = "Graph")]
    labels: Option<String>,
    /// Use no operators of the plugin beside the loss, for runtimes without it
    #[arg(long, help_heading = "Graph")]
    standard_ops: bool,
    /// What matrix products and convolutions compute in; parameters, state and what is delicate stay float32. With f16 the
    /// loss is scaled, and steps whose gradients overflow change nothing but the scale
    #[arg(long, value_name = "TYPE", value_parser = precision::parser(), default_value = "f32", help_heading = "Graph")]
    precision: Precision,
}

impl Arguments {
    fn options(&self, document: &Document) -> anyhow::Result<TrainStepOptions> {
        Ok(TrainStepOptions {
            loss: self.loss.over(loss_of(document))?,
            optimizer: self.optimizer()?,
            clip_norm: self.clip_norm,
            gradient_norm: self.gradient_norm,
            freeze: self.freeze.clone(),
            train_only: self.train_only.clone(),
            freeze_batch_norm: self.freeze_batch_norm,
            dropout: self.dropout,
            logits: self.logits.clone(),
            labels: self.labels.clone(),
            bonus_weight_input: self.bonus_weight_input,
            class_weights_input: self.class_weights_input,
            wrt: self.wrt.clone(),
            plugin: !self.standard_ops,
            precision: self.precision,
        })
    }

    fn optimizer(&self) -> anyhow::Result<Optimizer> {
        let of_sgd = [("--momentum", self.momentum.is_some()), ("--nesterov", self.nesterov)];
        let of_adamw = [
            ("--beta1", self.beta1.is_some()),
            ("--beta2", self.beta2.is_some()),
            ("--epsilon", self.epsilon.is_some()),
        ];
        let name = self.optimizer.as_str();
        let refused =
            |options: &[(&'static str, bool)]| options.iter().find(|(_, given)| *given).map(|(name, _)| *name);
        let (chosen, strange) = match name {
            "sgd" => {
                let nesterov = self.nesterov;
                let (momentum, weight_decay) = (self.momentum.unwrap_or(0.0), self.weight_decay.unwrap_or(0.0));
                (Optimizer::Sgd { momentum, nesterov, weight_decay }, refused(&of_adamw))
            }
            "none" => {
                let decay = [("--weight-decay", self.weight_decay.is_some())];
                (Optimizer::None, refused(&of_sgd).or(refused(&of_adamw)).or(refused(&decay)))
            }
            _ => (self.adamw(), refused(&of_sgd)),
        };
        if let Some(option) = strange {
            wrong_input!("{option} is nothing that the optimizer {name} knows; leave it out, or choose another");
        }
        chosen.check().map_err(|error| WrongInput(error.to_string()))?;
        Ok(chosen)
    }

    fn adamw(&self) -> Optimizer {
        match Optimizer::adamw() {
            Optimizer::AdamW { beta1, beta2, epsilon, weight_decay } => Optimizer::AdamW {
                beta1: self.beta1.unwrap_or(beta1),
                beta2: self.beta2.unwrap_or(beta2),
                epsilon: self.epsilon.unwrap_or(epsilon),
                weight_decay: self.weight_decay.unwrap_or(weight_decay),
            },
            other => other,
        }
    }

    fn wish<'a>(&'a self, output: Option<&'a std::path::Path>) -> Wish<'a> {
        Wish { output, in_place: false, force: self.force, dry_run: self.dry_run, infix: "train" }
    }
}

fn optimizer_parser() -> impl clap::builder::TypedValueParser<Value = String> {
    PossibleValuesParser::new(["adamw", "sgd", "none"]).map(|name| name.clone())
}

/// Files that a run writes.
struct Outputs {
    step: Output,
    /// The signature, beside a step that is a file.
    signature: Option<Output>,
    evaluation: Option<Output>,
}

impl Outputs {
    fn resolve(arguments: &Arguments, input: &Input) -> anyhow::Result<Self> {
        let step = resolve_output(input, arguments.wish(arguments.output.as_deref()))?;
        if arguments.json && step == Output::Stdout && !arguments.dry_run {
            wrong_input!("--json and the model both want standard output; name a file with -o");
        }
        let signature = match &step {
            Output::File(path) => {
                let beside = path.with_extension("json");
                if beside == *path {
                    wrong_input!("{} ends in .json, as its signature would; name the step .onnx", path.display());
                }
                Some(resolve_output(input, arguments.wish(Some(&beside)))?)
            }
            _ => None,
        };
        let evaluation = match &arguments.eval_step {
            Some(path) if path.as_os_str() == "-" => wrong_input!("--eval-step names a file; - is for the step"),
            Some(path) => Some(resolve_output(input, arguments.wish(Some(path)))?),
            None => None,
        };
        if evaluation.as_ref() == Some(&step) {
            wrong_input!("the step and --eval-step are the same file; name two");
        }
        Ok(Self { step, signature, evaluation })
    }
}

/// Runs it.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let input = Input::new(&arguments.input);
    let outputs = Outputs::resolve(arguments, &input)?;
    let document = input.read()?;
    let options = arguments.options(&document)?;
    let step = train_step(&document, &options).map_err(|error| name_the_model(error, &input))?;
    let evaluation = match &outputs.evaluation {
        Some(_) => Some(eval_step(&document, &step).map_err(|error| name_the_model(error, &input))?),
        None => None,
    };
    if arguments.dry_run {
        outputs.step.check(&step.document)?;
    } else {
        outputs.step.write(&step.document, ExternalData::Copy)?;
        if let (Some(output), Some(evaluation)) = (&outputs.evaluation, &evaluation) {
            output.write(evaluation, ExternalData::Copy)?;
        }
        let text = format!("{}\n", serde_json::to_string_pretty(&step.signature)?);
        match &outputs.signature {
            Some(Output::File(path)) => replace_file(path, |out| out.write_all(text.as_bytes()))?,
            Some(Output::Stream(path)) => {
                std::fs::write(path, text).map_err(|error| anyhow::anyhow!("write {}: {error}", path.display()))?;
            }
            _ => {}
        }
    }
    if arguments.json {
        return print(&format!("{:#}\n", object(arguments, &outputs, &step)));
    }
    if arguments.quiet {
        return Ok(());
    }
    let mut page =
        if outputs.step == Output::Stdout && !arguments.dry_run { Page::for_stderr() } else { Page::for_stdout() };
    page.heading(&input.to_string());
    page.blank();
    show(&mut page, &step);
    page.blank();
    if arguments.dry_run {
        page.paragraph(&format!("Nothing was written; this would be {}", outputs.step));
    } else {
        page.paragraph(&written(&outputs, &step.document));
        if outputs.step != Output::Stdout {
            show_next_step(&mut page, false, true);
        }
    }
    page.print()
}

fn object(arguments: &Arguments, outputs: &Outputs, step: &TrainStep) -> serde_json::Value {
    let shown = |output: Option<&Output>| output.filter(|_| !arguments.dry_run).map(ToString::to_string);
    json!({
        "elonnx": env!("CARGO_PKG_VERSION"),
        "command": "grad",
        "input": arguments.input,
        "output": shown(Some(&outputs.step)),
        "signature_output": shown(outputs.signature.as_ref()),
        "eval_step_output": shown(outputs.evaluation.as_ref()),
        "dry_run": arguments.dry_run,
        "loss": step.options.loss,
        "optimizer": step.options.optimizer,
        "signature": step.signature,
        "frozen": step.frozen,
        "notes": step.notes,
    })
}

fn written(outputs: &Outputs, step: &Document) -> String {
    let mut files = vec![format!("Written to {} ({})", outputs.step, size(step.encoded_len() as u64))];
    files.extend(outputs.signature.iter().map(|output| format!("its signature to {output}")));
    files.extend(outputs.evaluation.iter().map(|output| format!("the model between steps to {output}")));
    files.join(", ")
}

/// A step doesn't know the file's name; errors of the file itself have it already.
fn name_the_model(error: TrainStepError, input: &Input) -> anyhow::Error {
    match error {
        TrainStepError::Model(error) | TrainStepError::Gradient(GradientError::Model(error)) => error.into(),
        TrainStepError::Rewrite(error) | TrainStepError::Gradient(GradientError::Rewrite(error)) => match error {
            RewriteError::NothingMatched(report) => {
                let message =
                    format!("{input}: found no logits to put a loss on; where you know them, say --logits NAME");
                NothingToDo { message, report }.into()
            }
            RewriteError::Model(_) | RewriteError::Parameter(_) => error.into(),
            error => anyhow::Error::from(error).context(input.to_string()),
        },
        error => WrongInput(format!("{input}: {error}")).into(),
    }
}

/// Names of a list that are shown.
const NAMES_SHOWN: usize = 12;

fn show(page: &mut Page, step: &TrainStep) {
    let signature = &step.signature;
    page.row("loss", &describe(&step.options.loss));
    page.row("data", &signature.data.iter().map(port).collect::<Vec<_>>().join(", "));
    page.row("labels", &port(&signature.labels));
    page.row("logits", &port(&signature.logits));
    page.row("optimizer", &optimizer_in_words(&step.options));
    page.blank();
    let numbers: i64 = signature.parameters.iter().map(elements).sum();
    page.row("trained", &format!("{}, {numbers} numbers", counted(signature.parameters.len(), "parameter")));
    page.rows("", table(&signature.parameters));
    if !signature.buffers.is_empty() {
        let values = signature.buffers.len();
        page.row("updated", &format!("running statistics of BatchNormalization, {}", counted(values, "tensor")));
    }
    if !step.frozen.is_empty() {
        page.row("frozen", &listed(&step.frozen));
    }
    for gradient in &signature.input_gradients {
        page.row("gradient", &format!("of the input {} in {}", gradient.input, gradient.gradient));
    }
    if !step.notes.is_empty() {
        page.blank();
    }
    page.rows("note", &step.notes);
}

fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

fn elements(port: &UpdatedPort) -> i64 {
    port.shape.iter().product()
}

fn port(port: &Port) -> String {
    let sizes: Vec<String> = port
        .shape
        .iter()
        .map(|size| match size {
            Size::Fixed(size) => size.to_string(),
            Size::Free(name) if name.is_empty() => "?".to_owned(),
            Size::Free(name) => name.clone(),
        })
        .collect();
    format!("{}  {}[{}]", port.name, port.data_type, sizes.join(", "))
}

/// Parameters one below the other, their types in a column.
fn table(parameters: &[UpdatedPort]) -> Vec<String> {
    let shown = if parameters.len() > NAMES_SHOWN + 1 { NAMES_SHOWN } else { parameters.len() };
    let names: Vec<String> =
        parameters.iter().take(shown).map(|p| shorten(&clean(&p.name), NAME_WIDTH).into_owned()).collect();
    let width = names.iter().map(|name| name.chars().count()).max().unwrap_or(0);
    let mut lines: Vec<String> = names
        .iter()
        .zip(parameters)
        .map(|(name, parameter)| format!("{name:width$}  {}{:?}", parameter.data_type, parameter.shape))
        .collect();
    if parameters.len() > shown {
        lines.push(format!("and {} more (--json lists all)", parameters.len() - shown));
    }
    lines
}

/// Longest name in the table; both ends of a longer one are shown.
const NAME_WIDTH: usize = 40;

fn listed(names: &[String]) -> String {
    let mut shown: Vec<String> = names.iter().take(NAMES_SHOWN).cloned().collect();
    if names.len() > NAMES_SHOWN {
        shown.push(format!("and {} more", names.len() - NAMES_SHOWN));
    }
    shown.join(", ")
}

fn optimizer_in_words(options: &TrainStepOptions) -> String {
    let mut words = match options.optimizer {
        Optimizer::None => vec!["none: gradients are given".to_owned()],
        Optimizer::Sgd { momentum, nesterov, weight_decay } => {
            let kind = if nesterov { "Nesterov momentum" } else { "momentum" };
            vec![format!("sgd: {kind} {momentum}, weight_decay {weight_decay}")]
        }
        Optimizer::AdamW { beta1, beta2, epsilon, weight_decay } => {
            vec![format!("adamw: betas {beta1} {beta2}, epsilon {epsilon:e}, weight_decay {weight_decay}")]
        }
    };
    words.extend(options.clip_norm.map(|norm| format!("gradients clipped to norm {norm}")));
    words.join("; ")
}
