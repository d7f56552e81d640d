//! Protobuf wire format: a bounds-checked field scanner, and the few encoders that edits need.

use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;

use super::error::{Location, ModelError};

/// Largest field number protobuf has.
const MAX_FIELD_NUMBER: u64 = (1 << 29) - 1;
/// Longest varint: ten groups of seven bits.
const MAX_VARINT_BYTES: usize = 10;

/// The value of a field.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Value<'a> {
    Varint(u64),
    Fixed64,
    Bytes(&'a [u8]),
    Fixed32,
}

impl<'a> Value<'a> {
    /// What it is, for messages.
    pub(super) fn describe(&self) -> &'static str {
        match self {
            Value::Varint(_) => "a varint",
            Value::Fixed64 => "64 bits",
            Value::Bytes(_) => "a sequence of bytes",
            Value::Fixed32 => "32 bits",
        }
    }

    pub(super) fn bytes(&self) -> Option<&'a [u8]> {
        match self {
            Value::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }

    pub(super) fn text(&self) -> Option<&'a str> {
        self.bytes().and_then(|bytes| std::str::from_utf8(bytes).ok())
    }
}

/// One field; positions count from the start of the scanned message.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Field<'a> {
    pub number: u32,
    pub value: Value<'a>,
    /// Where the tag starts.
    pub start: usize,
    /// Where the payload of a length-delimited field starts.
    pub payload: usize,
    /// One past the last byte.
    pub end: usize,
}

/// What is wrong with a field, and where in the scanned message.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Fault {
    pub offset: usize,
    pub kind: FaultKind,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum FaultKind {
    TruncatedVarint,
    OversizedVarint,
    PastEnd { claimed: u64, left: usize },
    FieldNumber(u64),
    Group(u32),
    WireType(u32, u8),
}

impl Fault {
    /// The public error; `at` is where the fault lies in the file.
    pub(super) fn error(self, at: Location) -> ModelError {
        match self.kind {
            FaultKind::TruncatedVarint => ModelError::TruncatedVarint { at },
            FaultKind::OversizedVarint => ModelError::OversizedVarint { at },
            FaultKind::PastEnd { claimed, left } => ModelError::PastEnd { at, claimed, left },
            FaultKind::FieldNumber(number) => ModelError::FieldNumber { at, number },
            FaultKind::Group(number) => ModelError::Group { at, number },
            FaultKind::WireType(number, wire_type) => ModelError::WireType { at, number, wire_type },
        }
    }
}

/// Walks the fields of one message. Ends after the first fault.
pub(super) struct Scanner<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl<'a> Scanner<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, position: 0 }
    }

    fn varint(&mut self) -> Result<u64, Fault> {
        let offset = self.position;
        let mut value = 0u64;
        for index in 0..MAX_VARINT_BYTES {
            let Some(&byte) = self.bytes.get(self.position) else {
                return Err(Fault { offset, kind: FaultKind::TruncatedVarint });
            };
            self.position += 1;
            // the tenth byte holds bit 63 only
            if index == MAX_VARINT_BYTES - 1 && byte > 1 {
                break;
            }
            value |= u64::from(byte & 0x7f) << (7 * index);
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Fault { offset, kind: FaultKind::OversizedVarint })
    }

    /// Skips `length` bytes, if they are there.
    fn take(&mut self, start: usize, length: u64) -> Result<&'a [u8], Fault> {
        let left = self.bytes.len() - self.position;
        match usize::try_from(length) {
            Ok(wanted) if wanted <= left => {
                let slice = &self.bytes[self.position..self.position + wanted];
                self.position += wanted;
                Ok(slice)
            }
            _ => Err(Fault { offset: start, kind: FaultKind::PastEnd { claimed: length, left } }),
        }
    }

    fn field(&mut self) -> Result<Field<'a>, Fault> {
        let start = self.position;
        let fault = |kind| Fault { offset: start, kind };
        let tag = self.varint()?;
        let number = tag >> 3;
        if number == 0 || number > MAX_FIELD_NUMBER {
            return Err(fault(FaultKind::FieldNumber(number)));
        }
        let number = number as u32;
        let mut payload = self.position;
        let value = match (tag & 7) as u8 {
            0 => Value::Varint(self.varint()?),
            1 => {
                self.take(start, 8)?;
                Value::Fixed64
            }
            2 => {
                let length = self.varint()?;
                payload = self.position;
                Value::Bytes(self.take(start, length)?)
            }
            3 | 4 => return Err(fault(FaultKind::Group(number))),
            5 => {
                self.take(start, 4)?;
                Value::Fixed32
            }
            other => return Err(fault(FaultKind::WireType(number, other))),
        };
        Ok(Field { number, value, start, payload, end: self.position })
    }
}

impl<'a> Iterator for Scanner<'a> {
    type Item = Result<Field<'a>, Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.position >= self.bytes.len() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.position = self.bytes.len();
        }
        Some(field)
    }
}

/// The payload of an encoded length-delimited field; empty where it is none.
pub(super) fn payload(field: &Bytes) -> Bytes {
    match Scanner::new(field).next() {
        Some(Ok(found)) if found.value.bytes().is_some() => field.slice(found.payload..found.end),
        _ => Bytes::new(),
    }
}

/// Tag and length of a length-delimited field.
pub(super) fn header(number: u32, length: usize) -> Bytes {
    let mut buffer = BytesMut::with_capacity(2 * MAX_VARINT_BYTES);
    prost::encoding::encode_key(number, prost::encoding::WireType::LengthDelimited, &mut buffer);
    prost::encoding::encode_varint(length as u64, &mut buffer);
    buffer.freeze()
}

/// A message as a length-delimited field.
pub(super) fn message_field(number: u32, message: &impl Message) -> Bytes {
    let length = message.encoded_len();
    let mut buffer = BytesMut::with_capacity(length + 2 * MAX_VARINT_BYTES);
    buffer.put(header(number, length));
    message.encode_raw(&mut buffer);
    buffer.freeze()
}

/// Bytes as a length-delimited field.
pub(super) fn bytes_field(number: u32, bytes: &[u8]) -> Bytes {
    let mut buffer = BytesMut::with_capacity(bytes.len() + 2 * MAX_VARINT_BYTES);
    buffer.put(header(number, bytes.len()));
    buffer.put(bytes);
    buffer.freeze()
}

/// An integer field.
pub(super) fn int_field(number: u32, value: i64) -> Bytes {
    let mut buffer = BytesMut::with_capacity(2 * MAX_VARINT_BYTES);
    prost::encoding::encode_key(number, prost::encoding::WireType::Varint, &mut buffer);
    prost::encoding::encode_varint(value as u64, &mut buffer);
    buffer.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scan(bytes: &[u8]) -> Vec<Result<Field<'_>, Fault>> {
        Scanner::new(bytes).collect()
    }

    fn only_fault(bytes: &[u8]) -> Fault {
        scan(bytes).pop().expect("a field").expect_err("a fault")
    }

    #[test]
    fn all_wire_types() {
        let bytes = [0x08, 0x96, 0x01, 0x11, 1, 2, 3, 4, 5, 6, 7, 8, 0x1a, 2, b'h', b'i', 0x25, 1, 2, 3, 4];
        let fields: Vec<_> = scan(&bytes).into_iter().map(Result::unwrap).collect();
        assert_eq!(fields.iter().map(|f| f.number).collect::<Vec<_>>(), [1, 2, 3, 4]);
        assert_eq!(fields[0].value, Value::Varint(150));
        assert_eq!(fields[1].value, Value::Fixed64);
        assert_eq!(fields[2].value.text(), Some("hi"));
        assert_eq!((fields[2].start, fields[2].payload, fields[2].end), (12, 14, 16));
        assert_eq!((fields[3].value, fields[3].end), (Value::Fixed32, bytes.len()));
    }

    #[test]
    fn non_minimal_varints_are_read() {
        let fields = scan(&[0x88, 0x00, 0x85, 0x80, 0x00]);
        assert_eq!(fields[0].unwrap().value, Value::Varint(5));
        assert_eq!(
            scan(&[8, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1])[0].unwrap().value,
            Value::Varint(u64::MAX)
        );
    }

    #[test]
    fn faults_are_told_apart() {
        assert_eq!(only_fault(&[0x08]), Fault { offset: 1, kind: FaultKind::TruncatedVarint });
        assert_eq!(
            only_fault(&[8, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2]).kind,
            FaultKind::OversizedVarint
        );
        assert_eq!(
            only_fault(&[8, 1, 0x0a, 5, 0]),
            Fault { offset: 2, kind: FaultKind::PastEnd { claimed: 5, left: 1 } }
        );
        assert_eq!(
            only_fault(&[0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]).kind,
            FaultKind::PastEnd { claimed: u64::MAX, left: 0 }
        );
        assert_eq!(only_fault(&[0x09, 1, 2]).kind, FaultKind::PastEnd { claimed: 8, left: 2 });
        assert_eq!(only_fault(&[0x0d, 1, 2]).kind, FaultKind::PastEnd { claimed: 4, left: 2 });
        assert_eq!(only_fault(&[0x00, 0x00]).kind, FaultKind::FieldNumber(0));
        assert_eq!(only_fault(&[0x80, 0x80, 0x80, 0x80, 0x80, 0x01, 0]).kind, FaultKind::FieldNumber(1 << 32));
        assert_eq!(only_fault(&[0x0b, 0x0c]).kind, FaultKind::Group(1));
        assert_eq!(only_fault(&[0x0c]).kind, FaultKind::Group(1));
        assert_eq!(only_fault(&[0x0e]).kind, FaultKind::WireType(1, 6));
    }

    #[test]
    fn encoders_and_scanner_agree() {
        let field = int_field(1, -1);
        assert_eq!(scan(&field)[0].unwrap().value, Value::Varint(u64::MAX));
        let entry = super::super::proto::StringStringEntryProto { key: Some("k".into()), value: None };
        assert_eq!(payload(&message_field(14, &entry)).as_ref(), entry.encode_to_vec());
    }
}
