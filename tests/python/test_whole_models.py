"""`elonnx grad` on whole models: every parameter's gradient is that of ONNX Runtime Training 1.19.2, its last release.

Six small models are made here; exporters' own are taken from ../shared/models where that is, and so are losses as PyTorch
exports them, with PyTorch's own gradients.
"""

import pathlib
import re
import subprocess

import numpy as np
import onnx
import pytest
import whole_models
from onnx import helper, numpy_helper
from session import load
from training_steps import first_values, gradients, make

SHARED = pathlib.Path(__file__).resolve().parents[3] / "shared" / "models"
# classifiers that end at their logits, in an opset that ONNX Runtime Training takes
PATTERNS = ["exports_models/*784.*.onnx", "exports_models/lenet*.onnx", "exports_models/mobilenet*.onnx",
            "exports_models/tiny_transformer*.onnx", "ort_training/ref_*/base_model.onnx"]
EXPORTS = sorted(str(path.relative_to(SHARED)) for pattern in PATTERNS for path in SHARED.glob(pattern))
# class indices as labels; losses of single rows are averaged in a step, of which PyTorch's numbers are not kept
LOSSES = sorted(path.name for path in SHARED.glob("exports_loss/*.onnx")
                if re.match(r"(ce|enc|gather|nll)_(?!none|weight_none)", path.name))

# Both sides are float32 and add in another order: measured, tensors differ by 4e-6 of their largest element. A wrong rule
# is off by percents.
ROUNDING = 2e-5
# MobileNetV3 has millions of units, and one of them lies within rounding of the kink of its activation: on this side here,
# on that side there. One channel is off by 2e-2 of the tensor's largest then, and the tensors before it by 9e-3 of their
# lengths, which are what is compared there.
KINKS = 3e-2
# A bias in front of a BatchNormalization, or of the keys of attention, changes nothing: its gradient is rounding alone,
# measured by what was summed up to 0, so by the model's largest gradient.
NOTHING = 2e-6


@pytest.fixture
def ort_training(root, training_python, models, tmp_path):
    """Cross entropy and gradients of a model at the values fed, from ONNX Runtime Training."""

    def run(model, feed, buffers):
        np.savez(tmp_path / "feed.npz", **{name: value for name, value in feed.items() if name not in buffers})
        onnx.save(model, tmp_path / "for_ort_training.onnx")
        script = root / "tests" / "python" / "ort_training_gradients.py"
        files = [tmp_path / name for name in ("for_ort_training.onnx", "feed.npz", "gradients.npz")]
        command = [training_python, script, *files, models / "scripts"]
        done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, "\n".join(line for line in done.stderr.splitlines() if "graph_transformer" not in line)
        with np.load(files[-1]) as found:
            return dict(found)

    return run


def largest_element(tensor):
    return np.abs(tensor).max()


def assert_same(expected, found, loss, what, size=largest_element, tolerance=ROUNDING):
    assert np.isclose(loss, expected["loss"], rtol=1e-5), what
    assert set(found) == set(expected) - {"loss"}, what
    largest = max(size(expected[name]) for name in found)
    for name, gradient in found.items():
        want = expected[name]
        assert gradient.shape == want.shape, (what, name)
        off, bound = size(gradient - want), tolerance * size(want) + NOTHING * largest
        assert off <= bound, f"{what}: {name} is off by {off:.1e}, it is {size(want):.1e} and the largest {largest:.1e}"


def step_of(elonnx, model, folder, *options):
    return make(elonnx, model, folder, "--optimizer", "none", "--bonus-weight", "0", *options)


def found_by(path, step, feed, plugin=None):
    loss, found = gradients(path, step, feed, plugin)
    return loss, dict(zip((port["name"] for port in step["parameters"]), found))


@pytest.mark.parametrize("name", whole_models.NETWORKS)
def test_gradients_of_small_models(name, ort_training, elonnx, plugin, tmp_path):
    expected = None
    for modern in (False, True):
        model = tmp_path / f"{name}.onnx"
        onnx.save(whole_models.NETWORKS[name](modern=modern), model)
        for options in ([], ["--standard-ops"]):
            path, step = step_of(elonnx, model, tmp_path, *options)
            feed = first_values(model, step)
            if expected is None:
                expected = ort_training(onnx.load(model), feed, {port["name"] for port in step["buffers"]})
            for library in (None, plugin):
                loss, found = found_by(path, step, feed, library)
                assert_same(expected, found, loss, (name, modern, options, bool(library)))


def without_dropout(model):
    """Its noise is another in each runtime."""
    for node in model.graph.node:
        if node.op_type == "Dropout":
            node.CopyFrom(helper.make_node("Identity", node.input[:1], node.output[:1], node.name))
    return model


def spelled_out(model):
    """The same function in what ONNX Runtime Training can differentiate."""
    nodes = []
    for node in model.graph.node:
        made = [node]
        if node.op_type in ("HardSwish", "HardSigmoid"):
            given = {attribute.name: attribute.f for attribute in node.attribute}
            slope, shift = (1 / 6, 0.5) if node.op_type == "HardSwish" else (given.get("alpha", 0.2), given.get("beta", 0.5))
            made = hard_sigmoid(node, slope, shift)
        elif node.op_type == "LayerNormalization":
            # ONNX Runtime Training wants all three outputs
            node.output.extend(f"{node.output[0]}/{extra}" for extra in ("mean", "scale")[len(node.output) - 1:])
        nodes += made
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model


def hard_sigmoid(node, slope, shift):
    """clip(slope·x + shift, 0, 1), times x for HardSwish."""
    (x,), (y,) = node.input, node.output
    value = lambda name: f"{y}/{name}"
    made = [helper.make_node("Constant", [], [value(name)], value_float=number)
            for name, number in [("slope", slope), ("shift", shift), ("zero", 0.0), ("one", 1.0)]]
    made += [helper.make_node("Mul", [x, value("slope")], [value("scaled")]),
             helper.make_node("Add", [value("scaled"), value("shift")], [value("line")])]
    swish = node.op_type == "HardSwish"
    made += [helper.make_node("Clip", [value("line"), value("zero"), value("one")], [value("gate") if swish else y])]
    return made + ([helper.make_node("Mul", [x, value("gate")], [y])] if swish else [])


@pytest.mark.skipif(not SHARED.is_dir(), reason="no ../shared/models here")
@pytest.mark.parametrize("name", EXPORTS)
def test_gradients_of_exported_models(name, ort_training, elonnx, plugin, tmp_path):
    model = tmp_path / "model.onnx"
    onnx.save(without_dropout(onnx.load(SHARED / name)), model)
    path, step = step_of(elonnx, model, tmp_path)
    feed = first_values(model, step)
    expected = ort_training(spelled_out(onnx.load(model)), feed, {port["name"] for port in step["buffers"]})
    for library in (None, plugin):
        loss, found = found_by(path, step, feed, library)
        measure = {"size": np.linalg.norm, "tolerance": KINKS} if "mobilenet" in name else {}
        assert_same(expected, found, loss, name, **measure)


def behind_a_parameter(path, shape):
    """A model that starts at its logits, with a parameter in front: x + shift."""
    model = onnx.load(path)
    (logits,) = [port for port in model.graph.input if port.name == "logits"]
    logits.name = "x"
    model.graph.initializer.append(numpy_helper.from_array(np.zeros(shape, np.float32), "shift"))
    model.graph.node.insert(0, helper.make_node("Add", ["x", "shift"], ["logits"]))
    return model


@pytest.mark.skipif(not SHARED.is_dir(), reason="no ../shared/models here")
@pytest.mark.parametrize("name", LOSSES)
def test_gradients_through_losses_are_pytorchs(name, elonnx, plugin, tmp_path):
    case = re.split(r"\.(?:ts|dynamo|torch113)\.", name)[0]
    with np.load(SHARED / "exports_loss" / "reference_torch.npz") as arrays:
        logits, labels, loss, slope = (arrays[f"{case}/{key}"] for key in ("logits", "labels", "loss", "dloss_dlogits"))
    model = tmp_path / "loss.onnx"
    onnx.save(behind_a_parameter(SHARED / "exports_loss" / name, logits.shape[1:]), model)
    # the encouraging losses among them are kept as they are
    bonus = [] if name.startswith("enc") else ["--bonus-weight", "0"]
    options = ["--optimizer", "none", "--train-only", "shift", "--wrt", "x", *bonus]
    path, step = make(elonnx, model, tmp_path, *options)
    wanted = [step["loss"], step["input_gradients"][0]["gradient"], step["parameters"][0]["gradient"]]
    feed = {"x": logits, step["labels"]["name"]: labels, "shift": np.zeros(logits.shape[1:], np.float32)}
    for library in (None, plugin):
        found = load(path, library).run(wanted, feed)
        np.testing.assert_allclose(found[0], loss, rtol=1e-6)
        for gradient, want in zip(found[1:], [slope, slope.sum(0)]):
            np.testing.assert_allclose(gradient, want, rtol=0, atol=2e-6 * np.abs(slope).max())
