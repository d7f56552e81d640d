//! Elements of a picture.

use std::fmt::Write as _;

use super::text::escape;

/// Markup under construction. Looks come from classes; the style sheet is the page's or the picture's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Svg(String);

/// Where a text stands from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Anchor {
    Start,
    Middle,
    End,
}

impl Svg {
    pub fn into_string(self) -> String {
        self.0
    }

    pub fn line(&mut self, class: &str, (x1, y1): (f64, f64), (x2, y2): (f64, f64)) {
        let (x1, y1, x2, y2) = (place(x1), place(y1), place(x2), place(y2));
        let _ = writeln!(self.0, r#"<line class="{class}" x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}"/>"#);
    }

    pub fn rect(&mut self, class: &str, (x, y): (f64, f64), (width, height): (f64, f64)) {
        let (x, y, width, height) = (place(x), place(y), place(width.max(0.0)), place(height.max(0.0)));
        let _ = writeln!(self.0, r#"<rect class="{class}" x="{x}" y="{y}" width="{width}" height="{height}"/>"#);
    }

    pub fn circle(&mut self, class: &str, (x, y): (f64, f64), radius: f64) {
        let (x, y, radius) = (place(x), place(y), place(radius));
        let _ = writeln!(self.0, r#"<circle class="{class}" cx="{x}" cy="{y}" r="{radius}"/>"#);
    }

    /// A line through points; what cannot be seen at a tenth of a unit is left out.
    pub fn path(&mut self, class: &str, points: &[(f64, f64)], closed: bool) {
        let commands = commands(points);
        if commands.is_empty() {
            return;
        }
        let end = if closed { "Z" } else { "" };
        let _ = writeln!(self.0, r#"<path class="{class}" d="{commands}{end}"/>"#);
    }

    pub fn text(&mut self, class: &str, (x, y): (f64, f64), anchor: Anchor, text: &str) {
        let (x, y) = (place(x), place(y));
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        let text = escape(text);
        let _ = writeln!(self.0, r#"<text class="{class}" x="{x}" y="{y}" text-anchor="{anchor}">{text}</text>"#);
    }

    /// Something drawn elsewhere, moved to a place.
    pub fn group(&mut self, (x, y): (f64, f64), content: &str) {
        let _ = writeln!(self.0, r#"<g transform="translate({} {})">"#, place(x), place(y));
        self.0.push_str(content);
        self.0.push_str("</g>\n");
    }
}

/// A coordinate to a tenth, without needless digits.
fn place(value: f64) -> String {
    let text = format!("{value:.1}");
    match text.strip_suffix(".0") {
        Some("-0") => "0".to_owned(),
        Some(whole) => whole.to_owned(),
        None => text,
    }
}

/// Path data; of points in one horizontal or vertical line only the ends are kept.
fn commands(points: &[(f64, f64)]) -> String {
    let rounded = |value: f64| (value * 10.0).round();
    let mut kept: Vec<(f64, f64)> = Vec::new();
    for &(x, y) in points {
        let (x, y) = (rounded(x), rounded(y));
        #[expect(clippy::float_cmp, reason = "they are whole numbers")]
        if let [.., a, b] = kept[..]
            && ((a.0 == b.0 && b.0 == x) || (a.1 == b.1 && b.1 == y))
        {
            kept.pop();
        }
        if kept.last() != Some(&(x, y)) {
            kept.push((x, y));
        }
    }
    let mut text = String::new();
    for (index, (x, y)) in kept.iter().enumerate() {
        let letter = if index == 0 { 'M' } else { 'L' };
        let _ = write!(text, "{letter}{} {}", place(x / 10.0), place(y / 10.0));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_can_be_seen_is_written() {
        let steps = [(0.0, 0.0), (0.001, 0.0), (1.0, 0.0), (2.0, 0.0), (2.0, 5.0), (2.0, 9.04)];
        assert_eq!(commands(&steps), "M0 0L2 0L2 9");
        assert_eq!(commands(&[]), "");
    }

    #[test]
    fn text_is_escaped() {
        let mut svg = Svg::default();
        svg.text("tick", (1.0, 2.25), Anchor::End, "<a>");
        assert_eq!(svg.into_string(), "<text class=\"tick\" x=\"1\" y=\"2.2\" text-anchor=\"end\">&lt;a&gt;</text>\n");
    }
}
