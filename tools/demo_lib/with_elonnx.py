"""Both models with `elonnx train`, on the stock ONNX Runtime of this environment."""

import glob
import json
import os
import subprocess
import sys
import textwrap

import onnx
import onnxruntime

# of a command's lines, beside the indent
WIDTH = 70


class Run:
    """What metrics.json says of a run: loss and seconds of each epoch."""

    def __init__(self, folder):
        with open(os.path.join(folder, "metrics.json"), encoding="utf-8") as file:
            history = json.load(file)["history"]
        self.losses = [epoch["train"]["loss"] for epoch in history]
        self.seconds = [epoch["seconds"] for epoch in history]


def train(task, chosen, settings, output):
    """One run after the other; the models are left as ce.onnx and el.onnx in ``output``."""
    network = os.path.join(output, "network.onnx")
    onnx.save(task.network, network)
    print(f"[4/6] The network with its first weights is {network}")
    settings.announce()
    print(f"      ORT_DYLIB_PATH is that of ONNX Runtime {onnxruntime.__version__} in target/demo/venv")
    # cross entropy is the encouraging loss without a bonus
    losses = {"ce": ["--bonus-weight", "0"], "el": ["--log-end", f"{chosen.log_end:g}"] if chosen.log_end else []}
    return {key: _train(chosen.elonnx, network, settings, output, key, loss) for key, loss in losses.items()}


def _train(elonnx, network, settings, output, key, loss):
    trained = os.path.join(output, f"{key}.onnx")
    data = os.path.join(output, "train.npz")
    numbers = ["--epochs", settings.epochs, "--batch-size", settings.batch, "--lr", f"{settings.learning_rate:g}"]
    command = ["train", network, "--data", data, *map(str, numbers), "--seed", str(settings.seed), *loss, "-o", trained, "--force"]
    # as a terminal shows it, ready to be copied
    shown = textwrap.wrap(" ".join(command), WIDTH - len(" \\"), break_long_words=False, break_on_hyphens=False)
    print("\n$ elonnx " + " \\\n      ".join(shown), flush=True)
    if subprocess.run([elonnx, *command], env={"ORT_DYLIB_PATH": _library(), **os.environ}).returncode:
        sys.exit("elonnx train failed, see above")
    return Run(os.path.splitext(trained)[0] + ".run")


def _library():
    """The ONNX Runtime that this Python has; a path in the environment wins."""
    folder = os.path.join(os.path.dirname(onnxruntime.__file__), "capi")
    found = [path for name in ("libonnxruntime.*", "onnxruntime.dll") for path in glob.glob(os.path.join(folder, name))]
    return found[0] if found else ""
