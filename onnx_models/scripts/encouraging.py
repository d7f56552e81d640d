"""The encouraging loss somebody has already spelled out in standard operators (arXiv 2110.06537, equation 5)."""

import math

from cross_entropy import CLASSES, finish, sce, start
from decomposed import dynamo, dynamo_mean


def bonus(b, p, log_end):
    """log(1 − p) with the paper's clamp at 1e-5; above ``log_end`` its tangent."""
    rest = b.node("Sub", [b.constant(1.0), p])
    log_rest = b.node("Log", [b.node("Clip", [rest, b.constant(1e-5)])])
    if log_end == 1.0:
        return log_rest
    above = b.node("Neg", [b.node("Sub", [p, b.constant(log_end)])])
    line = b.node("Add", [b.node("Div", [above, b.constant(1 - log_end)]), b.constant(math.log(1 - log_end))])
    return b.node("Where", [b.node("Greater", [p, b.constant(log_end)]), line, log_rest])


def gathered(log_end):
    """On the probability of the label, torchscript style."""
    b = start()
    log_p = b.node("LogSoftmax", ["logits"], axis=-1)
    own = b.node("GatherElements", [log_p, b.node("Unsqueeze", ["labels", b.constant([-1])])], axis=-1)
    own = b.node("Squeeze", [own, b.constant([1])])
    loss = b.node("Neg", [own])
    b.node("ReduceMean", [b.node("Add", [loss, bonus(b, b.node("Exp", [own]), log_end)])], "loss", keepdims=0)
    return finish(b)


def on_cross_entropy_none(log_end):
    """On a SoftmaxCrossEntropyLoss without reduction, as torchscript fuses it."""
    b = start()
    log_p = b.node("Neg", [sce(b, output=None, reduction="none", ignore_index=-100)])
    loss = b.node("Neg", [log_p])
    b.node("ReduceMean", [b.node("Add", [loss, bonus(b, b.node("Exp", [log_p]), log_end)])], "loss", keepdims=0)
    return finish(b)


def on_nll_dynamo(log_end):
    b = dynamo()
    log_matrix = b.node("LogSoftmax", ["logits"], axis=-1)
    nll = b.node("NegativeLogLikelihoodLoss", [log_matrix, "labels"], ignore_index=-100, reduction="none")
    log_p = b.node("Neg", [nll])
    loss = b.node("Neg", [log_p])
    dynamo_mean(b, b.node("Add", [loss, bonus(b, b.node("Exp", [log_p]), log_end)]), "loss")
    return finish(b)


def whole_matrix(log_end, **attributes):
    """On the whole matrix before the NLL, as in the paper's own module."""
    b = dynamo()
    log_matrix = b.node("LogSoftmax", ["logits"], axis=-1)
    p = b.node("Softmax", ["logits"], axis=-1)
    scores = b.node("Sub", [log_matrix, bonus(b, p, log_end)])
    attributes.setdefault("ignore_index", -100)
    b.node("NegativeLogLikelihoodLoss", [scores, "labels"], "loss", reduction="mean", **attributes)
    return finish(b)


MODELS = {
    "encouraging/gathered.log_end0.75.onnx": lambda: gathered(0.75),
    "encouraging/gathered.log_end1.onnx": lambda: gathered(1.0),
    "encouraging/on_cross_entropy_none.log_end0.75.onnx": lambda: on_cross_entropy_none(0.75),
    "encouraging/on_nll_dynamo.log_end0.5.onnx": lambda: on_nll_dynamo(0.5),
    "encouraging/whole_matrix.log_end0.75.onnx": lambda: whole_matrix(0.75),
    "encouraging/whole_matrix.log_end1.onnx": lambda: whole_matrix(1.0),
}
