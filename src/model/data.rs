//! The numbers of a tensor, wherever they lie.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};

use super::document::Document;
use super::error::ModelError;
use super::external;
use super::graph::Initializer;
use super::proto::{DataType, TensorProto};
use super::tensor::TensorValue;

impl Document {
    /// The decoded tensor of an initializer; external data is read from the model's folder into `raw_data`.
    ///
    /// # Errors
    /// Where the data file is missing, shorter than the tensor says, or leads out of the folder; for a model from memory
    /// whose data is external.
    pub fn tensor(&self, initializer: &Initializer) -> Result<TensorProto, ModelError> {
        let mut tensor = initializer.tensor()?;
        let Some(reference) = initializer.external() else { return Ok(tensor) };
        let file = external::file(reference, self.path())?;
        let io = |error| ModelError::io("read", &file, error);
        let fail = |reason: String| ModelError::ExternalData { tensor: reference.tensor.clone(), reason };
        let mut data = File::open(&file).map_err(io)?;
        let there = data.metadata().map_err(io)?.len().saturating_sub(reference.offset);
        let wanted = reference.length.unwrap_or(there);
        if wanted > there {
            return Err(fail(format!(
                "it wants {wanted} bytes from byte {} of {}, which has only {there} there",
                reference.offset,
                file.display()
            )));
        }
        let length = usize::try_from(wanted).map_err(|_| fail(format!("{wanted} bytes are more than memory holds")))?;
        data.seek(SeekFrom::Start(reference.offset)).map_err(io)?;
        let mut raw = Vec::with_capacity(length);
        data.take(wanted).read_to_end(&mut raw).map_err(io)?;
        tensor.raw_data = Some(raw.into());
        tensor.external_data.clear();
        tensor.data_location = None;
        Ok(tensor)
    }
}

impl TensorProto {
    /// The elements as float, rounded where they are double or integers.
    ///
    /// # Errors
    /// As [`TensorValue::decode`].
    pub fn floats(&self) -> Result<Vec<f32>, ModelError> {
        let elements = self.dims.iter().try_fold(1usize, |n, &dim| n.checked_mul(usize::try_from(dim).ok()?));
        if let (Some(elements), Some(raw)) = (elements, &self.raw_data)
            && self.data_location() != 1
            && self.data_type() == DataType::Float as i32
            && elements.checked_mul(4) == Some(raw.len())
        {
            return Ok(raw.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect());
        }
        Ok(TensorValue::decode(self)?.data.into_iter().map(|x| x as f32).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::proto::StringStringEntryProto;

    fn entry(key: &str, value: &str) -> StringStringEntryProto {
        StringStringEntryProto { key: Some(key.into()), value: Some(value.into()) }
    }

    fn external(offset: &str, length: Option<&str>) -> TensorProto {
        let mut tensor = TensorProto {
            name: Some("w".into()),
            dims: vec![2],
            data_type: Some(DataType::Float as i32),
            data_location: Some(1),
            external_data: vec![entry("location", "w.bin"), entry("offset", offset)],
            ..TensorProto::default()
        };
        tensor.external_data.extend(length.map(|length| entry("length", length)));
        tensor
    }

    fn read(tensor: TensorProto) -> Result<Vec<f32>, ModelError> {
        let folder = tempfile::tempdir().unwrap();
        let data: Vec<u8> = [9.0f32, 1.5, -2.0].iter().flat_map(|x| x.to_le_bytes()).collect();
        std::fs::write(folder.path().join("w.bin"), data).unwrap();
        let path = folder.path().join("m.onnx");
        let mut document = Document::from_bytes(vec![0x08, 0x08, 0x3a, 0x00]).unwrap();
        document.graph_mut().add_initializer(tensor);
        std::fs::write(&path, document.to_bytes()).unwrap();
        let document = Document::open(&path).unwrap();
        document.tensor(&document.graph().initializers()[0])?.floats()
    }

    #[test]
    fn external_data_is_read_from_its_place() {
        assert_eq!(read(external("4", Some("8"))).unwrap(), [1.5, -2.0]);
        assert_eq!(read(external("4", None)).unwrap(), [1.5, -2.0]);
        assert!(read(external("8", Some("8"))).unwrap_err().to_string().contains("has only 4 there"));
        assert!(read(external("0", None)).unwrap_err().to_string().contains("12 bytes"));
    }

    #[test]
    fn every_number_becomes_a_float() {
        for data_type in [DataType::Float, DataType::Float16, DataType::Bfloat16, DataType::Double, DataType::Int64] {
            let tensor = TensorProto::vector("t", data_type as i32, &[1.0, -3.0]);
            assert_eq!(tensor.floats().unwrap(), [1.0, -3.0], "{data_type:?}");
        }
    }
}
