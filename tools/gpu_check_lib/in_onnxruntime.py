"""The operators in sessions of the ONNX Runtime of this interpreter; started by tools/gpu_check.

    in_onnxruntime.py '{"provider": "CUDAExecutionProvider", "plugin": PATH, "patched": PATH or null}'

Prints a JSON object for each check, on a line of its own.
"""

import json
import pathlib
import sys
import tempfile
import traceback

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path += [str(ROOT / "tests" / "plugin"), str(ROOT / "tools" / "bench_ort_lib")]

import numpy as np  # noqa: E402
import onnxruntime as ort  # noqa: E402

import models  # noqa: E402
import problem  # noqa: E402
import training_graph  # noqa: E402

DOMAIN = "ai.elonnx"
# relative to the largest number of its kind: rounding of the type, and what 32-bit sums may lose
TOLERANCE = {"f32": 1e-5, "f64": 1e-11, "f16": 1e-3, "bf16": 8e-3}
# below these a mean's gradient is less than half of f16's smallest step
TINY = {"f16": 6e-8}
SHAPES = [(64, 10), (33, 1000), (5, 50257), (2, 21, 16, 16)]
STEPS = 60
GRAPH_SHAPE = (257, 1001)


class Wrong(Exception):
    """A check found something; the text says what."""


class Sessions:
    """Sessions with the plugin on one provider."""

    def __init__(self, task):
        self.plugin, self.patched = task["plugin"], task.get("patched")
        self.provider = task["provider"]
        self.device = "cuda" if self.provider == "CUDAExecutionProvider" else "cpu"

    def make(self, model, provider=None, profile=None, **provider_options):
        options = ort.SessionOptions()
        options.log_severity_level = 3
        options.register_custom_ops_library(self.plugin)
        if profile:
            options.enable_profiling, options.profile_file_prefix = True, profile
        provider = provider or self.provider
        model = model if isinstance(model, str) else model.SerializeToString()
        session = ort.InferenceSession(model, options, providers=[(provider, provider_options)])
        if provider not in session.get_providers():
            raise Wrong(f"ONNX Runtime could not use {provider}; run it with a lower log level to see why")
        return session

    def run(self, model, feeds, provider=None):
        session = self.make(model, provider)
        return dict(zip([output.name for output in session.get_outputs()], session.run(None, feeds)))

    def to_device(self, array):
        return ort.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(array), self.device, 0)


def operators(sessions):
    """Each operator of each type, against float64."""
    worst = {}
    for t in models.NUMPY:
        for shape in SHAPES:
            x, y = logits_and_labels(t, shape)
            want = loss_and_gradient(x, y)
            for label in models.LABELS:
                for op in (models.LOSS, models.GRAD, models.BOTH):
                    found = run_operator(sessions, op, t, label, x, y, want["margin"])
                    for name, array in found.items():
                        # margins are float32 whatever the logits are
                        allowed = TOLERANCE["f32" if name == "margin" else t]
                        off = error(array, want[name], 0 if name == "margin" else TINY.get(t, 0))
                        if not off <= allowed:
                            raise Wrong(f"{op} {t} {label} {list(shape)}: {name} is off by {off:.2e} of its largest "
                                        f"number, where {allowed:.0e} is allowed")
                        worst[t] = max(worst.get(t, 0), 0 if name == "margin" else off)
    return "largest errors " + ", ".join(f"{t} {off:.1e}" for t, off in worst.items())


def logits_and_labels(t, shape, seed=0):
    """Logits as the type holds them; half of the rows are right, so that both branches of the bonus are used."""
    generator = np.random.default_rng(seed)
    x = 2 * generator.standard_normal(shape)
    y = generator.integers(0, shape[1], (shape[0], *shape[2:]))
    problem.raise_every_second_label(x, y)
    return models.quantized(x, t), y


def loss_and_gradient(x, y):
    return problem.loss_and_grad(x, y, 1.0)


def run_operator(sessions, op, t, label, x, y, margin):
    feeds = {"logits": x, "labels": y.astype(models.LABELS[label][0])}
    if op == models.GRAD:
        feeds |= {"dloss": models.quantized(np.array(1.0), t), "margin": margin.astype(np.float32)}
    return sessions.run(models.op_model(op, t, label, list(feeds), models.OUTPUTS[op]), feeds)


def error(found, want, tiny=0.0):
    found = np.asarray(found, np.float64)
    if found.shape != np.shape(want):
        raise Wrong(f"shape {found.shape} where {np.shape(want)} was expected")
    # NaN is not smaller than anything, so it stays the largest
    return float(np.max(np.maximum(np.abs(found - want) - tiny, 0)) / np.max(np.abs(want)))


def placement(sessions):
    """Where ONNX Runtime ran each operator, as its profile has it."""
    with tempfile.TemporaryDirectory() as folder:
        for op in (models.LOSS, models.GRAD, models.BOTH):
            feeds = {"logits": np.zeros((4, 5), np.float32), "labels": np.zeros(4, np.int64)}
            if op == models.GRAD:
                feeds["dloss"] = np.float32(1)
            session = sessions.make(models.op_model(op), profile=f"{folder}/{op}")
            session.run(None, {name: np.asarray(value) for name, value in feeds.items()})
            events = json.loads(pathlib.Path(session.end_profiling()).read_text())
            where = {event["args"]["provider"] for event in events
                     if event.get("args", {}).get("op_name") == op and "provider" in event["args"]}
            if where != {sessions.provider}:
                raise Wrong(f"{op} ran on {', '.join(where) or 'nothing'}, not on {sessions.provider}")
    return f"all three on {sessions.provider}"


def patched(sessions):
    """A model that `elonnx patch` rewrote, on the provider and on the CPU."""
    if not sessions.patched:
        return None
    generator = np.random.default_rng(3)
    feeds = {}
    for tensor in sessions.make(sessions.patched, "CPUExecutionProvider").get_inputs():
        dims = [dim if isinstance(dim, int) else 32 for dim in tensor.shape]
        if "int" in tensor.type:
            dtype = np.int64 if "64" in tensor.type else np.int32
            # a label is any class; all models of the repository have at least two
            feeds[tensor.name] = generator.integers(0, 2, dims).astype(dtype)
        else:
            feeds[tensor.name] = generator.standard_normal(dims).astype(np.float32)
    here, there = sessions.run(sessions.patched, feeds), sessions.run(sessions.patched, feeds, "CPUExecutionProvider")
    for name, want in there.items():
        if not error(here[name], want) <= 1e-4:
            raise Wrong(f"output {name} is off by {error(here[name], want):.2e} of its largest number")
    return f"{len(there)} outputs as on the CPU"


def training(sessions):
    """Some steps of gradient descent with everything on the device, against the same steps on the CPU."""
    losses = train(sessions, sessions.provider, sessions.device)
    expected = train(sessions, "CPUExecutionProvider", "cpu")
    apart = np.max(np.abs(losses - expected))
    if not apart <= 1e-2:
        raise Wrong(f"losses of the steps differ from the CPU's by up to {apart:.2e}")
    if not losses[-1] < losses[0] - 1:
        raise Wrong(f"the loss went from {losses[0]:.3f} to {losses[-1]:.3f} in {STEPS} steps: it should fall by more than 1")
    return f"loss {losses[0]:.3f} to {losses[-1]:.3f} in {STEPS} steps, at most {apart:.1e} from the CPU's"


def train(sessions, provider, device):
    session = sessions.make(training_graph.model(), provider)
    place = lambda array: ort.OrtValue.ortvalue_from_numpy(array, device, 0)  # noqa: E731
    weights = {name: place(array) for name, array in training_graph.first_weights().items()}
    losses = []
    for x, labels in training_graph.batches(STEPS):
        binding = session.io_binding()
        inputs = {"x": place(x), "labels": place(labels.astype(np.int64)), **weights}
        for name, value in inputs.items():
            binding.bind_ortvalue_input(name, value)
        outputs = [output.name for output in session.get_outputs()]
        for name in outputs:
            binding.bind_output(name, device)
        session.run_with_iobinding(binding)
        found = dict(zip(outputs, binding.get_outputs()))
        losses.append(float(found["loss"].numpy()))
        weights = {name: found[f"new_{name}"] for name in weights}
    return np.array(losses)


def cuda_graph(sessions):
    """The loss and its gradient in a captured graph: replayed on new numbers in the same memory."""
    if sessions.device != "cuda":
        return None
    model = models.op_model(models.BOTH, outputs=models.OUTPUTS[models.BOTH],
                            shapes={"logits": GRAPH_SHAPE, "labels": GRAPH_SHAPE[:1]})
    session = sessions.make(model, enable_cuda_graph="1")
    x, y = logits_and_labels("f32", GRAPH_SHAPE)
    values = {"logits": sessions.to_device(x), "labels": sessions.to_device(y)}
    shapes = {"loss": (), "margin": GRAPH_SHAPE[:1], "dlogits": GRAPH_SHAPE}
    results = {name: sessions.to_device(np.zeros(shape, np.float32)) for name, shape in shapes.items()}
    binding = session.io_binding()
    for name, value in values.items():
        binding.bind_ortvalue_input(name, value)
    for name, value in results.items():
        binding.bind_ortvalue_output(name, value)
    for seed in range(1, 5):
        session.run_with_iobinding(binding)
        want = loss_and_gradient(x, y)
        for name, value in results.items():
            off = error(value.numpy(), want[name])
            if not off <= TOLERANCE["f32"]:
                raise Wrong(f"{name} of run {seed} is off by {off:.2e} of its largest number")
        x, y = logits_and_labels("f32", GRAPH_SHAPE, seed)
        values["logits"].update_inplace(x)
        values["labels"].update_inplace(y)
    return "captured once, run four times on new numbers"


CHECKS = {"placement": placement, "operators": operators, "patched": patched, "training": training,
          "cuda_graph": cuda_graph}


def main():
    task = json.loads(sys.argv[1])
    say(check="environment", result="passed", about=f"onnxruntime {ort.__version__}")
    if hasattr(ort, "preload_dlls") and task["provider"] == "CUDAExecutionProvider":
        # CUDA and cuDNN from wheels, where the system has none
        ort.preload_dlls()
    sessions = Sessions(task)
    for name, check in CHECKS.items():
        try:
            about = check(sessions)
        except Wrong as wrong:
            say(check=name, result="FAILED", why=str(wrong))
        except Exception:  # ONNX Runtime's errors are of many kinds
            say(check=name, result="FAILED", why=traceback.format_exc(limit=-3).strip())
        else:
            say(check=name, **({"result": "passed", "about": about} if about else {"result": "NOT RUN"}))


def say(**line):
    print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
