//! What ONNX Runtime makes of a step that computes in float16 or bfloat16.
//!
//! Where its CPU provider has no kernel in bfloat16 it refuses the graph. Where it has none in float16 it computes in
//! float32 between casts of its own, and leaves those out again, and the step's, that undo each other.

use std::path::Path;

use tempfile::NamedTempFile;

use super::TrainError;
use crate::model::{Document, Shapes};
use crate::rewrite::Precision;
use crate::rewrite::mixed_precision::low_name;

/// Largest graph that is written out to be looked at, in bytes: frozen parameters are in it.
const LARGEST: usize = 1 << 26;

/// Where ONNX Runtime is to write the graph that it runs; None for one that is not looked at.
pub fn place_for(step: &Document, precision: Precision) -> Option<NamedTempFile> {
    let is_looked_at = precision != Precision::F32 && step.encoded_len() <= LARGEST;
    is_looked_at.then(|| tempfile::Builder::new().prefix("elonnx-").suffix(".onnx").tempfile().ok())?
}

/// What the user should know of the graph that ONNX Runtime runs, a sentence.
pub fn about(optimized: &Path, precision: Precision) -> Option<String> {
    let (document, low) = (Document::open(optimized).ok()?, precision.low()?);
    let graph = document.graph();
    let shapes = Shapes::new(graph, document.opset_version("").unwrap_or_default());
    let products: Vec<_> = graph.nodes().iter().filter(|node| is_product(node.op())).collect();
    let is_low = |value: &String| shapes.data_type(value) == Some(low as i32);
    let low = products.iter().filter(|node| node.input.iter().any(is_low)).count();
    let (name, all) = (low_name(precision), products.len());
    (low < all).then(|| {
        let which = if low == 0 { "any".to_owned() } else { format!("{} of {all}", all - low) };
        format!(
            "ONNX Runtime has no kernel in {name} on this CPU for {which} of the matrix products and convolutions: it \
             computes them in float32, no faster than with --precision f32"
        )
    })
}

/// Whether nearly all of the time goes to such operators; ONNX Runtime puts some together with what follows: FusedGemm …
fn is_product(op: &str) -> bool {
    ["MatMul", "Gemm", "Conv", "Einsum"].iter().any(|name| op.contains(name))
}

/// A graph that ONNX Runtime refuses: for want of a kernel, where that is why.
pub fn refused(graph: &'static str, reason: String, precision: Precision) -> TrainError {
    match missing(&reason).filter(|_| precision != Precision::F32) {
        Some(operator) => TrainError::NoKernel { operator: operator.to_owned(), precision },
        None => TrainError::Refused { graph, reason },
    }
}

/// The operator in "Could not find an implementation for MatMul(13) node with name …", and in "Type 'tensor(bfloat16)' of
/// input parameter (X) of operator (Conv) …", which is what a release says that is older than the type.
fn missing(reason: &str) -> Option<&str> {
    let kernel = reason.split_once("Could not find an implementation for ").and_then(|(_, rest)| rest.split_once('('));
    let schema = reason.split_once("of operator (").and_then(|(_, rest)| rest.split_once(')'));
    let (operator, _) = kernel.or_else(|| schema.filter(|_| reason.contains("float16)'")))?;
    (!operator.is_empty() && operator.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')).then_some(operator)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Words of ONNX Runtime 1.20.1 and 1.32.0.
    #[test]
    fn a_missing_kernel_is_named() {
        let kernel = "Could not find an implementation for MatMul(13) node with name 'm'";
        let schema = "This is an invalid model. Type Error: Type 'tensor(bfloat16)' of input parameter (x_l) of operator \
                      (Softplus) in node () is invalid.";
        for (reason, operator) in [(kernel, Some("MatMul")), (schema, Some("Softplus")), ("No such file", None)] {
            assert_eq!(missing(reason), operator);
        }
        let text = refused("training step", kernel.to_owned(), Precision::Bf16).to_string();
        assert!(text.starts_with("ONNX Runtime has no kernel for MatMul in bfloat16 on the CPU"), "{text}");
        let text = refused("training step", kernel.to_owned(), Precision::F32).to_string();
        assert!(text.starts_with("ONNX Runtime refuses the training step: Could not"), "{text}");
    }

    #[test]
    fn products_in_float32_are_told() {
        use crate::model::{DataType, ExternalData, node};
        use crate::rewrite::testing::TestModel;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("optimized.onnx");
        let told = |second: &str| {
            let fused = node("FusedGemm").domain("com.microsoft").inputs([second, "w"]).outputs(["y"]);
            let model = TestModel::new(17)
                .input("x", DataType::Float, &["3", "3"])
                .initializer("w", DataType::Float, &[3, 3], &[0.5; 9])
                .with(node("Cast").inputs(["x"]).outputs(["low"]).int("to", DataType::Float16 as i64))
                .op("MatMul", &["low", "low"], &["m"])
                .with(fused)
                .output("y", DataType::Float, &["3", "3"]);
            model.build().save(&path, ExternalData::Copy).unwrap();
            about(&path, Precision::F16)
        };
        assert_eq!(told("m"), None);
        let text = told("x").unwrap();
        assert!(text.contains("in float16 on this CPU for 1 of 2 of the matrix products"), "{text}");
        let text = about(&path, Precision::Bf16).unwrap();
        assert!(text.contains("in bfloat16 on this CPU for any of the matrix products"), "{text}");
        assert_eq!(about(&folder.path().join("none.onnx"), Precision::F16), None);
        std::fs::write(&path, b"broken").unwrap();
        assert_eq!(about(&path, Precision::F16), None);
    }
}
