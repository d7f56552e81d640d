"""Measures in the ONNX Runtime of this interpreter; started by tools/bench_ort."""

import functools
import gc
import json
import pathlib
import statistics
import tempfile

import numpy as np
import onnxruntime as ort

import graphs
import report
import timing
from graphs import Case
from problem import Problem, aligned

NODES = 200
RUNS_PER_SAMPLE = 10


def cases(task):
    """The rows of this process: the operators and what they replace, or the pairs of ORT Training's graphs."""
    ours = {"EncouragingLoss": graphs.encouraging,
            "EncouragingLossGrad": graphs.encouraging_grad,
            "EncouragingLossAndGrad": graphs.encouraging_both}
    pair = {"EncouragingLoss + Grad": graphs.encouraging_pair}
    if task["training"]:
        internal = Case("SoftmaxCrossEntropyLossInternal + Grad", graphs.internal_pair, 0.0)
        return [internal, *with_plugin(pair, 1.0), *with_plugin(pair, 0.0)]
    return [
        Case("SoftmaxCrossEntropyLoss (builtin)", graphs.builtin, 0.0, role="builtin"),
        *with_plugin(ours, 1.0),
        *with_plugin(ours, 0.0),
        *with_plugin(pair, 1.0),
        Case("cross entropy, decomposed", graphs.decomposed_cross_entropy, 0.0),
        Case("encouraging loss, decomposed", graphs.decomposed_gathered, 1.0),
        Case("encouraging loss as published", graphs.decomposed_whole, 1.0),
        body("EncouragingLoss, body, no plugin", graphs.builtin, task["elonnx"]),
        body("EncouragingLoss + Grad, body, no plugin", graphs.internal_pair, task["elonnx"]),
    ]


def with_plugin(forms, bonus_weight):
    suffix = "" if bonus_weight else ", bonus_weight 0"
    return [Case(name + suffix, functools.partial(make, bonus_weight=bonus_weight), bonus_weight, plugin=True)
            for name, make in forms.items()]


def body(name, make, elonnx):
    """What `elonnx patch` makes of a cross entropy, run without the plugin."""
    return Case(name, lambda problem: graphs.patched(make(problem), elonnx), 1.0)


def make_session(model, task, plugin, optimise=True, profile=None):
    options = ort.SessionOptions()
    options.intra_op_num_threads = task["threads"]
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "1")
    if not optimise:
        # equal nodes would be merged, and Identity dropped
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    if profile:
        options.enable_profiling, options.profile_file_prefix = True, profile
    if plugin:
        options.register_custom_ops_library(task["plugin"])
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


class Bound:
    """A session whose inputs and outputs lie in arrays made beforehand, one binding per buffer of logits.

    Nothing the caller gets is allocated during a run, so that no page is touched for the first time while the clock
    runs; what lies between two nodes comes from ONNX Runtime's arena, which keeps its memory from run to run.
    """

    def __init__(self, session, problem, copies):
        self.session = session
        self.outputs = []
        self._bindings, self._kept = [], []
        for i in range(copies):
            inputs = self._inputs(problem, i)
            outputs = {given.name: aligned(output_shape(given.name, problem), numpy_type(given.type))
                       for given in session.get_outputs()}
            binding = session.io_binding()
            for arrays, bind in ((inputs, binding.bind_input), (outputs, binding.bind_output)):
                for name, array in arrays.items():
                    bind(name, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data)
            self.outputs.append(outputs)
            self._bindings.append(binding)
            self._kept.append(inputs)

    def _inputs(self, problem, i):
        every = {"logits": problem.logits[i], "labels": problem.labels, "one": np.ones((), np.float32)}
        wanted = [given.name for given in self.session.get_inputs()]
        if "margin" in wanted:
            margin = aligned(problem.labels.shape, np.float32)
            margin[...] = problem.expected(0.0)["margin"]
            every["margin"] = margin
        return {name: every[name] for name in wanted}

    def run_each(self, indices):
        for i in indices:
            self.session.run_with_iobinding(self._bindings[i])


def output_shape(name, problem):
    return {"loss": (), "same": (), "margin": problem.labels.shape, "dlogits": problem.shape}[name]


def numpy_type(name):
    return {"tensor(float)": np.float32, "tensor(float16)": np.float16}[name]


def complaint(bound, problem, case):
    """Runs once; None if every output is right."""
    for array in bound.outputs[0].values():
        array[...] = np.nan
    bound.run_each([0])
    found = (problem.complaint(name, array, case.bonus_weight) for name, array in bound.outputs[0].items())
    return next(filter(None, found), None)


def measure(case, problem, task, say):
    model = case.model(problem)
    bound = Bound(make_session(model, task, case.plugin), problem, problem.copies)
    wrong = complaint(bound, problem, case)
    if wrong:
        say.skipped(case.name, wrong)
    elif problem.small:
        say.times(case.name, per_node=per_node(model, case.plugin, problem, task), role=case.role)
    else:
        times = timing.cold_and_warm(bound.run_each, problem, task)
        passes = 2 if {"dlogits"} & set(bound.outputs[0]) else 1
        say.times(case.name, **times, bytes=passes * problem.bytes, role=case.role)


def per_node(model, plugin, problem, task):
    """[minimum, median] seconds of one copy of the model's nodes: a run with NODES copies less a run without."""
    few, many = graphs.repeated(model, 0), graphs.repeated(model, NODES)
    extra = kernels_run(many, plugin, problem, task) - kernels_run(few, plugin, problem, task)
    if extra < NODES:
        raise RuntimeError(f"ONNX Runtime ran {extra} of {NODES} equal nodes; not timed")
    times = []
    for built in (few, many):
        bound = Bound(make_session(built, task, plugin, optimise=False), problem, 1)

        def one_pass():
            bound.run_each([0] * RUNS_PER_SAMPLE)

        times.append(timing.samples(one_pass, RUNS_PER_SAMPLE, 4 * task["repeat"], task["seconds"]))
        del bound
    without, with_nodes = times
    return [(of(with_nodes) - of(without)) / NODES for of in (min, statistics.median)]


def kernels_run(model, plugin, problem, task):
    """How many kernels one run calls, by ONNX Runtime's own profile."""
    with tempfile.TemporaryDirectory() as folder:
        session = make_session(model, task, plugin, optimise=False, profile=f"{folder}/profile")
        Bound(session, problem, 1).run_each([0])
        events = json.loads(pathlib.Path(session.end_profiling()).read_text())
    return sum(event.get("name", "").endswith("_kernel_time") for event in events)


def measure_empty_node(problem, task, say):
    model = graphs.empty_node(problem)
    say.times("Identity of a scalar", per_node=per_node(model, False, problem, task))


def main():
    task = report.task()
    ort.set_default_logger_severity(4)
    runtime = f"ONNX Runtime {ort.__version__}" + (" (training)" if task["training"] else "")
    for shape in task["shapes"]:
        problem = Problem(shape, task["dtype"])
        say = report.Report(runtime, task, shape)
        limit = None if problem.small or task["training"] else timing.copy_times(problem, task)
        if problem.small and not task["training"]:
            measure_empty_node(problem, task, say)
        for case in cases(task):
            try:
                measure(case, problem, task, say)
            except Exception as error:  # ONNX Runtime's own errors share no base class
                say.skipped(case.name, error)
            gc.collect()
        if limit:
            # before and after, since other programs may run for a while
            for mode, times in timing.copy_times(problem, task).items():
                limit[mode] += times
            say.times("copy of the matrix", **limit, bytes=2 * problem.bytes, role="copy")


if __name__ == "__main__":
    main()
