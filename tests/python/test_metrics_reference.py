"""`elonnx evaluate` against scikit-learn and SciPy, on logits that ONNX Runtime computes."""

import gzip
import json
import pathlib

import numpy as np
import onnx
import onnxruntime
import pytest
from scipy.special import log_softmax, logsumexp
from sklearn.metrics import accuracy_score, average_precision_score, log_loss, roc_auc_score, roc_curve

SHARED = pathlib.Path(__file__).resolve().parents[3] / "shared"
SCORES = ["margin", "soft_margin", "energy", "max_logit", "msp", "entropy", "gen"]
HEADS = ["logits", "softmax", "log_softmax", "identity_of_softmax", "argmax_and_softmax", "decomposed_softmax"]


def logits_of(path, value, samples, each=False):
    """A tensor inside a model, by ONNX Runtime."""
    model = onnx.load(path)
    if value not in [output.name for output in model.graph.output]:
        model.graph.output.append(onnx.ValueInfoProto(name=value))
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    step = 1 if each else 500
    runs = [session.run([value], {name: samples[i:i + step]})[0] for i in range(0, len(samples), step)]
    return np.concatenate(runs).astype(np.float64)


def scores_of(logits):
    """Every score by its definition; higher is further out of distribution."""
    top = np.sort(logits, axis=1)[:, ::-1]
    log_p = log_softmax(logits, axis=1)
    p = np.exp(log_p)
    best = np.sort(p, axis=1)[:, ::-1][:, :100]
    others = np.sort(logits, axis=1)[:, :-1]
    return {
        "margin": top[:, 1] - top[:, 0],
        "soft_margin": logsumexp(others, axis=1) - top[:, 0],
        "energy": -logsumexp(logits, axis=1),
        "max_logit": -top[:, 0],
        "msp": -p.max(axis=1),
        "entropy": -(p * log_p).sum(axis=1),
        "gen": ((best * (1 - best)) ** 0.1).sum(axis=1),
    }


def separation(inside, outside, rate=0.95):
    scores = np.concatenate([inside, outside])
    out = np.concatenate([np.zeros(len(inside)), np.ones(len(outside))])
    in_fpr, in_tpr, _ = roc_curve(1 - out, -scores, drop_intermediate=False)
    out_fpr, out_tpr, _ = roc_curve(out, scores, drop_intermediate=False)
    return {
        "auroc": roc_auc_score(out, scores),
        "aupr_in": average_precision_score(1 - out, -scores),
        "aupr_out": average_precision_score(out, scores),
        "in_positive": in_fpr[in_tpr >= rate].min(),
        "out_positive": out_fpr[out_tpr >= rate].min(),
        "detection_accuracy": 0.5 + (in_tpr - in_fpr).max() / 2,
    }


def evaluate(elonnx, model, inside, outside, *options):
    run = elonnx("evaluate", model, "--in-dist", inside, "--ood", outside, "--json", "--bootstrap", 20, *options)
    return json.loads(run.stdout)


def check(report, inside, outside, positive, tolerance=1e-6):
    """`inside` and `outside` are scores by name."""
    for score in report["evaluation"]["scores"]:
        name = score["score"]
        expected = separation(inside[name], outside[name])
        found = score["sets"][0]
        for metric in ("auroc", "aupr_in", "aupr_out", "detection_accuracy"):
            assert found[metric]["value"] == pytest.approx(expected[metric], abs=tolerance), (name, metric)
        assert found["fpr_at_tpr"]["value"] == pytest.approx(expected[positive], abs=tolerance), (name, positive)
        low, high = found["auroc"]["interval"]
        assert low <= high and abs((low + high) / 2 - expected["auroc"]) < 0.1


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """In-distribution samples far from the origin, others near it."""
    folder = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(7)
    inside = rng.normal(0, 3, (300, 16)).astype(np.float32)
    outside = rng.normal(0, 1, (250, 16)).astype(np.float32)
    np.save(folder / "inside.npy", inside)
    np.save(folder / "outside.npy", outside)
    return folder, inside, outside


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("positive", ["in_positive", "out_positive"])
def test_small_models(elonnx, models, data, head, positive):
    folder, inside, outside = data
    path = models / "heads" / f"{head}.onnx"
    # in float32 probabilities near 1 tie that float64 tells apart
    options = ["--scores", ",".join(score for score in SCORES if score != "msp")]
    if positive == "out_positive":
        options.append("--ood-positive")
    report = evaluate(elonnx, path, folder / "inside.npy", folder / "outside.npy", *options)
    value = report["model"]["value"]
    assert report["evaluation"]["positive"] == ("in_distribution" if positive == "in_positive" else "out_of_distribution")
    scores = [scores_of(logits_of(path, value, samples)) for samples in (inside, outside)]
    check(report, *scores, positive)
    energy = report["evaluation"]["in_distribution"]["energy"]
    assert energy["mean"] == pytest.approx(scores[0]["energy"].mean(), abs=1e-4)
    assert energy["p95"] == pytest.approx(np.quantile(scores[0]["energy"], 0.95), abs=1e-4)
    margin = report["evaluation"]["in_distribution"]["margin"]
    assert margin["median"] == pytest.approx(np.median(-scores[0]["margin"]), abs=1e-4)


def test_predictions(elonnx, models, data, tmp_path):
    folder, inside, _ = data
    path = models / "heads" / "softmax.onnx"
    logits = logits_of(path, evaluate(elonnx, path, folder / "inside.npy", folder / "outside.npy")["model"]["value"], inside)
    rng = np.random.default_rng(8)
    labels = np.where(rng.random(len(logits)) < 0.7, logits.argmax(1), rng.integers(0, logits.shape[1], len(logits)))
    np.save(tmp_path / "labels.npy", labels)
    report = evaluate(elonnx, path, folder / "inside.npy", folder / "outside.npy", "--labels", tmp_path / "labels.npy")
    found = report["evaluation"]["in_distribution"]["labelled"]
    p = np.exp(log_softmax(logits, axis=1))
    assert found["accuracy"] == pytest.approx(accuracy_score(labels, logits.argmax(1)), abs=1e-12)
    assert found["nll"] == pytest.approx(log_loss(labels, p, labels=range(p.shape[1])), abs=1e-5)
    # Guo et al., 2017, as they write it: bins (l, u]
    confidence, right = p.max(1), labels == logits.argmax(1)
    edges = np.linspace(0, 1, 16)
    bins = [(confidence > low) & (confidence <= high) for low, high in zip(edges, edges[1:])]
    error = sum(abs(right[b].mean() - confidence[b].mean()) * b.mean() for b in bins if b.any())
    assert found["ece"] == pytest.approx(error, abs=1e-5)


def digits(name):
    path = SHARED / "data" / name / "t10k-images-idx3-ubyte.gz"
    pixels = np.frombuffer(gzip.decompress(path.read_bytes()), np.uint8, offset=16)
    return path, pixels.reshape(-1, 1, 28, 28).astype(np.float32)


MNIST = {
    "logsoftmax": ("mnist_pytorch_logsoftmax_opset9.onnx", 1 / 255, 0, 1),
    "logsoftmax, normalised": ("mnist_pytorch_logsoftmax_opset9.onnx", 1 / 255, 0.1307, 0.3081),
    "cntk": ("mnist_cntk_opset8.onnx", 1, 0, 1),
}


@pytest.mark.skipif(not (SHARED / "models").is_dir(), reason="no ../shared/models here")
@pytest.mark.parametrize("case", MNIST)
def test_mnist_against_fashion_mnist(elonnx, case):
    name, scale, mean, std = MNIST[case]
    model = SHARED / "models" / name
    paths, pixels = zip(*(digits(name) for name in ("mnist", "fashion_mnist")))
    options = ["--scale", "1/255" if scale != 1 else 1, "--mean", mean, "--std", std, "--scores", "margin,energy"]
    report = evaluate(elonnx, model, *paths, *options)
    value = report["model"]["value"]
    prepared = [((x * np.float32(scale) - np.float32(mean)) / np.float32(std)).astype(np.float32) for x in pixels]
    scores = [scores_of(logits_of(model, value, x, each=True)) for x in prepared]
    check(report, *scores, "in_positive")
    if name.startswith("mnist_pytorch"):
        energy = next(s for s in report["evaluation"]["scores"] if s["score"] == "energy")
        assert energy["sets"][0]["auroc"]["value"] >= 0.9
