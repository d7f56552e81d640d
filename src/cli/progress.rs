//! How far it is: a bar with rate and remaining time, where somebody looks at it.

use std::io::IsTerminal as _;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// A bar on standard error, if that is a terminal.
#[derive(Debug)]
pub struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// `rows` is how many samples there will be, where that is known.
    pub fn new(rows: Option<u64>, wanted: bool) -> Self {
        if !wanted || !std::io::stderr().is_terminal() {
            return Self { bar: ProgressBar::hidden() };
        }
        let (bar, template) = match rows {
            Some(rows) => (ProgressBar::new(rows), "{wide_bar} {human_pos} of {human_len}, {per_sec:.0}, {eta} left"),
            None => (ProgressBar::new_spinner(), "{spinner} {human_pos} samples, {per_sec:.0}, {elapsed}"),
        };
        // a template that does not parse would be a bug that hides nothing but the bar
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(200));
        Self { bar }
    }

    /// Some more samples are written.
    pub fn advance(&self, rows: usize) {
        self.bar.inc(rows as u64);
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
