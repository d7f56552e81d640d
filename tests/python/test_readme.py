"""The commands of the README's tour, in order, in a copy of what they use."""

import os
import pathlib
import re
import shutil
import subprocess
import sys

BLOCK = re.compile(r"^```(sh|python)\n(.*?)^```", re.MULTILINE | re.DOTALL)
BUILDS = ("cargo build", "export PATH")


def tour(root):
    """(language, code) of every block that is run as it stands."""
    text = (root / "README.md").read_text()
    part = text[text.index("## Five-minute tour") : text.index("## Reference")]
    return BLOCK.findall(part)


def test_tour_runs(root, elonnx, models, tmp_path):
    shutil.copytree(models, tmp_path / "onnx_models")
    (tmp_path / "target").mkdir()
    folder = pathlib.Path(elonnx.path).resolve().parent
    # python3 is the one that has onnxruntime, as the tour asks for
    path = os.pathsep.join([str(folder), str(pathlib.Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path}
    blocks = tour(root)
    assert len(blocks) >= 8
    for language, code in blocks:
        lines = [line for line in code.splitlines() if not line.startswith(BUILDS)]
        command = ["bash", "-euo", "pipefail", "-c"] if language == "sh" else [sys.executable, "-c"]
        done = subprocess.run(
            [*command, "\n".join(lines)], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, f"{code}\n{done.stdout}\n{done.stderr}"


def test_links_and_files_exist(root):
    text = (root / "README.md").read_text()
    for target in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (root / target).exists(), target
    for path in re.findall(r"\b(?:onnx_models|tools|tests)/[\w./]+\w", text):
        assert (root / path).exists(), path
