//! f(m) and f′(m): every loss of the family as a function of one number per row.
//!
//! With m = logsumexp_{j≠y}(z_j) − z_y (the *soft margin loss*; the soft margin is −m):
//!
//! ```text
//! p = σ(−m)      1 − p = q = σ(m)      cross entropy = softplus(m)      dp/dm = −p·q
//! f(m)  = softplus(m) + ρ·b(p)
//! f′(m) = q − ρ·b′(p)·p·q
//! ```
//!
//! | bonus | b(p) | f(m) | f′(m) |
//! | --- | --- | --- | --- |
//! | log, p ≤ LE | log(1 − p) = −softplus(−m) | ρ = 1: m; else softplus(m) − ρ·softplus(−m) | ρ = 1: 1; else q + ρ·p |
//! | log, p > LE | log(1 − LE) − (p − LE)/(1 − LE) = log(1 − LE) − 1 + q/(1 − LE) | softplus(m) + ρ·b(p) | q·(1 + ρ·p/(1 − LE)) |
//! | power g | −p^g = −exp(−g·softplus(m)) | softplus(m) − ρ·p^g | q·(1 + ρ·g·p^g) |
//! | cosine | cos(πp) − 1 = −2·sin²(πp/2) | softplus(m) − 2ρ·sin²(πp/2) | q·(1 + ρ·π·p·sin(πp)) |
//!
//! At log_end (LE) both branches of the log bonus have the same value and slope. ρ = 0 is cross entropy. Limits:
//! f(+∞) = +∞ and f′(+∞) = 1; at −∞ (p = 1) f′ = 0 and f = ρ·b(1), but with the log bonus and LE = 1
//! f = −∞ and f′ = ρ. NaN gives NaN.
//!
//! Source: arXiv 2110.06537, equations of the log bonus and its conservative form, rewritten in m so that neither
//! log p nor log(1 − p) is ever formed from a rounded p.

use std::f64::consts::FRAC_PI_2;

use super::element::Arithmetic;
use super::encouraging_loss::{Bonus, EncouragingLoss};

// Both sides of a choice are worked out here: the kernels run f over registers of rows, where a choice is cheap and a
// branch is not possible. For the same reason it must be inlined.

/// log(1 + e^x) without overflow: max(x, 0) + log1p(e^−|x|).
#[inline(always)]
#[must_use]
pub fn softplus<R: Arithmetic>(x: R) -> R {
    // NaN comes back from the second term
    let zero = R::from_f64(0.0);
    zero.if_less(x, x, zero) + (-x.abs()).exp().ln_1p()
}

/// The logistic function 1 / (1 + e^−x), accurate in both tails.
#[inline(always)]
#[must_use]
pub fn sigmoid<R: Arithmetic>(x: R) -> R {
    let (zero, one) = (R::from_f64(0.0), R::from_f64(1.0));
    let e = (-x.abs()).exp();
    x.if_less(zero, e, one) / (one + e)
}

/// f and f′ of one loss of the family, with its constants worked out; see the table in the module's docs.
///
/// ```
/// use elonnx::loss::{EncouragingLoss, MarginLoss};
///
/// let plain = EncouragingLoss::builder().log_end(1.0).build()?;
/// let f = MarginLoss::<f64>::new(&plain);
/// assert_eq!(f.value(-40.0), -40.0); // the loss is m itself, however close p is to 1
/// assert_eq!(f.derivative(-40.0), 1.0);
/// # Ok::<(), elonnx::loss::ParameterError>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct MarginLoss<R> {
    bonus_weight: R,
    form: Form<R>,
}

#[derive(Clone, Copy, Debug)]
enum Form<R> {
    CrossEntropy,
    /// Log bonus of weight 1 that is never continued by its tangent: m itself.
    Margin,
    /// Log bonus that is never continued by its tangent.
    Log,
    LogUntil(Tangent<R>),
    Power(R),
    Cosine,
}

#[derive(Clone, Copy, Debug)]
struct Tangent<R> {
    /// 1 − log_end
    room: R,
    /// log(1 − log_end) − 1, the bonus at p = 1
    tip: R,
    /// 1 / (1 − log_end)
    steepness: R,
}

impl<R: Arithmetic> MarginLoss<R> {
    /// f and f′ of these parameters (`log_end`, `bonus`, `power`, `bonus_weight`; the others do not matter here).
    #[must_use]
    pub fn new(loss: &EncouragingLoss) -> Self {
        let real = |x: f32| R::from_f64(f64::from(x));
        let form = if loss.bonus_weight() == 0.0 {
            Form::CrossEntropy
        } else {
            match loss.bonus() {
                Bonus::Log if loss.log_end() == 1.0 && loss.bonus_weight() == 1.0 => Form::Margin,
                Bonus::Log if loss.log_end() == 1.0 => Form::Log,
                Bonus::Log => {
                    let end = f64::from(loss.log_end());
                    Form::LogUntil(Tangent {
                        room: R::from_f64(1.0 - end),
                        tip: R::from_f64((-end).ln_1p() - 1.0),
                        steepness: R::from_f64(1.0 / (1.0 - end)),
                    })
                }
                Bonus::Power => Form::Power(real(loss.power())),
                Bonus::Cosine => Form::Cosine,
            }
        };
        MarginLoss { bonus_weight: real(loss.bonus_weight()), form }
    }

    /// f(m): the loss of a row with soft margin −m.
    #[inline(always)]
    #[must_use]
    pub fn value(&self, m: R) -> R {
        self.value_and_derivative(m).0
    }

    /// f′(m): how fast the loss grows with m; the gradient of the row is −f′ at the label and f′·softmax over the
    /// other classes elsewhere.
    #[inline(always)]
    #[must_use]
    pub fn derivative(&self, m: R) -> R {
        self.value_and_derivative(m).1
    }

    /// f(m) and f′(m).
    #[inline(always)]
    #[must_use]
    pub fn value_and_derivative(&self, m: R) -> (R, R) {
        let rho = self.bonus_weight;
        let (zero, one) = (R::from_f64(0.0), R::from_f64(1.0));
        let e = (-m.abs()).exp();
        let larger = one / (one + e);
        let smaller = e * larger;
        let (q, p) = (m.if_less(zero, smaller, larger), m.if_less(zero, larger, smaller));
        // softplus(−|m|), which softplus(m) and softplus(−m) share
        let rest = e.ln_1p();
        let cross_entropy = zero.if_less(m, m, zero) + rest;
        // softplus(m) − ρ·softplus(−m); softplus(m) = m + softplus(−m) makes it exactly m for ρ = 1
        let log = m.if_less(zero, rho * m, m) + (one - rho) * rest;
        match self.form {
            Form::CrossEntropy => (cross_entropy, q),
            // the slope is NaN where m is
            Form::Margin => (m, m.if_less(one, one, (-m).if_less(one, one, m))),
            Form::Log => (log, q + rho * p),
            // asked of q, which has the digits where log_end and p are both close to 1
            Form::LogUntil(Tangent { room, tip, steepness }) => {
                let beyond = cross_entropy + rho * (tip + q * steepness);
                let slope_beyond = q * (one + rho * p * steepness);
                (q.if_less(room, beyond, log), q.if_less(room, slope_beyond, q + rho * p))
            }
            Form::Power(power) => {
                let bonus = rho * (-power * cross_entropy).exp();
                (cross_entropy - bonus, q * (one + power * bonus))
            }
            Form::Cosine => {
                let half = R::from_f64(FRAC_PI_2) * p;
                let sine = half.sin();
                let slope = q * (one + rho * (half + half) * (half + half).sin());
                (cross_entropy - (rho + rho) * sine * sine, slope)
            }
        }
    }
}

impl MarginLoss<f64> {
    /// The same function on another type.
    #[inline(always)]
    pub(super) fn cast<R: Arithmetic>(&self) -> MarginLoss<R> {
        let of = R::from_f64;
        let form = match self.form {
            Form::CrossEntropy => Form::CrossEntropy,
            Form::Margin => Form::Margin,
            Form::Log => Form::Log,
            Form::LogUntil(tangent) => Form::LogUntil(Tangent {
                room: of(tangent.room),
                tip: of(tangent.tip),
                steepness: of(tangent.steepness),
            }),
            Form::Power(power) => Form::Power(of(power)),
            Form::Cosine => Form::Cosine,
        };
        MarginLoss { bonus_weight: of(self.bonus_weight), form }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing;
    use super::*;
    use crate::loss::ParameterError;
    use proptest::prelude::*;

    fn log(log_end: f32, bonus_weight: f32) -> Result<MarginLoss<f64>, ParameterError> {
        Ok(MarginLoss::new(&EncouragingLoss::builder().log_end(log_end).bonus_weight(bonus_weight).build()?))
    }

    fn every_bonus() -> Vec<EncouragingLoss> {
        let mut losses = vec![];
        for bonus in [Bonus::Log, Bonus::Power, Bonus::Cosine] {
            for log_end in [0.25, 0.75, 1.0] {
                for rho in [0.0, 0.5, 1.0, 2.0] {
                    let builder = EncouragingLoss::builder().bonus(bonus).log_end(log_end).bonus_weight(rho);
                    losses.push(builder.power(0.5).build().unwrap());
                }
            }
        }
        losses
    }

    proptest! {
        #[test]
        fn derivative_is_the_finite_difference_of_the_value(loss in testing::loss(), m in -30.0..30.0f64) {
            let h = 1e-4;
            let end = f64::from(loss.log_end());
            // f″ jumps at log_end
            prop_assume!((m - ((1.0 - end) / end).ln()).abs() > 2.0 * h);
            let f = MarginLoss::<f64>::new(&loss);
            let difference = (f.value(m + h) - f.value(m - h)) / (2.0 * h);
            prop_assert!((difference - f.derivative(m)).abs() < 1e-7, "{difference} {}", f.derivative(m));
        }

        #[test]
        fn single_precision_is_close_to_double(loss in testing::loss(), m in -80.0..80.0f32) {
            let (single, double) = (MarginLoss::<f32>::new(&loss), MarginLoss::<f64>::new(&loss));
            let wide = f64::from(m);
            // terms of size |m| and 1 may cancel in the value, none do in the derivative
            let scale = 1.0 + double.value(wide).abs() + wide.abs();
            prop_assert!((f64::from(single.value(m)) - double.value(wide)).abs() < 1e-6 * scale * 4.0);
            let expected = double.derivative(wide);
            prop_assert!((f64::from(single.derivative(m)) - expected).abs() < 1e-5 * expected);
        }
    }

    /// p − log_end in single precision would be off by 6e-8, and steepness makes 3e4 times as much of it.
    #[test]
    fn a_log_end_close_to_one_keeps_the_digits() {
        for log_end in [0.999, 0.999_97, 1.0 - f32::EPSILON] {
            let loss = EncouragingLoss::builder().log_end(log_end).build().unwrap();
            let (single, double) = (MarginLoss::<f32>::new(&loss), MarginLoss::<f64>::new(&loss));
            for m in [-5.0f32, -7.5, -11.3, -14.0, -16.2, -40.0] {
                let (got, want) = (single.value(m), double.value(f64::from(m)));
                assert!(
                    (f64::from(got) - want).abs() < 4e-7 * want.abs(),
                    "log_end {log_end}, m {m}: {got}, not {want}"
                );
            }
        }
    }

    #[test]
    fn log_bonus_without_end_is_m_exactly() {
        let f = log(1.0, 1.0).unwrap();
        for m in [-1e300, -745.2, -40.0, -1e-20, 0.0, 0.1, 3.3, 710.0, 1e300] {
            assert_eq!(f.value(m), m);
            assert_eq!(f.derivative(m), 1.0);
        }
    }

    #[test]
    fn no_bonus_is_cross_entropy() {
        for loss in every_bonus().into_iter().filter(|loss| loss.bonus_weight() == 0.0) {
            let f = MarginLoss::<f64>::new(&loss);
            assert!((f.value(0.0) - 2f64.ln()).abs() < 1e-15);
            assert_eq!(f.derivative(0.0), 0.5);
        }
    }

    #[test]
    fn nothing_cancels_where_p_is_close_to_one() {
        let f = log(0.75, 0.0).unwrap();
        assert_eq!(f.value(-700.0), (-700f64).exp());
        assert_eq!(f.derivative(-700.0), (-700f64).exp());
        // q·(1 + p/(1 − LE)) = 5q
        assert!((log(0.75, 1.0).unwrap().derivative(-50.0) / (-50f64).exp() - 5.0).abs() < 1e-14);
    }

    #[test]
    fn both_branches_of_the_log_bonus_meet_at_log_end() {
        for end in [0.1f32, 0.5, 0.75, 0.99] {
            for rho in [0.5, 1.0, 2.0] {
                let f = log(end, rho).unwrap();
                let m = ((1.0 - f64::from(end)) / f64::from(end)).ln();
                assert!((f.value(m - 1e-12) - f.value(m + 1e-12)).abs() < 1e-10);
                assert!((f.derivative(m - 1e-12) - f.derivative(m + 1e-12)).abs() < 1e-10);
            }
        }
    }

    #[test]
    fn infinite_m_gives_the_limit() {
        for loss in every_bonus() {
            let f = MarginLoss::<f64>::new(&loss);
            let rho = f64::from(loss.bonus_weight());
            assert_eq!(f.value(f64::INFINITY), f64::INFINITY);
            assert_eq!(f.derivative(f64::INFINITY), 1.0);
            let end = f64::from(loss.log_end());
            let (value, slope) = match loss.bonus() {
                _ if rho == 0.0 => (0.0, 0.0),
                Bonus::Log if end == 1.0 => (f64::NEG_INFINITY, rho),
                Bonus::Log => (rho * ((1.0 - end).ln() - 1.0), 0.0),
                Bonus::Power => (-rho, 0.0),
                Bonus::Cosine => (-2.0 * rho, 0.0),
            };
            assert_eq!(f.value(f64::NEG_INFINITY), value, "{loss:?}");
            assert_eq!(f.derivative(f64::NEG_INFINITY), slope, "{loss:?}");
        }
    }

    #[test]
    fn nan_gives_nan() {
        for loss in every_bonus() {
            let f = MarginLoss::<f32>::new(&loss);
            assert!(f.value(f32::NAN).is_nan() && f.derivative(f32::NAN).is_nan(), "{loss:?}");
        }
    }

    #[test]
    fn huge_m_stays_finite() {
        for loss in every_bonus() {
            let f = MarginLoss::<f32>::new(&loss);
            for m in [-1e30, -1e4, -120.0, 120.0, 1e4, 1e30] {
                assert!(f.value(m).is_finite() && f.derivative(m).is_finite(), "{loss:?} at {m}");
            }
        }
    }
}
