//! One ONNX file, read lazily and edited in place.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use memmap2::Mmap;
use prost::Message;

use super::build::metadata_entry;
use super::error::{Location, ModelError};
use super::external::{self, ExternalData, ExternalReference};
use super::format;
use super::graph::Graph;
use super::proto::{FunctionProto, OperatorSetIdProto, StringStringEntryProto};
use super::schema::{self, Kind};
use super::wire::{self, Scanner, Value};
use super::write;

/// Field numbers of `ModelProto`.
const IR_VERSION: u32 = 1;
const PRODUCER_NAME: u32 = 2;
const PRODUCER_VERSION: u32 = 3;
const GRAPH: u32 = 7;
const OPSET_IMPORT: u32 = 8;
const METADATA_PROPS: u32 = 14;
const FUNCTIONS: u32 = 25;

/// Longest message that protobuf implementations read: 2 GiB − 1.
pub(super) const MAX_ENCODED_LEN: usize = i32::MAX as usize;

/// A model-local function.
#[derive(Clone, Debug)]
pub struct Function {
    proto: Arc<FunctionProto>,
}

impl Function {
    /// The decoded message.
    pub fn proto(&self) -> &FunctionProto {
        &self.proto
    }

    fn is(&self, domain: &str, name: &str) -> bool {
        self.proto.domain() == domain && self.proto.name() == name
    }
}

/// One field of the model; the graph's is split further and kept apart.
#[derive(Clone, Debug)]
struct Field {
    number: u32,
    bytes: Bytes,
}

/// The graph field's tag and length as they stood in the file (varints may be longer than needed).
#[derive(Clone, Debug)]
struct GraphHeader {
    bytes: Bytes,
    length: usize,
}

/// One ONNX model. Cloning is cheap: bytes are shared.
#[derive(Clone, Debug)]
pub struct Document {
    path: Option<PathBuf>,
    fields: Vec<Field>,
    graph: Graph,
    graph_header: GraphHeader,
    ir_version: i64,
    producer_name: String,
    producer_version: String,
    // each in the order of its fields in `fields`
    opset_imports: Vec<OperatorSetIdProto>,
    metadata: Vec<StringStringEntryProto>,
    functions: Vec<Function>,
}

impl Document {
    /// Maps a file. The file must not be changed by others while the document lives (as with every mapped file).
    ///
    /// Memory: [`super::decoded_limit`] bounds what decoded nodes and names take; tensor data stays in the map.
    ///
    /// # Errors
    /// Where the file cannot be read, is no ONNX model, is damaged, or refers to data outside its folder.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, ModelError> {
        let path = path.as_ref();
        let name = path.display().to_string();
        let file = File::open(path).map_err(|error| ModelError::io("open", path, error))?;
        let metadata = file.metadata().map_err(|error| ModelError::io("read", path, error))?;
        if !metadata.is_file() {
            let what = if metadata.is_dir() { "a folder" } else { "not a regular file" };
            return Err(ModelError::NotAFile { path: path.to_owned(), what });
        }
        if metadata.len() == 0 {
            return Err(ModelError::Empty { file: name });
        }
        // SAFETY: the map is read-only and lives as long as the Bytes that own it. A file that shrinks under it would
        // end the process with SIGBUS; `open` documents that nobody may change the file, and `save` only ever replaces
        // it by rename, which leaves the mapped inode as it is.
        let map = unsafe { Mmap::map(&file) }.map_err(|error| ModelError::io("map", path, error))?;
        let mut document = Self::read(Bytes::from_owner(map), &name)?;
        document.path = Some(path.to_owned());
        Ok(document)
    }

    /// Reads from memory.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn from_bytes(bytes: impl Into<Bytes>) -> Result<Self, ModelError> {
        Self::read(bytes.into(), "<memory>")
    }

    fn read(bytes: Bytes, file: &str) -> Result<Self, ModelError> {
        if bytes.is_empty() {
            return Err(ModelError::Empty { file: file.to_owned() });
        }
        Self::split(&bytes, file).map_err(|error| match format::recognise(&bytes) {
            Some(format) => ModelError::OtherFormat { file: file.to_owned(), format },
            None => error,
        })
    }

    fn split(bytes: &Bytes, file: &str) -> Result<Self, ModelError> {
        schema::check(bytes, Kind::Model, file, schema::MODEL_PLACE)?;
        let mut document = Self {
            path: None,
            fields: Vec::new(),
            graph: Graph::default(),
            graph_header: GraphHeader { bytes: Bytes::new(), length: usize::MAX },
            ir_version: 0,
            producer_name: String::new(),
            producer_version: String::new(),
            opset_imports: Vec::new(),
            metadata: Vec::new(),
            functions: Vec::new(),
        };
        let mut has_graph = false;
        for found in Scanner::new(bytes) {
            let at = |offset, place: &str| Location { file: file.to_owned(), offset, place: place.to_owned() };
            let found = found.map_err(|fault| fault.error(at(fault.offset, schema::MODEL_PLACE)))?;
            let payload = || bytes.slice(found.payload..found.end);
            let undecodable = |kind: &str, index: usize, error: prost::DecodeError| ModelError::Undecodable {
                at: at(found.start, &format!("{kind}[{index}]")),
                reason: error.to_string(),
            };
            let mut field = Field { number: found.number, bytes: bytes.slice(found.start..found.end) };
            match (found.number, found.value) {
                (IR_VERSION, Value::Varint(version)) => document.ir_version = version as i64,
                (PRODUCER_NAME, value) => document.producer_name = value.text().unwrap_or_default().to_owned(),
                (PRODUCER_VERSION, value) => document.producer_version = value.text().unwrap_or_default().to_owned(),
                (GRAPH, _) => {
                    has_graph = true;
                    document.graph = Graph::split(&payload(), &at(found.payload, "graph"))?;
                    let header = bytes.slice(found.start..found.payload);
                    document.graph_header = GraphHeader { bytes: header, length: found.end - found.payload };
                    field.bytes = Bytes::new();
                }
                (OPSET_IMPORT, _) => document.opset_imports.push(
                    OperatorSetIdProto::decode(payload())
                        .map_err(|error| undecodable("opset_import", document.opset_imports.len(), error))?,
                ),
                (METADATA_PROPS, _) => document.metadata.push(
                    StringStringEntryProto::decode(payload())
                        .map_err(|error| undecodable("metadata_props", document.metadata.len(), error))?,
                ),
                (FUNCTIONS, _) => {
                    let proto = FunctionProto::decode(payload())
                        .map_err(|error| undecodable("functions", document.functions.len(), error))?;
                    document.functions.push(Function { proto: Arc::new(proto) });
                }
                _ => {}
            }
            document.fields.push(field);
        }
        if !has_graph {
            return Err(ModelError::NoGraph { file: file.to_owned() });
        }
        // a location that leads out of the folder is refused before anybody follows it
        document.external_references()?;
        Ok(document)
    }

    /// Where it was opened.
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// `ModelProto.ir_version`, 0 where absent.
    pub fn ir_version(&self) -> i64 {
        self.ir_version
    }

    /// Sets `ModelProto.ir_version`.
    pub fn set_ir_version(&mut self, version: i64) {
        if version == self.ir_version {
            return;
        }
        self.ir_version = version;
        let bytes = wire::int_field(IR_VERSION, version);
        match self.fields.iter_mut().rfind(|field| field.number == IR_VERSION) {
            Some(field) => field.bytes = bytes,
            None => self.fields.insert(0, Field { number: IR_VERSION, bytes }),
        }
    }

    /// `producer_name`.
    pub fn producer_name(&self) -> &str {
        &self.producer_name
    }

    /// `producer_version`.
    pub fn producer_version(&self) -> &str {
        &self.producer_version
    }

    /// All opset imports.
    pub fn opset_imports(&self) -> &[OperatorSetIdProto] {
        &self.opset_imports
    }

    fn opset_position(&self, domain: &str) -> Option<usize> {
        self.opset_imports.iter().position(|opset| same_domain(opset.domain(), domain))
    }

    /// Version of a domain; "" and "ai.onnx" are the same domain. Some files import a domain twice: the newest version
    /// counts, as in ONNX Runtime.
    pub fn opset_version(&self, domain: &str) -> Option<i64> {
        self.opset_imports
            .iter()
            .filter(|opset| same_domain(opset.domain(), domain))
            .map(OperatorSetIdProto::version)
            .max()
    }

    /// Sets or adds.
    pub fn set_opset_version(&mut self, domain: &str, version: i64) {
        match self.opset_position(domain) {
            Some(at) if self.opset_imports[at].version() == version => {}
            Some(at) => {
                self.opset_imports[at].version = Some(version);
                self.set_field(OPSET_IMPORT, at, wire::message_field(OPSET_IMPORT, &self.opset_imports[at]));
            }
            None => {
                let opset = OperatorSetIdProto { domain: Some(domain.to_owned()), version: Some(version) };
                self.add_field(OPSET_IMPORT, wire::message_field(OPSET_IMPORT, &opset));
                self.opset_imports.push(opset);
            }
        }
    }

    /// Removes.
    pub fn remove_opset(&mut self, domain: &str) {
        while let Some(at) = self.opset_position(domain) {
            self.opset_imports.remove(at);
            self.remove_field(OPSET_IMPORT, at);
        }
    }

    /// Value of a `metadata_props` key; of the last one where a key occurs twice, as readers that fill a map see it.
    pub fn metadata(&self, key: &str) -> Option<&str> {
        self.metadata.iter().rfind(|entry| entry.key() == key).map(|entry| entry.value())
    }

    /// All `metadata_props`.
    pub fn metadata_entries(&self) -> impl Iterator<Item = (&str, &str)> {
        self.metadata.iter().map(|entry| (entry.key(), entry.value()))
    }

    /// Sets or adds.
    pub fn set_metadata(&mut self, key: &str, value: &str) {
        if self.metadata(key) == Some(value) {
            return;
        }
        let entry = metadata_entry(key, value);
        let bytes = wire::message_field(METADATA_PROPS, &entry);
        match self.metadata.iter().rposition(|present| present.key() == key) {
            Some(at) => {
                self.metadata[at] = entry;
                self.set_field(METADATA_PROPS, at, bytes);
            }
            None => {
                self.add_field(METADATA_PROPS, bytes);
                self.metadata.push(entry);
            }
        }
    }

    /// Removes; whether it was there.
    pub fn remove_metadata(&mut self, key: &str) -> bool {
        let mut removed = false;
        while let Some(at) = self.metadata.iter().position(|entry| entry.key() == key) {
            self.metadata.remove(at);
            self.remove_field(METADATA_PROPS, at);
            removed = true;
        }
        removed
    }

    /// The main graph.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// The main graph, for edits.
    pub fn graph_mut(&mut self) -> &mut Graph {
        &mut self.graph
    }

    /// Model-local functions.
    pub fn functions(&self) -> &[Function] {
        &self.functions
    }

    /// Adds a function, or replaces the one of the same domain, name and overload.
    pub fn set_function(&mut self, function: FunctionProto) {
        let same = |present: &Function| {
            present.is(function.domain(), function.name()) && present.proto.overload() == function.overload()
        };
        match self.functions.iter().position(same) {
            Some(at) if *self.functions[at].proto == function => {}
            Some(at) => {
                self.set_field(FUNCTIONS, at, wire::message_field(FUNCTIONS, &function));
                self.functions[at] = Function { proto: Arc::new(function) };
            }
            None => {
                self.add_field(FUNCTIONS, wire::message_field(FUNCTIONS, &function));
                self.functions.push(Function { proto: Arc::new(function) });
            }
        }
    }

    /// Removes all overloads; whether there was one.
    pub fn remove_function(&mut self, domain: &str, name: &str) -> bool {
        let mut removed = false;
        while let Some(at) = self.functions.iter().position(|function| function.is(domain, name)) {
            self.functions.remove(at);
            self.remove_field(FUNCTIONS, at);
            removed = true;
        }
        removed
    }

    // ---- fields; `at` counts those of one number

    fn field_position(&self, number: u32, at: usize) -> Option<usize> {
        let of_number = self.fields.iter().enumerate().filter(|(_, field)| field.number == number);
        of_number.map(|(position, _)| position).nth(at)
    }

    fn set_field(&mut self, number: u32, at: usize, bytes: Bytes) {
        if let Some(position) = self.field_position(number, at) {
            self.fields[position].bytes = bytes;
        }
    }

    fn remove_field(&mut self, number: u32, at: usize) {
        if let Some(position) = self.field_position(number, at) {
            self.fields.remove(position);
        }
    }

    /// After the last of its number; where there is none, in field order.
    fn add_field(&mut self, number: u32, bytes: Bytes) {
        let after_same = self.fields.iter().rposition(|field| field.number == number).map(|last| last + 1);
        let in_order = || self.fields.iter().position(|field| field.number > number).unwrap_or(self.fields.len());
        let position = after_same.unwrap_or_else(in_order);
        self.fields.insert(position, Field { number, bytes });
    }

    // ---- external data

    /// External data of all tensors: initializers, attributes, subgraphs, functions, training info.
    ///
    /// # Errors
    /// Where a reference cannot be followed or leads out of the model's folder.
    pub fn external_references(&self) -> Result<Vec<ExternalReference>, ModelError> {
        let mut references = Vec::new();
        for field in &self.fields {
            match field.number {
                GRAPH => external::of_graph(&self.graph, &mut references)?,
                number => external::of_field(Kind::Model, number, &field.bytes, &mut references)?,
            }
        }
        Ok(references)
    }

    /// Data files, relative to the model's folder, each once and in order. They are looked for, not read.
    ///
    /// # Errors
    /// As [`Self::external_references`]; also where a link leads out of the model's folder, or a file is not there. A
    /// model from memory has no folder, its files are not looked for.
    pub fn external_files(&self) -> Result<Vec<PathBuf>, ModelError> {
        external::files(&self.external_references()?, self.path())
    }

    /// Data files that are not there; none for a model from memory, which has no folder.
    ///
    /// # Errors
    /// As [`Self::external_references`].
    pub fn missing_external_files(&self) -> Result<Vec<PathBuf>, ModelError> {
        Ok(external::missing(&self.external_references()?, self.path()))
    }

    // ---- writing

    /// Tag and length of the graph field: the file's own while the length is the same, whatever varints it used.
    fn graph_header(&self) -> Bytes {
        let length = self.graph.encoded_len();
        if length == self.graph_header.length { self.graph_header.bytes.clone() } else { wire::header(GRAPH, length) }
    }

    /// Size of the encoded model in bytes.
    pub fn encoded_len(&self) -> usize {
        let fields: usize = self.fields.iter().map(|field| field.bytes.len()).sum();
        fields + self.graph_header().len() + self.graph.encoded_len()
    }

    /// Writes the encoded model, byte-identical to the source where nothing was edited.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn write_to(&self, writer: &mut impl Write) -> std::io::Result<()> {
        for field in &self.fields {
            if field.number == GRAPH {
                writer.write_all(&self.graph_header())?;
                self.graph.fields().try_for_each(|(_, bytes)| writer.write_all(bytes))?;
            } else {
                writer.write_all(&field.bytes)?;
            }
        }
        Ok(())
    }

    /// The encoded model in memory; for small models and tests.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.encoded_len());
        // writing to a Vec cannot fail
        let _ = self.write_to(&mut bytes);
        bytes
    }

    /// Replaces `path` atomically (temporary file beside it, fsync, rename). If the model has external data and `path`
    /// is in another folder than [`Self::path`], `external` says what happens to the data files: by default they are
    /// copied under the same relative location. A different file in the way is never overwritten. A model read
    /// from memory needs its data files beside `path` already.
    ///
    /// # Errors
    /// Where the encoded model has 2 GiB or more, a data file is missing or in the way, or the system refuses; the old
    /// file is whole then, and data files that were brought along are gone again. (A process that is killed can leave a
    /// `.elonnx-….tmp` beside the old file.)
    pub fn save(&self, path: impl AsRef<Path>, external: ExternalData) -> Result<(), ModelError> {
        let path = path.as_ref();
        self.check_length(path)?;
        let carried = external::carry(&self.external_references()?, self.path(), path, external)?;
        self.stage(path)?.commit()?;
        carried.keep();
        Ok(())
    }

    /// Whether [`Self::save`] would refuse `path`, without writing anything. What only the attempt can tell (no room,
    /// no permission) is not looked at.
    ///
    /// # Errors
    /// Those of [`Self::save`].
    pub fn check_save(&self, path: impl AsRef<Path>) -> Result<(), ModelError> {
        let path = path.as_ref();
        self.check_length(path)?;
        external::plan(&self.external_references()?, self.path(), path).map(drop)
    }

    /// Writes all of the new file under a temporary name beside `path`; external data is the caller's.
    pub(crate) fn stage(&self, path: &Path) -> Result<write::Staged, ModelError> {
        self.check_length(path)?;
        write::stage(path, |writer| self.write_to(writer))
    }

    fn check_length(&self, path: &Path) -> Result<(), ModelError> {
        let length = self.encoded_len();
        if length > MAX_ENCODED_LEN {
            return Err(ModelError::TooLarge { path: path.to_owned(), length });
        }
        Ok(())
    }
}

/// The default domain has two names.
fn same_domain(a: &str, b: &str) -> bool {
    let default = |domain: &str| matches!(domain, "" | "ai.onnx");
    a == b || (default(a) && default(b))
}
