"""Gradients of ONNX Runtime Training's own for a classifier, as npz; run in the environment of tools/demo --ort-training.

    ort_training_gradients.py MODEL FEED.npz GRADIENTS.npz SCRIPTS

MODEL gives logits; FEED.npz has its input x, labels, and the values of its trainable parameters. GRADIENTS.npz gets the
cross entropy (its mean) as `loss` and the gradient of every parameter by its name.
"""

import pathlib
import sys
import tempfile

import numpy as np


def training_graph(model, trained, folder):
    """ONNX Runtime Training's graph with the gradients as outputs, in place of the accumulators; names of outputs."""
    import onnx
    from onnxruntime.training import artifacts

    frozen = [tensor.name for tensor in model.graph.initializer if tensor.name not in trained]
    cross_entropy = artifacts.LossType.CrossEntropyLoss
    artifacts.generate_artifacts(
        model, requires_grad=trained, frozen_params=frozen, loss=cross_entropy, artifact_directory=str(folder)
    )
    made = onnx.load(folder / "training_model.onnx")
    graph = made.graph
    accumulators = [node for node in graph.node if node.op_type == "InPlaceAccumulatorV2"]
    gradients = {node.input[0].removesuffix("_grad.accumulation.buffer"): node.input[1] for node in accumulators}
    for node in accumulators:
        graph.node.remove(node)
    loss = graph.output[0].name
    del graph.output[1:]
    graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in gradients.values())
    kept = [port for port in graph.input if not port.name.endswith(".buffer") and port.name != "lazy_reset_grad"]
    del graph.input[:]
    graph.input.extend(kept)
    return made.SerializeToString(), loss, gradients


def main(model, feed, target, scripts):
    sys.path.insert(0, scripts)
    from ort_training import import_without_torch

    import_without_torch()
    import onnx
    import onnxruntime

    onnxruntime.set_default_logger_severity(3)
    model, values = onnx.load(model), dict(np.load(feed))
    stored = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    trained = [name for name in stored if name in values]
    with tempfile.TemporaryDirectory() as folder:
        graph, loss, gradients = training_graph(model, trained, pathlib.Path(folder))
    assert sorted(gradients) == sorted(trained), (gradients, trained)
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    found = session.run([loss, *gradients.values()], stored | values)
    np.savez(target, **dict(zip(["loss", *gradients], found)))


if __name__ == "__main__":
    main(*sys.argv[1:])
