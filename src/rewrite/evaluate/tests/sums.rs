//! Operators that bring elements together.

use super::*;

#[test]
fn reductions() {
    let x = floats(&[2, 3], &[1., 2., 3., 4., 5., 6.]);
    let axis = list(&[1]);
    let flat = || ("keepdims", Int(0));
    check("ReduceSum", &[&x, &axis], &[], floats(&[2, 1], &[6.0, 15.0]));
    check("ReduceSum", &[&x, &list(&[-2])], &[flat()], vector(&[5.0, 7.0, 9.0]));
    check("ReduceSum", &[&x], &[flat()], Tensor::scalar(21.0));
    check("ReduceSum", &[&x], &[("noop_with_empty_axes", Int(1))], x.clone());
    check("ReduceMean", &[&x, &axis], &[flat()], vector(&[2.0, 5.0]));
    close(&call("ReduceMean", &[&x], &[("axes", Ints(&[0, 1])), flat()], 13), &Tensor::scalar(3.5), 0.0);
    check("ReduceMax", &[&x, &axis], &[flat()], vector(&[3.0, 6.0]));
    check("ReduceMin", &[&x, &axis], &[flat()], vector(&[1.0, 4.0]));
    check("ReduceMax", &[&list(&[3, 9, 2])], &[flat()], ints(&[], &[9]));
    check("ReduceMax", &[&bools(&[2], &[true, false])], &[flat()], bools(&[], &[true]));
    check("ReduceMin", &[&bools(&[2], &[true, false])], &[flat()], bools(&[], &[false]));
    check("ReduceMax", &[&bools(&[0], &[])], &[flat()], bools(&[], &[false]));
    check("ReduceProd", &[&x, &axis], &[flat()], vector(&[6.0, 120.0]));
    check("ReduceL1", &[&vector(&[-1.0, 2.0])], &[], vector(&[3.0]));
    check("ReduceL2", &[&vector(&[-3.0, 4.0])], &[], vector(&[5.0]));
    check("ReduceSumSquare", &[&vector(&[-3.0, 4.0])], &[], vector(&[25.0]));
    check("ReduceLogSum", &[&vector(&[1.0, 3.0])], &[], vector(&[4.0_f64.ln()]));
    check("ReduceLogSumExp", &[&vector(&[1000.0, 1000.0])], &[], vector(&[1000.0 + 2.0_f64.ln()]));
    check("ReduceLogSumExp", &[&vector(&[-INF, -INF])], &[], vector(&[-INF]));
    check("ReduceSum", &[&floats(&[2, 0], &[]), &axis], &[], floats(&[2, 1], &[0.0, 0.0]));
    check("ReduceMax", &[&floats(&[0], &[])], &[flat()], Tensor::scalar(-INF));
}

#[test]
fn orders() {
    let x = floats(&[2, 3], &[3., 9., 9., 5., 4., 4.]);
    check("ArgMax", &[&x], &[("axis", Int(1)), ("keepdims", Int(0))], list(&[1, 0]));
    check("ArgMax", &[&x], &[("axis", Int(-1)), ("select_last_index", Int(1))], ints(&[2, 1], &[2, 0]));
    check("ArgMin", &[&x], &[], ints(&[1, 3], &[0, 1, 1]));
    let found = run_node(op("TopK", 2, 2, &[]), &[Some(&x), Some(&list(&[2]))], 18).unwrap();
    assert_eq!(found, [floats(&[2, 2], &[9., 9., 5., 4.]), ints(&[2, 2], &[1, 2, 0, 1])]);
    let attributes = [("axis", Int(0)), ("largest", Int(0))];
    let found = run_node(op("TopK", 2, 2, &attributes), &[Some(&x), Some(&list(&[1]))], 18).unwrap();
    assert_eq!(found, [floats(&[1, 3], &[3., 4., 4.]), ints(&[1, 3], &[0, 1, 1])]);
    assert_eq!(call("TopK", &[&vector(&[1.0, 2.0])], &[("k", Int(1))], 9), vector(&[2.0]));
    let axis = ints(&[], &[1]);
    check("CumSum", &[&x, &axis], &[], floats(&[2, 3], &[3., 12., 21., 5., 9., 13.]));
    let both = [("exclusive", Int(1)), ("reverse", Int(1))];
    check("CumSum", &[&x, &axis], &both, floats(&[2, 3], &[18., 9., 0., 8., 4., 0.]));
}

#[test]
fn softmax_changes_its_meaning_at_opset_13() {
    let ln = f64::ln;
    let x = floats(&[1, 2, 2], &[ln(1.0), ln(3.0), ln(1.0), ln(1.0)]);
    close(&call("Softmax", &[&x], &[], 13), &floats(&[1, 2, 2], &[0.25, 0.75, 0.5, 0.5]), 1e-15);
    close(&call("Softmax", &[&x], &[], 11), &floats(&[1, 2, 2], &[1. / 6., 0.5, 1. / 6., 1. / 6.]), 1e-15);
    let along_one = floats(&[1, 2, 2], &[0.5, 0.75, 0.5, 0.25]);
    close(&call("Softmax", &[&x], &[("axis", Int(1))], 13), &along_one, 1e-15);
    let logs = floats(&[1, 2, 2], &[ln(0.25), ln(0.75), ln(0.5), ln(0.5)]);
    close(&call("LogSoftmax", &[&x], &[("axis", Int(-1))], 13), &logs, 1e-15);
    // the row that overflows without its maximum taken out
    close(&call("Softmax", &[&vector(&[5000.0, 5000.0])], &[("axis", Int(0))], 13), &vector(&[0.5, 0.5]), 0.0);
    check("Hardmax", &[&vector(&[1.0, 2.0, 2.0])], &[], vector(&[0.0, 1.0, 0.0]));
}

#[test]
fn einstein_sums() {
    let a = floats(&[2, 3], &[1., 2., 3., 4., 5., 6.]);
    let b = floats(&[2, 3], &[1., 0., 2., 0., 1., 1.]);
    let equation = |text: &'static str| [("equation", Text(text))];
    check("Einsum", &[&a, &b], &equation("nc, nc -> n"), vector(&[7., 11.]));
    check("Einsum", &[&a, &b], &equation("nc,mc->mn"), floats(&[2, 2], &[7., 16., 5., 11.]));
    check("Einsum", &[&a, &b], &equation("ij,ij->"), Tensor::scalar(18.0));
    check("Einsum", &[&a], &equation("ji"), floats(&[3, 2], &[1., 4., 2., 5., 3., 6.]));
    check("Einsum", &[&floats(&[2, 2], &[1., 2., 3., 4.])], &equation("ii->i"), vector(&[1., 4.]));
    for wrong in ["ij,jk->ik", "ij->i", "ij,ij->z", "ij,ij->ii", "i1,ij->i", "ijk,ij->i"] {
        let error = fails("Einsum", &[&a, &b], &equation(wrong), 18);
        assert!(matches!(error, EvaluateError::Shape { .. }), "{wrong}: {error}");
    }
    check("Einsum", &[&a, &b], &equation("...c,...c->..."), vector(&[7., 11.]));
    check(
        "Einsum",
        &[&a, &vector(&[1., 0., 2.])],
        &equation("n...,...->n..."),
        floats(&[2, 3], &[1., 0., 6., 4., 0., 12.]),
    );
    check(
        "Einsum",
        &[&a, &floats(&[1, 3], &[1., 0., 2.])],
        &equation("...,...->..."),
        floats(&[2, 3], &[1., 0., 6., 4., 0., 12.]),
    );
}

#[test]
fn products() {
    let a = floats(&[2, 2], &[1., 2., 3., 4.]);
    let b = floats(&[2, 3], &[1., 0., 2., 0., 1., 1.]);
    check("MatMul", &[&a, &b], &[], floats(&[2, 3], &[1., 2., 4., 3., 4., 10.]));
    check("MatMul", &[&vector(&[1., 1.]), &a], &[], vector(&[4., 6.]));
    check("MatMul", &[&a, &vector(&[1., 1.])], &[], vector(&[3., 7.]));
    check("MatMul", &[&vector(&[1., 2.]), &vector(&[3., 4.])], &[], Tensor::scalar(11.0));
    let batch = floats(&[2, 1, 2], &[1., 0., 0., 1.]);
    check("MatMul", &[&batch, &a], &[], floats(&[2, 1, 2], &[1., 2., 3., 4.]));
    let flags = [("transB", Int(1)), ("alpha", Real(2.0)), ("beta", Real(0.5))];
    check("Gemm", &[&a, &a, &vector(&[2., 4.])], &flags, floats(&[2, 2], &[11., 24., 23., 52.]));
    check("Gemm", &[&b, &a], &[("transA", Int(1))], floats(&[3, 2], &[1., 2., 3., 4., 5., 8.]));
    assert!(fails("MatMul", &[&b, &b], &[], 18).to_string().contains("[2, 3] cannot be multiplied with [2, 3]"));
}

#[test]
fn losses() {
    let ln = f64::ln;
    let scores = floats(&[2, 2], &[ln(1.0), ln(3.0), ln(1.0), ln(1.0)]);
    let labels = list(&[1, 0]);
    let row = [-ln(0.75), -ln(0.5)];
    let cross_entropy = |attributes: &[(&str, Value)], expected: Tensor| {
        check("SoftmaxCrossEntropyLoss", &[&scores, &labels], attributes, expected);
    };
    cross_entropy(&[], Tensor::scalar((row[0] + row[1]) / 2.0));
    cross_entropy(&[("reduction", Text("sum"))], Tensor::scalar(row[0] + row[1]));
    cross_entropy(&[("reduction", Text("none"))], vector(&row));
    cross_entropy(&[("ignore_index", Int(0))], Tensor::scalar(row[0]));
    let weights = vector(&[3.0, 1.0]);
    let mean = (row[0] + 3.0 * row[1]) / 4.0;
    check("SoftmaxCrossEntropyLoss", &[&scores, &labels, &weights], &[], Tensor::scalar(mean));
    let both = run_node(op("SoftmaxCrossEntropyLoss", 2, 2, &[]), &[Some(&scores), Some(&labels)], 13).unwrap();
    close(&both[1], &floats(&[2, 2], &[ln(0.25), ln(0.75), ln(0.5), ln(0.5)]), 1e-15);
    check("NegativeLogLikelihoodLoss", &[&both[1], &labels], &[("reduction", Text("none"))], vector(&row));
    let ignored = list(&[-100, -100]);
    let all = call("SoftmaxCrossEntropyLoss", &[&scores, &ignored], &[("ignore_index", Int(-100))], 13);
    assert!(all.single().unwrap().is_nan());
    let outside = fails("SoftmaxCrossEntropyLoss", &[&scores, &list(&[0, 2])], &[], 13).to_string();
    assert_eq!(outside, "SoftmaxCrossEntropyLoss -> 'out0': label 2 is none of 2 classes");
    let mut internal = op("SoftmaxCrossEntropyLossInternal", 4, 2, &[]);
    internal.domain = Some("com.microsoft".into());
    let given = [Some(&scores), Some(&labels), None, Some(&ints(&[], &[0]))];
    close(&run_node(internal, &given, 14).unwrap()[0], &Tensor::scalar(row[0]), 1e-15);
}
