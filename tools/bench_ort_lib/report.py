"""What a measuring process says to tools/bench_ort: one JSON object per line of its standard output."""

import json
import sys


class Report:
    def __init__(self, runtime, task, shape):
        self._of = {"runtime": runtime, "threads": task["threads"], "shape": shape, "dtype": task["dtype"]}

    def times(self, name, **numbers):
        """`cold` and `warm`: seconds of each pass; or `per_node`: minimum and median seconds of one node."""
        self._say(name=name, **numbers)

    def skipped(self, name, why):
        self._say(name=name, skipped=" ".join(str(why).split()))

    def _say(self, **line):
        print(json.dumps({**self._of, **line}), flush=True)


def task():
    """The task given on the command line."""
    return json.loads(sys.argv[1])
