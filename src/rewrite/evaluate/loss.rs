//! The two loss operators of ONNX, and ORT Training's variant.

use super::reduction::log_softmax;
use super::tensor::{Data, Runs, Tensor, element_count};
use super::{Call, Fault};

/// Runs the node if it is of this family.
pub(super) fn run(call: &Call) -> Result<Option<Vec<Tensor>>, Fault> {
    let ignored = call.attr("ignore_index").and_then(|a| a.i);
    match call.node.op() {
        "NegativeLogLikelihoodLoss" => {
            let loss = negative_log_likelihood(call, call.input(0)?, call.input(1)?, call.optional(2), ignored)?;
            Ok(Some(vec![loss]))
        }
        "SoftmaxCrossEntropyLoss" => softmax_cross_entropy(call, ignored).map(Some),
        _ => Ok(None),
    }
}

/// `com.microsoft::SoftmaxCrossEntropyLossInternal`: ignore_index is the fourth input.
pub(super) fn softmax_cross_entropy_internal(call: &Call) -> Result<Vec<Tensor>, Fault> {
    let ignored = match call.optional(3) {
        Some(index) => index.as_ints()?.first().copied(),
        None => call.attr("ignore_index").and_then(|a| a.i),
    };
    softmax_cross_entropy(call, ignored)
}

/// (loss, log_prob)
fn softmax_cross_entropy(call: &Call, ignored: Option<i64>) -> Result<Vec<Tensor>, Fault> {
    let scores = call.input(0)?;
    if scores.rank() < 2 {
        return Err(Fault::invalid(format!("logits of shape {:?}", scores.dims)));
    }
    let values = scores.as_floats()?;
    let mut log_prob = vec![0.0; values.len()];
    if !values.is_empty() {
        let runs = Runs::along(&scores.dims, &[1]);
        for i in 0..runs.count {
            let run = runs.run(i);
            let row: Vec<f64> = run.iter().map(|&at| values[at]).collect();
            for (&at, value) in run.iter().zip(log_softmax(&row)) {
                log_prob[at] = value;
            }
        }
    }
    let log_prob = Tensor::new(scores.dims.clone(), Data::Float(log_prob))?;
    let loss = negative_log_likelihood(call, &log_prob, call.input(1)?, call.optional(2), ignored)?;
    Ok(vec![loss, log_prob])
}

fn negative_log_likelihood(
    call: &Call,
    log_prob: &Tensor,
    labels: &Tensor,
    weights: Option<&Tensor>,
    ignored: Option<i64>,
) -> Result<Tensor, Fault> {
    let [batch, classes, rest @ ..] = &log_prob.dims[..] else {
        return Err(Fault::invalid(format!("log probabilities of shape {:?}", log_prob.dims)));
    };
    let (batch, classes) = (*batch, *classes);
    let row_dims = [&[batch], rest].concat();
    if labels.dims != row_dims {
        return Err(Fault::invalid(format!(
            "labels of shape {:?} do not fit logits of shape {:?}",
            labels.dims, log_prob.dims
        )));
    }
    let weights = weights.map(Tensor::as_floats).transpose()?;
    if weights.is_some_and(|w| w.len() != classes) {
        return Err(Fault::invalid(format!("class weights do not fit {classes} classes")));
    }
    let values = log_prob.as_floats()?;
    let inner = element_count(rest)?;
    let mut losses = Vec::with_capacity(labels.len());
    let mut total_weight = 0.0;
    for (row, &label) in labels.as_ints()?.iter().enumerate() {
        if Some(label) == ignored {
            losses.push(0.0);
            continue;
        }
        let class = usize::try_from(label)
            .ok()
            .filter(|&c| c < classes)
            .ok_or_else(|| Fault::invalid(format!("label {label} is none of {classes} classes")))?;
        let weight = weights.map_or(1.0, |w| w[class]);
        total_weight += weight;
        losses.push(-values[(row / inner * classes + class) * inner + row % inner] * weight);
    }
    match call.string("reduction", "mean") {
        "none" => Tensor::new(row_dims, Data::Float(losses)),
        "sum" => Ok(Tensor::scalar(losses.iter().sum())),
        "mean" => Ok(Tensor::scalar(losses.iter().sum::<f64>() / total_weight)),
        other => Err(Fault::invalid(format!("reduction '{other}'"))),
    }
}
