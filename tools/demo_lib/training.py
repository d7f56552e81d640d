"""One model in ONNX Runtime Training: epochs of AdamW, then the logits of the exported inference model."""

import os
import sys
import time

import numpy as np

BATCH = 64
LEARNING_RATE = 1e-3


class Run:
    """Training from one artifacts folder. ``plugin``: library with the ops of the model, or None."""

    def __init__(self, name, artifacts, plugin=None):
        from onnxruntime import SessionOptions
        from onnxruntime.training import api

        options = SessionOptions()
        # two sessions live side by side; idle threads of one must not eat the cores of the other
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        if plugin:
            options.register_custom_ops_library(plugin)
        self.name = name
        self.losses, self.seconds = [], []
        self._module = api.Module(
            os.path.join(artifacts, "training_model.onnx"),
            api.CheckpointState.load_checkpoint(os.path.join(artifacts, "checkpoint")),
            os.path.join(artifacts, "eval_model.onnx"),
            session_options=options,
        )
        self._optimizer = api.Optimizer(os.path.join(artifacts, "optimizer_model.onnx"), self._module)
        self._optimizer.set_learning_rate(LEARNING_RATE)

    def epoch(self, images, labels, order):
        """One pass over the rows in ``order``; notes the mean loss and the seconds it took."""
        self._module.train()
        total, begin = 0.0, time.perf_counter()
        for start in range(0, len(order), BATCH):
            rows = order[start : start + BATCH]
            loss = float(self._module(images[rows], labels[rows]))
            self._optimizer.step()
            self._module.lazy_reset_grad()
            total += loss * len(rows)
            _progress(self.name, start, len(order))
        _progress(self.name, len(order), len(order))
        self.losses.append(total / len(order))
        self.seconds.append(time.perf_counter() - begin)

    def export(self, path):
        """Writes the plain inference model: input → logits."""
        self._module.eval()
        self._module.export_model_for_inferencing(path, ["logits"])


def logits(path, images, batch=1000):
    """Logits [N, C] of the inference model at ``path``."""
    from onnxruntime import InferenceSession

    session = InferenceSession(path, providers=["CPUExecutionProvider"])
    chunks = range(0, len(images), batch)
    return np.concatenate([session.run(["logits"], {"input": images[i : i + batch]})[0] for i in chunks])


def _progress(name, done, total):
    """A line that overwrites itself; nothing where the output is not a terminal."""
    if not sys.stdout.isatty() or (done // BATCH) % 20 and done < total:
        return
    text = f"      {name}: {100 * done // total} % of the epoch" if done < total else ""
    print(f"\r{text:<40}\r", end="", flush=True)
