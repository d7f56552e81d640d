//! Encoding by hand, to say what no encoder would.

pub fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let byte = (value & 0x7f) as u8;
        value >>= 7;
        if value == 0 {
            bytes.push(byte);
            return bytes;
        }
        bytes.push(byte | 0x80);
    }
}

/// A varint with more bytes than it needs.
pub fn long_varint(value: u64, length: usize) -> Vec<u8> {
    let mut bytes = varint(value);
    while bytes.len() < length {
        *bytes.last_mut().unwrap() |= 0x80;
        bytes.push(0);
    }
    bytes
}

pub fn int(number: u64, value: u64) -> Vec<u8> {
    [varint(number << 3), varint(value)].concat()
}

pub fn bytes(number: u64, payload: impl AsRef<[u8]>) -> Vec<u8> {
    let payload = payload.as_ref();
    [&varint(number << 3 | 2), &varint(payload.len() as u64), payload].concat()
}

/// A model with this graph.
pub fn model(graph: impl AsRef<[u8]>) -> Vec<u8> {
    [int(1, 8), bytes(7, graph), bytes(8, int(2, 17))].concat()
}

/// An initializer with external data at `location`.
pub fn external_tensor(name: &str, location: &str) -> Vec<u8> {
    external_tensor_at(name, location, 0)
}

/// An initializer with external data from a byte of `location` on.
pub fn external_tensor_at(name: &str, location: &str, offset: u64) -> Vec<u8> {
    let entry = |key: &str, value: &str| bytes(13, [bytes(1, key), bytes(2, value)].concat());
    [
        int(1, 4),
        int(2, 1),
        bytes(8, name),
        entry("location", location),
        entry("offset", &offset.to_string()),
        entry("length", "16"),
        int(14, 1),
    ]
    .concat()
}
