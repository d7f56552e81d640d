"""What is trained: data, network, and what the classes are none of."""

import os

import clinc150
import mnist
import networks
import numpy as np

# share of the training data that is kept back to calibrate with
HELD_BACK = 10
DIGITS_CHANNELS = (8, 16)
TEXT_WIDTH = 128


class Task:
    """Inputs float32 [N, …] and labels int64 [N]: to train on, to calibrate with, to test; ``ood``: name → inputs."""

    def __init__(self, title, unit, source, train, calibration, test, ood, network, epochs):
        self.title, self.unit, self.source = title, unit, source
        self.train_inputs, self.train_labels = train
        self.calibration_inputs, self.calibration_labels = calibration
        self.test_inputs, self.test_labels = test
        self.ood, self.network, self.epochs = ood, network, epochs


def digits(chosen, shared, output):
    """A small CNN on MNIST; Fashion-MNIST is what it has never seen, or digits turned white on black."""
    data = mnist.load(chosen.data, os.path.join(shared, "mnist"), os.path.join(output, "data"))
    train, calibration = _hold_back(data.train_images, data.train_labels)
    folder = chosen.ood or _if_there(os.path.join(shared, "fashion_mnist"))
    if folder:
        ood = {"Fashion-MNIST": mnist.read_images(folder)}
    else:
        ood = {"inverted digits": 1 - data.test_images}
    epochs = 3 if len(train[1]) >= 20000 else 8
    test = data.test_images, data.test_labels
    network = networks.cnn(DIGITS_CHANNELS, seed=chosen.seed)
    return Task("MNIST", "digits", data.source, train, calibration, test, ood, network, epochs)


def text(chosen, shared, output):
    """A bag-of-words network on the 150 intents of CLINC150; its out-of-scope queries are what it has never seen."""
    queries = clinc150.load(chosen.data or os.path.join(shared, "clinc150"))
    ood = {"out-of-scope queries": queries.out_of_scope}
    network = networks.mlp(TEXT_WIDTH, clinc150.CLASSES, seed=chosen.seed, inputs=queries.words)
    return Task(
        "CLINC150", "queries", queries.source, queries.train, queries.validation, queries.test, ood, network, epochs=12
    )


def _hold_back(inputs, labels):
    """Training part and calibration part: the last tenth, in the order of the file."""
    kept = len(labels) - len(labels) // HELD_BACK
    return (inputs[:kept], labels[:kept]), (inputs[kept:], labels[kept:])


def _if_there(folder):
    return folder if os.path.isdir(folder) else None


def save(task, folder):
    """Writes what `elonnx train`, `calibrate` and `evaluate` read; returns the path of each set by name."""
    os.makedirs(folder, exist_ok=True)
    paths = {}
    sets = {
        "train": (task.train_inputs, task.train_labels),
        "calibration": (task.calibration_inputs, task.calibration_labels),
        "test": (task.test_inputs, task.test_labels),
    }
    for name, (inputs, labels) in sets.items():
        paths[name] = os.path.join(folder, f"{name}.npz")
        np.savez(paths[name], input=inputs, labels=labels)
    for name, inputs in task.ood.items():
        paths[name] = os.path.join(folder, f"{name.lower().replace(' ', '_')}.npy")
        np.save(paths[name], inputs)
    return paths
