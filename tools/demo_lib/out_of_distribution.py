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
    command = ["evaluate", calibrated, "--in-dist", f"test={paths['test']}", *sets, *scores, "--report", f"{stem}.html"]
    return json.loads(_run(elonnx, *command, "--json"))["evaluation"]


def print_table(runs, names):
    """AUROC and FPR95 in percent, a line per score and model; what the calibrated threshold of the first score does."""
    sets = [entry["set"] for entry in runs["ce"]["out_of_distribution"]["scores"][0]["sets"]]
    print(f"  {'':<10}{'':<18}{'AUROC':>10}{'FPR95':>10}")
    for at, name in enumerate(sets):
        if len(sets) > 1:
            print(f"  {name}")
        for score in SCORES:
            for key, run in runs.items():
                found = next(entry for entry in run["out_of_distribution"]["scores"] if entry["score"] == score)
                auroc, fpr = (found["sets"][at][metric]["value"] for metric in ("auroc", "fpr_at_tpr"))
                print(f"  {score:<10}{names[key]:<18}{auroc:>10.2%}{fpr:>10.2%}")
    print("\nAUROC: how well the score tells the sets apart; FPR95: share of the other set")
    print("that passes when 95 % of the test data pass. One run; seeds differ.")


def _run(elonnx, *arguments):
    run = subprocess.run([elonnx, *arguments], stdout=subprocess.PIPE, text=True)
    if run.returncode:
        sys.exit(f"elonnx {arguments[0]} failed, see above")
    return run.stdout
