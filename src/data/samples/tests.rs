use super::*;
use crate::data::idx::tests::idx;
use crate::data::tests::{Files, floats, of, opened};

fn open(options: &Options, inputs: &[InputSpec]) -> Samples {
    Samples::open(options, inputs).unwrap_or_else(|error| panic!("{error}"))
}

/// What streaming gives for all samples is what random access gives for each.
#[test]
fn random_access_gives_what_streams_give() {
    let files = Files::new();
    let bytes: Vec<u8> = (0..60).collect();
    let images = files.write("train-images-idx3-ubyte", &idx(&[10, 2, 3], &bytes));
    files.write("train-labels-idx1-ubyte", &idx(&[10], &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]));
    let csv = files.write("a.csv", b"label,a,b,c,d,e,f\n3,1,2,3,4,5,6\n4,1,1,1,1,1,1\n");
    for paths in [vec![images.clone()], vec![csv.clone()], vec![images, csv]] {
        let options = of(&paths);
        let inputs = floats(&[6]);
        let streamed: Vec<Batch> = opened(&options, &inputs).map(Result::unwrap).collect();
        let samples = open(&options, &inputs);
        let mut index = 0;
        for batch in &streamed {
            for row in 0..batch.rows() {
                let one = samples.batch(&[index], None).unwrap();
                let Values::F32(all) = &batch.inputs[0].values else { panic!() };
                assert_eq!(one.inputs[0].values, Values::F32(all[row * 6..row * 6 + 6].to_vec()), "{index}");
                assert_eq!(one.labels.unwrap()[0], batch.labels.as_ref().unwrap()[row]);
                index += 1;
            }
        }
        assert_eq!(samples.len(), index);
        let both = samples.batch(&[index - 1, 0], None).unwrap();
        assert_eq!(both.inputs[0].dims, [2, 6]);
        assert_eq!(both.labels.unwrap(), [samples.labels().unwrap()[index - 1], samples.labels().unwrap()[0]]);
    }
}

#[test]
fn pictures_are_decoded_when_asked_for() {
    let files = Files::new();
    for (name, value) in [("data/b/1.png", 51u8), ("data/a/1.png", 0), ("data/b/2.png", 255)] {
        let path = files.write(name, b"");
        image::GrayImage::from_fn(2, 1, |x, _| image::Luma([if x == 0 { value } else { 0 }])).save(path).unwrap();
    }
    let samples = open(&of(&[files.path().join("data")]), &floats(&[1, 1, 2]));
    assert_eq!(samples.classes(), [(0, "a".to_owned()), (1, "b".to_owned())]);
    assert_eq!(samples.labels(), Some(&[0, 1, 1][..]));
    let mirrored = |place: usize| Shift { mirror: place == 1, ..Shift::default() };
    let batch = samples.batch(&[2, 1], Some(&mirrored)).unwrap();
    assert_eq!(batch.inputs[0].values, Values::F32(vec![1.0, 0.0, 0.0, 0.2]));
    std::fs::remove_file(files.path().join("data/b/1.png")).unwrap();
    assert!(samples.batch(&[1], None).unwrap_err().to_string().contains("1.png"));
}

#[test]
fn shifts_move_raw_values() {
    let files = Files::new();
    let images = files.write("x-images-idx3-ubyte", &idx(&[1, 1, 3], &[51, 102, 255]));
    let samples = open(&of(&[images]), &floats(&[3]));
    assert_eq!(samples.refuses_shifts(), None);
    let right = |_: usize| Shift { right: 1, ..Shift::default() };
    assert_eq!(samples.batch(&[0], Some(&right)).unwrap().inputs[0].values, Values::F32(vec![0.0, 0.2, 0.4]));
    let flat = open(&of(&[files.write("a.csv", b"1,2\n")]), &floats(&[2]));
    assert!(flat.refuses_shifts().unwrap().contains("no pictures"));
}

#[test]
fn labels_of_their_own_file() {
    let files = Files::new();
    let x = files.write("x.csv", b"1\n2\n3\n");
    let labels =
        |text: &str| Options { labels: Some(files.write("y.txt", text.as_bytes())), ..of(std::slice::from_ref(&x)) };
    assert_eq!(open(&labels("4\n5\n6\n"), &floats(&[1])).labels(), Some(&[4, 5, 6][..]));
    let refused = |text: &str| Samples::open(&labels(text), &floats(&[1])).err().expect("an error").to_string();
    assert!(refused("4\n5\n").contains("holds 2 labels"), "{}", refused("4\n5\n"));
    assert!(refused("4\n5\n6\n7\n").contains("more than 3"));
    let limited = open(&Options { limit: Some(2), ..labels("4\n5\n6\n") }, &floats(&[1]));
    assert_eq!((limited.len(), limited.labels()), (2, Some(&[4, 5][..])));
}

#[test]
fn a_bad_value_is_named_by_its_sample() {
    let files = Files::new();
    let floats_file = [1.0f32, 2.0, 3.0, f32::NAN].iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>();
    let samples = open(&of(&[files.write("x.f32", &floats_file)]), &floats(&[2]));
    let text = samples.batch(&[0, 1], None).unwrap_err().to_string();
    assert!(text.contains("sample 1, element 1 is NaN"), "{text}");
}

#[test]
fn headers_have_the_length_that_their_files_say() {
    let header = |format, start: &[u8]| header_length(format, start);
    assert_eq!(header(Format::Idx, &idx(&[10, 2, 3], &[])), Some(16));
    assert_eq!(header(Format::Npy, b"\x93NUMPY\x01\x00\x76\x00"), Some(128));
    assert_eq!(header(Format::Npy, b"\x93NUMPY\x02\x00\x74\x00\x00\x00"), Some(128));
    assert_eq!(header(Format::Npz, b"PK\x03\x04"), None);
    let file = idx(&[3, 2], &[1, 2, 3, 4, 5, 6]);
    let array = super::super::idx::open("x", Box::new(std::io::Cursor::new(file.clone()))).unwrap();
    let mapped = Bytes::from(file).slice(12..);
    assert_eq!(rows_of(array, Some(mapped)).unwrap().row(1), [3, 4]);
}
