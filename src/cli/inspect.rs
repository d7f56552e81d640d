//! `elonnx inspect`.

use std::path::PathBuf;

use clap::{Args, ValueHint};
use serde_json::json;

use super::files::Input;
use super::output::{Page, print, size};
use super::report::{Verb, show_near_misses, show_report};
use super::rewrite::name_the_model;
use crate::rewrite::{Inspection, Report};

/// Show what a model is and what patch would do with it
///
/// Opset, inputs, logits, losses and the rule that knows them, gradients, parameters, and why a loss is left alone.
/// Writes nothing.
#[derive(Debug, Args)]
pub struct Arguments {
    /// ONNX file; `-` reads standard input
    #[arg(value_name = "MODEL", value_hint = ValueHint::FilePath)]
    input: PathBuf,
    /// Print everything as JSON
    #[arg(long)]
    pub json: bool,
}

/// Inputs and outputs that are named; training graphs have one per parameter.
const VALUES_SHOWN: usize = 6;

/// Names up to this long are lined up.
const NAME_WIDTH: usize = 32;

/// Runs it.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let input = Input::new(&arguments.input);
    let document = input.read()?;
    let inspection = crate::rewrite::inspect(&document).map_err(|error| name_the_model(error, &input, Verb::Patch))?;
    if arguments.json {
        let object = json!({
            "elonnx": env!("CARGO_PKG_VERSION"),
            "command": "inspect",
            "input": arguments.input,
            "output": null,
            "report": inspection_object(&inspection),
        });
        return print(&format!("{object:#}\n"));
    }
    let mut page = Page::for_stdout();
    let title = match input.size() {
        Some(bytes) => format!("{input}  ({})", size(bytes)),
        None => input.to_string(),
    };
    page.heading(&title);
    show(&mut page, &inspection);
    page.print()
}

/// As serialized, with the result of the dry run under two names instead of serde's `Ok` and `Err`.
fn inspection_object(inspection: &Inspection) -> serde_json::Value {
    let mut object = json!(inspection);
    object["patch"] = match &inspection.patch {
        Ok(report) => json!({ "report": report }),
        Err(reason) => json!({ "error": reason }),
    };
    object
}

fn show(page: &mut Page, inspection: &Inspection) {
    page.blank();
    page.row("kind", &inspection.kind);
    page.row("made by", &inspection.producer);
    let opsets: Vec<String> =
        inspection.opset_imports.iter().map(|(domain, version)| format!("{domain} {version}")).collect();
    page.row("opset", &format!("{} (IR {})", opsets.join(", "), inspection.ir_version));
    page.row(
        "size",
        &format!("{}, {}", counted(inspection.nodes, "node"), counted(inspection.initializers, "initializer")),
    );
    page.whole_row("data in", &inspection.external_files.join(", "));
    page.rows("inputs", values(&inspection.inputs));
    page.rows("outputs", values(&inspection.outputs));
    page.rows("logits", inspection.logits.iter().map(|(name, how)| format!("{name}  {how}")));
    page.rows("metadata", inspection.metadata.iter().map(|(key, value)| format!("{key}  {value}")));

    page.blank();
    match &inspection.patch {
        Ok(report) if report.swapped() > 0 => {
            page.heading("`elonnx patch` would do this:");
            show_report(page, report, Verb::Patch);
            show_rest(page, report);
        }
        Ok(report) if report.already_patched() => {
            page.heading("Patched already:");
            show_report(page, report, Verb::Patch);
        }
        Ok(report) => {
            page.heading("`elonnx patch` would find nothing to do:");
            show_near_misses(page, report);
        }
        Err(reason) => {
            page.heading(&format!("`elonnx patch` would stop: {reason}"));
            show_near_misses(page, &inspection.report);
        }
    }
}

/// Near misses beside a loss that matched; its warnings are told already.
fn show_rest(page: &mut Page, report: &Report) {
    let rest = Report { near_misses: report.near_misses.clone(), ..Report::default() };
    show_near_misses(page, &rest);
}

fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

fn values(values: &[(String, String)]) -> Vec<String> {
    let shown = if values.len() > VALUES_SHOWN + 1 { VALUES_SHOWN } else { values.len() };
    let names = values[..shown].iter().map(|(name, _)| name.chars().count());
    // a column, unless one long name would push the others far away
    let width = names.max().filter(|&width| width <= NAME_WIDTH).unwrap_or(0);
    let mut lines: Vec<String> = values[..shown].iter().map(|(name, of)| format!("{name:width$}  {of}")).collect();
    if values.len() > shown {
        lines.push(format!("and {} more", values.len() - shown));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Inspection {
        let named = |name: &str, of: &str| (name.to_owned(), of.to_owned());
        Inspection {
            ir_version: 8,
            producer: "pytorch 2.9.0".into(),
            opset_imports: vec![("ai.onnx".into(), 17)],
            inputs: vec![named("input", "float32[N, 784]"), named("labels", "int64[N]")],
            outputs: (0..9).map(|i| named(&format!("out{i}"), "float32[]")).collect(),
            nodes: 31,
            initializers: 1,
            external_files: vec!["model.onnx.data".into()],
            kind: "forward with loss".into(),
            logits: vec![named("/fc2/Gemm_output_0", "input of the loss")],
            metadata: vec![],
            patch: Ok(super::super::report::tests::example()),
            report: Report::default(),
        }
    }

    fn shown(inspection: &Inspection) -> String {
        let mut page = Page::plain(72);
        page.heading("model.onnx  (1.20 MB)");
        show(&mut page, inspection);
        page.finish()
    }

    #[test]
    fn the_model_then_the_plan() {
        let text = shown(&example());
        assert!(
            text.starts_with(
                "\
model.onnx  (1.20 MB)

  kind        forward with loss
  made by     pytorch 2.9.0
  opset       ai.onnx 17 (IR 8)
  size        31 nodes, 1 initializer
  data in     model.onnx.data
  inputs      input   float32[N, 784]
              labels  int64[N]
  outputs     out0  float32[]
              out1  float32[]
              out2  float32[]
              out3  float32[]
              out4  float32[]
              out5  float32[]
              and 3 more
  logits      /fc2/Gemm_output_0  input of the loss

`elonnx patch` would do this:

  found       cross entropy
"
            ),
            "{text}"
        );
        assert!(text.contains("stopped at  GatherElements 'pick'"), "{text}");
        assert_eq!(text.matches("a Softmax stands").count(), 1, "{text}");
    }

    #[test]
    fn a_model_that_patch_would_refuse_says_why() {
        let mut inspection = example();
        inspection.patch = Err("several values could be the logits: a, b; choose one with --logits NAME".into());
        inspection.report = super::super::report::tests::example();
        let text = shown(&inspection);
        assert!(text.contains("`elonnx patch` would stop: several values"), "{text}");
        assert!(text.contains("because     its axis is 0"), "{text}");
        let object = inspection_object(&inspection);
        assert!(object["patch"]["error"].as_str().unwrap().starts_with("several values"));
        assert!(inspection_object(&example())["patch"]["report"]["losses"].is_array());
    }
}
