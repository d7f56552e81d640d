"""The demo itself, run by tools/demo in an environment with ONNX Runtime."""

import datetime
import json
import os
import platform
import statistics
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SCRIPTS = os.path.join(ROOT, "onnx_models", "scripts")
sys.path.insert(0, SCRIPTS)

import inference  # noqa: E402
import mnist  # noqa: E402
import options  # noqa: E402
import out_of_distribution  # noqa: E402
import task as tasks  # noqa: E402
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

    settings = Settings(epochs, chosen.seed)
    chosen.scripts = SCRIPTS
    paths = tasks.save(task, output)
    # chosen late: what one way imports, the environment of the other does not have
    way = __import__("with_ort_training" if chosen.ort_training else "with_elonnx")
    runs = way.train(task, chosen, settings, output)
    result = summary(chosen, task, settings, runs, output)
    print_table(result, len(task.test_labels), task.unit)

    print(f"\n[6/6] What they have never seen: {', '.join(task.ood)}\n")
    for key in runs:
        found = out_of_distribution.judge(chosen.elonnx, os.path.join(output, f"{key}.onnx"), paths, list(task.ood))
        result["runs"][key]["out_of_distribution"] = found
    out_of_distribution.print_table(result["runs"], NAMES)
    save(result, output, chosen.json)
    print(f"\nIn {output}: ce.onnx, el.onnx; calibrated, ce.calibrated.onnx and")
    print("el.calibrated.onnx; as pages, ce.html and el.html; all numbers, result.json.")


class Settings:
    """What both models are trained with."""

    batch = 64
    learning_rate = 1e-3

    def __init__(self, epochs, seed):
        self.epochs, self.seed = epochs, seed

    def announce(self):
        plural = "s" * (self.epochs > 1)
        print(f"[5/6] Training, {self.epochs} epoch{plural}, batch {self.batch}, AdamW {self.learning_rate:g}, seed {self.seed}:")
        print("      same first weights, same batches; EL's loss may fall below zero")


def summary(chosen, task, settings, runs, output):
    """All numbers of the comparison; the scores are those of the exported inference models on the test data."""
    result = {
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "machine": {"cpu": cpu(), "cores": os.cpu_count(), "python": platform.python_version()},
        "data": {"source": task.source, "train": len(task.train_labels), "test": len(task.test_labels)},
        "options": {"task": chosen.task, "epochs": settings.epochs, "seed": chosen.seed, "batch": settings.batch, "log_end": chosen.log_end},
        "runs": {},
    }
    for key, run in runs.items():
        path = os.path.join(output, f"{key}.onnx")
        found = scores(inference.logits(path, task.test_inputs), task.test_labels)
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
