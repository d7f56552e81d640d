"""Losses that are not cross entropy: `patch` must leave them alone and say so."""

from builder import FLOAT, check
from cross_entropy import CLASSES, finish, sce, start


def focal():
    b = start()
    ce = sce(b, output=None, reduction="none", ignore_index=-100)
    rest = b.node("Sub", [b.constant(1.0), b.node("Exp", [b.node("Neg", [ce])])])
    product = b.node("Mul", [b.node("Pow", [rest, b.constant(2.0)]), ce])
    b.node("ReduceMean", [product], "loss", keepdims=0)
    return finish(b)


def mean_squared_error():
    b = start(labels=("batch", CLASSES), label=FLOAT)
    difference = b.node("Sub", [b.node("Softmax", ["logits"], axis=1), "labels"])
    b.node("ReduceMean", [b.node("Mul", [difference, difference])], "loss", keepdims=0)
    return finish(b)


def binary_cross_entropy():
    b = start(labels=("batch", CLASSES), label=FLOAT)
    p = b.node("Sigmoid", ["logits"])
    yes = b.node("Mul", ["labels", b.node("Log", [p])])
    rest = b.node("Log", [b.node("Sub", [b.constant([1.0]), p])])
    no = b.node("Mul", [b.node("Sub", [b.constant([1.0]), "labels"]), rest])
    b.node("ReduceMean", [b.node("Neg", [b.node("Add", [yes, no])])], "loss", keepdims=0)
    return finish(b)


def kl_divergence():
    """Σ t·(log t − log softmax z), averaged over the batch."""
    b = start("dynamo", 18, shape=("s88", CLASSES), labels=("s88", CLASSES), label=FLOAT)
    log_p = b.node("LogSoftmax", ["logits"], axis=-1)
    difference = b.node("Sub", [b.node("Log", ["labels"]), log_p])
    row = b.node("ReduceSum", [b.node("Mul", ["labels", difference]), b.constant([1])], keepdims=0)
    b.node("ReduceMean", [row], "loss", keepdims=0)
    return finish(b)


def soft_labels_tf():
    """tf.nn.softmax_cross_entropy_with_logits: the labels are a distribution, there is no single label."""
    b = start("tf2onnx", shape=("n", CLASSES), labels=("n", CLASSES), label=FLOAT)
    product = b.node("Mul", ["labels", b.node("LogSoftmax", ["logits"], axis=-1)])
    total = b.node("ReduceSum", [product, b.constant([-1], name="axes")], keepdims=1, noop_with_empty_axes=1)
    row = b.node("Squeeze", [b.node("Mul", [b.constant(-1.0), total]), b.constant([1], name="one")])
    b.node("ReduceMean", [row], "loss", axes=[0], keepdims=0)
    return finish(b)


MODELS = {
    f"other_losses/{make.__name__}.onnx": make
    for make in (focal, mean_squared_error, binary_cross_entropy, kl_divergence, soft_labels_tf)
}
