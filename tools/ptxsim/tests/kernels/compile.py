#!/usr/bin/env python3
"""Compiles the .cu files beside it to the .ptx files that the tests read.

Usage: compile.py DIRECTORY
DIRECTORY holds libnvrtc.so.12, as `pip download nvidia-cuda-nvrtc-cu12==12.0.140` and `unzip` bring it.
"""

import ctypes
import pathlib
import sys

OPTIONS = [b"--gpu-architecture=compute_80", b"--std=c++17"]


def compile_file(nvrtc, source):
    program = ctypes.c_void_p()
    text = source.read_bytes()
    check(nvrtc.nvrtcCreateProgram(ctypes.byref(program), text, source.name.encode(), 0, None, None))
    failed = nvrtc.nvrtcCompileProgram(program, len(OPTIONS), (ctypes.c_char_p * len(OPTIONS))(*OPTIONS))
    if failed:
        sys.exit(f"{source}:\n" + fetch(nvrtc, program, "ProgramLog").decode())
    source.with_suffix(".ptx").write_bytes(fetch(nvrtc, program, "PTX"))


def fetch(nvrtc, program, what):
    size = ctypes.c_size_t()
    check(getattr(nvrtc, f"nvrtcGet{what}Size")(program, ctypes.byref(size)))
    buffer = ctypes.create_string_buffer(size.value)
    check(getattr(nvrtc, f"nvrtcGet{what}")(program, buffer))
    return buffer.raw.rstrip(b"\0")


def check(code):
    if code:
        sys.exit(f"NVRTC error {code}")


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        sys.exit(__doc__)
    library = ctypes.CDLL(str(pathlib.Path(sys.argv[1]) / "libnvrtc.so.12"))
    for path in sorted(pathlib.Path(__file__).parent.glob("*.cu")):
        compile_file(library, path)
        print(path.with_suffix(".ptx"))
