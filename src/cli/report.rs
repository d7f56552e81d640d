//! A [`Report`] for people.

use super::lib;
use super::output::Page;
use crate::loss::{Bonus, EncouragingLoss};
use crate::model::Document;
use crate::rewrite::{Action, ArtifactsReport, DOMAIN, LossReport, Report, ScoreAction, ScoreReport};

/// Which rewrite a report is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Cross entropy to encouraging loss.
    Patch,
    /// Scores as outputs; `patch --scores`.
    Scores,
    /// And back.
    Unpatch,
    /// The op to its body.
    Inline,
}

impl Verb {
    /// The command.
    pub fn name(self) -> &'static str {
        match self {
            Verb::Patch | Verb::Scores => "patch",
            Verb::Unpatch => "unpatch",
            Verb::Inline => "inline",
        }
    }

    /// What goes before the extension of the file it makes.
    pub fn infix(self) -> &'static str {
        match self {
            Verb::Patch => "el",
            Verb::Scores => "scores",
            Verb::Unpatch => "ce",
            Verb::Inline => "inlined",
        }
    }

    /// What the model is then.
    pub fn past(self) -> &'static str {
        match self {
            Verb::Patch | Verb::Scores => "patched",
            Verb::Unpatch => "unpatched",
            Verb::Inline => "inlined",
        }
    }
}

/// Nodes of one loss that are named; forms spelled out in small operators have a dozen.
const NODES_SHOWN: usize = 4;

/// What was found and what it becomes, loss by loss, then what concerns the whole model.
pub fn show_report(page: &mut Page, report: &Report, verb: Verb) {
    let count = report.losses.len();
    for (index, loss) in report.losses.iter().enumerate() {
        page.blank();
        if count > 1 {
            page.heading(&format!("Loss {} of {count}", index + 1));
        }
        show_loss(page, loss, verb);
    }
    show_scores(page, &report.scores);
    show_changes(page, report);
}

fn show_scores(page: &mut Page, scores: &[ScoreReport]) {
    for (index, score) in scores.iter().enumerate() {
        if index == 0 {
            page.blank();
        }
        let what = match score.action {
            ScoreAction::Added => "added",
            ScoreAction::Replaced => "replaced",
            ScoreAction::AlreadyThere => "has",
        };
        let name = if score.output == score.score {
            score.output.clone()
        } else {
            format!("{} ({})", score.output, score.score)
        };
        page.row(what, &format!("{name}  {}: {}", score.data_type, score.formula));
    }
}

fn show_changes(page: &mut Page, report: &Report) {
    if !report.changes.is_empty() || !report.warnings.is_empty() {
        page.blank();
    }
    page.rows("also", &report.changes);
    for warning in &report.warnings {
        page.warning_row("warning", warning);
    }
}

fn show_loss(page: &mut Page, loss: &LossReport, verb: Verb) {
    page.row("found", &format!("{}{}", loss.what, elsewhere(&loss.place)));
    page.row("rule", loss.rule);
    let forward: Vec<&str> =
        loss.nodes.iter().filter(|node| Some(*node) != loss.gradient.as_ref()).map(String::as_str).collect();
    page.row("nodes", &enumerate(&forward));
    if let Some(gradient) = &loss.gradient {
        page.row("gradient", gradient);
    }
    if let Some(logits) = &loss.logits {
        let data_type = loss.data_type.as_deref().unwrap_or_default();
        let shape = loss.shape.as_deref().unwrap_or_default();
        page.row("logits", &format!("{logits}  {data_type}{shape}"));
    }
    page.row("labels", loss.labels.as_deref().unwrap_or_default());
    page.row("weights", loss.class_weights.as_deref().unwrap_or_default());
    match (&loss.action, verb) {
        (Action::LeftAlone(reason), _) => page.row("left alone", reason),
        (Action::AlreadyPatched, _) => {
            page.row("has", &loss.parameters.map(|p| parameters(&p)).unwrap_or_default());
        }
        (Action::Swapped, Verb::Patch | Verb::Scores) => {
            let loss = loss.parameters.map_or_else(|| "encouraging loss".to_owned(), |p| describe(&p));
            page.row("becomes", &loss);
        }
        (Action::Swapped, Verb::Unpatch) => {
            let kept = loss.parameters.map(|p| kept_parameters(&p)).unwrap_or_default();
            page.row("becomes", &format!("cross entropy: {kept}"));
        }
        (Action::Swapped, Verb::Inline) => page.row("becomes", "its body in standard operators"),
    }
    page.rows("note", &loss.notes);
}

/// Both models of a folder of artifacts. The evaluation model is told in short where it went as the training model.
pub fn show_artifacts(page: &mut Page, report: &ArtifactsReport) {
    page.heading("training_model.onnx");
    show_report(page, &report.training, Verb::Patch);
    page.blank();
    page.heading("eval_model.onnx");
    if same_losses(&report.training, &report.eval) {
        page.blank();
        page.row("becomes", "the same loss as in training_model.onnx");
        show_changes(page, &report.eval);
    } else {
        show_report(page, &report.eval, Verb::Patch);
    }
    page.blank();
    if !report.carried.is_empty() {
        let names: Vec<String> = report.carried.iter().map(|path| path.display().to_string()).collect();
        page.whole_row("carried", &names.join(", "));
    }
    for warning in &report.warnings {
        page.warning_row("warning", warning);
    }
}

/// Whether both were swapped for the same loss on the same values, as far as a reader is concerned.
fn same_losses(training: &Report, eval: &Report) -> bool {
    let alike = |a: &LossReport, b: &LossReport| {
        a.action == Action::Swapped
            && a.action == b.action
            && (&a.what, &a.logits, &a.labels, &a.parameters) == (&b.what, &b.logits, &b.labels, &b.parameters)
            && b.notes.iter().all(|note| a.notes.contains(note))
    };
    training.losses.len() == eval.losses.len() && training.losses.iter().zip(&eval.losses).all(|(a, b)| alike(a, b))
}

/// Why nothing matched: what was left alone, and what broke each pattern.
pub fn show_near_misses(page: &mut Page, report: &Report) {
    for loss in &report.losses {
        if let Action::LeftAlone(reason) = &loss.action {
            page.blank();
            page.row("found", &format!("{}{}", loss.what, elsewhere(&loss.place)));
            page.row("nodes", &enumerate(&loss.nodes));
            page.row("left alone", reason);
        }
    }
    for miss in &report.near_misses {
        page.blank();
        page.row("rule", miss.rule);
        page.row("stopped at", &format!("{}{}", miss.node, elsewhere(&miss.place)));
        page.row("because", &miss.reason);
    }
    if !report.warnings.is_empty() {
        page.blank();
    }
    for warning in &report.warnings {
        page.warning_row("warning", warning);
    }
}

/// Whether a patched model carries the definition of our ops, so that it runs without the plugin.
pub fn has_bodies(document: &Document) -> bool {
    document.functions().iter().any(|function| function.proto().domain() == DOMAIN)
}

/// How to use the result from Python; artifacts are opened by ORT Training.
pub fn show_next_step(page: &mut Page, artifacts: bool, bodies: bool) {
    page.blank();
    page.paragraph(if bodies {
        "ONNX Runtime runs it as it is. With the plugin the loss is one fast kernel:"
    } else {
        "ONNX Runtime runs it with the plugin only:"
    });
    page.blank();
    page.code("options = onnxruntime.SessionOptions()");
    match lib::locate() {
        Ok(plugin) => page.call("options.register_custom_ops_library", &format!("\"{}\"", plugin.display())),
        Err(_) => page.code("options.register_custom_ops_library(plugin)  # `elonnx lib` says which"),
    }
    if artifacts {
        page.blank();
        page.paragraph("and give session_options=options to onnxruntime.training.api.Module.");
    }
}

/// The loss with every parameter that matters to it.
pub fn describe(loss: &EncouragingLoss) -> String {
    if loss.bonus_weight() == 0.0 {
        return format!("cross entropy as the op computes it: {}", parameters(loss));
    }
    format!("encouraging loss: {}", parameters(loss))
}

fn parameters(loss: &EncouragingLoss) -> String {
    let mut parts = vec![format!("{} bonus", loss.bonus())];
    match loss.bonus() {
        Bonus::Log => parts.push(format!("log_end {}", loss.log_end())),
        Bonus::Power => parts.push(format!("power {}", loss.power())),
        Bonus::Cosine => {}
    }
    #[expect(clippy::float_cmp, reason = "exactly the default is not worth a word")]
    if loss.bonus_weight() != 1.0 {
        parts.push(format!("bonus_weight {}", loss.bonus_weight()));
    }
    parts.push(kept_parameters(loss));
    parts.join(", ")
}

/// Those that cross entropy has as well.
fn kept_parameters(loss: &EncouragingLoss) -> String {
    let mut parts = Vec::new();
    if loss.label_smoothing() > 0.0 {
        parts.push(format!("label_smoothing {}", loss.label_smoothing()));
    }
    parts.push(format!("reduction {}", loss.reduction()));
    if let Some(label) = loss.ignore_index() {
        parts.push(format!("ignore_index {label}"));
    }
    parts.join(", ")
}

/// The place, where it is not simply the graph.
fn elsewhere(place: &str) -> String {
    if place == "graph" { String::new() } else { format!(", in {place}") }
}

fn enumerate<S: AsRef<str>>(nodes: &[S]) -> String {
    let nodes: Vec<&str> = nodes.iter().map(AsRef::as_ref).collect();
    if nodes.len() <= NODES_SHOWN + 1 {
        return nodes.join(", ");
    }
    format!("{} and {} more", nodes[..NODES_SHOWN].join(", "), nodes.len() - NODES_SHOWN)
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::loss::Reduction;
    use crate::rewrite::NearMiss;

    /// A report as of an ORT Training graph.
    pub fn example() -> Report {
        Report {
            losses: vec![LossReport {
                rule: "ort-training-pair",
                place: "graph".into(),
                what: "cross entropy".into(),
                nodes: vec!["SoftmaxCrossEntropyLoss 'onnx::SoftmaxCrossEntropyLoss::4'".into()],
                logits: Some("output".into()),
                labels: Some("labels".into()),
                loss: Some("onnx::loss::2".into()),
                data_type: Some("float32".into()),
                shape: Some("[batch, 10]".into()),
                parameters: Some(EncouragingLoss::default()),
                class_weights: None,
                gradient: Some("SoftmaxCrossEntropyLossGrad 'SoftmaxCrossEntropyLossGrad_token_0'".into()),
                action: Action::Swapped,
                notes: vec!["the second output, log_prob, was read by nobody else".into()],
            }],
            scores: Vec::new(),
            near_misses: vec![NearMiss {
                rule: "gathered-log-softmax",
                place: "graph > If 'cond' > then_branch".into(),
                node: "GatherElements 'pick'".into(),
                reason: "its axis is 0, the class axis is 1".into(),
            }],
            warnings: vec!["a Softmax stands in front of the loss, which takes logits: the loss is flat".into()],
            changes: vec!["opset import ai.elonnx 1".into(), "functions EncouragingLoss, EncouragingLossGrad".into()],
        }
    }

    fn shown(show: impl FnOnce(&mut Page)) -> String {
        let mut page = Page::plain(72);
        show(&mut page);
        page.finish()
    }

    #[test]
    fn a_swap() {
        assert_eq!(
            shown(|page| show_report(page, &example(), Verb::Patch)),
            "  \
  found       cross entropy
  rule        ort-training-pair
  nodes       SoftmaxCrossEntropyLoss 'onnx::SoftmaxCrossEntropyLoss::4'
  gradient    SoftmaxCrossEntropyLossGrad
              'SoftmaxCrossEntropyLossGrad_token_0'
  logits      output  float32[batch, 10]
  labels      labels
  becomes     encouraging loss: log bonus, log_end 0.75, reduction mean
  note        the second output, log_prob, was read by nobody else

  also        opset import ai.elonnx 1
              functions EncouragingLoss, EncouragingLossGrad
  warning     a Softmax stands in front of the loss, which takes logits:
              the loss is flat
"
        );
    }

    #[test]
    fn the_other_verbs_say_what_it_becomes() {
        let unpatch = shown(|page| show_report(page, &example(), Verb::Unpatch));
        assert!(unpatch.contains("  becomes     cross entropy: reduction mean\n"), "{unpatch}");
        let inline = shown(|page| show_report(page, &example(), Verb::Inline));
        assert!(inline.contains("  becomes     its body in standard operators\n"), "{inline}");
    }

    #[test]
    fn several_losses_are_numbered_and_those_left_alone_have_a_reason() {
        let mut report = example();
        let mut focal = report.losses[0].clone();
        focal.what = "focal loss".into();
        focal.nodes = ('a'..='h').map(|c| format!("Mul '{c}'")).collect();
        focal.gradient = None;
        focal.action = Action::LeftAlone("it is not a cross entropy".into());
        focal.notes.clear();
        report.losses.push(focal);
        let text = shown(|page| show_report(page, &report, Verb::Patch));
        assert!(text.contains("Loss 1 of 2\n") && text.contains("\n\nLoss 2 of 2\n"), "{text}");
        assert!(text.contains("nodes       Mul 'a', Mul 'b', Mul 'c', Mul 'd' and 4 more\n"), "{text}");
        assert!(text.contains("left alone  it is not a cross entropy\n"), "{text}");
    }

    #[test]
    fn near_misses() {
        assert_eq!(
            shown(|page| {
                page.error("m.onnx: found no loss to swap and no logits to put one on");
                show_near_misses(page, &example());
            }),
            "\
error: m.onnx: found no loss to swap and no logits to put one on

  rule        gathered-log-softmax
  stopped at  GatherElements 'pick', in graph > If 'cond' > then_branch
  because     its axis is 0, the class axis is 1

  warning     a Softmax stands in front of the loss, which takes logits:
              the loss is flat
"
        );
    }

    #[test]
    fn parameters_in_words() {
        let built = |b: crate::loss::EncouragingLossBuilder| describe(&b.build().unwrap());
        let new = EncouragingLoss::builder;
        assert_eq!(
            built(new().bonus(Bonus::Power).power(3.0).bonus_weight(0.5).ignore_index(Some(-100))),
            "encouraging loss: power bonus, power 3, bonus_weight 0.5, reduction mean, ignore_index -100"
        );
        assert_eq!(
            built(new().bonus(Bonus::Cosine).label_smoothing(0.1).reduction(Reduction::Sum)),
            "encouraging loss: cosine bonus, label_smoothing 0.1, reduction sum"
        );
        assert!(built(new().bonus_weight(0.0)).starts_with("cross entropy as the op computes it"));
    }

    #[test]
    fn artifacts() {
        let report = ArtifactsReport {
            training: example(),
            eval: Report { losses: example().losses, ..Report::default() },
            carried: vec!["checkpoint".into(), "optimizer_model.onnx".into()],
            warnings: vec!["ONNX Runtime Training 1.19.2 cannot export float16".into()],
        };
        let text = shown(|page| show_artifacts(page, &report));
        assert!(text.starts_with("training_model.onnx\n\n  found"), "{text}");
        assert!(text.contains("\n\neval_model.onnx\n\n  becomes     the same loss as in"), "{text}");
        let mut other = report.clone();
        other.eval.losses[0].logits = Some("scores".into());
        let other = shown(|page| show_artifacts(page, &other));
        assert!(other.contains("\n\neval_model.onnx\n\n  found"), "{other}");
        assert!(
            text.ends_with(
                "\n\n  carried     checkpoint, optimizer_model.onnx\n  \
                 warning     ONNX Runtime Training 1.19.2 cannot export float16\n"
            ),
            "{text}"
        );
    }
}
