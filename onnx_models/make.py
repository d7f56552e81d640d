#!/usr/bin/env python3
"""Makes every model of this folder again.

    python onnx_models/make.py                 writes the files
    python onnx_models/make.py --check         makes them in a temporary folder and compares the bytes
    python onnx_models/make.py --graphs-only   leaves out artifacts/, which need onnxruntime-training-cpu

Written with onnx 1.16.2, numpy 1.26.4 and onnxruntime-training-cpu 1.19.2 (tools/demo makes such an environment).
"""

import argparse
import os
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
SCRIPTS = os.path.join(HERE, "scripts")
sys.path.insert(0, SCRIPTS)


def make_graphs(folder):
    """Writes the models that need only the onnx package; returns their paths relative to ``folder``."""
    import cross_entropy
    import decomposed
    import encouraging
    import heads
    import other_losses
    import placed

    written = []
    for module in (cross_entropy, decomposed, encouraging, other_losses, placed, heads):
        for path, make in module.MODELS.items():
            written.append(_write(folder, path, lambda _, make=make: make()))
    for path, make in placed.WITH_EXTERNAL_DATA.items():
        written.append(_write(folder, path, make))
        written.append(os.path.join(os.path.dirname(path), "external_data.bin"))
    return written


def _write(folder, path, make):
    target = os.path.join(folder, path)
    os.makedirs(os.path.dirname(target), exist_ok=True)
    data = make(os.path.dirname(target)).SerializeToString(deterministic=True)
    with open(target, "wb") as file:
        file.write(data)
    return path


def make_artifacts(folder):
    """Writes the folders of artifacts/, each in its own process: names count up within a process."""
    written = []
    for name in ("mlp", "mlp_internal_loss", "mlp_float16_internal_loss", "cnn"):
        target = os.path.join(folder, "artifacts", name)
        code = f"import networks, ort_training; ort_training.generate(networks.{name}(), {target!r})"
        run = subprocess.run([sys.executable, "-c", code], cwd=SCRIPTS, stderr=subprocess.PIPE, text=True)
        if run.returncode:
            sys.exit(f"making {target} failed:\n{run.stderr[-3000:]}")
        files = ("training_model.onnx", "eval_model.onnx", "optimizer_model.onnx", "checkpoint")
        written += [os.path.join("artifacts", name, file) for file in files]
    return written


def make(folder, graphs_only):
    return make_graphs(folder) + ([] if graphs_only else make_artifacts(folder))


def check(graphs_only):
    """Exits with 1 and the names where the committed bytes differ from fresh ones."""
    with tempfile.TemporaryDirectory() as folder:
        paths = make(folder, graphs_only)
        different = [path for path in paths if _bytes(folder, path) != _bytes(HERE, path)]
    if different:
        sys.exit("these files differ from what the scripts make:\n  " + "\n  ".join(different))
    print(f"{len(paths)} files are what the scripts make")


def _bytes(folder, path):
    try:
        with open(os.path.join(folder, path), "rb") as file:
            return file.read()
    except FileNotFoundError:
        return None


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare instead of writing")
    parser.add_argument("--graphs-only", action="store_true", help="leave out artifacts/")
    arguments = parser.parse_args()
    if arguments.check:
        check(arguments.graphs_only)
        return
    paths = make(HERE, arguments.graphs_only)
    size = sum(os.path.getsize(os.path.join(HERE, path)) for path in paths)
    print(f"{len(paths)} files, {size / 1024:.0f} KiB")


if __name__ == "__main__":
    main()
