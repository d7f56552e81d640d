"""The networks that are trained here: forward pass up to the logits, or up to the loss."""

import numpy as np
from builder import FLOAT, INT64, Builder, check


def mlp(hidden=16, classes=10, seed=1, inputs=784):
    """inputs → hidden → classes. input [N, inputs], logits [N, classes]."""
    generator = np.random.default_rng(seed)
    b = Builder("hand")
    b.input("input", ["N", inputs])
    _dense(b, "input", "fc1", generator, inputs, hidden, "h1")
    b.node("Relu", ["h1"], "a1")
    _dense(b, "a1", "fc2", generator, hidden, classes, "logits")
    b.output("logits", ["N", classes])
    return check(b.model("mlp"))


def mlp_internal_loss(float16_logits=False, hidden=4, classes=10, seed=1):
    """An MLP that ends in com.microsoft::SoftmaxCrossEntropyLossInternal, whose ignore_index (3) is an input.

    ``float16_logits``: the logits pass through float16; ONNX Runtime Training fuses the cast back into the loss.
    """
    generator = np.random.default_rng(seed)
    b = Builder("hand")
    b.domains.append("com.microsoft")
    b.input("input", ["N", 784])
    b.input("labels", ["N"], INT64)
    _dense(b, "input", "fc1", generator, 784, hidden, "h1")
    b.node("Relu", ["h1"], "a1")
    _dense(b, "a1", "fc2", generator, hidden, classes, "wide" if float16_logits else "logits")
    if float16_logits:
        b.node("Cast", [b.node("Cast", ["wide"], "narrow", to=10)], "logits", to=1)
    b.initializer("ignored", np.array(3, np.int64))
    inputs, outputs = ["logits", "labels", "", "ignored"], ["loss", "log_prob"]
    b.node("SoftmaxCrossEntropyLossInternal", inputs, outputs, domain="com.microsoft", reduction="mean")
    b.output("loss")
    return b.model("mlp")  # onnx.checker knows nothing of com.microsoft


def mlp_float16_internal_loss():
    """``mlp_internal_loss`` with float16 logits."""
    return mlp_internal_loss(float16_logits=True)


def cnn(channels=(4, 8), classes=10, seed=1):
    """(conv 3×3, relu, max pool 2×2) twice, then one linear layer. input [N, 1, 28, 28], logits [N, classes]."""
    generator = np.random.default_rng(seed)
    b = Builder("hand")
    x = b.input("input", ["N", 1, 28, 28])
    before = 1
    for number, width in enumerate(channels, 1):
        _parameter(b, f"conv{number}.weight", generator, (width, before, 3, 3), before * 9)
        b.initializer(f"conv{number}.bias", np.zeros(width, np.float32))
        inputs = [x, f"conv{number}.weight", f"conv{number}.bias"]
        b.node("Conv", inputs, f"c{number}", kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[1, 1])
        b.node("Relu", [f"c{number}"], f"r{number}")
        x = b.node("MaxPool", [f"r{number}"], f"p{number}", kernel_shape=[2, 2], strides=[2, 2])
        before = width
    b.node("Flatten", [x], "flat", axis=1)
    _dense(b, "flat", "fc", generator, before * 7 * 7, classes, "logits")
    b.output("logits", ["N", classes], FLOAT)
    return check(b.model("cnn"))


def lenet(classes=10, seed=1):
    """LeNet-5 (LeCun et al., 1998) with Relu and max pooling, 61706 numbers. input [N, 1, 28, 28], logits [N, classes]."""
    generator = np.random.default_rng(seed)
    b = Builder("hand")
    x = b.input("input", ["N", 1, 28, 28])
    for number, (before, width, pad) in enumerate([(1, 6, 2), (6, 16, 0)], 1):
        _parameter(b, f"conv{number}.weight", generator, (width, before, 5, 5), before * 25)
        b.initializer(f"conv{number}.bias", np.zeros(width, np.float32))
        inputs = [x, f"conv{number}.weight", f"conv{number}.bias"]
        b.node("Conv", inputs, f"c{number}", kernel_shape=[5, 5], pads=[pad] * 4, strides=[1, 1])
        b.node("Relu", [f"c{number}"], f"r{number}")
        x = b.node("MaxPool", [f"r{number}"], f"p{number}", kernel_shape=[2, 2], strides=[2, 2])
    x = b.node("Flatten", [x], "flat", axis=1)
    for number, (before, width) in enumerate([(16 * 5 * 5, 120), (120, 84)], 1):
        _dense(b, x, f"fc{number}", generator, before, width, f"h{number}")
        x = b.node("Relu", [f"h{number}"], f"a{number}")
    _dense(b, x, "fc3", generator, 84, classes, "logits")
    b.output("logits", ["N", classes], FLOAT)
    return check(b.model("lenet"))


def _parameter(builder, name, generator, shape, fan_in):
    builder.initializer(name, (generator.standard_normal(shape) * (2.0 / fan_in) ** 0.5).astype(np.float32))


def _dense(builder, x, name, generator, width_in, width_out, output):
    _parameter(builder, f"{name}.weight", generator, (width_out, width_in), width_in)
    builder.initializer(f"{name}.bias", np.zeros(width_out, np.float32))
    builder.node("Gemm", [x, f"{name}.weight", f"{name}.bias"], output, transB=1)
