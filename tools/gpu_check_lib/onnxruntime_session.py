"""Step `session`: the plugin in ONNX Runtime's own CUDA sessions."""

import json
import pathlib
import subprocess
import sys

import outcome
from programs import ROOT, Missing

LIB = pathlib.Path(__file__).resolve().parent
MODEL = ROOT / "onnx_models" / "cross_entropy" / "network.onnx"
# what the checks import; --install gets it
REQUIREMENTS = ["onnxruntime-gpu[cuda,cudnn]==1.31.1", "onnx==1.19.1", "numpy==2.2.6", "ml_dtypes==0.5.3"]
PROVIDER = "CUDAExecutionProvider"


def session(programs, options):
    lacking = what_lacks(options.python, PROVIDER)
    if lacking:
        return outcome.not_run(lacking)
    try:
        plugin, elonnx = programs.path("plugin"), programs.path("elonnx")
    except Missing as error:
        return outcome.not_run(str(error))
    patched = options.output / "patched.onnx"
    done = subprocess.run([elonnx, "patch", MODEL, "-o", patched, "--force"], capture_output=True, text=True)
    if done.returncode != 0:
        return outcome.failed(f"elonnx patch: {done.stderr.strip()}")
    return run(options.python, {"provider": PROVIDER, "plugin": str(plugin), "patched": str(patched)}, options.seconds)


def what_lacks(python, provider):
    """A sentence if this Python can't run the checks, else None."""
    program = "import json, ml_dtypes, numpy, onnx, onnxruntime as o; print(json.dumps(o.get_available_providers()))"
    try:
        done = subprocess.run([python, "-c", program], capture_output=True, text=True)
    except OSError as error:
        return f"{python}: {error}"
    if done.returncode != 0:
        return (f"{python} lacks a package ({end_of(done.stderr)}): it needs {', '.join(REQUIREMENTS)}; --python "
                "names another, --install gets them")
    if provider not in json.loads(done.stdout.splitlines()[-1]):
        return f"the onnxruntime of {python} has no {provider}: it needs {REQUIREMENTS[0]}; --python names another"
    return None


def run(python, task, seconds):
    """The checks of in_onnxruntime.py in a process of their own."""
    command = [python, LIB / "in_onnxruntime.py", json.dumps(task)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds)
    except subprocess.TimeoutExpired:
        return outcome.failed(f"stopped after {seconds} s")
    sys.stderr.write(done.stderr)
    checks = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode != 0:
        how = f"signal {-done.returncode}" if done.returncode < 0 else f"exit code {done.returncode}"
        last = checks[-1]["check"] if checks else "nothing"
        return outcome.failed(f"ended with {how} after {last}: {end_of(done.stderr)}", checks=checks)
    wrong = [f"{check['check']}: {check['why']}" for check in checks if check["result"] == outcome.FAILED]
    if wrong:
        return outcome.failed("; ".join(wrong), checks=checks)
    about = "; ".join(check["about"] for check in checks if "about" in check)
    return outcome.passed(about=about, checks=checks)


def end_of(text):
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1].strip() if lines else "it said nothing"
