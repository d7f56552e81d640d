//! `patch`, `unpatch`, `inline`, `inspect` and the small commands.

use std::path::Path;
use std::process::Command;

use super::desk::{Desk, Run, field};
use elonnx::model::proto::DataType;
use elonnx::model::{Dimension, node, value_info};
use prost::Message as _;
use serde_json::Value;

/// With `model.onnx`, a cross entropy.
fn with_model() -> Desk {
    let desk = Desk::new();
    desk.write("model.onnx", &cross_entropy());
    desk
}

/// A model of one node that reads `input` [N, 10] and `labels` [N].
fn model(nodes: &[elonnx::model::proto::NodeProto], output: &str) -> Vec<u8> {
    let mut graph = Vec::new();
    for node in nodes {
        graph.extend(field(1, &node.encode_to_vec()));
    }
    graph.extend(field(2, b"graph"));
    let float = DataType::Float as i32;
    let rows = || Dimension::Symbol("N".to_owned());
    let input = value_info("input", float, Some(&[rows(), Dimension::Known(10)]));
    let labels = value_info("labels", DataType::Int64 as i32, Some(&[rows()]));
    graph.extend(field(11, &input.encode_to_vec()));
    graph.extend(field(11, &labels.encode_to_vec()));
    graph.extend(field(12, &value_info(output, float, Some(&[])).encode_to_vec()));
    // ir_version 8, the graph, opset 17
    [vec![8, 8], field(7, &graph), field(8, &[0x10, 17])].concat()
}

fn cross_entropy() -> Vec<u8> {
    let node = node("SoftmaxCrossEntropyLoss").inputs(["input", "labels"]).outputs(["loss"]).name("ce");
    model(&[node.string("reduction", "mean").build()], "loss")
}

/// Nothing that elonnx knows: a plain sum.
fn no_loss() -> Vec<u8> {
    model(&[node("ReduceSum").inputs(["input"]).outputs(["loss"]).name("sum").int("keepdims", 0).build()], "loss")
}

// ---- what a user mistypes

#[test]
fn a_missing_file_is_named_with_its_neighbours() {
    let desk = with_model();
    for command in ["patch", "unpatch", "inline", "inspect"] {
        desk.run(&format!("{command} modle.onnx")).ends(2).says(&["there is no modle.onnx", "model.onnx"]);
    }
    desk.run("patch nowhere/model.onnx").ends(2).says(&["no folder nowhere"]);
}

#[test]
fn a_folder_that_holds_no_artifacts() {
    let desk = with_model();
    std::fs::create_dir(desk.path("empty")).unwrap();
    desk.run("patch empty").ends(2).says(&["no training_model.onnx", "generate_artifacts"]);
    desk.run("patch .").ends(2).says(&["no training_model.onnx", "name a model in it: model.onnx"]);
    desk.run("inspect .").ends(2).says(&[". is a folder", "model.onnx"]);
}

#[test]
fn files_that_are_no_models() {
    let desk = Desk::new();
    desk.write("empty.onnx", b"");
    desk.write("text.onnx", b"once upon a time there was a model\n");
    desk.write("pointer.onnx", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n");
    desk.write("cut.onnx", &cross_entropy()[..60]);
    desk.run("patch empty.onnx").ends(2).says(&["empty.onnx is empty"]);
    desk.run("inspect text.onnx").ends(2).says(&["text.onnx is not an ONNX model", "text"]);
    desk.run("patch pointer.onnx").ends(2).says(&["git lfs pull"]);
    desk.run("unpatch cut.onnx").ends(2).says(&["cut.onnx", "truncated"]);
    assert_eq!(desk.files(), ["cut.onnx", "empty.onnx", "pointer.onnx", "text.onnx"]);
}

#[test]
fn standard_input_that_is_no_model_is_called_by_its_name() {
    let desk = Desk::new();
    desk.write("text", b"hello, this is a text\n");
    let mut command = desk.command("patch -");
    command.stdin(std::fs::File::open(desk.path("text")).unwrap());
    Run::of(&mut command).ends(2).says(&["standard input is not an ONNX model"]);
}

#[test]
fn unknown_words_get_a_suggestion() {
    let desk = with_model();
    desk.run("pacth model.onnx").ends(2).says(&["unrecognized subcommand 'pacth'", "'patch'"]);
    desk.run("patch model.onnx --log-ned 1").ends(2).says(&["--log-ned", "'--log-end'"]);
    desk.run("patch model.onnx --bonus cosin").ends(2).says(&["cosin", "'cosine'"]);
    desk.run("patch").ends(2).says(&["<MODEL>"]);
}

#[test]
fn parameters_out_of_range() {
    let desk = with_model();
    desk.run("patch model.onnx --log-end 2").ends(2).says(&["--log-end", "above 0 and at most 1", "not 2"]);
    desk.run("patch model.onnx --log-end x").ends(2).says(&["--log-end", "not a number"]);
    desk.run("patch model.onnx --label-smoothing 1.5").ends(2).says(&["--label-smoothing", "at most 1"]);
    desk.run("patch model.onnx --bonus-weight -1").ends(2).says(&["-1"]);
    desk.run("patch model.onnx --ignore-index 1.5").ends(2).says(&["--ignore-index"]);
    desk.run("patch model.onnx --power 2 --bonus log").ends(2).says(&["--power", "--bonus power"]);
    assert_eq!(desk.files(), ["model.onnx"]);
}

#[test]
fn nothing_is_replaced_unasked() {
    let desk = with_model();
    let before = desk.read("model.onnx");
    desk.write("other.onnx", b"precious");
    desk.write("model.el.onnx", b"precious");
    desk.run("patch model.onnx -o model.onnx").ends(2).says(&["is the input itself", "--in-place"]);
    desk.run("patch model.onnx -o ./model.onnx --force").ends(2).says(&["is the input itself"]);
    desk.run("patch model.onnx -o other.onnx").ends(2).says(&["other.onnx exists", "--force"]);
    desk.run("patch model.onnx").ends(2).says(&["model.el.onnx exists", "--force"]);
    desk.run("patch model.onnx -o none/new.onnx").ends(2).says(&["there is no folder none"]);
    desk.run("patch model.onnx -o none/").ends(2).says(&["there is no folder none/"]);
    desk.run("patch model.onnx --in-place -o new.onnx").ends(2).says(&["cannot be used with"]);
    assert_eq!(desk.read("model.onnx"), before);
    assert_eq!(desk.read("other.onnx"), b"precious");
    assert_eq!(desk.files(), ["model.el.onnx", "model.onnx", "other.onnx"]);
}

#[cfg(target_os = "linux")]
#[test]
fn a_place_that_cannot_be_written_is_the_systems_fault() {
    let desk = with_model();
    // even root cannot create files there
    let run = desk.run("patch model.onnx -o /proc/model.onnx").ends(1).says(&["/proc"]);
    assert!(!run.stderr.contains("os error"), "{}", run.stderr);
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_the_systems_fault() {
    let desk = with_model();
    desk.run("patch model.onnx -o /dev/full").ends(1).says(&["/dev/full", "No space left"]);
    let mut command = desk.command("inspect model.onnx");
    let run = Run::of(command.stdout(std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap()));
    run.ends(1).says(&["No space left"]);
}

#[test]
fn json_and_the_model_do_not_share_standard_output() {
    let desk = with_model();
    let run = desk.run("patch model.onnx -o - --json").ends(2);
    assert!(run.stderr.contains("both want standard output"), "{}", run.stderr);
    assert_eq!(run.json()["error"]["kind"], "wrong_input");
}

#[test]
fn errors_as_json_go_to_standard_output() {
    let desk = Desk::new();
    let run = desk.run("inspect none.onnx --json").ends(2);
    assert!(run.stderr.starts_with("error: there is no none.onnx"));
    assert_eq!(run.json()["error"]["message"], "there is no none.onnx");
    assert_eq!(run.json()["error"]["exit_code"], 2);
    assert_eq!(run.json()["elonnx"], env!("CARGO_PKG_VERSION"));
}

// ---- what scripts call

#[test]
fn patch_writes_beside_the_model_and_says_so() {
    let desk = with_model();
    let before = desk.read("model.onnx");
    let run = desk.run("patch model.onnx").ends(0);
    assert_eq!(run.stderr, "");
    for words in ["cross entropy", "log_end 0.75", "Written to model.el.onnx", "register_custom_ops_library"] {
        assert!(run.stdout.contains(words), "no '{words}' in:\n{}", run.stdout);
    }
    assert_eq!(desk.files(), ["model.el.onnx", "model.onnx"]);
    assert_eq!(desk.read("model.onnx"), before);
    assert_ne!(desk.read("model.el.onnx"), before);
}

#[test]
fn scores_are_outputs_and_no_loss_is_touched() {
    let desk = with_model();
    let run = desk.run("patch model.onnx --scores energy,prediction --temperature 2").ends(0);
    for words in ["added       energy", "−T·logsumexp(z/T), T = 2", "int64", "Written to model.scores.onnx"] {
        assert!(run.stdout.contains(words), "no '{words}' in:\n{}", run.stdout);
    }
    assert!(!run.stdout.contains("register_custom_ops_library"), "{}", run.stdout);
    let run = desk.run("patch model.scores.onnx --scores energy --temperature 2 --json").ends(0);
    assert_eq!(run.json()["status"], "unchanged");
    assert_eq!(run.json()["report"]["scores"][0]["action"], "already_there");
    desk.run("patch model.onnx --scores energy --log-end 0.5").ends(2).says(&["--log-end belongs to a loss"]);
    desk.run("patch model.onnx -n --scores in-distribution -o x.onnx").ends(2).says(&["it holds no calibration"]);
    desk.run("patch model.onnx --scores knn").ends(2).says(&["stay out of the graph"]);
    desk.run("patch . --scores energy").ends(2).says(&["one model at a time"]);
    assert_eq!(desk.files(), ["model.onnx", "model.scores.onnx"]);
}

#[test]
fn patching_twice_is_no_failure_and_still_writes_what_was_asked_for() {
    let desk = with_model();
    desk.run("patch model.onnx -o once.onnx").ends(0);
    let run = desk.run("patch once.onnx").ends(0);
    assert!(run.stdout.contains("patched already, nothing to do"), "{}", run.stdout);
    assert_eq!(desk.files(), ["model.onnx", "once.onnx"]);
    desk.run("patch once.onnx -o twice.onnx").ends(0);
    assert_eq!(desk.read("twice.onnx"), desk.read("once.onnx"));
    let run = desk.run("patch once.onnx --in-place --json").ends(0);
    assert_eq!(run.json()["status"], "unchanged");
    assert_eq!(run.json()["output"], Value::Null);
}

#[test]
fn in_place_dry_run_force_and_quiet() {
    let desk = with_model();
    let before = desk.read("model.onnx");
    let run = desk.run("patch model.onnx --in-place --dry-run").ends(0);
    assert!(run.stdout.contains("Nothing was written"), "{}", run.stdout);
    assert_eq!(desk.read("model.onnx"), before);

    desk.write("old.onnx", b"old");
    let run = desk.run("patch model.onnx -o old.onnx --force --quiet").ends(0);
    assert_eq!((run.stdout.as_str(), run.stderr.as_str()), ("", ""));
    let patched = desk.read("old.onnx");
    desk.run("patch model.onnx --in-place --quiet").ends(0);
    assert_eq!(desk.read("model.onnx"), patched);
    assert_eq!(desk.files(), ["model.onnx", "old.onnx"]);
}

#[cfg(unix)]
#[test]
fn in_place_goes_through_a_link() {
    let desk = with_model();
    std::fs::create_dir(desk.path("links")).unwrap();
    std::os::unix::fs::symlink(desk.path("model.onnx"), desk.path("links/model.onnx")).unwrap();
    let before = desk.read("model.onnx");
    desk.run("patch links/model.onnx --in-place").ends(0);
    assert!(desk.path("links/model.onnx").is_symlink());
    assert_ne!(desk.read("model.onnx"), before);
}

#[test]
fn output_may_be_a_folder() {
    let desk = with_model();
    std::fs::create_dir(desk.path("patched")).unwrap();
    desk.run("patch model.onnx -o patched").ends(0);
    assert!(desk.path("patched/model.onnx").is_file());
}

#[test]
fn models_pass_through_pipes() {
    let desk = with_model();
    desk.run("patch model.onnx -o file.onnx").ends(0);
    let mut command = desk.command("patch -");
    let output = command.stdin(std::fs::File::open(desk.path("model.onnx")).unwrap()).output().unwrap();
    assert!(output.status.success());
    assert_eq!(output.stdout, desk.read("file.onnx"));
    // the table is there, on the other channel
    assert!(String::from_utf8_lossy(&output.stderr).contains("Written to standard output"));
}

#[cfg(unix)]
#[test]
fn a_reader_that_leaves_early_is_no_failure() {
    let desk = with_model();
    for line in ["inspect model.onnx", "doctor", "completions zsh", "man"] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let run = Run::of(desk.command(line).stdout(writer));
        assert!(!run.stderr.contains("error"), "{line}: {}", run.stderr);
        run.ends(0);
    }
}

/// Half a table is no failure, half a model is.
#[cfg(unix)]
#[test]
fn a_model_that_is_cut_short_is_a_failure() {
    let desk = with_model();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let run = Run::of(desk.command("patch model.onnx -o -").stdout(writer)).ends(1);
    assert!(run.stderr.contains("standard output was closed before the model was whole"), "{}", run.stderr);
}

#[cfg(target_os = "linux")]
#[test]
fn a_device_is_no_model() {
    let desk = Desk::new();
    desk.run("inspect /dev/zero").ends(2).says(&["/dev/zero is a device"]);
    let mut command = desk.command("patch -");
    let run = Run::of(command.stdin(std::fs::File::open("/dev/zero").unwrap())).ends(2);
    run.says(&["standard input is a device"]);
}

#[test]
fn a_parameter_of_another_bonus_is_refused_and_not_forgotten() {
    let desk = with_model();
    desk.run("patch model.onnx --power 3").ends(2).says(&["--power belongs to the power bonus", "log bonus"]);
    desk.run("patch model.onnx -o power.onnx --bonus power --power 3").ends(0);
    // the bonus it has counts, not the default
    desk.run("patch power.onnx -o more.onnx --power 4").ends(0);
    desk.run("patch power.onnx --log-end 0.5").ends(2).says(&["--log-end belongs to the log bonus"]);
    desk.run("patch power.onnx -o back.onnx --bonus log --log-end 0.5").ends(0);
    assert_eq!(desk.files(), ["back.onnx", "model.onnx", "more.onnx", "power.onnx"]);
}

#[test]
fn label_smoothing_that_unpatch_loses_is_a_warning() {
    let desk = with_model();
    desk.run("patch model.onnx -o el.onnx --label-smoothing 0.1").ends(0);
    let run = desk.run("unpatch el.onnx -o ce.onnx -q").ends(0);
    assert!(run.stderr.contains("label smoothing 0.1") && run.stderr.contains("lost"), "{}", run.stderr);
    let run = desk.run("unpatch el.onnx -n").ends(0);
    assert!(!run.stdout.contains("label_smoothing"), "{}", run.stdout);
}

#[test]
fn usage_errors_are_json_too() {
    let desk = with_model();
    let run = desk.run("patch model.onnx --json --log-end 2").ends(2);
    assert_eq!(run.json()["error"]["kind"], "wrong_input");
    let message = run.json()["error"]["message"].as_str().unwrap().to_owned();
    assert!(message.contains("log_end must be above 0") && !message.starts_with("error"), "{message}");
    assert!(run.stderr.starts_with("error: "), "{}", run.stderr);
    desk.run("patch model.onnx --log-end 2").ends(2).says(&["log_end must be above 0"]);
}

#[test]
fn below_opset_12_the_plugin_is_needed_and_the_end_says_so() {
    let desk = Desk::new();
    let nodes = [
        node("LogSoftmax").inputs(["input"]).outputs(["log_prob"]).int("axis", 1).build(),
        node("Neg").inputs(["log_prob"]).outputs(["loss"]).build(),
    ];
    let mut model = model(&nodes, "loss");
    *model.last_mut().unwrap() = 11;
    desk.write("model.onnx", &model);
    let run = desk.run("patch model.onnx --logits input").ends(0);
    assert!(run.stdout.contains("runs it with the plugin only"), "{}", run.stdout);
    assert!(!run.stdout.contains("as it is"), "{}", run.stdout);
}

/// A Gemm whose weights lie in w.bin, and a cross entropy.
fn with_external_weights() -> Vec<u8> {
    let entry = |key: &str, value: &str| field(13, &[field(1, key.as_bytes()), field(2, value.as_bytes())].concat());
    let weights = [
        vec![8, 10, 8, 10, 16, 1],
        field(8, b"w"),
        entry("location", "w.bin"),
        entry("length", "400"),
        // data_location EXTERNAL
        vec![14 << 3, 1],
    ];
    let nodes = [
        node("MatMul").inputs(["input", "w"]).outputs(["logits"]).build(),
        node("SoftmaxCrossEntropyLoss").inputs(["logits", "labels"]).outputs(["loss"]).build(),
    ];
    let model = model(&nodes, "loss");
    let mut document = elonnx::model::Document::from_bytes(model).unwrap();
    let tensor = elonnx::model::proto::TensorProto::decode(&weights.concat()[..]).unwrap();
    document.graph_mut().add_initializer(tensor);
    document.to_bytes()
}

#[test]
fn data_that_is_missing_or_in_the_way() {
    let desk = Desk::new();
    desk.write("model.onnx", &with_external_weights());
    let run = desk.run("patch model.onnx -q").ends(0);
    assert!(run.stderr.contains("w.bin does not exist"), "{}", run.stderr);
    desk.write("w.bin", &[0; 400]);
    let run = desk.run("patch model.onnx -o again.onnx -q").ends(0);
    assert_eq!(run.stderr, "");
    // a dry run refuses what the run refuses
    std::fs::create_dir(desk.path("other")).unwrap();
    desk.write("other/w.bin", b"precious");
    desk.run("patch model.onnx -o other").ends(2).says(&["w.bin", "holds other data"]);
    desk.run("patch model.onnx -o other --dry-run").ends(2).says(&["w.bin", "holds other data"]);
}

#[test]
fn the_json_shape_is_stable() {
    let desk = with_model();
    let run = desk.run("patch model.onnx -o out.onnx --json --log-end 0.5").ends(0);
    let object = run.json();
    assert_eq!(object["elonnx"], env!("CARGO_PKG_VERSION"));
    assert_eq!(object["command"], "patch");
    assert_eq!(object["input"], "model.onnx");
    assert_eq!(object["output"], "out.onnx");
    assert_eq!(object["dry_run"], false);
    assert_eq!(object["status"], "changed");
    let loss = &object["report"]["losses"][0];
    assert_eq!(loss["action"]["kind"], "swapped");
    assert_eq!(loss["parameters"]["log_end"], 0.5);

    let object = desk.run("inspect out.onnx --json").ends(0).json();
    assert_eq!(object["report"]["ir_version"].as_i64().map(|v| v >= 8), Some(true));
    assert_eq!(object["report"]["patch"]["report"]["losses"][0]["action"]["kind"], "already_patched");
    assert_eq!(run.stderr, "");
}

#[test]
fn nothing_that_matches_is_exit_code_3() {
    let desk = Desk::new();
    desk.write("sum.onnx", &no_loss());
    let run = desk.run("patch sum.onnx").ends(3);
    assert!(run.stderr.starts_with("error: sum.onnx: "), "{}", run.stderr);
    assert_eq!(desk.run("patch sum.onnx --json").ends(3).json()["error"]["kind"], "nothing_matched");
    for command in ["unpatch", "inline"] {
        desk.run(&format!("{command} sum.onnx")).ends(3).says(&["no encouraging loss", command]);
    }
    desk.run("inspect sum.onnx").ends(0);
    assert_eq!(desk.files(), ["sum.onnx"]);
}

#[test]
fn there_and_back() {
    let desk = with_model();
    desk.run("patch model.onnx").ends(0);
    let run = desk.run("unpatch model.el.onnx -o back.onnx").ends(0);
    assert!(run.stdout.contains("cross entropy"), "{}", run.stdout);
    desk.run("inline model.el.onnx").ends(0);
    assert_eq!(desk.files(), ["back.onnx", "model.el.inlined.onnx", "model.el.onnx", "model.onnx"]);
    desk.run("unpatch back.onnx").ends(3);
}

/// The artifacts of a small network, which the repository has.
#[test]
fn artifacts_as_a_whole() {
    let desk = Desk::new();
    std::fs::create_dir(desk.path("artifacts")).unwrap();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("onnx_models/artifacts/mlp");
    for entry in std::fs::read_dir(source).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), desk.path("artifacts").join(entry.file_name())).unwrap();
    }
    let object = desk.run("patch artifacts --dry-run --json").ends(0).json();
    assert_eq!((&object["status"], &object["output"]), (&"changed".into(), &Value::Null));
    assert_eq!(desk.files(), ["artifacts"]);

    let run = desk.run("patch artifacts").ends(0);
    for words in ["training_model.onnx", "eval_model.onnx", "carried", "Written to artifacts.el", "session_options"] {
        assert!(run.stdout.contains(words), "no '{words}' in:\n{}", run.stdout);
    }
    assert!(desk.path("artifacts.el/checkpoint").is_file());
    desk.run("patch artifacts").ends(2).says(&["artifacts.el", "exists", "--force"]);
    std::fs::create_dir(desk.path("half")).unwrap();
    desk.write("half/checkpoint", b"precious");
    desk.run("patch artifacts -o half --dry-run").ends(0);
    desk.run("patch artifacts -o half").ends(2).says(&["half: checkpoint exists", "--force"]);
    assert_eq!(desk.read("half/checkpoint"), b"precious");
    desk.run("patch artifacts -o half --force").ends(0);
    assert_eq!(desk.read("half/checkpoint"), desk.read("artifacts/checkpoint"));
    std::fs::remove_dir_all(desk.path("half")).unwrap();
    for command in ["unpatch", "inline"] {
        desk.run(&format!("{command} artifacts.el")).ends(2).says(&["training_model.onnx", "eval_model.onnx", command]);
    }
    desk.run("patch artifacts -o artifacts/").ends(2).says(&["is the input itself"]);
    desk.run("patch artifacts --in-place").ends(2).says(&["--in-place"]);

    let run = desk.run("patch artifacts.el").ends(0);
    assert!(run.stdout.contains("patched already, nothing to do"), "{}", run.stdout);
    assert_eq!(desk.files(), ["artifacts", "artifacts.el"]);
    desk.run("patch artifacts.el -o again --quiet").ends(0);
    for name in ["training_model.onnx", "eval_model.onnx", "checkpoint"] {
        assert_eq!(desk.read(&format!("again/{name}")), desk.read(&format!("artifacts.el/{name}")), "{name}");
    }
}

#[test]
fn logits_that_are_not_there() {
    let desk = Desk::new();
    desk.write("sum.onnx", &no_loss());
    desk.run("patch sum.onnx --logits nothing").ends(2).says(&["sum.onnx", "nothing"]);
}

// ---- help, completions, man

const COMMANDS: [&str; 8] = ["patch", "unpatch", "inline", "inspect", "doctor", "lib", "completions", "man"];

#[test]
fn help_fits_80_columns() {
    let desk = Desk::new();
    let mut lines = vec!["-h".to_owned(), "--help".to_owned()];
    for command in COMMANDS {
        lines.extend([format!("{command} -h"), format!("{command} --help")]);
    }
    for line in lines {
        let mut command = desk.command(&line);
        let run = Run::of(command.env("COLUMNS", "200")).ends(0);
        assert!(run.stdout.contains("Usage: elonnx"), "{line}");
        for text in run.stdout.lines() {
            assert!(text.chars().count() <= 80, "elonnx {line}: {text}");
        }
    }
    let run = desk.run("").ends(2);
    assert!(run.stderr.contains("Usage: elonnx <COMMAND>"));
}

#[test]
fn tables_fit_the_width() {
    let desk = with_model();
    for width in [40, 60, 80, 100] {
        for line in ["patch model.onnx -n", "inspect model.onnx"] {
            let run = Run::of(desk.command(line).env("COLUMNS", width.to_string())).ends(0);
            for text in run.stdout.lines() {
                assert!(text.chars().count() <= width, "{width}: {text}");
            }
            assert!(!run.stdout.contains('\u{1b}'), "colour in a pipe");
        }
    }
}

/// Whether the shell that is to parse a script is here.
fn shell(name: &str) -> bool {
    let there = Command::new(name).arg("--version").output().is_ok();
    if !there {
        println!("skipped: no {name} here");
    }
    there
}

#[test]
fn completions_parse() {
    let desk = Desk::new();
    for (name, check) in [("bash", "-n"), ("zsh", "-n"), ("fish", "--no-execute")] {
        let script = desk.run(&format!("completions {name}")).ends(0).stdout;
        for command in COMMANDS {
            assert!(script.contains(command), "{name}: {command}");
        }
        assert!(script.contains("log-end") && script.contains("cosine"), "{name}");
        desk.write(name, script.as_bytes());
        if shell(name) {
            Run::of(Command::new(name).arg(check).arg(desk.path(name))).ends(0);
        }
    }
    desk.run("completions tcsh").ends(2).says(&["tcsh", "bash"]);
}

#[test]
fn man_pages() {
    let desk = Desk::new();
    let page = desk.run("man").ends(0).stdout;
    assert!(page.contains(".TH elonnx 1") && page.contains("Exit codes"), "{page}");
    std::fs::create_dir(desk.path("man1")).unwrap();
    desk.run("man --dir man1").ends(0);
    for command in COMMANDS {
        assert!(desk.path(&format!("man1/elonnx-{command}.1")).is_file(), "{command}");
    }
    desk.run("man --dir none").ends(2).says(&["there is no folder none"]);
}

// ---- lib, doctor

#[test]
fn lib_prints_a_path_and_nothing_else() {
    let desk = Desk::new();
    let plugin = desk.path("libany.so");
    desk.write("libany.so", b"");
    let run = Run::of(desk.command("lib").env("ELONNX_LIB", &plugin)).ends(0);
    assert_eq!(run.stdout, format!("{}\n", plugin.display()));
    let run = Run::of(desk.command("lib").env("ELONNX_LIB", desk.path("none"))).ends(1);
    run.says(&["ELONNX_LIB is", "none"]);
}

#[test]
fn lib_of_a_lonely_program_says_how_to_get_the_plugin() {
    let desk = Desk::new();
    std::fs::create_dir(desk.path("bin")).unwrap();
    let lonely = desk.path("bin/elonnx");
    // by another process: one that a test beside this starts would inherit our open file and make it "busy" to run
    let copied = Command::new("cp").arg(assert_cmd::cargo::cargo_bin!("elonnx")).arg(&lonely).status().unwrap();
    assert!(copied.success());
    let mut command = Command::new(&lonely);
    command.arg("lib").current_dir(desk.path("")).env_remove("ELONNX_LIB");
    Run::of(&mut command).ends(1).says(&["cargo install", "cargo build --release", "ELONNX_LIB"]);
}

#[test]
fn doctor_shows_and_json_has_the_same() {
    let desk = Desk::new();
    let run = desk.run("doctor").ends(0);
    for heading in ["Plugin", "ONNX Runtime libraries", "Python", "CUDA"] {
        assert!(run.stdout.contains(heading), "no {heading} in:\n{}", run.stdout);
    }
    let object = desk.run("doctor --json").ends(0).json();
    let report = &object["report"];
    assert!(report["onnxruntime"]["candidates"].is_array() && report["python"].is_array());
    assert_eq!(report["onnxruntime"]["oldest"], "1.17.0");
    assert!(report["cuda"]["driver"].is_null() != report["cuda"]["problem"].is_null());
}

#[test]
fn doctor_refuses_a_library_that_is_none() {
    let desk = Desk::new();
    desk.write("libonnxruntime.so", b"not really");
    let run = desk.run("doctor --onnxruntime libonnxruntime.so").ends(2);
    assert!(run.stdout.contains("libonnxruntime.so is not a shared library"), "{}", run.stdout);
    let run = desk.run("doctor --onnxruntime .").ends(2);
    assert!(run.stderr.contains("is not a shared library"), "{}", run.stderr);
    let run = desk.run("doctor --onnxruntime none.so --json").ends(2);
    assert_eq!(run.json()["report"]["onnxruntime"]["candidates"][0]["problem"], "does not exist");
}

#[test]
fn doctor_names_the_variable_that_is_wrong() {
    let desk = Desk::new();
    let run = Run::of(desk.command("doctor").env("ORT_DYLIB_PATH", "none.so")).ends(0);
    assert!(run.stdout.contains("ORT_DYLIB_PATH names none.so"), "{}", run.stdout);
    assert!(!run.stdout.contains("\n  used "), "{}", run.stdout);
}

/// The wheel's library, where a virtual environment with onnxruntime is active.
#[test]
fn doctor_uses_the_wheel_of_the_active_environment() {
    let Some(environment) = std::env::var_os("VIRTUAL_ENV") else {
        println!("skipped: no virtual environment is active");
        return;
    };
    let object = Desk::new().run("doctor --json").ends(0).json();
    let first = &object["report"]["python"][0];
    if first["onnxruntime"].is_null() {
        println!("skipped: {} has no onnxruntime", Path::new(&environment).display());
        return;
    }
    let used = object["report"]["onnxruntime"]["used"].as_str().unwrap_or_default().to_owned();
    assert!(used.starts_with(first["onnxruntime"]["capi"].as_str().unwrap()), "{object:#}");
}
