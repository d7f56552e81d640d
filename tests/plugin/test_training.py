"""The operators of training against numpy in float64."""

import numpy as np
import pytest
from models import DOMAIN
from onnx import TensorProto, helper

ONNX_TYPE = {np.dtype(np.float32): TensorProto.FLOAT, np.dtype(np.int64): TensorProto.INT64}


def model(op, feeds, outputs, opset=17, **attrs):
    """One node; the inputs in the order of `feeds`, with sizes that are not known beforehand."""
    inputs = [helper.make_tensor_value_info(name, ONNX_TYPE[value.dtype], [None] * value.ndim)
              for name, value in feeds.items()]
    made = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs]
    graph = helper.make_graph([helper.make_node(op, list(feeds), outputs, domain=DOMAIN, **attrs)], "training", inputs, made)
    imports = [helper.make_opsetid("", opset), helper.make_opsetid(DOMAIN, 1)]
    return helper.make_model(graph, opset_imports=imports, ir_version=8)


@pytest.fixture
def compute(run):
    """compute(op, feeds, outputs, **attributes) -> list of arrays"""

    def go(op, feeds, outputs, threads=1, **attrs):
        feeds = {name: np.asarray(value) for name, value in feeds.items()}
        found = run(model(op, feeds, outputs, **attrs), feeds, intra_op_num_threads=threads)
        return [found[name] for name in outputs]

    return go


def numbers(shape, seed):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def close(got, want, tolerance=2e-5):
    assert got.dtype == np.float32 and got.shape == np.shape(want)
    np.testing.assert_allclose(np.float64(got), want, rtol=tolerance, atol=tolerance * (1 + np.abs(want).max(initial=0)))


def test_adamw(compute):
    beta1, beta2, epsilon, decay, rate, step, scale = 0.9, 0.999, 1e-8, 0.1, 0.01, 7, 0.5
    p, g, m, v = numbers((5, 7), 1), numbers((5, 7), 2), numbers((5, 7), 3), numbers((5, 7), 4) ** 2
    feeds = dict(parameter=p, gradient=g, exp_avg=m, exp_avg_sq=v, learning_rate=np.float32(rate), step=np.int64(step),
                 scale=np.float32(scale))
    got = compute("AdamW", feeds, ["new_p", "new_m", "new_v"], beta1=beta1, beta2=beta2, epsilon=epsilon,
                  weight_decay=decay)
    p, g, m, v = (np.float64(x) for x in (p, g * np.float32(scale), m, v))
    m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g**2
    p = p * (1 - rate * decay) - rate * (m / (1 - beta1**step)) / (np.sqrt(v / (1 - beta2**step)) + epsilon)
    for found, want in zip(got, [p, m, v]):
        close(found, want, 1e-5)


CONVOLUTIONS = [
    # channels, outputs, size, kernel, strides, pads, dilations, group
    (3, 20, (9, 8), (3, 3), (1, 1), (1, 1, 1, 1), (1, 1), 1),
    (4, 6, (8, 9), (3, 2), (2, 3), (0, 1, 1, 0), (1, 1), 2),
    (5, 5, (7, 7), (3, 3), (2, 2), (2, 2, 2, 2), (2, 1), 5),
    (16, 3, (4, 4), (1, 1), (1, 1), (0, 0, 0, 0), (1, 1), 1),
]


def convolution(x, w, dy, strides, pads, dilations, group):
    """y without bias, dx, dw."""
    x, w, dy = (np.float64(a) for a in (x, w, dy))
    padded = np.pad(x, [(0, 0), (0, 0), (pads[0], pads[2]), (pads[1], pads[3])])
    rows, columns = dy.shape[2:]
    y, d_padded, dw = np.zeros_like(dy), np.zeros_like(padded), np.zeros_like(w)
    per_in, per_out = x.shape[1] // group, w.shape[0] // group
    for g in range(group):
        inputs, outputs = slice(g * per_in, (g + 1) * per_in), slice(g * per_out, (g + 1) * per_out)
        for i in range(w.shape[2]):
            for j in range(w.shape[3]):
                top, left = i * dilations[0], j * dilations[1]
                place = (slice(None), inputs, slice(top, top + (rows - 1) * strides[0] + 1, strides[0]),
                         slice(left, left + (columns - 1) * strides[1] + 1, strides[1]))
                y[:, outputs] += np.einsum("nchw,kc->nkhw", padded[place], w[outputs, :, i, j])
                d_padded[place] += np.einsum("nkhw,kc->nchw", dy[:, outputs], w[outputs, :, i, j])
                dw[outputs, :, i, j] += np.einsum("nkhw,nchw->kc", dy[:, outputs], padded[place])
    dx = d_padded[:, :, pads[0]:pads[0] + x.shape[2], pads[1]:pads[1] + x.shape[3]]
    return y, dx, dw


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("case", CONVOLUTIONS)
def test_convolution(compute, case, threads):
    channels, k, size, kernel, strides, pads, dilations, group = case
    x, w, b = numbers((3, channels, *size), 1), numbers((k, channels // group, *kernel), 2), numbers(k, 3)
    out = [(size[i] + pads[i] + pads[i + 2] - (kernel[i] - 1) * dilations[i] - 1) // strides[i] + 1 for i in range(2)]
    dy = numbers((3, k, *out), 4)
    attrs = dict(strides=strides, pads=pads, dilations=dilations, group=group, threads=threads)
    y, dx, dw = convolution(x, w, dy, strides, pads, dilations, group)
    close(compute("Conv", dict(x=x, w=w, b=b), ["y"], **attrs)[0], y + np.float64(b)[:, None, None])
    close(compute("ConvGradInput", dict(dy=dy, w=w, x=x), ["dx"], **attrs)[0], dx)
    found = compute("ConvGradWeight", dict(dy=dy, x=x, w=w), ["dw", "db"], **attrs)
    close(found[0], dw)
    close(found[1], np.float64(dy).sum((0, 2, 3)))


def pool(x, dy):
    """2 × 2 side by side: y, dx."""
    n, c, height, width = x.shape
    windows = x.reshape(n, c, height // 2, 2, width // 2, 2).transpose(0, 1, 2, 4, 3, 5).reshape(*dy.shape, 4)
    spread = np.eye(4)[windows.argmax(-1)] * dy[..., None]
    return windows.max(-1), spread.reshape(n, c, height // 2, width // 2, 2, 2).transpose(0, 1, 2, 4, 3, 5).reshape(x.shape)


POOL = dict(kernel_shape=[2, 2], strides=[2, 2], pads=[0, 0, 0, 0], dilations=[1, 1], ceil_mode=0)


def test_max_pool(compute):
    x, dy = np.maximum(numbers((2, 3, 6, 8), 1), 0), numbers((2, 3, 3, 4), 2)
    y, dx = pool(x, dy)
    close(compute("MaxPool", dict(x=x), ["y"], **POOL)[0], y, 0)
    close(compute("MaxPoolGrad", dict(dy=dy, x=x), ["dx"], **POOL)[0], dx, 0)


@pytest.mark.parametrize("pooled", [False, True])
def test_batch_normalization_with_relu(compute, pooled):
    x = numbers((4, 3, 6, 8), 1) * 2 + 5
    scale, bias, mean, var = numbers(3, 2), numbers(3, 3), numbers(3, 4), numbers(3, 5) ** 2
    dy = numbers((4, 3, 3, 4) if pooled else x.shape, 6)
    op, attrs = ("BatchNormalizationReluMaxPool", POOL) if pooled else ("BatchNormalizationRelu", {})
    attrs = dict(attrs, epsilon=1e-5, momentum=0.75)
    outputs = ["y", "running_mean", "running_var", "mean", "var"]
    got = compute(op, dict(x=x, scale=scale, B=bias, input_mean=mean, input_var=var), outputs, **attrs)
    wide, column = np.float64(x), (slice(None), None, None)
    batch_mean, batch_var = wide.mean((0, 2, 3)), wide.var((0, 2, 3))
    inverse = 1 / np.sqrt(batch_var + 1e-5)
    hat = (wide - batch_mean[column]) * inverse[column]
    y = np.maximum(hat * np.float64(scale)[column] + np.float64(bias)[column], 0)
    upstream = np.float64(dy)
    full = y
    if pooled:
        y, upstream = pool(full, upstream)
    for found, want in zip(got, [y, 0.75 * mean + 0.25 * batch_mean, 0.75 * var + 0.25 * batch_var, batch_mean, batch_var]):
        close(found, want)
    g = upstream * (full > 0)
    sums = [(g * hat).sum((0, 2, 3)), g.sum((0, 2, 3))]
    count = x.size / 3
    dx = (np.float64(scale) * inverse)[column] * (g - sums[1][column] / count - hat * sums[0][column] / count)
    feeds = dict(dy=dy, x=x, scale=scale, B=bias, mean=got[3], var=got[4])
    for found, want in zip(compute(op + "Grad", feeds, ["dx", "dscale", "dB"], **attrs), [dx, *sums]):
        close(found, want, 1e-4)


def test_batch_normalization(compute):
    x, dy, scale = numbers((5, 3, 7), 1), numbers((5, 3, 7), 2), numbers(3, 3)
    got = compute("BatchNormalizationGrad", dict(dy=dy, x=x, scale=scale), ["dx", "dscale", "dB"], epsilon=1e-5)
    wide, g, column = np.float64(x), np.float64(dy), (slice(None), None)
    inverse = 1 / np.sqrt(wide.var((0, 2)) + 1e-5)
    hat = (wide - wide.mean((0, 2))[column]) * inverse[column]
    dscale, dbias = (g * hat).sum((0, 2)), g.sum((0, 2))
    dx = (scale * inverse)[column] * (g - dbias[column] / 35 - hat * dscale[column] / 35)
    for found, want in zip(got, [dx, dscale, dbias]):
        close(found, want)


@pytest.mark.parametrize("op, feeds, outputs, attrs, text", [
    ("Conv", dict(x=numbers((1, 3, 4, 4), 1), w=numbers((2, 2, 3, 3), 2), b=numbers(2, 3)), ["y"], {}, "multiple of group"),
    ("ConvGradInput", dict(dy=numbers((1, 2, 4, 4), 1), w=numbers((2, 3, 3, 3), 2), x=numbers((1, 3, 4, 4), 3)), ["dx"],
     dict(pads=[0, 0, 0, 0]), "make an output of shape"),
    ("MaxPoolGrad", dict(dy=numbers((1, 1, 3, 2), 1), x=numbers((1, 1, 4, 4), 2)), ["dx"], POOL, "makes an output of shape"),
    ("Conv", dict(x=numbers((3, 4, 4), 1), w=numbers((2, 3, 3, 3), 2), b=numbers(2, 3)), ["y"], {}, "must have 4 axes"),
])
def test_what_does_not_fit_is_named(compute, op, feeds, outputs, attrs, text):
    with pytest.raises(Exception, match=text) as error:
        compute(op, feeds, outputs, **attrs)
    assert op in str(error.value)


@pytest.mark.parametrize("attrs, text", [
    (dict(strides=[0, 1]), "strides is"), (dict(pads=[1, 1]), "pads must be a list of 4 ints"),
    (dict(strides=1.5), "strides must be a list of 2 ints"),
    (dict(group=0), "group is 0"),
])
def test_wrong_attributes_are_named(compute, attrs, text):
    feeds = dict(x=numbers((1, 3, 4, 4), 1), w=numbers((2, 3, 3, 3), 2), b=numbers(2, 3))
    with pytest.raises(Exception, match=text):
        compute("Conv", feeds, ["y"], **attrs)
