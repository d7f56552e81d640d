"""The demo itself, run by tools/demo in an environment with ONNX Runtime Training 1.19.2."""

import datetime
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys

import mnist
import numpy as np
import options
import training
from scores import scores

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SCRIPTS = os.path.join(ROOT, "onnx_models", "scripts")
sys.path.insert(0, SCRIPTS)
SHARED = os.path.join("..", "shared", "data", "mnist")
OUTPUT = os.path.join("target", "demo")
CHANNELS = (8, 16)
NAMES = {"ce": "cross entropy", "el": "encouraging loss"}


def main():
    chosen = options.parse()
    wish = chosen.data if chosen.data in (None, "npm") else os.path.abspath(chosen.data)
    result_file = os.path.abspath(chosen.json) if chosen.json else None
    os.chdir(ROOT)

    digits = mnist.load(wish, SHARED, os.path.join(OUTPUT, "data"))
    count = len(digits.train_labels)
    epochs = chosen.epochs or (3 if count >= 20000 else 8)
    print(f"[3/5] MNIST from {digits.source}:")
    print(f"      {count} digits to train on, {len(digits.test_labels)} for the test")

    artifacts, patched = os.path.join(OUTPUT, "artifacts"), os.path.join(OUTPUT, "patched")
    make_artifacts(artifacts, chosen.seed)
    patch(chosen.elonnx, artifacts, patched, chosen.log_end)

    print(f"[5/5] Training, {epochs} epoch{'s' * (epochs > 1)}, batch {training.BATCH}, AdamW {training.LEARNING_RATE:g}, seed {chosen.seed}:")
    print("      same first weights, same batches; EL's loss may fall below zero")
    runs = train(digits, artifacts, patched, plugin(chosen.elonnx), epochs, chosen.seed)
    result = summary(chosen, digits, epochs, runs)
    save(result, result_file)
    print_table(result, len(digits.test_labels))


def make_artifacts(folder, seed):
    """generate_artifacts in a process of its own: it names values by a counter and chats on stderr."""
    shutil.rmtree(folder, ignore_errors=True)
    code = f"import networks, ort_training; ort_training.generate(networks.cnn({CHANNELS}, seed={seed}), {os.path.abspath(folder)!r})"
    run = subprocess.run([sys.executable, "-c", code], cwd=SCRIPTS, stderr=subprocess.PIPE, text=True)
    if run.returncode:
        sys.exit(f"ONNX Runtime Training could not make the artifacts:\n{run.stderr[-3000:]}")
    print(f"[4/5] ONNX Runtime Training artifacts of a CNN in {folder}")


def patch(elonnx, artifacts, patched, log_end):
    shutil.rmtree(patched, ignore_errors=True)
    command = ["patch", artifacts, "-o", patched] + (["--log-end", f"{log_end:g}"] if log_end else [])
    print(f"\n$ elonnx {' '.join(command)}", flush=True)
    if subprocess.run([elonnx, *command]).returncode:
        sys.exit("elonnx patch failed, see above")
    print()


def plugin(elonnx):
    """Path of the plugin library."""
    run = subprocess.run([elonnx, "lib"], stdout=subprocess.PIPE, text=True)
    if run.returncode:
        sys.exit("elonnx lib found no plugin library")
    return run.stdout.strip()


def train(digits, artifacts, patched, library, epochs, seed):
    """Both models, an epoch of one and then of the other, so that a busy machine slows both."""
    import onnxruntime
    from ort_training import import_without_torch

    import_without_torch()
    onnxruntime.set_default_logger_severity(3)
    runs = {"ce": training.Run("CE", artifacts), "el": training.Run("EL", patched, library)}
    print(f"\n      {'epoch':<9}{'CE loss':>10}{'seconds':>10}{'EL loss':>12}{'seconds':>10}")
    generator = np.random.default_rng(seed)
    for epoch in range(epochs):
        order = generator.permutation(len(digits.train_labels))
        cells = ""
        for run, width in zip(runs.values(), (10, 12)):
            run.epoch(digits.train_images, digits.train_labels, order)
            cells += f"{run.losses[-1]:>{width}.4f}{run.seconds[-1]:>10.1f}"
        print(f"      {f'{epoch + 1}/{epochs}':<9}{cells}", flush=True)
    return runs


def summary(chosen, digits, epochs, runs):
    """All numbers of the comparison; the scores are those of the exported inference models on the test digits."""
    result = {
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "machine": {"cpu": cpu(), "cores": os.cpu_count(), "python": platform.python_version()},
        "data": {"source": digits.source, "train": len(digits.train_labels), "test": len(digits.test_labels)},
        "options": {"epochs": epochs, "seed": chosen.seed, "batch": training.BATCH, "log_end": chosen.log_end},
        "runs": {},
    }
    for key, run in runs.items():
        path = os.path.join(OUTPUT, f"{key}.onnx")
        run.export(path)
        found = scores(training.logits(path, digits.test_images), digits.test_labels)
        result["runs"][key] = {"loss_per_epoch": run.losses, "seconds_per_epoch": run.seconds, **found}
    return result


def cpu():
    try:
        with open("/proc/cpuinfo") as file:
            return next(line.split(":", 1)[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def save(result, wanted):
    for path in filter(None, (os.path.join(OUTPUT, "result.json"), wanted)):
        with open(path, "w") as file:
            json.dump(result, file, indent=2)
            file.write("\n")


def print_table(result, count):
    print(f"\nOn the {count} test digits:")
    print(f"  {'':<18}{'accuracy':>10}{'soft margin':>14}{'energy':>10}{'s/epoch':>10}")
    for key, run in result["runs"].items():
        seconds = statistics.median(run["seconds_per_epoch"])
        print(f"  {NAMES[key]:<18}{run['accuracy']:>10.2%}{run['soft_margin']:>14.2f}{run['energy']:>10.2f}{seconds:>10.1f}")
    ce, el = (result["runs"][key] for key in ("ce", "el"))
    print("\nsoft margin: label's logit minus logsumexp of the other logits, mean;")
    print("energy: minus logsumexp of all logits, mean.")
    print(f"EL's soft margin is {el['soft_margin'] / ce['soft_margin']:.2f} times that of CE (one run, seed {result['options']['seed']}).")
    print(f"Models and numbers: {OUTPUT}/ce.onnx, el.onnx, result.json")


if __name__ == "__main__":
    try:
        main()
    except mnist.DataError as error:
        sys.exit(f"tools/demo: {error}")
    except KeyboardInterrupt:
        sys.exit("\ntools/demo: stopped")
