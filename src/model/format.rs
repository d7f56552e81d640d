//! What a file that is no ONNX model looks like.

/// How many bytes are looked at to tell text.
const SAMPLE: usize = 256;

/// Names other formats by their first bytes, with what to do; a clause.
pub(super) fn recognise(bytes: &[u8]) -> Option<&'static str> {
    let starts = |magic: &[u8]| bytes.starts_with(magic);
    let identifier = bytes.get(4..8).unwrap_or_default();
    let is_text = std::str::from_utf8(sample(bytes))
        .is_ok_and(|text| text.chars().all(|c| !c.is_control() || matches!(c, '\n' | '\r' | '\t')));
    Some(match () {
        () if identifier == b"ORTM" => "ONNX Runtime's own .ort format; give the .onnx file it was made from",
        () if identifier == b"ODTC" => "a checkpoint of ONNX Runtime Training; give training_model.onnx beside it",
        () if identifier == b"TFL3" => "a TensorFlow Lite model; convert it with tf2onnx",
        () if starts(b"PK\x03\x04") => {
            "a zip archive (PyTorch's .pt and .pth are such); unpack it, or export the model with torch.onnx.export"
        }
        () if starts(&[0x1f, 0x8b]) => "a gzip file; unpack it first",
        () if starts(b"\x89HDF") => "an HDF5 file; convert the Keras model with tf2onnx",
        () if starts(b"version https://git-lfs") => "a Git LFS pointer; fetch the file itself with `git lfs pull`",
        () if bytes.get(8) == Some(&b'{') && safetensors_header(bytes) => {
            "a safetensors file, which has weights but no graph; export the model with torch.onnx.export"
        }
        () if is_text => "a text file; give the binary .onnx file",
        () => return None,
    })
}

/// The first bytes, cut where a character ends.
fn sample(bytes: &[u8]) -> &[u8] {
    if bytes.len() <= SAMPLE {
        return bytes;
    }
    let end = (SAMPLE - 3..=SAMPLE).rev().find(|&end| bytes[end] & 0xc0 != 0x80).unwrap_or(SAMPLE);
    &bytes[..end]
}

/// A length in 8 bytes, then that many bytes of JSON.
fn safetensors_header(bytes: &[u8]) -> bool {
    let length = bytes[..8].iter().rev().fold(0u64, |length, &byte| length << 8 | u64::from(byte));
    length < bytes.len() as u64
}

#[cfg(test)]
mod tests {
    use super::recognise;

    #[test]
    fn formats_are_told_apart() {
        let says =
            |bytes: &[u8], word: &str| assert!(recognise(bytes).is_some_and(|text| text.contains(word)), "{word}");
        says(b"\x18\0\0\0ORTM....", ".ort");
        says(b"\x18\0\0\0ODTC....", "checkpoint");
        says(b"\x1c\0\0\0TFL3....", "Lite");
        says(b"PK\x03\x04....", "zip");
        says(&[0x1f, 0x8b, 8, 0], "gzip");
        says(b"\x89HDF\r\n\x1a\n", "HDF5");
        says(b"version https://git-lfs.github.com/spec/v1\noid sha256:00", "git lfs pull");
        says(b"\x02\0\0\0\0\0\0\0{}", "safetensors");
        says("ünïcode text\n".repeat(40).as_bytes(), "text file");
        assert_eq!(recognise(&[8, 7, 0x12, 4, 0xff]), None);
    }
}
