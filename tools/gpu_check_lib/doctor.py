"""Step `doctor`: what `elonnx doctor` says of the GPU, and how long the driver takes to compile the kernels."""

import json
import os
import subprocess
import time

import outcome
from programs import Missing


def doctor(programs, options):
    try:
        elonnx = programs.path("elonnx")
    except Missing as error:
        return outcome.not_run(str(error))
    # the driver keeps what it compiled; without its cache the time is that of a first use
    environment = {**os.environ, "CUDA_CACHE_DISABLE": "1"}
    begin = time.monotonic()
    try:
        done = subprocess.run([elonnx, "doctor", "--json"], env=environment, capture_output=True, text=True,
                              timeout=options.seconds)
        cuda = json.loads(done.stdout)["report"]["cuda"]
    except (subprocess.TimeoutExpired, ValueError, KeyError) as error:
        return outcome.failed(f"elonnx doctor --json: {type(error).__name__}: {error}")
    seconds = round(time.monotonic() - begin, 1)
    if cuda["problem"]:
        return outcome.failed(cuda["problem"], cuda=cuda)
    devices = cuda["driver"]["devices"]
    wrong = [f"{device['name']}: {device['problem']}" for device in devices if device["problem"]]
    if wrong or not devices:
        return outcome.failed("; ".join(wrong) or "no devices", cuda=cuda)
    names = ", ".join(f"{device['name']} ({device['compute_capability']})" for device in devices)
    return outcome.passed(about=f"all kernels load on {names}; {seconds} s with the driver's cache off", cuda=cuda,
                          seconds=seconds)
