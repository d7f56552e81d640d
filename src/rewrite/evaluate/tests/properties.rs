//! Whatever a file says: no panic; and operators agree with each other.

use proptest::prelude::*;

use super::*;

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
