//! Protobuf wire format: a bounds-checked field scanner.
