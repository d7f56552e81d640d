"""An archive of all that a machine without cargo and without a network needs."""

import lzma
import pathlib
import shutil
import subprocess
import sys
import tarfile
import tempfile

from programs import FILES, ROOT, Missing

sys.path.insert(0, str(ROOT / "tools" / "build_ptx_lib"))
import wheels  # noqa: E402

SANITIZER = wheels.Wheel("nvidia-cuda-sanitizer-api-cu12", "12.9.79", {
    "x86_64": "61e6bb66755cd13b89a32f5bda090022ef50c310eec404cc440fae4a3a405ee7",
})


def make(archive, programs):
    """Builds everything and writes it into `archive`, a .tar.xz; the sizes of what is in it by name."""
    archive = pathlib.Path(archive)
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        for key in ("tests", "bench", "elonnx", "plugin"):
            copy = folder / FILES[key]
            shutil.copy2(programs.path(key), copy)
            if shutil.which("strip"):
                # names and debug information are a quarter of a test program
                subprocess.run(["strip", copy], check=True)
        add_sanitizer(folder / "compute-sanitizer")
        part = archive.with_name(archive.name + ".part")
        with tarfile.open(part, "w:xz", preset=3) as tar:
            tar.add(folder, ".")
        part.replace(archive)
        return {str(path.relative_to(folder)): path.stat().st_size
                for path in sorted(folder.rglob("*")) if path.is_file()}


def unpack(archive, folder):
    """Takes the place of what an earlier bundle left in `folder`."""
    shutil.rmtree(folder, ignore_errors=True)
    try:
        with tarfile.open(archive) as tar:
            tar.extractall(folder, filter="data")
    except (tarfile.TarError, lzma.LZMAError, EOFError) as error:
        raise Missing(f"{archive} is no bundle: {error}") from error
    return folder


def add_sanitizer(folder):
    try:
        wheel = SANITIZER.install() / "nvidia" / "cuda_sanitizer_api"
    except (wheels.Unavailable, wheels.InstallFailed) as error:
        print(f"gpu_check: the bundle is without compute-sanitizer: {error}", file=sys.stderr)
        return
    # in one folder, as in the toolkit: it looks for its libraries beside itself
    for part in ("bin", "lib"):
        shutil.copytree(wheel / part, folder, dirs_exist_ok=True)
    (folder / "compute-sanitizer").chmod(0o755)
