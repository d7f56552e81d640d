//! From in-distribution samples to a calibration.
//!
//! A [`Calibrator`] takes what a [`Scorer`](super::Scorer) gives ([`Evidence`]), batch by batch, and keeps it in a
//! temporary file where it is much. When all are in, it fits the temperature, then what each score of the feature needs,
//! then the thresholds of all scores at that temperature.
//!
//! KNN, Mahalanobis, relative Mahalanobis and ViM look nearer to samples they were fitted to than to others of the same
//! kind, so those that were fitted do not serve for their thresholds: the samples with even numbers (the first has
//! number 0) are fitted to, those with odd numbers give the thresholds. All other thresholds come from all samples.

mod options;
mod warnings;

use std::collections::BTreeMap;
use std::sync::Arc;

use super::calibration::{Calibration, CalibrationError, FORMAT_VERSION, ScoreFit, Tables, TemperatureFit};
use super::engine::Evidence;
use super::feature::{AshS, Fits, React, Scale, default_dimensions};
use super::fit::{
    Likelihood, Moments, Spool, Threshold, fit_knn, fit_mahalanobis, fit_relative_mahalanobis, fit_temperature,
    fit_vim, percentile,
};
use super::row::{RowScorer, Scratch};
use super::scorer::Scored;
use super::{EdgeError, Needs, Score};
use crate::metrics::{CALIBRATION_BINS, expected_calibration_error};
use crate::rewrite::{self, LinearHead, ScoringModel};

pub use options::CalibratorOptions;

/// What came of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Calibrated {
    /// The thresholds and small fits.
    pub calibration: Calibration,
    /// The large fits.
    pub tables: Tables,
    /// Share of the labels that were predicted, where there were labels.
    pub accuracy: Option<f64>,
    /// What the user should know, a sentence each.
    pub warnings: Vec<String>,
}

/// Collects samples, then fits.
#[derive(Debug)]
pub struct Calibrator {
    options: CalibratorOptions,
    scores: Vec<Score>,
    decision: Score,
    value: String,
    evidence: rewrite::Evidence,
    /// What the model itself divides its logits by.
    own_temperature: f64,
    head: Option<Arc<LinearHead>>,
    /// Empty until the first batch tells how wide they are.
    samples: Option<Samples>,
}

/// The samples so far.
#[derive(Debug)]
struct Samples {
    classes: usize,
    logits: Spool,
    features: Spool,
    predicted: Vec<u32>,
    /// Empty where the data have no labels.
    labels: Vec<u32>,
}

/// Whether a score's fit and its threshold take different samples.
fn is_split(score: Score) -> bool {
    matches!(score, Score::Knn | Score::Mahalanobis | Score::RelativeMahalanobis | Score::Vim)
}

/// Whether a sample is one that such a score is fitted to.
fn is_fitted(index: usize) -> bool {
    index.is_multiple_of(2)
}

impl Calibrator {
    /// For the model of a scorer. The scorer gives the feature where one of the scores needs it, see
    /// [`ScorerOptions::feature`](super::ScorerOptions::feature).
    ///
    /// # Errors
    /// No scores, numbers out of range, scores that the model lacks the logits or the feature for.
    pub fn new(model: &ScoringModel, options: CalibratorOptions) -> Result<Self, EdgeError> {
        options.check()?;
        let scores = options.all_scores();
        let Some(decision) = options.decision.or(scores.first().copied()) else {
            return Err(CalibrationError::NoScores.into());
        };
        let mut head = None;
        for &score in &scores {
            if model.evidence == rewrite::Evidence::Probabilities && score.needs() != Needs::Probabilities {
                return Err(EdgeError::NeedsLogits { score });
            }
            if score.needs() == Needs::Feature {
                match &model.head {
                    Ok(found) => head = Some(Arc::new(found.clone())),
                    Err(reason) => return Err(CalibrationError::NoFeature { score, reason: reason.clone() }.into()),
                }
            }
        }
        if options.fit_temperature && model.evidence == rewrite::Evidence::Probabilities {
            return Err(CalibrationError::NoLogits.into());
        }
        Ok(Self {
            scores,
            decision,
            value: model.value.clone(),
            evidence: model.evidence,
            own_temperature: model.temperature.unwrap_or(1.0),
            head,
            samples: None,
            options,
        })
    }

    /// Whether [`Evidence::features`] is needed.
    #[must_use]
    pub fn needs_feature(&self) -> bool {
        self.head.is_some()
    }

    /// Number of samples so far.
    #[must_use]
    pub fn samples(&self) -> usize {
        self.samples.as_ref().map_or(0, |samples| samples.predicted.len())
    }

    /// What a scorer says of a sample of the next batch, with the sample's number among all and its name.
    #[must_use]
    pub fn locate(&self, error: EdgeError, names: Option<&[String]>) -> EdgeError {
        let EdgeError::NotANumber { sample: row, .. } = error else { return error };
        let sample = sample_name(self.samples(), row, names);
        CalibrationError::NotFinite { sample, what: "its logits hold" }.into()
    }

    /// Adds samples, with their labels and what they are called, where that is known.
    ///
    /// # Errors
    /// NaN among the logits or features, labels that are no classes or are there for some samples only; no room for the
    /// temporary file. The error names the sample.
    pub fn add(
        &mut self,
        evidence: &Evidence,
        labels: Option<&[i64]>,
        names: Option<&[String]>,
    ) -> Result<(), EdgeError> {
        if evidence.rows == 0 {
            return Ok(());
        }
        let width = self.head.as_ref().map_or(0, |head| head.features);
        let samples = self.samples.get_or_insert_with(|| Samples::new(evidence.classes, width));
        samples.check(evidence, labels, names)?;
        samples.push(evidence, labels)?;
        Ok(())
    }

    /// Fits.
    ///
    /// # Errors
    /// No samples, no labels where a temperature is asked for, samples that a score cannot be fitted to.
    pub fn finish(mut self) -> Result<Calibrated, EdgeError> {
        let mut samples = self.samples.take().ok_or(CalibrationError::NoSamples)?;
        let mut warnings = samples.warnings(&self);
        let temperature = match self.options.fit_temperature {
            true => Some(self.fit_temperature(&mut samples, &mut warnings)?),
            false => None,
        };
        let fits = self.fit_features(&mut samples, &mut warnings)?;
        let t = temperature.map_or(1.0, |fit| fit.temperature);
        let scores = self.fit_thresholds(&mut samples, &fits, t)?;
        if self.options.per_class {
            warnings.extend(warnings::classes_without_threshold(&scores, self.decision));
        }
        let calibration = Calibration {
            version: FORMAT_VERSION,
            elonnx: env!("CARGO_PKG_VERSION").to_owned(),
            logits: self.value.clone(),
            classes: samples.classes,
            samples: samples.predicted.len(),
            true_positive_rate: self.options.true_positive_rate,
            decision: self.decision,
            temperature,
            scores,
            preprocessing: self.options.preprocessing.clone(),
        };
        Ok(Calibrated { calibration, tables: fits.tables(), accuracy: samples.accuracy(), warnings })
    }

    fn fit_temperature(
        &self,
        samples: &mut Samples,
        warnings: &mut Vec<String>,
    ) -> Result<TemperatureFit, CalibrationError> {
        if samples.labels.is_empty() {
            return Err(CalibrationError::NoLabels);
        }
        let (temperature, at_bound) = fit_temperature(&mut samples.logits, &samples.labels)?;
        if at_bound {
            warnings.push(warnings::temperature_at_bound(temperature));
        }
        let (nll_before, ece_before) = samples.reliability(self.own_temperature)?;
        let (nll_after, ece_after) = samples.reliability(temperature)?;
        Ok(TemperatureFit { temperature, nll_before, nll_after, ece_before, ece_after })
    }

    fn fit_features(&self, samples: &mut Samples, warnings: &mut Vec<String>) -> Result<Fits, CalibrationError> {
        let Some(head) = self.head.clone() else { return Ok(Fits::default()) };
        let wants = |score| self.scores.contains(&score);
        let mut fits = Fits { head: Some(head.clone()), ..Fits::default() };
        if wants(Score::AshS) {
            fits.ash_s = Some(AshS { percentile: self.options.ash_percentile });
        }
        if wants(Score::Scale) {
            fits.scale = Some(Scale { percentile: self.options.scale_percentile });
        }
        if wants(Score::React) {
            let clip = percentile(&mut samples.features, self.options.react_percentile)?;
            #[expect(clippy::cast_possible_truncation, reason = "between two features, which are f32")]
            let clip = clip.ok_or(CalibrationError::NoSamples)? as f32;
            fits.react = Some(React { clip });
        }
        if wants(Score::Knn) {
            let (k, bank) = (self.options.knn_k, self.options.knn_bank);
            let knn = fit_knn(&mut samples.features, is_fitted, k, bank)?.ok_or(CalibrationError::NoSamples)?;
            warnings.extend((knn.k < k).then(|| warnings::fewer_neighbours(k, knn.k)));
            fits.knn = Some(knn.into());
        }
        let of_classes = wants(Score::Mahalanobis) || wants(Score::RelativeMahalanobis);
        if of_classes || wants(Score::Vim) {
            let moments = samples.moments()?;
            if of_classes {
                warnings.extend(warnings::of_class_means(&moments, samples.labels.is_empty(), head.features));
                self.fit_distances(&moments, &mut fits)?;
            }
            if wants(Score::Vim) {
                fits.vim = Some(Arc::new(self.fit_vim(&moments, &head, samples)?));
            }
        }
        Ok(fits)
    }

    fn fit_distances(&self, moments: &Moments, fits: &mut Fits) -> Result<(), CalibrationError> {
        let wants = |score| self.scores.contains(&score);
        let unfit = |score, reason| CalibrationError::Unfit { score, reason };
        let score = if wants(Score::Mahalanobis) { Score::Mahalanobis } else { Score::RelativeMahalanobis };
        let classes = fit_mahalanobis(moments);
        let classes = Arc::new(classes.ok_or_else(|| unfit(score, "no feature varies within a class"))?);
        if wants(Score::RelativeMahalanobis) {
            let relative = fit_relative_mahalanobis(moments, classes.clone());
            let relative = relative.ok_or_else(|| unfit(Score::RelativeMahalanobis, "no feature varies"))?;
            fits.relative_mahalanobis = Some(relative.into());
        }
        fits.mahalanobis = wants(Score::Mahalanobis).then_some(classes);
        Ok(())
    }

    fn fit_vim(
        &self,
        moments: &Moments,
        head: &LinearHead,
        samples: &mut Samples,
    ) -> Result<super::feature::Vim, CalibrationError> {
        let dimensions = self.options.vim_dimensions.unwrap_or(default_dimensions(head.features));
        let mut largest = Vec::with_capacity(samples.predicted.len());
        samples.logits.each(|_, z| largest.push(z.iter().copied().fold(f32::NEG_INFINITY, f32::max)))?;
        let vim = fit_vim(moments, head, dimensions, &mut samples.features, &largest, is_fitted)?;
        let reason = "no sample has anything outside the principal subspace; take fewer of its dimensions";
        vim.ok_or(CalibrationError::Unfit { score: Score::Vim, reason })
    }

    fn fit_thresholds(
        &self,
        samples: &mut Samples,
        fits: &Fits,
        temperature: f64,
    ) -> Result<BTreeMap<Score, ScoreFit>, CalibrationError> {
        let columns = samples.score(&self.scores, self.evidence, temperature, fits)?;
        let mut thresholds = BTreeMap::new();
        for (&score, column) in self.scores.iter().zip(columns) {
            let wanted = |&index: &usize| !is_split(score) || !is_fitted(index);
            let rows: Vec<usize> = (0..column.len()).filter(wanted).collect();
            let fit = self.fit_threshold(score, &column, &rows, samples, fits.parameters(score))?;
            thresholds.insert(score, fit);
        }
        Ok(thresholds)
    }

    fn fit_threshold(
        &self,
        score: Score,
        column: &[f32],
        rows: &[usize],
        samples: &Samples,
        parameters: BTreeMap<String, f64>,
    ) -> Result<ScoreFit, CalibrationError> {
        let rate = self.options.true_positive_rate;
        let mut scores: Vec<f32> = rows.iter().map(|&row| column[row]).collect();
        let reason = "only one sample is there, and half of the samples are fitted to; give more";
        let Threshold { value, interval, samples: n } =
            Threshold::new(&mut scores, rate).ok_or(CalibrationError::Unfit { score, reason })?;
        let per_class = self.options.per_class.then(|| {
            let mut by_class = vec![Vec::new(); samples.classes];
            rows.iter().for_each(|&row| by_class[samples.predicted[row] as usize].push(column[row]));
            let enough = self.options.least_per_class();
            let own = |scores: &mut Vec<f32>| {
                (scores.len() >= enough)
                    .then(|| Threshold::new(scores, rate))
                    .flatten()
                    .map(|threshold| threshold.value)
            };
            by_class.iter_mut().map(own).collect()
        });
        Ok(ScoreFit { threshold: value, interval, samples: n, per_class, parameters })
    }
}

impl Samples {
    fn new(classes: usize, features: usize) -> Self {
        Self {
            classes,
            logits: Spool::new(classes),
            features: Spool::new(features),
            predicted: Vec::new(),
            labels: Vec::new(),
        }
    }

    fn name(&self, row: usize, names: Option<&[String]>) -> String {
        sample_name(self.predicted.len(), row, names)
    }

    fn check(
        &self,
        evidence: &Evidence,
        labels: Option<&[i64]>,
        names: Option<&[String]>,
    ) -> Result<(), CalibrationError> {
        let width = |what, expected: usize, values: &[f32]| match values.len() / evidence.rows {
            found if found == expected => Ok(()),
            found => Err(CalibrationError::Width { what, expected, found }),
        };
        width("classes", self.classes, &evidence.logits)?;
        if self.features.width() > 0 {
            width("features", self.features.width(), &evidence.features)?;
            let broken = evidence.features.iter().position(|h| !h.is_finite());
            if let Some(at) = broken {
                let sample = self.name(at / self.features.width(), names);
                return Err(CalibrationError::NotFinite { sample, what: "its feature holds" });
            }
        }
        // infinite logits have a meaning: a class that is masked
        if let Some(at) = evidence.logits.iter().position(|z| z.is_nan()) {
            let sample = self.name(at / self.classes, names);
            return Err(CalibrationError::NotFinite { sample, what: "its logits hold" });
        }
        if !self.predicted.is_empty() && labels.is_some() == self.labels.is_empty() {
            return Err(CalibrationError::SomeLabels { sample: self.name(0, names), has: labels.is_some() });
        }
        let labels = labels.unwrap_or_default();
        let is_class = |&label: &i64| usize::try_from(label).is_ok_and(|label| label < self.classes);
        if let Some(row) = labels.iter().position(|label| !is_class(label)) {
            let (sample, label, classes) = (self.name(row, names), labels[row], self.classes);
            return Err(CalibrationError::Label { sample, label, classes });
        }
        Ok(())
    }

    fn push(&mut self, evidence: &Evidence, labels: Option<&[i64]>) -> Result<(), CalibrationError> {
        self.logits.push(&evidence.logits)?;
        if self.features.width() > 0 {
            self.features.push(&evidence.features)?;
        }
        self.predicted.extend(evidence.logits.chunks_exact(self.classes).map(|row| largest(row).0));
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to be classes")]
        self.labels.extend(labels.unwrap_or_default().iter().map(|&label| label as u32));
        Ok(())
    }

    fn is_right(&self, index: usize) -> bool {
        self.predicted[index] == self.labels[index]
    }

    fn accuracy(&self) -> Option<f64> {
        let right = (0..self.labels.len()).filter(|&index| self.is_right(index)).count();
        (!self.labels.is_empty()).then(|| right as f64 / self.labels.len() as f64)
    }

    /// Mean negative log likelihood of the labels and expected calibration error at a temperature.
    fn reliability(&mut self, temperature: f64) -> Result<(f64, f64), CalibrationError> {
        let nll = Likelihood::at(&mut self.logits, &self.labels, temperature)?.nll;
        let mut confidences = Vec::with_capacity(self.labels.len());
        self.logits.each(|_, z| {
            let largest = f64::from(largest(z).1);
            let all: f64 = z.iter().map(|&z| ((f64::from(z) - largest) / temperature).exp()).sum();
            confidences.push(1.0 / all);
        })?;
        let right: Vec<bool> = (0..self.labels.len()).map(|index| self.is_right(index)).collect();
        let ece = expected_calibration_error(&confidences, &right, CALIBRATION_BINS);
        Ok((nll, ece.unwrap_or(f64::NAN)))
    }

    /// Of the samples that are fitted to, by label, or predicted class where there are no labels.
    fn moments(&mut self) -> Result<Moments, CalibrationError> {
        let classes = if self.labels.is_empty() { &self.predicted } else { &self.labels };
        let width = self.features.width();
        let mut moments = Moments::new(width, self.classes);
        self.features.blocks(|first, values| {
            let rows = (first..).zip(values.chunks_exact(width)).filter(|(index, _)| is_fitted(*index));
            let (classes, features): (Vec<u32>, Vec<&[f32]>) = rows.map(|(index, row)| (classes[index], row)).unzip();
            moments.add(&features.concat(), &classes);
        })?;
        Ok(moments)
    }

    /// A column for each score, as a scorer gives them.
    fn score(
        &mut self,
        scores: &[Score],
        evidence: rewrite::Evidence,
        temperature: f64,
        fits: &Fits,
    ) -> Result<Vec<Vec<f32>>, CalibrationError> {
        let rows = RowScorer { scores: scores.to_vec(), evidence, temperature, top_k: 0, decision: None };
        let (mut scored, mut scratch) = (Scored::default(), Scratch::default());
        let mut columns = vec![Vec::with_capacity(self.predicted.len()); scores.len()];
        let classes = self.classes;
        let mut outcome = Ok(());
        self.logits.zip(&mut self.features, |first, logits, features| {
            let width = features.len() / (logits.len() / classes).max(1);
            scored.clear();
            for (at, row) in logits.chunks_exact(classes).enumerate() {
                let feature = &features[at * width..(at + 1) * width];
                if rows.append(row, feature, fits, &mut scratch, &mut scored).is_err() && outcome.is_ok() {
                    let sample = format!("sample {}", first + at);
                    outcome = Err(CalibrationError::NotFinite { sample, what: "its probabilities are none, or hold" });
                }
            }
            for row in scored.scores.chunks_exact(scores.len()) {
                columns.iter_mut().zip(row).for_each(|(column, &score)| column.push(score));
            }
        })?;
        outcome?;
        for (column, &score) in columns.iter().zip(scores) {
            if column.iter().any(|score| score.is_nan()) {
                let reason = "it is not a number for some samples; their logits or features are too large";
                return Err(CalibrationError::Unfit { score, reason });
            }
        }
        Ok(columns)
    }
}

/// "sample 17 (cat.png)"
fn sample_name(before: usize, row: usize, names: Option<&[String]>) -> String {
    let number = before + row;
    match names.and_then(|names| names.get(row)) {
        Some(name) => format!("sample {number} ({name})"),
        None => format!("sample {number}"),
    }
}

/// The first of the largest, and where it is.
fn largest(row: &[f32]) -> (u32, f32) {
    let first = |best: (u32, f32), (at, &z): (u32, &f32)| if z > best.1 { (at, z) } else { best };
    (0..).zip(row).fold((0, f32::NEG_INFINITY), first)
}

#[cfg(test)]
mod tests;
