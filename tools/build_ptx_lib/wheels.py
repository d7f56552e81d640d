"""NVIDIA's compilers as they come in wheels: pinned, checked against their hashes, installed once under target/tools."""

import fcntl
import os
import pathlib
import platform
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
TOOLS = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "tools"


class Unavailable(Exception):
    """No such wheel exists for this system."""


class InstallFailed(Exception):
    """The wheel exists, but pip could not install it."""


class Wheel:
    """A pinned wheel: `hashes` maps a machine of Linux to the SHA-256 of its file."""

    def __init__(self, name, version, hashes):
        self.name, self.version, self.hashes = name, version, hashes

    def install(self):
        """The folder that the wheel is unpacked in, after installing it if it isn't there."""
        machine = platform.machine()
        if sys.platform != "linux" or machine not in self.hashes:
            known = " and ".join(self.hashes)
            raise Unavailable(f"{self.name} {self.version} exists for Linux on {known} only, not for {sys.platform} "
                              f"on {machine}")
        recipe = f"{self.name}=={self.version} --hash=sha256:{self.hashes[machine]}"
        folder = TOOLS / f"{self.name}-{self.version}"
        marker = folder / "made-from"
        folder.parent.mkdir(parents=True, exist_ok=True)
        # two at a time would unmake each other's folder
        with open(folder.with_name("build_ptx.lock"), "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not marker.exists() or marker.read_text() != recipe:
                print(f"build_ptx: installing {self.name} {self.version} in {folder}", file=sys.stderr, flush=True)
                shutil.rmtree(folder, ignore_errors=True)
                self.unpack(recipe, folder)
                marker.write_text(recipe)
        return folder

    def unpack(self, recipe, folder):
        pip = folder.with_name("build_ptx-pip")
        if not (pip / "bin" / "pip").exists():
            # not every system's Python has a pip of its own
            shutil.rmtree(pip, ignore_errors=True)
            run(sys.executable, "-m", "venv", pip)
        requirements = folder.with_name(folder.name + ".txt")
        requirements.write_text(recipe + "\n")
        # --no-deps: the compilers stand alone
        run(pip / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile",
            "--no-deps", "--only-binary=:all:", "--require-hashes", "--target", folder, "--requirement", requirements)


def run(*command):
    """Runs a command; its output is shown only when it fails."""
    done = subprocess.run([str(part) for part in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        raise InstallFailed(f"`{' '.join(str(part) for part in command)}` failed:\n{done.stdout.strip()}")


# the oldest PTX that has what the kernels need: 8.0, which drivers from R525 on take
NVRTC = Wheel("nvidia-cuda-nvrtc-cu12", "12.0.140", {
    "x86_64": "8e94e991d85c422de4da87bdc7472fdc1364367bd4aace7000b559cd33122071",
})
# new enough to know every architecture of occupancy.py
NVCC = Wheel("nvidia-cuda-nvcc-cu12", "12.9.86", {
    "x86_64": "5d6a0d32fdc7ea39917c20065614ae93add6f577d840233237ff08e9a38f58f0",
    "aarch64": "44e1eca4d08926193a558d2434b1bf83d57b4d5743e0c431c0c83d51da1df62b",
})
