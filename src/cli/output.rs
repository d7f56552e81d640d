//! Text for people: labelled rows, wrapped to the terminal.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::{IsTerminal, Write as _};

use anyhow::Context as _;
use clap::builder::styling::{AnsiColor, Style};

/// Width where there is no terminal to ask.
const DEFAULT_WIDTH: usize = 80;
/// Lines longer than this are hard to read.
const MAX_WIDTH: usize = 100;
/// Below this, columns make no sense; the terminal may wrap then.
const MIN_WIDTH: usize = 40;
/// Columns before the value of a row: two of indent, the label, two between.
const VALUE_COLUMN: usize = 14;

/// Where a page goes: results to one, diagnostics to the other.
#[derive(Clone, Copy, Debug)]
enum Stream {
    Stdout,
    Stderr,
}

/// A page of text under construction.
#[derive(Debug)]
pub struct Page {
    stream: Stream,
    width: usize,
    colour: bool,
    /// Whether lines are broken; a log file greps better with whole sentences.
    wrap_errors: bool,
    text: String,
}

impl Page {
    /// For standard output.
    pub fn for_stdout() -> Self {
        let stdout = std::io::stdout();
        Page {
            stream: Stream::Stdout,
            width: terminal_width(terminal_size::terminal_size_of(&stdout)),
            colour: wants_colour(&stdout),
            wrap_errors: stdout.is_terminal(),
            text: String::new(),
        }
    }

    /// For standard error.
    pub fn for_stderr() -> Self {
        let stderr = std::io::stderr();
        Page {
            stream: Stream::Stderr,
            width: terminal_width(terminal_size::terminal_size_of(&stderr)),
            colour: wants_colour(&stderr),
            wrap_errors: stderr.is_terminal(),
            text: String::new(),
        }
    }

    #[cfg(test)]
    pub fn plain(width: usize) -> Self {
        Page { stream: Stream::Stdout, width, colour: false, wrap_errors: true, text: String::new() }
    }

    /// Sends the page where it was made for.
    pub fn print(self) -> anyhow::Result<()> {
        match self.stream {
            Stream::Stdout => print(&self.text),
            Stream::Stderr => Ok(std::io::stderr().write_all(self.text.as_bytes())?),
        }
    }

    /// The text.
    #[cfg(test)]
    pub fn finish(self) -> String {
        self.text
    }

    /// An empty line, unless the page begins here or one is there already.
    pub fn blank(&mut self) {
        if !self.text.is_empty() && !self.text.ends_with("\n\n") {
            self.text.push('\n');
        }
    }

    /// A line in bold.
    pub fn heading(&mut self, text: &str) {
        for line in wrap(&clean(text), self.width, LongWord::Keep) {
            let line = self.styled(Style::new().bold(), &line);
            self.line(&line);
        }
    }

    /// A paragraph.
    pub fn paragraph(&mut self, text: &str) {
        for line in wrap(&clean(text), self.width, LongWord::Keep) {
            self.line(&line);
        }
    }

    /// A line to copy: indented, never broken or shortened.
    pub fn code(&mut self, text: &str) {
        let line = format!("    {}", clean(text));
        self.line(&line);
    }

    /// A line of a table, never broken; names in it are cleaned by the caller.
    pub fn plain_line(&mut self, text: &str) {
        self.line(text);
    }

    /// As [`Self::plain_line`], less prominent: titles of columns, and what is beside the point.
    pub fn faint(&mut self, text: &str) {
        let line = self.styled(Style::new().dimmed(), text.trim_end());
        self.line(&line);
    }

    /// A call in Python to copy; the argument gets a line of its own where the call is too long.
    pub fn call(&mut self, function: &str, argument: &str) {
        if function.len() + argument.chars().count() + "    ()".len() <= self.width {
            self.code(&format!("{function}({argument})"));
        } else {
            self.code(&format!("{function}("));
            self.code(&format!("    {argument})"));
        }
    }

    /// A label and what it says. Words that don't fit are shortened in the middle. Nothing for an empty value.
    pub fn row(&mut self, label: &str, value: &str) {
        self.labelled(Style::new(), label, value, LongWord::Shorten);
    }

    /// As [`Self::row`], for paths and commands: words are kept whole, even if they stick out.
    pub fn whole_row(&mut self, label: &str, value: &str) {
        self.labelled(Style::new(), label, value, LongWord::Keep);
    }

    /// As [`Self::row`], marked as something to heed.
    pub fn warning_row(&mut self, label: &str, value: &str) {
        self.labelled(AnsiColor::Yellow.on_default(), label, value, LongWord::Keep);
    }

    /// One label with several values below each other.
    pub fn rows<S: AsRef<str>>(&mut self, label: &str, values: impl IntoIterator<Item = S>) {
        let mut label = label;
        for value in values {
            self.row(label, value.as_ref());
            label = "";
        }
    }

    /// `error: sentence`, as clap does it.
    pub fn error(&mut self, text: &str) {
        self.diagnostic(AnsiColor::Red.on_default().bold(), "error:", text);
    }

    /// `warning: sentence`.
    pub fn warning(&mut self, text: &str) {
        self.diagnostic(AnsiColor::Yellow.on_default().bold(), "warning:", text);
    }

    fn diagnostic(&mut self, style: Style, label: &str, text: &str) {
        let text = clean(text);
        let width = if self.wrap_errors { self.width - label.len() - 1 } else { usize::MAX };
        for (index, line) in wrap(&text, width, LongWord::Keep).iter().enumerate() {
            let line = if index == 0 {
                format!("{} {line}", self.styled(style, label))
            } else {
                format!("{:indent$}{line}", "", indent = label.len() + 1)
            };
            self.line(&line);
        }
    }

    fn labelled(&mut self, style: Style, label: &str, value: &str, long: LongWord) {
        let value = clean(value);
        for (index, line) in wrap(&value, self.width - VALUE_COLUMN, long).iter().enumerate() {
            let label = if index == 0 { label } else { "" };
            let padding = (VALUE_COLUMN - 2).saturating_sub(label.len()).max(1);
            let style = if style == Style::new() { Style::new().dimmed() } else { style };
            let line = format!("  {}{:padding$}{line}", self.styled(style, label), "");
            self.line(&line);
        }
    }

    fn styled(&self, style: Style, text: &str) -> String {
        if self.colour && !text.is_empty() { format!("{style}{text}{style:#}") } else { text.to_owned() }
    }

    fn line(&mut self, line: &str) {
        self.text.push_str(line.trim_end());
        self.text.push('\n');
    }
}

/// Columns that a table on standard output may have.
pub fn page_width() -> usize {
    terminal_width(terminal_size::terminal_size_of(std::io::stdout()))
}

fn terminal_width(size: Option<(terminal_size::Width, terminal_size::Height)>) -> usize {
    let columns = std::env::var("COLUMNS").ok().and_then(|value| value.parse().ok());
    size.map(|(width, _)| usize::from(width.0)).or(columns).unwrap_or(DEFAULT_WIDTH).clamp(MIN_WIDTH, MAX_WIDTH)
}

fn wants_colour(stream: &impl IsTerminal) -> bool {
    let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    stream.is_terminal() && !set("NO_COLOR") && std::env::var_os("TERM").is_some_and(|term| term != "dumb")
}

/// What to do with a word that is longer than the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LongWord {
    Keep,
    Shorten,
}

/// Breaks at spaces; runs of spaces inside a line are kept. At least one line, except for an empty text.
fn wrap(text: &str, width: usize, long: LongWord) -> Vec<String> {
    let mut lines = Vec::new();
    for paragraph in text.lines() {
        let mut line = String::new();
        let mut columns = 0;
        let mut pending = 0;
        for word in paragraph.split(' ') {
            if word.is_empty() {
                pending += 1;
                continue;
            }
            let word = match long {
                LongWord::Shorten => shorten(word, width),
                LongWord::Keep => Cow::Borrowed(word),
            };
            let length = word.chars().count();
            let gap = if columns == 0 { 0 } else { pending + 1 };
            if columns > 0 && columns + gap + length > width {
                lines.push(std::mem::take(&mut line));
                columns = 0;
            }
            let gap = if columns == 0 { 0 } else { gap };
            let _ = write!(line, "{:gap$}{word}", "");
            columns += gap + length;
            pending = 0;
        }
        if columns > 0 {
            lines.push(line);
        }
    }
    lines
}

/// Takes the middle out of a name that is too long: both ends tell exported names apart.
pub fn shorten(name: &str, width: usize) -> Cow<'_, str> {
    const MARK: &str = "...";
    let length = name.chars().count();
    if length <= width {
        return Cow::Borrowed(name);
    }
    let kept = width.saturating_sub(MARK.len()).max(2);
    let head = kept.div_ceil(2);
    let tail = kept - head;
    let start: String = name.chars().take(head).collect();
    let end: String = name.chars().skip(length - tail).collect();
    Cow::Owned(format!("{start}{MARK}{end}"))
}

/// Names come out of files: control characters (terminal escapes among them) and characters that turn the direction
/// of text are spelled out. Line breaks stay.
pub fn clean(text: &str) -> Cow<'_, str> {
    let harmful = |c: char| {
        (c.is_control() && c != '\n')
            || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}')
    };
    if !text.contains(harmful) {
        return Cow::Borrowed(text);
    }
    let mut cleaned = String::with_capacity(text.len());
    for c in text.chars() {
        if harmful(c) {
            cleaned.extend(c.escape_default());
        } else {
            cleaned.push(c);
        }
    }
    Cow::Owned(cleaned)
}

/// Drops the numbers of "No such file or directory (os error 2)".
pub fn without_error_numbers(text: &str) -> String {
    match text.split_once(" (os error ") {
        Some((head, tail)) => match tail.split_once(')') {
            Some((_, rest)) => format!("{head}{}", without_error_numbers(rest)),
            None => text.to_owned(),
        },
        None => text.to_owned(),
    }
}

/// A size as people say it: "812 bytes", "12.3 kB", "1.26 GB".
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["kB", "MB", "GB", "TB"];
    if bytes < 1000 {
        return format!("{bytes} bytes");
    }
    #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
    let mut value = bytes as f64 / 1000.0;
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    let digits = if value < 9.995 { 2 } else { usize::from(value < 99.95) };
    format!("{value:.digits$} {}", UNITS[unit])
}

/// Writes to standard output.
pub fn print(text: &str) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).context("write standard output")
}

/// Writes warnings to standard error.
pub fn warn(warnings: &[String]) -> anyhow::Result<()> {
    let mut page = Page::for_stderr();
    for warning in warnings {
        page.warning(warning);
    }
    page.print()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_wrap_under_their_value() {
        let mut page = Page::plain(40);
        page.heading("model.onnx");
        page.blank();
        page.blank();
        page.row("rule", "softmax-cross-entropy");
        page.row("nodes", "Softmax 'a', Log 'b', GatherElements 'c' and more");
        page.row("none", "");
        page.rows("inputs", ["x  float32[N, 784]", "y  int64[N]"]);
        assert_eq!(
            page.finish(),
            "\
model.onnx

  rule        softmax-cross-entropy
  nodes       Softmax 'a', Log 'b',
              GatherElements 'c' and
              more
  inputs      x  float32[N, 784]
              y  int64[N]
"
        );
    }

    #[test]
    fn no_line_of_a_row_is_wider_than_the_page() {
        let name = "/model/encoder/layers.11/self_attention/MatMul_3_output_0";
        for width in MIN_WIDTH..=MAX_WIDTH {
            let mut page = Page::plain(width);
            page.row("logits", &format!("{name} {name}, float32[N, 10]"));
            for line in page.finish().lines() {
                assert!(line.chars().count() <= width, "{width}: {line}");
            }
        }
    }

    #[test]
    fn a_long_call_stays_valid_python() {
        let mut page = Page::plain(40);
        page.call("f", "\"short\"");
        page.call("options.register", "\"/usr/lib/libelonnx.so\"");
        assert_eq!(page.finish(), "    f(\"short\")\n    options.register(\n        \"/usr/lib/libelonnx.so\")\n");
    }

    #[test]
    fn long_names_keep_both_ends() {
        assert_eq!(shorten("/model/head/Gemm_output_0", 15), "/model...tput_0");
        assert_eq!(shorten("short", 15), "short");
        assert_eq!(shorten("größenordnung", 8).chars().count(), 8);
        assert_eq!(shorten("0123456789", 0), "0...9");
    }

    #[test]
    fn terminal_escapes_in_names_are_spelled_out() {
        assert_eq!(clean("a\u{1b}[31mb"), "a\\u{1b}[31mb");
        assert_eq!(clean("evil\u{202e}xnno"), "evil\\u{202e}xnno");
        assert!(matches!(clean("größe/π"), Cow::Borrowed(_)));
    }

    #[test]
    fn sizes() {
        assert_eq!(size(812), "812 bytes");
        assert_eq!(size(1000), "1.00 kB");
        assert_eq!(size(12_345), "12.3 kB");
        assert_eq!(size(999_999), "1.00 MB");
        assert_eq!(size(1_258_291_200), "1.26 GB");
        assert_eq!(size(10_000_000_000_000_000), "10000 TB");
    }

    #[test]
    fn error_numbers_are_dropped() {
        assert_eq!(
            without_error_numbers("read x: No such file or directory (os error 2)"),
            "read x: No such file or directory"
        );
        assert_eq!(without_error_numbers("a (os error 2): b (os error 13)."), "a: b.");
        assert_eq!(without_error_numbers("plain"), "plain");
    }

    #[test]
    fn errors_hang_under_the_first_word() {
        let mut page = Page::plain(40);
        page.error("several values could be the logits: a, b; choose one with --logits NAME");
        assert_eq!(
            page.finish(),
            "error: several values could be the\n       logits: a, b; choose one with\n       --logits NAME\n"
        );
    }
}
