use std::collections::HashMap;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use prost::Message;

use super::*;
use crate::model::proto::TensorProto;
use crate::model::{DataType, Document, TensorValue};

pub(super) fn floats(dims: &[usize], values: &[f64]) -> Tensor {
    Tensor::new(dims.to_vec(), Data::Float(values.to_vec())).unwrap()
}

fn ints(dims: &[usize], values: &[i64]) -> Tensor {
    Tensor::new(dims.to_vec(), Data::Int(values.to_vec())).unwrap()
}

pub(super) fn bools(dims: &[usize], values: &[bool]) -> Tensor {
    Tensor::new(dims.to_vec(), Data::Bool(values.to_vec())).unwrap()
}

pub(super) fn vector(values: &[f64]) -> Tensor {
    floats(&[values.len()], values)
}

pub(super) fn list(values: &[i64]) -> Tensor {
    ints(&[values.len()], values)
}

/// An attribute for [`op`].
pub(super) enum Value<'a> {
    Int(i64),
    Ints(&'a [i64]),
    Real(f32),
    Reals(&'a [f32]),
    Text(&'a str),
    Proto(Box<TensorProto>),
}
pub(super) use Value::{Int, Ints, Proto, Real, Reals, Text};

pub(super) fn op(name: &str, inputs: usize, outputs: usize, attributes: &[(&str, Value)]) -> NodeProto {
    let attribute = attributes
        .iter()
        .map(|(name, value)| {
            let mut a = AttributeProto { name: Some((*name).into()), ..Default::default() };
            match value {
                Int(i) => a.i = Some(*i),
                Ints(v) => a.ints = v.to_vec(),
                Real(f) => a.f = Some(*f),
                Reals(v) => a.floats = v.to_vec(),
                Text(s) => a.s = Some(s.as_bytes().to_vec().into()),
                Proto(t) => a.t = Some(t.encode_to_vec().into()),
            }
            a
        })
        .collect();
    NodeProto {
        op_type: Some(name.into()),
        input: (0..inputs).map(|i| format!("in{i}")).collect(),
        output: (0..outputs).map(|i| format!("out{i}")).collect(),
        attribute,
        ..Default::default()
    }
}

/// Runs one node; None inputs are left out.
pub(super) fn run_node(
    mut node: NodeProto,
    inputs: &[Option<&Tensor>],
    opset: i64,
) -> Result<Vec<Tensor>, EvaluateError> {
    let mut values = HashMap::new();
    for (i, input) in inputs.iter().enumerate() {
        match input {
            Some(t) => drop(values.insert(format!("in{i}"), (*t).clone())),
            None => node.input[i] = String::new(),
        }
    }
    let values = evaluate(&[&node], values, opset)?;
    Ok(node.output.iter().map_while(|o| values.get(o).cloned()).collect())
}

/// The first output of `name` on `inputs`.
fn call(name: &str, inputs: &[&Tensor], attributes: &[(&str, Value)], opset: i64) -> Tensor {
    let inputs: Vec<_> = inputs.iter().map(|t| Some(*t)).collect();
    run_node(op(name, inputs.len(), 1, attributes), &inputs, opset).unwrap().remove(0)
}

pub(super) fn fails(name: &str, inputs: &[&Tensor], attributes: &[(&str, Value)], opset: i64) -> EvaluateError {
    let inputs: Vec<_> = inputs.iter().map(|t| Some(*t)).collect();
    run_node(op(name, inputs.len(), 1, attributes), &inputs, opset).unwrap_err()
}

#[track_caller]
fn close(found: &Tensor, expected: &Tensor, tolerance: f64) {
    assert_eq!(found.dims, expected.dims);
    match (&found.data, &expected.data) {
        (Data::Float(a), Data::Float(b)) => {
            for (a, b) in a.iter().zip(b) {
                let same = a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= tolerance * b.abs().max(1.0);
                assert!(same, "{found:?} is not {expected:?}");
            }
        }
        (a, b) => assert_eq!(a, b),
    }
}

#[track_caller]
pub(super) fn check(name: &str, inputs: &[&Tensor], attributes: &[(&str, Value)], expected: Tensor) {
    close(&call(name, inputs, attributes, 18), &expected, 1e-15);
}

const INF: f64 = f64::INFINITY;
const NAN: f64 = f64::NAN;

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

#[test]
fn constants_of_all_forms() {
    let none: &[&Tensor] = &[];
    check("Constant", none, &[("value_float", Real(0.5))], Tensor::scalar(0.5));
    check("Constant", none, &[("value_floats", Reals(&[0.5, 2.0]))], vector(&[0.5, 2.0]));
    check("Constant", none, &[("value_int", Int(3))], ints(&[], &[3]));
    check("Constant", none, &[("value_ints", Ints(&[3, 4]))], list(&[3, 4]));
    let raw = |data_type: DataType, dims: &[i64], bytes: &[u8]| TensorProto {
        dims: dims.to_vec(),
        data_type: Some(data_type as i32),
        raw_data: Some(bytes.to_vec().into()),
        ..Default::default()
    };
    let check_raw = |t: TensorProto, expected: Tensor| check("Constant", none, &[("value", Proto(t.into()))], expected);
    check_raw(raw(DataType::Float, &[1], &1.5_f32.to_le_bytes()), vector(&[1.5]));
    check_raw(raw(DataType::Double, &[], &1e300_f64.to_le_bytes()), Tensor::scalar(1e300));
    check_raw(raw(DataType::Float16, &[1], &[0x00, 0x3e]), vector(&[1.5]));
    check_raw(raw(DataType::Bfloat16, &[1], &[0xc0, 0x3f]), vector(&[1.5]));
    check_raw(raw(DataType::Int64, &[1], &i64::MIN.to_le_bytes()), list(&[i64::MIN]));
    check_raw(raw(DataType::Int32, &[2], &[255, 255, 255, 255, 2, 0, 0, 0]), list(&[-1, 2]));
    check_raw(raw(DataType::Uint8, &[1], &[255]), list(&[255]));
    check_raw(raw(DataType::Int8, &[1], &[255]), list(&[-1]));
    check_raw(raw(DataType::Bool, &[2], &[1, 0]), bools(&[2], &[true, false]));
    let typed =
        |data_type: DataType| TensorProto { data_type: Some(data_type as i32), dims: vec![1], ..Default::default() };
    check_raw(TensorProto { float_data: vec![0.5], ..typed(DataType::Float) }, vector(&[0.5]));
    check_raw(TensorProto { int32_data: vec![0x3e00], ..typed(DataType::Float16) }, vector(&[1.5]));
    check_raw(TensorProto { int64_data: vec![-9], ..typed(DataType::Int64) }, list(&[-9]));
    check_raw(TensorProto { int32_data: vec![1], ..typed(DataType::Bool) }, bools(&[1], &[true]));
    check_raw(TensorProto { double_data: vec![0.1], ..typed(DataType::Double) }, vector(&[0.1]));
    let short = raw(DataType::Float, &[2], &1.5_f32.to_le_bytes());
    let error = fails("Constant", none, &[("value", Proto(short.into()))], 18).to_string();
    assert!(error.contains("of shape [2] holds 1 elements"), "{error}");
    let fill = TensorProto { int64_data: vec![7], ..typed(DataType::Int64) };
    check("ConstantOfShape", &[&list(&[2, 1])], &[("value", Proto(fill.into()))], ints(&[2, 1], &[7, 7]));
    check("ConstantOfShape", &[&list(&[])], &[], Tensor::scalar(0.0));
}

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

#[test]
fn faults_name_the_node() {
    let x = vector(&[1.0]);
    let mut named = op("Det", 1, 1, &[]);
    named.name = Some("stem".into());
    let unknown = run_node(named.clone(), &[Some(&x)], 13).unwrap_err();
    assert_eq!(unknown.to_string(), "Det 'stem': Det cannot be evaluated");
    named.domain = Some("my.ops".into());
    assert!(run_node(named, &[Some(&x)], 13).unwrap_err().to_string().contains("my.ops::Det"));
    let missing = evaluate(&[&op("Neg", 1, 1, &[])], HashMap::new(), 13).unwrap_err();
    assert_eq!(missing.to_string(), "Neg -> 'out0': its input 'in0' has no value");
    let absent = fails("Add", &[&x], &[], 13);
    assert_eq!(absent.to_string(), "Add -> 'out0': its input 'input 1' has no value");
    let large = fails("Expand", &[&x, &list(&[1 << 12, 1 << 12])], &[], 13);
    assert_eq!(large.to_string(), "Expand -> 'out0': a tensor of shape [4096, 4096] is too large to evaluate");
    let broken = Tensor { dims: vec![3], data: Data::Float(vec![1.0]) };
    let values = HashMap::from([("x".to_owned(), broken)]);
    assert!(evaluate(&[], values, 13).unwrap_err().to_string().contains("value 'x'"));
}

#[test]
fn constants_of_a_graph_keep_their_kind() {
    let constant =
        |data_type: DataType| TensorValue { data_type: data_type as i32, dims: vec![2], data: vec![0.0, 1.0] };
    assert_eq!(Tensor::from_constant(&constant(DataType::Float16)), Some(vector(&[0.0, 1.0])));
    assert_eq!(Tensor::from_constant(&constant(DataType::Int32)), Some(list(&[0, 1])));
    assert_eq!(Tensor::from_constant(&constant(DataType::Bool)), Some(bools(&[2], &[false, true])));
    assert_eq!(Tensor::from_constant(&constant(DataType::String)), None);
}

const OPS: &[&str] = &[
    "Conv",
    "ConvTranspose",
    "MaxPool",
    "AveragePool",
    "LpPool",
    "GlobalAveragePool",
    "GlobalMaxPool",
    "GlobalLpPool",
    "BatchNormalization",
    "LayerNormalization",
    "GroupNormalization",
    "InstanceNormalization",
    "RMSNormalization",
    "LpNormalization",
    "LRN",
    "MeanVarianceNormalization",
    "BitShift",
    "Identity",
    "Dropout",
    "Cast",
    "CastLike",
    "Neg",
    "Abs",
    "Sign",
    "Relu",
    "Exp",
    "Log",
    "Sqrt",
    "Reciprocal",
    "Sigmoid",
    "Softplus",
    "Tanh",
    "Erf",
    "Floor",
    "Ceil",
    "Round",
    "Cos",
    "Sin",
    "Tan",
    "Asin",
    "Acos",
    "Atan",
    "Sinh",
    "Cosh",
    "Asinh",
    "Acosh",
    "Atanh",
    "LeakyRelu",
    "PRelu",
    "Elu",
    "Selu",
    "Celu",
    "ThresholdedRelu",
    "Shrink",
    "Softsign",
    "HardSigmoid",
    "HardSwish",
    "Mish",
    "Swish",
    "Gelu",
    "IsNaN",
    "IsInf",
    "Not",
    "And",
    "Or",
    "Xor",
    "Equal",
    "Greater",
    "Less",
    "GreaterOrEqual",
    "LessOrEqual",
    "Add",
    "Sub",
    "Mul",
    "Div",
    "Mod",
    "Pow",
    "Min",
    "Max",
    "Sum",
    "Mean",
    "Clip",
    "Where",
    "Constant",
    "ConstantOfShape",
    "Shape",
    "Size",
    "Reshape",
    "Flatten",
    "Squeeze",
    "Unsqueeze",
    "Expand",
    "Transpose",
    "Concat",
    "Split",
    "Slice",
    "Tile",
    "Pad",
    "Trilu",
    "Gather",
    "GatherElements",
    "GatherND",
    "ScatterElements",
    "ScatterND",
    "OneHot",
    "Range",
    "EyeLike",
    "ReduceSum",
    "ReduceMean",
    "ReduceMax",
    "ReduceMin",
    "ReduceProd",
    "ReduceL1",
    "ReduceL2",
    "ReduceSumSquare",
    "ReduceLogSum",
    "ReduceLogSumExp",
    "ArgMax",
    "ArgMin",
    "TopK",
    "CumSum",
    "Softmax",
    "LogSoftmax",
    "Hardmax",
    "MatMul",
    "Gemm",
    "Einsum",
    "NegativeLogLikelihoodLoss",
    "SoftmaxCrossEntropyLoss",
];

const ATTRIBUTES: &[&str] = &[
    "group",
    "kernel_shape",
    "strides",
    "dilations",
    "output_shape",
    "output_padding",
    "ceil_mode",
    "count_include_pad",
    "storage_order",
    "training_mode",
    "num_groups",
    "size",
    "p",
    "axis",
    "axes",
    "keepdims",
    "to",
    "perm",
    "split",
    "num_outputs",
    "starts",
    "ends",
    "pads",
    "k",
    "batch_dims",
    "start",
    "end",
    "allowzero",
    "transA",
    "transB",
    "ignore_index",
    "fmod",
    "noop_with_empty_axes",
    "exclusive",
    "reverse",
    "upper",
    "largest",
    "dtype",
    "value_ints",
];

fn any_int() -> impl Strategy<Value = i64> {
    prop_oneof![8 => -3_i64..5, 1 => Just(i64::MIN), 1 => Just(i64::MAX), 1 => any::<i64>()]
}

fn any_tensor() -> impl Strategy<Value = Tensor> {
    let dims = prop_oneof![
        9 => proptest::collection::vec(0_usize..4, 0..4),
        1 => Just(vec![0, 1_000_000, 1_000_000]),
    ];
    dims.prop_flat_map(|dims| {
        let size = dims.iter().product::<usize>();
        let data = prop_oneof![
            proptest::collection::vec(prop_oneof![9 => -5.0..5.0, 1 => any::<f64>()], size).prop_map(Data::Float),
            proptest::collection::vec(any_int(), size).prop_map(Data::Int),
            proptest::collection::vec(any::<bool>(), size).prop_map(Data::Bool),
        ];
        data.prop_map(move |data| Tensor { dims: dims.clone(), data })
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever a file says, the answer is a value of the right size or an error.
    #[test]
    fn nothing_panics(
        name in proptest::sample::select(OPS),
        inputs in proptest::collection::vec(proptest::option::weighted(0.95, any_tensor()), 0..5),
        numbers in proptest::collection::vec((proptest::sample::select(ATTRIBUTES), any_int()), 0..3),
        lists in proptest::collection::vec(
            (proptest::sample::select(ATTRIBUTES), proptest::collection::vec(any_int(), 0..4)), 0..2),
        outputs in 0_usize..4,
        opset in prop_oneof![Just(6_i64), Just(9), Just(11), Just(13), Just(18), Just(22)],
    ) {
        let mut attributes: Vec<(&str, Value)> = numbers.iter().map(|&(name, i)| (name, Int(i))).collect();
        attributes.extend(lists.iter().map(|(name, v)| (*name, Ints(v))));
        let node = op(name, inputs.len(), outputs, &attributes);
        let inputs: Vec<_> = inputs.iter().map(Option::as_ref).collect();
        if let Ok(results) = run_node(node, &inputs, opset) {
            for result in results {
                prop_assert_eq!(result.dims.iter().product::<usize>(), result.len());
            }
        }
    }

    #[test]
    fn no_equation_panics(
        equation in "[a-c]{0,3}(,[a-c. ]{0,3}){0,2}(->[a-c]{0,2})?",
        inputs in proptest::collection::vec(any_tensor(), 1..4),
    ) {
        let node = op("Einsum", inputs.len(), 1, &[("equation", Text(&equation))]);
        let inputs: Vec<_> = inputs.iter().map(Some).collect();
        if let Ok(results) = run_node(node, &inputs, 18) {
            prop_assert_eq!(results[0].dims.iter().product::<usize>(), results[0].len());
        }
    }

    /// The reductions and softmax agree with each other: log softmax is z − logsumexp z.
    #[test]
    fn log_softmax_is_score_minus_log_sum_exp(row in proptest::collection::vec(-50.0..50.0, 1..9)) {
        let x = floats(&[1, row.len()], &row);
        let total = call("ReduceLogSumExp", &[&x, &list(&[1])], &[], 18);
        let expected = call("Sub", &[&x, &total], &[], 18);
        close(&call("LogSoftmax", &[&x], &[], 18), &expected, 1e-13);
        close(&call("Log", &[&call("Softmax", &[&x], &[], 18)], &[], 18), &expected, 1e-12);
    }
}

/// Runs a whole model on `inputs`, in the order of its inputs.
fn run_model(path: &Path, inputs: Vec<Tensor>) -> Result<Vec<Tensor>, EvaluateError> {
    let document = Document::open(path).unwrap();
    let graph = document.graph();
    let mut values = HashMap::new();
    for initializer in graph.initializers() {
        values.insert(initializer.name().to_owned(), Tensor::from_proto(&initializer.tensor().unwrap()).unwrap());
    }
    values.extend(graph.inputs().iter().map(|v| v.name().to_owned()).zip(inputs));
    let nodes: Vec<&NodeProto> = graph.nodes().iter().map(|node| &**node).collect();
    let values = evaluate(&nodes, values, document.opset_version("").unwrap())?;
    Ok(graph.outputs().iter().map(|v| values[v.name()].clone()).collect())
}

/// The models beside the project; None (said aloud) where they are not.
fn shared(folder: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/models").join(folder);
    if path.is_dir() {
        return Some(path);
    }
    println!("skipped: {} is not there", path.display());
    None
}

fn files_of(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn onnx_node_tests_of_the_losses_pass() {
    let Some(folder) = shared("onnx_node_tests") else {
        return;
    };
    let mut passed = 0;
    for case in files_of(&folder).iter().filter(|f| f.join("model.onnx").exists()) {
        let read = |kind: &str| -> Vec<Tensor> {
            (0..)
                .map(|i| case.join(format!("test_data_set_0/{kind}_{i}.pb")))
                .take_while(|file| file.exists())
                .map(|file| TensorProto::decode(&std::fs::read(file).unwrap()[..]).unwrap())
                .map(|tensor| Tensor::from_proto(&tensor).unwrap())
                .collect()
        };
        let results = run_model(&case.join("model.onnx"), read("input"));
        let results = results.unwrap_or_else(|error| panic!("{}: {error}", case.display()));
        let expected = read("output");
        assert_eq!(results.len(), expected.len());
        for (result, expected) in results.iter().zip(&expected) {
            close(result, expected, 2e-6);
        }
        passed += 1;
    }
    assert_eq!(passed, 104);
}

/// Dims and values of one array of an npz file.
fn array(npz: &mut ndarray_npy::NpzReader<std::fs::File>, name: &str) -> Option<Tensor> {
    if let Ok(a) = npz.by_name::<ndarray::OwnedRepr<f32>, ndarray::IxDyn>(name) {
        return Some(floats(a.shape(), &a.iter().map(|&x| x.into()).collect::<Vec<_>>()));
    }
    let a = npz.by_name::<ndarray::OwnedRepr<i64>, ndarray::IxDyn>(name).ok()?;
    Some(ints(a.shape(), &a.iter().copied().collect::<Vec<_>>()))
}

#[test]
fn exported_losses_give_pytorchs_values() {
    let Some(folder) = shared("exports_loss") else {
        return;
    };
    let file = std::fs::File::open(folder.join("reference_torch.npz")).unwrap();
    let mut npz = ndarray_npy::NpzReader::new(file).unwrap();
    let mut passed = 0;
    for path in files_of(&folder).iter().filter(|f| f.extension().is_some_and(|e| e == "onnx")) {
        let name = path.file_name().unwrap().to_str().unwrap();
        let key = [".dynamo", ".ts.", ".torch113"].iter().find_map(|cut| name.split_once(cut)).unwrap().0;
        let Some(expected) = array(&mut npz, &format!("{key}/loss")) else {
            assert!(key.starts_with("mlp_"), "no reference for {name}");
            continue;
        };
        let inputs = ["logits", "labels"].map(|part| array(&mut npz, &format!("{key}/{part}")).unwrap());
        let results = run_model(path, inputs.to_vec()).unwrap_or_else(|error| panic!("{name}: {error}"));
        // the exported sigmoid form of BCE loses digits in float32, not the graph
        close(&results[0], &expected, if key == "bce_logits" { 2e-5 } else { 2e-6 });
        passed += 1;
    }
    assert_eq!(passed, 52);
}
