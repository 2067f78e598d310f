"""A classifier without training, for tests of what surrounds classifiers: probabilities from a checksum of the text."""

import sys
import time
import zlib

import numpy as np

from hjc.classifiers import CLASSIFIERS
from hjc.classifiers.base import Classifier
from hjc.classifiers.load import stored_recipe
from hjc.classifiers.storage import read_model_dir, write_model_dir
from hjc.taxonomy import Taxonomy


class StubClassifier(Classifier):
    """Deterministic; rows come in shuffled batches, as from a neural classifier. A text "slow" takes its time."""

    name = "stub"
    is_fitted = True

    def __init__(self, taxonomy: Taxonomy) -> None:
        super().__init__(taxonomy)

    def fit(self, train, valid=None, *, run_dir=None):
        return self

    def iter_log_proba(self, texts):
        order = np.random.default_rng(0).permutation(len(texts))
        for rows in np.array_split(order, max(1, len(texts) // 3)):
            if len(rows):
                yield rows, np.stack([self._row(texts[i]) for i in rows])

    def _row(self, text: str) -> np.ndarray:
        if text == "slow":
            time.sleep(0.2)
        x = np.random.default_rng(zlib.crc32(text.encode())).normal(size=self.taxonomy.num_leaves)
        return (x - np.log(np.exp(x).sum())).astype(np.float32)

    def save_pretrained(self, directory):
        write_model_dir(
            directory, classifier=self.name, parameters={"depth": 3}, taxonomy=self.taxonomy, recipe=self.recipe
        )

    @classmethod
    def from_pretrained(cls, directory):
        model = read_model_dir(directory, expected_classifier=cls.name)
        self = cls(model.taxonomy)
        self.recipe = stored_recipe(model.path, model.config)
        return self


def register() -> None:
    """Add the stub to the registry of this process."""
    CLASSIFIERS["stub"] = (__name__, "StubClassifier")


if __name__ == "__main__":  # python -m tests.stub_classifier ARGUMENTS: the hjc command with the stub registered
    CLASSIFIERS["stub"] = ("tests.stub_classifier", "StubClassifier")
    from hjc.cli import main

    sys.argv[0] = "hjc"
    main()
