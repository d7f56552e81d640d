//! A step of AdamW in one pass over memory.

use super::error::KernelError;
use super::isa::{self, compiled};
use super::shared::Shared;
use crate::loss::Parallel;
use crate::loss::rows::simd::Simd;

/// Numbers that are worth a block of their own.
const BLOCK: usize = 16 * 1024;

/// The numbers of the optimizer that stay the same from step to step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct AdamW {
    /// Decay of the mean of the gradients.
    pub beta1: f32,
    /// Decay of the mean of their squares.
    pub beta2: f32,
    /// Added to the denominator.
    pub epsilon: f32,
    /// Share of a parameter that goes per step and learning rate.
    pub weight_decay: f32,
}

/// What a step reads.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Before<'a> {
    pub parameter: &'a [f32],
    pub gradient: &'a [f32],
    pub exp_avg: &'a [f32],
    pub exp_avg_sq: &'a [f32],
    pub learning_rate: f32,
    /// The number of the step, from 1.
    pub step: i64,
    /// Factor on the gradient, 1 but for clipping.
    pub scale: f32,
}

/// What it writes.
#[derive(Debug)]
pub(crate) struct After<'a> {
    pub parameter: &'a mut [f32],
    pub exp_avg: &'a mut [f32],
    pub exp_avg_sq: &'a mut [f32],
}

impl AdamW {
    /// With g = scale · gradient and t = step:
    /// m ← β₁m + (1−β₁)g; v ← β₂v + (1−β₂)g²; p ← p·(1 − lr·decay) − lr/(1−β₁ᵗ) · m / (√v/√(1−β₂ᵗ) + ε).
    ///
    /// # Errors
    /// Slices of different lengths.
    pub(crate) fn step(
        &self,
        threads: &impl Parallel,
        before: &Before<'_>,
        after: After<'_>,
    ) -> Result<(), KernelError> {
        let len = before.parameter.len();
        for (name, other) in [
            ("the gradient", before.gradient.len()),
            ("exp_avg", before.exp_avg.len()),
            ("exp_avg_sq", before.exp_avg_sq.len()),
            ("the new parameter", after.parameter.len()),
            ("the new exp_avg", after.exp_avg.len()),
            ("the new exp_avg_sq", after.exp_avg_sq.len()),
        ] {
            if other != len {
                return Err(KernelError::new(format!("{name} holds {other} numbers, but the parameter {len}")));
            }
        }
        let factors = self.factors(before);
        let isa = isa::best();
        let outputs = [Shared::new(after.parameter), Shared::new(after.exp_avg), Shared::new(after.exp_avg_sq)];
        threads.for_each(len.div_ceil(BLOCK), &|block| {
            let range = block * BLOCK..len.min((block + 1) * BLOCK);
            // SAFETY: blocks are disjoint, each is run once.
            let [parameter, exp_avg, exp_avg_sq] =
                [&outputs[0], &outputs[1], &outputs[2]].map(|output| unsafe { output.part(range.clone()) });
            update(
                isa,
                &factors,
                [
                    &before.parameter[range.clone()],
                    &before.gradient[range.clone()],
                    &before.exp_avg[range.clone()],
                    &before.exp_avg_sq[range.clone()],
                ],
                parameter,
                exp_avg,
                exp_avg_sq,
            );
        });
        Ok(())
    }

    fn factors(&self, before: &Before<'_>) -> Factors {
        let (beta1, beta2) = (f64::from(self.beta1), f64::from(self.beta2));
        let step = before.step as f64;
        let rate = f64::from(before.learning_rate);
        Factors {
            scale: before.scale,
            beta1: self.beta1,
            rest1: (1.0 - beta1) as f32,
            beta2: self.beta2,
            rest2: (1.0 - beta2) as f32,
            keep: (1.0 - rate * f64::from(self.weight_decay)) as f32,
            rate: (rate / (1.0 - beta1.powf(step))) as f32,
            root: (1.0 / (1.0 - beta2.powf(step)).sqrt()) as f32,
            epsilon: self.epsilon,
        }
    }
}

/// What is the same for all numbers of a step.
struct Factors {
    scale: f32,
    beta1: f32,
    rest1: f32,
    beta2: f32,
    rest2: f32,
    /// 1 − lr·decay
    keep: f32,
    /// lr/(1−β₁ᵗ)
    rate: f32,
    /// 1/√(1−β₂ᵗ)
    root: f32,
    epsilon: f32,
}

compiled! {
    /// One block; `from` are parameter, gradient, exp_avg and exp_avg_sq.
    fn update(f: &Factors, from: [&[f32]; 4], parameter: &mut [f32], exp_avg: &mut [f32], exp_avg_sq: &mut [f32])
        = update_body;
}

/// # Safety
/// None of its own: for `compiled!`.
#[inline(always)]
unsafe fn update_body<S: Simd>(
    f: &Factors,
    from: [&[f32]; 4],
    parameter: &mut [f32],
    exp_avg: &mut [f32],
    exp_avg_sq: &mut [f32],
) {
    let [p, g, m, v] = from;
    let before = p.iter().zip(g).zip(m.iter().zip(v));
    let after = parameter.iter_mut().zip(exp_avg.iter_mut().zip(exp_avg_sq.iter_mut()));
    for (((&p, &g), (&m, &v)), (new_p, (new_m, new_v))) in before.zip(after) {
        let g = f.scale * g;
        let m = f.beta1 * m + f.rest1 * g;
        let v = f.beta2 * v + f.rest2 * (g * g);
        *new_m = m;
        *new_v = v;
        *new_p = f.keep * p - f.rate * m / (v.sqrt() * f.root + f.epsilon);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::testing::{close, numbers, on_every_isa};
    use crate::loss::Sequential;

    /// The formula in f64.
    fn expected(o: AdamW, b: &Before<'_>) -> [Vec<f64>; 3] {
        let (beta1, beta2, lr) = (f64::from(o.beta1), f64::from(o.beta2), f64::from(b.learning_rate));
        let mut out = [vec![], vec![], vec![]];
        for i in 0..b.parameter.len() {
            let g = f64::from(b.scale) * f64::from(b.gradient[i]);
            let m = beta1 * f64::from(b.exp_avg[i]) + (1.0 - beta1) * g;
            let v = beta2 * f64::from(b.exp_avg_sq[i]) + (1.0 - beta2) * g * g;
            let (m_hat, v_hat) = (m / (1.0 - beta1.powf(b.step as f64)), v / (1.0 - beta2.powf(b.step as f64)));
            let p = f64::from(b.parameter[i]) * (1.0 - lr * f64::from(o.weight_decay));
            out[0].push(p - lr * m_hat / (v_hat.sqrt() + f64::from(o.epsilon)));
            out[1].push(m);
            out[2].push(v);
        }
        out
    }

    #[test]
    fn as_the_formula_in_f64() {
        // none; one; around a register; more than a block
        for len in [0, 1, 15, 16, 17, BLOCK + 3] {
            for (step, scale, weight_decay) in [(1, 1.0, 0.0), (2, 0.25, 0.1), (100_000, 1.0, 0.01)] {
                let optimizer = AdamW { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay };
                let (p, g, m) = (numbers(len, 1), numbers(len, 2), numbers(len, 3));
                let v: Vec<f32> = numbers(len, 4).iter().map(|v| v * v).collect();
                let before = Before {
                    parameter: &p,
                    gradient: &g,
                    exp_avg: &m,
                    exp_avg_sq: &v,
                    learning_rate: 0.01,
                    step,
                    scale,
                };
                on_every_isa(|| {
                    let mut new = [vec![0.0; len], vec![0.0; len], vec![0.0; len]];
                    let [parameter, exp_avg, exp_avg_sq] = &mut new;
                    optimizer.step(&Sequential, &before, After { parameter, exp_avg, exp_avg_sq }).unwrap();
                    for (new, expected) in new.iter().zip(expected(optimizer, &before)) {
                        close(new, &expected, 2e-6, &format!("{len} numbers, step {step}"));
                    }
                });
            }
        }
    }

    #[test]
    fn lengths_that_differ_are_an_error() {
        let (two, three) = (numbers(2, 1), numbers(3, 2));
        let before = Before {
            parameter: &two,
            gradient: &three,
            exp_avg: &two,
            exp_avg_sq: &two,
            learning_rate: 0.1,
            step: 1,
            scale: 1.0,
        };
        let mut new = [vec![0.0; 2], vec![0.0; 2], vec![0.0; 2]];
        let [parameter, exp_avg, exp_avg_sq] = &mut new;
        let optimizer = AdamW { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.0 };
        let error = optimizer.step(&Sequential, &before, After { parameter, exp_avg, exp_avg_sq }).unwrap_err();
        assert_eq!(error.to_string(), "the gradient holds 3 numbers, but the parameter 2");
    }
}
