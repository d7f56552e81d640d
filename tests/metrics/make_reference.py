#!/usr/bin/env python3
"""Writes reference.json: small sets of scores and what scikit-learn and numpy say of them.

    python tests/metrics/make_reference.py    (numpy 2.2.6, scikit-learn 1.9.1, scipy 1.17.1)

Scores are out-of-distribution scores, higher is further out. "inf" and "-inf" stand for infinite scores; scikit-learn
refuses these, so it is given finite ones in the same order.
"""

import json
import pathlib

import numpy as np
import scipy
import sklearn
from scipy.special import logsumexp
from sklearn.metrics import (accuracy_score, average_precision_score, brier_score_loss, log_loss, roc_auc_score,
                             roc_curve)

LEVELS = [0.0, 0.01, 0.05, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 1.0]
RATES = [0.05, 0.5, 0.8, 0.9, 0.95, 0.99, 1.0]


def separation(inside, outside):
    scores = np.concatenate([inside, outside]).astype(np.float64)
    # only the order counts; infinities become finite
    _, scores = np.unique(scores, return_inverse=True)
    out = np.concatenate([np.zeros(len(inside)), np.ones(len(outside))])
    in_fpr, in_tpr, _ = roc_curve(1 - out, -scores, drop_intermediate=False)
    out_fpr, out_tpr, _ = roc_curve(out, scores, drop_intermediate=False)
    return {
        "auroc": roc_auc_score(out, scores),
        "aupr_in": average_precision_score(1 - out, -scores),
        "aupr_out": average_precision_score(out, scores),
        "detection_accuracy": 0.5 + (in_tpr - in_fpr).max() / 2,
        "fpr_in_positive": [in_fpr[in_tpr >= rate].min() for rate in RATES],
        "fpr_out_positive": [out_fpr[out_tpr >= rate].min() for rate in RATES],
        "roc_in_positive": [in_fpr.tolist(), in_tpr.tolist()],
        "roc_out_positive": [out_fpr.tolist(), out_tpr.tolist()],
    }


def score_cases(rng):
    inf = np.inf
    yield "one of each", [0.0], [1.0]
    yield "one of each, the wrong way round", [1.0], [0.0]
    yield "one of each, the same", [1.0], [1.0]
    yield "a constant", [2.0] * 7, [2.0] * 3
    yield "negative zero", [-0.0, 0.0, 1.0], [0.0, -0.0, -1.0]
    yield "infinite scores", [-inf, -inf, 0.0, inf, 3.0], [inf, inf, 1.0, -inf]
    yield "all infinite", [-inf, inf], [inf]
    yield "one against many", [0.3], rng.normal(0, 1, 50)
    yield "many against one", rng.normal(0, 1, 50), [0.3]
    yield "ties", rng.integers(0, 6, 60).astype(float), rng.integers(2, 9, 45).astype(float)
    yield "subnormal steps", np.arange(9) * 5e-324, np.arange(4, 13) * 5e-324
    yield "twenty, so that 95 % is a whole number", np.arange(20.0), np.arange(20.0) + 7.5
    yield "normal", rng.normal(0, 1, 200), rng.normal(1.5, 2, 150)
    yield "unequal sizes", rng.normal(0, 1, 400).astype(np.float32), rng.normal(0.5, 1, 20).astype(np.float32)
    yield "rounded probabilities", -np.round(rng.beta(8, 1, 150), 2), -np.round(rng.beta(3, 2, 130), 2)


def calibration(rng):
    """Rows of logits with labels: what a classifier's own probabilities are worth."""
    samples, classes = 60, 4
    logits = rng.normal(0, 2, (samples, classes))
    labels = rng.integers(0, classes, samples)
    right = rng.random(samples) < 0.6
    labels[right] = logits.argmax(1)[right]
    probabilities = np.exp(logits - logsumexp(logits, axis=1, keepdims=True))
    prediction = probabilities.argmax(1)
    one_hot = np.eye(classes)[labels]
    return {
        "classes": classes,
        "probabilities": probabilities.ravel().tolist(),
        "labels": labels.tolist(),
        "accuracy": accuracy_score(labels, prediction),
        "negative_log_likelihood": log_loss(labels, probabilities, labels=range(classes)),
        "brier": brier_score_loss(one_hot, probabilities, scale_by_half=False),
    }


def plain(scores):
    return [repr(float(s)) if np.isinf(s) else float(s) for s in scores]


def main():
    rng = np.random.default_rng(20110)
    cases = [{"name": name, "in": plain(i), "out": plain(o), **separation(i, o)} for name, i, o in score_cases(rng)]
    values = rng.normal(0, 3, 37)
    reference = {
        "made_with": {"numpy": np.__version__, "scikit-learn": sklearn.__version__, "scipy": scipy.__version__},
        "rates": RATES,
        "cases": cases,
        "calibration": calibration(rng),
        "values": {
            "values": values.tolist(),
            "levels": LEVELS,
            "quantiles": np.quantile(values, LEVELS).tolist(),
            "mean": values.mean(),
            "std": values.std(),
        },
    }
    path = pathlib.Path(__file__).with_name("reference.json")
    path.write_text(json.dumps(reference, indent=None, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
