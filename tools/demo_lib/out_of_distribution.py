"""Calibrates a trained model and asks it about data of none of its classes, with the `elonnx` command."""

import json
import subprocess
import sys

SCORES = ("energy", "margin", "msp")


def judge(elonnx, model, paths, ood):
    """Writes MODEL.calibrated.onnx and a page beside the model; returns the numbers of `elonnx evaluate`."""
    stem = model[: -len(".onnx")]
    calibrated = f"{stem}.calibrated.onnx"
    scores = ["--scores", ",".join(SCORES)]
    _run(elonnx, "calibrate", model, "--data", paths["calibration"], *scores, "-o", calibrated, "--force", "--quiet")
    sets = [word for name in ood for word in ("--ood", f"{name}={paths[name]}")]
    command = ["evaluate", calibrated, "--in-dist", paths["test"], *sets, *scores, "--report", f"{stem}.html", "--force"]
    return json.loads(_run(elonnx, *command, "--json"))


def _run(elonnx, *arguments):
    run = subprocess.run([elonnx, *arguments], stdout=subprocess.PIPE, text=True)
    if run.returncode:
        sys.exit(f"elonnx {arguments[0]} failed, see above")
    return run.stdout
