"""How much a feature of occupations (a skill, a field of knowledge) tells about the code: a measure, not a word list.

For a feature f with a non-negative weight w(c, f) at each of C codes, p(c | f) = w(c, f) / sum of w. Its entropy H(f)
divided by log C is 1 for a feature that all codes share alike ("Active Listening") and 0 for one that belongs to a
single code; the difference log C - H(f) is the information gain over knowing nothing, in nats (the Kullback-Leibler
divergence of p from the uniform distribution). Ratings count from the middle of their scale, w = max(0, importance -
3) with O*NET's 1 to 5: everyone listens a little. A feature without ratings counts 1 at each code that has it, and H
= log(number of codes).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse
from scipy.special import entr

from hjc.arrays import Float64, IntArray

#: O*NET calls an importance of 3 "important"
IMPORTANT = 3.0
#: a feature with a normalised entropy above this is generic: it tells less than one that C ** 0.8 of C codes share
#: (226 of 879)
GENERIC = 0.80


@dataclass(frozen=True)
class Discrimination:
    """Features, sorted from the most telling to the most generic. F features.

    Attributes:
        features: F names.
        entropy: (F,) normalised entropy over codes, 0 to 1.
        gain: (F,) information gain in nats.
        codes: (F,) number of codes with a weight above 0.
    """

    features: tuple[str, ...]
    entropy: Float64
    gain: Float64
    codes: IntArray

    def records(self) -> list[dict[str, Any]]:
        """The features one by one, rounded: feature, entropy, gain_nats, codes."""
        columns = (self.features, self.entropy.round(4).tolist(), self.gain.round(4).tolist(), self.codes.tolist())
        return [
            dict(zip(("feature", "entropy", "gain_nats", "codes"), row, strict=True))
            for row in zip(*columns, strict=True)
        ]

    def generic(self, threshold: float = GENERIC) -> frozenset[str]:
        """Features with a normalised entropy above the threshold."""
        return frozenset(f for f, h in zip(self.features, self.entropy.tolist(), strict=True) if h > threshold)


def discrimination(
    features: Sequence[str], codes: Sequence[str], values: Sequence[float] | None = None, *, floor: float = IMPORTANT
) -> Discrimination:
    """Entropy and information gain of each feature over the codes.

    Args:
        features, codes: n pairs; the codes that occur are the C codes that features can tell apart.
        values: n ratings (NaN: none, counts as a weight of 1); None: no ratings.
        floor: a rating up to this has no weight.

    Raises:
        ValueError: lengths differ, or there is no pair.
    """
    if len(features) != len(codes) or (values is not None and len(values) != len(codes)):
        raise ValueError(f"features, codes and values: got lengths {len(features)}, {len(codes)}, "
                         f"{'-' if values is None else len(values)}, expected the same")  # fmt: skip
    if not len(features):
        raise ValueError("discrimination: got no pair of feature and code")
    names, f = np.unique(np.asarray(features, dtype=str), return_inverse=True)
    distinct, c = np.unique(np.asarray(codes, dtype=str), return_inverse=True)
    weight = np.ones(len(f))
    if values is not None:
        rated = np.asarray(values, dtype=np.float64)
        weight = np.where(np.isnan(rated), 1.0, np.maximum(rated - floor, 0.0))
    w = sparse.csr_array((weight, (f, c)), shape=(len(names), len(distinct)))  # repeated pairs add up
    total = w.sum(axis=1)
    p = sparse.csr_array(sparse.diags_array(np.divide(1, total, out=np.zeros_like(total), where=total > 0)) @ w)
    p.data = entr(p.data)
    entropy = np.maximum(p.sum(axis=1), 0.0)
    possible = np.log(len(distinct)) if len(distinct) > 1 else 1.0
    count = (w > 0).sum(axis=1)
    order = np.lexsort((names, entropy))
    return Discrimination(
        features=tuple(names[order].tolist()),
        entropy=entropy[order] / possible,
        gain=(np.log(max(len(distinct), 1)) - entropy)[order],
        codes=count[order],
    )
