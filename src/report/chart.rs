//! What charts have in common: a frame with axes, round numbers at them, and a description for those who cannot see it.

use super::scale::Scale;
use super::svg::{Anchor, Svg};
use super::text::{escape, width};

/// Width of every chart, in its own units (pixels where it is shown as large as it was drawn).
pub const WIDTH: f64 = 440.0;
/// Height of every chart.
pub const HEIGHT: f64 = 294.0;
const LEFT: f64 = 46.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 38.0;
const BOTTOM: f64 = 44.0;
/// Of the numbers at the axes; see chart.css.
const TICK_SIZE: f64 = 11.5;
/// How much wider than Roboto the reader's font may be.
pub const ROOM: f64 = 1.16;

/// A finished chart.
#[derive(Clone, Debug)]
pub struct Chart {
    /// Its elements, in a box of [`WIDTH`] by [`HEIGHT`].
    pub body: String,
    /// What it shows, a sentence.
    pub description: String,
}

impl Chart {
    /// As an element of a page.
    pub fn inline(&self) -> String {
        format!(
            "<svg class=\"chart\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">\n{}</svg>\n",
            escape(&self.description),
            self.body
        )
    }
}

/// A chart under construction.
#[derive(Clone, Debug)]
pub struct Frame {
    pub x: Scale,
    pub y: Scale,
    pub svg: Svg,
    /// Lower end of the plot.
    pub bottom: f64,
}

impl Frame {
    /// Left border of the plot.
    pub const LEFT: f64 = LEFT;
    /// Right border of the plot.
    pub const RIGHT: f64 = WIDTH - RIGHT;
    /// Upper border of the plot.
    pub const TOP: f64 = TOP;
    /// Lower border of the plot and what is below it.
    pub const BOTTOM: f64 = HEIGHT - BOTTOM;

    /// Both axes in proportion, over the whole plot.
    pub fn linear(x: (f64, f64), y: (f64, f64)) -> Self {
        Frame::new(
            Scale::linear(x, (Self::LEFT, Self::RIGHT)),
            Scale::linear(y, (Self::BOTTOM, Self::TOP)),
            Self::BOTTOM,
        )
    }

    /// With scales of one's own.
    pub fn new(x: Scale, y: Scale, bottom: f64) -> Self {
        Frame { x, y, svg: Svg::default(), bottom }
    }

    /// Horizontal lines with numbers on the left.
    pub fn y_axis(&mut self, label: &str, wanted: usize) {
        for (value, text) in self.y.ticks(wanted) {
            let y = self.y.at(value);
            self.svg.line("grid", (Self::LEFT, y), (Self::RIGHT, y));
            self.svg.text("tick", (Self::LEFT - 7.0, y + 4.0), Anchor::End, &text);
        }
        self.svg.text("label", (4.0, 12.0), Anchor::Start, label);
    }

    /// The line below with numbers; as many as fit.
    pub fn x_axis(&mut self, label: &str) {
        let bottom = Self::BOTTOM;
        self.svg.line("axis", (Self::LEFT, self.bottom), (Self::RIGHT, self.bottom));
        let fitting = (2..=7).rev().map(|wanted| self.x.ticks(wanted)).find(|ticks| {
            let widths: f64 = ticks.iter().map(|(_, text)| width(text, TICK_SIZE) + 14.0).sum();
            widths < Self::RIGHT - Self::LEFT
        });
        for (value, text) in fitting.unwrap_or_default() {
            let x = self.x.at(value);
            self.svg.line("axis", (x, bottom), (x, bottom + 4.0));
            self.svg.text("tick", (x, bottom + 17.0), Anchor::Middle, &text);
        }
        self.svg.text("label", (Self::RIGHT, bottom + 36.0), Anchor::End, label);
    }

    /// A vertical line with a word above it.
    pub fn threshold(&mut self, class: &str, value: f64, word: &str) {
        let x = self.x.at(value);
        self.svg.line(class, (x, Self::TOP - 4.0), (x, self.bottom));
        let half = width(word, 12.0) / 2.0;
        let (x, anchor) = if x - half < Self::LEFT {
            (Self::LEFT, Anchor::Start)
        } else if x + half > Self::RIGHT {
            (Self::RIGHT, Anchor::End)
        } else {
            (x, Anchor::Middle)
        };
        self.svg.text("note", (x, Self::TOP - 8.0), anchor, word);
    }

    /// What the colours mean, on the right above the plot.
    pub fn legend(&mut self, entries: &[(&str, String)]) {
        let room = |text: &str| 15.0 + width(text, 12.0) * ROOM + 14.0;
        let mut x = Self::RIGHT + 14.0 - entries.iter().map(|(_, text)| room(text)).sum::<f64>();
        for (class, text) in entries {
            self.svg.rect(&format!("key {class}"), (x, 2.5), (10.0, 10.0));
            self.svg.text("label", (x + 15.0, 12.0), Anchor::Start, text);
            x += room(text);
        }
    }

    /// The chart.
    pub fn finish(self, description: String) -> Chart {
        Chart { body: self.svg.into_string(), description }
    }
}
