"""What people have corrected, in force at once: an exact stage and a nearest-neighbour stage over a model's answer.

Both mix the model's leaf probabilities P with what people said, so that levels go on agreeing:

    P'(leaf) = (1 - w) P(leaf) + w sum over corrected nodes v of q(v) P(leaf | v)

Exact: the text is one that was corrected (blanks and case aside); q are the shares of its n codes, w = n / (n + 1/9),
.9 after one correction. Neighbours: q are the codes of the five corrected texts nearest by cosine, each with weight
((cosine - least) / (1 - least))^2; w = strength times the largest weight. ``least`` and ``strength`` are chosen by the
log-loss of the corrected texts themselves, each left out (none of it where that does not help), once there are 30.
"""

import threading
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse

from hjc.arrays import Float64, FloatArray
from hjc.classifiers.base import Classifier
from hjc.classifiers.features import word_vectors
from hjc.classifiers.vectors import TF_IDF, TextVectors
from hjc.data.splitting import text_key
from hjc.taxonomy import Taxonomy

MODEL, EXACT, NEIGHBOUR = "model", "exact", "neighbour"
#: neighbours that are asked; corrections from which the mix is chosen on them; before that least and strength are
NEAREST, CHOSEN_FROM, FIRST = 5, 30, (0.5, 0.5)
LEASTS, STRENGTHS = (0.2, 0.35, 0.5, 0.65, 0.8), (0.0, 0.25, 0.5, 0.75, 0.9)
#: part of a correction in which people are taken to err
DOUBT = 1 / 9


class Correction(NamedTuple):
    """A text, made as the model takes it, and the codes that people gave it."""

    key: int
    text: str
    codes: tuple[str, ...]


class Found(NamedTuple):
    """A corrected text near to another: its codes and the cosine, 1 for the same text."""

    text: str
    codes: tuple[str, ...]
    similarity: float


class Memory:
    """Corrections over one model; every method may be called from any thread.

    Args:
        model: gives log-probabilities and, where it has a cheap space of texts (tf-idf), vectors. Others compare words.
    """

    def __init__(self, model: Classifier) -> None:
        self.model, self.tree = model, model.taxonomy
        self.least, self.strength = FIRST
        self._own_space = model.vector_space == TF_IDF
        self._held: dict[int, Correction] = {}
        self._nodes: dict[int, list[int]] = {}
        self._exact: dict[str, list[int]] = {}
        self._keys: list[int] = []
        self._features: Any = None
        self._vectors: Any = None
        self._chosen_at = 0
        self._lock = threading.RLock()

    def __len__(self) -> int:
        return len(self._held)

    def update(self, corrections: Iterable[Correction], gone: Iterable[int] = ()) -> None:
        """Add corrections, replacing those of the same key, and forget others. Codes of other trees are left out."""
        with self._lock:
            for key in gone:
                self._forget(key)
            for one in corrections:
                self._forget(one.key)
                nodes = [self.tree.index_of[code] for code in one.codes if code in self.tree.index_of]
                if nodes:
                    self._held[one.key], self._nodes[one.key] = one, nodes
                    self._exact.setdefault(text_key(one.text), []).append(one.key)
            self._vectors = None
            if len(self._held) >= max(CHOSEN_FROM, 2 * self._chosen_at):
                self._choose()

    def _forget(self, key: int) -> None:
        if (old := self._held.pop(key, None)) is not None:
            del self._nodes[key]
            same = self._exact[text_key(old.text)]
            same.remove(key)
            if not same:
                del self._exact[text_key(old.text)]

    # ------------------------------------------------------------------ answers

    def mix(self, texts: Sequence[str], log_proba: FloatArray) -> tuple[FloatArray, list[str]]:
        """(B, L) log-probabilities of the texts with what was corrected, and the stage of each row."""
        stages = [MODEL] * len(texts)
        with self._lock:
            if not self._held:
                return log_proba, stages
            out = np.array(log_proba, dtype=np.float32)
            left = []
            for i, text in enumerate(texts):
                keys = self._exact.get(text_key(text))
                if keys is None:
                    left.append(i)
                    continue
                share, n = self._said(keys, np.ones(len(keys))), len(keys)
                out[i], stages[i] = mixed(self.tree, log_proba[i], share, n / (n + DOUBT)), EXACT
            if left and self.strength > 0:
                for i, cosines in zip(left, self._cosines([texts[i] for i in left]), strict=True):
                    keys, weight = self._near(cosines)
                    if len(keys):
                        out[i] = mixed(self.tree, log_proba[i], self._said(keys, weight), self.strength * weight.max())
                        stages[i] = NEIGHBOUR
            return out, stages

    def nearest(self, text: str, n: int = NEAREST) -> list[Found]:
        """The corrected texts nearest to one, nearest first; those without anything in common are left out."""
        with self._lock:
            if not self._held:
                return []
            cosines = self._cosines([text])[0]
            best = np.argsort(-cosines, kind="stable")[:n]
            found = [(self._held[self._keys[i]], float(cosines[i])) for i in best.tolist() if cosines[i] > 0]
            return [Found(one.text, one.codes, min(cosine, 1.0)) for one, cosine in found]

    def _said(self, keys: Sequence[int], weight: Float64) -> dict[int, float]:
        """node -> share of what these corrections said."""
        share: dict[int, float] = {}
        for key, w in zip(keys, (weight / weight.sum()).tolist(), strict=True):
            for node in self._nodes[key]:
                share[node] = share.get(node, 0.0) + w / len(self._nodes[key])
        return share

    def _near(self, cosines: Float64, least: float | None = None) -> tuple[list[int], Float64]:
        """Keys of the nearest corrections that are near enough, and their weights."""
        least = self.least if least is None else least
        best = np.argpartition(-cosines, min(NEAREST, len(cosines)) - 1)[:NEAREST]
        best = best[cosines[best] > least]
        weight = ((np.minimum(cosines[best], 1.0) - least) / (1 - least)) ** 2
        return [self._keys[i] for i in best.tolist()], weight

    # ------------------------------------------------------------------ vectors

    def _cosines(self, texts: Sequence[str]) -> Float64:
        """(B, n) cosines with the corrections, in the order of ``_keys``."""
        if self._vectors is None:
            self._keys = list(self._held)
            held = [self._held[key].text for key in self._keys]
            self._features = None if self._own_space else word_vectors(held)
            self._vectors = self._place(held)
        return np.asarray(self._place(texts).cosine(self._vectors), dtype=np.float64)

    def _place(self, texts: Sequence[str]) -> TextVectors:
        if self._features is None:
            return self.model.text_vectors(texts)
        return TextVectors("words", sparse.csr_matrix(self._features.transform(list(texts))))

    def _choose(self) -> None:
        """Set ``least`` and ``strength`` by the log-loss of the corrections, each without itself and its like."""
        self._chosen_at, held = len(self._held), list(self._held.values())
        texts = [one.text for one in held]
        cosines = self._cosines(texts)
        twin = {key: i for i, key in enumerate(text_key(text) for text in texts)}
        number = np.array([twin[text_key(text)] for text in texts])
        cosines[number[:, None] == number[None, :]] = -1.0
        node_p = np.exp(self.tree.node_log_proba(self.model.leaf_log_proba(texts)))
        own = np.array([node_p[i, self._nodes[one.key]].max() for i, one in enumerate(held)], dtype=np.float64)
        losses = {}
        for least in LEASTS:
            hit, weight = np.zeros(len(held)), np.zeros(len(held))
            for i, one in enumerate(held):
                keys, w = self._near(cosines[i], least)
                if len(keys):
                    share = self._said(keys, w)
                    hit[i], weight[i] = sum(share.get(node, 0.0) for node in self._nodes[one.key]), w.max()
            for strength in STRENGTHS:
                w = strength * weight
                losses[least, strength] = float(
                    -np.log(np.maximum((1 - w) * own + w * np.minimum(hit, 1), 1e-10)).mean()
                )
        self.least, self.strength = min(losses, key=lambda pair: (losses[pair], pair[1], -pair[0]))


def mixed(tree: Taxonomy, log_proba: FloatArray, share: dict[int, float], weight: float) -> FloatArray:
    """(L,) log-probabilities of a row mixed with shares of nodes, which their leaves get as the model gives them."""
    p = np.exp(np.asarray(log_proba, dtype=np.float64))
    said = np.zeros_like(p)
    for node, part in share.items():
        start, stop = tree.leaf_slice[node]
        under = p[start:stop]
        total = under.sum()
        said[start:stop] += part * (under / total if total > 0 else 1 / (stop - start))
    with np.errstate(divide="ignore"):
        return np.log((1 - weight) * p + weight * said).astype(np.float32)
