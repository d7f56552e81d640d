"""Losses where they are seldom: inside If, Loop and local functions; and a model whose weights lie in a second file."""

import numpy as np
import onnx
from builder import FLOAT, INT64, Builder, check, linear
from cross_entropy import CLASSES, finish, sce, start
from onnx import TensorProto, helper, numpy_helper


def _branch(name, reduction):
    loss = helper.make_node(
        "SoftmaxCrossEntropyLoss", ["logits", "labels"], [f"{name}_loss"], name=f"{name}_ce", reduction=reduction
    )
    return helper.make_graph([loss], name, [], [helper.make_tensor_value_info(f"{name}_loss", FLOAT, [])])


def inside_if():
    b = start("hand")
    b.inputs.append(helper.make_tensor_value_info("use_mean", TensorProto.BOOL, []))
    b.node("If", ["use_mean"], "loss", then_branch=_branch("mean", "mean"), else_branch=_branch("sum", "sum"))
    return finish(b)


def inside_loop():
    """The loss accumulated over three turns of a Loop."""
    b = start("hand")
    body = Builder("hand")
    for name, dtype in (("turn", INT64), ("going", TensorProto.BOOL), ("total_in", FLOAT)):
        body.input(name, [], dtype)
    sce(body, output="turn_loss")
    body.node("Add", ["total_in", "turn_loss"], "total_out")
    body.node("Identity", ["going"], "still_going")
    body.output("still_going", [], TensorProto.BOOL)
    body.output("total_out")
    b.initializer("turns", np.array(3, np.int64))
    b.initializer("true", np.array(True))
    b.initializer("zero", np.array(0, np.float32))
    b.node("Loop", ["turns", "true", "zero"], "loss", body=body.graph("body"))
    return finish(b)


def inside_function():
    b = start("hand")
    nodes = [helper.make_node("SoftmaxCrossEntropyLoss", ["z", "y"], ["l"], name="ce", reduction="mean")]
    opset = [helper.make_opsetid("", 17)]
    b.functions.append(helper.make_function("local.losses", "CrossEntropy", ["z", "y"], ["l"], nodes, opset))
    b.domains.append("local.losses")
    b.node("CrossEntropy", ["logits", "labels"], "loss", domain="local.losses")
    return finish(b)


def external_data(folder):
    """MLP with loss; the two weight matrices lie in external_data.bin beside the model."""
    b = Builder("hand")
    b.input("input", ["N", 32])
    b.input("labels", ["N"], INT64)
    generator = np.random.default_rng(7)
    hidden = b.node("Relu", [linear(b, "input", "fc1", generator, 32, 16)])
    linear(b, hidden, "fc2", generator, 16, CLASSES, "logits")
    sce(b)
    b.output("logits", ["N", CLASSES])
    model = finish(b)
    _move_weights_out(model, folder, "external_data.bin")
    return model


def _move_weights_out(model, folder, location):
    """Each tensor of more than one dimension at a multiple of 4096, as onnx.save aligns them."""
    data = bytearray()
    for tensor in model.graph.initializer:
        if len(tensor.dims) < 2:
            continue
        data.extend(b"\0" * (-len(data) % 4096))
        raw = numpy_helper.to_array(tensor).tobytes()
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in (("location", location), ("offset", len(data)), ("length", len(raw))):
            entry = tensor.external_data.add()
            entry.key, entry.value = key, str(value)
        data.extend(raw)
    with open(f"{folder}/{location}", "wb") as file:
        file.write(data)


MODELS = {f"placed/{make.__name__}.onnx": make for make in (inside_if, inside_loop, inside_function)}
WITH_EXTERNAL_DATA = {"external_data/model.onnx": external_data}
