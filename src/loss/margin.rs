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
//! | log, p > LE | log(1 − LE) − (p − LE)/(1 − LE) | softplus(m) + ρ·b(p) | q·(1 + ρ·p/(1 − LE)) |
//! | power g | −p^g = −exp(−g·softplus(m)) | softplus(m) − ρ·p^g | q·(1 + ρ·g·p^g) |
//! | cosine | cos(πp) − 1 = −2·sin²(πp/2) | softplus(m) − 2ρ·sin²(πp/2) | q·(1 + ρ·π·p·sin(πp)) |
//!
//! At log_end (LE) both branches of the log bonus have the same value and slope. ρ = 0 is cross entropy. Limits:
//! f(+∞) = +∞ and f′(+∞) = 1; at −∞ (p = 1) f′ = 0 and f = ρ·b(1), but with the log bonus and LE = 1
//! f = −∞ and f′ = ρ. NaN gives NaN.
//!
//! Source: arXiv 2110.06537, equations of the log bonus and its conservative form, rewritten in m so that neither
//! log p nor log(1 − p) is ever formed from a rounded p.

use super::element::Real;
use super::encouraging_loss::{Bonus, EncouragingLoss};

/// log(1 + e^x) without overflow: max(x, 0) + log1p(e^−|x|).
#[inline]
#[must_use]
pub fn softplus<R: Real>(x: R) -> R {
    let positive = if x > R::ZERO { x } else { R::ZERO };
    positive + (-x.abs()).exp().ln_1p()
}

/// The logistic function 1 / (1 + e^−x), accurate in both tails.
#[inline]
#[must_use]
pub fn sigmoid<R: Real>(x: R) -> R {
    if x < R::ZERO {
        let e = x.exp();
        e / (R::ONE + e)
    } else {
        R::ONE / (R::ONE + (-x).exp())
    }
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
    /// Log bonus that is never continued by its tangent.
    Log,
    LogUntil(Tangent<R>),
    Power(R),
    Cosine,
}

#[derive(Clone, Copy, Debug)]
struct Tangent<R> {
    log_end: R,
    /// log(1 − log_end)
    value: R,
    /// 1 / (1 − log_end)
    steepness: R,
}

impl<R: Real> MarginLoss<R> {
    /// f and f′ of these parameters (`log_end`, `bonus`, `power`, `bonus_weight`; the others do not matter here).
    #[must_use]
    pub fn new(loss: &EncouragingLoss) -> Self {
        let real = |x: f32| R::from_f64(f64::from(x));
        let form = if loss.bonus_weight() == 0.0 {
            Form::CrossEntropy
        } else {
            match loss.bonus() {
                Bonus::Log if loss.log_end() == 1.0 => Form::Log,
                Bonus::Log => {
                    let end = f64::from(loss.log_end());
                    Form::LogUntil(Tangent {
                        log_end: real(loss.log_end()),
                        value: R::from_f64((-end).ln_1p()),
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
    #[inline]
    #[must_use]
    pub fn value(&self, m: R) -> R {
        let rho = self.bonus_weight;
        match self.form {
            Form::CrossEntropy => softplus(m),
            Form::Log => self.log_value(m),
            Form::LogUntil(tangent) => {
                let p = sigmoid(-m);
                if p > tangent.log_end {
                    softplus(m) + rho * (tangent.value - (p - tangent.log_end) * tangent.steepness)
                } else {
                    self.log_value(m)
                }
            }
            Form::Power(power) => {
                let cross_entropy = softplus(m);
                cross_entropy - rho * (-power * cross_entropy).exp()
            }
            Form::Cosine => {
                let sine = (R::PI * sigmoid(-m) / (R::ONE + R::ONE)).sin();
                softplus(m) - (rho + rho) * sine * sine
            }
        }
    }

    /// f′(m): how fast the loss grows with m; the gradient of the row is −f′ at the label and f′·softmax over the
    /// other classes elsewhere.
    #[inline]
    #[must_use]
    pub fn derivative(&self, m: R) -> R {
        let rho = self.bonus_weight;
        let q = sigmoid(m);
        match self.form {
            Form::CrossEntropy => q,
            Form::Log => self.log_derivative(m, q, sigmoid(-m)),
            Form::LogUntil(tangent) => {
                let p = sigmoid(-m);
                if p > tangent.log_end {
                    q * (R::ONE + rho * p * tangent.steepness)
                } else {
                    self.log_derivative(m, q, p)
                }
            }
            Form::Power(power) => q * (R::ONE + rho * power * (-power * softplus(m)).exp()),
            Form::Cosine => {
                let p = sigmoid(-m);
                // sin(πp) = sin(πq), accurate from the smaller of the two
                let sine = (R::PI * if p < q { p } else { q }).sin();
                q * (R::ONE + rho * R::PI * p * sine)
            }
        }
    }

    /// softplus(m) − ρ·softplus(−m); softplus(m) = m + softplus(−m) makes it exactly m for ρ = 1.
    #[inline]
    fn log_value(&self, m: R) -> R {
        let rho = self.bonus_weight;
        let rest = R::ONE - rho;
        if m < R::ZERO { rho * m + rest * softplus(m) } else { m + rest * softplus(-m) }
    }

    #[inline]
    fn log_derivative(&self, m: R, q: R, p: R) -> R {
        // p + q rounds to 1 ± an ulp, the slope of m is 1
        if self.bonus_weight == R::ONE && !m.is_nan() { R::ONE } else { q + self.bonus_weight * p }
    }
}
