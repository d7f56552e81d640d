//! Elements in a row, read some samples at a time.

use std::io::Read;

use bytes::Bytes;

use super::element::{self, ElementType, Endian};
use super::{DataError, Values};

/// No sample is larger; a header that says so is damaged.
const LARGEST_ROW: usize = 1 << 30;
/// Elements that a batch may have: what bounds memory, whatever the size of the samples.
pub(super) const BATCH_ELEMENTS: usize = 1 << 20;

/// Bytes of a file, behind its header and its compression.
pub(super) type Stream = Box<dyn Read + Send>;

/// Samples of one shape and type that follow each other in a stream.
pub(super) struct Array {
    /// Name in sentences.
    pub(super) path: String,
    /// Shape of a sample.
    pub(super) dims: Vec<usize>,
    /// Type of its elements.
    pub(super) element: ElementType,
    /// Samples in all, where a header says so.
    pub(super) rows: Option<u64>,
    endian: Endian,
    stream: Stream,
    row_bytes: usize,
    done: u64,
    bytes: Vec<u8>,
}

/// Samples of an array at hand, as their file has them.
pub(super) struct Rows {
    bytes: Bytes,
    row_bytes: usize,
    pub(super) element: ElementType,
    endian: Endian,
}

impl Rows {
    /// How many.
    pub(super) fn len(&self) -> usize {
        self.bytes.len() / self.row_bytes
    }

    /// The bytes of one; none where there is no such sample.
    pub(super) fn row(&self, index: usize) -> &[u8] {
        let start = index.saturating_mul(self.row_bytes);
        self.bytes.get(start..start.saturating_add(self.row_bytes)).unwrap_or_default()
    }

    /// Elements of bytes of such rows, or the first that no [`Values`] holds.
    pub(super) fn decode(&self, bytes: &[u8]) -> Result<Values, usize> {
        element::decode(bytes, self.element, self.endian)
    }
}

impl Array {
    /// The stream stands at the first element; without `rows` it is read to its end.
    pub(super) fn new(
        path: String,
        stream: Stream,
        dims: Vec<usize>,
        (element, endian): (ElementType, Endian),
        rows: Option<u64>,
    ) -> Result<Self, DataError> {
        let row_bytes = dims.iter().try_fold(element.size(), |size, &dim| size.checked_mul(dim));
        let row_bytes = match row_bytes {
            Some(0) => return Err(DataError::Empty { path, advice: "an axis of its samples has size 0" }),
            Some(bytes) if bytes <= LARGEST_ROW => bytes,
            bytes => {
                let bytes = bytes.map_or(u64::MAX, |bytes| bytes as u64);
                return Err(DataError::RowTooLarge { path, bytes });
            }
        };
        if rows == Some(0) {
            return Err(DataError::Empty { path, advice: "its header announces 0 of them" });
        }
        Ok(Self { path, dims, element, rows, endian, stream, row_bytes, done: 0, bytes: Vec::new() })
    }

    /// Takes the whole for one sample; false where that cannot be.
    pub(super) fn become_one_sample(&mut self) -> bool {
        let Some(rows) = self.rows.and_then(|rows| usize::try_from(rows).ok()) else { return false };
        let Some(bytes) = self.row_bytes.checked_mul(rows).filter(|&bytes| bytes <= LARGEST_ROW) else { return false };
        self.dims.insert(0, rows);
        (self.rows, self.row_bytes) = (Some(1), bytes);
        true
    }

    /// Reads up to `rows` samples: fewer at the end, and where they are large; none when all were read.
    pub(super) fn read(&mut self, rows: usize) -> Result<Values, DataError> {
        let most = BATCH_ELEMENTS * self.element.size() / self.row_bytes;
        self.read_exactly(rows.min(most).max(1))
    }

    /// Reads `rows` samples, however large they are; fewer at the end.
    pub(super) fn read_exactly(&mut self, rows: usize) -> Result<Values, DataError> {
        let left = self.rows.map_or(u64::MAX, |all| all - self.done);
        let wanted = rows.min(usize::try_from(left).unwrap_or(usize::MAX));
        let wanted_bytes = wanted.saturating_mul(self.row_bytes);
        self.bytes.clear();
        // no more is allocated than comes, whatever a header promised
        let read = self.stream.by_ref().take(wanted_bytes as u64).read_to_end(&mut self.bytes);
        read.map_err(|error| self.failed(error))?;
        if self.bytes.len() < wanted_bytes {
            let complete = self.bytes.len().is_multiple_of(self.row_bytes);
            if self.rows.is_some() || !complete {
                return Err(self.truncated());
            }
        }
        let first = self.done;
        self.done += (self.bytes.len() / self.row_bytes) as u64;
        if wanted > 0 && Some(self.done) == self.rows {
            self.expect_end()?;
        }
        element::decode(&self.bytes, self.element, self.endian).map_err(|index| DataError::Value {
            path: self.path.clone(),
            place: place(first, index, &self.dims),
            value: "above 2^63".to_owned(),
            wanted: "int64".to_owned(),
        })
    }

    /// All samples as they lie in the file, read to its end.
    pub(super) fn into_rows(mut self) -> Result<Rows, DataError> {
        let mut bytes = Vec::new();
        match self.rows {
            Some(rows) => {
                let wanted = rows.saturating_mul(self.row_bytes as u64);
                let read = self.stream.by_ref().take(wanted).read_to_end(&mut bytes);
                read.map_err(|error| self.failed(error))?;
                self.done = (bytes.len() / self.row_bytes) as u64;
                if (bytes.len() as u64) < wanted {
                    return Err(self.ends_early(bytes));
                }
                self.expect_end()?;
            }
            None => {
                self.stream.read_to_end(&mut bytes).map_err(|error| self.failed(error))?;
                if !bytes.len().is_multiple_of(self.row_bytes) {
                    return Err(self.ends_early(bytes));
                }
            }
        }
        Ok(self.rows_in(bytes.into()))
    }

    /// As [`Self::into_rows`] of bytes that are there already, as many as the header says; None where they are not.
    pub(super) fn with_bytes(&self, bytes: Bytes) -> Option<Rows> {
        let expected = self.rows?.checked_mul(self.row_bytes as u64)?;
        (bytes.len() as u64 == expected).then(|| self.rows_in(bytes))
    }

    fn rows_in(&self, bytes: Bytes) -> Rows {
        Rows { bytes, row_bytes: self.row_bytes, element: self.element, endian: self.endian }
    }

    fn ends_early(&mut self, bytes: Vec<u8>) -> DataError {
        self.done = 0;
        self.bytes = bytes;
        self.truncated()
    }

    /// Looks one byte further, which makes decompressors check their sums.
    fn expect_end(&mut self) -> Result<(), DataError> {
        let mut byte = [0];
        match self.stream.read(&mut byte) {
            Ok(0) => Ok(()),
            Ok(_) => Err(DataError::TrailingBytes { path: self.path.clone(), samples: self.done }),
            Err(error) => Err(self.failed(error)),
        }
    }

    fn failed(&self, error: std::io::Error) -> DataError {
        DataError::reading(&self.path, error)
    }

    fn truncated(&self) -> DataError {
        let rows = self.done + (self.bytes.len() / self.row_bytes) as u64;
        let bytes = self.bytes.len() % self.row_bytes;
        let row = format!("samples of {} bytes", self.row_bytes);
        DataError::Truncated {
            path: self.path.clone(),
            found: if bytes == 0 { format!("{rows} samples") } else { format!("{rows} samples and {bytes} bytes") },
            expected: match self.rows {
                Some(all) => format!("{all} {row}"),
                None => format!("a whole number of {row}"),
            },
        }
    }
}

/// Where an element is: "sample 3, element [0, 4, 5]". `first` is the sample that index 0 belongs to.
pub(super) fn place(first: u64, index: usize, dims: &[usize]) -> String {
    let row: usize = dims.iter().product::<usize>().max(1);
    let sample = first + (index / row) as u64;
    let mut rest = index % row;
    let mut coordinates: Vec<usize> = dims
        .iter()
        .rev()
        .map(|&dim| {
            let coordinate = rest % dim.max(1);
            rest /= dim.max(1);
            coordinate
        })
        .collect();
    coordinates.reverse();
    match coordinates.as_slice() {
        [] => format!("sample {sample}"),
        [column] => format!("sample {sample}, element {column}"),
        coordinates => format!("sample {sample}, element {coordinates:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn array(bytes: &'static [u8], rows: Option<u64>) -> Array {
        Array::new("f".into(), Box::new(bytes), vec![2], (ElementType::U8, Endian::Little), rows).unwrap()
    }

    #[test]
    fn samples_come_in_order_and_end() {
        let mut a = array(&[1, 2, 3, 4, 5, 6], Some(3));
        assert_eq!(a.read(2).unwrap(), Values::U8(vec![1, 2, 3, 4]));
        assert_eq!(a.read(2).unwrap(), Values::U8(vec![5, 6]));
        assert!(a.read(2).unwrap().is_empty());
        let mut a = array(&[1, 2, 3, 4], None);
        assert_eq!(a.read(8).unwrap().len(), 4);
        assert!(a.read(8).unwrap().is_empty());
    }

    #[test]
    fn what_is_missing_and_what_is_too_much_is_told() {
        let text = array(&[1, 2, 3], Some(3)).read(3).unwrap_err().to_string();
        assert!(text.contains("ends after 1 samples and 1 bytes of 3 samples of 2 bytes"), "{text}");
        let text = array(&[1, 2, 3], None).read(3).unwrap_err().to_string();
        assert!(text.contains("a whole number of samples of 2 bytes"), "{text}");
        let text = array(&[1, 2, 3], Some(1)).read(3).unwrap_err().to_string();
        assert!(text.contains("goes on after the 1 samples"), "{text}");
    }

    #[test]
    fn a_header_that_lies_costs_no_memory() {
        let make = |dims: Vec<usize>| {
            Array::new("f".into(), Box::new(&b"1234"[..]), dims, (ElementType::F64, Endian::Little), Some(u64::MAX))
        };
        assert!(matches!(make(vec![usize::MAX, 2]), Err(DataError::RowTooLarge { .. })));
        assert!(matches!(make(vec![1 << 40]), Err(DataError::RowTooLarge { .. })));
        assert!(matches!(make(vec![1 << 27]).unwrap().read(1 << 40), Err(DataError::Truncated { .. })));
        assert!(matches!(make(vec![3, 0]), Err(DataError::Empty { .. })));
    }

    #[test]
    fn places() {
        assert_eq!(place(10, 7, &[2, 2]), "sample 11, element [1, 1]");
        assert_eq!(place(0, 7, &[4]), "sample 1, element 3");
        assert_eq!(place(0, 7, &[]), "sample 7");
    }
}
