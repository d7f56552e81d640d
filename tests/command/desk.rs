//! A folder to call the command in, and what came of a call.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

/// One run: exit code and what was printed.
pub struct Run {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Run {
    #[track_caller]
    pub fn of(command: &mut Command) -> Self {
        Self::from(command.output().expect("the command starts"))
    }

    #[track_caller]
    fn from(output: Output) -> Self {
        let run = Run {
            code: output.status.code().expect("the command exits"),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        };
        assert!(!run.stderr.contains("internal error"), "{}", run.stderr);
        run
    }

    #[track_caller]
    pub fn ends(self, code: i32) -> Self {
        assert_eq!(self.code, code, "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }

    /// One message on standard error, nothing on standard output.
    #[track_caller]
    pub fn says(self, words: &[&str]) -> Self {
        assert_eq!(self.stdout, "");
        self.tells(words)
    }

    /// One message on standard error.
    #[track_caller]
    pub fn tells(self, words: &[&str]) -> Self {
        assert_eq!(self.stderr.matches("error:").count(), 1, "{}", self.stderr);
        for word in words {
            assert!(self.stderr.contains(word), "no '{word}' in:\n{}", self.stderr);
        }
        self
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}:\n{}", self.stdout))
    }

    /// A JSON object per line.
    #[track_caller]
    pub fn lines(&self) -> Vec<Value> {
        self.stdout.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"))).collect()
    }

    /// `class` of each of them.
    #[track_caller]
    pub fn classes(&self) -> Vec<u64> {
        self.lines().iter().map(|line| line["class"].as_u64().unwrap()).collect()
    }
}

/// A folder to work in.
pub struct Desk(TempDir);

impl Desk {
    pub fn new() -> Self {
        Desk(tempfile::tempdir().unwrap())
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Folders in `name` are made.
    pub fn write(&self, name: &str, bytes: &[u8]) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }

    pub fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap()
    }

    pub fn files(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.0.path()).unwrap();
        let mut names: Vec<String> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    pub fn command(&self, line: &str) -> Command {
        let mut command = elonnx();
        command.current_dir(self.0.path()).args(line.split_whitespace());
        command
    }

    #[track_caller]
    pub fn run(&self, line: &str) -> Run {
        Run::of(&mut self.command(line))
    }

    /// With something on standard input.
    #[track_caller]
    pub fn feed(&self, line: &str, stdin: &[u8]) -> Run {
        let mut command = self.command(line);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the command starts");
        // a command that fails early doesn't read all
        let _ = child.stdin.take().unwrap().write_all(stdin);
        Run::from(child.wait_with_output().unwrap())
    }
}

/// The command, as on a machine with nothing set up.
pub fn elonnx() -> Command {
    let mut command = Command::new(assert_cmd::cargo::cargo_bin!("elonnx"));
    command.env("COLUMNS", "80").env_remove("ELONNX_LIB").env_remove("ORT_DYLIB_PATH");
    command
}

/// A length-delimited protobuf field.
pub fn field(tag: u8, bytes: &[u8]) -> Vec<u8> {
    let mut field = vec![tag << 3 | 2];
    prost::encoding::encode_varint(bytes.len() as u64, &mut field);
    field.extend_from_slice(bytes);
    field
}
