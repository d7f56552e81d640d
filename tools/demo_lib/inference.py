"""Logits of a trained model."""

import numpy as np

# logits for so many rows at a time
ROWS = 1000


def logits(path, inputs):
    """Logits [N, C] of the inference model at ``path``."""
    from onnxruntime import InferenceSession

    session = InferenceSession(path, providers=["CPUExecutionProvider"])
    chunks = range(0, len(inputs), ROWS)
    return np.concatenate([session.run(["logits"], {"input": inputs[i : i + ROWS]})[0] for i in chunks])
