//! What [`evaluate`] is held against: numbers that were written down, rules of arithmetic, models with known results.

mod elementwise;
mod models;
mod movement;
mod properties;
mod sums;

use std::collections::HashMap;

use prost::Message;

use super::*;
use crate::model::proto::TensorProto;
use crate::model::{DataType, TensorValue};

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
