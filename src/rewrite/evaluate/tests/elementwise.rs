//! Operators that look at one element after the other.

use super::*;

#[test]
fn unary() {
    let x = vector(&[-2.5, 0.0, 0.5, 1.5]);
    check("Identity", &[&x], &[], x.clone());
    check("Neg", &[&x], &[], vector(&[2.5, 0.0, -0.5, -1.5]));
    check("Abs", &[&x], &[], vector(&[2.5, 0.0, 0.5, 1.5]));
    check("Sign", &[&x], &[], vector(&[-1.0, 0.0, 1.0, 1.0]));
    check("Relu", &[&x], &[], vector(&[0.0, 0.0, 0.5, 1.5]));
    check("Floor", &[&x], &[], vector(&[-3.0, 0.0, 0.0, 1.0]));
    check("Ceil", &[&x], &[], vector(&[-2.0, 0.0, 1.0, 2.0]));
    check("Round", &[&x], &[], vector(&[-2.0, 0.0, 0.0, 2.0]));
    check("Neg", &[&list(&[3, -4])], &[], list(&[-3, 4]));
    check("Abs", &[&list(&[3, -4])], &[], list(&[3, 4]));
    check("Exp", &[&vector(&[0.0, 1.0])], &[], vector(&[1.0, std::f64::consts::E]));
    check("Log", &[&vector(&[0.0, 1.0, -1.0])], &[], vector(&[-INF, 0.0, NAN]));
    check("Sqrt", &[&vector(&[4.0])], &[], vector(&[2.0]));
    check("Reciprocal", &[&vector(&[4.0])], &[], vector(&[0.25]));
    check("Sigmoid", &[&vector(&[0.0, -800.0, 800.0, 3.0_f64.ln()])], &[], vector(&[0.5, 0.0, 1.0, 0.75]));
    check("Softplus", &[&vector(&[0.0, 800.0, -800.0])], &[], vector(&[2.0_f64.ln(), 800.0, 0.0]));
    check("Tanh", &[&vector(&[0.0, 3.0_f64.ln()])], &[], vector(&[0.0, 0.8]));
    // erf from Abramowitz and Stegun, table 7.1
    let erf = [0.0, 0.5204998778130465, -0.8427007929497149, 0.9953222650189527, 1.0, NAN];
    check("Erf", &[&vector(&[0.0, 0.5, -1.0, 2.0, 9.0, NAN])], &[], vector(&erf));
    check("Cos", &[&vector(&[0.0])], &[], vector(&[1.0]));
    check("Sin", &[&vector(&[0.0])], &[], vector(&[0.0]));
    let small = vector(&[-0.75, 0.0, 0.25, 0.5]);
    for (there, back) in [("Sin", "Asin"), ("Tan", "Atan"), ("Sinh", "Asinh"), ("Atanh", "Tanh"), ("Acos", "Cos")] {
        check(back, &[&call(there, &[&small], &[], 18)], &[], small.clone());
    }
    let large = vector(&[1.0, 1.5, 4.0]);
    check("Cosh", &[&call("Acosh", &[&large], &[], 18)], &[], large.clone());
    check(
        "Tan",
        &[&small],
        &[],
        call("Div", &[&call("Sin", &[&small], &[], 18), &call("Cos", &[&small], &[], 18)], &[], 18),
    );
    let odd = vector(&[NAN, INF, -INF, 0.0]);
    check("IsNaN", &[&odd], &[], bools(&[4], &[true, false, false, false]));
    check("IsInf", &[&odd], &[], bools(&[4], &[false, true, true, false]));
    check("IsInf", &[&odd], &[("detect_negative", Int(0))], bools(&[4], &[false, true, false, false]));
    check("Not", &[&bools(&[2], &[true, false])], &[], bools(&[2], &[false, true]));
}

#[test]
fn casts() {
    let x = vector(&[-1.9, 0.0, 2.7]);
    check("Cast", &[&x], &[("to", Int(DataType::Int64 as i64))], list(&[-1, 0, 2]));
    check("Cast", &[&x], &[("to", Int(DataType::Bool as i64))], bools(&[3], &[true, false, true]));
    check("Cast", &[&x], &[("to", Int(DataType::Float16 as i64))], x.clone());
    check("Cast", &[&bools(&[2], &[true, false])], &[("to", Int(1))], vector(&[1.0, 0.0]));
    check("Cast", &[&list(&[7])], &[("to", Int(11))], vector(&[7.0]));
    check("CastLike", &[&x, &list(&[0])], &[], list(&[-1, 0, 2]));
    let error = fails("Cast", &[&x], &[("to", Int(DataType::String as i64))], 18);
    assert!(matches!(&error, EvaluateError::Unsupported { op, .. } if op.contains("data type 8")), "{error}");
}

#[test]
fn arithmetic_broadcasts() {
    let column = floats(&[2, 1], &[1.0, 2.0]);
    let row = vector(&[10.0, 20.0, 30.0]);
    check("Add", &[&column, &row], &[], floats(&[2, 3], &[11., 21., 31., 12., 22., 32.]));
    check("Sub", &[&row, &column], &[], floats(&[2, 3], &[9., 19., 29., 8., 18., 28.]));
    check("Mul", &[&column, &Tensor::scalar(3.0)], &[], floats(&[2, 1], &[3.0, 6.0]));
    check("Div", &[&row, &Tensor::scalar(4.0)], &[], vector(&[2.5, 5.0, 7.5]));
    check("Div", &[&list(&[7, -7]), &list(&[2, 2])], &[], list(&[3, -3]));
    check("Pow", &[&vector(&[2.0, 9.0]), &vector(&[3.0, 0.5])], &[], vector(&[8.0, 3.0]));
    check("Pow", &[&vector(&[2.0, 3.0]), &list(&[2, -1])], &[], vector(&[4.0, 1.0 / 3.0]));
    check("Pow", &[&list(&[2, -3]), &list(&[10, 3])], &[], list(&[1024, -27]));
    check("Mod", &[&list(&[-4, 7, 5]), &list(&[3, -3, 8])], &[], list(&[2, -2, 5]));
    check("Mod", &[&vector(&[-4.5, 5.0]), &vector(&[3.0, 3.0])], &[("fmod", Int(1))], vector(&[-1.5, 2.0]));
    check("Mod", &[&list(&[-4]), &list(&[3])], &[("fmod", Int(1))], list(&[-1]));
    check("Min", &[&vector(&[1.0, 5.0]), &vector(&[3.0]), &vector(&[2.0, NAN])], &[], vector(&[1.0, NAN]));
    check("Max", &[&vector(&[1.0, 5.0]), &vector(&[3.0])], &[], vector(&[3.0, 5.0]));
    check("Max", &[&list(&[1, 5]), &list(&[3])], &[], list(&[3, 5]));
    check("Sum", &[&row, &row, &row], &[], vector(&[30.0, 60.0, 90.0]));
    check("Mean", &[&row, &column], &[], floats(&[2, 3], &[5.5, 10.5, 15.5, 6.0, 11.0, 16.0]));
    let shapes = fails("Add", &[&row, &vector(&[1.0, 2.0])], &[], 18).to_string();
    assert_eq!(shapes, "Add -> 'out0': the shapes [[3], [2]] do not broadcast");
    let kinds = fails("Add", &[&row, &list(&[1])], &[], 18).to_string();
    assert_eq!(kinds, "Add -> 'out0': float and integer elements in one operation");
    assert!(fails("Div", &[&list(&[1]), &list(&[0])], &[], 18).to_string().contains("division of an integer by zero"));
}

#[test]
fn comparisons_and_logic() {
    let (a, b) = (vector(&[1.0, 2.0, NAN]), vector(&[2.0, 2.0, NAN]));
    check("Equal", &[&a, &b], &[], bools(&[3], &[false, true, false]));
    check("Greater", &[&b, &a], &[], bools(&[3], &[true, false, false]));
    check("Less", &[&a, &b], &[], bools(&[3], &[true, false, false]));
    check("GreaterOrEqual", &[&a, &b], &[], bools(&[3], &[false, true, false]));
    check("LessOrEqual", &[&a, &b], &[], bools(&[3], &[true, true, false]));
    let labels = ints(&[2, 1], &[2, 0]);
    check("Equal", &[&labels, &list(&[0, 1, 2])], &[], bools(&[2, 3], &[false, false, true, true, false, false]));
    let (p, q) = (bools(&[4], &[true, true, false, false]), bools(&[4], &[true, false, true, false]));
    check("And", &[&p, &q], &[], bools(&[4], &[true, false, false, false]));
    check("Or", &[&p, &q], &[], bools(&[4], &[true, true, true, false]));
    check("Xor", &[&p, &q], &[], bools(&[4], &[false, true, true, false]));
    check("Equal", &[&p, &q], &[], bools(&[4], &[true, false, false, true]));
    let condition = bools(&[2, 1], &[true, false]);
    check("Where", &[&condition, &list(&[1, 2]), &list(&[9])], &[], ints(&[2, 2], &[1, 2, 9, 9]));
}

#[test]
fn clip_with_inputs_and_attributes() {
    let x = vector(&[-1.0, 0.5, 3.0, NAN]);
    let (low, high) = (Tensor::scalar(0.0), Tensor::scalar(1.0));
    check("Clip", &[&x, &low, &high], &[], vector(&[0.0, 0.5, 1.0, NAN]));
    check("Clip", &[&list(&[-5, 5]), &list(&[0])], &[], list(&[0, 5]));
    let only_max = run_node(op("Clip", 3, 1, &[]), &[Some(&x), None, Some(&high)], 13).unwrap();
    close(&only_max[0], &vector(&[-1.0, 0.5, 1.0, NAN]), 0.0);
    let old = call("Clip", &[&x], &[("min", Real(0.25)), ("max", Real(0.5))], 9);
    close(&old, &vector(&[0.25, 0.5, 0.5, NAN]), 0.0);
}

#[test]
fn dropout_is_identity_in_inference_only() {
    let x = vector(&[1.0, 2.0]);
    let results = run_node(op("Dropout", 1, 2, &[]), &[Some(&x)], 13).unwrap();
    assert_eq!(results, [x.clone(), bools(&[2], &[true, true])]);
    let training = bools(&[], &[true]);
    let half = Tensor::scalar(0.5);
    assert!(matches!(fails("Dropout", &[&x, &half, &training], &[], 13), EvaluateError::Unsupported { .. }));
    check("Dropout", &[&x, &Tensor::scalar(0.0), &training], &[], x.clone());
}
