//! The first samples as a table, for people.

use std::io::Write;

use super::columns::Columns;
use super::pipeline::Outcome;
use super::sink::Writer;
use crate::cli::output::{clean, shorten};
use crate::edge::Score;

/// Samples that are shown.
const ROWS: usize = 20;
/// Columns of a name, at most.
const NAME_WIDTH: usize = 24;

/// Keeps the first samples, shows them at the end.
pub struct Table<W> {
    columns: Columns,
    width: usize,
    cells: Vec<Vec<String>>,
    rows: u64,
    out: W,
}

impl<W: Write> Table<W> {
    pub fn new(columns: Columns, width: usize, out: W) -> Self {
        Self { columns, width, cells: Vec::new(), rows: 0, out }
    }

    /// The most important first: what does not fit on the line is left out from the end.
    fn header(&self) -> Vec<String> {
        let columns = &self.columns;
        let mut names = vec![if columns.names { "name" } else { "sample" }.to_owned(), "class".to_owned()];
        names.extend(columns.labels.then(|| "label".to_owned()));
        names.extend(["prob".to_owned(), "margin".to_owned()]);
        names.extend(columns.decision.then(|| "in dist".to_owned()));
        names.extend(columns.scores.iter().filter(|score| !is_shown(**score)).map(|score| score.to_string()));
        names
    }

    fn cells(&self, outcome: &Outcome, row: usize) -> Vec<String> {
        let (columns, scored) = (&self.columns, &outcome.scored);
        let number = |value: f32| if value.is_nan() { "-".to_owned() } else { short(value) };
        let name = outcome.name(row).map(|name| shorten(&clean(name), NAME_WIDTH).into_owned());
        let mut cells = vec![name.unwrap_or_else(|| (outcome.first + row as u64).to_string())];
        cells.push(scored.class[row].to_string());
        if columns.labels {
            cells.push(outcome.label(row).map_or("-".to_owned(), |label| label.to_string()));
        }
        cells.extend([format!("{:.4}", scored.probability[row]), number(scored.margin[row])]);
        if columns.decision {
            cells.push(
                scored.in_distribution.get(row).map_or("-", |&inside| if inside { "yes" } else { "NO" }).to_owned(),
            );
        }
        let scores = columns.scores.iter().zip(outcome.scores(row, columns));
        cells.extend(scores.filter(|(score, _)| !is_shown(**score)).map(|(_, &value)| number(value)));
        cells
    }
}

impl<W: Write> Writer for Table<W> {
    fn write(&mut self, outcome: &Outcome) -> anyhow::Result<()> {
        for row in 0..outcome.scored.rows.min(ROWS - self.cells.len()) {
            let cells = self.cells(outcome, row);
            self.cells.push(cells);
        }
        self.rows += outcome.scored.rows as u64;
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> anyhow::Result<()> {
        let header = self.header();
        let (text, left_out) = lay_out(&header, &self.cells, self.width, self.columns.names);
        self.out.write_all(text.as_bytes())?;
        let more = self.rows - self.cells.len() as u64;
        let counted = |count: u64, what: &str| match count {
            0 => None,
            1 => Some(format!("1 more {what}")),
            count => Some(format!("{count} more {what}s")),
        };
        let notes = [counted(more, "sample"), counted(left_out as u64, "column")];
        let notes: Vec<String> = notes.into_iter().flatten().collect();
        if !notes.is_empty() {
            writeln!(self.out, "... {}; all with --format jsonl, csv, parquet", notes.join(", "))?;
        }
        Ok(self.out.flush()?)
    }
}

/// The score `margin` is the negative of the margin, which has a column of its own.
fn is_shown(score: Score) -> bool {
    score == Score::Margin
}

/// Lines of aligned columns, and how many columns did not fit.
fn lay_out(header: &[String], rows: &[Vec<String>], width: usize, left: bool) -> (String, usize) {
    let width_of = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([header[column].chars().count()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..header.len()).map(width_of).collect();
    let mut used = 0;
    let shown = widths.iter().take_while(|&&column| {
        used += column + 2;
        used <= width + 2
    });
    let shown = shown.count().max(1);
    let mut text = String::new();
    for row in std::iter::once(header).chain(rows.iter().map(Vec::as_slice)) {
        let cells = row.iter().zip(&widths).take(shown).enumerate().map(|(column, (cell, &width))| {
            if column == 0 && left { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
        });
        text += cells.collect::<Vec<_>>().join("  ").trim_end();
        text.push('\n');
    }
    (text, header.len() - shown)
}

/// Five digits or so.
fn short(value: f32) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        size if (0.001..100_000.0).contains(&size) => {
            let digits = if size < 10.0 {
                4
            } else if size < 1000.0 {
                2
            } else {
                0
            };
            format!("{value:.digits$}")
        }
        _ => format!("{value:.3e}"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::columns::tests::example;
    use super::*;

    fn shown(width: usize, batches: usize) -> String {
        let (columns, outcome) = example();
        let mut out = Vec::new();
        let mut table = Box::new(Table::new(columns, width, &mut out));
        for _ in 0..batches {
            table.write(&outcome).unwrap();
        }
        table.finish().unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn columns_are_aligned() {
        assert_eq!(
            shown(80, 1),
            "\
name        class  label    prob  margin  in dist  energy      msp
a.png           7      7  0.7500  9.5000      yes  -10.50  -0.7500
b, \"c\".png      1      0  0.5000       -       NO  2.0000  -0.5000
"
        );
    }

    #[test]
    fn what_does_not_fit_is_counted() {
        let text = shown(60, 30);
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        assert_eq!(text.lines().count(), ROWS + 2);
        assert!(
            text.ends_with("... 40 more samples, 1 more column; all with --format jsonl, csv, parquet\n"),
            "{text}"
        );
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!(
            [0.0, 1.0, -12.3456, 1234.5, 1e-7, 1e9].map(short),
            ["0", "1.0000", "-12.35", "1234", "1.000e-7", "1.000e9"]
        );
    }
}
