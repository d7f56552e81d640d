//! Apache Parquet, in row groups of bounded size.

use std::io::Write;
use std::sync::Arc;

use parquet::basic::{Compression, LogicalType, Repetition, Type as Physical};
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, DataType, FloatType, Int32Type, Int64Type};
use parquet::errors::{ParquetError, Result};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedColumnWriter, SerializedFileWriter};
use parquet::schema::types::{Type, TypePtr};

use super::columns::Columns;
use super::pipeline::Outcome;
use super::sink::Writer;

/// Cells that a row group has, about: what is kept in memory until it is written.
const CELLS: usize = 1 << 19;

/// Writes row groups.
pub struct Parquet<W: Write + Send> {
    columns: Columns,
    out: SerializedFileWriter<W>,
    cells: Vec<Cells>,
    rows: usize,
}

/// Values of a column, and where there are some; a column without levels has one everywhere.
struct Cells {
    values: Values,
    levels: Option<Vec<i16>>,
}

enum Values {
    Long(Vec<i64>),
    Class(Vec<i32>),
    Float(Vec<f32>),
    Bool(Vec<bool>),
    Text(Vec<ByteArray>),
}

impl<W: Write + Send> Parquet<W> {
    pub fn new(columns: Columns, out: W) -> anyhow::Result<Self> {
        let cells = cells(&columns);
        let schema = schema(&columns, &cells)?;
        let creator = format!("elonnx {}", env!("CARGO_PKG_VERSION"));
        let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).set_created_by(creator);
        let out = SerializedFileWriter::new(out, schema, Arc::new(properties.build()))?;
        Ok(Self { columns, out, cells, rows: 0 })
    }

    fn flush(&mut self) -> Result<()> {
        if self.rows == 0 {
            return Ok(());
        }
        let mut group = self.out.next_row_group()?;
        for cells in &mut self.cells {
            let column = group.next_column()?.ok_or_else(|| ParquetError::General("a column too many".to_owned()))?;
            cells.write(column)?;
        }
        group.close()?;
        self.rows = 0;
        Ok(())
    }
}

impl<W: Write + Send> Writer for Parquet<W> {
    fn write(&mut self, outcome: &Outcome) -> anyhow::Result<()> {
        for row in 0..outcome.scored.rows {
            append(&mut self.cells, &self.columns, outcome, row);
            self.rows += 1;
            if self.rows * self.cells.len() >= CELLS {
                self.flush().map_err(told)?;
            }
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> anyhow::Result<()> {
        self.flush().map_err(told)?;
        self.out.finish().map_err(told)?;
        Ok(self.out.inner_mut().flush()?)
    }
}

/// The system's own error, where there is one: it decides the exit code.
fn told(error: ParquetError) -> anyhow::Error {
    match error {
        ParquetError::External(inner) => match inner.downcast::<std::io::Error>() {
            Ok(error) => (*error).into(),
            Err(inner) => anyhow::anyhow!("{inner}"),
        },
        other => other.into(),
    }
}

/// An empty column for each of [`Columns::flat`], in that order.
fn cells(columns: &Columns) -> Vec<Cells> {
    let required = |values| Cells { values, levels: None };
    let optional = |values| Cells { values, levels: Some(Vec::new()) };
    let mut cells = vec![required(Values::Long(Vec::new()))];
    cells.extend(columns.names.then(|| optional(Values::Text(Vec::new()))));
    cells.push(required(Values::Class(Vec::new())));
    cells.push(required(Values::Float(Vec::new())));
    cells.push(optional(Values::Float(Vec::new())));
    cells.extend(columns.scores.iter().map(|_| required(Values::Float(Vec::new()))));
    cells.extend(columns.decision.then(|| optional(Values::Bool(Vec::new()))));
    cells.extend(columns.labels.then(|| optional(Values::Long(Vec::new()))));
    if columns.lists_classes() {
        for _ in 0..columns.top_k {
            cells.extend([required(Values::Class(Vec::new())), required(Values::Float(Vec::new()))]);
        }
    }
    cells
}

fn schema(columns: &Columns, cells: &[Cells]) -> Result<TypePtr> {
    let fields = columns.flat().into_iter().zip(cells).map(|(name, cells)| {
        let (physical, logical) = match cells.values {
            Values::Long(_) => (Physical::INT64, None),
            Values::Class(_) => (Physical::INT32, Some(LogicalType::integer(32, false))),
            Values::Float(_) => (Physical::FLOAT, None),
            Values::Bool(_) => (Physical::BOOLEAN, None),
            Values::Text(_) => (Physical::BYTE_ARRAY, Some(LogicalType::String)),
        };
        let repetition = if cells.levels.is_some() { Repetition::OPTIONAL } else { Repetition::REQUIRED };
        let field =
            Type::primitive_type_builder(&name, physical).with_repetition(repetition).with_logical_type(logical);
        field.build().map(Arc::new)
    });
    let fields = fields.collect::<Result<Vec<_>>>()?;
    Type::group_type_builder("samples").with_fields(fields).build().map(Arc::new)
}

/// A sample, in the order of [`Columns::flat`].
fn append(cells: &mut [Cells], columns: &Columns, outcome: &Outcome, row: usize) {
    let scored = &outcome.scored;
    let mut cells = cells.iter_mut();
    let mut put = |cell: Cell| {
        if let Some(cells) = cells.next() {
            cells.push(cell);
        }
    };
    put(Cell::Long(i64::try_from(outcome.first + row as u64).ok()));
    if columns.names {
        put(Cell::Text(outcome.name(row)));
    }
    put(Cell::Class(scored.class[row]));
    put(Cell::Float(Some(scored.probability[row])));
    put(Cell::Float(Some(scored.margin[row]).filter(|margin| !margin.is_nan())));
    for &score in outcome.scores(row, columns) {
        put(Cell::Float(Some(score)));
    }
    if columns.decision {
        put(Cell::Bool(scored.in_distribution.get(row).copied()));
    }
    if columns.labels {
        put(Cell::Long(outcome.label(row)));
    }
    if columns.lists_classes() {
        for (class, probability) in outcome.top(row, columns) {
            put(Cell::Class(class));
            put(Cell::Float(Some(probability)));
        }
    }
}

enum Cell<'a> {
    Long(Option<i64>),
    Class(u32),
    Float(Option<f32>),
    Bool(Option<bool>),
    Text(Option<&'a str>),
}

impl Cells {
    fn push(&mut self, cell: Cell<'_>) {
        let there = match (&mut self.values, cell) {
            (Values::Long(values), Cell::Long(value)) => put(values, value),
            // parquet's unsigned integers lie in signed ones of the same bits
            (Values::Class(values), Cell::Class(value)) => put(values, Some(value.cast_signed())),
            (Values::Float(values), Cell::Float(value)) => put(values, value),
            (Values::Bool(values), Cell::Bool(value)) => put(values, value),
            (Values::Text(values), Cell::Text(value)) => put(values, value.map(ByteArray::from)),
            _ => unreachable!("cells and samples list the same columns"),
        };
        if let Some(levels) = &mut self.levels {
            levels.push(i16::from(there));
        }
    }

    fn write(&mut self, mut column: SerializedColumnWriter<'_>) -> Result<()> {
        let levels = self.levels.as_deref();
        match &mut self.values {
            Values::Long(values) => write_values::<Int64Type>(&mut column, values, levels)?,
            Values::Class(values) => write_values::<Int32Type>(&mut column, values, levels)?,
            Values::Float(values) => write_values::<FloatType>(&mut column, values, levels)?,
            Values::Bool(values) => write_values::<BoolType>(&mut column, values, levels)?,
            Values::Text(values) => write_values::<ByteArrayType>(&mut column, values, levels)?,
        }
        if let Some(levels) = &mut self.levels {
            levels.clear();
        }
        column.close()
    }
}

/// Whether there was one.
fn put<T>(values: &mut Vec<T>, value: Option<T>) -> bool {
    let there = value.is_some();
    values.extend(value);
    there
}

fn write_values<T: DataType>(
    column: &mut SerializedColumnWriter<'_>,
    values: &mut Vec<T::T>,
    levels: Option<&[i16]>,
) -> Result<()> {
    column.typed::<T>().write_batch(values, levels, None)?;
    values.clear();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::columns::tests::{bare_example, example};
    use super::*;
    use parquet::file::reader::{FileReader as _, SerializedFileReader};
    use parquet::record::Row;

    fn written((columns, outcome): (Columns, Outcome), times: usize) -> SerializedFileReader<bytes::Bytes> {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut writer = Box::new(Parquet::new(columns, file.reopen().unwrap()).unwrap());
        for _ in 0..times {
            writer.write(&outcome).unwrap();
        }
        writer.finish().unwrap();
        SerializedFileReader::new(bytes::Bytes::from(std::fs::read(file.path()).unwrap())).unwrap()
    }

    #[test]
    fn rows_come_back() {
        let reader = written(example(), 1);
        let rows: Vec<Row> = reader.get_row_iter(None).unwrap().map(Result::unwrap).collect();
        assert_eq!(rows.len(), 2);
        let second: Vec<String> = rows[1].get_column_iter().map(|(name, field)| format!("{name}={field}")).collect();
        assert_eq!(
            second.join(" "),
            "index=11 name=\"b, \"c\".png\" class=1 probability=0.5 margin=null score_energy=2.0 score_msp=-5E-1 \
             in_distribution=false label=0 class_1=1 probability_1=0.5 class_2=0 probability_2=0.5"
        );
    }

    #[test]
    fn row_groups_are_bounded() {
        let reader = written(bare_example(), 120_000);
        let metadata = reader.metadata();
        assert_eq!(metadata.file_metadata().num_rows(), 240_000);
        assert!(metadata.num_row_groups() >= 2);
        for group in metadata.row_groups() {
            assert!(group.num_rows() as usize * group.num_columns() <= CELLS + group.num_columns());
        }
    }
}
