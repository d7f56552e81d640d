"""Training steps that `elonnx grad` makes: written, fed, run."""

import json

import numpy as np
import onnx
from onnx import numpy_helper
from session import load

BATCH = 6


def first_values(model, step, seed=0):
    """Something for every input of a step."""
    rng = np.random.default_rng(seed)
    graph = onnx.load(model).graph
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            stored[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
    sizes = lambda port: [size if isinstance(size, int) else BATCH for size in port["shape"]]
    feed = {}
    for port in step["data"]:
        values = rng.standard_normal(sizes(port)) if "float" in port["data_type"] else rng.integers(0, 50, sizes(port))
        feed[port["name"]] = values.astype(port["data_type"])
    classes = step["logits"]["shape"][1]
    feed[step["labels"]["name"]] = rng.integers(0, classes, sizes(step["labels"]))
    for port in step["parameters"] + step["buffers"]:
        feed[port["name"]] = stored[port["name"]]
    for port in step["state"]:
        first = 0 if port["initial"] == "zeros" else port["initial"]["value"]
        feed[port["name"]] = np.full(port["shape"], first, port["data_type"])
    for name, value in [("learning_rate", np.float32(0.01)), ("step", np.int64(1)), ("seed", np.int64(3))]:
        if step[name]:
            feed[step[name]] = np.array(value)
    return feed


def make(elonnx, model, folder, *options):
    """A step and its signature."""
    path = folder / "step.onnx"
    elonnx("grad", model, "-o", path, "--force", *options)
    onnx.checker.check_model(str(path), full_check=True)
    return path, json.loads((folder / "step.json").read_text())


def gradients(path, step, feed, plugin=None):
    names = [port["gradient"] for port in step["parameters"]]
    loss, *found = load(path, plugin).run([step["loss"], *names], feed)
    return loss, found
