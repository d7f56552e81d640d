"""ptxas of the pinned wheel: what the PTX becomes on the architectures, in registers, shared and local memory."""

import concurrent.futures
import dataclasses
import os
import pathlib
import re
import subprocess
import tempfile

import occupancy
import wheels


@dataclasses.dataclass
class Kernel:
    """One kernel on one architecture."""

    module: str
    name: str
    architecture: str
    threads: int | None  # of a block, by its launch bounds
    registers: int
    static_shared: int
    local: int  # bytes of stack and spills

    def blocks(self):
        """Blocks on a multiprocessor by registers, threads and static shared memory; None without launch bounds."""
        if self.threads is None:
            return None
        return occupancy.blocks(self.architecture, self.threads, self.registers, self.static_shared)


class AssemblyError(Exception):
    """ptxas refuses a file; the text is what it says."""


def assemble(paths):
    """Every kernel of these PTX files on every architecture; messages of files that don't assemble."""
    binary = wheels.NVCC.install() / "nvidia" / "cuda_nvcc" / "bin" / "ptxas"
    jobs = [(path, architecture) for path in paths for architecture in occupancy.ARCHITECTURES]
    kernels, errors = [], []
    with tempfile.TemporaryDirectory() as folder, concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for done in pool.map(lambda job: attempt(binary, *job, pathlib.Path(folder)), jobs):
            if isinstance(done, AssemblyError):
                errors.append(str(done))
            else:
                kernels += done
    return kernels, errors


def attempt(binary, path, architecture, folder):
    cubin = folder / f"{path.stem}.{architecture}.cubin"
    done = subprocess.run([binary, "--verbose", f"--gpu-name={architecture}", path, f"--output-file={cubin}"],
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        return AssemblyError(f"{path.name} for {architecture}: {done.stdout.strip()}")
    found = parse(done.stdout, path.stem, architecture, launch_bounds(path.read_text()))
    expected = len(re.findall(r"^\.visible \.entry ", path.read_text(), re.MULTILINE))
    if len(found) != expected:
        return AssemblyError(f"{path.name} for {architecture}: {expected} kernels, but ptxas tells of {len(found)}:\n"
                             + done.stdout.strip())
    return found


def launch_bounds(ptx):
    """The threads of a block that each kernel is bound to."""
    bounds = {}
    for name, directives in re.findall(r"^\.visible \.entry (\w+)\((?:[^)]*)\)([^{]*)\{", ptx, re.MULTILINE):
        most = re.search(r"\.(?:maxntid|reqntid) (\d+)(?:, (\d+), (\d+))?", directives)
        if most:
            x, y, z = (int(n or 1) for n in most.groups())
            bounds[name] = x * y * z
    return bounds


def parse(text, module, architecture, bounds):
    """The kernels that `ptxas --verbose` tells of. What a called function spills counts for all kernels."""
    kernels, name, frames = [], None, {}
    for line in text.splitlines():
        if properties := re.search(r"Function properties for (\S+)", line):
            name = properties[1]
        elif frame := re.search(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", line):
            frames[name] = sum(map(int, frame.groups()))
        elif used := re.search(r"Used (\d+) registers(.*)", line):
            shared = re.search(r"(\d+) bytes smem", used[2])
            local = re.search(r"(\d+) bytes lmem", used[2])
            kernels.append(Kernel(module, name, architecture, bounds.get(name), int(used[1]),
                                  int(shared[1]) if shared else 0, frames[name] + (int(local[1]) if local else 0)))
    called = {function: size for function, size in frames.items() if function not in {k.name for k in kernels}}
    for kernel in kernels:
        kernel.local += sum(called.values())
    return kernels
