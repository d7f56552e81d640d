"""Cross entropy as SoftmaxCrossEntropyLoss or NegativeLogLikelihoodLoss, in the dressings exporters give it."""

import numpy as np
from builder import DOUBLE, FLOAT, FLOAT16, INT32, INT64, Builder, check, linear

CLASSES = 10
WEIGHTS = np.linspace(0.5, 1.5, CLASSES).astype(np.float32)
FX_NODE = (
    "%cross_entropy_loss : [num_users=1] = call_function[target=torch.ops.aten.cross_entropy_loss.default]"
    "(args = (%logits, %labels, None, 1, -100, 0.1), kwargs = {})"
)


def start(exporter="torchscript", opset=17, shape=("batch", CLASSES), labels=("batch",), dtype=FLOAT, label=INT64):
    """A graph with the inputs logits and labels."""
    b = Builder(exporter, opset)
    b.input("logits", list(shape), dtype)
    b.input("labels", list(labels), label)
    return b


def finish(b, shape=(), dtype=FLOAT):
    """Makes `loss` the output and checks the model."""
    b.output("loss", shape, dtype)
    return check(b.model("loss"))


def sce(b, logits="logits", labels="labels", output="loss", weights=None, **attributes):
    inputs = [logits, labels] + ([weights] if weights else [])
    attributes.setdefault("reduction", "mean")
    return b.node("SoftmaxCrossEntropyLoss", inputs, output, **attributes)


def mean(opset):
    b = start(opset=opset)
    sce(b, ignore_index=-100)
    return finish(b)


def reduction_sum():
    b = start()
    sce(b, reduction="sum")
    return finish(b)


def reduction_none():
    b = start()
    sce(b, reduction="none")
    return finish(b, ["batch"])


def two_outputs_read():
    """The second output, log_prob, is an output of the graph."""
    b = start("hand")
    sce(b, output=["loss", "log_prob"])
    b.output("log_prob", ["batch", CLASSES])
    return finish(b)


def two_outputs_unread():
    b = start("hand")
    sce(b, output=["loss", "log_prob"])
    return finish(b)


def weights():
    b = start()
    sce(b, weights=b.constant(WEIGHTS), ignore_index=-100)
    return finish(b)


def weights_and_ignore_index():
    b = start("hand")
    sce(b, weights=b.constant(WEIGHTS, name="class_weights"), ignore_index=3)
    return finish(b)


def ncd():
    """Logits [N, C, d], labels [N, d]."""
    b = start(shape=("batch", CLASSES, 7), labels=("batch", 7))
    sce(b, ignore_index=-100)
    return finish(b)


def ncd_none():
    b = start(shape=("batch", CLASSES, 7), labels=("batch", 7))
    sce(b, reduction="none", ignore_index=2)
    return finish(b, ["batch", 7])


def bsc_flat():
    """Logits [B, S, C] and labels [B, S] flattened to rows."""
    b = start(shape=("batch", 7, CLASSES), labels=("batch", 7))
    rows = b.node("Reshape", ["logits", b.constant([-1, CLASSES])], allowzero=0)
    flat = b.node("Reshape", ["labels", b.constant([-1])], allowzero=0)
    sce(b, rows, flat, ignore_index=-100)
    return finish(b)


def bsc_transpose():
    """Logits [B, S, C] with the classes moved to axis 1."""
    b = start(shape=("batch", 7, CLASSES), labels=("batch", 7))
    sce(b, b.node("Transpose", ["logits"], perm=[0, 2, 1]), ignore_index=-100)
    return finish(b)


def language_model_shift():
    """Position t predicts token t + 1: both sides sliced, then flattened."""
    b = start(shape=("batch", 7, CLASSES), labels=("batch", 7))
    one, zero, last, step = b.constant([1]), b.constant([0]), b.constant([-1]), b.constant([1])
    rows = b.node("Reshape", [b.node("Slice", ["logits", zero, last, one, step]), b.constant([-1, CLASSES])], allowzero=0)
    axis, first, end, stride = b.constant([1]), b.constant([1]), b.constant([2**63 - 1]), b.constant([1])
    flat = b.node("Reshape", [b.node("Slice", ["labels", first, end, axis, stride]), b.constant([-1])], allowzero=0)
    sce(b, rows, flat, ignore_index=-100)
    return finish(b)


def language_model_shift_dynamo():
    b = start("dynamo", 18, shape=("s88", 7, CLASSES), labels=("s88", 7))
    zero, last, one, end = b.constant([0]), b.constant([-1]), b.constant([1]), b.constant([2**63 - 1])
    rows = b.node("Reshape", [b.node("Slice", ["logits", zero, last, one, one]), b.constant([-1, CLASSES])], allowzero=1)
    flat = b.node("Reshape", [b.node("Slice", ["labels", one, end, one, one]), last], allowzero=1)
    sce(b, rows, flat, ignore_index=-100)
    return finish(b)


def label_smoothing_in_metadata():
    """PyTorch's dynamo exporter drops label_smoothing=0.1; only the node's metadata still has it."""
    b = start("dynamo", 18, shape=("s88", CLASSES), labels=("s88",))
    sce(b, ignore_index=-100, metadata={"pkg.torch.onnx.fx_node": FX_NODE})
    return finish(b)


def float16():
    b = start("hand", dtype=FLOAT16)
    sce(b)
    return finish(b, dtype=FLOAT16)


def double():
    b = start("hand", dtype=DOUBLE)
    sce(b)
    return finish(b, dtype=DOUBLE)


def int32_labels():
    b = start("hand", label=INT32)
    sce(b)
    return finish(b)


def of_softmax():
    """A usual bug: probabilities go into a loss that takes logits."""
    b = start()
    sce(b, b.node("Softmax", ["logits"], axis=1))
    return finish(b)


def of_log_softmax():
    b = start()
    sce(b, b.node("LogSoftmax", ["logits"], axis=1))
    return finish(b)


def nll_of_log_softmax():
    b = start("dynamo", 18, shape=("s88", CLASSES), labels=("s88",))
    b.node("NegativeLogLikelihoodLoss", [b.node("LogSoftmax", ["logits"], axis=-1), "labels"], "loss",
           ignore_index=-100, reduction="mean")
    return finish(b)


def nll_of_log_softmax_weights():
    b = start("dynamo", 18, shape=("s88", CLASSES), labels=("s88",))
    inputs = [b.node("LogSoftmax", ["logits"], axis=1), "labels", b.constant(WEIGHTS)]
    b.node("NegativeLogLikelihoodLoss", inputs, "loss", ignore_index=3, reduction="sum")
    return finish(b)


def network():
    """An MLP and its loss in one graph, logits an output too."""
    b = Builder("torchscript")
    b.input("input", ["batch", 16])
    b.input("labels", ["batch"], INT64)
    generator = np.random.default_rng(7)
    a = b.node("Relu", [linear(b, "input", "fc1", generator, 16, 8)])
    linear(b, a, "fc2", generator, 8, CLASSES, "logits")
    sce(b, ignore_index=-100)
    b.output("logits", ["batch", CLASSES])
    return finish(b)


MODELS = {
    **{f"cross_entropy/mean.op{opset}.onnx": (lambda opset=opset: mean(opset)) for opset in (12, 13, 17, 21)},
    **{
        f"cross_entropy/{make.__name__}.onnx": make
        for make in (
            reduction_sum, reduction_none, two_outputs_read, two_outputs_unread, weights, weights_and_ignore_index,
            ncd, ncd_none, bsc_flat, bsc_transpose, language_model_shift, language_model_shift_dynamo,
            label_smoothing_in_metadata, float16, double, int32_labels, of_softmax, of_log_softmax,
            nll_of_log_softmax, nll_of_log_softmax_weights, network,
        )
    },
}
