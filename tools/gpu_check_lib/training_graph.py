"""One step of training as a plain ONNX graph: a network of two layers, the loss with its gradient, gradient descent."""

import numpy as np
from onnx import TensorProto, helper, numpy_helper

INPUTS, HIDDEN, CLASSES, BATCH = 32, 64, 10, 256
WEIGHTS = {"w1": (INPUTS, HIDDEN), "b1": (HIDDEN,), "w2": (HIDDEN, CLASSES), "b2": (CLASSES,)}
RATE = 0.2


def model():
    """x, labels and weights in; loss, margins and the weights after the step out."""
    node = helper.make_node
    nodes = [
        node("Gemm", ["x", "w1", "b1"], ["pre"]),
        node("Relu", ["pre"], ["hidden"]),
        node("Gemm", ["hidden", "w2", "b2"], ["logits"]),
        node("EncouragingLossAndGrad", ["logits", "labels"], ["loss", "margin", "d_logits"], domain="ai.elonnx",
             name="loss_and_gradient"),
        node("Gemm", ["hidden", "d_logits"], ["d_w2"], transA=1),
        node("ReduceSum", ["d_logits", "rows"], ["d_b2"], keepdims=0),
        node("Gemm", ["d_logits", "w2"], ["d_hidden"], transB=1),
        node("Greater", ["pre", "zero"], ["active"]),
        node("Cast", ["active"], ["mask"], to=TensorProto.FLOAT),
        node("Mul", ["d_hidden", "mask"], ["d_pre"]),
        node("Gemm", ["x", "d_pre"], ["d_w1"], transA=1),
        node("ReduceSum", ["d_pre", "rows"], ["d_b1"], keepdims=0),
    ]
    for name in WEIGHTS:
        nodes += [node("Mul", [f"d_{name}", "rate"], [f"step_{name}"]),
                  node("Sub", [name, f"step_{name}"], [f"new_{name}"])]
    value, f32 = helper.make_tensor_value_info, TensorProto.FLOAT
    graph = helper.make_graph(
        nodes, "step",
        [value("x", f32, [BATCH, INPUTS]), value("labels", TensorProto.INT64, [BATCH]),
         *(value(name, f32, shape) for name, shape in WEIGHTS.items())],
        [value("loss", f32, []), value("margin", f32, [BATCH]),
         *(value(f"new_{name}", f32, shape) for name, shape in WEIGHTS.items())],
        [numpy_helper.from_array(np.array([0], np.int64), "rows"), numpy_helper.from_array(np.float32(0), "zero"),
         numpy_helper.from_array(np.float32(RATE), "rate")],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.elonnx", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def first_weights():
    generator = np.random.default_rng(1)
    scale = {"w1": (2 / INPUTS) ** 0.5, "w2": (1 / HIDDEN) ** 0.5}
    return {name: (scale.get(name, 0) * generator.standard_normal(shape)).astype(np.float32)
            for name, shape in WEIGHTS.items()}


def batches(count):
    """Points around one centre for each class."""
    generator = np.random.default_rng(2)
    centres = 1.5 * generator.standard_normal((CLASSES, INPUTS))
    for _ in range(count):
        labels = generator.integers(0, CLASSES, BATCH)
        yield (centres[labels] + generator.standard_normal((BATCH, INPUTS))).astype(np.float32), labels
