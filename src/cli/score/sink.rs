//! Where results go, and how.

use std::fs::File;
use std::io::{BufWriter, IsTerminal as _, Write};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use tempfile::NamedTempFile;

use super::columns::Columns;
use super::csv::Csv;
use super::jsonl::Jsonl;
use super::parquet::Parquet;
use super::pipeline::Outcome;
use super::table::Table;
use crate::cli::exit::wrong_input;
use crate::cli::files::same_file;
use crate::cli::output::page_width;

/// How results are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A JSON object per line.
    Jsonl,
    /// Comma-separated values.
    Csv,
    /// Apache Parquet.
    Parquet,
    /// The first samples, for people.
    Table,
}

impl Format {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Jsonl, Self::Csv, Self::Parquet, Self::Table];

    /// Its name on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Jsonl => "jsonl",
            Self::Csv => "csv",
            Self::Parquet => "parquet",
            Self::Table => "table",
        }
    }

    fn of_name(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()?.to_lowercase().as_str() {
            "jsonl" | "json" | "ndjson" => Some(Self::Jsonl),
            "csv" => Some(Self::Csv),
            "parquet" | "pq" => Some(Self::Parquet),
            "txt" => Some(Self::Table),
            _ => None,
        }
    }
}

/// Writes results of one format.
pub trait Writer {
    /// Some more samples.
    fn write(&mut self, outcome: &Outcome) -> anyhow::Result<()>;
    /// What is left.
    fn finish(self: Box<Self>) -> anyhow::Result<()>;
}

/// A place that results may go to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sink {
    format: Format,
    place: Place,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    Stdout,
    /// A file, which appears when it is whole.
    File(PathBuf),
    /// A device or named pipe.
    Stream(PathBuf),
}

impl Sink {
    /// By what the user says, before any work is done.
    pub fn choose(output: Option<&Path>, format: Option<Format>, force: bool) -> anyhow::Result<Self> {
        let Some(path) = output.filter(|path| path.as_os_str() != "-") else {
            let terminal = std::io::stdout().is_terminal();
            let format = format.unwrap_or(if terminal { Format::Table } else { Format::Jsonl });
            if format == Format::Parquet {
                wrong_input!("parquet needs a file: name it with -o");
            }
            return Ok(Self { format, place: Place::Stdout });
        };
        let name = path.display();
        let format = format.or_else(|| Format::of_name(path)).unwrap_or(Format::Jsonl);
        if path.is_dir() || path.file_name().is_none() || name.to_string().ends_with(std::path::is_separator) {
            wrong_input!("{name} is a folder; name a file to write");
        }
        let folder = folder_of(path);
        if !folder.is_dir() {
            wrong_input!("there is no folder {} to write {name} into; make it first", folder.display());
        }
        let place = match std::fs::metadata(path) {
            Ok(metadata) if !metadata.is_file() => Place::Stream(path.to_owned()),
            Ok(_) if !force => wrong_input!("{name} exists; --force replaces it, -o names another"),
            _ => Place::File(path.to_owned()),
        };
        Ok(Self { format, place })
    }

    /// Results are not written over what they are made of.
    pub fn refuse_inputs<'a>(&self, mut inputs: impl Iterator<Item = &'a PathBuf>) -> anyhow::Result<()> {
        if let Place::File(path) = &self.place
            && inputs.any(|input| same_file(input, path))
        {
            wrong_input!("{} is one of the inputs; name another file with -o", path.display());
        }
        Ok(())
    }

    /// Begins to write.
    pub fn open(self, columns: Columns) -> anyhow::Result<Output> {
        match self.place {
            Place::Stdout => {
                let out = BufWriter::with_capacity(1 << 16, std::io::stdout());
                Ok(Output {
                    writer: writer(self.format, columns, out)?,
                    staged: None,
                    name: "standard output".to_owned(),
                })
            }
            Place::Stream(path) => {
                let name = path.display().to_string();
                let file = File::options().write(true).open(&path).with_context(|| format!("write {name}"))?;
                Ok(Output { writer: writer(self.format, columns, BufWriter::new(file))?, staged: None, name })
            }
            Place::File(path) => {
                let name = path.display().to_string();
                // a link stays one
                let target = path.canonicalize().unwrap_or(path);
                let temporary = temporary_in(folder_of(&target)).with_context(|| format!("write {name}"))?;
                let file = temporary.as_file().try_clone().with_context(|| format!("write {name}"))?;
                let writer = writer(self.format, columns, BufWriter::with_capacity(1 << 16, file))?;
                Ok(Output { writer, staged: Some((temporary, target)), name })
            }
        }
    }
}

fn writer<W: Write + Send + 'static>(format: Format, columns: Columns, out: W) -> anyhow::Result<Box<dyn Writer>> {
    Ok(match format {
        Format::Jsonl => Box::new(Jsonl::new(columns, out)),
        Format::Csv => Box::new(Csv::new(columns, out)?),
        Format::Parquet => Box::new(Parquet::new(columns, out)?),
        Format::Table => Box::new(Table::new(columns, page_width(), out)),
    })
}

/// Results on their way; a file that is not finished leaves nothing behind.
pub struct Output {
    writer: Box<dyn Writer>,
    staged: Option<(NamedTempFile, PathBuf)>,
    name: String,
}

impl Output {
    /// Some more samples.
    pub fn write(&mut self, outcome: &Outcome) -> anyhow::Result<()> {
        self.writer.write(outcome).with_context(|| format!("write {}", self.name))
    }

    /// The rest, and the file gets its name.
    pub fn finish(self) -> anyhow::Result<()> {
        let Self { writer, staged, name } = self;
        let finish = || -> anyhow::Result<()> {
            writer.finish()?;
            if let Some((temporary, target)) = staged {
                temporary.as_file().sync_all()?;
                temporary.persist(&target).map_err(|error| error.error)?;
            }
            Ok(())
        };
        finish().with_context(|| format!("write {name}"))
    }
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn temporary_in(folder: &Path) -> std::io::Result<NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".elonnx-").suffix(".tmp");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        // as for any new file: the umask takes away what it takes
        builder.permissions(std::fs::Permissions::from_mode(0o666));
    }
    builder.tempfile_in(folder)
}

#[cfg(test)]
mod tests {
    use super::super::columns::tests::example;
    use super::*;

    fn refusal(output: &Path, format: Option<Format>) -> String {
        Sink::choose(Some(output), format, false).unwrap_err().to_string()
    }

    #[test]
    fn the_name_tells_the_format() {
        let folder = tempfile::tempdir().unwrap();
        let format = |name: &str, given| Sink::choose(Some(&folder.path().join(name)), given, false).unwrap().format;
        assert_eq!(format("a.parquet", None), Format::Parquet);
        assert_eq!(format("a.CSV", None), Format::Csv);
        assert_eq!(format("a.out", None), Format::Jsonl);
        assert_eq!(format("a.csv", Some(Format::Jsonl)), Format::Jsonl);
    }

    #[test]
    fn what_is_refused_beforehand() {
        let folder = tempfile::tempdir().unwrap();
        let old = folder.path().join("old.csv");
        std::fs::write(&old, b"precious").unwrap();
        assert!(refusal(&old, None).contains("--force"));
        assert!(refusal(folder.path(), None).contains("is a folder"));
        assert!(refusal(&folder.path().join("none/a.csv"), None).contains("there is no folder"));
        assert!(refusal(Path::new("/dev/none/a.csv"), None).contains("there is no folder"));
        let text = Sink::choose(None, Some(Format::Parquet), false).unwrap_err().to_string();
        assert!(text.contains("-o"), "{text}");
        let sink = Sink::choose(Some(&old), None, true).unwrap();
        assert!(sink.refuse_inputs([old].iter()).unwrap_err().to_string().contains("one of the inputs"));
    }

    #[test]
    fn a_file_appears_when_it_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let (columns, outcome) = example();
        for name in ["a.jsonl", "a.csv", "a.parquet", "a.txt"] {
            let path = folder.path().join(name);
            let begin = || Sink::choose(Some(&path), None, false).unwrap().open(columns.clone()).unwrap();
            let mut given_up = begin();
            given_up.write(&outcome).unwrap();
            drop(given_up);
            assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "{name}");
            let mut output = begin();
            output.write(&outcome).unwrap();
            assert!(!path.exists());
            output.finish().unwrap();
            assert!(std::fs::metadata(&path).unwrap().len() > 0);
            std::fs::remove_file(&path).unwrap();
        }
    }
}
