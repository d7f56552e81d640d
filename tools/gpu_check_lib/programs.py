"""The programs that the steps run: built by cargo, or taken from a bundle that was built elsewhere."""

import json
import os
import pathlib
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
PLUGIN = {"darwin": "libelonnx.dylib", "win32": "elonnx.dll"}.get(sys.platform, "libelonnx.so")
# what each file of a bundle is called
FILES = {"tests": "cuda_tests", "bench": "cuda_bench", "elonnx": "elonnx", "plugin": PLUGIN,
         "sanitizer": "compute-sanitizer/compute-sanitizer"}
# the plugin as it ships, in a folder of its own: cargo build would build all dependencies anew
BUILD_PLUGIN = ["cargo", "rustc", "--locked", "--release", "--lib", "--crate-type", "cdylib", "--no-default-features",
                "--features", "cuda", "--target-dir", str(TARGET / "plugin")]


class Missing(Exception):
    """A program isn't there and can't be built; the text says what to do."""


class Programs:
    """Paths by what they are for; a path that was given wins over the bundle's, and that over building."""

    def __init__(self, given, bundle=None, profile="release"):
        self.profile = profile
        self.found = {key: pathlib.Path(path).resolve() for key, path in given.items() if path}
        for key, path in self.found.items():
            if not path.is_file():
                raise Missing(f"no file {path} (--{key})")
        for key, name in FILES.items() if bundle else ():
            path = pathlib.Path(bundle).resolve() / name
            if path.is_file():
                self.found.setdefault(key, path)

    def path(self, key):
        if key not in self.found:
            self.found[key] = {"tests": self.build_tests, "bench": self.build_bench, "elonnx": self.build_elonnx,
                               "plugin": self.build_plugin, "sanitizer": self.find_sanitizer}[key]()
        return self.found[key]

    def build_tests(self):
        return built("tests", ["cargo", "test", "--locked", "--profile", "ci", "--test", "cuda", "--no-run"], "cuda", "test")

    def build_bench(self):
        return built("bench", ["cargo", "bench", "--locked", "--profile", self.profile, "--bench", "cuda", "--no-run"],
                     "cuda", "bench")

    def build_elonnx(self):
        # tests of the command need the command
        return built("elonnx", ["cargo", "test", "--locked", "--profile", "ci", "--test", "command", "--no-run"],
                     "elonnx", "bin")

    def build_plugin(self):
        require_cargo("plugin")
        run(BUILD_PLUGIN)
        return TARGET / "plugin" / "release" / PLUGIN

    def find_sanitizer(self):
        found = shutil.which("compute-sanitizer")
        usual = pathlib.Path("/usr/local/cuda/bin/compute-sanitizer")
        if found or usual.is_file():
            return pathlib.Path(found or usual)
        raise Missing("no compute-sanitizer: it is part of the CUDA toolkit, and of the bundle that "
                      "`tools/gpu_check bundle` makes")


def built(key, command, name, kind):
    """The executable of that name and kind of target that cargo says it made."""
    require_cargo(key)
    done = run([*command, "--message-format=json"])
    artifacts = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    paths = [a["executable"] for a in artifacts
             if a.get("reason") == "compiler-artifact" and a["target"]["name"] == name and kind in a["target"]["kind"]
             and a.get("executable")]
    if not paths:
        raise Missing(f"cargo made no executable {name} with `{' '.join(command)}`")
    return pathlib.Path(paths[-1])


def require_cargo(key):
    if not shutil.which("cargo"):
        raise Missing(f"cargo is not here to build it: name the file with --{key}, or an archive that "
                      "`tools/gpu_check bundle` made elsewhere with --bundle")


def run(command):
    done = subprocess.run([str(part) for part in command], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        raise Missing(f"`{' '.join(map(str, command))}` failed, see above")
    return done
