//! LRN: by the channels around.

use crate::model::proto::TensorProto;
use crate::rewrite::gradient::Builder;
use crate::rewrite::gradient::backward::{Backward, Refusal, refusal};

/// Most channels around: more is a mistake.
const MAX_SIZE: i64 = 1 << 16;

/// `LRN`, y = x·d^(−β) with d = bias + α/size · Σ x² over `size` channels around:
/// dx = dy·d^(−β) − 2αβ/size · x · Σ over the channels that see x of dy·x·d^(−β−1).
pub(super) fn local_response_normalization(c: &mut Backward<'_, '_>) -> Result<(), Refusal> {
    let (dy, x) = (c.dy()?, c.x(0));
    let rank = c.rank(&x)?;
    let size = c.int("size", 0);
    if !(1..=MAX_SIZE).contains(&size) || rank < 2 {
        return Err(refusal(format!("its size is {size} for data of {rank} axes")));
    }
    let (alpha, beta, bias) = (c.float("alpha", 1e-4), c.float("beta", 0.75), c.float("bias", 1.0));
    let share = alpha / size as f64;
    let (before, after) = ((size - 1) / 2, size / 2);
    let b = &mut *c.b;
    let squares = b.op("Mul", &[&x, &x]);
    let around = sum_of_channels(b, &squares, rank, before, after);
    let (share_constant, bias) = (b.number(&x, share), b.number(&x, bias));
    let scaled = b.op("Mul", &[&around, &share_constant]);
    let d = b.op("Add", &[&scaled, &bias]);
    let exponent = b.number(&x, -beta);
    let power = b.op("Pow", &[&d, &exponent]);
    let direct = b.op("Mul", &[&dy, &power]);
    let product = b.op("Mul", &[&direct, &x]);
    let quotient = b.op("Div", &[&product, &d]);
    // the channels that see this one lie the other way round
    let seen = sum_of_channels(b, &quotient, rank, after, before);
    let factor = b.number(&x, 2.0 * share * beta);
    let through = b.op("Mul", &[&seen, &x]);
    let through = b.op("Mul", &[&through, &factor]);
    let dx = b.op("Sub", &[&direct, &through]);
    b.declare_like(&dx, &x);
    c.give(0, dx);
    Ok(())
}

/// Σ over so many channels in front, the channel itself and so many behind: a convolution along the channels.
fn sum_of_channels(b: &mut Builder<'_>, value: &str, rank: usize, before: i64, after: i64) -> String {
    let one = b.ints(&[1]);
    let lifted = b.op("Unsqueeze", &[value, &one]);
    let mut ones = TensorProto::vector(
        "",
        b.number_type(value),
        &vec![1.0; usize::try_from(before + 1 + after).unwrap_or_default()],
    );
    let planes = rank - 2;
    ones.dims = [&[1, 1, before + 1 + after], &vec![1; planes][..]].concat();
    let ones = b.constant(&ones);
    let none = vec![0; planes];
    let pads = [&[before], &none[..], &[after], &none].concat();
    let sums = b.node("Conv", &[&lifted, &ones], |node| node.ints("pads", &pads));
    b.op("Squeeze", &[&sums, &one])
}
