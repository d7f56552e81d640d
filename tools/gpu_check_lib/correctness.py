"""Steps `correctness` and `sanitizer`: the suite of tests/cuda on the GPU, plain and under NVIDIA's checkers."""

import os
import re
import subprocess

import outcome
from programs import ROOT, Missing

CHECKERS = ["memcheck", "racecheck", "initcheck", "synccheck"]
# the tests then use the driver of the machine, not the stand-in
ON_GPU = {"ELONNX_TEST_GPU": "1"}
# what compute-sanitizer exits with where it found something; a test program never does
FOUND = 86


def correctness(programs, options):
    try:
        tests = programs.path("tests")
    except Missing as error:
        return outcome.not_run(str(error))
    done = run([tests, *options.test_arguments], options.seconds)
    return judged(done, options.seconds)


def sanitizer(programs, options):
    try:
        tests, checker = programs.path("tests"), programs.path("sanitizer")
    except Missing as error:
        return outcome.not_run(str(error))
    results = {tool: checked(checker, tool, tests, options) for tool in CHECKERS}
    wrong = [f"{tool}: {result['why']}" for tool, result in results.items() if result["result"] != outcome.PASSED]
    if wrong:
        return outcome.failed("; ".join(wrong), checkers=results)
    return outcome.passed(about="nothing found by " + ", ".join(CHECKERS), checkers=results)


def checked(checker, tool, tests, options):
    # tests of one process share a GPU: one at a time, or the checker's memory runs out
    command = [checker, f"--tool={tool}", f"--error-exitcode={FOUND}", tests, "--test-threads=1", *options.test_arguments]
    done = run(command, options.seconds)
    summary = re.findall(r"=+ ((?:ERROR|RACECHECK) SUMMARY: .*)", done["output"])
    result = judged(done, options.seconds, summary[-1] if summary else "")
    if result["result"] == outcome.PASSED and not summary:
        return outcome.failed(f"compute-sanitizer says no summary; it ended with: {last_line(done['output'])}")
    return result


def run(command, seconds):
    """Exit code (None: stopped after `seconds`) and output of a test program on the GPU."""
    try:
        done = subprocess.run([str(part) for part in command], cwd=ROOT, env={**os.environ, **ON_GPU}, timeout=seconds,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        return {"code": done.returncode, "output": done.stdout.decode(errors="replace")}
    except subprocess.TimeoutExpired as stopped:
        return {"code": None, "output": (stopped.stdout or b"").decode(errors="replace")}


def judged(done, seconds, remark=""):
    """The outcome of a test program: no test at all is no pass."""
    found = re.search(r"test result: \w+\. (\d+) passed; (\d+) failed; (\d+) ignored", done["output"])
    counts = dict(zip(("passed", "failed", "ignored"), map(int, found.groups()))) if found else {}
    facts = {"tests": counts, "tail": done["output"].splitlines()[-40:]}
    if done["code"] is None:
        return outcome.failed(f"stopped after {seconds} s", **facts)
    if done["code"] == FOUND:
        return outcome.failed(remark or "compute-sanitizer found errors", **facts)
    if done["code"] < 0:
        return outcome.failed(f"ended by signal {-done['code']}", **facts)
    if done["code"] != 0 or not found:
        return outcome.failed(f"exit code {done['code']}: {last_line(done['output'])}", **facts)
    if counts["passed"] == 0:
        return outcome.failed("no test ran; what selects tests selects none", **facts)
    return outcome.passed(about=f"{counts['passed']} tests" + (f"; {remark}" if remark else ""), **facts)


def last_line(text):
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1].strip() if lines else "no output"
