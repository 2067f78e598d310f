"""The training texts nearest to a text, in the space of the model that coded it."""

from dataclasses import dataclass

import numpy as np

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
    rows_of: dict[tuple[str, int], list[int]] = {}
    for i in rows.tolist():
        rows_of.setdefault((train.texts[i], int(train.gold[i])), []).append(i)
    keys = list(rows_of)
    texts = [t for t, _ in keys]
    space, chosen = classifier.vector_space, np.arange(len(texts))
    if space is None or (space != TF_IDF and len(texts) > most):
        features = word_vectors(texts)
        one, many = (TextVectors(TF_IDF, features.transform(part)) for part in ([text], texts))
        similarity = one.cosine(many)[0]
    if space is not None:
        if space != TF_IDF and len(texts) > most:
            chosen = np.sort(np.argsort(-similarity, kind="stable")[:most])
        vectors = classifier.text_vectors([texts[i] for i in chosen.tolist()])
        similarity = classifier.text_vectors([text]).cosine(vectors)[0]
    nearest = []
    for j in np.argsort(-similarity, kind="stable")[:k].tolist():
        (found, gold), same = keys[chosen[j]], rows_of[keys[chosen[j]]]
        nearest.append(Neighbour(same[0], gold, float(similarity[j]), found, len(same)))
    name = {TF_IDF: "tf-idf of the model", None: "tf-idf of words"}.get(space, str(space))
    return Neighbours(tuple(nearest), name, len(chosen), len(texts))
