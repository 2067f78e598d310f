"""The training texts nearest to a text, in the space of the model that coded it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hjc.arrays import FloatArray
from hjc.classifiers.base import Classifier
from hjc.classifiers.features import word_vectors
from hjc.classifiers.vectors import TF_IDF, TextVectors
from hjc.data import JobData

#: training texts that go through an encoder for one question; of larger sets those nearest by words
MOST_ENCODED = 1000


@dataclass(frozen=True)
class Neighbour:
    """A training text: its row in the training data, gold node, cosine from -1 to 1, and how many rows have it."""

    row: int
    gold: int
    similarity: float
    text: str
    copies: int


@dataclass(frozen=True)
class Neighbours:
    """Nearest first. ``space``: what was compared; ``compared`` of ``total`` distinct texts."""

    nearest: tuple[Neighbour, ...]
    space: str
    compared: int
    total: int


def nearest_texts(
    classifier: Classifier, text: str, train: JobData, k: int = 5, *, most: int = MOST_ENCODED
) -> Neighbours:
    """The ``k`` nearest of the training texts by cosine; equal texts of one code are one.

    Linear models: their tf-idf rows. Models with an encoder: its pooled vectors; of more than ``most`` texts only those
    that share most words with the text (tf-idf) are compared. Others: tf-idf of words.

    Raises:
        ValueError: no labelled training row, or ``k`` below 1.
    """
    if k < 1:
        raise ValueError(f"--neighbours: got {k}, allowed are integers from 1")
    rows = np.flatnonzero(train.is_labelled)
    if not len(rows):
        raise ValueError("there is no training text with a code")
    first: dict[tuple[str, int], int] = {}
    copies: dict[tuple[str, int], int] = {}
    for i in rows.tolist():
        key = (train.texts[i], int(train.gold[i]))
        first.setdefault(key, i)
        copies[key] = copies.get(key, 0) + 1
    texts = [t for t, _ in first]
    space, chosen = classifier.vector_space, np.arange(len(texts))
    if space != TF_IDF and (space is None or len(texts) > most):
        by_words = _word_cosines(text, texts)
        if space is not None:
            chosen = np.sort(np.argsort(-by_words, kind="stable")[:most])
    if space is None:
        similarity = by_words
    else:
        some = [texts[i] for i in chosen.tolist()]
        similarity = classifier.text_vectors([text]).cosine(classifier.text_vectors(some))[0]
    best = np.argsort(-similarity, kind="stable")[:k]
    keys = list(first)
    nearest = []
    for j in best.tolist():
        key = keys[int(chosen[j])]
        nearest.append(Neighbour(first[key], key[1], float(similarity[j]), key[0], copies[key]))
    name = {TF_IDF: "tf-idf of the model", None: "tf-idf of words"}.get(space, str(space))
    return Neighbours(tuple(nearest), name, len(chosen), len(texts))


def _word_cosines(text: str, texts: Sequence[str]) -> FloatArray:
    features = word_vectors(texts)
    one, many = (TextVectors(TF_IDF, features.transform(part)) for part in ([text], list(texts)))
    return one.cosine(many)[0]
