//! Quantities over the epochs of a run.

use super::chart::{Chart, Frame, HEIGHT, WIDTH};
use super::colours::{chart_style, class_of_set, resolved};
use super::raster;
use super::scale::nice_step;
use super::svg::{Anchor, Svg};
use super::text::{escape, shorten};
use super::{Format, ReportError};

const MARGIN: f64 = 28.0;
const GAP: f64 = 26.0;
const TITLE: f64 = 26.0;
const HEAD: f64 = 74.0;
const COLUMNS: usize = 2;

/// A line of a chart.
#[derive(Clone, Debug, PartialEq)]
pub struct Curve {
    /// What the legend calls it.
    pub name: String,
    /// Epoch and value; values that are no finite numbers are left out.
    pub points: Vec<(f64, f64)>,
}

/// Charts side by side, two in a row: title and curves of each. HTML is not written.
///
/// # Errors
/// A picture that cannot be rasterised.
pub fn curves_picture(title: &str, panels: &[(&str, Vec<Curve>)], format: Format) -> Result<Vec<u8>, ReportError> {
    let svg = picture(title, panels);
    match format {
        Format::Png => raster::png(&svg),
        Format::Svg | Format::Html => Ok(svg.into_bytes()),
    }
}

#[expect(clippy::cast_precision_loss, reason = "a few panels")]
fn picture(title: &str, panels: &[(&str, Vec<Curve>)]) -> String {
    let rows = panels.len().div_ceil(COLUMNS);
    let width = 2.0 * MARGIN + COLUMNS as f64 * WIDTH + (COLUMNS - 1) as f64 * GAP;
    let height = HEAD + rows as f64 * (TITLE + HEIGHT + GAP);
    let mut svg = Svg::default();
    svg.text("heading", (MARGIN, 46.0), Anchor::Start, &shorten(title, 60));
    for (index, (name, curves)) in panels.iter().enumerate() {
        let x = MARGIN + (index % COLUMNS) as f64 * (WIDTH + GAP);
        let y = HEAD + (index / COLUMNS) as f64 * (TITLE + HEIGHT + GAP);
        svg.text("title", (x, y + 14.0), Anchor::Start, name);
        svg.group((x, y + TITLE), &chart(name, curves).body);
    }
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"chart\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {width} {height}\">\n<title>{}</title>\n<style>\n{}</style>\n\
         <rect class=\"ground\" width=\"100%\" height=\"100%\"/>\n{}</svg>\n",
        escape(title),
        resolved(&(chart_style() + STYLE)),
        svg.into_string()
    )
}

const STYLE: &str = "\
.ground{fill:var(--card)}
.heading{font-size:22px;font-weight:700;fill:var(--ink)}
.title{font-size:14.5px;font-weight:700;fill:var(--ink)}
.key.in{fill:var(--in)}.key.out0{fill:var(--out0)}
";

fn chart(name: &str, curves: &[Curve]) -> Chart {
    let finite = |curve: &Curve| -> Vec<(f64, f64)> {
        curve.points.iter().copied().filter(|(x, y)| x.is_finite() && y.is_finite()).collect()
    };
    let lines: Vec<Vec<(f64, f64)>> = curves.iter().map(finite).collect();
    let all = || lines.iter().flatten();
    let range = |values: &mut dyn Iterator<Item = f64>| {
        values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)))
    };
    let x = range(&mut all().map(|point| point.0));
    let y = range(&mut all().map(|point| point.1));
    if !x.0.is_finite() || !y.0.is_finite() {
        return Frame::linear((0.0, 1.0), (0.0, 1.0)).finish(format!("{name}: nothing to show"));
    }
    let room = (y.1 - y.0) * 0.05;
    let mut frame = Frame::linear(x, (y.0 - room, y.1 + room));
    frame.y_axis("", 5);
    epoch_axis(&mut frame, x);
    for (index, points) in lines.iter().enumerate() {
        let class = class_of_set(index);
        let points: Vec<(f64, f64)> = points.iter().map(|&(x, y)| (frame.x.at(x), frame.y.at(y))).collect();
        match points.as_slice() {
            [only] => frame.svg.circle(&format!("dot {class}"), *only, 4.5),
            points => frame.svg.path(&format!("curve {class}"), points, false),
        }
    }
    let classes: Vec<String> = (0..curves.len()).map(class_of_set).collect();
    let entries: Vec<(&str, String)> =
        classes.iter().zip(curves).map(|(class, curve)| (class.as_str(), curve.name.clone())).collect();
    frame.legend(&entries);
    frame.finish(format!("{name} over the epochs"))
}

/// Numbers below the axis: whole epochs, as many as fit.
#[expect(clippy::cast_possible_truncation, reason = "epochs are few")]
fn epoch_axis(frame: &mut Frame, (first, last): (f64, f64)) {
    const MOST: f64 = 12.0;
    let bottom = Frame::BOTTOM;
    frame.svg.line("axis", (Frame::LEFT, bottom), (Frame::RIGHT, bottom));
    let step = if last - first <= MOST { 1.0 } else { nice_step((first, last), 8).max(1.0) };
    let (low, high) = ((first / step).ceil() as i64, (last / step).floor() as i64);
    for tick in low..=high {
        let value = tick as f64 * step;
        let x = frame.x.at(value);
        frame.svg.line("axis", (x, bottom), (x, bottom + 4.0));
        frame.svg.text("tick", (x, bottom + 17.0), Anchor::Middle, &format!("{value}"));
    }
    frame.svg.text("label", (Frame::RIGHT, bottom + 36.0), Anchor::End, "epoch");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn curves_with_one_point_many_and_none() {
        let curve = |points: &[(f64, f64)]| Curve { name: "<training>".into(), points: points.to_vec() };
        let panels = [
            ("Loss", vec![curve(&[(1.0, 0.5), (2.0, f64::NAN), (3.0, 0.25)])]),
            ("Accuracy", vec![curve(&[(1.0, 0.5)])]),
            ("Energy", vec![curve(&[])]),
        ];
        let svg = String::from_utf8(curves_picture("a & b", &panels, Format::Svg).unwrap()).unwrap();
        assert!(svg.contains("a &amp; b") && svg.contains("&lt;training&gt;") && !svg.contains("NaN"));
        assert_eq!(svg.matches("class=\"curve").count(), 1);
        // epochs 1, 2, 3 of the first chart, 1 of the second
        let ticks = |number: &str| svg.matches(&format!("text-anchor=\"middle\">{number}<")).count();
        assert_eq!((ticks("1"), ticks("2"), ticks("3"), ticks("1.5")), (2, 1, 1, 0));
        let png = curves_picture("a", &panels, Format::Png).unwrap();
        assert!(png.starts_with(b"\x89PNG"));
    }
}
