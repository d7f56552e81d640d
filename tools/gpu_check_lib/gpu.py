"""The GPU of this machine: what the driver says of it, and its clocks while something runs."""

import ctypes
import shutil
import statistics
import subprocess

# what is asked of nvidia-smi while a benchmark runs
WATCHED = {"sm_clock_mhz": "clocks.sm", "memory_clock_mhz": "clocks.mem", "power_w": "power.draw",
           "temperature_c": "temperature.gpu"}
ATTRIBUTES = {"multiprocessors": 16, "l2_bytes": 38, "compute_major": 75, "compute_minor": 76}


def describe():
    """Facts of the first GPU, or None where there is no driver or no GPU."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return None
    device, count, version, number = (ctypes.c_int() for _ in range(4))
    name, memory = ctypes.create_string_buffer(256), ctypes.c_size_t()
    if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0 or count.value == 0:
        return None
    driver.cuDeviceGet(ctypes.byref(device), 0)
    driver.cuDeviceGetName(name, 256, device)
    driver.cuDriverGetVersion(ctypes.byref(version))
    driver.cuDeviceTotalMem_v2(ctypes.byref(memory), device)
    facts = {"name": name.value.decode(), "memory_bytes": memory.value,
             "cuda": f"{version.value // 1000}.{version.value % 1000 // 10}"}
    for key, attribute in ATTRIBUTES.items():
        driver.cuDeviceGetAttribute(ctypes.byref(number), attribute, device)
        facts[key] = number.value
    return {**facts, **settings()}


def settings():
    """Driver version and limits, where nvidia-smi is there to tell them."""
    asked = {"driver": "driver_version", "sm_clock_max_mhz": "clocks.max.sm", "memory_clock_max_mhz": "clocks.max.mem",
             "power_limit_w": "power.limit"}
    if not shutil.which("nvidia-smi"):
        return {}
    done = subprocess.run(query(asked), capture_output=True, text=True)
    if done.returncode != 0 or not done.stdout.strip():
        return {}
    values = [value.strip() for value in done.stdout.splitlines()[0].split(",")]
    return {key: value if key == "driver" else number_of(value) for key, value in zip(asked, values)}


def query(fields):
    return ["nvidia-smi", "--id=0", f"--query-gpu={','.join(fields.values())}", "--format=csv,noheader,nounits"]


def number_of(text):
    """None for what nvidia-smi does not know, such as [N/A]."""
    try:
        return float(text)
    except ValueError:
        return None


class Watch:
    """Clocks, power and temperature from `with` to its end, in `facts`: median and least and largest of each."""

    def __init__(self, milliseconds=200):
        self.milliseconds, self.process, self.facts = milliseconds, None, {}

    def __enter__(self):
        if shutil.which("nvidia-smi"):
            command = [*query(WATCHED), f"--loop-ms={self.milliseconds}"]
            self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        return self

    def __exit__(self, *_):
        if not self.process:
            return
        self.process.terminate()
        lines = self.process.communicate()[0].splitlines()
        rows = [[number_of(cell.strip()) for cell in line.split(",")] for line in lines]
        for at, key in enumerate(WATCHED):
            found = [row[at] for row in rows if len(row) == len(WATCHED) and row[at] is not None]
            if found:
                self.facts[key] = {"median": statistics.median(found), "least": min(found), "most": max(found)}
