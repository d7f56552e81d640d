"""The demo itself, run by tools/demo in an environment with ONNX Runtime Training 1.19.2."""

import datetime
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys

import numpy as np

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SCRIPTS = os.path.join(ROOT, "onnx_models", "scripts")
sys.path.insert(0, SCRIPTS)

import mnist  # noqa: E402
import options  # noqa: E402
import out_of_distribution  # noqa: E402
import task as tasks  # noqa: E402
import training  # noqa: E402
from scores import scores  # noqa: E402

SHARED = os.path.join("..", "shared", "data")
OUTPUTS = {"digits": os.path.join("target", "demo"), "text": os.path.join("target", "demo", "text")}
NAMES = {"ce": "cross entropy", "el": "encouraging loss"}


def main():
    chosen = options.parse()
    for name in ("data", "ood", "json"):
        path = getattr(chosen, name)
        if path and path != "npm":
            setattr(chosen, name, os.path.abspath(path))
    os.chdir(ROOT)
    output = OUTPUTS[chosen.task]

    task = getattr(tasks, chosen.task)(chosen, SHARED, output)
    epochs = chosen.epochs or task.epochs
    print(f"[3/6] {task.title} from {task.source}:")
    print(f"      {len(task.train_labels)} {task.unit} to train on, {len(task.calibration_labels)} to calibrate with,")
    print(f"      {len(task.test_labels)} for the test")

    artifacts, patched = os.path.join(output, "artifacts"), os.path.join(output, "patched")
    make_artifacts(task.network, artifacts)
    patch(chosen.elonnx, artifacts, patched, chosen.log_end)

    plural = "s" * (epochs > 1)
    print(f"[5/6] Training, {epochs} epoch{plural}, batch {training.BATCH}, AdamW {training.LEARNING_RATE:g}, seed {chosen.seed}:")
    print("      same first weights, same batches; EL's loss may fall below zero")
    runs = train(task, artifacts, patched, plugin(chosen.elonnx), epochs, chosen.seed)
    result = summary(chosen, task, epochs, runs, output)
    print_table(result, len(task.test_labels), task.unit)

    print(f"\n[6/6] What they have never seen: {', '.join(task.ood)}\n")
    paths = tasks.save(task, output)
    for key in runs:
        found = out_of_distribution.judge(chosen.elonnx, os.path.join(output, f"{key}.onnx"), paths, list(task.ood))
        result["runs"][key]["out_of_distribution"] = found
    out_of_distribution.print_table(result["runs"], NAMES)
    save(result, output, chosen.json)
    print(f"\nIn {output}: ce.onnx, el.onnx; calibrated, ce.calibrated.onnx and")
    print("el.calibrated.onnx; as pages, ce.html and el.html; all numbers, result.json.")


def make_artifacts(network, folder):
    """generate_artifacts in a process of its own: it names values by a counter and chats on stderr."""
    shutil.rmtree(folder, ignore_errors=True)
    code = (
        "import sys, onnx, ort_training; "
        f"ort_training.generate(onnx.load_from_string(sys.stdin.buffer.read()), {os.path.abspath(folder)!r})"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=SCRIPTS, stderr=subprocess.PIPE, input=network.SerializeToString())
    if run.returncode:
        sys.exit(f"ONNX Runtime Training could not make the artifacts:\n{run.stderr.decode()[-3000:]}")
    print(f"[4/6] ONNX Runtime Training artifacts of the network in {folder}")


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


def train(task, artifacts, patched, library, epochs, seed):
    """Both models, an epoch of one and then of the other, so that a busy machine slows both."""
    import onnxruntime
    from ort_training import import_without_torch

    import_without_torch()
    onnxruntime.set_default_logger_severity(3)
    runs = {"ce": training.Run("CE", artifacts), "el": training.Run("EL", patched, library)}
    print(f"\n      {'epoch':<9}{'CE loss':>10}{'seconds':>10}{'EL loss':>12}{'seconds':>10}")
    generator = np.random.default_rng(seed)
    for epoch in range(epochs):
        order = generator.permutation(len(task.train_labels))
        cells = ""
        for run, width in zip(runs.values(), (10, 12)):
            run.epoch(task.train_inputs, task.train_labels, order)
            cells += f"{run.losses[-1]:>{width}.4f}{run.seconds[-1]:>10.1f}"
        print(f"      {f'{epoch + 1}/{epochs}':<9}{cells}", flush=True)
    return runs


def summary(chosen, task, epochs, runs, output):
    """All numbers of the comparison; the scores are those of the exported inference models on the test data."""
    result = {
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "machine": {"cpu": cpu(), "cores": os.cpu_count(), "python": platform.python_version()},
        "data": {"source": task.source, "train": len(task.train_labels), "test": len(task.test_labels)},
        "options": {"task": chosen.task, "epochs": epochs, "seed": chosen.seed, "batch": training.BATCH, "log_end": chosen.log_end},
        "runs": {},
    }
    for key, run in runs.items():
        path = os.path.join(output, f"{key}.onnx")
        run.export(path)
        found = scores(training.logits(path, task.test_inputs), task.test_labels)
        result["runs"][key] = {"loss_per_epoch": run.losses, "seconds_per_epoch": run.seconds, **found}
    return result


def cpu():
    try:
        with open("/proc/cpuinfo") as file:
            return next(line.split(":", 1)[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def save(result, output, wanted):
    for path in filter(None, (os.path.join(output, "result.json"), wanted)):
        with open(path, "w") as file:
            json.dump(result, file, indent=2)
            file.write("\n")


def print_table(result, count, unit):
    print(f"\nOn the {count} test {unit}:")
    print(f"  {'':<18}{'accuracy':>10}{'soft margin':>14}{'energy':>10}{'s/epoch':>10}")
    for key, run in result["runs"].items():
        seconds = statistics.median(run["seconds_per_epoch"])
        print(f"  {NAMES[key]:<18}{run['accuracy']:>10.2%}{run['soft_margin']:>14.2f}{run['energy']:>10.2f}{seconds:>10.1f}")
    ce, el = (result["runs"][key] for key in ("ce", "el"))
    print("\nsoft margin: label's logit minus logsumexp of the other logits, mean;")
    print("energy: minus logsumexp of all logits, mean.")
    if ce["soft_margin"] > 0:
        ratio = el["soft_margin"] / ce["soft_margin"]
        print(f"EL's soft margin is {ratio:.2f} times that of CE (one run, seed {result['options']['seed']}).")


if __name__ == "__main__":
    try:
        main()
    except mnist.DataError as error:
        sys.exit(f"tools/demo: {error}")
    except KeyboardInterrupt:
        sys.exit("\ntools/demo: stopped")
