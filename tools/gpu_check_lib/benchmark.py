"""Steps `bench` and `peers`: benches/cuda, and other projects' losses on the same shapes by the same rules."""

import json
import pathlib
import subprocess
import sys
import threading

import gpu
import outcome
from programs import Missing

LIB = pathlib.Path(__file__).resolve().parent
SHAPES = [[32768, 256], [32768, 1024], [16384, 4096], [8192, 32000], [8192, 50257], [8192, 50256], [8192, 128256]]
DTYPES = ["bf16", "f32"]
# what the peers import; --install gets it
REQUIREMENTS = ["torch==2.11.0", "numpy==2.2.6", "liger-kernel==0.8.5", "quack-kernels==0.6.5"]


def bench(programs, options):
    try:
        program = programs.path("bench")
    except Missing as error:
        return outcome.not_run(str(error))
    with gpu.Watch() as watch:
        found = operators(program, options)
    if isinstance(found, str):
        return outcome.failed(found)
    return outcome.passed(about=f"{len(found)} measurements", clocks=watch.facts, operators=found)


def operators(program, options):
    """What benches/cuda measured, or a sentence on why it did not."""
    path = options.output / "operators.json"
    path.unlink(missing_ok=True)
    command = [program, "--bench", "--json", path, "--seconds", str(options.bench_seconds)]
    for shape in options.shapes:
        command += ["--shape", ",".join(map(str, shape))]
    done = subprocess.run([*command, "--dtype", ",".join(options.dtypes)])
    if done.returncode != 0:
        return f"benches/cuda ended with exit code {done.returncode}, see above"
    if not path.exists():
        return "benches/cuda measured nothing, see above"
    return json.loads(path.read_text())


def what_lacks(python):
    """A sentence if this Python has no PyTorch that sees the GPU, else None."""
    program = "import numpy, torch; print(torch.cuda.is_available(), torch.__version__)"
    try:
        done = subprocess.run([python, "-c", program], capture_output=True, text=True)
    except OSError as error:
        return f"PyTorch and those that need it: {error}"
    if done.returncode != 0:
        return f"PyTorch and those that need it: not in {python} (--torch names another, --install gets them)"
    usable, version = done.stdout.split()[-2:]
    return None if usable == "True" else f"PyTorch {version} of {python} finds no GPU"


def peers(_, options):
    lacking = what_lacks(options.torch)
    if lacking:
        return outcome.not_run(lacking)
    with gpu.Watch() as watch:
        found = measure_peers(options)
    found["clocks"] = watch.facts
    if not found["results"]:
        return outcome.failed("; ".join(found["missing"]), **found)
    return outcome.passed(about=f"{len(found['results'])} measurements", **found)


def measure_peers(options):
    """Measurements of others, which of them are missing, versions. What was measured until it was stopped counts."""
    task = {"shapes": options.shapes, "dtypes": options.dtypes, "seconds": options.bench_seconds, "device": "cuda",
            "compiled": True}
    found = {"results": [], "missing": [], "versions": {}}
    command = [options.torch, LIB / "in_torch_on_gpu.py", json.dumps(task)]
    process = subprocess.Popen([str(part) for part in command], stdout=subprocess.PIPE, text=True)
    stop = threading.Timer(options.seconds, process.kill)
    stop.start()
    for line in process.stdout:
        result = json.loads(line)
        if "versions" in result:
            found |= result
            continue
        said = f"skipped: {result['skipped']}" if "skipped" in result else f"{result['median'] * 1e6:.1f} µs"
        print(f"gpu_check: {result['shape']} {result['dtype']}, {result['name']}: {said}", file=sys.stderr, flush=True)
        found["results"].append(result)
    code = process.wait()
    stop.cancel()
    if code != 0:
        last = found["results"][-1] if found["results"] else {"name": "the start"}
        how = f"stopped after {options.seconds} s" if code == -9 else f"in_torch_on_gpu.py ended with exit code {code}"
        found["missing"].append(f"all after {last['name']} of {last.get('shape', 'all')}: {how}")
    return found
