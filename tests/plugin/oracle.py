"""The encouraging loss in plain numpy float64, written from the paper's formulas.

Independent of the Rust code on purpose: everything goes through the probabilities p, with the chain rule
dL/dz = dL/dp * dp/dz, where the kernels never form p. 1 - p is the sum of the other classes' probabilities.
"""

import numpy as np


def bonus(p, q, attrs):
    """b(p) and b'(p), with q = 1 - p."""
    kind = attrs.get("bonus", "log")
    if kind == "power":
        g = attrs.get("power", 2.0)
        return -(p**g), -g * p ** (g - 1)
    if kind == "cosine":
        return np.cos(np.pi * p) - 1, -np.pi * np.sin(np.pi * p)
    end = np.float64(np.float32(attrs.get("log_end", 0.75)))
    below = p <= end
    # the branch not taken may be infinite (log_end = 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        value = np.where(below, np.log(q), np.log(1 - end) - (p - end) / (1 - end))
        slope = np.where(below, -1 / q, -1 / (1 - end))
    return value, slope


def rows_of(x):
    """[N, C, d...] -> [rows, C], rows in the order of the labels."""
    return np.moveaxis(x, 1, -1).reshape(-1, x.shape[1])


def loss_and_grad(x, y, w=None, rho=None, dloss=None, **attrs):
    """loss, margin and dlogits (for the upstream gradient dloss, 1 by default), all float64."""
    z = rows_of(np.asarray(x, np.float64))
    labels = np.asarray(y).reshape(-1).astype(np.int64)
    rows, classes = z.shape
    w = np.ones(classes) if w is None else np.asarray(w, np.float64)
    rho = np.float64(np.float32(attrs.get("bonus_weight", 1.0) if rho is None else rho))
    eps = np.float64(np.float32(attrs.get("label_smoothing", 0.0)))
    counts = labels != attrs["ignore_index"] if "ignore_index" in attrs else np.ones(rows, bool)
    safe = np.where(counts, labels, 0)
    at = np.arange(rows)

    e = np.exp(z - z.max(1, keepdims=True)) if rows else z
    p = e / e.sum(1, keepdims=True)
    q = np.stack([np.delete(p, j, 1).sum(1) for j in range(classes)], 1)
    b, db = bonus(p, q, attrs)
    each = -np.log(p) + rho * b
    each_slope = -1 / p + rho * db
    # the share of class j in the row's loss (PyTorch's label smoothing and class weights)
    share = np.tile(eps / classes * w, (rows, 1))
    share[at, safe] += (1 - eps) * w[safe]
    share[~counts] = 0
    losses = (share * each).sum(1)
    s = share * each_slope * p
    grads = s - p * s.sum(1, keepdims=True)
    margins = np.where(counts, np.log(p[at, safe]) - np.log(q[at, safe]), 0)

    total = w[safe][counts].sum()
    reduction = attrs.get("reduction", "mean")
    seed = np.float64(1.0) if dloss is None else np.asarray(dloss, np.float64)
    if reduction == "none":
        loss = losses.reshape(np.shape(y))
        grads = grads * np.broadcast_to(seed.reshape(-1, 1), (rows, 1))
    else:
        scale = (1 / total if total else 0.0) if reduction == "mean" else 1.0
        loss = losses.sum() * scale
        grads = grads * scale * seed.reshape(())
    shape = x.shape
    moved = (shape[0], *shape[2:], shape[1])
    dlogits = np.moveaxis(grads.reshape(moved), -1, 1)
    return loss, margins.reshape(np.shape(y)), dlogits
