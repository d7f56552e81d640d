//! Readers as they are used: files in, batches out.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::idx::tests::idx;
use super::npy::tests::npy;
use super::{Batch, DataError, InputSpec, Options, Source, Values, open};
use crate::model::DataType;

/// A folder of files.
pub(super) struct Files(TempDir);

impl Files {
    pub(super) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(super) fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, bytes).unwrap();
        path
    }

    pub(super) fn path(&self) -> &Path {
        self.0.path()
    }
}

/// An input of any number of samples.
pub(super) fn input(name: &str, data_type: DataType, dims: &[usize]) -> InputSpec {
    let dims = std::iter::once(None).chain(dims.iter().map(|&dim| Some(dim))).collect();
    InputSpec { name: name.into(), data_type, dims }
}

pub(super) fn floats(dims: &[usize]) -> Vec<InputSpec> {
    vec![input("x", DataType::Float, dims)]
}

pub(super) fn of(paths: &[PathBuf]) -> Options {
    Options { paths: paths.to_vec(), ..Options::default() }
}

#[track_caller]
pub(super) fn all(options: &Options, inputs: &[InputSpec]) -> Vec<Batch> {
    opened(options, inputs).collect::<Result<_, _>>().unwrap()
}

#[track_caller]
pub(super) fn opened(options: &Options, inputs: &[InputSpec]) -> Source {
    open(options, inputs).unwrap_or_else(|error| panic!("{error}"))
}

/// The error that opening or reading ends in.
#[track_caller]
pub(super) fn refusal(options: &Options, inputs: &[InputSpec]) -> String {
    let read = |source: Source| source.collect::<Result<Vec<_>, _>>();
    open(options, inputs).and_then(read).expect_err("an error").to_string()
}

fn f32s(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

pub(super) fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// An npz file as numpy.savez (or savez_compressed) writes it.
fn npz(arrays: &[(&str, Vec<u8>)], deflate: bool) -> Vec<u8> {
    use std::io::Write as _;
    let mut file = std::io::Cursor::new(Vec::new());
    let mut central = Vec::new();
    for (name, bytes) in arrays {
        let name = format!("{name}.npy");
        let mut sum = flate2::Crc::new();
        sum.update(bytes);
        let packed = if deflate {
            let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        } else {
            bytes.clone()
        };
        let offset = u32::try_from(file.get_ref().len()).unwrap();
        let mut common = Vec::new();
        common.extend([20, 0, 0, 0, if deflate { 8 } else { 0 }, 0, 0, 0, 0x21, 0]);
        common.extend(sum.sum().to_le_bytes());
        common.extend(u32::try_from(packed.len()).unwrap().to_le_bytes());
        common.extend(u32::try_from(bytes.len()).unwrap().to_le_bytes());
        common.extend(u16::try_from(name.len()).unwrap().to_le_bytes());
        common.extend([0, 0]);
        file.write_all(&[b"PK\x03\x04", common.as_slice(), name.as_bytes(), &packed].concat()).unwrap();
        central.extend(
            [b"PK\x01\x02\x14\x00", common.as_slice(), &[0; 10], &offset.to_le_bytes(), name.as_bytes()].concat(),
        );
    }
    let start = u32::try_from(file.get_ref().len()).unwrap();
    let count = u16::try_from(arrays.len()).unwrap().to_le_bytes();
    let length = u32::try_from(central.len()).unwrap().to_le_bytes();
    let end = [b"PK\x05\x06\0\0\0\0", &count[..], &count, &length, &start.to_le_bytes(), &[0, 0]].concat();
    [file.into_inner(), central, end].concat()
}

#[test]
fn npy_in_batches() {
    let files = Files::new();
    let a = files.write("a.npy", &npy("<f4", "(3, 2)", &f32s(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0])));
    let b = files.write("b.npy", &npy("<f4", "(1, 1, 2)", &f32s(&[7.0, 8.0])));
    let options = Options { batch: 2, ..of(&[a, b]) };
    let source = opened(&options, &floats(&[2]));
    assert_eq!((source.rows(), source.labelled()), (Some(4), false));
    let batches: Vec<Batch> = source.map(Result::unwrap).collect();
    let values: Vec<&Values> = batches.iter().map(|batch| &batch.inputs[0].values).collect();
    assert_eq!(
        values,
        [&Values::F32(vec![1.0, 2.0, 3.0, 4.0]), &Values::F32(vec![5.0, 6.0]), &Values::F32(vec![7.0, 8.0])]
    );
    assert_eq!(batches[1].inputs[0].dims, [1, 2]);
    let limited = Options { limit: Some(3), ..options };
    assert_eq!(opened(&limited, &floats(&[2])).rows(), Some(3));
    assert_eq!(all(&limited, &floats(&[2])).iter().map(Batch::rows).sum::<usize>(), 3);
}

#[test]
fn one_sample_without_an_axis_for_the_batch() {
    let files = Files::new();
    let path = files.write("a.npy", &npy("<f4", "(2, 2)", &f32s(&[1.0, 2.0, 3.0, 4.0])));
    let batches = all(&of(&[path]), &floats(&[1, 2, 2]));
    assert_eq!((batches.len(), batches[0].inputs[0].dims.as_slice()), (1, &[1, 1, 2, 2][..]));
}

#[test]
fn idx_with_the_labels_beside_it() {
    let files = Files::new();
    let images = files.write("t10k-images-idx3-ubyte.gz", &gzip(&idx(&[2, 1, 2], &[0, 255, 51, 102])));
    files.write("t10k-labels-idx1-ubyte", &idx(&[2], &[7, 3]));
    let source = opened(&of(std::slice::from_ref(&images)), &floats(&[2]));
    assert!(source.describe().iter().any(|sentence| sentence.contains("divided by 255")), "{:?}", source.describe());
    let batches: Vec<Batch> = source.map(Result::unwrap).collect();
    assert_eq!(batches[0].inputs[0].values, Values::F32(vec![0.0, 1.0, 0.2, 0.4]));
    assert_eq!(batches[0].labels, Some(vec![7, 3]));
    files.write("t10k-labels-idx1-ubyte", &idx(&[3], &[7, 3, 1]));
    let text = refusal(&of(&[images]), &floats(&[2]));
    assert!(text.contains("holds 3 labels, and there are 2 samples in"), "{text}");
}

#[test]
fn npz_by_the_names_of_its_arrays() {
    let files = Files::new();
    for deflate in [false, true] {
        let arrays = [
            ("y", npy("<i8", "(2,)", &[1i64.to_le_bytes(), 0i64.to_le_bytes()].concat())),
            ("x", npy("|u1", "(2, 2)", &[255, 0, 51, 102])),
        ];
        let path = files.write("a.npz", &npz(&arrays, deflate));
        let batches = all(&of(&[path]), &floats(&[2]));
        assert_eq!(batches[0].inputs[0].values, Values::F32(vec![1.0, 0.0, 0.2, 0.4]));
        assert_eq!(batches[0].labels, Some(vec![1, 0]));
    }
}

#[test]
fn npz_for_several_inputs() {
    let files = Files::new();
    let arrays =
        [("ids", npy("<i4", "(2, 1)", &[1, 0, 0, 0, 2, 0, 0, 0])), ("mask", npy("<f4", "(2, 1)", &f32s(&[0.5, 1.0])))];
    let path = files.write("a.npz", &npz(&arrays, true));
    let inputs = [input("mask", DataType::Float, &[1]), input("ids", DataType::Int64, &[1])];
    let batches = all(&of(&[path]), &inputs);
    assert_eq!(batches[0].inputs[0].values, Values::F32(vec![0.5, 1.0]));
    assert_eq!(batches[0].inputs[1].values, Values::I64(vec![1, 2]));
    let single = files.write("a.npy", &npy("<f4", "(2, 1)", &f32s(&[0.5, 1.0])));
    let text = refusal(&of(&[single]), &inputs);
    assert!(text.contains("2 inputs, mask, ids"), "{text}");
    let uneven = [("ids", npy("<i4", "(1, 1)", &[1, 0, 0, 0])), ("mask", npy("<f4", "(2, 1)", &f32s(&[0.5, 1.0])))];
    let text = refusal(&of(&[files.write("b.npz", &npz(&uneven, false))]), &inputs);
    assert!(text.contains("arrays of 2 and of 1 samples"), "{text}");
}

#[test]
fn damaged_archives_are_noticed() {
    let files = Files::new();
    let whole = npz(&[("x", npy("|u1", "(2, 2)", &[255, 0, 51, 102]))], false);
    let mut flipped = whole.clone();
    let at = flipped.windows(4).position(|bytes| bytes == [255, 0, 51, 102]).unwrap();
    flipped[at] = 254;
    let text = refusal(&of(&[files.write("a.npz", &flipped)]), &floats(&[2]));
    assert!(text.contains("check sum is wrong"), "{text}");
    let text = refusal(&of(&[files.write("a.npz", &whole[..whole.len() / 2])]), &floats(&[2]));
    assert!(text.contains("is not an npz file"), "{text}");
    let packed = gzip(&npy("<f4", "(2, 2)", &f32s(&[1.0, 2.0, 3.0, 4.0])));
    let text = refusal(&of(&[files.write("a.npy.gz", &packed[..packed.len() - 20])]), &floats(&[2]));
    assert!(text.contains("truncated"), "{text}");
}

#[test]
fn labels_from_a_file_of_their_own() {
    let files = Files::new();
    let x = files.write("x.npy", &npy("<f4", "(3, 1)", &f32s(&[1.0, 2.0, 3.0])));
    let y = |bytes: &[u8], shape: &str| Some(files.write("y.npy", &npy("|u1", shape, bytes)));
    let options = Options { labels: y(&[4, 5, 6], "(3,)"), batch: 2, ..of(std::slice::from_ref(&x)) };
    let labels: Vec<_> = all(&options, &floats(&[1])).into_iter().map(|batch| batch.labels.unwrap()).collect();
    assert_eq!(labels, [vec![4, 5], vec![6]]);
    let options = Options { labels: y(&[4, 5], "(2,)"), ..of(std::slice::from_ref(&x)) };
    assert!(refusal(&options, &floats(&[1])).contains("holds 2 labels, and there are 3 samples"));
    let options = Options { labels: y(&[4, 5], "(1, 2)"), ..of(&[x]) };
    assert!(refusal(&options, &floats(&[1])).contains("argmax"));
}

#[test]
fn what_is_not_there() {
    let files = Files::new();
    files.write("train.npy", b"x");
    let text = refusal(&of(&[files.path().join("tarin.npy")]), &floats(&[1]));
    assert!(text.contains("there is no") && text.ends_with("its folder has train.npy"), "{text}");
    assert!(refusal(&of(&[]), &floats(&[1])).contains("no data"));
    assert!(refusal(&of(&[files.write("none.npy", b"")]), &floats(&[1])).contains("no bytes at all"));
    assert!(refusal(&of(&[files.write("what.dat", b"\x07\xff\xfe")]), &floats(&[1])).contains("--input-format"));
}

#[test]
fn a_batch_of_fixed_size() {
    let files = Files::new();
    let path = files.write("a.npy", &npy("<f4", "(3, 1)", &f32s(&[1.0, 2.0, 3.0])));
    let fixed =
        |batch| vec![InputSpec { name: "x".into(), data_type: DataType::Float, dims: vec![Some(batch), Some(1)] }];
    assert_eq!(all(&of(std::slice::from_ref(&path)), &fixed(1)).len(), 3);
    assert!(refusal(&of(&[path]), &fixed(2)).contains("2 samples at a time, and"));
}

#[test]
fn nothing_comes_after_an_error() {
    let files = Files::new();
    let path = files.write("a.npy", &npy("<f4", "(4, 1)", &f32s(&[1.0, f32::NAN, 3.0])));
    let mut source = opened(&Options { batch: 1, ..of(&[path]) }, &floats(&[1]));
    assert!(source.next().unwrap().is_ok());
    let error = source.next().unwrap().unwrap_err();
    assert!(matches!(error, DataError::NotANumber { .. }), "{error}");
    assert!(error.to_string().contains("sample 1, element 0 is NaN"), "{error}");
    assert!(source.next().is_none());
}

// ---- damaged files

/// A small file of every kind, by name.
fn every_kind() -> Vec<(&'static str, Vec<u8>)> {
    let picture = |format| {
        let mut file = std::io::Cursor::new(Vec::new());
        let pixels = image::RgbImage::from_fn(6, 5, |x, y| image::Rgb([x as u8 * 40, y as u8 * 50, 9]));
        pixels.write_to(&mut file, format).unwrap();
        file.into_inner()
    };
    let array = npy("<f4", "(2, 4)", &f32s(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]));
    vec![
        ("x.npy", array.clone()),
        ("x.npz", npz(&[("x", array.clone()), ("y", npy("|u1", "(2,)", &[0, 1]))], true)),
        ("x.npy.gz", gzip(&array)),
        ("x-images-idx3-ubyte", idx(&[2, 2, 2], &[1, 2, 3, 4, 5, 6, 7, 8])),
        ("x.csv", b"label,a,b,c,d\n1,1,2,3,4\n2,5,6.5,7e1,8\n".to_vec()),
        ("x.f32", f32s(&[1.0, 2.0, 3.0, 4.0])),
        ("x.png", picture(image::ImageFormat::Png)),
        ("x.jpg", picture(image::ImageFormat::Jpeg)),
        ("x.bmp", picture(image::ImageFormat::Bmp)),
        ("x.gif", picture(image::ImageFormat::Gif)),
        ("x.tiff", picture(image::ImageFormat::Tiff)),
        ("x.webp", picture(image::ImageFormat::WebP)),
        ("x.ppm", picture(image::ImageFormat::Pnm)),
    ]
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig {
        cases: 2000, failure_persistence: None, ..proptest::prelude::ProptestConfig::default()
    })]

    /// Flipped bytes and cut ends give samples or a sentence, never a panic, and samples always fit.
    #[test]
    fn damage_is_told_or_harmless(
        kind in 0usize..13,
        edits in proptest::collection::vec((proptest::prelude::any::<u16>(), proptest::prelude::any::<u8>()), 0..4),
        cut in proptest::option::of(proptest::prelude::any::<u16>()),
    ) {
        let (name, mut bytes) = every_kind().swap_remove(kind);
        for (at, value) in edits {
            let at = usize::from(at) % bytes.len();
            bytes[at] = value;
        }
        if let Some(cut) = cut {
            bytes.truncate(usize::from(cut) % (bytes.len() + 1));
        }
        let files = Files::new();
        let path = files.write(name, &bytes);
        for input in [input("x", DataType::Float, &[4]), input("x", DataType::Float, &[1, 2, 2])] {
            let options = Options { limit: Some(100), ..of(std::slice::from_ref(&path)) };
            let Ok(source) = open(&options, std::slice::from_ref(&input)) else { continue };
            for batch in source {
                let Ok(batch) = batch else { break };
                let tensor = &batch.inputs[0];
                proptest::prop_assert_eq!(tensor.dims[1..].iter().product::<usize>(), 4);
                proptest::prop_assert_eq!(tensor.dims[0] * 4, tensor.values.len());
                proptest::prop_assert!(batch.labels.is_none_or(|labels| labels.len() == tensor.dims[0]));
            }
        }
    }
}

#[test]
fn every_kind_is_read_when_whole() {
    let files = Files::new();
    for (name, bytes) in every_kind() {
        let batches = all(&of(&[files.write(name, &bytes)]), &floats(&[4]));
        assert!(batches.iter().map(Batch::rows).sum::<usize>() > 0, "{name}");
    }
}
