//! Curves of a run as a picture.

use std::path::Path;

use super::TrainError;
use super::history::EpochRecord;
use super::metrics::Measured;
use crate::model::without_path;
use crate::report::{Curve, Format, ReportError, curves_picture};

/// One of the numbers that are measured.
type Quantity = fn(&Measured) -> f64;

/// Draws loss, accuracy, soft margin and energy over the epochs, of training and validation data, as SVG or PNG by the
/// name of the file.
///
/// # Errors
/// Another extension, a file that cannot be written.
pub fn save_curves(path: &Path, title: &str, history: &[EpochRecord]) -> Result<(), TrainError> {
    let format = Format::of(path)?;
    if format == Format::Html {
        return Err(ReportError::UnknownFormat { path: path.to_owned() }.into());
    }
    let quantities: [(&str, Quantity); 4] = [
        ("Loss", |measured| measured.loss),
        ("Accuracy", |measured| measured.accuracy),
        ("Mean soft margin", |measured| measured.margin),
        ("Mean energy", |measured| measured.energy),
    ];
    let panels: Vec<(&str, Vec<Curve>)> = quantities.iter().map(|(name, of)| (*name, curves(history, *of))).collect();
    let bytes = curves_picture(title, &panels, format)?;
    crate::model::replace_file(path, |out| std::io::Write::write_all(out, &bytes).map_err(without_path))?;
    Ok(())
}

fn curves(history: &[EpochRecord], of: Quantity) -> Vec<Curve> {
    let training = history.iter().map(|record| (record.epoch as f64, of(&record.train)));
    let validation = history.iter().filter_map(|record| Some((record.epoch as f64, of(record.validation.as_ref()?))));
    let curve = |name: &str, points: Vec<(f64, f64)>| Curve { name: name.to_owned(), points };
    let both = [curve("training", training.collect()), curve("validation", validation.collect())];
    both.into_iter().filter(|curve| !curve.points.is_empty()).collect()
}
