"""tools/demo: its data readers, and the whole of it on digits made here."""

import gzip
import json
import os
import struct
import subprocess
import sys

import numpy as np
import pytest
from test_metrics_reference import logits_of, scores_of, separation

DEMO_MINUTES = 15


@pytest.fixture(scope="session")
def mnist(root):
    sys.path.insert(0, str(root / "tools" / "demo_lib"))
    import mnist

    return mnist


def write_idx(path, array):
    header = b"\0\0\x08" + bytes([array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    with (gzip.open if path.suffix == ".gz" else open)(path, "wb") as file:
        file.write(header + array.astype(np.uint8).tobytes())


def write_digits(folder, train=2000, test=500, suffix=".gz"):
    """Ten patterns of bright squares with noise: quickly learned, never perfectly clean."""
    generator = np.random.default_rng(5)
    patterns = np.kron(generator.random((10, 7, 7)) < 0.3, np.ones((4, 4)))
    for part, count in (("train", train), ("t10k", test)):
        labels = generator.integers(0, 10, count)
        images = patterns[labels] * generator.uniform(80, 255, (count, 1, 1)) + generator.normal(0, 60, (count, 28, 28))
        write_idx(folder / f"{part}-images-idx3-ubyte{suffix}", images.clip(0, 255))
        write_idx(folder / f"{part}-labels-idx1-ubyte{suffix}", labels)


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_reads_idx_files(mnist, tmp_path, suffix):
    write_digits(tmp_path, 30, 10, suffix)
    digits = mnist.read_folder(str(tmp_path))
    assert digits.train_images.shape == (30, 1, 28, 28) and digits.test_labels.shape == (10,)
    assert digits.train_images.dtype == np.float32 and 0 <= digits.train_images.min() <= digits.train_images.max() <= 1
    assert digits.train_labels.dtype == np.int64


@pytest.mark.parametrize("content", [b"junk", b"", gzip.compress(b"x" * 5000)[:-12]])
def test_a_damaged_npm_archive_is_deleted_and_told_in_one_line(mnist, tmp_path, content):
    archive = tmp_path / "mnist-1.1.0.tgz"
    archive.write_bytes(content)
    with pytest.raises(mnist.DataError, match="was damaged .* is deleted; run again") as caught:
        mnist.load("npm", "", str(tmp_path))
    assert len(str(caught.value).splitlines()) == 1
    assert not archive.exists()


def test_says_what_is_wrong_with_the_data(mnist, tmp_path):
    with pytest.raises(mnist.DataError, match="is not a folder"):
        mnist.read_folder(str(tmp_path / "nowhere"))
    with pytest.raises(mnist.DataError, match="holds neither train-images"):
        mnist.read_folder(str(tmp_path))
    write_digits(tmp_path, 30, 10, "")
    images = tmp_path / "train-images-idx3-ubyte"
    images.write_bytes(images.read_bytes()[:-1])
    with pytest.raises(mnist.DataError, match=r"says shape \[30, 28, 28\], but holds 23519 bytes"):
        mnist.read_folder(str(tmp_path))
    images.write_bytes(b"PK\3\4")
    with pytest.raises(mnist.DataError, match="not an idx file"):
        mnist.read_folder(str(tmp_path))


@pytest.mark.parametrize("way", [[], ["--ort-training"]], ids=["elonnx", "ort_training"])
def test_demo_trains_with_the_encouraging_loss(root, elonnx, tmp_path, way):
    """EL's loss falls, and its soft margin is well above that of cross entropy after the same epochs."""
    write_digits(tmp_path)
    command = [root / "tools" / "demo", "--data", tmp_path, "--epochs", "4", "--json", tmp_path / "result.json", *way]
    done = subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, timeout=60 * DEMO_MINUTES, stdin=subprocess.DEVNULL,
        env={**os.environ, "ELONNX": elonnx.path},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert max(map(len, done.stdout.splitlines())) <= 80, done.stdout
    result = json.loads((tmp_path / "result.json").read_text())
    ce, el = result["runs"]["ce"], result["runs"]["el"]
    assert el["loss_per_epoch"] == sorted(el["loss_per_epoch"], reverse=True)
    assert min(ce["accuracy"], el["accuracy"]) > 0.9
    assert el["soft_margin"] > 1.15 * ce["soft_margin"] > 0
    assert el["energy"] < ce["energy"]
    for key, run in result["runs"].items():
        assert_separates_as_scikit_learn_says(root / "target" / "demo", key, run["out_of_distribution"]["scores"])


def assert_separates_as_scikit_learn_says(folder, key, found):
    """AUROC and FPR95 from the logits that ONNX Runtime gives. msp is left out: near 1, float32 ties where float64 does not."""
    known = np.load(folder / "test.npz")["input"]
    for name in ("energy", "margin"):
        for metrics in next(entry for entry in found if entry["score"] == name)["sets"]:
            strange = np.load(folder / f"{metrics['set'].lower().replace(' ', '_')}.npy")
            inside, outside = (scores_of(logits_of(folder / f"{key}.onnx", "logits", x))[name] for x in (known, strange))
            expected = separation(inside, outside)
            assert metrics["auroc"]["value"] == pytest.approx(expected["auroc"], abs=1e-6), (key, name)
            assert metrics["fpr_at_tpr"]["value"] == pytest.approx(expected["in_positive"], abs=1e-6), (key, name)


def test_small_models_are_what_their_scripts_make(root, training_python):
    command = [training_python, str(root / "onnx_models" / "make.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
