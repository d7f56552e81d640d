"""Small models of one operator each."""

import ml_dtypes
import numpy as np
from onnx import TensorProto, helper

DOMAIN = "ai.elonnx"
LOSS, GRAD, BOTH = "EncouragingLoss", "EncouragingLossGrad", "EncouragingLossAndGrad"
NUMPY = {"f16": np.float16, "bf16": ml_dtypes.bfloat16, "f32": np.float32, "f64": np.float64}
ONNX = {"f16": TensorProto.FLOAT16, "bf16": TensorProto.BFLOAT16, "f32": TensorProto.FLOAT, "f64": TensorProto.DOUBLE}
LABELS = {"i32": (np.int32, TensorProto.INT32), "i64": (np.int64, TensorProto.INT64)}
INPUTS = {
    LOSS: ["logits", "labels", "class_weights", "bonus_weight"],
    GRAD: ["dloss", "logits", "labels", "class_weights", "bonus_weight", "margin"],
    BOTH: ["logits", "labels", "class_weights", "bonus_weight"],
}
OUTPUTS = {LOSS: ["loss", "margin"], GRAD: ["dlogits"], BOTH: ["loss", "margin", "dlogits"]}
# neither the logits' nor the labels' type
FLOAT_SLOTS = {"bonus_weight", "margin"}


def quantized(array, t):
    """The array's values as the type t holds them, in a type that numpy can compute with."""
    return np.asarray(array).astype(NUMPY[t]).astype(np.float32 if t == "bf16" else NUMPY[t])


def op_model(op, t="f32", label="i64", inputs=None, outputs=None, attrs=None, omit_as="absent", shapes=None,
             extra_nodes=(), name="el"):
    """A model of one node. `inputs`/`outputs`: names of the slots in use (the required ones by default).

    Slots that are not in use are left out at the end, or, with omit_as="empty", given as '' wherever they are. bf16
    tensors travel as float32 with a Cast at each end: numpy has no bfloat16. Types of inner tensors are declared, as
    `elonnx patch` does it: 1.17 doesn't find them out by itself where an input is ''.
    """
    required = [s for s in INPUTS[op] if s in ("dloss", "logits", "labels")]
    inputs = required if inputs is None else inputs
    outputs = [s for s in OUTPUTS[op] if s != "margin"] if outputs is None else outputs
    shapes = shapes or {}
    nodes, graph_in, graph_out = [], [], []

    def slots(all_slots, used):
        names = [s if s in used else "" for s in all_slots]
        while omit_as == "absent" and names and not names[-1]:
            names.pop()
        return names

    node_inputs = []
    for slot in slots(INPUTS[op], inputs):
        if not slot:
            node_inputs.append("")
            continue
        dtype = LABELS[label][1] if slot == "labels" else TensorProto.FLOAT if slot in FLOAT_SLOTS else ONNX[t]
        outer = TensorProto.FLOAT if dtype == TensorProto.BFLOAT16 else dtype
        graph_in.append(helper.make_tensor_value_info(slot, outer, shapes.get(slot)))
        if outer != dtype:
            nodes.append(helper.make_node("Cast", [slot], [slot + "_cast"], to=dtype))
            slot += "_cast"
        node_inputs.append(slot)
    node_outputs, casts, value_info = [], [], []
    for slot in slots(OUTPUTS[op], outputs):
        if not slot:
            node_outputs.append("")
            continue
        dtype = TensorProto.FLOAT if slot == "margin" else ONNX[t]
        outer = TensorProto.FLOAT if dtype == TensorProto.BFLOAT16 else dtype
        graph_out.append(helper.make_tensor_value_info(slot, outer, None))
        if outer != dtype:
            casts.append(helper.make_node("Cast", [slot + "_cast"], [slot], to=outer))
            slot += "_cast"
            value_info.append(helper.make_tensor_value_info(slot, dtype, None))
        node_outputs.append(slot)
    nodes.append(helper.make_node(op, node_inputs, node_outputs, name=name, domain=DOMAIN, **(attrs or {})))
    graph = helper.make_graph([*nodes, *casts, *extra_nodes], "g", graph_in, graph_out, value_info=value_info)
    return finish(graph)


def finish(graph):
    return helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid(DOMAIN, 1)], ir_version=8
    )
