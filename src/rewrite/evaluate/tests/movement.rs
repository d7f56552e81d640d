//! Operators that move elements.

use super::*;

#[test]
fn shapes() {
    let x = floats(&[2, 3], &[1., 2., 3., 4., 5., 6.]);
    let again = |dims: &[usize]| floats(dims, &[1., 2., 3., 4., 5., 6.]);
    check("Shape", &[&x], &[], list(&[2, 3]));
    check("Shape", &[&x], &[("start", Int(-1))], list(&[3]));
    check("Shape", &[&x], &[("end", Int(1))], list(&[2]));
    check("Size", &[&x], &[], ints(&[], &[6]));
    check("Reshape", &[&x, &list(&[3, -1])], &[], again(&[3, 2]));
    check("Reshape", &[&x, &list(&[0, -1, 1])], &[], again(&[2, 3, 1]));
    let empty = floats(&[0, 4], &[]);
    check("Reshape", &[&empty, &list(&[4, 0])], &[("allowzero", Int(1))], floats(&[4, 0], &[]));
    assert!(fails("Reshape", &[&x, &list(&[4, -1])], &[], 18).to_string().contains("[2, 3] cannot become [4, -1]"));
    let cube = floats(&[1, 2, 3], &[1., 2., 3., 4., 5., 6.]);
    check("Flatten", &[&cube], &[], again(&[1, 6]));
    check("Flatten", &[&cube], &[("axis", Int(-1))], again(&[2, 3]));
    check("Flatten", &[&cube], &[("axis", Int(3))], again(&[6, 1]));
    check("Squeeze", &[&cube], &[], again(&[2, 3]));
    check("Squeeze", &[&cube, &list(&[0])], &[], again(&[2, 3]));
    close(&call("Squeeze", &[&cube], &[("axes", Ints(&[-3]))], 11), &again(&[2, 3]), 0.0);
    assert!(fails("Squeeze", &[&cube, &list(&[1])], &[], 18).to_string().contains("axis 1 of [1, 2, 3]"));
    check("Unsqueeze", &[&x, &list(&[0, -1])], &[], again(&[1, 2, 3, 1]));
    close(&call("Unsqueeze", &[&x], &[("axes", Ints(&[1]))], 11), &again(&[2, 1, 3]), 0.0);
    check("Transpose", &[&x], &[], floats(&[3, 2], &[1., 4., 2., 5., 3., 6.]));
    check("Transpose", &[&cube], &[("perm", Ints(&[1, 0, 2]))], again(&[2, 1, 3]));
    check("Expand", &[&floats(&[2, 1], &[1., 2.]), &list(&[1, 2])], &[], floats(&[2, 2], &[1., 1., 2., 2.]));
    check("Expand", &[&vector(&[7.]), &list(&[2, 2])], &[], floats(&[2, 2], &[7.; 4]));
}

#[test]
fn moves() {
    let x = ints(&[2, 3], &[1, 2, 3, 4, 5, 6]);
    let y = ints(&[2, 1], &[8, 9]);
    check("Concat", &[&x, &y], &[("axis", Int(1))], ints(&[2, 4], &[1, 2, 3, 8, 4, 5, 6, 9]));
    check("Concat", &[&x, &x], &[("axis", Int(-2))], ints(&[4, 3], &[1, 2, 3, 4, 5, 6, 1, 2, 3, 4, 5, 6]));
    let parts = run_node(op("Split", 2, 2, &[("axis", Int(1))]), &[Some(&x), Some(&list(&[1, 2]))], 13).unwrap();
    assert_eq!(parts, [ints(&[2, 1], &[1, 4]), ints(&[2, 2], &[2, 3, 5, 6])]);
    let halves = run_node(op("Split", 1, 2, &[]), &[Some(&x)], 11).unwrap();
    assert_eq!(halves, [ints(&[1, 3], &[1, 2, 3]), ints(&[1, 3], &[4, 5, 6])]);
    let uneven = op("Split", 1, 2, &[("axis", Int(1)), ("num_outputs", Int(2))]);
    assert_eq!(run_node(uneven, &[Some(&x)], 18).unwrap()[1], ints(&[2, 1], &[3, 6]));
    let first = list(&[1]);
    check("Slice", &[&x, &first, &list(&[i64::MAX]), &first], &[], ints(&[2, 2], &[2, 3, 5, 6]));
    let back = [&list(&[-1]), &list(&[i64::MIN]), &list(&[1]), &list(&[-2])];
    check("Slice", &[&x, back[0], back[1], back[2], back[3]], &[], ints(&[2, 2], &[3, 1, 6, 4]));
    check("Slice", &[&x, &list(&[0, -1]), &list(&[-1, 9])], &[], ints(&[1, 1], &[3]));
    let old = [("starts", Ints(&[0])), ("ends", Ints(&[1])), ("axes", Ints(&[1]))];
    assert_eq!(call("Slice", &[&x], &old, 9), ints(&[2, 1], &[1, 4]));
    check("Tile", &[&y, &list(&[1, 2])], &[], ints(&[2, 2], &[8, 8, 9, 9]));
    check("Tile", &[&y, &list(&[2, 1])], &[], ints(&[4, 1], &[8, 9, 8, 9]));
    check("Pad", &[&y, &list(&[0, 1, 1, 0])], &[], ints(&[3, 2], &[0, 8, 0, 9, 0, 0]));
    check("Pad", &[&x, &list(&[0, -1, 0, -1]), &first], &[], ints(&[2, 1], &[2, 5]));
    check("Pad", &[&y, &list(&[1, 0]), &ints(&[], &[5]), &list(&[-1])], &[], ints(&[2, 2], &[5, 8, 5, 9]));
    check("Trilu", &[&x], &[], ints(&[2, 3], &[1, 2, 3, 0, 5, 6]));
    check("Trilu", &[&x, &ints(&[], &[1])], &[("upper", Int(0))], ints(&[2, 3], &[1, 2, 0, 4, 5, 6]));
}

#[test]
fn gathers() {
    let x = ints(&[2, 3], &[1, 2, 3, 4, 5, 6]);
    check("Gather", &[&x, &list(&[-1, 0])], &[("axis", Int(1))], ints(&[2, 2], &[3, 1, 6, 4]));
    check("Gather", &[&x, &ints(&[], &[1])], &[], list(&[4, 5, 6]));
    check("GatherElements", &[&x, &ints(&[2, 1], &[2, -3])], &[("axis", Int(1))], ints(&[2, 1], &[3, 4]));
    check("GatherND", &[&x, &ints(&[2, 2], &[0, 1, 1, 2])], &[], list(&[2, 6]));
    check("GatherND", &[&x, &ints(&[1, 1], &[1])], &[], ints(&[1, 3], &[4, 5, 6]));
    check("GatherND", &[&x, &ints(&[2, 1], &[2, 0])], &[("batch_dims", Int(1))], list(&[3, 4]));
    let outside = fails("Gather", &[&x, &list(&[2])], &[], 18).to_string();
    assert_eq!(outside, "Gather -> 'out0': index 2 lies outside an axis of 2");
}

#[test]
fn scatters() {
    let x = ints(&[2, 3], &[1, 2, 3, 4, 5, 6]);
    let labels = ints(&[2, 1], &[2, 0]);
    let updates = ints(&[2, 1], &[70, 80]);
    let axis = || ("axis", Int(1));
    check("ScatterElements", &[&x, &labels, &updates], &[axis()], ints(&[2, 3], &[1, 2, 70, 80, 5, 6]));
    let add = [axis(), ("reduction", Text("add"))];
    check("ScatterElements", &[&x, &labels, &updates], &add, ints(&[2, 3], &[1, 2, 73, 84, 5, 6]));
    let pairs = ints(&[2, 2], &[0, 2, 1, 0]);
    check("ScatterND", &[&x, &pairs, &list(&[70, 80])], &[], ints(&[2, 3], &[1, 2, 70, 80, 5, 6]));
    let row = ints(&[1, 1], &[1]);
    check("ScatterND", &[&x, &row, &ints(&[1, 3], &[7, 8, 9])], &[], ints(&[2, 3], &[1, 2, 3, 7, 8, 9]));
}

#[test]
fn one_hot_range_eye() {
    let values = vector(&[0.0, 1.0]);
    let depth = ints(&[1], &[3]);
    check(
        "OneHot",
        &[&list(&[1, -1, 5]), &depth, &values],
        &[],
        floats(&[3, 3], &[0., 1., 0., 0., 0., 1., 0., 0., 0.]),
    );
    check(
        "OneHot",
        &[&list(&[1, 0]), &depth, &values],
        &[("axis", Int(0))],
        floats(&[3, 2], &[0., 1., 1., 0., 0., 0.]),
    );
    let scalar = |x: i64| ints(&[], &[x]);
    check("Range", &[&scalar(1), &scalar(6), &scalar(2)], &[], list(&[1, 3, 5]));
    check("Range", &[&scalar(3), &scalar(0), &scalar(-1)], &[], list(&[3, 2, 1]));
    check("Range", &[&scalar(3), &scalar(0), &scalar(1)], &[], list(&[]));
    let real = Tensor::scalar;
    check("Range", &[&real(0.0), &real(1.0), &real(0.5)], &[], vector(&[0.0, 0.5]));
    assert!(fails("Range", &[&scalar(0), &scalar(i64::MAX), &scalar(1)], &[], 18).to_string().contains("too large"));
    assert!(fails("Range", &[&scalar(0), &scalar(3), &scalar(0)], &[], 18).to_string().contains("no end"));
    check("EyeLike", &[&floats(&[2, 3], &[9.; 6])], &[("k", Int(1))], floats(&[2, 3], &[0., 1., 0., 0., 0., 1.]));
    check("EyeLike", &[&floats(&[1, 1], &[9.])], &[("dtype", Int(7))], ints(&[1, 1], &[1]));
}
