"""Writes model.onnx and reference.json: features, and what pytorch-ood makes of them.

    pip install torch onnx numpy scipy scikit-learn && pip install --no-deps pytorch-ood==0.4.0
    python tests/ood/make_reference.py

pytorch-ood 0.4.0 declares torchvision, which the detectors do not need; a stand-in module takes its place.
Every detector is given features, logits or the last layer, so nothing of torch.nn is trained or run.
"""

import json
import sys
import types
from importlib.metadata import version
from pathlib import Path
from unittest.mock import MagicMock

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

for name in ["torchvision", "torchvision.datasets", "torchvision.datasets.utils", "torchvision.datasets.folder",
             "torchvision.datasets.vision", "torchvision.transforms", "torchvision.transforms.functional",
             "torchvision.models", "torchvision.models.resnet", "torchvision.models.feature_extraction"]:
    module = types.ModuleType(name)
    module.__getattr__ = lambda attribute: MagicMock() if not attribute.startswith("__") else None
    sys.modules[name] = module

from pytorch_ood import detector  # noqa: E402

FEATURES, CLASSES, TRAIN, TEST, K = 16, 5, 150, 40, 10
HERE = Path(__file__).parent


def data(random):
    """Features as a ReLU gives them: some are 0, the others grow with the class."""
    centers = random.gamma(2.0, 1.0, (CLASSES, FEATURES))
    mix = random.normal(size=(FEATURES, FEATURES)) / 4
    labels = np.arange(TRAIN) % CLASSES

    def samples(classes, spread):
        return np.maximum(centers[classes] + spread * random.normal(size=(len(classes), FEATURES)) @ mix, 0)

    train = samples(labels, 1.0)
    near = samples(np.arange(TEST // 2) % CLASSES, 1.0)
    far = random.gamma(1.0, 3.0, (TEST - TEST // 2, FEATURES))
    return train.round(3).astype("f4"), labels, np.concatenate([near, far]).round(3).astype("f4")


def model(weight, bias):
    """features -> Relu -> Gemm -> Softmax: the head's input is found and exposed."""
    nodes = [
        helper.make_node("Relu", ["x"], ["feature"]),
        helper.make_node("Gemm", ["feature", "weight", "bias"], ["logits"], transB=1),
        helper.make_node("Softmax", ["logits"], ["prob"], axis=1),
    ]
    value = lambda name, width: helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", width])
    initializers = [numpy_helper.from_array(weight, "weight"), numpy_helper.from_array(bias, "bias")]
    graph = helper.make_graph(nodes, "g", [value("x", FEATURES)], [value("prob", CLASSES)], initializers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def main():
    random = np.random.default_rng(20)
    train, labels, test = data(random)
    weight = (random.normal(size=(CLASSES, FEATURES)) / 4).astype("f4")
    bias = random.normal(size=CLASSES).astype("f4")
    built = model(weight, bias)
    onnx.checker.check_model(built, full_check=True)
    onnx.save(built, HERE / "model.onnx")

    torch.set_default_dtype(torch.float64)
    w, b = torch.tensor(weight).double(), torch.tensor(bias).double()
    h, y, x = torch.tensor(train).double(), torch.tensor(labels), torch.tensor(test).double()
    head = lambda features: features.flatten(1) @ w.T + b
    maps = x[:, :, None, None]
    z = head(x)
    # the calibration sees every sample twice, the first of each pair is fitted to; ReAct takes all
    twice = torch.repeat_interleave(h, 2, dim=0)[:, :, None, None]

    scores = {
        "energy": detector.EnergyBased.score(z),
        "energy_2": detector.EnergyBased.score(z, t=2.0),
        "max_logit": detector.MaxLogit.score(z),
        "msp": detector.MaxSoftmax.score(z),
        "entropy": detector.Entropy.score(z),
        "gen": CLASSES * detector.GEN.score(z),
        "react": detector.ReAct(None, head).fit_feature_maps(twice, y.repeat_interleave(2)).predict_feature_maps(maps),
        "ash_s": detector.ASH(None, head, "ash-s", 0.65).predict_feature_maps(maps),
        "scale": detector.SCALE(None, head, 0.65).predict_feature_maps(maps),
        "knn": detector.KNN(None, k=K).fit_features(h, y).predict_features(x),
        # half the squared distance for an undivided covariance
        "mahalanobis": 2 * TRAIN * detector.Mahalanobis(None).fit_features(h, y).predict_features(x),
        "relative_mahalanobis": TRAIN * detector.RMD(None).fit_features(h, y).predict_features(x),
        "vim": detector.ViM(None, FEATURES // 2, w, b).fit_features(h, y).predict_features(x),
    }
    reference = {
        "made_with": f"pytorch-ood {version('pytorch-ood')}, torch {torch.__version__}, numpy {np.__version__}",
        "features": FEATURES, "k": K, "percentile": 65, "labels": labels.tolist(),
        "train": numbers(train.ravel()), "test": numbers(test.ravel()),
        "scores": {name: numbers(values.double().numpy()) for name, values in scores.items()},
    }
    (HERE / "reference.json").write_text(json.dumps(reference, separators=(",", ":")) + "\n")


def numbers(values):
    return [float(f"{value:.9g}") for value in values]


main()
