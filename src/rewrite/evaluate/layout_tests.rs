//! Operators that lay elements out in another way, against examples of the specification.

use super::tests::{Int, Text, Value, bools, check, fails, floats, list, op, run_node, vector};
use super::{EvaluateError, Tensor};

#[test]
fn blocks_of_channels_and_space() {
    let x = floats(&[1, 8, 1, 1], &[0., 1., 2., 3., 4., 5., 6., 7.]);
    let block = || ("blocksize", Int(2));
    check("DepthToSpace", &[&x], &[block()], floats(&[1, 2, 2, 2], &[0., 2., 4., 6., 1., 3., 5., 7.]));
    let columns = floats(&[1, 2, 2, 2], &[0., 1., 2., 3., 4., 5., 6., 7.]);
    check("DepthToSpace", &[&x], &[block(), ("mode", Text("CRD"))], columns);
    let back = floats(&[1, 2, 2, 2], &[0., 2., 4., 6., 1., 3., 5., 7.]);
    check("SpaceToDepth", &[&back], &[block()], x.clone());
    assert!(fails("DepthToSpace", &[&x], &[("blocksize", Int(3))], 18).to_string().contains("multiple of 3"));
    assert!(fails("SpaceToDepth", &[&x], &[("blocksize", Int(0))], 18).to_string().contains("blocksize"));
}

#[test]
fn sequences_backwards() {
    let x = floats(&[3, 2], &[0., 10., 1., 11., 2., 12.]);
    check("ReverseSequence", &[&x, &list(&[2, 3])], &[], floats(&[3, 2], &[1., 12., 0., 11., 2., 10.]));
    assert!(fails("ReverseSequence", &[&x, &list(&[4, 1])], &[], 18).to_string().contains("do not fit"));
}

#[test]
fn padding_with_copies() {
    let (x, pads) = (vector(&[1., 2., 3.]), list(&[2, 4]));
    let padded = |mode: &'static str, expected: &[f64]| {
        check("Pad", &[&x, &pads], &[("mode", Text(mode))], vector(expected));
    };
    padded("edge", &[1., 1., 1., 2., 3., 3., 3., 3., 3.]);
    padded("reflect", &[3., 2., 1., 2., 3., 2., 1., 2., 3.]);
    padded("wrap", &[2., 3., 1., 2., 3., 1., 2., 3., 1.]);
    let nothing = floats(&[0], &[]);
    assert!(fails("Pad", &[&nothing, &pads], &[("mode", Text("edge"))], 18).to_string().contains("nothing to copy"));
}

#[test]
fn picks_by_condition() {
    let x = floats(&[2, 3], &[1., 2., 3., 4., 5., 6.]);
    let chosen = bools(&[3], &[false, true, true]);
    check("Compress", &[&x, &chosen], &[("axis", Int(1))], floats(&[2, 2], &[2., 3., 5., 6.]));
    check("Compress", &[&x, &chosen], &[], vector(&[2., 3.]));
}

#[test]
fn resizing() {
    let x = floats(&[2, 2], &[1., 2., 3., 4.]);
    let by_scales = |scales: &[f64], attributes: &[(&str, Value)]| -> Result<Tensor, EvaluateError> {
        let inputs = [Some(&x), None, Some(&vector(scales))].map(|t| t.cloned());
        let inputs: Vec<Option<&Tensor>> = inputs.iter().map(Option::as_ref).collect();
        run_node(op("Resize", 3, 1, attributes), &inputs, 18).map(|mut all| all.swap_remove(0))
    };
    let row = |attributes: &[(&str, Value)], expected: &[f64]| {
        let y = by_scales(&[1.0, 2.0], attributes).unwrap();
        assert_eq!(y.dims, [2, 4]);
        for (got, want) in y.as_floats().unwrap()[..4].iter().zip(expected) {
            assert!((got - want).abs() < 1e-12, "{got} where {want} is right");
        }
    };
    row(&[], &[1., 1., 2., 2.]);
    row(&[("mode", Text("linear"))], &[1., 1.25, 1.75, 2.]);
    let way = |way: &'static str| ("coordinate_transformation_mode", Text(way));
    row(&[("mode", Text("linear")), way("align_corners")], &[1., 4. / 3., 5. / 3., 2.]);
    row(&[("mode", Text("linear")), way("asymmetric")], &[1., 1.5, 2., 2.]);
    row(&[("nearest_mode", Text("ceil")), way("asymmetric")], &[1., 2., 2., 2.]);
    // weights of a cubic sum up to one, wherever it is
    for outside in [0, 1] {
        let x = floats(&[3], &[7.0; 3]);
        let attributes = [("mode", Text("cubic")), ("exclude_outside", Int(outside))];
        let y = run_node(op("Resize", 3, 1, &attributes), &[Some(&x), None, Some(&vector(&[2.3]))], 18).unwrap();
        assert!(y[0].as_floats().unwrap().iter().all(|y| (y - 7.0).abs() < 1e-12), "{y:?}");
    }
    assert!(by_scales(&[1.0], &[]).unwrap_err().to_string().contains("1 scales"));
    assert!(by_scales(&[-1.0, 1.0], &[]).unwrap_err().to_string().contains("scale of -1"));
    assert!(by_scales(&[1.0, 2.0], &[("antialias", Int(1))]).unwrap_err().to_string().contains("antialias"));
    assert_eq!(by_scales(&[0.2, 1.0], &[]).unwrap().dims, [0, 2]);
}
