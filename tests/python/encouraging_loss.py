"""The encouraging loss in float64 numpy, straight from its definition; written apart from the Rust reference."""

import numpy as np


def row_losses(logits, labels, log_end=0.75, bonus_weight=1.0):
    """Loss of each row; ``logits`` [N, C], ``labels`` [N]. Cross entropy with ``bonus_weight`` 0."""
    z = np.asarray(logits, np.float64)
    rows = np.arange(len(z))
    others = z.copy()
    others[rows, labels] = -np.inf
    lse, lse_others = _log_sum_exp(z), _log_sum_exp(others)
    log_p, log_rest = z[rows, labels] - lse, lse_others - lse
    p = np.exp(log_p)
    bonus = log_rest
    if log_end < 1:
        bonus = np.where(p > log_end, np.log1p(-log_end) - (p - log_end) / (1 - log_end), log_rest)
    return -log_p + bonus_weight * bonus


def encouraging_loss(
    logits, labels, reduction="mean", ignore_index=None, weights=None, label_smoothing=0.0, **parameters
):
    """``logits`` [N, C, d…], ``labels`` [N, d…]; label smoothing and weights as in PyTorch's cross_entropy."""
    logits = np.asarray(logits, np.float64)
    classes = logits.shape[1]
    z = np.moveaxis(logits, 1, -1).reshape(-1, classes)
    y = np.asarray(labels).reshape(-1)
    counts = np.ones(len(y), bool) if ignore_index is None else y != ignore_index
    y_safe = np.where(counts, y, 0)
    weights = np.ones(classes) if weights is None else np.asarray(weights, np.float64)
    loss = (1 - label_smoothing) * weights[y_safe] * row_losses(z, y_safe, **parameters)
    if label_smoothing:
        for j in range(classes):
            loss += label_smoothing / classes * weights[j] * row_losses(z, np.full(len(y), j), **parameters)
    loss = np.where(counts, loss, 0)
    if reduction == "none":
        return loss.reshape(np.shape(labels))
    return loss.sum() / (weights[y_safe] * counts).sum() if reduction == "mean" else loss.sum()


def _log_sum_exp(z):
    top = z.max(axis=1)
    return top + np.log(np.exp(z - top[:, None]).sum(axis=1))
