//! The scores of one row of logits.
//!
//! With z₁ ≥ z₂ the two largest logits, all sums run over the classes but the predicted one, relative to z₂:
//!
//! ```text
//! s₂ = Σ_{j≠1} e^{(z_j − z₂)/T} in [1, C − 1],   a₂ = −Σ_{j≠1} (z_j − z₂)/T · e^{(z_j − z₂)/T} ≥ 0,   g = (z₁ − z₂)/T
//! s = e^{−g}·s₂ = Σ_{j≠1} p_j / p₁,   p₁ = 1/(1 + s),   1 − p₁ = s/(1 + s)
//! T·logsumexp(z/T) = z₁ + T·log1p(s)
//! z₁/T − logsumexp_{j≠1}(z_j/T) = g − log s₂
//! entropy = log1p(s) + (g·s + e^{−g}·a₂)/(1 + s)
//! ```
//!
//! Nothing cancels and nothing overflows, however confident the model is. A row costs one pass for z₁ and z₂ and, where
//! a sum is needed, one more while it is in the cache. Infinite logits mean what their limit means: −∞ is a class that
//! is masked out, and classes with +∞ share the probability.

/// The two largest logits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Top {
    /// Where the largest is, the first of equals.
    pub class: usize,
    /// The largest.
    pub first: f32,
    /// The second largest; −∞ where there is none.
    pub second: f32,
}

/// Lanes of the loops that the compiler turns into vectors.
const LANES: usize = 16;

impl Top {
    /// `None` where there is NaN or nothing.
    pub fn of(logits: &[f32]) -> Option<Self> {
        let mut first = [f32::NEG_INFINITY; LANES];
        let mut second = [f32::NEG_INFINITY; LANES];
        let mut nan = [false; LANES];
        let mut take = |chunk: &[f32]| {
            for (lane, &z) in chunk.iter().enumerate() {
                nan[lane] |= z.is_nan();
                second[lane] = larger(second[lane], smaller(first[lane], z));
                first[lane] = larger(first[lane], z);
            }
        };
        let (chunks, rest) = logits.as_chunks::<LANES>();
        chunks.iter().for_each(|chunk| take(chunk));
        take(rest);
        if nan.contains(&true) {
            return None;
        }
        let (mut best, mut next) = (f32::NEG_INFINITY, f32::NEG_INFINITY);
        for (first, second) in first.into_iter().zip(second) {
            next = larger(next, larger(second, smaller(best, first)));
            best = larger(best, first);
        }
        let class = logits.iter().position(|&z| z == best)?;
        Some(Self { class, first: best, second: next })
    }

    /// z₁ − z₂; 0 where both are the same infinity.
    pub fn margin(&self) -> f64 {
        if self.first == self.second { 0.0 } else { f64::from(self.first) - f64::from(self.second) }
    }
}

// without the care for NaN that f32::max takes
fn larger(a: f32, b: f32) -> f32 {
    if a > b { a } else { b }
}

fn smaller(a: f32, b: f32) -> f32 {
    if a < b { a } else { b }
}

/// What a softmax at one temperature makes of a row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Softmax {
    top: Top,
    temperature: f64,
    /// g
    gap: f64,
    /// s₂
    others: f64,
    /// a₂
    weighted: f64,
    /// s
    odds: f64,
}

impl Softmax {
    /// The second pass. `with_entropy`: whether a₂ is wanted.
    pub fn new(logits: &[f32], top: Top, temperature: f64, with_entropy: bool) -> Self {
        let (others, weighted) = sums(logits, top, temperature, with_entropy);
        let gap = top.margin() / temperature;
        let odds = (-gap).exp() * others;
        Self { top, temperature, gap, others, weighted, odds }
    }

    /// p₁
    pub fn probability(&self) -> f64 {
        1.0 / (1.0 + self.odds)
    }

    /// T·logsumexp(z/T)
    pub fn log_sum_exp(&self) -> f64 {
        f64::from(self.top.first) + self.temperature * self.odds.ln_1p()
    }

    /// z₁/T − logsumexp of the others
    pub fn soft_margin(&self) -> f64 {
        self.gap - self.others.ln()
    }

    /// −Σ p·log p
    pub fn entropy(&self) -> f64 {
        if self.odds == 0.0 {
            return 0.0;
        }
        self.odds.ln_1p() + (self.gap * self.odds + (-self.gap).exp() * self.weighted) / (1.0 + self.odds)
    }

    /// log p of a class with logit `z`.
    pub fn log_probability(&self, z: f32) -> f64 {
        let below = if z == self.top.first { 0.0 } else { f64::from(z) - f64::from(self.top.first) };
        below / self.temperature - self.odds.ln_1p()
    }

    /// Σ (p(1 − p))^γ over `logits`, which hold the predicted class, its logit the first of those equal to it.
    pub fn gen_score(&self, logits: &[f32]) -> f64 {
        let mut before = true;
        let term = |&z: &f32| {
            let log_p = self.log_probability(z);
            // of the predicted class, 1 − p = s/(1 + s); log s = log s₂ − g
            let log_rest = if before && z == self.top.first {
                before = false;
                self.others.ln() - self.gap - self.odds.ln_1p()
            } else {
                (-log_p.exp()).ln_1p()
            };
            (GAMMA * (log_p + log_rest)).exp()
        };
        logits.iter().map(term).sum()
    }
}

/// γ of GEN.
const GAMMA: f64 = 0.1;

/// How many classes GEN sums over, at most.
pub(super) const GEN_CLASSES: usize = 100;

/// Σ (p(1 − p))^γ of probabilities.
pub(super) fn gen_of_probabilities(probabilities: &[f32]) -> f64 {
    let term = |&p: &f32| (f64::from(p) * (1.0 - f64::from(p)).max(0.0)).powf(GAMMA);
    probabilities.iter().map(term).sum()
}

/// −Σ p·log p of probabilities.
pub(super) fn entropy_of_probabilities(probabilities: &[f32]) -> f64 {
    let term = |&p: &f32| if p > 0.0 { f64::from(p) * f64::from(p).ln() } else { 0.0 };
    -probabilities.iter().map(term).sum::<f64>()
}

/// s₂ and a₂.
fn sums(logits: &[f32], top: Top, temperature: f64, with_entropy: bool) -> (f64, f64) {
    let parts = [&logits[..top.class], &logits[top.class + 1..]];
    if !top.second.is_finite() {
        // differences of infinities: equal ones are 0, all others −∞
        let equal = parts.iter().flat_map(|part| part.iter()).filter(|&&z| z == top.second).count();
        return (equal as f64, 0.0);
    }
    let scale = (1.0 / temperature) as f32;
    let (mut others, mut weighted) = (0.0, 0.0);
    for part in parts {
        for block in part.chunks(BLOCK) {
            let (o, w) = if with_entropy {
                block_sums::<true>(block, top.second, scale)
            } else {
                block_sums::<false>(block, top.second, scale)
            };
            others += o;
            weighted += w;
        }
    }
    (others, weighted)
}

/// Elements that are summed in f32 before the sum goes to f64: 16 for each lane.
const BLOCK: usize = 16 * LANES;

fn block_sums<const WITH_ENTROPY: bool>(block: &[f32], second: f32, scale: f32) -> (f64, f64) {
    let mut others = [0.0_f32; LANES];
    let mut weighted = [0.0_f32; LANES];
    let mut take = |chunk: &[f32]| {
        for (lane, &z) in chunk.iter().enumerate() {
            let d = larger((z - second) * scale, LOWEST);
            let e = exp(d);
            others[lane] += e;
            if WITH_ENTROPY {
                weighted[lane] -= d * e;
            }
        }
    };
    let (chunks, rest) = block.as_chunks::<LANES>();
    chunks.iter().for_each(|chunk| take(chunk));
    take(rest);
    let total = |lanes: [f32; LANES]| lanes.into_iter().map(f64::from).sum();
    (total(others), total(weighted))
}

/// Below this e^x is given as 0.
const LOWEST: f32 = -87.0;

/// e^x for −87 ≤ x ≤ 0, 0 at −87; within 2 units in the last place. Written so that loops over it become vectors:
/// e^x = 2^n · e^r with n = round(x / ln 2) and |r| ≤ ln 2 / 2.
#[inline(always)]
fn exp(x: f32) -> f32 {
    /// Adding it rounds to a whole number, which then stands in the lowest bits.
    const ROUNDER: f32 = 12_582_912.0;
    let shifted = x * std::f32::consts::LOG2_E + ROUNDER;
    let n = shifted - ROUNDER;
    // ln 2 in two parts; n times the first is exact
    let r = (x - n * 0.693_359_4) + n * 2.121_944_4e-4;
    // minimax of the relative error, as in `loss::rows::exp`
    let c = 1.381_454_9e-3 * r + 8.368_745e-3;
    let c = c * r + 4.166_839e-2;
    let c = c * r + 1.666_652_1e-1;
    let c = c * r + 4.999_999_4e-1;
    let power = f32::from_bits((shifted.to_bits() << 23).wrapping_add(127 << 23));
    let y = (1.0 + (r + r * r * c)) * power;
    if x > LOWEST { y } else { 0.0 }
}

#[cfg(test)]
mod tests;
