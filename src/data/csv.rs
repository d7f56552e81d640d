//! Rows of numbers as text: comma, semicolon, tab or space between them, with or without a header.

use std::io::Read;

use csv::{ByteRecord, Reader, ReaderBuilder, Trim};

use super::array::Stream;
use super::arrays::only;
use super::element::ElementType;
use super::fit::Fit;
use super::source::{Options, Part};
use super::stream::Opened;
use super::{Batch, DataError, InputSpec, Values};

/// No line of numbers is longer; what goes on without a line break is no CSV.
const LONGEST_LINE: usize = 64 << 20;
/// Columns that hold labels, if not named by the user. Not y, which goes with x as often.
const LABELS: [&str; 2] = ["label", "labels"];

/// Lines of fields, all of the same number.
pub(super) struct Lines {
    path: String,
    reader: Reader<LimitedLines>,
    /// The first line, if it is not a header.
    first: Option<ByteRecord>,
    header: Option<Vec<String>>,
    columns: usize,
    record: ByteRecord,
}

impl Lines {
    pub(super) fn open(opened: Opened) -> Result<Self, DataError> {
        let delimiter = delimiter(&opened.start);
        let limited = LimitedLines { stream: opened.stream, since_break: 0 };
        let mut reader = ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            .trim(Trim::All)
            .delimiter(delimiter)
            .from_reader(limited);
        let mut first = ByteRecord::new();
        let path = opened.name;
        if !reader.read_byte_record(&mut first).map_err(|error| failed(&path, error))? {
            return Err(DataError::Empty { path, advice: "a CSV file has a line of numbers for each" });
        }
        // Excel begins files with a byte order mark
        let texts = first.iter().map(|field| text(field).trim_start_matches('\u{feff}').to_owned());
        let texts: Vec<String> = texts.collect();
        let is_header = texts.iter().any(|text| !text.is_empty() && text.parse::<f64>().is_err());
        let columns = first.len();
        let first = (!is_header).then(|| ByteRecord::from(texts.clone()));
        Ok(Self { path, reader, first, header: is_header.then_some(texts), columns, record: ByteRecord::new() })
    }

    /// The next line, with its number.
    fn next(&mut self) -> Result<Option<(u64, &ByteRecord)>, DataError> {
        if let Some(first) = self.first.take() {
            self.record = first;
            return Ok(Some((1, &self.record)));
        }
        let more = self.reader.read_byte_record(&mut self.record).map_err(|error| failed(&self.path, error))?;
        if !more {
            return Ok(None);
        }
        let line = self.record.position().map_or(0, csv::Position::line);
        if self.record.len() != self.columns {
            let (found, expected) = (self.record.len(), self.columns);
            return Err(DataError::Ragged { path: self.path.clone(), line, found, expected });
        }
        Ok(Some((line, &self.record)))
    }

    /// Index of a column, by name or number.
    fn column(&self, wish: Option<&str>) -> Result<Option<usize>, DataError> {
        let named = |name: &str| self.header.iter().flatten().position(|column| column.eq_ignore_ascii_case(name));
        let Some(wish) = wish else {
            return Ok(LABELS.into_iter().find_map(named));
        };
        if let Some(index) = named(wish) {
            return Ok(Some(index));
        }
        let index = wish.parse::<i64>().ok().and_then(|index| {
            let index = if index < 0 { index + i64::try_from(self.columns).ok()? } else { index };
            usize::try_from(index).ok().filter(|&index| index < self.columns)
        });
        index.map(Some).ok_or_else(|| DataError::LabelColumn {
            path: self.path.clone(),
            column: wish.to_owned(),
            known: match &self.header {
                Some(header) if header.len() <= 12 => header.join(", "),
                _ => format!("columns 0 to {}", self.columns - 1),
            },
        })
    }

    /// "3" or "3 'age'", from 1.
    fn name_of(&self, column: usize) -> String {
        match self.header.as_ref().and_then(|header| header.get(column)) {
            Some(name) => format!("{} '{name}'", column + 1),
            None => (column + 1).to_string(),
        }
    }
}

/// Samples of a CSV file.
pub(super) struct Csv {
    lines: Lines,
    label: Option<usize>,
    fit: Fit,
    features: usize,
    done: u64,
}

impl Csv {
    pub(super) fn open(opened: Opened, options: &Options, inputs: &[InputSpec]) -> Result<Self, DataError> {
        let input = only(&opened.name, inputs)?;
        let lines = Lines::open(opened)?;
        let label = lines.column(options.label_column.as_deref())?;
        let features = lines.columns - usize::from(label.is_some());
        if features == 0 {
            let advice = "its only column holds labels";
            return Err(DataError::Empty { path: lines.path, advice });
        }
        let fit = Fit::new(input, &lines.path, &[features], ElementType::F64, &options.preprocessing);
        let fit = fit.map_err(|error| match error {
            DataError::Shape { path, found, input, wanted, reason } if label.is_none() => {
                let reason = format!("{reason} (where a column holds labels, name it with --label-column)");
                DataError::Shape { path, found, input, wanted, reason }
            }
            other => other,
        })?;
        let label = label.filter(|_| options.labels.is_none());
        Ok(Self { lines, label, fit, features, done: 0 })
    }
}

impl Part for Csv {
    fn next(&mut self, rows: usize) -> Result<Option<Batch>, DataError> {
        let mut values: Vec<f64> = Vec::new();
        let mut labels = self.label.map(|_| Vec::new());
        for row in 0..rows {
            let Some((line, record)) = self.lines.next()? else { break };
            let mut wrong = None;
            for (column, field) in record.iter().enumerate() {
                let text = text(field);
                if Some(column) == self.label {
                    let Some(label) = whole(&text) else {
                        let (sample, value) = (self.done + row as u64, shown(&text));
                        return Err(DataError::Label { path: self.lines.path.clone(), sample, value });
                    };
                    labels.iter_mut().for_each(|labels| labels.push(label));
                } else {
                    match text.parse::<f64>() {
                        Ok(value) => values.push(value),
                        Err(_) => {
                            wrong = Some((column, shown(&text)));
                            break;
                        }
                    }
                }
            }
            if let Some((column, text)) = wrong {
                let column = self.lines.name_of(column);
                return Err(DataError::Field { path: self.lines.path.clone(), line, column, text });
            }
        }
        if values.is_empty() {
            return match self.done {
                0 => Err(DataError::Empty {
                    path: self.lines.path.clone(),
                    advice: "there is a header and nothing else",
                }),
                _ => Ok(None),
            };
        }
        let count = values.len() / self.features;
        let tensor = self.fit.apply(Values::F64(values), self.done)?;
        self.done += count as u64;
        Ok(Some(Batch { inputs: vec![tensor], labels, names: None }))
    }

    fn rows(&self) -> Option<u64> {
        None
    }

    fn labelled(&self) -> bool {
        self.label.is_some()
    }

    fn sentences(&self) -> Vec<String> {
        self.fit.sentences().to_vec()
    }
}

/// Labels as text, one per line.
pub(super) struct LabelLines {
    lines: Lines,
    column: usize,
    done: u64,
}

impl LabelLines {
    pub(super) fn open(opened: Opened, column: Option<&str>) -> Result<Self, DataError> {
        let lines = Lines::open(opened)?;
        let column = match lines.column(column)? {
            Some(column) => column,
            None if lines.columns == 1 => 0,
            None => {
                let problem = format!("it has {} columns; name that of the labels with --label-column", lines.columns);
                return Err(DataError::LabelShape { path: lines.path, problem });
            }
        };
        Ok(Self { lines, column, done: 0 })
    }

    pub(super) fn path(&self) -> &str {
        &self.lines.path
    }

    /// The next `rows` labels; fewer at the end.
    pub(super) fn read(&mut self, rows: usize) -> Result<Vec<i64>, DataError> {
        let mut labels = Vec::new();
        while labels.len() < rows {
            let Some((_, record)) = self.lines.next()? else { break };
            let text = text(record.get(self.column).unwrap_or_default());
            let Some(label) = whole(&text) else {
                let value = shown(&text);
                return Err(DataError::Label { path: self.lines.path.clone(), sample: self.done, value });
            };
            labels.push(label);
            self.done += 1;
        }
        Ok(labels)
    }
}

fn failed(path: &str, error: csv::Error) -> DataError {
    match error.into_kind() {
        csv::ErrorKind::Io(error) => DataError::reading(path, error),
        other => DataError::Damaged { path: path.to_owned(), problem: format!("{other:?}") },
    }
}

fn text(field: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(field)
}

/// What fits in a sentence.
fn shown(text: &str) -> String {
    if text.chars().count() <= 40 { text.to_owned() } else { text.chars().take(40).chain("...".chars()).collect() }
}

/// "3" or "3.0".
fn whole(text: &str) -> Option<i64> {
    text.parse().ok().or_else(|| {
        let value: f64 = text.parse().ok()?;
        (value.fract() == 0.0 && value.abs() < 9e15).then_some(value as i64)
    })
}

/// What stands between the fields: the first of these in the first line.
fn delimiter(start: &[u8]) -> u8 {
    let line = start.split(|&byte| byte == b'\n').next().unwrap_or_default().trim_ascii();
    [b',', b';', b'\t', b' '].into_iter().find(|delimiter| line.contains(delimiter)).unwrap_or(b',')
}

/// Refuses lines without end.
struct LimitedLines {
    stream: Stream,
    since_break: usize,
}

impl Read for LimitedLines {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.stream.read(buffer)?;
        self.since_break = match buffer[..read].iter().rposition(|&byte| byte == b'\n') {
            Some(at) => read - at,
            None => self.since_break + read,
        };
        if self.since_break > LONGEST_LINE {
            let problem = format!("a line has more than {} MB, so it is no CSV", LONGEST_LINE >> 20);
            return Err(std::io::Error::new(std::io::ErrorKind::InvalidData, problem));
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::tests::{Files, all, floats, of, refusal};

    fn read(text: &str, options: &Options, features: usize) -> (Vec<Values>, Vec<Option<Vec<i64>>>) {
        let files = Files::new();
        let path = files.write("a.csv", text.as_bytes());
        let batches = all(&Options { paths: vec![path], ..options.clone() }, &floats(&[features]));
        batches.into_iter().map(|mut batch| (batch.inputs.remove(0).values, batch.labels)).unzip()
    }

    fn refused(text: &str, options: &Options, features: usize) -> String {
        let files = Files::new();
        let path = files.write("a.csv", text.as_bytes());
        refusal(&Options { paths: vec![path], ..options.clone() }, &floats(&[features]))
    }

    #[test]
    fn rows_with_and_without_a_header() {
        let numbers = vec![Values::F32(vec![1.0, 2.5, -3.0, 4e3])];
        for text in
            ["1,2.5\n-3,4e3\n", "a, b\r\n1, 2.5\r\n-3, 4e3", "\u{feff}1;2.5\n-3;4e3\n", "x\ty\n1\t2.5\n-3\t4e3\n"]
        {
            assert_eq!(read(text, &Options::default(), 2), (numbers.clone(), vec![None]), "{text}");
        }
    }

    #[test]
    fn labels_are_a_column() {
        let expected = (vec![Values::F32(vec![1.0, 2.0])], vec![Some(vec![7, 0])]);
        assert_eq!(read("Label,x\n7,1\n0,2\n", &Options::default(), 1), expected);
        let last = Options { label_column: Some("-1".into()), ..Options::default() };
        assert_eq!(read("1,7.0\n2,0\n", &last, 1), expected);
        let named = Options { label_column: Some("class".into()), ..Options::default() };
        assert_eq!(read("x,class\n1,7\n2,0\n", &named, 1), expected);
        assert!(refused("x,label\n1,7\n", &named, 1).contains("no column 'class' for --label-column; it has x, label"));
        assert!(refused("label,x\n1.5,7\n", &Options::default(), 1).contains("the label of sample 0 is 1.5"));
        assert!(refused("7,1\n0,2\n", &Options::default(), 1).contains("--label-column"));
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        let none = Options::default();
        assert!(refused("1,2\n3\n", &none, 2).contains("line 2: 1 fields, where the lines before have 2"));
        assert!(refused("a,b\n1,2\n3,x\n", &none, 2).contains("line 3, column 2 'b': 'x' is not a number"));
        assert!(refused("1,2\n3,\n", &none, 2).contains("'' is not a number"));
        assert!(refused("1,2\n3,nan\n", &none, 2).contains("sample 1, element 1 is NaN"));
        assert!(refused("a,b\n", &none, 2).contains("a header and nothing else"));
        assert!(refused("\n", &none, 2).contains("holds no samples"));
    }

    #[test]
    fn labels_in_a_text_file() {
        let files = Files::new();
        let x = files.write("x.csv", b"1\n2\n3\n");
        let y = files.write("y.txt", b"4\n5\n6\n");
        let options = Options { labels: Some(y), batch: 2, ..of(std::slice::from_ref(&x)) };
        let labels: Vec<_> = all(&options, &floats(&[1])).into_iter().map(|batch| batch.labels.unwrap()).collect();
        assert_eq!(labels, [vec![4, 5], vec![6]]);
        let few = Options { labels: Some(files.write("y.txt", b"4\n")), ..of(std::slice::from_ref(&x)) };
        assert!(refusal(&few, &floats(&[1])).contains("holds 1 labels, and there are more samples"));
        let many = Options { labels: Some(files.write("y.txt", b"4\n4\n4\n4\n")), ..of(&[x]) };
        assert!(refusal(&many, &floats(&[1])).contains("holds more than 3 labels, and there are 3 samples"));
    }

    #[test]
    fn a_line_without_end_is_no_csv() {
        let mut limited = LimitedLines { stream: Box::new(std::io::repeat(b'1')), since_break: 0 };
        let error = std::io::copy(&mut limited, &mut std::io::sink()).unwrap_err();
        assert!(error.to_string().contains("64 MB"), "{error}");
    }
}
