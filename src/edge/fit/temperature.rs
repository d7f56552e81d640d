//! Temperature scaling (Guo et al., ICML 2017, arXiv 1706.04599): T that makes the labels most likely.
//!
//! With β = 1/T the mean negative log likelihood f(β) = mean(logsumexp(βz) − βz_y) is convex, so Newton's method on β,
//! held between bounds by bisection, finds the one minimum. f′ = mean(E_p z − z_y), f″ = mean(Var_p z), p = softmax(βz).

use super::Spool;
use crate::edge::CalibrationError;

/// T is looked for between 1/LARGEST and LARGEST.
pub(crate) const LARGEST: f64 = 100.0;
/// β is found to this relative precision.
const PRECISION: f64 = 1e-9;
/// Newton with bisection takes about ten.
const MOST_STEPS: usize = 100;

/// f and its derivatives at one β.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Likelihood {
    /// Mean negative log likelihood.
    pub nll: f64,
    slope: f64,
    curvature: f64,
}

impl Likelihood {
    /// At temperature `t`.
    pub(crate) fn at(logits: &mut Spool, labels: &[u32], t: f64) -> Result<Self, CalibrationError> {
        let beta = 1.0 / t;
        let mut sum = Self::default();
        let n = logits.rows().max(1) as f64;
        logits.each(|index, z| {
            let row = Self::of_row(z, labels[index] as usize, beta);
            sum.nll += row.nll;
            sum.slope += row.slope;
            sum.curvature += row.curvature;
        })?;
        Ok(Self { nll: sum.nll / n, slope: sum.slope / n, curvature: sum.curvature / n })
    }

    /// All relative to the largest logit, so that nothing overflows. A class with −∞ has no weight.
    fn of_row(z: &[f32], label: usize, beta: f64) -> Self {
        let largest = f64::from(z.iter().copied().fold(f32::NEG_INFINITY, f32::max));
        let (mut sum, mut first, mut second) = (0.0, 0.0, 0.0);
        for &z in z.iter().filter(|z| z.is_finite()) {
            let d = f64::from(z) - largest;
            let e = (beta * d).exp();
            sum += e;
            first += e * d;
            second += e * d * d;
        }
        let (mean, of_label) = (first / sum, f64::from(z[label]) - largest);
        Self { nll: sum.ln() - beta * of_label, slope: mean - of_label, curvature: second / sum - mean * mean }
    }
}

/// T, and whether it stands at a bound: likelihood grows on beyond it.
pub(crate) fn fit_temperature(logits: &mut Spool, labels: &[u32]) -> Result<(f64, bool), CalibrationError> {
    let (mut low, mut high) = (1.0 / LARGEST, LARGEST);
    if Likelihood::at(logits, labels, 1.0 / low)?.slope >= 0.0 {
        return Ok((1.0 / low, true));
    }
    if Likelihood::at(logits, labels, 1.0 / high)?.slope <= 0.0 {
        return Ok((1.0 / high, true));
    }
    let mut beta = 1.0;
    for _ in 0..MOST_STEPS {
        let here = Likelihood::at(logits, labels, 1.0 / beta)?;
        if here.slope < 0.0 {
            low = beta;
        } else {
            high = beta;
        }
        let newton = beta - here.slope / here.curvature;
        // bisection of log β where Newton leaves the bounds
        let next = if newton > low && newton < high { newton } else { (low * high).sqrt() };
        let step = (next / beta - 1.0).abs();
        beta = next;
        if step < PRECISION {
            break;
        }
    }
    Ok((1.0 / beta, false))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spool(rows: &[&[f32]]) -> Spool {
        let mut spool = Spool::new(rows[0].len());
        rows.iter().for_each(|row| spool.push(row).unwrap());
        spool
    }

    #[test]
    fn two_classes_by_hand() {
        // gap 2, right in 3 of 4: σ(2/T) = 3/4, T = 2/ln 3
        let mut logits = spool(&[&[2.0, 0.0][..]; 4]);
        let (t, bound) = fit_temperature(&mut logits, &[0, 0, 0, 1]).unwrap();
        assert!((t - 2.0 / 3f64.ln()).abs() < 1e-8 && !bound, "{t}");
        let nll = Likelihood::at(&mut logits, &[0, 0, 0, 1], t).unwrap().nll;
        assert!((nll + (0.75 * 0.75f64.ln() + 0.25 * 0.25f64.ln())).abs() < 1e-12, "{nll}");
    }

    #[test]
    fn no_minimum() {
        let mut logits = spool(&[&[2.0, 0.0][..]; 4]);
        assert_eq!(fit_temperature(&mut logits, &[0; 4]).unwrap(), (1.0 / LARGEST, true));
        assert_eq!(fit_temperature(&mut logits, &[1; 4]).unwrap(), (LARGEST, true));
    }

    #[test]
    fn the_derivatives_are_those_of_the_likelihood() {
        let mut random = fastrand::Rng::with_seed(3);
        let rows: Vec<Vec<f32>> = (0..50).map(|_| (0..5).map(|_| 8.0 * random.f32()).collect()).collect();
        let labels: Vec<u32> = (0..50).map(|_| random.u32(..5)).collect();
        let mut logits = spool(&rows.iter().map(Vec::as_slice).collect::<Vec<_>>());
        let mut at = |beta: f64| Likelihood::at(&mut logits, &labels, 1.0 / beta).unwrap();
        let (h, here) = (1e-4, at(0.7));
        assert!(((at(0.7 + h).nll - at(0.7 - h).nll) / (2.0 * h) - here.slope).abs() < 1e-6);
        assert!(((at(0.7 + h).slope - at(0.7 - h).slope) / (2.0 * h) - here.curvature).abs() < 1e-6);
    }

    #[test]
    fn huge_and_masked_logits() {
        let mut logits = spool(&[&[1e30, 0.0, f32::NEG_INFINITY], &[0.0, 1.0, 2.0]]);
        let here = Likelihood::at(&mut logits, &[0, 1], 1.0).unwrap();
        assert!(here.nll.is_finite() && here.slope.is_finite());
    }
}
