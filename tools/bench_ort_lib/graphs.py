"""The ONNX models that are timed: each computes a loss, or a loss and its gradient, from `logits` and `labels`."""

import copy
import dataclasses
import math
import pathlib
import subprocess
import tempfile

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from problem import LOG_END

DOMAIN, MICROSOFT = "ai.elonnx", "com.microsoft"
LOSS, GRAD, BOTH = "EncouragingLoss", "EncouragingLossGrad", "EncouragingLossAndGrad"
FLOAT = {np.dtype(np.float32): TensorProto.FLOAT, np.dtype(np.float16): TensorProto.FLOAT16}


@dataclasses.dataclass
class Case:
    """A row of the table. `model` makes the ONNX model; `bonus_weight` says which loss its outputs must equal."""

    name: str
    model: object
    bonus_weight: float
    plugin: bool = False
    # "builtin" is what the others are compared with
    role: str = ""


class Graph:
    """A model in the making."""

    def __init__(self, problem):
        self.shape, self.rows = problem.shape, problem.labels.shape
        self.dtype = problem.dtype
        self.nodes, self.initializers, self.inputs, self.outputs = [], [], [], []
        self._input("logits", FLOAT[self.dtype], self.shape)
        self._input("labels", TensorProto.INT64, self.rows)

    def _input(self, name, kind, shape):
        self.inputs.append(helper.make_tensor_value_info(name, kind, shape))

    def margin(self):
        self._input("margin", TensorProto.FLOAT, self.rows)
        return "margin"

    def constant(self, value, name=None):
        array = np.asarray(value)
        name = name or f"constant{len(self.initializers)}"
        kind = np.int64 if array.dtype.kind == "i" else self.dtype
        self.initializers.append(numpy_helper.from_array(array.astype(kind), name))
        return name

    def dloss(self):
        """The gradient of the loss by itself, an initializer as in the graphs of ORT Training."""
        return self.constant(1.0, "dloss")

    def node(self, op, inputs, outputs=None, domain="", **attributes):
        outputs = outputs or [f"value{len(self.nodes)}"]
        self.nodes.append(helper.make_node(op, inputs, outputs, f"node{len(self.nodes)}", domain=domain, **attributes))
        return outputs[0]

    def model(self, *outputs):
        shapes = {"loss": (FLOAT[self.dtype], []), "dlogits": (FLOAT[self.dtype], self.shape),
                  "margin": (TensorProto.FLOAT, self.rows)}
        infos = [helper.make_tensor_value_info(name, *shapes[name]) for name in outputs]
        graph = helper.make_graph(self.nodes, "loss", self.inputs, infos, self.initializers)
        opsets = [helper.make_opsetid("", 17), helper.make_opsetid(DOMAIN, 1), helper.make_opsetid(MICROSOFT, 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def encouraging(problem, bonus_weight):
    g = Graph(problem)
    g.node(LOSS, ["logits", "labels"], ["loss", "margin"], DOMAIN, bonus_weight=bonus_weight)
    return g.model("loss", "margin")


def encouraging_grad(problem, bonus_weight):
    g = Graph(problem)
    g.node(GRAD, [g.dloss(), "logits", "labels", "", "", g.margin()], ["dlogits"], DOMAIN, bonus_weight=bonus_weight)
    return g.model("dlogits")


def encouraging_both(problem, bonus_weight):
    g = Graph(problem)
    g.node(BOTH, ["logits", "labels"], ["loss", "margin", "dlogits"], DOMAIN, bonus_weight=bonus_weight)
    return g.model("loss", "margin", "dlogits")


def encouraging_pair(problem, bonus_weight):
    """The two nodes of a patched training graph."""
    g = Graph(problem)
    g.node(LOSS, ["logits", "labels"], ["loss", "margin"], DOMAIN, bonus_weight=bonus_weight)
    g.node(GRAD, [g.dloss(), "logits", "labels", "", "", "margin"], ["dlogits"], DOMAIN, bonus_weight=bonus_weight)
    return g.model("loss", "dlogits")


def builtin(problem):
    g = Graph(problem)
    g.node("SoftmaxCrossEntropyLoss", ["logits", "labels"], ["loss"], reduction="mean")
    return g.model("loss")


def internal_pair(problem):
    """Loss and gradient as ORT Training has them."""
    g = Graph(problem)
    g.node("SoftmaxCrossEntropyLossInternal", ["logits", "labels"], ["loss", "log_prob"], MICROSOFT, reduction="mean")
    g.node("SoftmaxCrossEntropyLossInternalGrad", [g.dloss(), "log_prob", "labels"], ["dlogits"], MICROSOFT,
           reduction="mean")
    return g.model("loss", "dlogits")


def gathered_log_probability(g):
    log_p = g.node("LogSoftmax", ["logits"], axis=1)
    index = g.node("Unsqueeze", ["labels", g.constant([1])])
    return g.node("Squeeze", [g.node("GatherElements", [log_p, index], axis=1), g.constant([1])])


def decomposed_cross_entropy(problem):
    g = Graph(problem)
    own = gathered_log_probability(g)
    g.node("Neg", [g.node("ReduceMean", [own], keepdims=0)], ["loss"])
    return g.model("loss")


def log_bonus(g, p):
    """log(1 − p) with the paper's clamp, above log_end its tangent (arXiv 2110.06537, equation 5)."""
    rest = g.node("Clip", [g.node("Sub", [g.constant(1.0), p]), g.constant(1e-5)])
    above = g.node("Neg", [g.node("Sub", [p, g.constant(LOG_END)])])
    line = g.node("Add", [g.node("Div", [above, g.constant(1 - LOG_END)]), g.constant(math.log(1 - LOG_END))])
    return g.node("Where", [g.node("Greater", [p, g.constant(LOG_END)]), line, g.node("Log", [rest])])


def decomposed_gathered(problem):
    """The encouraging loss on the probability of the label alone."""
    g = Graph(problem)
    own = gathered_log_probability(g)
    total = g.node("Add", [g.node("Neg", [own]), log_bonus(g, g.node("Exp", [own]))])
    g.node("ReduceMean", [total], ["loss"], keepdims=0)
    return g.model("loss")


def decomposed_whole(problem):
    """The paper's module as it is exported: the bonus of every class, then NLL."""
    g = Graph(problem)
    log_p = g.node("LogSoftmax", ["logits"], axis=1)
    scores = g.node("Sub", [log_p, log_bonus(g, g.node("Exp", [log_p]))])
    g.node("NegativeLogLikelihoodLoss", [scores, "labels"], ["loss"], reduction="mean")
    return g.model("loss")


def patched(model, elonnx):
    """What `elonnx patch` makes of a model: our operators with their function bodies."""
    if not pathlib.Path(elonnx).is_file():
        raise RuntimeError(f"no elonnx at {elonnx}; build it with `cargo build --release`, or name it with --elonnx")
    with tempfile.TemporaryDirectory() as folder:
        before, after = pathlib.Path(folder) / "before.onnx", pathlib.Path(folder) / "after.onnx"
        onnx.save(model, before)
        done = subprocess.run([elonnx, "patch", before, "-o", after, "--quiet"], capture_output=True, text=True)
        if done.returncode != 0:
            raise RuntimeError(f"elonnx patch failed: {done.stderr.strip()}")
        return onnx.load(after)


def empty_node(problem):
    g = Graph(problem)
    g.node("Identity", [g.dloss()], ["loss"])
    return g.model("loss")


def repeated(model, times):
    """One Identity, which is the only output, and `times` copies of the model's nodes, whose outputs nobody reads."""
    result = copy.deepcopy(model)
    del result.graph.node[:], result.graph.output[:], result.graph.value_info[:]
    one = helper.make_tensor_value_info("one", TensorProto.FLOAT, [])
    result.graph.input.append(one)
    result.graph.node.append(helper.make_node("Identity", ["one"], ["same"]))
    result.graph.output.append(helper.make_tensor_value_info("same", TensorProto.FLOAT, []))
    made = {name for node in model.graph.node for name in node.output if name}
    for i in range(times):
        for node in model.graph.node:
            again = result.graph.node.add()
            again.CopyFrom(node)
            again.name = f"{node.name}_{i}"
            again.input[:] = [f"{name}_{i}" if name in made else name for name in node.input]
            again.output[:] = [f"{name}_{i}" if name in made else name for name in node.output]
    return result
