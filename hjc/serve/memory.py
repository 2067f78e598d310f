"""What people have corrected, in force at once: an exact stage and a nearest-neighbour stage over a model's answer.

Both mix the model's leaf probabilities P with what people said, so that levels go on agreeing:

    P'(leaf) = (1 - w) P(leaf) + w sum over corrected nodes v of q(v) P(leaf | v)

Exact: the text is one that was corrected (blanks and case aside); q are the shares of its n codes, w = n / (n + 1/9),
.9 after one correction. Neighbours: q are the codes of the five corrected texts nearest by cosine, each with weight
((cosine - least) / (1 - least))^2; w = strength times the largest weight. ``least`` and ``strength`` are chosen by the
log-loss of the corrected texts themselves, each left out (none of it where that does not help), once there are 30 and
again whenever there are twice as many; of more than 500 by 500 drawn by chance.
"""

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse

from hjc.arrays import Float64, FloatArray
from hjc.classifiers.base import Classifier
from hjc.classifiers.features import word_vectors
from hjc.classifiers.vectors import TF_IDF
from hjc.data.splitting import text_key
from hjc.taxonomy import Taxonomy

MODEL, EXACT, NEIGHBOUR = "model", "exact", "neighbour"
#: neighbours that are asked; corrections from which the mix is chosen on them; before that least and strength are
NEAREST, CHOSEN_FROM, FIRST = 5, 30, (0.5, 0.5)
#: corrections by which the mix is chosen, at most; how much more texts there are when the words are weighed anew
CHOSEN_BY, REFIT = 500, 1.25
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


class _Placed(NamedTuple):
    """Corrected texts in a space of vectors: their keys, what places a text, and (H, n) their vectors as columns."""

    keys: list[int]
    place: Callable[[Sequence[str]], Any]
    across: Any

    def cosines(self, texts: Sequence[str]) -> Float64:
        """(B, n) cosines of texts with the corrected ones."""
        product = self.place(texts) @ self.across
        return np.asarray(product.toarray() if sparse.issparse(product) else product, dtype=np.float64)


class Memory:
    """Corrections over one model; every method may be called from any thread.

    Args:
        model: gives log-probabilities and, where it has a cheap space of texts (tf-idf), vectors. Others compare words.
        later: runs the choice of the mix, which takes a pass of the model; at once where nothing else is given.
    """

    def __init__(self, model: Classifier, later: Callable[[Callable[[], None]], object] = lambda work: work()) -> None:
        self.model, self.tree, self.later = model, model.taxonomy, later
        self.least, self.strength = FIRST
        self._own_space = model.vector_space == TF_IDF
        self._held: dict[int, Correction] = {}
        self._nodes: dict[int, list[int]] = {}
        self._exact: dict[str, list[int]] = {}
        self._placed: _Placed | None = None
        self._with_vector: set[int] = set()
        self._weighed = 0  # texts by which words were weighed
        self._chosen_at = 0
        self._lock = threading.RLock()

    def __len__(self) -> int:
        return len(self._held)

    def update(self, corrections: Iterable[Correction], gone: Iterable[int] = ()) -> None:
        """Add corrections, replacing those of the same key, and forget others. Codes of other trees are left out."""
        with self._lock:
            for key in gone:
                if key in self._held:
                    self._forget(key)
                    self._weighed = 0  # nor are words of removed texts kept
            for one in corrections:
                self._forget(one.key)
                nodes = [self.tree.index_of[code] for code in one.codes if code in self.tree.index_of]
                if nodes:
                    self._held[one.key], self._nodes[one.key] = one, nodes
                    self._exact.setdefault(text_key(one.text), []).append(one.key)
            choose = len(self._held) >= max(CHOSEN_FROM, 2 * self._chosen_at)
            if choose:
                self._chosen_at = len(self._held)
        if choose:
            self.later(self._choose)

    def _forget(self, key: int) -> None:
        if (old := self._held.pop(key, None)) is not None:
            del self._nodes[key]
            self._with_vector.discard(key)
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
                share, n = _said(self._nodes, keys, np.ones(len(keys))), len(keys)
                out[i], stages[i] = mixed(self.tree, log_proba[i], share, n / (n + DOUBT)), EXACT
            if left and self.strength > 0:
                placed = self._all_placed()
                for i, cosines in zip(left, placed.cosines([texts[i] for i in left]), strict=True):
                    keys, weight = _near(placed.keys, cosines, self.least)
                    if len(keys):
                        said = _said(self._nodes, keys, weight)
                        out[i] = mixed(self.tree, log_proba[i], said, self.strength * weight.max())
                        stages[i] = NEIGHBOUR
            return out, stages

    def nearest(self, text: str, n: int = NEAREST) -> list[Found]:
        """The corrected texts nearest to one, nearest first; those without anything in common are left out."""
        with self._lock:
            if not self._held:
                return []
            placed = self._all_placed()
            cosines = placed.cosines([text])[0]
            best = np.argsort(-cosines, kind="stable")[:n]
            found = [(self._held[placed.keys[i]], float(cosines[i])) for i in best.tolist() if cosines[i] > 0]
            return [Found(one.text, one.codes, min(cosine, 1.0)) for one, cosine in found]

    # ------------------------------------------------------------------ vectors

    def _all_placed(self) -> _Placed:
        """Vectors of all that is held: those of new texts are added, until the words have to be weighed anew."""
        held = self._held
        if not self._own_space and len(held) > REFIT * self._weighed:
            self._placed, self._weighed = None, len(held)
        if (old := self._placed) is None:
            self._with_vector.clear()
            old = _Placed([], self._space(), None)
        new = [key for key in held if key not in self._with_vector]
        if not new and len(old.keys) == len(held):
            return old
        kept = [i for i, key in enumerate(old.keys) if key in self._with_vector]
        parts = [old.across if len(kept) == len(old.keys) else old.across[:, kept]] if kept else []
        if new:
            parts.append(old.place([held[key].text for key in new]).T)
        self._with_vector.update(new)
        keys = [*(old.keys[i] for i in kept), *new]
        self._placed = _Placed(keys, old.place, sparse.hstack(parts, format="csr"))
        return self._placed

    def _space(self) -> Callable[[Sequence[str]], Any]:
        """What makes (B, H) vectors of texts."""
        if self._own_space:
            return lambda texts: self.model.text_vectors(texts).rows
        features = word_vectors([one.text for one in self._held.values()])
        return lambda texts: sparse.csr_matrix(features.transform(list(texts)))

    def _choose(self) -> None:
        """Set ``least`` and ``strength`` by the log-loss of corrections, each without itself and its like."""
        with self._lock:
            placed, held, nodes = self._all_placed(), dict(self._held), dict(self._nodes)
        rows = np.arange(len(placed.keys))
        if len(rows) > CHOSEN_BY:
            rows = np.sort(np.random.default_rng(0).choice(len(rows), CHOSEN_BY, replace=False))
        keys = [placed.keys[i] for i in rows.tolist()]
        texts = [held[key].text for key in keys]
        cosines = placed.cosines(texts)
        twin: dict[str, int] = {}
        number = np.array([twin.setdefault(text_key(held[key].text), len(twin)) for key in placed.keys])
        cosines[number[rows][:, None] == number[None, :]] = -1.0
        node_p = np.exp(self.tree.node_log_proba(self.model.leaf_log_proba(texts)))
        own = np.array([node_p[i, nodes[key]].max() for i, key in enumerate(keys)], dtype=np.float64)
        losses = {}
        for least in LEASTS:
            hit, weight = np.zeros(len(keys)), np.zeros(len(keys))
            for i, key in enumerate(keys):
                near, w = _near(placed.keys, cosines[i], least)
                if len(near):
                    share = _said(nodes, near, w)
                    hit[i], weight[i] = sum(share.get(node, 0.0) for node in nodes[key]), w.max()
            for strength in STRENGTHS:
                w = strength * weight
                losses[least, strength] = float(
                    -np.log(np.maximum((1 - w) * own + w * np.minimum(hit, 1), 1e-10)).mean()
                )
        best = min(losses, key=lambda pair: (losses[pair], pair[1], -pair[0]))
        with self._lock:
            self.least, self.strength = best


def _said(nodes: Mapping[int, list[int]], keys: Sequence[int], weight: Float64) -> dict[int, float]:
    """node -> share of what these corrections said."""
    share: dict[int, float] = {}
    for key, w in zip(keys, (weight / weight.sum()).tolist(), strict=True):
        for node in nodes[key]:
            share[node] = share.get(node, 0.0) + w / len(nodes[key])
    return share


def _near(keys: Sequence[int], cosines: Float64, least: float) -> tuple[list[int], Float64]:
    """Keys of the nearest corrections that are near enough, and their weights."""
    best = np.argpartition(-cosines, min(NEAREST, len(cosines)) - 1)[:NEAREST]
    best = best[cosines[best] > least]
    weight = ((np.minimum(cosines[best], 1.0) - least) / (1 - least)) ** 2
    return [keys[i] for i in best.tolist()], weight


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
