//! The scores by name.

use serde::{Deserialize, Serialize};

/// What a score is computed from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Needs {
    /// Probabilities are enough (so logits are, too).
    Probabilities,
    /// Logits.
    Logits,
    /// The feature that the last linear layer reads, with that layer's weights.
    Feature,
}

/// An out-of-distribution score. Higher is further out of distribution, for every one of them.
///
/// With logits z of C classes, temperature T, p = softmax(z/T), feature h and last layer z = Wh + b:
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Score {
    /// −(z₁ − z₂), the two largest logits.
    Margin,
    /// −(z₁ − logsumexp of the other logits) = −log(p₁/(1 − p₁)), with T = 1.
    SoftMargin,
    /// −T·logsumexp(z/T) (Liu et al., NeurIPS 2020, arXiv 2010.03759, eq. 4).
    Energy,
    /// −max z (Hendrycks et al., ICML 2022, arXiv 1911.11132).
    MaxLogit,
    /// −max p (Hendrycks and Gimpel, ICLR 2017, arXiv 1610.02136).
    Msp,
    /// −Σ p·log p.
    Entropy,
    /// Σ over the M largest p of (p(1 − p))^γ, γ = 0.1, M = min(100, C) (Liu et al., CVPR 2023, GEN, eq. 3).
    Gen,
    /// Energy of W·min(h, c) + b (Sun et al., NeurIPS 2021, arXiv 2111.12797).
    React,
    /// Energy of the logits of ASH-S(h) (Djurisic et al., ICLR 2023, arXiv 2209.09858).
    AshS,
    /// Energy of the logits of SCALE(h) (Xu et al., ICLR 2024, arXiv 2310.00227).
    Scale,
    /// Distance of h/‖h‖ to its k-th nearest neighbour in the fit (Sun et al., ICML 2022, arXiv 2204.06507).
    Knn,
    /// Least Mahalanobis distance of h to a class mean (Lee et al., NeurIPS 2018, arXiv 1807.03888).
    Mahalanobis,
    /// [`Self::Mahalanobis`] less that to the mean of all classes (Ren et al., 2021, arXiv 2106.09022).
    RelativeMahalanobis,
    /// Norm of h's part outside the principal subspace against the energy (Wang et al., CVPR 2022, arXiv 2203.10807).
    Vim,
}

impl Score {
    /// All of them, those of the logits first.
    pub const ALL: [Self; 14] = [
        Self::Margin,
        Self::SoftMargin,
        Self::Energy,
        Self::MaxLogit,
        Self::Msp,
        Self::Entropy,
        Self::Gen,
        Self::React,
        Self::AshS,
        Self::Scale,
        Self::Knn,
        Self::Mahalanobis,
        Self::RelativeMahalanobis,
        Self::Vim,
    ];

    /// Its name in files and on the command line.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Margin => "margin",
            Self::SoftMargin => "soft_margin",
            Self::Energy => "energy",
            Self::MaxLogit => "max_logit",
            Self::Msp => "msp",
            Self::Entropy => "entropy",
            Self::Gen => "gen",
            Self::React => "react",
            Self::AshS => "ash_s",
            Self::Scale => "scale",
            Self::Knn => "knn",
            Self::Mahalanobis => "mahalanobis",
            Self::RelativeMahalanobis => "relative_mahalanobis",
            Self::Vim => "vim",
        }
    }

    /// What it is computed from.
    #[must_use]
    pub fn needs(self) -> Needs {
        match self {
            Self::Msp | Self::Entropy | Self::Gen => Needs::Probabilities,
            Self::Margin | Self::SoftMargin | Self::Energy | Self::MaxLogit => Needs::Logits,
            _ => Needs::Feature,
        }
    }

    /// Whether it has to be fitted to in-distribution data before it says anything.
    #[must_use]
    pub fn needs_fit(self) -> bool {
        matches!(self, Self::React | Self::Knn | Self::Mahalanobis | Self::RelativeMahalanobis | Self::Vim)
    }
}

impl std::fmt::Display for Score {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for Score {
    type Err = UnknownScore;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let name = text.replace('-', "_");
        Self::ALL.into_iter().find(|s| s.as_str() == name).ok_or_else(|| UnknownScore(text.to_owned()))
    }
}

/// A name that no [`Score`] has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no score '{name}'; the scores are {known}", name = .0, known = Score::ALL.map(Score::as_str).join(", "))]
pub struct UnknownScore(String);
