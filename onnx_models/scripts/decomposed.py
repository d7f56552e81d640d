"""Cross entropy spelled out in elementary operators, as PyTorch, tf2onnx and jax2onnx emit it."""

import numpy as np
from builder import FLOAT, INT32, Builder, check
from cross_entropy import CLASSES, finish, start


def dynamo():
    return start("dynamo", 18, shape=("s88", CLASSES), labels=("s88",))


def dynamo_mean(b, value, output=None):
    """ReduceMean with keepdims, then Squeeze: how the dynamo exporter writes mean()."""
    return b.node("Squeeze", [b.node("ReduceMean", [value], noop_with_empty_axes=0, keepdims=1)], output)


def gather():
    b = start()
    log_p = b.node("LogSoftmax", ["logits"], axis=-1)
    picked = b.node("GatherElements", [log_p, b.node("Unsqueeze", ["labels", b.constant([1])])], axis=1)
    b.node("Neg", [b.node("ReduceMean", [picked], keepdims=0)], "loss")
    return finish(b)


def gather_dynamo():
    b = dynamo()
    log_p = b.node("LogSoftmax", ["logits"], axis=-1)
    picked = b.node("GatherElements", [log_p, b.node("Unsqueeze", ["labels", b.constant([1])])], axis=1)
    b.node("Neg", [dynamo_mean(b, picked)], "loss")
    return finish(b)


def onehot():
    """OneHot of integers, cast, times log-probabilities."""
    b = start()
    log_p = b.node("LogSoftmax", ["logits"], axis=-1)
    hot = b.node("OneHot", ["labels", b.constant([CLASSES]), b.constant([0, 1])], axis=-1)
    product = b.node("Mul", [b.node("Cast", [hot], to=FLOAT), log_p])
    row = b.node("ReduceSum", [product, b.constant([1])], keepdims=0)
    b.node("Neg", [b.node("ReduceMean", [row], keepdims=0)], "loss")
    return finish(b)


def onehot_equal_dynamo():
    """One-hot as Equal(labels, 0…C−1), cast twice."""
    b = dynamo()
    log_p = b.node("LogSoftmax", ["logits"], axis=-1)
    column = b.node("Unsqueeze", ["labels", b.constant([-1])])
    equal = b.node("Equal", [column, b.constant(np.arange(CLASSES))])
    hot = b.node("Cast", [b.node("Cast", [equal], to=7)], to=FLOAT)
    row = b.node("ReduceSum", [b.node("Mul", [hot, log_p]), b.constant([1])], keepdims=0, noop_with_empty_axes=0)
    b.node("Neg", [dynamo_mean(b, row)], "loss")
    return finish(b)


def onehot_jax():
    """Fixed batch, int32 labels, float OneHot."""
    b = Builder("jax", 21)
    b.input("in_0", [8, CLASSES])
    b.input("in_1", [8], INT32)
    log_p = b.node("LogSoftmax", ["in_0"], axis=1)
    indices = b.node("Cast", ["in_1"], to=7)
    hot = b.node("OneHot", [indices, b.constant(CLASSES), b.constant([0.0, 1.0])], axis=-1)
    row = b.node("ReduceSum", [b.node("Mul", [log_p, hot]), b.constant([1])], keepdims=0)
    b.node("Neg", [b.node("ReduceMean", [row], keepdims=0)], "loss")
    return finish(b)


def sparse_tf():
    """tf2onnx: log-softmax spelled out, one-hot by Range, Equal and Cast."""
    b = start("tf2onnx")
    top = b.node("ReduceMax", ["logits"], axes=[-1], keepdims=1)
    shifted = b.node("Sub", ["logits", top])
    axis = b.constant([-1])
    total = b.node("ReduceSum", [b.node("Exp", [shifted]), axis], keepdims=1)
    log_p = b.node("Sub", [shifted, b.node("Log", [total])])
    zero, count, one = b.constant(0), b.constant(CLASSES), b.constant(1)
    classes = b.node("Range", [zero, count, one])
    equal = b.node("Equal", [b.node("Unsqueeze", ["labels", axis]), classes])
    product = b.node("Mul", [b.node("Cast", [equal], to=FLOAT), log_p])
    row = b.node("Neg", [b.node("ReduceSum", [product, axis], keepdims=0)])
    b.node("ReduceMean", [row], "loss", axes=[0], keepdims=0)
    return finish(b)


def log_sum_exp():
    """logsumexp(z) − z_y."""
    b = start()
    lse = b.node("ReduceLogSumExp", ["logits"], axes=[1], keepdims=0)
    column = b.node("Unsqueeze", ["labels", b.constant([1])])
    own = b.node("Squeeze", [b.node("GatherElements", ["logits", column], axis=1), b.constant([1])])
    b.node("ReduceMean", [b.node("Sub", [lse, own])], "loss", keepdims=0)
    return finish(b)


def log_sum_exp_dynamo():
    b = dynamo()
    axis = b.constant([1])
    lse = b.node("ReduceLogSumExp", ["logits", axis], keepdims=0)
    own = b.node("Squeeze", [b.node("GatherElements", ["logits", b.node("Unsqueeze", ["labels", axis])], axis=1), axis])
    dynamo_mean(b, b.node("Sub", [lse, own]), "loss")
    return finish(b)


def max_sub_exp_sum_log():
    """log-softmax by hand, then the label's entry."""
    b = start()
    top = b.node("ReduceMax", ["logits"], axes=[1], keepdims=1)
    shifted = b.node("Sub", ["logits", top])
    total = b.node("ReduceSum", [b.node("Exp", [shifted]), b.constant([1])], keepdims=1)
    log_p = b.node("Sub", [shifted, b.node("Log", [total])])
    own = b.node("GatherElements", [log_p, b.node("Unsqueeze", ["labels", b.constant([1])])], axis=1)
    b.node("ReduceMean", [b.node("Neg", [own])], "loss", keepdims=0)
    return finish(b)


def log_of_softmax():
    """log(softmax(z) + 1e-12)."""
    b = start()
    p = b.node("Softmax", ["logits"], axis=-1)
    log_p = b.node("Log", [b.node("Add", [p, b.constant(1e-12)])])
    own = b.node("GatherElements", [log_p, b.node("Unsqueeze", ["labels", b.constant([1])])], axis=1)
    b.node("Neg", [b.node("ReduceMean", [own], keepdims=0)], "loss")
    return finish(b)


def log_of_softmax_dynamo():
    """The same after the dynamo optimiser has dropped the 1e-12."""
    b = dynamo()
    log_p = b.node("Log", [b.node("Softmax", ["logits"], axis=-1)])
    own = b.node("GatherElements", [log_p, b.node("Unsqueeze", ["labels", b.constant([1])])], axis=1)
    b.node("Neg", [dynamo_mean(b, own)], "loss")
    return finish(b)


MODELS = {
    f"decomposed/{make.__name__}.onnx": make
    for make in (
        gather, gather_dynamo, onehot, onehot_equal_dynamo, onehot_jax, sparse_tf, log_sum_exp, log_sum_exp_dynamo,
        max_sub_exp_sum_log, log_of_softmax, log_of_softmax_dynamo,
    )
}
