"""A folder with all that a machine without cargo and without a network needs."""

import pathlib
import shutil
import subprocess
import sys

from programs import FILES, ROOT, Programs

sys.path.insert(0, str(ROOT / "tools" / "build_ptx_lib"))
import wheels  # noqa: E402

SANITIZER = wheels.Wheel("nvidia-cuda-sanitizer-api-cu12", "12.9.79", {
    "x86_64": "61e6bb66755cd13b89a32f5bda090022ef50c310eec404cc440fae4a3a405ee7",
})


def make(folder, programs=None):
    """Builds everything and copies it into `folder`; the sizes by name."""
    programs = programs or Programs({})
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for key in ("tests", "bench", "elonnx", "plugin"):
        copy = folder / FILES[key]
        shutil.copy2(programs.path(key), copy)
        if shutil.which("strip"):
            # debug information is most of a test program
            subprocess.run(["strip", "--strip-debug", copy], check=True)
    add_sanitizer(folder / "compute-sanitizer")
    return {str(path.relative_to(folder)): path.stat().st_size for path in sorted(folder.rglob("*")) if path.is_file()}


def add_sanitizer(folder):
    try:
        wheel = SANITIZER.install() / "nvidia" / "cuda_sanitizer_api"
    except (wheels.Unavailable, wheels.InstallFailed) as error:
        print(f"gpu_check: the bundle is without compute-sanitizer: {error}", file=sys.stderr)
        return
    for part in ("bin", "lib"):
        shutil.copytree(wheel / part, folder / part, dirs_exist_ok=True)
    (folder / "bin" / "compute-sanitizer").chmod(0o755)
