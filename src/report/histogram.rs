//! How values of several sets are distributed, over each other.

use super::chart::{Chart, Frame};
use super::scale::Scale;
use crate::metrics::{quantile_of_sorted, sorted};

/// Values of one set.
#[derive(Clone, Debug)]
pub struct Series<'a> {
    /// Class of its colour.
    pub class: String,
    /// What it is called beside the plot, where the report has no legend for it.
    pub key: Option<String>,
    /// Its values; infinite ones are not drawn.
    pub values: &'a [f32],
}

/// A line to draw at a value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Threshold {
    /// Where.
    pub value: f64,
    /// Whether it was fitted, not just measured.
    pub calibrated: bool,
}

/// Words of a histogram.
#[derive(Clone, Debug)]
pub struct Words {
    pub axis: String,
    pub description: String,
    /// Above the threshold.
    pub threshold: String,
}

/// Bins that all sets share, and the share of each set in each, divided by the width (a density).
#[derive(Clone, Debug, PartialEq)]
struct Bins {
    low: f64,
    width: f64,
    densities: Vec<Vec<f64>>,
}

/// Share of a set that may lie beyond each end of the axis, if drawing it would squeeze the rest.
const TAIL: f64 = 0.002;
/// A set whose highest bin is that many times lower than another's would be flat.
const FLAT: f64 = 6.0;
/// With more sets, only the first is filled.
const CROWD: usize = 4;

/// Densities over common bins. Where one is many times as high as another, the vertical axis grows with the square root.
pub fn histogram(series: &[Series<'_>], threshold: Option<Threshold>, words: Words) -> Chart {
    let Some(bins) = Bins::new(series) else {
        let mut frame = Frame::linear((0.0, 1.0), (0.0, 1.0));
        frame.svg.text("note", (Frame::LEFT, 90.0), super::svg::Anchor::Start, "no finite values");
        return frame.finish(words.description);
    };
    let highest = |densities: &Vec<f64>| densities.iter().copied().fold(0.0, f64::max);
    let peaks: Vec<f64> = bins.densities.iter().map(highest).filter(|peak| *peak > 0.0).collect();
    let top = peaks.iter().copied().fold(0.0, f64::max);
    let least = peaks.iter().copied().fold(f64::INFINITY, f64::min);
    let y_range = (Frame::BOTTOM, Frame::TOP + 6.0);
    let (y, label) = if top > FLAT * least {
        (Scale::root(top, y_range), "density, square-root scale")
    } else {
        (Scale::linear((0.0, top), y_range), "density")
    };
    #[expect(clippy::cast_precision_loss, reason = "some dozen bins")]
    let end = bins.low + bins.width * bins.densities[0].len() as f64;
    let mut frame = Frame::new(Scale::linear((bins.low, end), (Frame::LEFT, Frame::RIGHT)), y, Frame::BOTTOM);
    frame.y_axis(label, 4);
    for (index, (one, densities)) in series.iter().zip(&bins.densities).enumerate() {
        let outline = outline(&frame, &bins, densities);
        let faint = if series.len() > CROWD && index > 0 { " faint" } else { "" };
        frame.svg.path(&format!("area {}{faint}", one.class), &outline, true);
    }
    for (one, densities) in series.iter().zip(&bins.densities) {
        let outline = outline(&frame, &bins, densities);
        frame.svg.path(&format!("curve {}", one.class), &outline, false);
    }
    frame.x_axis(&words.axis);
    let keys: Vec<(&str, String)> =
        series.iter().filter_map(|one| Some((one.class.as_str(), one.key.clone()?))).collect();
    frame.legend(&keys);
    if let Some(threshold) = threshold.filter(|threshold| threshold.value.is_finite()) {
        let class = if threshold.calibrated { "calibrated" } else { "threshold" };
        frame.threshold(class, threshold.value, &words.threshold);
    }
    frame.finish(words.description)
}

/// The steps of a histogram from the axis and back to it; empty bins at the ends are left out.
#[expect(clippy::cast_precision_loss, reason = "some dozen bins")]
fn outline(frame: &Frame, bins: &Bins, densities: &[f64]) -> Vec<(f64, f64)> {
    let filled = |density: &f64| *density > 0.0;
    let (Some(first), Some(last)) = (densities.iter().position(filled), densities.iter().rposition(filled)) else {
        return Vec::new();
    };
    let ground = frame.y.at(0.0);
    let x = |index: usize| frame.x.at(bins.low + bins.width * index as f64);
    let mut points = vec![(x(first), ground)];
    for (index, density) in densities.iter().enumerate().take(last + 1).skip(first) {
        let y = frame.y.at(*density);
        points.extend([(x(index), y), (x(index + 1), y)]);
    }
    points.push((x(last + 1), ground));
    points
}

impl Bins {
    /// `None` where no set has a finite value.
    #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "values are within the bins")]
    fn new(series: &[Series<'_>]) -> Option<Self> {
        let finite = |series: &Series<'_>| {
            let values: Vec<f64> = series.values.iter().map(|v| f64::from(*v)).filter(|v| v.is_finite()).collect();
            sorted(&values).ok()
        };
        let all: Vec<Option<Vec<f64>>> = series.iter().map(finite).collect();
        let (low, high) = range(all.iter().flatten())?;
        let smallest = all.iter().flatten().map(Vec::len).min()?;
        let count = ((smallest as f64).sqrt() * 1.5).clamp(16.0, 64.0).round();
        let width = (high - low) / count;
        let densities = series.iter().zip(&all).map(|(one, finite)| {
            let mut counts = vec![0usize; count as usize];
            for value in finite.iter().flatten().filter(|value| (low..=high).contains(*value)) {
                let index = ((value - low) / width) as usize;
                counts[index.min(count as usize - 1)] += 1;
            }
            counts.into_iter().map(|c| c as f64 / (one.values.len() as f64 * width)).collect()
        });
        Some(Bins { low, width, densities: densities.collect() })
    }
}

/// From the least to the largest value; far-off values of a small share are left out.
fn range<'a>(all: impl Iterator<Item = &'a Vec<f64>> + Clone) -> Option<(f64, f64)> {
    let at = |level: f64| all.clone().map(move |values| quantile_of_sorted(values, level));
    let least = |values: &mut dyn Iterator<Item = f64>| values.fold(f64::INFINITY, f64::min);
    let most = |values: &mut dyn Iterator<Item = f64>| values.fold(f64::NEG_INFINITY, f64::max);
    let (whole_low, whole_high) = (least(&mut at(0.0)), most(&mut at(1.0)));
    if whole_low > whole_high {
        return None;
    }
    let (low, high) = (least(&mut at(TAIL)), most(&mut at(1.0 - TAIL)));
    // a tail is shown where it costs little
    let reach = (high - low) * 0.15;
    let low = if whole_low >= low - reach { whole_low } else { low };
    let high = if whole_high <= high + reach { whole_high } else { high };
    if high > low {
        return Some((low, high));
    }
    let half = (low.abs() * 0.05).max(0.5);
    Some((low - half, low + half))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(values: &[f32]) -> Series<'_> {
        Series { class: "in".into(), key: None, values }
    }

    #[test]
    fn every_set_has_the_area_one() {
        let (a, b): (Vec<f32>, Vec<f32>) = ((0..500).map(|i| i as f32).collect(), vec![7.0; 40]);
        let bins = Bins::new(&[series(&a), series(&b)]).unwrap();
        for densities in &bins.densities {
            let area: f64 = densities.iter().map(|density| density * bins.width).sum();
            assert!((area - 1.0).abs() < 1e-9, "{area}");
        }
    }

    #[test]
    fn values_far_off_do_not_squeeze_the_rest() {
        let mut values: Vec<f32> = (0..5000).map(|i| i as f32 / 5000.0).collect();
        values.push(1e9);
        let bins = Bins::new(&[series(&values)]).unwrap();
        assert!(bins.low + bins.width * 64.0 < 1.2);
        values.push(f32::INFINITY);
        assert!(Bins::new(&[series(&values)]).is_some());
    }

    #[test]
    fn sets_without_extent_or_finite_values() {
        let bins = Bins::new(&[series(&[3.0, 3.0])]).unwrap();
        assert!(bins.low < 3.0 && bins.width > 0.0);
        assert_eq!(Bins::new(&[series(&[f32::INFINITY])]), None);
        assert_eq!(Bins::new(&[series(&[])]), None);
    }
}
