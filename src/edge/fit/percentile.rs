//! An exact percentile of more numbers than memory holds.

use super::Spool;
use crate::edge::CalibrationError;

/// The p-th percentile of all numbers of the spool, linear between neighbours as in NumPy. Two passes find each of the
/// two neighbours: one counts the upper halves of the bits, one the lower halves of those in the bucket. `None` for an
/// empty spool.
pub(crate) fn percentile(values: &mut Spool, percentile: f64) -> Result<Option<f64>, CalibrationError> {
    let n = values.rows() * values.width();
    if n == 0 {
        return Ok(None);
    }
    let position = (n - 1) as f64 * percentile / 100.0;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and n − 1")]
    let below = (position.floor() as usize).min(n - 1);
    let low = f64::from(nth(values, below)?);
    let fraction = position - below as f64;
    if fraction <= 0.0 || below + 1 == n {
        return Ok(Some(low));
    }
    let high = f64::from(nth(values, below + 1)?);
    Ok(Some(low + (high - low) * fraction))
}

/// The number that `n` others are not larger than.
fn nth(values: &mut Spool, n: usize) -> Result<f32, CalibrationError> {
    let mut counts = vec![0usize; 1 << 16];
    values.blocks(|_, values| values.iter().for_each(|&value| counts[(ordered(value) >> 16) as usize] += 1))?;
    let (upper, n) = bucket(&counts, n);
    counts.fill(0);
    values.blocks(|_, values| {
        for bits in values.iter().map(|&value| ordered(value)).filter(|bits| bits >> 16 == upper) {
            counts[(bits & 0xffff) as usize] += 1;
        }
    })?;
    let (lower, _) = bucket(&counts, n);
    Ok(unordered(upper << 16 | lower))
}

/// The bucket that the n-th falls into, and which one it is there.
fn bucket(counts: &[usize], mut n: usize) -> (u32, usize) {
    let mut last = 0;
    for (at, &count) in (0..).zip(counts) {
        if n < count {
            return (at, n);
        }
        n -= count;
        last = at;
    }
    (last, n)
}

/// Bits that are ordered as the numbers are.
fn ordered(value: f32) -> u32 {
    let bits = value.to_bits();
    if bits >> 31 == 1 { !bits } else { bits | 1 << 31 }
}

fn unordered(bits: u32) -> f32 {
    f32::from_bits(if bits >> 31 == 1 { bits & !(1 << 31) } else { !bits })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: &[f32], p: f64) -> Option<f64> {
        let mut spool = Spool::new(1);
        spool.push(values).unwrap();
        percentile(&mut spool, p).unwrap()
    }

    #[test]
    fn as_numpy() {
        assert_eq!(of(&[3.0, 1.0, 2.0, 4.0], 50.0), Some(2.5));
        assert_eq!(of(&[3.0, 1.0, 2.0, 4.0], 0.0), Some(1.0));
        assert_eq!(of(&[3.0, 1.0, 2.0, 4.0], 100.0), Some(4.0));
        // np.percentile([-1.5, 0, 0, 1e-40, 7], 90)
        assert!((of(&[0.0, 7.0, -1.5, 0.0, 1e-40], 90.0).unwrap() - 4.2).abs() < 1e-12);
        assert_eq!(of(&[], 90.0), None);
    }

    #[test]
    fn as_sorting() {
        let mut random = fastrand::Rng::with_seed(5);
        let values: Vec<f32> = (0..5000).map(|_| (random.f32() - 0.5) * 10f32.powi(random.i32(-8..8))).collect();
        let mut sorted = values.clone();
        sorted.sort_unstable_by(f32::total_cmp);
        for index in [0, 1, 2499, 4998, 4999] {
            assert_eq!(of(&values, index as f64 / 49.99).unwrap() as f32, sorted[index]);
        }
    }
}
