"""Patched artifacts train in ONNX Runtime Training 1.19.2: forward and gradient belong together."""

import json
import subprocess

import numpy as np
import pytest

FOLDERS = ["mlp", "mlp_internal_loss", "mlp_float16_internal_loss", "cnn"]


@pytest.fixture(scope="session")
def losses(root, training_python, models):
    """Losses of a few steps on fixed data; ``plugin`` None: the function bodies run."""

    def train(folder, plugin=None):
        script = root / "tests" / "python" / "ort_training_losses.py"
        command = [training_python, script, folder, plugin or "-", models / "scripts"]
        done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr[-3000:]
        return json.loads(done.stdout.splitlines()[-1])

    return train


def tolerance(name):
    """ONNX Runtime computes float16 cross entropy in float32; the patched loss rounds to float16 where the file says so."""
    return 1e-2 if "float16" in name else 2e-4


def assert_equal(got, expected, name):
    np.testing.assert_allclose(got["training"], expected["training"], rtol=tolerance(name), atol=tolerance(name))
    np.testing.assert_allclose(got["eval"], expected["eval"], rtol=tolerance(name), atol=tolerance(name))


@pytest.mark.parametrize("name", FOLDERS)
def test_without_bonus_it_trains_like_cross_entropy(name, losses, elonnx, models, plugin, tmp_path):
    """Twelve steps of AdamW: a wrong gradient would show in the second loss."""
    elonnx("patch", models / "artifacts" / name, "-o", tmp_path / name, "--bonus-weight", "0")
    expected = losses(models / "artifacts" / name)
    for library in (None, plugin):
        assert_equal(losses(tmp_path / name, library), expected, name)


@pytest.mark.parametrize("name", FOLDERS)
def test_encouraging_loss_falls(name, losses, elonnx, models, plugin, tmp_path):
    """Function bodies and kernels agree; the loss is below that of cross entropy, before and after."""
    elonnx("patch", models / "artifacts" / name, "-o", tmp_path / name, "--log-end", "1")
    native = losses(tmp_path / name, plugin)
    assert_equal(native, losses(tmp_path / name), name)
    cross_entropy = losses(models / "artifacts" / name)
    assert native["training"][0] < cross_entropy["training"][0]
    assert native["training"][-1] < native["training"][0]
    assert native["eval"] < cross_entropy["eval"]
