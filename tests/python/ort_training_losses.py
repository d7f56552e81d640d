"""Trains an artifacts folder for a few steps and prints the losses as JSON; run by test_training.py in the environment
of tools/demo, which has ONNX Runtime Training 1.19.2.

    ort_training_losses.py FOLDER PLUGIN|- SCRIPTS
"""

import json
import sys

import numpy as np

STEPS, BATCH = 12, 32


def main(folder, plugin, scripts):
    sys.path.insert(0, scripts)
    from ort_training import import_without_torch

    import_without_torch()
    import onnxruntime
    from onnxruntime.training.api import CheckpointState, Module, Optimizer

    onnxruntime.set_default_logger_severity(3)
    options = onnxruntime.SessionOptions()
    if plugin != "-":
        options.register_custom_ops_library(plugin)
    state = CheckpointState.load_checkpoint(f"{folder}/checkpoint")
    module = Module(f"{folder}/training_model.onnx", state, f"{folder}/eval_model.onnx", session_options=options)
    optimizer = Optimizer(f"{folder}/optimizer_model.onnx", module)

    generator = np.random.default_rng(11)
    shape = (BATCH, 1, 28, 28) if "cnn" in folder else (BATCH, 784)
    images = generator.random(shape, np.float32)
    labels = generator.integers(0, 10, BATCH)
    losses = []
    module.train()
    for _ in range(STEPS):
        losses.append(float(module(images, labels)))
        optimizer.step()
        module.lazy_reset_grad()
    module.eval()
    print(json.dumps({"training": losses, "eval": float(module(images, labels))}))


if __name__ == "__main__":
    main(*sys.argv[1:])
