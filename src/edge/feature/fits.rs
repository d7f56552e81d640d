//! The fits of a model's feature scores, from and to its calibration.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{ASH_PERCENTILE, SCALE_PERCENTILE};
use super::{AshS, Knn, Mahalanobis, React, RelativeMahalanobis, Scale, Vim, Whitening};
use crate::edge::{Calibration, CalibrationError, EdgeError, Needs, Score, ScoreFit, Table, Tables};
use crate::model::Document;
use crate::rewrite::{LinearHead, ScoringModel};

/// Names of the tables.
const BANK: &str = "knn.bank";
const CENTER: &str = "mahalanobis.center";
const WITHIN: &str = "mahalanobis.whitening";
const MEANS: &str = "mahalanobis.means";
const ALL: &str = "relative_mahalanobis.whitening";
const ORIGIN: &str = "vim.origin";
const RESIDUAL: &str = "vim.residual";

/// All that scoring with the feature needs. Cloning is cheap: tables are shared.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Fits {
    pub head: Option<Arc<LinearHead>>,
    pub react: Option<React>,
    pub ash_s: Option<AshS>,
    pub scale: Option<Scale>,
    pub knn: Option<Arc<Knn>>,
    pub mahalanobis: Option<Arc<Mahalanobis>>,
    pub relative_mahalanobis: Option<Arc<RelativeMahalanobis>>,
    pub vim: Option<Arc<Vim>>,
}

/// Tables that a score needs.
fn tables_of(score: Score) -> &'static [&'static str] {
    match score {
        Score::Knn => &[BANK],
        Score::Mahalanobis => &[CENTER, WITHIN, MEANS],
        Score::RelativeMahalanobis => &[CENTER, WITHIN, MEANS, ALL],
        Score::Vim => &[ORIGIN, RESIDUAL],
        _ => &[],
    }
}

impl Fits {
    /// The fits that `scores` need; others than those of the feature are passed over. `document` is the model the
    /// calibration was read from (not the one that [`ScoringModel`] cut down).
    ///
    /// # Errors
    /// A score of the feature where the model has none, a score that was not fitted, a fit that does not go with the model.
    pub(crate) fn read(
        document: &Document,
        model: &ScoringModel,
        calibration: Option<&Calibration>,
        scores: &[Score],
    ) -> Result<Self, EdgeError> {
        let mut fits = Self::default();
        let scores: Vec<Score> = scores.iter().copied().filter(|score| score.needs() == Needs::Feature).collect();
        let Some(&first) = scores.first() else { return Ok(fits) };
        let head = match &model.head {
            Ok(head) => head,
            Err(reason) => return Err(CalibrationError::NoFeature { score: first, reason: reason.clone() }.into()),
        };
        fits.head = Some(Arc::new(head.clone()));
        let fitted = |score: Score| calibration.and_then(|calibration| calibration.scores.get(&score));
        if let Some(&score) = scores.iter().find(|score| score.needs_fit() && fitted(**score).is_none()) {
            return Err(CalibrationError::NotFitted { score }.into());
        }
        let wanted = |name: &str| scores.iter().any(|&score| tables_of(score).contains(&name));
        let tables = Tables::read_if(document, wanted)?;
        for score in scores {
            let source = Source { score, fit: fitted(score), tables: &tables, features: head.features };
            fits.read_one(&source)?;
        }
        Ok(fits)
    }

    fn read_one(&mut self, source: &Source<'_>) -> Result<(), CalibrationError> {
        match source.score {
            #[expect(clippy::cast_possible_truncation, reason = "it was an f32")]
            Score::React => self.react = Some(React { clip: source.number("clip")? as f32 }),
            Score::AshS => self.ash_s = Some(AshS { percentile: source.percentile(ASH_PERCENTILE)? }),
            Score::Scale => self.scale = Some(Scale { percentile: source.percentile(SCALE_PERCENTILE)? }),
            Score::Knn => self.knn = Some(Arc::new(source.knn()?)),
            Score::Mahalanobis => self.mahalanobis = Some(self.classes(source)?),
            Score::RelativeMahalanobis => {
                let classes = self.classes(source)?;
                let all = source.whitening(CENTER, ALL)?;
                self.relative_mahalanobis = Some(Arc::new(RelativeMahalanobis { classes, all }));
            }
            Score::Vim => {
                let (residual, alpha) = (source.whitening(ORIGIN, RESIDUAL)?, source.number("alpha")?);
                self.vim = Some(Arc::new(Vim { residual, alpha }));
            }
            _ => {}
        }
        Ok(())
    }

    /// The distances to the class means, read once for both scores.
    fn classes(&self, source: &Source<'_>) -> Result<Arc<Mahalanobis>, CalibrationError> {
        let read = self.mahalanobis.as_ref().or(self.relative_mahalanobis.as_ref().map(|relative| &relative.classes));
        match read {
            Some(read) => Ok(read.clone()),
            None => Ok(Arc::new(source.mahalanobis()?)),
        }
    }

    /// One sample's score; higher is further out of distribution. `feature` and `logits` are those of the sample;
    /// `energy_temperature` is T of the scores that are energies. NaN for a score that is not among those read.
    pub(crate) fn score(
        &self,
        score: Score,
        feature: &[f32],
        logits: &[f32],
        energy_temperature: f64,
        scratch: &mut Vec<f32>,
    ) -> f32 {
        let value = self.value(score, feature, logits, energy_temperature, scratch);
        debug_assert!(value.is_some(), "{score} was not read");
        #[expect(clippy::cast_possible_truncation, reason = "scores are f32")]
        value.map_or(f32::NAN, |value| value as f32)
    }

    fn value(&self, score: Score, feature: &[f32], logits: &[f32], t: f64, scratch: &mut Vec<f32>) -> Option<f64> {
        let head = self.head.as_deref()?;
        Some(match score {
            Score::React => self.react?.score(head, feature, t, scratch),
            Score::AshS => self.ash_s?.score(head, feature, t, scratch),
            Score::Scale => self.scale?.score(head, feature, t, scratch),
            Score::Knn => self.knn.as_ref()?.score(feature, scratch),
            Score::Mahalanobis => self.mahalanobis.as_ref()?.score(feature, scratch),
            Score::RelativeMahalanobis => self.relative_mahalanobis.as_ref()?.score(feature, scratch),
            Score::Vim => self.vim.as_ref()?.score(feature, logits, scratch),
            _ => return None,
        })
    }

    /// The numbers of a score's fit that go into JSON.
    pub(crate) fn parameters(&self, score: Score) -> BTreeMap<String, f64> {
        let mut parameters = BTreeMap::new();
        let mut set = |name: &str, value: f64| parameters.insert(name.to_owned(), value);
        match score {
            Score::React => self.react.map(|react| set("clip", react.clip.into())),
            Score::AshS => self.ash_s.map(|ash| set("percentile", ash.percentile)),
            Score::Scale => self.scale.map(|scale| set("percentile", scale.percentile)),
            Score::Knn => self.knn.as_ref().map(|knn| set("k", knn.k as f64)),
            Score::Vim => self.vim.as_ref().map(|vim| set("alpha", vim.alpha)),
            _ => None,
        };
        parameters
    }

    /// The tables of all fits.
    pub(crate) fn tables(&self) -> Tables {
        let mut tables = Tables::default();
        if let Some(knn) = &self.knn {
            let samples = knn.bank.len() / knn.features;
            tables.insert(BANK, Table::matrix(samples, knn.features, knn.bank.clone()));
        }
        let relative = self.relative_mahalanobis.as_deref();
        if let Some(classes) = self.mahalanobis.as_ref().or(relative.map(|relative| &relative.classes)) {
            let rank = classes.within.rank();
            tables.insert(CENTER, Table::vector(classes.within.center.clone()));
            tables.insert(WITHIN, classes.within.table());
            tables.insert(MEANS, Table::matrix(classes.means.len() / rank, rank, classes.means.clone()));
        }
        if let Some(relative) = relative {
            tables.insert(ALL, relative.all.table());
        }
        if let Some(vim) = &self.vim {
            tables.insert(ORIGIN, Table::vector(vim.residual.center.clone()));
            tables.insert(RESIDUAL, vim.residual.table());
        }
        tables
    }
}

/// Where the fit of one score is read from.
struct Source<'a> {
    score: Score,
    fit: Option<&'a ScoreFit>,
    tables: &'a Tables,
    features: usize,
}

impl Source<'_> {
    fn damaged(&self, reason: String) -> CalibrationError {
        CalibrationError::Table { score: self.score, reason }
    }

    fn parameter(&self, name: &str) -> Option<f64> {
        self.fit.and_then(|fit| fit.parameters.get(name).copied())
    }

    fn number(&self, name: &str) -> Result<f64, CalibrationError> {
        self.parameter(name).ok_or_else(|| self.damaged(format!("it has no number '{name}'")))
    }

    fn percentile(&self, default: f64) -> Result<f64, CalibrationError> {
        let percentile = self.parameter("percentile").unwrap_or(default);
        if !(0.0..=100.0).contains(&percentile) {
            return Err(self.damaged(format!("its percentile is {percentile}")));
        }
        Ok(percentile)
    }

    /// A matrix, by its rows and columns.
    fn matrix(&self, name: &str, columns: usize) -> Result<&Table, CalibrationError> {
        let table = self.tables.0.get(name).ok_or_else(|| self.damaged(format!("the model has no table '{name}'")))?;
        match table.dims[..] {
            [rows, found] if found == columns && rows > 0 && columns > 0 => Ok(table),
            _ => {
                let (found, expected) = (&table.dims, columns);
                Err(self.damaged(format!(
                    "its table '{name}' has the shape {found:?} where the model needs [*, {expected}]"
                )))
            }
        }
    }

    fn whitening(&self, center: &str, matrix: &str) -> Result<Whitening, CalibrationError> {
        let matrix = self.matrix(matrix, self.features)?.values.clone();
        let table = self.tables.0.get(center).filter(|table| table.values.len() == self.features);
        let table = table
            .ok_or_else(|| self.damaged(format!("its table '{center}' is not one of {} numbers", self.features)))?;
        Ok(Whitening { center: table.values.clone(), matrix })
    }

    fn mahalanobis(&self) -> Result<Mahalanobis, CalibrationError> {
        let within = self.whitening(CENTER, WITHIN)?;
        let means = self.matrix(MEANS, within.rank())?.values.clone();
        Ok(Mahalanobis { within, means })
    }

    fn knn(&self) -> Result<Knn, CalibrationError> {
        let table = self.matrix(BANK, self.features)?;
        let (k, samples) = (self.number("k")?, table.dims[0]);
        if !(k.fract() == 0.0 && k >= 1.0 && k <= samples as f64) {
            return Err(self.damaged(format!("its k is {k} and its bank has {samples} samples")));
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 1 to the number of samples")]
        Ok(Knn { k: k as usize, features: self.features, bank: table.values.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edge::testing::{classifier, head, scoring_model};

    fn whitening(scale: f32) -> Whitening {
        Whitening { center: vec![0.5, 0.0, -0.5, 1.0], matrix: (0..8).map(|i| scale * i as f32).collect() }
    }

    fn all() -> Fits {
        let classes = Arc::new(Mahalanobis { within: whitening(0.1), means: vec![1.0, 2.0, 3.0, 4.0] });
        Fits {
            head: Some(head(4, 3).into()),
            react: Some(React { clip: 0.75 }),
            ash_s: Some(AshS { percentile: 65.0 }),
            scale: Some(Scale { percentile: 60.0 }),
            knn: Some(Knn { k: 1, features: 4, bank: vec![0.5, 0.5, 0.5, 0.5, 1.0, 0.0, 0.0, 0.0] }.into()),
            mahalanobis: Some(classes.clone()),
            relative_mahalanobis: Some(RelativeMahalanobis { classes, all: whitening(0.2) }.into()),
            vim: Some(Vim { residual: whitening(0.3), alpha: 1.25 }.into()),
        }
    }

    fn feature_scores() -> Vec<Score> {
        Score::ALL.into_iter().filter(|score| score.needs() == Needs::Feature).collect()
    }

    /// A calibrated model.
    fn calibrated(fits: &Fits) -> (Document, Calibration) {
        let fit = |score| {
            let parameters = fits.parameters(score);
            (score, ScoreFit { threshold: 1.0, interval: [0.5, 1.5], samples: 9, per_class: None, parameters })
        };
        let calibration = Calibration {
            version: 1,
            elonnx: String::new(),
            logits: "logits".to_owned(),
            classes: 3,
            samples: 9,
            true_positive_rate: 0.95,
            decision: Score::Knn,
            temperature: None,
            scores: feature_scores().into_iter().map(fit).collect(),
            preprocessing: None,
        };
        let mut document = classifier(8, 4, 3);
        calibration.write(&mut document, &fits.tables()).unwrap();
        (document, calibration)
    }

    #[test]
    fn what_was_fitted_comes_back() {
        let (document, calibration) = calibrated(&all());
        let model = scoring_model(&document, 4, 3);
        let read = Fits::read(&document, &model, Some(&calibration), &feature_scores()).unwrap();
        assert_eq!(read, all());
        let some = Fits::read(&document, &model, Some(&calibration), &[Score::Energy, Score::Vim]).unwrap();
        assert_eq!(some, Fits { head: all().head, vim: all().vim, ..Fits::default() });
        assert_eq!(Fits::read(&document, &model, None, &[Score::Energy]).unwrap(), Fits::default());
    }

    #[test]
    fn shaping_needs_no_fit() {
        let document = classifier(8, 4, 3);
        let model = scoring_model(&document, 4, 3);
        let fits = Fits::read(&document, &model, None, &[Score::AshS, Score::Scale]).unwrap();
        assert_eq!((fits.ash_s, fits.scale), (Some(AshS { percentile: 90.0 }), Some(Scale { percentile: 85.0 })));
    }

    #[test]
    fn scores_are_numbers_whatever_the_scratch_held() {
        let fits = all();
        for score in feature_scores() {
            let of = |mut scratch| fits.score(score, &[0.0, 2.0, 1.0, 0.5], &[1.0, 2.0, 3.0], 1.0, &mut scratch);
            let value = of(vec![]);
            assert!(value.is_finite(), "{score}: {value}");
            assert_eq!(of(vec![f32::NAN; 99]), value, "{score}");
        }
    }

    #[test]
    fn what_is_missing_is_told() {
        let (document, calibration) = calibrated(&all());
        let model = scoring_model(&document, 4, 3);
        let read = |document: &Document, model: &ScoringModel, calibration: &Calibration, score| {
            Fits::read(document, model, Some(calibration), &[score]).unwrap_err().to_string()
        };
        let headless =
            ScoringModel { head: Err("the last layer is a Conv with a 3×3 kernel".to_owned()), ..model.clone() };
        assert!(read(&document, &headless, &calibration, Score::Knn).contains("score knn needs the feature"));
        let error = Fits::read(&document, &model, None, &[Score::AshS, Score::React]).unwrap_err().to_string();
        assert!(error.contains("the score react has to be fitted"), "{error}");

        let mut dropped = document.clone();
        dropped.graph_mut().remove_initializer("elonnx.calibration.vim.residual");
        assert!(read(&dropped, &model, &calibration, Score::Vim).contains("no table 'vim.residual'"));
        let mut wide = model.clone();
        wide.head.as_mut().unwrap().features = 5;
        let error = read(&document, &wide, &calibration, Score::Mahalanobis);
        assert!(error.contains("'mahalanobis.whitening' has the shape [2, 4]"), "{error}");
        for (score, parameter, value, word) in [
            (Score::Knn, "k", 3.0, "its bank has 2"),
            (Score::Knn, "k", 0.5, "its k is 0.5"),
            (Score::AshS, "percentile", 101.0, "its percentile is 101"),
        ] {
            let mut other = calibration.clone();
            other.scores.get_mut(&score).unwrap().parameters.insert(parameter.to_owned(), value);
            let error = read(&document, &model, &other, score);
            assert!(error.contains(word), "{error}");
        }
        let mut bare = calibration.clone();
        bare.scores.values_mut().for_each(|fit| fit.parameters.clear());
        assert!(read(&document, &model, &bare, Score::React).contains("no number 'clip'"));
    }
}
