//! A JSON object per line.

use std::io::Write;

use serde::Serialize;
use serde::ser::SerializeMap as _;

use super::columns::Columns;
use super::pipeline::Outcome;
use super::sink::Writer;
use crate::edge::Score;

/// Writes lines.
pub struct Jsonl<W> {
    columns: Columns,
    out: W,
}

#[derive(Serialize)]
struct Line<'a> {
    index: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    class: u32,
    probability: f32,
    /// null where there are probabilities only.
    margin: f32,
    scores: Scores<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    in_distribution: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    label: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top: Option<Vec<Class>>,
}

#[derive(Serialize)]
struct Class {
    class: u32,
    probability: f32,
}

/// An object in the order of the scores.
struct Scores<'a>(&'a [Score], &'a [f32]);

impl Serialize for Scores<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (score, value) in self.0.iter().zip(self.1) {
            map.serialize_entry(score.as_str(), value)?;
        }
        map.end()
    }
}

impl<W: Write> Jsonl<W> {
    pub fn new(columns: Columns, out: W) -> Self {
        Self { columns, out }
    }
}

impl<W: Write> Writer for Jsonl<W> {
    fn write(&mut self, outcome: &Outcome) -> anyhow::Result<()> {
        let scored = &outcome.scored;
        for row in 0..scored.rows {
            let line = Line {
                index: outcome.first + row as u64,
                name: outcome.name(row),
                class: scored.class[row],
                probability: scored.probability[row],
                margin: scored.margin[row],
                scores: Scores(&self.columns.scores, outcome.scores(row, &self.columns)),
                in_distribution: scored.in_distribution.get(row).copied(),
                label: outcome.label(row),
                top: self.columns.lists_classes().then(|| {
                    let top = outcome.top(row, &self.columns);
                    top.map(|(class, probability)| Class { class, probability }).collect()
                }),
            };
            serde_json::to_writer(&mut self.out, &line).map_err(std::io::Error::from)?;
            self.out.write_all(b"\n")?;
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> anyhow::Result<()> {
        Ok(self.out.flush()?)
    }
}

#[cfg(test)]
mod tests {
    use super::super::columns::tests::{bare_example, example};
    use super::*;

    fn lines((columns, outcome): (Columns, Outcome)) -> String {
        let mut out = Vec::new();
        let mut writer = Box::new(Jsonl::new(columns, &mut out));
        writer.write(&outcome).unwrap();
        writer.finish().unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn all_fields() {
        assert_eq!(
            lines(example()),
            r#"{"index":10,"name":"a.png","class":7,"probability":0.75,"margin":9.5,"scores":{"energy":-10.5,"msp":-0.75},"in_distribution":true,"label":7,"top":[{"class":7,"probability":0.75},{"class":3,"probability":0.25}]}
{"index":11,"name":"b, \"c\".png","class":1,"probability":0.5,"margin":null,"scores":{"energy":2.0,"msp":-0.5},"in_distribution":false,"label":0,"top":[{"class":1,"probability":0.5},{"class":0,"probability":0.5}]}
"#
        );
    }

    #[test]
    fn what_is_not_known_is_left_out() {
        let first = lines(bare_example());
        let first = first.lines().next().unwrap();
        assert_eq!(first, r#"{"index":10,"class":7,"probability":0.75,"margin":9.5,"scores":{"energy":-10.5}}"#);
    }
}
