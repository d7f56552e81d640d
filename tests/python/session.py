"""Runs a model in the ONNX Runtime of this environment on values drawn for its inputs."""

import numpy as np
import onnx
import onnxruntime

NUMPY = {
    "tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(double)": np.float64,
    "tensor(int32)": np.int32, "tensor(int64)": np.int64, "tensor(bool)": np.bool_,
}


def load(path, plugin=None):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    if plugin:
        options.register_custom_ops_library(plugin)
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def run(path, feed, plugin=None):
    """Outputs by name; only those values of ``feed`` that the model takes are fed."""
    session = load(path, plugin)
    wanted = {i.name: feed[i.name] for i in session.get_inputs()}
    return dict(zip([o.name for o in session.get_outputs()], session.run(None, wanted)))


def values_for(path, classes, batch=32, seed=3):
    """Inputs for the model at ``path``: integers are labels in 0…classes−1, floats are normal, three times as wide."""
    generator = np.random.default_rng(seed)
    feed = {}
    for tensor in load(path).get_inputs():
        shape = [d if isinstance(d, int) else batch for d in tensor.shape]
        dtype = NUMPY[tensor.type]
        if dtype in (np.int32, np.int64):
            feed[tensor.name] = generator.integers(0, classes, shape).astype(dtype)
        elif dtype is np.bool_:
            feed[tensor.name] = np.array(True)
        else:
            feed[tensor.name] = (3 * generator.standard_normal(shape)).astype(dtype)
    return feed


def operators(path):
    """(domain, op_type) of every node of the main graph."""
    return {(node.domain, node.op_type) for node in onnx.load(str(path), load_external_data=False).graph.node}
