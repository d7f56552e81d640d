"""CLINC150 (Larson et al., EMNLP-IJCNLP 2019): queries of 150 intents, and queries of none of them, as bags of words."""

import collections
import json
import os
import re

import numpy as np
from mnist import DataError

CLASSES = 150
FILE = "data_full.json"
# a word that only one training query has says nothing about the others
LEAST_QUERIES = 2


class Queries:
    """Bags of words float32 [N, words] of length 1 and labels int64 [N], for training, validation and test."""

    def __init__(self, source, data):
        self.source = source
        found = collections.Counter(word for query, _ in data["train"] for word in set(_words(query)))
        self._position = {word: i for i, word in enumerate(sorted(w for w, n in found.items() if n >= LEAST_QUERIES))}
        self._intents = {name: i for i, name in enumerate(sorted({intent for _, intent in data["train"]}))}
        self.words = len(self._position)
        self.train, self.validation, self.test = (self._labelled(data[part]) for part in ("train", "val", "test"))
        self.out_of_scope = self._bags(data["oos_test"])

    def _labelled(self, pairs):
        return self._bags(pairs), np.array([self._intents[intent] for _, intent in pairs], np.int64)

    def _bags(self, pairs):
        bags = np.zeros((len(pairs), self.words), np.float32)
        for bag, (query, _) in zip(bags, pairs):
            bag[[self._position[word] for word in _words(query) if word in self._position]] = 1
        # a query without a known word stays zero
        return bags / np.maximum(np.linalg.norm(bags, axis=1, keepdims=True), 1)


def load(path):
    """``path``: the file data_full.json of github.com/clinc/oos-eval, or the folder that holds it."""
    if os.path.isdir(path):
        path = os.path.join(path, FILE)
    try:
        with open(path, encoding="utf-8") as file:
            data = json.load(file)
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}); --data takes {FILE} of github.com/clinc/oos-eval") from error
    except ValueError as error:
        raise DataError(f"{path} is not the JSON of CLINC150: {error}") from error
    missing = [part for part in ("train", "val", "test", "oos_test") if part not in data]
    if missing:
        raise DataError(f"{path} lacks the parts {', '.join(missing)}; {FILE} of github.com/clinc/oos-eval has them")
    queries = Queries(path, data)
    if len(queries._intents) != CLASSES:
        raise DataError(f"{path} has {len(queries._intents)} intents; CLINC150 has {CLASSES}")
    return queries


def _words(query):
    return re.findall(r"[a-z0-9']+", query.lower())
