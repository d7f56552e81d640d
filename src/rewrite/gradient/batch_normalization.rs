//! BatchNormalization, in training and with given statistics.

#[cfg(test)]
mod tests;

use super::Builder;
use super::backward::{Backward, Refusal, Vjp, refusal};
use super::fused;

pub(super) const RULES: &[(&str, Vjp)] = &[("BatchNormalization", batch_normalization)];

/// Version of the standard operators since which a node says whether it trains.
const TRAINING_MODE: i64 = 14;

/// `BatchNormalization`, y = (x − mean)·r·scale + bias with r = 1/√(variance + ε), per channel.
///
/// dbias = Σ dy, dscale = r·Σ dy·(x − mean), sums over all axes but the channels. With given statistics dx = dy·scale·r,
/// dmean = −scale·r·dbias, dvariance = −½·scale·r²·dscale. In training mean and variance (of the population) are those of
/// the n elements of a channel: dx = scale·r·(dy − (dbias + (x − mean)·r·dscale) / n).
fn batch_normalization(c: &mut Backward<'_, '_>) -> Result<(), Refusal> {
    let dy = c.dy()?;
    let training = c.int("training_mode", 0) != 0;
    if c.b.opset() < TRAINING_MODE && c.node.output.iter().skip(1).any(|output| !output.is_empty()) {
        return Err(refusal(format!("it trains in the form before version {TRAINING_MODE} of the standard operators")));
    }
    if training && fused::batch_normalization(c, &dy) {
        return Ok(());
    }
    let channels = Channels::of(c)?;
    let (x, scale) = (c.x(0), c.x(1));
    let (mean, variance) = match (training, c.node.attr_float("momentum")) {
        (false, _) => (c.x(3), c.x(4)),
        // the new running statistics are those of the batch then
        (true, Some(0.0)) => (c.y(1), c.y(2)),
        (true, _) => channels.statistics(c.b, &x),
    };
    let r = reciprocal_deviation(c.b, &variance, c.float("epsilon", 1e-5));
    let dbias = channels.sum(c.b, &dy);
    let mean = channels.spread(c.b, &mean, &x);
    let needs_scale = c.wants(1) || c.wants(4) || (training && c.wants(0));
    let dscale = needs_scale.then(|| {
        let centred = c.b.op("Sub", &[&x, &mean]);
        let product = c.b.op("Mul", &[&dy, &centred]);
        let sum = channels.sum(c.b, &product);
        let r = c.b.cast_like(&r, &sum);
        c.b.op("Mul", &[&sum, &r])
    });
    let factor = {
        let (scale, r) = (c.b.cast_like(&scale, &x), c.b.cast_like(&r, &x));
        c.b.op("Mul", &[&scale, &r])
    };
    if c.wants(0) {
        let dx = match (&dscale, training) {
            (Some(dscale), true) => channels.dx_in_training(c.b, [&dy, &x, &mean, &r, &factor, &dbias, dscale]),
            _ => {
                let factor = channels.spread(c.b, &factor, &x);
                c.b.op("Mul", &[&dy, &factor])
            }
        };
        c.give(0, dx);
    }
    if let Some(dscale) = dscale.as_ref().filter(|_| c.wants(1)) {
        let dscale = c.b.cast_like(dscale, &scale);
        c.give(1, dscale);
    }
    if c.wants(2) {
        let dbias = c.b.cast_like(&dbias, &c.x(2));
        c.give(2, dbias);
    }
    if !training && c.wants(3) {
        let product = c.b.op("Mul", &[&factor, &dbias]);
        let dmean = c.b.op("Neg", &[&product]);
        let dmean = c.b.cast_like(&dmean, &c.x(3));
        c.give(3, dmean);
    }
    if let Some(dscale) = dscale.filter(|_| !training && c.wants(4)) {
        let r = c.b.cast_like(&r, &x);
        let minus_half = c.b.number(&x, -0.5);
        let outer = c.b.op("Mul", &[&factor, &r]);
        let product = c.b.op("Mul", &[&outer, &dscale]);
        let dvariance = c.b.op("Mul", &[&product, &minus_half]);
        let dvariance = c.b.cast_like(&dvariance, &c.x(4));
        c.give(4, dvariance);
    }
    Ok(())
}

/// 1/√(variance + ε).
fn reciprocal_deviation(b: &mut Builder<'_>, variance: &str, epsilon: f64) -> String {
    let epsilon = b.number(variance, epsilon);
    let sum = b.op("Add", &[variance, &epsilon]);
    let root = b.op("Sqrt", &[&sum]);
    b.op("Reciprocal", &[&root])
}

/// The axes around the channels, which lie on axis 1.
struct Channels {
    rank: usize,
}

impl Channels {
    fn of(c: &Backward<'_, '_>) -> Result<Self, Refusal> {
        let rank = c.rank(&c.x(0))?;
        if rank < 2 {
            return Err(refusal("its data has no channels"));
        }
        Ok(Self { rank })
    }

    /// All axes but the channels.
    fn axes(&self) -> Vec<i64> {
        (0..self.rank as i64).filter(|&axis| axis != 1).collect()
    }

    /// Σ for each channel, \[C\].
    fn sum(&self, b: &mut Builder<'_>, value: &str) -> String {
        b.reduce("ReduceSum", value, &self.axes(), false)
    }

    /// One number per channel so that it broadcasts, in the element type of `like`.
    fn spread(&self, b: &mut Builder<'_>, value: &str, like: &str) -> String {
        let value = b.cast_like(value, like);
        if self.rank == 2 {
            return value;
        }
        let shape: Vec<i64> = (1..self.rank).map(|axis| if axis == 1 { -1 } else { 1 }).collect();
        let shape = b.ints(&shape);
        b.op("Reshape", &[&value, &shape])
    }

    /// Mean and variance of the batch.
    fn statistics(&self, b: &mut Builder<'_>, x: &str) -> (String, String) {
        let mean = b.reduce("ReduceMean", x, &self.axes(), false);
        let spread = self.spread(b, &mean, x);
        let centred = b.op("Sub", &[x, &spread]);
        let squares = b.op("Mul", &[&centred, &centred]);
        let variance = b.reduce("ReduceMean", &squares, &self.axes(), false);
        (mean, variance)
    }

    /// scale·r·(dy − (dbias + (x − mean)·r·dscale) / n).
    fn dx_in_training(&self, b: &mut Builder<'_>, [dy, x, mean, r, factor, dbias, dscale]: [&str; 7]) -> String {
        let count = b.count(x, Some(&self.axes()));
        let r = b.cast_like(r, x);
        let of_x = b.op("Mul", &[&r, dscale]);
        let of_x = b.op("Div", &[&of_x, &count]);
        let shift = b.op("Div", &[dbias, &count]);
        let (of_x, shift) = (self.spread(b, &of_x, x), self.spread(b, &shift, x));
        let factor = self.spread(b, factor, x);
        let centred = b.op("Sub", &[x, mean]);
        let projected = b.op("Mul", &[&centred, &of_x]);
        let shifted = b.op("Add", &[&projected, &shift]);
        let rest = b.op("Sub", &[dy, &shifted]);
        b.op("Mul", &[&rest, &factor])
    }
}
