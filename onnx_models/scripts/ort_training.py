"""ONNX Runtime Training 1.19.2 without PyTorch, and the artifacts it makes from a forward graph."""

import os
import sys
import types

from builder import FLOAT


def import_without_torch():
    """Makes ``onnxruntime.training`` importable where torch is not installed.

    The package imports its subpackage ``optim`` at once, the only one that needs torch; an empty stand-in is enough.
    """
    if "onnxruntime.training" in sys.modules:
        return
    optim = types.ModuleType("onnxruntime.training.optim")
    optim.__path__ = []
    sys.modules["onnxruntime.training.optim"] = optim
    import onnxruntime.training  # noqa: F401


def generate(model, folder):
    """Writes training_model.onnx, eval_model.onnx, optimizer_model.onnx and checkpoint into ``folder``.

    AdamW; cross entropy on the output of ``model``, unless its output is called loss. Every float initializer is a
    trainable parameter.
    """
    import_without_torch()
    from onnxruntime.training import artifacts

    os.makedirs(folder, exist_ok=True)
    artifacts.generate_artifacts(
        model,
        requires_grad=[tensor.name for tensor in model.graph.initializer if tensor.data_type == FLOAT],
        loss=None if model.graph.output[0].name == "loss" else artifacts.LossType.CrossEntropyLoss,
        optimizer=artifacts.OptimType.AdamW,
        artifact_directory=folder,
    )
