//! Comma-separated values with a header (RFC 4180).

use std::io::Write;

use super::columns::Columns;
use super::pipeline::Outcome;
use super::sink::Writer;

/// Writes lines.
pub struct Csv<W: Write> {
    columns: Columns,
    out: csv::Writer<W>,
}

impl<W: Write> Csv<W> {
    pub fn new(columns: Columns, out: W) -> anyhow::Result<Self> {
        let mut out = csv::Writer::from_writer(out);
        out.write_record(columns.flat()).map_err(std::io::Error::from)?;
        Ok(Self { columns, out })
    }
}

impl<W: Write> Writer for Csv<W> {
    fn write(&mut self, outcome: &Outcome) -> anyhow::Result<()> {
        let mut field = String::new();
        for row in 0..outcome.scored.rows {
            self.write_row(outcome, row, &mut field).map_err(std::io::Error::from)?;
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> anyhow::Result<()> {
        Ok(self.out.flush()?)
    }
}

impl<W: Write> Csv<W> {
    fn write_row(&mut self, outcome: &Outcome, row: usize, field: &mut String) -> csv::Result<()> {
        let (scored, columns, out) = (&outcome.scored, &self.columns, &mut self.out);
        let mut put = |value: &dyn std::fmt::Display| {
            use std::fmt::Write as _;
            field.clear();
            let _ = write!(field, "{value}");
            out.write_field(field.as_str())
        };
        put(&(outcome.first + row as u64))?;
        if columns.names {
            put(&outcome.name(row).unwrap_or_default())?;
        }
        put(&scored.class[row])?;
        put(&scored.probability[row])?;
        match scored.margin[row] {
            margin if margin.is_nan() => put(&"")?,
            margin => put(&margin)?,
        }
        for score in outcome.scores(row, columns) {
            put(score)?;
        }
        if columns.decision {
            match scored.in_distribution.get(row) {
                Some(inside) => put(inside)?,
                None => put(&"")?,
            }
        }
        if columns.labels {
            match outcome.label(row) {
                Some(label) => put(&label)?,
                None => put(&"")?,
            }
        }
        if columns.lists_classes() {
            for (class, probability) in outcome.top(row, columns) {
                put(&class)?;
                put(&probability)?;
            }
        }
        out.write_record(None::<&[u8]>)
    }
}

#[cfg(test)]
mod tests {
    use super::super::columns::tests::{bare_example, example};
    use super::*;

    fn lines((columns, outcome): (Columns, Outcome)) -> String {
        let mut out = Vec::new();
        let mut writer = Box::new(Csv::new(columns, &mut out).unwrap());
        writer.write(&outcome).unwrap();
        writer.finish().unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn all_columns() {
        let text = lines(example());
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].starts_with("index,name,class,probability,margin,score_energy"));
        assert_eq!(lines[1], "10,a.png,7,0.75,9.5,-10.5,-0.75,true,7,7,0.75,3,0.25");
        assert_eq!(lines[2], "11,\"b, \"\"c\"\".png\",1,0.5,,2,-0.5,false,0,1,0.5,0,0.5");
    }

    #[test]
    fn few_columns() {
        assert_eq!(
            lines(bare_example()),
            "index,class,probability,margin,score_energy\n10,7,0.75,9.5,-10.5\n11,1,0.5,,2\n"
        );
    }
}
