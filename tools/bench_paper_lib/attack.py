"""FGSM (Goodfellow et al., 2015): one step of ε along the sign of the loss's gradient with respect to the input."""

import json

import numpy as np
import onnx
import onnxruntime
from onnx import numpy_helper

BATCH = 500


def load(path):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def logits(session, images):
    name = session.get_inputs()[0].name
    return np.concatenate([session.run(None, {name: images[at : at + BATCH]})[0] for at in range(0, len(images), BATCH)])


def accuracy_under_fgsm(session, model, step, images, labels, epsilons):
    """Accuracy of ``session`` on images changed by ε·sign(gradient), clipped to 0…1; ε → accuracy."""
    direction = np.sign(input_gradient(model, step, images, labels))
    found = {}
    for epsilon in epsilons:
        attacked = np.clip(images + np.float32(epsilon) * direction, 0, 1)
        found[str(epsilon)] = float((logits(session, attacked).argmax(axis=1) == labels).mean())
    return found


def input_gradient(model, step, images, labels):
    """∂loss/∂input from the graph of `elonnx grad`, which takes the parameters as inputs."""
    session = load(step)
    signature = json.loads(session.get_modelmeta().custom_metadata_map["elonnx.train_step"])
    weights = {i.name: numpy_helper.to_array(i) for i in onnx.load(str(model)).graph.initializer}
    feed = {port["name"]: weights[port["name"]] for port in signature["parameters"] + signature["buffers"]}
    wanted = signature["input_gradients"][0]
    parts = []
    for at in range(0, len(images), BATCH):
        feed[wanted["input"]] = images[at : at + BATCH]
        feed[signature["labels"]["name"]] = labels[at : at + BATCH]
        parts.append(session.run([wanted["gradient"]], feed)[0])
    return np.concatenate(parts)
