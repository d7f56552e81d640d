//! Every model at hand goes through patch, unpatch and inline; what comes out must satisfy a second parser, and doing
//! it again must change nothing.

use std::path::{Path, PathBuf};

use elonnx::model::Document;
use elonnx::rewrite::{
    GraphScore, GraphScoreOptions, PatchOptions, RewriteError, add_scores, inline, inspect, patch, unpatch,
};
use onnx_protobuf::{Message, ModelProto};

/// All .onnx files under the repository's own models, and under ../shared/models where that is.
fn models() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    for folder in [root.join("onnx_models"), root.join("../shared/models")] {
        if folder.is_dir() {
            walk(&folder, &mut found);
        } else {
            println!("no {}, skipped", folder.display());
        }
    }
    found.sort();
    found
}

fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if path.is_dir() {
            walk(&path, found);
        } else if path.extension().is_some_and(|e| e == "onnx") {
            found.push(path);
        }
    }
}

/// What the second parser sees: node ops with their domains, and the functions.
fn parse(bytes: &[u8], path: &Path) -> ModelProto {
    ModelProto::parse_from_bytes(bytes).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn is_ours(domain: &str) -> bool {
    domain.starts_with("ai.elonnx")
}

#[test]
fn patched_files_satisfy_a_second_parser_and_twice_is_once() {
    let (mut patched_count, mut left_alone) = (0, 0);
    for path in models() {
        let document = Document::open(&path).unwrap();
        let patched = match patch(&document, &PatchOptions::default()) {
            Ok(patched) if patched.report.swapped() > 0 => patched,
            Ok(patched) => {
                assert_eq!(patched.document.to_bytes(), std::fs::read(&path).unwrap(), "{}", path.display());
                continue;
            }
            Err(RewriteError::NothingMatched(report)) => {
                // nothing to do has a reason: a loss that stays, or why there are no logits; an optimizer has neither
                let told = !report.losses.is_empty() || !report.near_misses.is_empty();
                assert!(told, "{}: nothing matched, and no reason", path.display());
                left_alone += 1;
                continue;
            }
            // two heads, which the user must choose from
            Err(RewriteError::AmbiguousLogits { candidates }) => {
                assert!(candidates.len() > 1);
                continue;
            }
            Err(error) => panic!("{}: {error}", path.display()),
        };
        patched_count += 1;
        let bytes = patched.document.to_bytes();
        let model = parse(&bytes, &path);
        let ours: Vec<_> = model.graph.node.iter().filter(|n| is_ours(&n.domain)).collect();
        assert!(!ours.is_empty(), "{}", path.display());
        for node in &ours {
            assert!(
                node.attribute.iter().any(|a| a.name == "log_end"),
                "{}: attributes are written out",
                path.display()
            );
        }
        for stamp in ["elonnx.version", "elonnx.losses"] {
            assert!(model.metadata_props.iter().any(|p| p.key == stamp), "{}: {stamp}", path.display());
        }

        let again = patch(&Document::from_bytes(bytes.clone()).unwrap(), &PatchOptions::default()).unwrap();
        assert!(again.report.already_patched(), "{}", path.display());
        assert!(again.document.to_bytes() == bytes, "{}: the second patch changed something", path.display());
    }
    assert!(patched_count > 40 && left_alone > 3, "{patched_count} patched, {left_alone} left alone");
}

#[test]
fn scored_files_satisfy_a_second_parser_and_twice_is_once() {
    let scores = vec![GraphScore::Prediction, GraphScore::Margin, GraphScore::Energy, GraphScore::Entropy];
    let options = GraphScoreOptions { scores, ..GraphScoreOptions::default() };
    let mut count = 0;
    for path in models() {
        let document = Document::open(&path).unwrap();
        let Ok(scored) = add_scores(&document, &options) else { continue };
        count += 1;
        let bytes = scored.document.to_bytes();
        let model = parse(&bytes, &path);
        let outputs: Vec<&str> = model.graph.output.iter().map(|output| output.name.as_str()).collect();
        for score in &scored.report.scores {
            assert!(outputs.contains(&score.output.as_str()), "{}: no {}", path.display(), score.output);
        }
        let scored = Document::from_bytes(bytes.clone()).unwrap();
        let again = add_scores(&scored, &options).unwrap();
        assert!(!again.report.scores_changed(), "{}", path.display());
        assert!(again.document.to_bytes() == bytes, "{}: the second time changed something", path.display());

        // the loss is found as before, and goes again
        let before = patch(&document, &PatchOptions::default()).map(|patched| patched.report.swapped()).ok();
        let Ok(patched) = patch(&scored, &PatchOptions::default()) else {
            assert_eq!(before, None, "{}", path.display());
            continue;
        };
        assert_eq!(before, Some(patched.report.swapped()), "{}", path.display());
        // the operator of a loss spelled out in single ops may read the logits under another name
        let spelled_out = path.components().any(|part| part.as_os_str().to_string_lossy().ends_with("_expanded"));
        let again = add_scores(&patched.document, &options).unwrap();
        assert!(spelled_out || !again.report.scores_changed(), "{}: the loss changed the scores", path.display());
    }
    assert!(count > 40, "{count} scored");
}

#[test]
fn unpatched_and_inlined_files_hold_nothing_of_ours() {
    for path in models() {
        let document = Document::open(&path).unwrap();
        let Ok(patched) = patch(&document, &PatchOptions::default()) else { continue };
        if patched.report.swapped() == 0 {
            continue;
        }
        let without = |model: &ModelProto, what: &str| {
            let left = model.graph.node.iter().filter(|n| is_ours(&n.domain)).count()
                + model.functions.iter().filter(|f| is_ours(&f.domain)).count()
                + model.opset_import.iter().filter(|o| is_ours(&o.domain)).count();
            assert_eq!(left, 0, "{}: {what} left something of ours", path.display());
        };
        match unpatch(&patched.document) {
            Ok(back) => without(&parse(&back.document.to_bytes(), &path), "unpatch"),
            Err(RewriteError::Unsupported { .. }) => {
                assert!(patched.report.warnings.iter().any(|w| w.contains("opset")))
            }
            Err(error) => panic!("{}: {error}", path.display()),
        }
        match inline(&patched.document) {
            Ok(plain) => without(&parse(&plain.document.to_bytes(), &path), "inline"),
            // below opset 12 there are no bodies, and patch has said so
            Err(error) => {
                assert!(patched.report.warnings.iter().any(|w| w.contains("opset")), "{}: {error}", path.display())
            }
        }
    }
}

#[test]
fn every_model_can_be_inspected() {
    for path in models() {
        let inspection = inspect(&Document::open(&path).unwrap()).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        assert!(!inspection.kind.is_empty());
    }
}
