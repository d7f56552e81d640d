"""Both models in ONNX Runtime Training 1.19.2: artifacts, `elonnx patch` on a copy of them, epochs of AdamW."""

import os
import shutil
import subprocess
import sys
import time

import numpy as np

STAGES = "ONNX Runtime Training"


def train(task, chosen, settings, output):
    """Artifacts, patched artifacts, then both models side by side; they are left as ce.onnx and el.onnx in ``output``."""
    artifacts, patched = os.path.join(output, "artifacts"), os.path.join(output, "patched")
    _make_artifacts(task.network, artifacts, chosen.scripts)
    _patch(chosen.elonnx, artifacts, patched, chosen.log_end)
    settings.announce()
    import onnxruntime
    from ort_training import import_without_torch

    import_without_torch()
    onnxruntime.set_default_logger_severity(3)
    runs = {"ce": Run("CE", artifacts, settings), "el": Run("EL", patched, settings, _plugin(chosen.elonnx))}
    # an epoch of one and then of the other, so that a busy machine slows both
    print(f"\n      {'epoch':<9}{'CE loss':>10}{'seconds':>10}{'EL loss':>12}{'seconds':>10}")
    generator = np.random.default_rng(chosen.seed)
    for epoch in range(settings.epochs):
        order = generator.permutation(len(task.train_labels))
        cells = ""
        for run, width in zip(runs.values(), (10, 12)):
            run.epoch(task.train_inputs, task.train_labels, order)
            cells += f"{run.losses[-1]:>{width}.4f}{run.seconds[-1]:>10.1f}"
        print(f"      {f'{epoch + 1}/{settings.epochs}':<9}{cells}", flush=True)
    for key, run in runs.items():
        run.export(os.path.join(output, f"{key}.onnx"))
    return runs


def _make_artifacts(network, folder, scripts):
    """generate_artifacts in a process of its own: it names values by a counter and chats on stderr."""
    shutil.rmtree(folder, ignore_errors=True)
    code = (
        "import sys, onnx, ort_training; "
        f"ort_training.generate(onnx.load_from_string(sys.stdin.buffer.read()), {os.path.abspath(folder)!r})"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=scripts, stderr=subprocess.PIPE, input=network.SerializeToString())
    if run.returncode:
        sys.exit(f"ONNX Runtime Training could not make the artifacts:\n{run.stderr.decode()[-3000:]}")
    print(f"[4/6] ONNX Runtime Training artifacts of the network in {folder}")


def _patch(elonnx, artifacts, patched, log_end):
    shutil.rmtree(patched, ignore_errors=True)
    command = ["patch", artifacts, "-o", patched] + (["--log-end", f"{log_end:g}"] if log_end else [])
    print(f"\n$ elonnx {' '.join(command)}", flush=True)
    if subprocess.run([elonnx, *command]).returncode:
        sys.exit("elonnx patch failed, see above")
    print()


def _plugin(elonnx):
    """Path of the plugin library."""
    run = subprocess.run([elonnx, "lib"], stdout=subprocess.PIPE, text=True)
    if run.returncode:
        sys.exit("elonnx lib found no plugin library")
    return run.stdout.strip()


class Run:
    """Training from one artifacts folder. ``plugin``: library with the ops of the model, or None."""

    def __init__(self, name, artifacts, settings, plugin=None):
        from onnxruntime import SessionOptions
        from onnxruntime.training import api

        options = SessionOptions()
        # two sessions live side by side; idle threads of one must not eat the cores of the other
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        if plugin:
            options.register_custom_ops_library(plugin)
        self.name, self._batch = name, settings.batch
        self.losses, self.seconds = [], []
        self._module = api.Module(
            os.path.join(artifacts, "training_model.onnx"),
            api.CheckpointState.load_checkpoint(os.path.join(artifacts, "checkpoint")),
            os.path.join(artifacts, "eval_model.onnx"),
            session_options=options,
        )
        self._optimizer = api.Optimizer(os.path.join(artifacts, "optimizer_model.onnx"), self._module)
        self._optimizer.set_learning_rate(settings.learning_rate)

    def epoch(self, images, labels, order):
        """One pass over the rows in ``order``; notes the mean loss and the seconds it took."""
        self._module.train()
        total, begin = 0.0, time.perf_counter()
        for start in range(0, len(order), self._batch):
            rows = order[start : start + self._batch]
            loss = float(self._module(images[rows], labels[rows]))
            self._optimizer.step()
            self._module.lazy_reset_grad()
            total += loss * len(rows)
            _progress(self.name, start // self._batch % 20 == 0, start, len(order))
        _progress(self.name, True, len(order), len(order))
        self.losses.append(total / len(order))
        self.seconds.append(time.perf_counter() - begin)

    def export(self, path):
        """Writes the plain inference model: input → logits."""
        self._module.eval()
        self._module.export_model_for_inferencing(path, ["logits"])


def _progress(name, due, done, total):
    """A line that overwrites itself; nothing where the output is not a terminal."""
    if not sys.stdout.isatty() or not due:
        return
    text = f"      {name}: {100 * done // total} % of the epoch" if done < total else ""
    print(f"\r{text:<40}\r", end="", flush=True)
