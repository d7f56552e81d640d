"""Runs against the ONNX Runtime of the interpreter: ELONNX_PLUGIN=path/to/libelonnx.so python -m pytest tests/plugin

tools/test_plugin does that for every release."""

import os
import pathlib
import sys

import numpy as np
import onnxruntime as ort
import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
ort.set_default_logger_severity(4)

PLUGIN = os.environ.get("ELONNX_PLUGIN", "")


def pytest_report_header():
    return f"onnxruntime {ort.__version__}, plugin {PLUGIN or '(ELONNX_PLUGIN is not set)'}"


@pytest.fixture(scope="session")
def plugin():
    # not a skip: a run that tests nothing must not pass
    assert os.path.isfile(PLUGIN), "set ELONNX_PLUGIN to the path of libelonnx.so (cargo build)"
    return os.path.abspath(PLUGIN)


@pytest.fixture
def session(plugin):
    """session(model, **options) -> InferenceSession with the plugin registered."""

    def make(model, **options):
        so = ort.SessionOptions()
        so.register_custom_ops_library(plugin)
        for key, value in options.items():
            setattr(so, key, value)
        return ort.InferenceSession(model.SerializeToString(), so, providers=["CPUExecutionProvider"])

    return make


@pytest.fixture
def run(session):
    """run(model, feeds) -> {output: array}"""

    def go(model, feeds, **options):
        s = session(model, **options)
        return dict(zip([o.name for o in s.get_outputs()], s.run(None, {k: np.asarray(v) for k, v in feeds.items()})))

    return go
