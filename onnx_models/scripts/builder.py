"""Writes ONNX graphs node by node, with the names and constants of the exporter that is imitated."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

FLOAT, FLOAT16, DOUBLE = TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE
INT32, INT64 = TensorProto.INT32, TensorProto.INT64

IR_VERSIONS = {"torchscript": 8, "dynamo": 10, "tf2onnx": 8, "jax": 10, "hand": 8}


class Builder:
    """A graph in the making.

    ``exporter`` sets the dress: ``torchscript`` puts constants into Constant nodes and calls values
    ``/Op_output_0``; ``dynamo``, ``tf2onnx``, ``jax`` and ``hand`` put constants into initializers.
    """

    def __init__(self, exporter="torchscript", opset=17):
        self.exporter = exporter
        self.opset = opset
        self.nodes, self.initializers, self.inputs, self.outputs = [], [], [], []
        self.functions, self.domains = [], []
        self._count = {}

    def _name(self, op):
        number = self._count.get(op, 0)
        self._count[op] = number + 1
        if self.exporter == "torchscript":
            return f"/{op}_output_0" if number == 0 else f"/{op}_{number}_output_0"
        return op.lower() if number == 0 else f"{op.lower()}_{number}"

    def input(self, name, shape, dtype=FLOAT):
        self.inputs.append(helper.make_tensor_value_info(name, dtype, shape))
        return name

    def output(self, name, shape=(), dtype=FLOAT):
        self.outputs.append(helper.make_tensor_value_info(name, dtype, list(shape)))
        return name

    def constant(self, value, dtype=None, name=None):
        array = np.asarray(value, dtype or (np.int64 if np.asarray(value).dtype.kind == "i" else np.float32))
        if self.exporter == "torchscript" and name is None:
            out = self._name("Constant")
            tensor = numpy_helper.from_array(array, "")
            self.nodes.append(helper.make_node("Constant", [], [out], name=out.replace("_output_0", ""), value=tensor))
            return out
        return self.initializer(name or self._name("val"), array)

    def initializer(self, name, array):
        self.initializers.append(numpy_helper.from_array(np.asarray(array, order="C"), name))
        return name

    def node(self, op, inputs, output=None, domain="", metadata=None, **attributes):
        """Adds a node; ``output`` is a name, a list of names, or None for a name of the exporter's making."""
        outputs = [self._name(op)] if output is None else [output] if isinstance(output, str) else list(output)
        name = f"{op}_{len(self.nodes)}"
        node = helper.make_node(op, inputs, outputs, name=name, domain=domain, **attributes)
        for key, value in (metadata or {}).items():
            entry = node.metadata_props.add()
            entry.key, entry.value = key, value
        self.nodes.append(node)
        return outputs[0]

    def graph(self, name):
        return helper.make_graph(self.nodes, name, self.inputs, self.outputs, self.initializers)

    def model(self, name):
        opsets = [helper.make_opsetid("", self.opset)] + [helper.make_opsetid(d, 1) for d in self.domains]
        model = helper.make_model(
            self.graph(name),
            opset_imports=opsets,
            functions=self.functions,
            producer_name="elonnx onnx_models",
            ir_version=IR_VERSIONS[self.exporter],
        )
        return model


def linear(builder, x, name, generator, width_in, width_out, output=None):
    """x·Wᵀ + b as PyTorch exports it, weights drawn from N(0, 2 / width_in)."""
    weight = generator.standard_normal((width_out, width_in)) * (2.0 / width_in) ** 0.5
    builder.initializer(f"{name}.weight", weight.astype(np.float32))
    builder.initializer(f"{name}.bias", (0.1 * generator.standard_normal(width_out)).astype(np.float32))
    return builder.node("Gemm", [x, f"{name}.weight", f"{name}.bias"], output, alpha=1.0, beta=1.0, transB=1)


def check(model):
    onnx.checker.check_model(model, full_check=True)
    return model
