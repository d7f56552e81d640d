"""Fixtures of the tests that go through the `elonnx` command."""

import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]


class Elonnx:
    """The built command."""

    def __init__(self, path):
        self.path = path

    def __call__(self, *arguments, code=0):
        """Runs it and checks the exit code; returns the finished process with text output."""
        run = subprocess.run([self.path, *map(str, arguments)], capture_output=True, text=True, timeout=120)
        assert run.returncode == code, f"elonnx {arguments}: exit {run.returncode}\n{run.stdout}\n{run.stderr}"
        assert "panicked" not in run.stderr
        return run


@pytest.fixture(scope="session")
def root():
    return ROOT


@pytest.fixture(scope="session")
def models():
    """The small models of the repository."""
    return ROOT / "onnx_models"


@pytest.fixture(scope="session")
def elonnx():
    """$ELONNX, else the release build, else the debug build."""
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    candidates = [os.environ.get("ELONNX"), target / "release" / "elonnx", target / "debug" / "elonnx"]
    for candidate in filter(None, candidates):
        if os.access(candidate, os.X_OK):
            return Elonnx(str(candidate))
    pytest.exit("no elonnx here; build it with cargo build --release", returncode=1)


@pytest.fixture(scope="session")
def plugin(elonnx):
    """Path of the plugin library."""
    return elonnx("lib").stdout.strip()


@pytest.fixture(scope="session")
def training_python():
    """Python of the environment with ONNX Runtime Training that tools/demo --ort-training makes."""
    command = [str(ROOT / "tools" / "demo"), "--ort-training", "--only-environment"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()[-1]


def pytest_report_header():
    import onnx
    import onnxruntime

    return f"python {sys.version.split()[0]}, onnxruntime {onnxruntime.__version__}, onnx {onnx.__version__}"
