"""Rules that turn a batch of leaf log-probabilities into one node a row, or into none with a reason."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

import numpy as np
import numpy.typing as npt

from hjc.arrays import BoolArray, Float64, FloatArray, IntArray
from hjc.metrics.level_proba import LevelProba
from hjc.metrics.rows import RowScores
from hjc.taxonomy.tree import Taxonomy


class Reason(IntEnum):
    """Why a row got the node it got, or none."""

    CODED = 0
    BACKED_OFF = 1
    UNSURE = 2
    NO_THRESHOLD = 3
    COSTLY = 4


#: for tables and prediction files
REASONS = {
    Reason.CODED: "coded to a leaf",
    Reason.BACKED_OFF: "coded to a broader code: finer ones were not sure enough",
    Reason.UNSURE: "not coded: no code of any level was sure enough",
    Reason.NO_THRESHOLD: "not coded: validation data did not show the wanted accuracy at any threshold",
    Reason.COSTLY: "not coded: every code has a higher expected cost than none",
}


@dataclass(frozen=True)
class Decisions:
    """One node a row: node (B,), -1 where abstained; its probability (B,) (NaN where abstained); reason (B,)."""

    node: IntArray
    probability: Float64
    reason: npt.NDArray[np.int8]


def decisions(taxonomy: Taxonomy, node: IntArray, probability: Float64, none: Reason) -> Decisions:
    """Decisions with the reason that follows from the node: a leaf, an inner node, or ``none`` where it is -1."""
    coded = np.where(taxonomy.is_leaf[node], np.int8(Reason.CODED), np.int8(Reason.BACKED_OFF))
    reason = np.where(node >= 0, coded, np.int8(none)).astype(np.int8)
    return Decisions(node, np.where(node >= 0, probability, np.nan), reason)


def deepest(taxonomy: Taxonomy, nodes: npt.ArrayLike, probability: Float64, passes: BoolArray) -> Decisions:
    """Of one node a level, (B, D) with its probability, the deepest that passes; none where none does."""
    level = passes.shape[1] - 1 - passes[:, ::-1].argmax(axis=1)
    rows = np.arange(len(passes))
    node = np.where(passes.any(axis=1), np.asarray(nodes)[rows, level], -1).astype(np.int64)
    return decisions(taxonomy, node, probability[rows, level], Reason.UNSURE)


@dataclass(frozen=True)
class Thresholds:
    """The probability a code must reach at each level to be stated: (D,), inf = never at this level.

    ``by_group``: level-1 code -> (D,) thresholds that hold where that is the most probable level-1 code.
    """

    values: Float64
    by_group: Mapping[str, Float64] = field(default_factory=dict)

    @classmethod
    def of(cls, taxonomy: Taxonomy, threshold: Any) -> "Thresholds":
        """From a number for all levels, a sequence of D, or Thresholds. Raises ValueError for any other number."""
        if isinstance(threshold, Thresholds):
            return threshold
        values = np.array(threshold, dtype=np.float64)
        if values.ndim == 0:
            values = np.full(taxonomy.depth, float(values))
        if values.shape != (taxonomy.depth,) or not (values >= 0).all():
            raise ValueError(
                f"threshold: got {threshold!r}, expected a number from 0, or {taxonomy.depth} of them (one a level)"
            )
        return cls(values)

    def lookup(self, taxonomy: Taxonomy, top: npt.NDArray[np.integer[Any]]) -> Float64:
        """(B, D) thresholds of rows whose most probable level-1 nodes are ``top`` (B,)."""
        table = np.repeat(self.values[None, :], len(taxonomy), axis=0)
        for code, values in self.by_group.items():
            table[taxonomy.index_of[code]] = values
        return table[top]


def back_off(taxonomy: Taxonomy, log_proba: FloatArray | LevelProba | RowScores, threshold: Any) -> Decisions:
    """The deepest code that is sure enough: at each level the argmax, stated if its probability is at least the
    level's threshold; the deepest level that states wins; rows that no level states abstain.

    Args:
        log_proba: (B, L) leaf log-probabilities, or what was made of them already.
        threshold: a number, one for each level, or :class:`Thresholds` (from :func:`hjc.decision.fit_thresholds`).
    """
    wanted = Thresholds.of(taxonomy, threshold)
    best = log_proba if isinstance(log_proba, RowScores) else LevelProba.of(taxonomy, log_proba)
    need = wanted.lookup(taxonomy, best.top[:, 0])
    passes = best.confidence >= need
    out = deepest(taxonomy, best.top, best.confidence, passes)
    never = (out.node < 0) & np.isinf(need).all(axis=1)
    return Decisions(out.node, out.probability, np.where(never, np.int8(Reason.NO_THRESHOLD), out.reason))
