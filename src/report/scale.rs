//! From numbers to places, and which numbers to write at an axis.

use super::numbers::fixed;

/// Maps a range of numbers to a range of coordinates.
#[derive(Clone, Debug, PartialEq)]
pub struct Scale {
    domain: (f64, f64),
    range: (f64, f64),
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Linear,
    Logarithmic,
    Root,
}

impl Scale {
    /// In proportion. An empty range is widened.
    pub fn linear(domain: (f64, f64), range: (f64, f64)) -> Self {
        let (low, high) = domain;
        let domain = if high > low { domain } else { (low - 0.5, low + 0.5) };
        Scale { domain, range, kind: Kind::Linear }
    }

    /// By the logarithm; both ends are above 0.
    pub fn logarithmic(domain: (f64, f64), range: (f64, f64)) -> Self {
        Scale { domain, range, kind: Kind::Logarithmic }
    }

    /// By the square root, from 0 to `top`.
    pub fn root(top: f64, range: (f64, f64)) -> Self {
        Scale { domain: (0.0, top), range, kind: Kind::Root }
    }

    /// Place of a number; numbers outside are moved to the border.
    pub fn at(&self, value: f64) -> f64 {
        let transform = |value: f64| match self.kind {
            Kind::Linear => value,
            Kind::Logarithmic => value.max(self.domain.0).ln(),
            Kind::Root => value.max(0.0).sqrt(),
        };
        let (low, high) = (transform(self.domain.0), transform(self.domain.1));
        let share = ((transform(value) - low) / (high - low)).clamp(0.0, 1.0);
        self.range.0 + share * (self.range.1 - self.range.0)
    }

    /// Numbers to write, about `wanted` of them, with their texts.
    pub fn ticks(&self, wanted: usize) -> Vec<(f64, String)> {
        match self.kind {
            Kind::Linear => {}
            Kind::Logarithmic => return decades(self.domain),
            Kind::Root => return squares(self.domain.1, wanted),
        }
        let step = nice_step(self.domain, wanted);
        let digits = digits_of(step);
        let first = (self.domain.0 / step - 1e-9).ceil();
        let mut ticks = Vec::new();
        for index in 0..100 {
            let value = (first + f64::from(index)) * step;
            if value > self.domain.1 + step * 1e-9 {
                break;
            }
            ticks.push((value, fixed(value, digits)));
        }
        ticks
    }
}

/// 1, 2 or 5 times a power of ten, so that about `wanted` steps fill the range.
pub fn nice_step((low, high): (f64, f64), wanted: usize) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a few")]
    let rough = (high - low) / wanted.max(1) as f64;
    let power = 10f64.powf(rough.log10().floor());
    let factor = rough / power;
    let nice = if factor < 1.5 {
        1.0
    } else if factor < 3.5 {
        2.0
    } else if factor < 7.5 {
        5.0
    } else {
        10.0
    };
    nice * power
}

/// Digits after the point that a multiple of the step needs.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped")]
fn digits_of(step: f64) -> usize {
    (-(step.log10() + 1e-9).floor()).clamp(0.0, 12.0) as usize
}

/// Round numbers whose roots are evenly spread, more or less.
fn squares(top: f64, wanted: usize) -> Vec<(f64, String)> {
    let mut values = vec![0.0];
    for index in 1..=wanted {
        #[expect(clippy::cast_precision_loss, reason = "a few")]
        let share = index as f64 / wanted as f64;
        let rough = top * share * share;
        let power = 10f64.powf(rough.log10().floor());
        // one digit, rounded down
        let value = (rough / power + 1e-9).floor() * power;
        if value > values[values.len() - 1] {
            values.push(value);
        }
    }
    values.into_iter().map(|value| (value, fixed(value, if value == 0.0 { 0 } else { digits_of(value) }))).collect()
}

fn decades((low, high): (f64, f64)) -> Vec<(f64, String)> {
    let mut ticks = Vec::new();
    let mut value = 10f64.powf((low.log10() - 1e-9).ceil());
    while value <= high * (1.0 + 1e-9) && ticks.len() < 12 {
        ticks.push((value, format!("{value}")));
        value *= 10.0;
    }
    ticks
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(scale: &Scale, wanted: usize) -> Vec<String> {
        scale.ticks(wanted).into_iter().map(|(_, text)| text).collect()
    }

    #[test]
    fn ticks_are_round() {
        assert_eq!(texts(&Scale::linear((0.0, 1.0), (0.0, 1.0)), 5), ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]);
        assert_eq!(
            texts(&Scale::linear((-23.4, 6.0), (0.0, 1.0)), 5),
            ["\u{2212}20", "\u{2212}15", "\u{2212}10", "\u{2212}5", "0", "5"]
        );
        assert_eq!(
            texts(&Scale::linear((0.0, 1200.0), (0.0, 1.0)), 4),
            ["0", "200", "400", "600", "800", "1000", "1200"]
        );
        assert_eq!(texts(&Scale::logarithmic((0.001, 1.0), (0.0, 1.0)), 4), ["0.001", "0.01", "0.1", "1"]);
        assert_eq!(texts(&Scale::root(51.0, (0.0, 1.0)), 4), ["0", "3", "10", "20", "50"]);
    }

    #[test]
    fn places() {
        let scale = Scale::linear((0.0, 2.0), (10.0, 30.0));
        assert_eq!((scale.at(1.0), scale.at(-5.0), scale.at(9.0)), (20.0, 10.0, 30.0));
        assert_eq!(Scale::root(4.0, (0.0, 100.0)).at(1.0), 50.0);
        let scale = Scale::logarithmic((0.01, 1.0), (0.0, 100.0));
        assert!((scale.at(0.1) - 50.0).abs() < 1e-9);
        assert_eq!(scale.at(0.0), 0.0);
        // a range without extent
        assert!(Scale::linear((3.0, 3.0), (0.0, 10.0)).at(3.0).is_finite());
    }
}
