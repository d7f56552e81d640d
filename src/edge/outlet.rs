//! What comes out of a runtime, as rows of [`Evidence`].

use super::engine::Evidence;
use super::error::EdgeError;

/// What the outputs of a scoring model are called and where their classes are.
#[derive(Clone, Debug)]
pub(super) struct Outlet {
    /// The logits' name in the original model.
    pub value: String,
    /// Axis of the classes.
    pub class_axis: usize,
    /// The feature's name, where there is a second output.
    pub feature: Option<String>,
}

impl Outlet {
    /// Number of classes in logits of shape `dims` for `rows` samples.
    pub fn classes(&self, dims: &[usize], rows: usize) -> Result<usize, EdgeError> {
        let expected = |expected: &str| EdgeError::OutputShape {
            value: self.value.clone(),
            shape: format!("{dims:?}"),
            rows,
            expected: expected.to_owned(),
        };
        if dims.first() != Some(&rows) {
            return Err(expected("a first axis that counts the samples"));
        }
        let Some(&classes) = dims.get(self.class_axis).filter(|_| self.class_axis > 0) else {
            return Err(expected("an axis of classes"));
        };
        if dims.iter().skip(1).product::<usize>() != classes {
            return Err(EdgeError::PerPosition { value: self.value.clone(), shape: format!("{dims:?}") });
        }
        if classes == 0 {
            return Err(expected("at least one class"));
        }
        Ok(classes)
    }

    /// Number of features in a feature of shape `dims` for `rows` samples.
    pub fn features(&self, dims: &[usize], rows: usize) -> Result<usize, EdgeError> {
        let features: usize = dims.iter().skip(1).product();
        if dims.first() == Some(&rows) && features > 0 {
            return Ok(features);
        }
        Err(EdgeError::OutputShape {
            value: self.feature.clone().unwrap_or_default(),
            shape: format!("{dims:?}"),
            rows,
            expected: "a feature per sample".to_owned(),
        })
    }

    /// Appends rows of logits; runs of one batch have to agree on the number of classes.
    pub fn append(
        &self,
        dims: &[usize],
        rows: usize,
        evidence: &mut Evidence,
        logits: impl FnOnce(&mut Vec<f32>),
    ) -> Result<(), EdgeError> {
        let classes = self.classes(dims, rows)?;
        if evidence.rows > 0 && evidence.classes != classes {
            return Err(EdgeError::OutputShape {
                value: self.value.clone(),
                shape: format!("{dims:?}"),
                rows,
                expected: format!("{} classes, as for the samples before,", evidence.classes),
            });
        }
        evidence.classes = classes;
        evidence.rows += rows;
        logits(&mut evidence.logits);
        Ok(())
    }
}
