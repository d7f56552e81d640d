"""What a classifier's logits say about labelled examples, in float64."""

import numpy as np


def log_sum_exp(z):
    top = z.max(axis=1, keepdims=True)
    return (top + np.log(np.exp(z - top).sum(axis=1, keepdims=True)))[:, 0]


def scores(logits, labels):
    """Accuracy; mean soft margin z_y − logsumexp over the other classes; mean energy −logsumexp over all classes."""
    z = logits.astype(np.float64)
    rows = np.arange(len(labels))
    others = z.copy()
    others[rows, labels] = -np.inf
    return {
        "accuracy": float((z.argmax(axis=1) == labels).mean()),
        "soft_margin": float((z[rows, labels] - log_sum_exp(others)).mean()),
        "energy": float(-log_sum_exp(z).mean()),
    }
