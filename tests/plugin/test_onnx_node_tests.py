"""ONNX's own node tests of the losses, through our operator: with bonus_weight = 0 it is cross entropy.

The cases come with the onnx package; ELONNX_NODE_TESTS names another folder of them.
"""

import os
import pathlib

import numpy as np
import onnx
import pytest
from models import DOMAIN, LOSS
from onnx import helper, numpy_helper

FOLDER = pathlib.Path(os.environ.get("ELONNX_NODE_TESTS",
                                     pathlib.Path(onnx.__file__).parent / "backend" / "test" / "data" / "node"))


def cases(pattern):
    found = sorted(p for p in FOLDER.glob(pattern) if not p.name.endswith("_expanded"))
    return [pytest.param(p, id=p.name) for p in found]


def load(folder):
    """The loss node and the arrays of its data set."""
    model = onnx.load(folder / "model.onnx")

    def arrays(kind):
        paths = sorted((folder / "test_data_set_0").glob(f"{kind}_*.pb"), key=lambda p: int(p.stem.split("_")[1]))
        return [numpy_helper.to_array(onnx.TensorProto.FromString(p.read_bytes())) for p in paths]

    (node,) = model.graph.node
    return node, arrays("input"), arrays("output")


def attributes(node):
    return {a.name: helper.get_attribute_value(a) for a in node.attribute if a.name in ("reduction", "ignore_index")}


def patched(node, inputs, log_prob):
    """The node as ours; a log_prob output gets a LogSoftmax of its own, as `elonnx patch` does it."""
    names = ["logits", "labels", "weights"][: len(inputs)]
    nodes = [helper.make_node(LOSS, names, ["loss"], domain=DOMAIN, bonus_weight=0.0, **attributes(node))]
    outputs = ["loss"]
    if log_prob:
        nodes.append(helper.make_node("LogSoftmax", ["logits"], ["log_prob"], axis=1))
        outputs.append("log_prob")
    values = [helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
              for n, a in zip(names, inputs)]
    float_type = values[0].type.tensor_type.elem_type
    graph = helper.make_graph(nodes, "g", values, [helper.make_tensor_value_info(o, float_type, None) for o in outputs])
    model = helper.make_model(graph, ir_version=8,
                              opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid(DOMAIN, 1)])
    return model, dict(zip(names, inputs))


def test_there_are_cases():
    # 34 and 18 in onnx 1.13 to 1.23
    assert len(cases("test_sce_*")) >= 30 and len(cases("test_nllloss_*")) >= 15


@pytest.mark.parametrize("folder", cases("test_sce_*"))
def test_softmax_cross_entropy_loss(run, folder):
    node, inputs, expected = load(folder)
    assert node.op_type == "SoftmaxCrossEntropyLoss"
    out = run(*patched(node, inputs, log_prob=len(expected) > 1))
    for got, want in zip(out.values(), expected):
        assert got.shape == want.shape and got.dtype == want.dtype
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("folder", cases("test_nllloss_*"))
def test_negative_log_likelihood_loss(run, folder):
    """The node takes log-probabilities, ours logits, whose softmax it takes itself.

    The data are not log-probabilities (they don't sum to 1), so they are made some: lowered by a constant, and a class
    added that takes the rest. Then log_softmax changes nothing, and each row's loss has grown by the constant.
    """
    node, (x, labels, *weights), (want,) = load(folder)
    assert node.op_type == "NegativeLogLikelihoodLoss"
    constant = np.ceil(np.log(np.exp(x.astype(np.float64)).sum(1).max())) + 1
    lowered = x.astype(np.float64) - constant
    rest = np.log1p(-np.exp(lowered).sum(1, keepdims=True))
    logits = np.concatenate([lowered, rest], 1).astype(x.dtype)
    if weights:
        weights = [np.append(weights[0], 1).astype(weights[0].dtype)]
    attrs = attributes(node)
    (got,) = run(*patched(node, [logits, labels, *weights], log_prob=False)).values()

    counted = labels != attrs["ignore_index"] if "ignore_index" in attrs else np.ones(labels.shape, bool)
    w = weights[0][np.where(counted, labels, 0)] * counted if weights else counted.astype(float)
    added = {b"mean": constant, b"sum": constant * w.sum(), b"none": constant * w}[attrs.get("reduction", b"mean")]
    assert got.shape == want.shape
    np.testing.assert_allclose(got - added, want, rtol=1e-5, atol=1e-5 * np.max(added))
