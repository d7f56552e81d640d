"""`elonnx grad --precision`: steps in float16 run in ONNX Runtime, and those in float16 and bfloat16 round as they should.

On the CPU ONNX Runtime leaves out casts to float16 and back where it has no kernel between them, so it rounds next to
nothing; ONNX's own evaluator does.
"""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper, version_converter
from onnx.reference import ReferenceEvaluator
from session import load
from test_grad import EXPORTS, OWN, convolutional
from training_steps import BATCH, first_values, gradients, make

STATE = ["loss_scale", "good_steps", "skipped_steps"]


def distance(found, wanted):
    """Of all gradients together, as a share of their norm."""
    norm = lambda all: np.sqrt(sum(float((one.astype(np.float64) ** 2).sum()) for one in all))
    return norm([a - b for a, b in zip(found, wanted)]) / norm(wanted)


class Exact:
    """ONNX's evaluator, as a session."""

    def __init__(self, path):
        self.evaluator = ReferenceEvaluator(str(path))

    def run(self, names, feed):
        with np.errstate(all="ignore"):
            return self.evaluator.run(names, feed)


def scaled_gradients(session, step, feed):
    """With a scale that they do not overflow with, as a driver finds it: it halves until then."""
    feed = dict(feed)
    names = [port["gradient"] for port in step["parameters"]]
    for _ in range(30):
        loss, scale, *found = session.run([step["loss"], "loss_scale/updated", *names], feed)
        if all(np.isfinite(one).all() for one in found):
            assert scale == feed["loss_scale"]
            return loss, found
        assert scale == feed["loss_scale"] / 2
        feed["loss_scale"] = scale
    raise AssertionError("gradients overflow whatever the scale")


def perceptron(folder, opset=17):
    """x [N, 16] -> Gemm, Tanh, MatMul, Add, 5 classes."""
    rng = np.random.default_rng(4)
    shapes = {"w1": (16, 12), "b1": (12,), "w2": (12, 5), "b2": (5,)}
    stored = {name: (0.4 * rng.standard_normal(shape)).astype(np.float32) for name, shape in shapes.items()}
    nodes = [
        helper.make_node("Gemm", ["x", "w1", "b1"], ["h"]),
        helper.make_node("Tanh", ["h"], ["t"]),
        helper.make_node("MatMul", ["t", "w2"], ["m"]),
        helper.make_node("Add", ["m", "b2"], ["z"]),
    ]
    graph = helper.make_graph(
        nodes, "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 16])],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, ["N", 5])],
        [numpy_helper.from_array(value, name) for name, value in stored.items()],
    )
    path = folder / f"perceptron{opset}.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8), path)
    return path


def element_types(path):
    """Types of all values that inference finds, and of those that go in and out."""
    graph = onnx.shape_inference.infer_shapes(onnx.load(path)).graph
    of = lambda values: {value.type.tensor_type.elem_type for value in values}
    return of(graph.value_info), of([*graph.input, *graph.output])


def test_gradients_in_float16_are_those_in_float32(elonnx, models, plugin, tmp_path):
    networks = ["mlp784.dynamo.op18", "lenet.ts.op17", "tiny_transformer.ts.train.op17"]
    exports = [path for path in EXPORTS if path.stem in networks]
    for model in [convolutional(tmp_path), models / OWN[0], perceptron(tmp_path), *exports]:
        path, step = make(elonnx, model, tmp_path, "--optimizer", "none")
        feed = first_values(model, step)
        loss, wanted = gradients(path, step, feed)
        path, step = make(elonnx, model, tmp_path, "--optimizer", "none", "--precision", "f16")
        assert [port["name"] for port in step["state"]] == STATE and step["precision"] == "f16"
        inside, outside = element_types(path)
        assert TensorProto.FLOAT16 in inside and TensorProto.FLOAT16 not in outside, model.name
        feed |= first_values(model, step)
        for library in (None, plugin):
            low, found = scaled_gradients(load(path, library), step, feed)
            assert np.isclose(low, loss, rtol=1e-2), model.name
            assert distance(found, wanted) < 0.03, (model.name, distance(found, wanted))


@pytest.mark.parametrize("precision, most", [("f16", 0.005), ("bf16", 0.03)])
def test_gradients_are_rounded_as_asked(elonnx, tmp_path, precision, most):
    for model in (convolutional(tmp_path), perceptron(tmp_path)):
        path, step = make(elonnx, model, tmp_path, "--optimizer", "none")
        _, wanted = gradients(path, step, first_values(model, step))
        path, step = make(elonnx, model, tmp_path, "--optimizer", "none", "--precision", precision)
        feed = first_values(model, step)
        if precision == "f16":
            _, found = scaled_gradients(Exact(path), step, feed)
        else:
            found = Exact(path).run([port["gradient"] for port in step["parameters"]], feed)
        assert most / 100 < distance(found, wanted) < most, (model.name, distance(found, wanted))


def test_the_scale_keeps_small_gradients(elonnx, tmp_path):
    """Of gradients around 1e-8, less than the 6e-8 that float16 ends at, little is left without a scale."""
    model = perceptron(tmp_path)
    wishes = ["--optimizer", "none", "--class-weights-input", "--reduction", "sum"]
    path, step = make(elonnx, model, tmp_path, *wishes)
    small = {step["class_weights"]: np.full(5, 1e-8, np.float32)}
    _, wanted = gradients(path, step, first_values(model, step) | small)
    path, step = make(elonnx, model, tmp_path, *wishes, "--precision", "f16")
    feed = first_values(model, step) | small
    _, scaled = scaled_gradients(Exact(path), step, feed)
    bare = Exact(path).run([port["gradient"] for port in step["parameters"]],
                           feed | {"loss_scale": np.array(1, np.float32)})
    assert distance(scaled, wanted) < 0.05
    assert distance(bare, wanted) > 0.5


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_an_overflow_leaves_parameters_and_halves_the_scale(elonnx, plugin, tmp_path, optimizer):
    model = convolutional(tmp_path)
    path, step = make(elonnx, model, tmp_path, "--optimizer", optimizer, "--precision", "f16", "--clip-norm", "1")
    feed = first_values(model, step) | {"good_steps": np.array(5)}
    ports = step["parameters"] + step["buffers"] + step["state"]
    learnt = [port["name"] for port in step["parameters"] + step["state"] if port["name"] not in STATE]
    sessions = [(load(path), 2.0**120), (load(path, plugin), 2.0**120), (Exact(path), 2.0**40)]
    for session, too_much in sessions:
        def after(scale):
            values = feed | {"loss_scale": np.array(scale, np.float32)}
            loss, *new = session.run([step["loss"], *(port["updated"] for port in ports)], values)
            assert np.isfinite(loss)
            return dict(zip((port["name"] for port in ports), new))

        new = after(too_much)
        assert [new[name] for name in STATE] == [too_much / 2, 0, 1]
        for name in learnt:
            assert (new[name] == feed[name]).all(), name
        # and a step that fits changes all of it, but a bias that a BatchNormalization takes away again
        new = after(256)
        assert [new[name] for name in STATE] == [256, 6, 0]
        same = {name for name in learnt if (new[name] == feed[name]).all()}
        assert all(name.startswith("conv.b") for name in same), same


def test_steps_in_float16_learn(elonnx, plugin, tmp_path):
    for model in (convolutional(tmp_path), perceptron(tmp_path)):
        path, step = make(elonnx, model, tmp_path, "--precision", "f16")
        becomes = {p["updated"]: p["name"] for p in step["parameters"] + step["buffers"] + step["state"]}
        session, feed, losses = load(path, plugin), first_values(model, step), []
        for number in range(1, 41):
            feed[step["step"]] = np.array(number)
            loss, *new = session.run([step["loss"], *becomes], feed)
            feed |= dict(zip(becomes.values(), new))
            losses.append(float(loss))
        assert losses[-1] < losses[0] - 0.5, (model.name, losses)
        assert feed["good_steps"] + feed["skipped_steps"] == 40 and feed["skipped_steps"] < 20


def all_that_follows(folder, opset):
    """x [N, 16] -> MatMul, then everything that follows the type of its data -> MatMul, 5 classes."""
    rng = np.random.default_rng(5)
    stored = {"w": 0.4 * rng.standard_normal((16, 12)), "head": 0.4 * rng.standard_normal((12, 5)),
              "k": 1 + rng.random(12)}
    stored = {name: value.astype(np.float32) for name, value in stored.items()}
    ints = {"rows": [0, 12], "cut": [0, 6, 12], "two": [1], "first": [0], "last": [12], "pads": [0, 1, 0, 1],
            "inner": [1], "end": [13], "folded": [0, 3, 4], "stretched": [1, 12]}
    stored |= {name: np.array(value, np.int64) for name, value in ints.items()}
    stored |= {"half": np.array([6, 6], np.int64), "low": np.array(-9, np.float32), "high": np.array(9, np.float32)}
    node = helper.make_node
    nodes = [node("MatMul", ["x", "w"], ["v0"])]
    def then(op, *others, first=True, **attributes):
        last = nodes[-1].output[0]
        inputs = [last, *others] if first else [*others, last]
        nodes.append(node(op, inputs, [f"v{len(nodes)}"], **attributes))
    for op in ("Add", "Sub", "Mul", "Div", "Min", "Max", "Sum", "PRelu"):
        then(op, "k")
    for op in ("Neg", "LeakyRelu", "Identity", "Sigmoid", "Tanh", "Relu", "HardSigmoid", "Flatten", "Dropout"):
        then(op)
    if opset >= 14:
        then("HardSwish")
    then("Clip", "low", "high")
    nodes.append(node("Greater", [nodes[-1].output[0], "low"], ["above"]))
    nodes.append(node("Where", ["above", nodes[-2].output[0], "k"], ["w0"]))
    nodes.append(node("Split", ["w0", "half"], ["left", "right"], axis=1))
    nodes.append(node("Concat", ["right", "left"], ["c0"], axis=1))
    then("Pad", "pads")
    then("Slice", "inner", "end", "inner")
    then("Unsqueeze", "inner")
    then("Squeeze", "inner")
    then("Reshape", "folded")
    then("Transpose", perm=[0, 2, 1])
    then("Flatten")
    then("Expand", "stretched")
    then("MatMul", "head")
    graph = helper.make_graph(
        nodes, "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 16])],
        [helper.make_tensor_value_info(nodes[-1].output[0], TensorProto.FLOAT, ["N", 5])],
        [numpy_helper.from_array(value, name) for name, value in stored.items()],
    )
    path = folder / f"all{opset}.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8), path)
    return path


@pytest.mark.parametrize("precision", ["f16", "bf16"])
@pytest.mark.parametrize("opset", [13, 15, 16, 17, 18, 20, 22, 23])
def test_steps_are_valid_in_every_opset(elonnx, tmp_path, opset, precision):
    """`make` lets onnx.checker look at them, with types and shapes."""
    if opset > onnx.defs.onnx_opset_version():
        pytest.skip("this onnx is older")
    models = [perceptron(tmp_path, opset), all_that_follows(tmp_path, opset)]
    if opset >= 17:
        document = onnx.load(convolutional(tmp_path))
        models.append(tmp_path / "newer.onnx")
        onnx.save(version_converter.convert_version(document, opset), models[-1])
    low, name = {"f16": (TensorProto.FLOAT16, "float16"), "bf16": (TensorProto.BFLOAT16, "bfloat16")}[precision]
    for model in models:
        path, step = make(elonnx, model, tmp_path, "--precision", precision)
        inside, outside = element_types(path)
        assert low in inside and low not in outside, model.name
        assert any(port["parameter"] is None for port in step["state"]) == (precision == "f16")
        nodes = onnx.load(path).graph.node
        convolves = any(node.op_type == "Conv" and node.input[0].endswith(name) for node in nodes)
        assert convolves == (model.name == "newer.onnx" and (precision == "f16" or opset >= 22))
        if model.name.startswith("all") and (precision == "f16" or opset >= 22):
            made = {node.op_type for node in nodes if node.output[0].endswith(f"/{name}") and node.op_type != "Cast"}
            assert made >= {"Add", "Where", "Split", "Pad", "Slice", "Clip", "HardSigmoid", "Flatten", "MatMul"}, made


def test_all_that_follows_runs_in_float16(elonnx, tmp_path):
    model = all_that_follows(tmp_path, 17)
    path, step = make(elonnx, model, tmp_path, "--optimizer", "none")
    _, wanted = gradients(path, step, first_values(model, step))
    path, step = make(elonnx, model, tmp_path, "--optimizer", "none", "--precision", "f16")
    feed = first_values(model, step)
    for session in (load(path), Exact(path)):
        _, found = scaled_gradients(session, step, feed)
        assert distance(found, wanted) < 0.02, distance(found, wanted)


def test_precisions_that_do_not_exist_are_told(elonnx, models, tmp_path):
    told = elonnx("grad", models / OWN[0], "-o", tmp_path / "s.onnx", "--precision", "fp8", code=2).stderr
    assert "invalid value 'fp8' for '--precision <TYPE>'" in told and "f32, f16, bf16" in told
    assert not (tmp_path / "s.onnx").exists()
