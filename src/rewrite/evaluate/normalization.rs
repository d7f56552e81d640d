//! Normalisations.

use super::tensor::{Data, Runs, Tensor, axes_of, axis_of, element_count};
use super::{Call, Fault};

/// Runs the node if it is of this family.
pub(super) fn run(call: &Call) -> Result<Option<Vec<Tensor>>, Fault> {
    let result = match call.node.op() {
        "BatchNormalization" => return batch_normalization(call).map(Some),
        "LayerNormalization" => return layer_normalization(call).map(Some),
        "GroupNormalization" => group_normalization(call)?,
        "InstanceNormalization" => instance_normalization(call)?,
        "RMSNormalization" => rms_normalization(call)?,
        "LpNormalization" => lp_normalization(call)?,
        "LRN" => local_response_normalization(call)?,
        "MeanVarianceNormalization" => mean_variance_normalization(call)?,
        _ => return Ok(None),
    };
    Ok(Some(vec![result]))
}

const EPSILON: f64 = 1e-5;

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// Of the population.
fn variance(values: &[f64]) -> f64 {
    let middle = mean(values);
    mean(&values.iter().map(|x| (x - middle) * (x - middle)).collect::<Vec<_>>())
}

/// Batch, channels and elements per plane of data [N, C, …].
fn planes(x: &Tensor) -> Result<(usize, usize, usize), Fault> {
    match &x.dims[..] {
        [batch, channels, plane @ ..] => Ok((*batch, *channels, element_count(plane)?)),
        dims => Err(Fault::invalid(format!("the shape {dims:?} has no channels"))),
    }
}

/// One float per channel.
fn per_channel<'a>(call: &Call<'a>, position: usize, channels: usize) -> Result<&'a [f64], Fault> {
    let tensor = call.input(position)?;
    if tensor.dims != [channels] {
        return Err(Fault::invalid(format!("input {position} of shape {:?} for {channels} channels", tensor.dims)));
    }
    tensor.as_floats()
}

/// y = (x − mean) / √(variance + ε)·scale + bias: with the given statistics, or in training mode with those of the batch
/// and the new running ones as outputs.
fn batch_normalization(call: &Call) -> Result<Vec<Tensor>, Fault> {
    let x = call.input(0)?;
    let values = x.as_floats()?;
    let (_, channels, plane) = planes(x)?;
    let (scale, bias) = (per_channel(call, 1, channels)?, per_channel(call, 2, channels)?);
    let (old_mean, old_variance) = (per_channel(call, 3, channels)?, per_channel(call, 4, channels)?);
    if call.opset < 9 && call.int("spatial", 1) == 0 {
        return Err(Fault::Unsupported("BatchNormalization with spatial 0".into()));
    }
    let training = call.int("training_mode", 0) != 0;
    let (means, variances): (Vec<f64>, Vec<f64>) = if training {
        let of_channel = |channel: usize| -> Vec<f64> {
            values.iter().enumerate().filter(|(at, _)| at / plane % channels == channel).map(|(_, x)| *x).collect()
        };
        (0..channels).map(of_channel).map(|all| (mean(&all), variance(&all))).unzip()
    } else {
        (old_mean.to_vec(), old_variance.to_vec())
    };
    let epsilon = call.float("epsilon", EPSILON);
    let normalized = |(at, x): (usize, &f64)| {
        let channel = at / plane % channels;
        (x - means[channel]) / (variances[channel] + epsilon).sqrt() * scale[channel] + bias[channel]
    };
    let y = Tensor::floats(&x.dims, values.iter().enumerate().map(normalized).collect());
    let momentum = call.float("momentum", 0.9);
    let running = |old: &[f64], new: &[f64]| {
        let mixed = old.iter().zip(new).map(|(old, new)| old * momentum + new * (1.0 - momentum));
        Tensor::floats(&[channels], if training { mixed.collect() } else { old.to_vec() })
    };
    Ok(vec![y, running(old_mean, &means), running(old_variance, &variances)])
}

/// The value that `tensor` has at each element of a shape it broadcasts to.
fn spread(tensor: &Tensor, dims: &[usize]) -> Result<Vec<f64>, Fault> {
    Ok(tensor.broadcast_to(dims)?.as_floats()?.to_vec())
}

/// y = (x − mean) / √(variance + ε)·scale + bias over the axes from `axis`; also the means and 1 / √(variance + ε).
fn layer_normalization(call: &Call) -> Result<Vec<Tensor>, Fault> {
    let x = call.input(0)?;
    let values = x.as_floats()?;
    let axis = axis_of(call.int("axis", -1), x.rank())?;
    let scale = spread(call.input(1)?, &x.dims)?;
    let bias = match call.optional(2) {
        Some(bias) => spread(bias, &x.dims)?,
        None => vec![0.0; x.len()],
    };
    let length = element_count(&x.dims[axis..])?.max(1);
    let epsilon = call.float("epsilon", EPSILON);
    let (means, inverses): (Vec<f64>, Vec<f64>) =
        values.chunks(length).map(|row| (mean(row), (variance(row) + epsilon).sqrt().recip())).unzip();
    let normalized = |(at, x): (usize, &f64)| (x - means[at / length]) * inverses[at / length] * scale[at] + bias[at];
    let y = Tensor::floats(&x.dims, values.iter().enumerate().map(normalized).collect());
    let mut dims = x.dims.clone();
    dims[axis..].fill(1);
    Ok(vec![y, Tensor::new(dims.clone(), Data::Float(means))?, Tensor::new(dims, Data::Float(inverses))?])
}

/// Each run of `length` elements with its own mean and variance, then a scale and bias per channel.
fn normalize_runs(x: &Tensor, length: usize, epsilon: f64, scale: &[f64], bias: &[f64]) -> Result<Tensor, Fault> {
    let (_, channels, plane) = planes(x)?;
    let mut y = Vec::with_capacity(x.len());
    for row in x.as_floats()?.chunks(length.max(1)) {
        let (middle, deviation) = (mean(row), (variance(row) + epsilon).sqrt());
        for value in row {
            let channel = y.len() / plane % channels;
            y.push((value - middle) / deviation * scale[channel] + bias[channel]);
        }
    }
    Ok(Tensor::floats(&x.dims, y))
}

/// Groups of channels; scale and bias per group in opset 18, per channel since 21.
fn group_normalization(call: &Call) -> Result<Tensor, Fault> {
    let x = call.input(0)?;
    let (_, channels, plane) = planes(x)?;
    let groups = usize::try_from(call.int("num_groups", 0)).unwrap_or_default();
    if groups == 0 || channels % groups != 0 {
        return Err(Fault::invalid(format!("{channels} channels in {groups} groups")));
    }
    let per_group = channels / groups;
    let parameter = |position: usize| -> Result<Vec<f64>, Fault> {
        if call.opset >= 21 {
            return Ok(per_channel(call, position, channels)?.to_vec());
        }
        let of_group = per_channel(call, position, groups)?;
        Ok((0..channels).map(|channel| of_group[channel / per_group]).collect())
    };
    normalize_runs(x, per_group * plane, call.float("epsilon", EPSILON), &parameter(1)?, &parameter(2)?)
}

/// Each channel of each sample.
fn instance_normalization(call: &Call) -> Result<Tensor, Fault> {
    let x = call.input(0)?;
    let (_, channels, plane) = planes(x)?;
    let (scale, bias) = (per_channel(call, 1, channels)?, per_channel(call, 2, channels)?);
    normalize_runs(x, plane, call.float("epsilon", EPSILON), scale, bias)
}

/// y = x / √(mean of x² + ε)·scale over the axes from `axis`.
fn rms_normalization(call: &Call) -> Result<Tensor, Fault> {
    let x = call.input(0)?;
    let axis = axis_of(call.int("axis", -1), x.rank())?;
    let scale = spread(call.input(1)?, &x.dims)?;
    let length = element_count(&x.dims[axis..])?.max(1);
    let epsilon = call.float("epsilon", EPSILON);
    let mut y = Vec::with_capacity(x.len());
    for row in x.as_floats()?.chunks(length) {
        let size = (mean(&row.iter().map(|x| x * x).collect::<Vec<_>>()) + epsilon).sqrt();
        for value in row {
            y.push(value / size * scale[y.len()]);
        }
    }
    Ok(Tensor::floats(&x.dims, y))
}

/// y = x / ‖x‖ along an axis; zeros stay zeros.
fn lp_normalization(call: &Call) -> Result<Tensor, Fault> {
    let x = call.input(0)?;
    let axis = axis_of(call.int("axis", -1), x.rank())?;
    let norm: fn(&[f64]) -> f64 = match call.int("p", 2) {
        1 => |row| row.iter().map(|x| x.abs()).sum(),
        2 => |row| row.iter().map(|x| x * x).sum::<f64>().sqrt(),
        p => return Err(Fault::invalid(format!("p is {p}"))),
    };
    along(x, &[axis], |row| {
        let size = norm(row);
        row.iter().map(|x| if size == 0.0 { 0.0 } else { x / size }).collect()
    })
}

/// y = (x − mean) / (standard deviation + 1e-9) over `axes`.
fn mean_variance_normalization(call: &Call) -> Result<Tensor, Fault> {
    let x = call.input(0)?;
    let axes = axes_of(call.node.attr_ints("axes").unwrap_or(&[0, 2, 3]), x.rank())?;
    along(x, &axes, |row| {
        let (middle, deviation) = (mean(row), variance(row).sqrt() + 1e-9);
        row.iter().map(|x| (x - middle) / deviation).collect()
    })
}

/// Each run along some axes replaced.
fn along(x: &Tensor, axes: &[usize], f: impl Fn(&[f64]) -> Vec<f64>) -> Result<Tensor, Fault> {
    let values = x.as_floats()?;
    let runs = Runs::along(&x.dims, axes);
    let mut y = vec![0.0; x.len()];
    for run in (0..runs.count).map(|i| runs.run(i)) {
        let row: Vec<f64> = run.iter().map(|&at| values[at]).collect();
        for (&at, value) in run.iter().zip(f(&row)) {
            y[at] = value;
        }
    }
    Ok(Tensor::floats(&x.dims, y))
}

/// y = x / (bias + α/size·Σ x² over `size` channels around)^β.
fn local_response_normalization(call: &Call) -> Result<Tensor, Fault> {
    let x = call.input(0)?;
    let values = x.as_floats()?;
    let (_, channels, plane) = planes(x)?;
    let size = usize::try_from(call.int("size", 0)).ok().filter(|&size| size > 0);
    let size = size.ok_or_else(|| Fault::invalid("a size below 1"))?;
    let (alpha, beta, bias) = (call.float("alpha", 1e-4), call.float("beta", 0.75), call.float("bias", 1.0));
    let normalized = |(at, value): (usize, &f64)| {
        let channel = at / plane % channels;
        let first = channel.saturating_sub((size - 1) / 2);
        let last = channel.saturating_add((size - 1).div_ceil(2)).min(channels - 1);
        let sum: f64 = (first..=last).map(|c| values[at + c * plane - channel * plane].powi(2)).sum();
        value / (bias + alpha / size as f64 * sum).powf(beta)
    };
    Ok(Tensor::floats(&x.dims, values.iter().enumerate().map(normalized).collect()))
}

#[cfg(test)]
mod tests {
    use crate::model::{NodeBuilder, node};
    use crate::rewrite::evaluate::{Data, Tensor, Values, evaluate};

    /// On x [2, 2, 1], scale 1 and 10, bias 0 and 1, mean 1 and 2, variance 4 and 1.
    fn run(op: &str, inputs: &[&str], opset: i64, more: impl FnOnce(NodeBuilder) -> NodeBuilder) -> Vec<Vec<f64>> {
        let tensor = |dims: &[usize], data: &[f64]| Tensor { dims: dims.to_vec(), data: Data::Float(data.to_vec()) };
        let values: Values = [
            ("x", tensor(&[2, 2, 1], &[1.0, 2.0, 3.0, 6.0])),
            ("scale", tensor(&[2], &[1.0, 10.0])),
            ("bias", tensor(&[2], &[0.0, 1.0])),
            ("mean", tensor(&[2], &[1.0, 2.0])),
            ("variance", tensor(&[2], &[4.0, 1.0])),
            ("ten", tensor(&[1], &[10.0])),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into();
        let node = more(node(op).inputs(inputs).outputs(["y", "second", "third"]).float("epsilon", 0.0)).build();
        let values = evaluate(&[&node], values, opset).expect("a result");
        let floats = |name: &str| match values.get(name).map(|value| &value.data) {
            Some(Data::Float(data)) => data.clone(),
            _ => vec![],
        };
        ["y", "second", "third"].map(floats).to_vec()
    }

    #[test]
    fn given_and_own_statistics_of_a_batch() {
        let inputs = ["x", "scale", "bias", "mean", "variance"];
        assert_eq!(run("BatchNormalization", &inputs, 15, |node| node)[0], [0.0, 1.0, 1.0, 41.0]);
        // channels 1, 3 and 2, 6: means 2 and 4, variances of the population 1 and 4
        let training = |node: NodeBuilder| node.int("training_mode", 1).float("momentum", 0.5);
        let found = run("BatchNormalization", &inputs, 15, training);
        assert_eq!(found, [vec![-1.0, -9.0, 1.0, 11.0], vec![1.5, 3.0], vec![2.5, 2.5]]);
    }

    #[test]
    fn groups_share_or_not() {
        // samples 1, 2 and 3, 6: means 1.5 and 4.5, deviations 0.5 and 1.5
        let form = |node: NodeBuilder| node.int("num_groups", 1);
        let inputs = ["x", "scale", "bias"];
        assert_eq!(run("GroupNormalization", &inputs, 21, form)[0], [-1.0, 11.0, -1.0, 11.0]);
        let each = |node: NodeBuilder| node.int("num_groups", 2).float("epsilon", 1.0);
        assert_eq!(run("GroupNormalization", &inputs, 18, each)[0], [0.0, 1.0, 0.0, 1.0]);
    }

    #[test]
    fn layers_tell_their_statistics() {
        let found = run("LayerNormalization", &["x", "ten"], 17, |node| node.int("axis", 1));
        assert_eq!(found, [vec![-10.0, 10.0, -10.0, 10.0], vec![1.5, 4.5], vec![2.0, 2.0 / 3.0]]);
    }
}
