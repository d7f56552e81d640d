"""`elonnx train` on the classifiers of real exporters, where ../shared/models is: a few steps on a handful of examples."""

import pathlib

import numpy as np
import onnx
import onnxruntime
import pytest
from encouraging_loss import encouraging_loss
from onnx import numpy_helper
from session import NUMPY, load

SHARED = pathlib.Path(__file__).resolve().parents[3] / "shared" / "models"
PATTERNS = ["exports_models/*.onnx", "exports_models/*/model.onnx", "mnist_*.onnx", "magika_*.onnx", "ppocr_*.onnx"]
MODELS = sorted(str(path.relative_to(SHARED)) for pattern in PATTERNS for path in SHARED.glob(pattern))
# numbers that lay in another file, or in the field for lists of floats, come out as raw data
REWRITTEN = {"exports_models/mlp784_default/model.onnx", "mnist_cntk_opset8.onnx", "ppocr_angle_cls.onnx"}
LARGE = ("mobilenet", "magika", "ppocr")
EXAMPLES, TOKENS, PIXELS, WORDS = 16, 12, 48, 50

pytestmark = pytest.mark.skipif(not SHARED.is_dir(), reason="no ../shared/models here")


def examples(path, count):
    """An array for each input of the model, and labels."""
    rng = np.random.default_rng(5)
    arrays, session = {}, load(path)
    for port in session.get_inputs():
        free = PIXELS if len(port.shape) == 4 else TOKENS
        sizes = [count, *(size if isinstance(size, int) and size > 0 else free for size in port.shape[1:])]
        if "mask" in port.name:
            arrays[port.name] = np.ones(sizes, NUMPY[port.type])
        elif "float" in port.type:
            arrays[port.name] = rng.standard_normal(sizes).astype(NUMPY[port.type])
        else:
            arrays[port.name] = rng.integers(0, WORDS, sizes).astype(NUMPY[port.type])
    return arrays, rng.integers(0, session.get_outputs()[0].shape[1], count)


def loss_of(path, arrays, labels):
    """The encouraging loss of what the model gives: logits, probabilities or their logarithms."""
    session = load(path)
    batch = session.get_inputs()[0].shape[0]
    batch = batch if isinstance(batch, int) and batch > 0 else len(labels)
    parts = [slice(first, first + batch) for first in range(0, len(labels), batch)]
    rows = [session.run(None, {name: array[part] for name, array in arrays.items()})[0] for part in parts]
    given = np.concatenate(rows).astype(np.float64)
    if np.allclose(given.sum(1), 1) and (given >= 0).all():
        given = np.log(given)
    return encouraging_loss(given, labels)


def take_out_weights(path):
    """The model without the numbers of its initializers and float constants, and these numbers by name."""
    model = onnx.load(path)
    constants = {node.output[0]: node.attribute[0].t for node in model.graph.node
                 if node.op_type == "Constant" and node.attribute[0].t.data_type == onnx.TensorProto.FLOAT}
    tensors = {tensor.name: tensor for tensor in model.graph.initializer} | constants
    numbers = {name: numpy_helper.to_array(tensor) for name, tensor in tensors.items()}
    for tensor in tensors.values():
        for field in ("raw_data", "float_data", "data_location", "external_data"):
            tensor.ClearField(field)
    return model, numbers


def rest_of(path, numbers):
    """The bytes of a file without those of some tensors; large ones go first, small ones may look like a part of them."""
    data = path.read_bytes()
    for number in sorted(numbers, key=lambda number: -number.nbytes):
        assert number.tobytes() in data
        data = data.replace(number.tobytes(), b"", 1)
    return data


@pytest.mark.parametrize("name", MODELS)
def test_exported_models_are_trained(name, elonnx, plugin, tmp_path):
    large = any(word in name for word in LARGE)
    path, trained = SHARED / name, tmp_path / "trained.onnx"
    arrays, labels = examples(path, EXAMPLES // 2 if large else EXAMPLES)
    only = {"x": next(iter(arrays.values()))} if len(arrays) == 1 else arrays
    np.savez(tmp_path / "train.npz", y=labels, **only)
    library = pathlib.Path(onnxruntime.__file__).parent / "capi"
    elonnx("train", path, "--data", tmp_path / "train.npz", "-o", trained, "--batch-size", 8, "--seed", 1, "--threads", 1,
           "--epochs", 3 if large else 12, "--lr", 3e-3 if large else 1e-3, "--best", "loss", "--quiet",
           "--onnxruntime", library)

    # the Dropouts of an export for training are on in what comes out, too
    before, after = (np.mean([loss_of(model, arrays, labels) for _ in range(4)]) for model in (path, trained))
    assert after < before - 0.1, (before, after)

    (model, old), (result, new) = take_out_weights(path), take_out_weights(trained)
    assert result.SerializeToString(deterministic=True) == model.SerializeToString(deterministic=True)
    changed = {name for name, number in old.items() if not np.array_equal(number, new[name])}
    if name not in REWRITTEN:
        assert rest_of(trained, [new[name] for name in changed]) == rest_of(path, [old[name] for name in changed])
    assert changed and all(old[name].dtype == np.float32 for name in changed), changed
    assert all(old[name].shape == new[name].shape and np.isfinite(new[name]).all() for name in changed)
