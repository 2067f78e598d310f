"""Names near a title in the space of an encoder: evidence for codes that the encoder was not trained on.

An encoder that has learnt titles of one code list places those of another one sensibly too. With v_i the vectors of
the names that a model learns from, n_i how many training rows have name i, m the mean of these vectors, and cos the
cosine of differences from m,

    P(leaf | title) ~ sum_{names i of leaf} n_i exp(cos(title, v_i) / TEMPERATURE),

a kernel density estimate (Parzen 1962) under which a code that many near titles have is usual. Titles of coded ads are
names too. A leaf without a name is as probable as the least of the others. B rows, H dimensions, M names, L leaves.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from hjc.arrays import Float32, FloatArray, IntArray
from hjc.classifiers.fitting import draw
from hjc.classifiers.treemath import chunks, log_softmax
from hjc.index.exact import normalise

#: tried on 1,600 Polish ads of no test: .05 to .07 are alike
TEMPERATURE = 0.06
#: rows whose cosines with all names are in memory at once
_ROWS = 256
#: of vectors of length 1 in half precision, and ln of how often a name may stand: sums of exp stay finite
LONGEST, HEAVIEST = 1.01, 40
#: titles -> (n, H) vectors
Encode = Callable[[Sequence[str]], FloatArray]


@dataclass(frozen=True)
class NearNames:
    """Names in the space of an encoder.

    Attributes:
        vectors: (M, H) of the names, less the mean, of length 1; names of one leaf lie together.
        leaf: (M,) column of the leaf of each, ascending.
        weight: (M,) ln n_i.
        mean: (H,) of the vectors of the names.
    """

    vectors: Float32
    leaf: IntArray
    weight: Float32
    mean: Float32

    @classmethod
    def of(cls, titles: Sequence[str], leaf: IntArray, encode: Encode, most: int, seed: int) -> Self:
        """Of the titles (n,) of training rows and the columns of their leaves; at most so many different ones.

        Raises:
            ValueError: no title.
        """
        if not len(titles):
            raise ValueError("there is no training row with a title and the code of a leaf")
        # as objects: an array of text takes as much for every title as for the longest
        spelling, number = np.unique(np.array(titles, dtype=object), return_inverse=True)
        pairs, count = np.unique(np.stack([leaf, number.reshape(-1)], axis=1), axis=0, return_counts=True)
        kept = draw(len(pairs), most, seed)
        pairs, count = pairs[kept], count[kept]
        wanted, place = np.unique(pairs[:, 1], return_inverse=True)
        found = normalise(np.asarray(encode(spelling[wanted].tolist()), dtype=np.float32))
        vectors = found[place.reshape(-1)]
        mean = vectors.mean(axis=0)
        return cls(normalise(vectors - mean), pairs[:, 0], np.log(count).astype(np.float32), mean)

    def log_proba(self, vectors: FloatArray, num_leaves: int) -> Float32:
        """(B, H) vectors of titles -> (B, L) natural-log probabilities."""
        starts = np.flatnonzero(np.r_[True, self.leaf[1:] != self.leaf[:-1]])
        columns = self.leaf[starts]
        out = np.empty((len(vectors), num_leaves), dtype=np.float32)
        for rows, part in chunks(normalise(np.asarray(vectors, dtype=np.float32)), _ROWS):
            near = (normalise(part - self.mean) @ self.vectors.T - 1) / np.float32(TEMPERATURE) + self.weight
            some = np.log(np.add.reduceat(np.exp(near), starts, axis=1))  # exp of at least -2 / TEMPERATURE: not 0
            out[rows] = some.min(axis=1, keepdims=True)
            out[rows[:, None], columns] = some
        return log_softmax(out)

    def arrays(self) -> dict[str, Any]:
        """What a file keeps; vectors in half precision."""
        return {
            "vectors": self.vectors.astype(np.float16), "leaf": self.leaf, "weight": self.weight, "mean": self.mean,
        }  # fmt: skip

    @classmethod
    def read(cls, arrays: Mapping[str, Any], num_leaves: int) -> Self:
        """From :meth:`arrays`.

        Raises:
            ValueError: arrays that do not fit each other or the tree, or hold what :meth:`of` never makes.
        """
        if lacking := {"vectors", "leaf", "weight", "mean"} - set(arrays):
            raise ValueError(f"near names: {', '.join(sorted(lacking))} are missing; train the model again")
        vectors, leaf = arrays["vectors"], arrays["leaf"]
        fit = vectors.ndim == 2 and len(vectors) and arrays["mean"].shape == vectors.shape[1:]
        if not fit or not leaf.shape == arrays["weight"].shape == vectors.shape[:1] or leaf.dtype.kind not in "iu":
            raise ValueError("near names: the arrays do not fit each other; train the model again")
        leaf = leaf.astype(np.int64)  # differences of unsigned numbers are never below 0
        if leaf.min() < 0 or leaf.max() >= num_leaves or (np.diff(leaf) < 0).any():
            raise ValueError("near names: leaves that are not of this tree, or out of order; train the model again")
        if not all(np.isfinite(arrays[name]).all() for name in ("vectors", "weight", "mean")):
            raise ValueError("near names: what is no number; train the model again")
        with np.errstate(over="ignore"):  # too large for half of the digits: too large below too
            own = {name: arrays[name].astype(np.float32) for name in ("vectors", "weight", "mean")}
            longest = max(np.linalg.norm(own["vectors"], axis=1).max(), np.linalg.norm(own["mean"]))
        if not (longest <= LONGEST and own["weight"].min() >= 0 and own["weight"].max() <= HEAVIEST):
            raise ValueError(
                f"near names: vectors longer than 1, or weights not from 0 to {HEAVIEST}; train the model again"
            )
        return cls(own["vectors"], leaf, own["weight"], own["mean"])
