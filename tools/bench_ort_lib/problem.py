"""The tensors of one shape, in as many copies as a cold run needs, and the right answers in float64."""

import pathlib

import numpy as np

LOG_END = 0.75
# of the largest element (gradients) or of the mean size of a row's loss (losses)
TOLERANCE = {"float32": 1e-4, "float16": 2e-2}
# below this many elements a run is mostly overhead, and the cost of a node is measured instead
SMALL = 1 << 14


def l3_bytes():
    """Size of the last-level cache; 32 MB where the system does not say."""
    path = pathlib.Path("/sys/devices/system/cpu/cpu0/cache/index3/size")
    try:
        return int(path.read_text().strip().removesuffix("K")) * 1024
    except (OSError, ValueError):
        return 32 << 20


def aligned(shape, dtype):
    """An array on a page boundary whose pages exist already."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    raw = np.ones(size + 4096, np.uint8)
    start = -raw.ctypes.data % 4096
    return raw[start:start + size].view(dtype).reshape(shape)


class Problem:
    """Logits in `copies` buffers, together twice the last-level cache and at least two; one set of labels."""

    def __init__(self, shape, dtype):
        self.shape, self.dtype = tuple(shape), np.dtype(dtype)
        self.small = int(np.prod(shape)) < SMALL
        rng = np.random.default_rng(0)
        labels_shape = (self.shape[0], *self.shape[2:])
        self.rows = int(np.prod(labels_shape))
        self.labels = aligned(labels_shape, np.int64)
        self.labels[...] = rng.integers(self.shape[1], size=labels_shape)
        logits = aligned(self.shape, self.dtype)
        logits[...] = rng.standard_normal(self.shape, dtype=np.float32)
        raise_every_second_label(logits, self.labels)
        self.bytes = logits.nbytes
        # a larger matrix is never in the cache when it is read again
        self.can_be_warm = self.bytes <= l3_bytes()
        self.copies = 1 if self.small else max(2, -(-2 * l3_bytes() // self.bytes))
        self.logits = [logits]
        for _ in range(self.copies - 1):
            self.logits.append(aligned(self.shape, self.dtype))
            self.logits[-1][...] = logits
        self._expected = {}

    def expected(self, bonus_weight):
        """loss, margin, dlogits in float64, and the mean size of a row's loss."""
        if bonus_weight not in self._expected:
            self._expected[bonus_weight] = loss_and_grad(self.logits[0], self.labels, bonus_weight)
        return self._expected[bonus_weight]

    def complaint(self, what, got, bonus_weight):
        """None if `got` is the loss, margin or dlogits it should be, else a sentence."""
        expected = self.expected(bonus_weight)
        want = expected[what]
        scale = expected["size"] if what == "loss" else np.abs(want).max()
        # a mean over many rows brings float16 gradients down to subnormal numbers
        allowed = TOLERANCE[self.dtype.name] * scale + (6e-8 if self.dtype == np.float16 else 0)
        error = np.abs(np.asarray(got).reshape(want.shape) - want).max()
        if error <= allowed:
            return None
        return f"wrong {what}: off by {error:.2e} where {allowed:.2e} is allowed; not timed"


def raise_every_second_label(logits, labels):
    """Lets half of the rows be right, so that both branches of the bonus are used."""
    index = np.expand_dims(labels, 1)
    own = np.take_along_axis(logits, index, 1)
    lift = np.log(logits.shape[1]) + 3
    own += (lift * (np.arange(labels.size) % 2)).reshape(own.shape).astype(logits.dtype)
    np.put_along_axis(logits, index, own, 1)


def loss_and_grad(logits, labels, bonus_weight):
    """The mean encouraging loss (log bonus, log_end 0.75) in float64, by way of m = logsumexp of the others − own."""
    z = np.moveaxis(logits, 1, -1).reshape(-1, logits.shape[1]).astype(np.float64)
    at, y = np.arange(len(z)), labels.reshape(-1)
    own = z[at, y]
    z[at, y] = -np.inf
    top = z.max(1)
    z -= top[:, None]
    np.exp(z, out=z)
    total = z.sum(1)
    m = top + np.log(total) - own
    p, q = np.exp(-np.logaddexp(0, m)), np.exp(-np.logaddexp(0, -m))
    right = p > LOG_END
    bonus = np.where(right, np.log1p(-LOG_END) - (p - LOG_END) / (1 - LOG_END), -np.logaddexp(0, -m))
    bonus_slope = np.where(right, p * q / (1 - LOG_END), p)
    losses = np.logaddexp(0, m) + bonus_weight * bonus
    slope = (q + bonus_weight * bonus_slope) / len(z)
    z *= (slope / total)[:, None]
    z[at, y] = -slope
    moved = (logits.shape[0], *logits.shape[2:], logits.shape[1])
    return {"loss": losses.mean(), "size": np.abs(losses).mean(), "margin": -m.reshape(labels.shape),
            "dlogits": np.moveaxis(z.reshape(moved), -1, 1)}
