"""Six small classifiers of the kinds that are trained: the models of test_whole_models.py, random weights by seed.

Each comes in two dresses that are the same function. The plain one has only operators that ONNX Runtime Training 1.19.2
differentiates; the ``modern`` one has HardSwish, HardSigmoid and Gelu whole and LayerNormalization with one output.
"""

import pathlib
import sys

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "onnx_models" / "scripts"))
from builder import INT64, Builder, check  # noqa: E402

CLASSES, TOKENS, WORDS, WIDTH = 5, 6, 50, 8


class Network:
    """A graph in the making that draws its parameters."""

    def __init__(self, seed, modern=False):
        self.graph = Builder("hand", opset=20 if modern else 17)
        self.modern = modern
        self.generator = np.random.default_rng(seed)

    def node(self, op, inputs, output=None, **attributes):
        return self.graph.node(op, inputs, output, **attributes)

    def constant(self, value):
        """A constant of the exporter's, which is no parameter."""
        out = self.graph._name("constant")
        kind = {"value_ints": value} if isinstance(value, list) else {"value_float": float(value)}
        return self.node("Constant", [], out, **kind)

    def parameter(self, name, *shape, scale=0.2, around=0.0):
        values = around + scale * self.generator.standard_normal(shape)
        return self.graph.initializer(name, values.astype(np.float32))

    def dense(self, x, name, wide, narrow, output=None):
        inputs = [x, self.parameter(f"{name}.w", narrow, wide, scale=wide**-0.5), self.parameter(f"{name}.b", narrow)]
        return self.node("Gemm", inputs, output, transB=1)

    def convolution(self, x, name, before, after, size=3, stride=1, group=1, bias=False):
        fan = before // group * size * size
        inputs = [x, self.parameter(f"{name}.w", after, before // group, size, size, scale=fan**-0.5)]
        inputs += [self.parameter(f"{name}.b", after)] if bias else []
        window = {"kernel_shape": [size, size], "strides": [stride, stride], "pads": [size // 2] * 4}
        return self.node("Conv", inputs, group=group, **window)

    def normalized(self, x, name, width):
        """BatchNormalization as exported for inference; both trainers turn it into the training form."""
        inputs = [x, self.parameter(f"{name}.w", width, around=1.0), self.parameter(f"{name}.b", width)]
        inputs += [self.parameter(f"{name}.mean", width), self.graph.initializer(f"{name}.var", np.ones(width, "f4"))]
        return self.node("BatchNormalization", inputs, epsilon=1e-3)

    def layer_normalized(self, x, name):
        inputs = [x, self.parameter(f"{name}.w", WIDTH, around=1.0), self.parameter(f"{name}.b", WIDTH)]
        # ONNX Runtime Training fails without the two other outputs
        outputs = None if self.modern else [f"{name}.out", f"{name}.mean", f"{name}.scale"]
        return self.node("LayerNormalization", inputs, outputs, axis=-1, epsilon=1e-5)

    def mean(self, x, axes):
        if self.modern:
            return self.node("ReduceMean", [x, self.constant(axes)], keepdims=0)
        return self.node("ReduceMean", [x], axes=axes, keepdims=0)

    def averaged(self, x, channels, size):
        """Average pooling of squares of 2 by 2 pixels."""
        if self.modern:
            return self.node("AveragePool", [x], kernel_shape=[2, 2], strides=[2, 2])
        # the gradient of AveragePool divides by zero in ONNX Runtime Training and takes the process with it
        return self.mean(self.node("Reshape", [x, self.constant([0, channels, size // 2, 2, size // 2, 2])]), [3, 5])

    def times(self, x, factor):
        return self.node("Mul", [x, self.constant(factor)])

    def hard_sigmoid(self, x):
        """clip((x + 3) / 6, 0, 1)."""
        if self.modern:
            return self.node("HardSigmoid", [x], alpha=1 / 6, beta=0.5)
        six = self.node("Clip", [self.node("Add", [x, self.constant(3)]), self.constant(0), self.constant(6)])
        return self.times(six, 1 / 6)

    def hard_swish(self, x):
        """x · hard_sigmoid(x)."""
        return self.node("HardSwish", [x]) if self.modern else self.node("Mul", [x, self.hard_sigmoid(x)])

    def gelu(self, x):
        """x · (1 + erf(x / √2)) / 2."""
        if self.modern:
            return self.node("Gelu", [x])
        tail = self.node("Add", [self.node("Erf", [self.times(x, 0.5**0.5)]), self.constant(1)])
        return self.times(self.node("Mul", [x, tail]), 0.5)

    def head(self, x, wide):
        """Mean over the pixels, then one dense layer to the logits."""
        flat = self.node("Flatten", [self.node("GlobalAveragePool", [x])])
        self.logits(flat, wide)

    def logits(self, x, wide):
        self.dense(x, "head", wide, CLASSES, "logits")
        self.graph.output("logits", ["N", CLASSES])

    def images(self, channels, size):
        return self.graph.input("x", ["N", channels, size, size])

    def model(self, name):
        return check(self.graph.model(name))


def mlp(**options):
    """Dense layers with Relu, Tanh and Sigmoid."""
    n = Network(1, **options)
    x, wide = n.graph.input("x", ["N", 12]), 12
    for number, activation in enumerate(["Relu", "Tanh", "Sigmoid"]):
        x, wide = n.node(activation, [n.dense(x, f"fc{number}", wide, 9)]), 9
    n.logits(x, wide)
    return n.model("mlp")


def lenet(**options):
    """5×5 convolutions with biases, max and average pooling, two dense layers."""
    n = Network(2, **options)
    x = n.node("Relu", [n.convolution(n.images(1, 12), "conv1", 1, 4, size=5, bias=True)])
    x = n.node("MaxPool", [x], kernel_shape=[2, 2], strides=[2, 2])
    x = n.node("Relu", [n.convolution(x, "conv2", 4, 6, size=5, bias=True)])
    x = n.node("Flatten", [n.averaged(x, 6, 6)])
    n.logits(n.node("Relu", [n.dense(x, "fc1", 54, 16)]), 16)
    return n.model("lenet")


def bn_cnn(**options):
    """Convolutions with and without a bias, each in front of a BatchNormalization."""
    n = Network(3, **options)
    x = n.convolution(n.images(2, 9), "conv1", 2, 4, bias=True)
    x = n.node("Relu", [n.normalized(x, "bn1", 4)])
    x = n.convolution(x, "conv2", 4, 6, stride=2)
    x = n.node("LeakyRelu", [n.normalized(x, "bn2", 6)], alpha=0.1)
    n.head(x, 6)
    return n.model("bn_cnn")


def resnet(**options):
    """A stem with overlapping max pooling, a block with an identity, a block that halves the picture."""
    n = Network(4, **options)
    x = n.node("Relu", [n.normalized(n.convolution(n.images(3, 16), "stem", 3, 4, stride=2), "stem.bn", 4)])
    x = n.node("MaxPool", [x], kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    for name, before, after, stride in [("block1", 4, 4, 1), ("block2", 4, 6, 2)]:
        y = n.convolution(x, f"{name}.conv1", before, after, stride=stride)
        y = n.node("Relu", [n.normalized(y, f"{name}.bn1", after)])
        y = n.normalized(n.convolution(y, f"{name}.conv2", after, after), f"{name}.bn2", after)
        if stride > 1:
            x = n.convolution(x, f"{name}.short", before, after, size=1, stride=stride)
            x = n.normalized(x, f"{name}.short.bn", after)
        x = n.node("Relu", [n.node("Add", [y, x])])
    n.head(x, 6)
    return n.model("resnet")


def mobilenet(**options):
    """Inverted residuals as in MobileNetV3: 1×1 to more channels, depthwise, squeeze and excitation, 1×1 back."""
    n = Network(5, **options)
    x = n.hard_swish(n.normalized(n.convolution(n.images(3, 12), "stem", 3, 4, stride=2), "stem.bn", 4))
    for name, before, wide, after, size, stride in [("block1", 4, 8, 4, 3, 1), ("block2", 4, 12, 6, 5, 2)]:
        y = n.hard_swish(n.normalized(n.convolution(x, f"{name}.expand", before, wide, size=1), f"{name}.bn1", wide))
        y = n.convolution(y, f"{name}.depthwise", wide, wide, size=size, stride=stride, group=wide)
        y = n.hard_swish(n.normalized(y, f"{name}.bn2", wide))
        squeezed = n.node("GlobalAveragePool", [y])
        squeezed = n.node("Relu", [n.convolution(squeezed, f"{name}.squeeze", wide, 4, size=1, bias=True)])
        gate = n.hard_sigmoid(n.convolution(squeezed, f"{name}.excite", 4, wide, size=1, bias=True))
        y = n.convolution(n.node("Mul", [y, gate]), f"{name}.project", wide, after, size=1)
        y = n.normalized(y, f"{name}.bn3", after)
        x = n.node("Add", [y, x]) if stride == 1 else y
    n.head(x, 6)
    return n.model("mobilenet")


def transformer(**options):
    """Words and positions, one layer of attention with two heads and Gelu, the mean over the tokens."""
    n = Network(6, **options)
    words = n.node("Gather", [n.parameter("words", WORDS, WIDTH), n.graph.input("x", ["N", TOKENS], INT64)])
    x = n.node("Add", [words, n.parameter("positions", TOKENS, WIDTH)])
    y = attention(n, n.layer_normalized(x, "ln1"))
    x = n.node("Add", [x, y])
    y = n.gelu(affine(n, n.layer_normalized(x, "ln2"), "up", WIDTH, 2 * WIDTH))
    x = n.node("Add", [x, affine(n, y, "down", 2 * WIDTH, WIDTH)])
    n.logits(n.mean(n.layer_normalized(x, "ln3"), [1]), WIDTH)
    return n.model("transformer")


def affine(n, x, name, wide, narrow):
    product = n.node("MatMul", [x, n.parameter(f"{name}.w", wide, narrow, scale=wide**-0.5)])
    return n.node("Add", [product, n.parameter(f"{name}.b", narrow)])


def attention(n, x, heads=2):
    """softmax(q·kᵀ / √d)·v per head."""
    def of_heads(name, order):
        parts = n.node("Reshape", [affine(n, x, name, WIDTH, WIDTH), n.constant([0, TOKENS, heads, WIDTH // heads])])
        return n.node("Transpose", [parts], perm=order)

    scores = n.node("MatMul", [of_heads("q", [0, 2, 1, 3]), of_heads("k", [0, 2, 3, 1])])
    weights = n.node("Softmax", [n.times(scores, (WIDTH / heads) ** -0.5)], axis=-1)
    mixed = n.node("MatMul", [weights, of_heads("v", [0, 2, 1, 3])])
    mixed = n.node("Transpose", [mixed], perm=[0, 2, 1, 3])
    return affine(n, n.node("Reshape", [mixed, n.constant([0, TOKENS, WIDTH])]), "mixed", WIDTH, WIDTH)


NETWORKS = {network.__name__: network for network in (mlp, lenet, bn_cnn, resnet, mobilenet, transformer)}
