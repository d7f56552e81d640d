"""Classifiers without a loss, one per head found in the wild: `patch` has to find the logits."""

import numpy as np
from builder import FLOAT16, INT64, Builder, check, linear

FEATURES, HIDDEN, CLASSES = 16, 8, 5


def _body(exporter="torchscript", logits=None):
    generator = np.random.default_rng(7)
    b = Builder(exporter)
    b.input("input", ["batch", FEATURES])
    h = linear(b, "input", "fc1", generator, FEATURES, HIDDEN)
    a = b.node("Relu", [h])
    return b, linear(b, a, "fc2", generator, HIDDEN, CLASSES, logits)


def _finish(b, *outputs):
    for output in outputs:
        b.output(output, ["batch", CLASSES])
    return check(b.model("classifier"))


def logits():
    b, _ = _body(logits="logits")
    return _finish(b, "logits")


def softmax():
    b, z = _body()
    b.node("Softmax", [z], "probabilities", axis=1)
    return _finish(b, "probabilities")


def log_softmax():
    b, z = _body()
    b.node("LogSoftmax", [z], "log_probabilities", axis=1)
    return _finish(b, "log_probabilities")


def temperature_softmax():
    b, z = _body()
    scaled = b.node("Div", [z, b.constant(2.5)])
    b.node("Softmax", [scaled], "probabilities", axis=1)
    return _finish(b, "probabilities")


def argmax_and_softmax():
    b, z = _body()
    b.node("Softmax", [z], "probabilities", axis=1)
    b.node("ArgMax", ["probabilities"], "label", axis=1, keepdims=0)
    b.output("label", ["batch"], INT64)
    return _finish(b, "probabilities")


def decomposed_softmax():
    """Exp(z − max z) divided by its sum."""
    b, z = _body("hand")
    top = b.node("ReduceMax", [z], axes=[1], keepdims=1)
    e = b.node("Exp", [b.node("Sub", [z, top])])
    total = b.node("ReduceSum", [e, b.constant([1], name="axes")], keepdims=1)
    b.node("Div", [e, total], "probabilities")
    return _finish(b, "probabilities")


def identity_of_softmax():
    b, z = _body()
    probabilities = b.node("Softmax", [z], axis=-1)
    b.node("Identity", [probabilities], "out")
    return _finish(b, "out")


def softmax_of_cast():
    """float16 network whose logits are cast to float32 before the softmax."""
    generator = np.random.default_rng(7)
    b = Builder("torchscript")
    b.input("input", ["batch", FEATURES], FLOAT16)
    weight = generator.standard_normal((CLASSES, FEATURES)) / 4
    b.initializer("fc.weight", weight.astype(np.float16))
    b.initializer("fc.bias", np.zeros(CLASSES, np.float16))
    z = b.node("Gemm", ["input", "fc.weight", "fc.bias"], transB=1)
    b.node("Softmax", [b.node("Cast", [z], to=1)], "probabilities", axis=1)
    return _finish(b, "probabilities")


def two_heads():
    """Two classifiers on one body: which logits are meant only the user knows."""
    b, z = _body()
    b.node("Softmax", [z], "animal", axis=1)
    colour = linear(b, b.nodes[1].output[0], "fc3", np.random.default_rng(8), HIDDEN, CLASSES)
    b.node("Softmax", [colour], "colour", axis=1)
    return _finish(b, "animal", "colour")


def regression():
    """One unbounded output: no classifier at all."""
    generator = np.random.default_rng(7)
    b = Builder("torchscript")
    b.input("input", ["batch", FEATURES])
    linear(b, "input", "fc", generator, FEATURES, 1, "value")
    b.output("value", ["batch", 1])
    return check(b.model("regression"))


MODELS = {
    f"heads/{make.__name__}.onnx": make
    for make in (
        logits, softmax, log_softmax, temperature_softmax, argmax_and_softmax, decomposed_softmax,
        identity_of_softmax, softmax_of_cast, two_heads, regression,
    )
}
