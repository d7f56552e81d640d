"""Trains a model in any ONNX Runtime, after `elonnx grad mlp.onnx -o step.onnx`: train_step.py mlp.onnx step.onnx"""
import json
import pathlib
import sys

import numpy as np
import onnx
import onnxruntime

model, step_file = onnx.load(sys.argv[1]), sys.argv[2]
signature = json.loads(pathlib.Path(step_file).with_suffix(".json").read_text())
session = onnxruntime.InferenceSession(step_file)

# what is learnt starts as the initializers of the model, what is remembered as zeros (with float16 also as a number)
learnt = [*signature["parameters"], *signature["buffers"]]
stored = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
state = {port["name"]: stored[port["name"]] for port in learnt}
first = {port["name"]: 0 if port["initial"] == "zeros" else port["initial"]["value"] for port in signature["state"]}
state |= {port["name"]: np.full(port["shape"], first[port["name"]], port["data_type"]) for port in signature["state"]}
becomes = {port["updated"]: port["name"] for port in [*learnt, *signature["state"]]}

# samples of as many clusters as the model has classes
random = np.random.default_rng(0)
data, labels = signature["data"][0], signature["labels"]["name"]
classes = signature["logits"]["shape"][1]
centres = random.normal(size=(classes, *data["shape"][1:]))
for number in range(1, 201):
    y = random.integers(classes, size=64)
    x = (centres[y] + random.normal(size=centres[y].shape)).astype(data["data_type"])
    feed = {data["name"]: x, labels: y, "learning_rate": np.array(0.003, "float32"), "step": np.array(number)}
    loss, logits, *new = session.run([signature["loss"], signature["logits"]["name"], *becomes], feed | state)
    state = dict(zip(becomes.values(), new))
    if number % 50 == 0:
        print(f"step {number}: loss {loss:.3f}, accuracy {(logits.argmax(1) == y).mean():.2f}")

for tensor in model.graph.initializer:
    if tensor.name in state:
        tensor.CopyFrom(onnx.numpy_helper.from_array(state[tensor.name], tensor.name))
onnx.save(model, str(pathlib.Path(step_file).with_name("trained.onnx")))
