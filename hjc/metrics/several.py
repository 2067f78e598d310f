"""Metrics of sets of codes: what is said of all codes that a text has, at one level or over all nodes.

K columns, B rows of a batch, U units of the bootstrap. Nothing is kept of a row.
"""

import numpy as np
import numpy.typing as npt

from hjc.arrays import BoolArray, Float64, FloatArray, IntArray
from hjc.data.codesets import CodeSets
from hjc.taxonomy.tree import Taxonomy

#: probabilities are held to be at least this, and at most 1 less it, in the log-loss: the floor of classifiers
FLOOR = 1e-10
#: pairs of row and code below this are no candidates for a threshold
LOWEST = 2.0**-10
#: sums over rows that the metrics are ratios of
_SUMS = ("rows", "right", "said", "true", "exact", "lrap", "log_loss", "found_several", "said_several", "has_several")
METRICS = (
    "micro_f1", "micro_precision", "micro_recall", "macro_f1", "exact", "lrap", "log_loss", "several_precision",
    "several_recall", "codes",
)  # fmt: skip


def present(taxonomy: Taxonomy, sets: CodeSets) -> BoolArray:
    """(B, N) whether a row has the node or one below it."""
    own = np.zeros((len(sets), len(taxonomy)), dtype=np.int64)
    own[sets.row, sets.nodes] = 1
    return np.asarray(taxonomy.with_descendants(own) > 0)


def determined(taxonomy: Taxonomy, sets: CodeSets, level: int) -> BoolArray:
    """(B,) whether all codes of a row are known to a level."""
    unknown = taxonomy.node_path[sets.nodes, level - 1] < 0
    return np.asarray((np.bincount(sets.row, unknown, minlength=len(sets)) == 0) & (sets.size > 0))


def label_ranking(proba: FloatArray, true: BoolArray) -> Float64:
    """(B,) label ranking average precision: over the codes of a row, the mean share of right ones among those that are
    no less probable (Tsoumakas, Katakis & Vlahavas 2010). NaN of a row without codes."""
    row, column = np.nonzero(true)
    before = proba[row] >= proba[row, column][:, None]
    share = (before & true[row]).sum(axis=1) / np.maximum(before.sum(axis=1), 1)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.bincount(row, share, minlength=len(true)) / true.sum(axis=1))


def yes_or_no_loss(proba: FloatArray, true: BoolArray) -> Float64:
    """(B,) -sum_k ln P(as it is), each of the K columns a yes or no of its own."""
    p = np.clip(proba, FLOOR, 1 - FLOOR)
    return np.asarray(-np.log(np.where(true, p, 1 - p)).sum(axis=1))


class SetScores:
    """Counts what of the codes of texts is said, batch by batch.

    A code is said where its probability is at least ``threshold``, as ``hjc predict --several`` does.

    * ``micro_f1`` 2 |said & true| / (|said| + |true|), sums over rows and codes, with precision and recall; over all
      nodes of a coherent model it is hF1 of Kiritchenko et al. (2006).
    * ``macro_f1`` the mean F1 of codes that are said or true; 0 of a code never said rightly.
    * ``exact`` share of rows whose set is said exactly; ``lrap`` see :func:`label_ranking`.
    * ``log_loss`` mean over rows of -sum_k ln P(as it is), nats: each column is a yes or no of its own.
    * ``several_precision``, ``several_recall``: of rows said to have several codes those that do, and the reverse.
    * ``codes`` mean number said.

    Args:
        columns: K. units: U, of the bootstrap: rows are drawn with their unit.
    """

    def __init__(self, columns: int, threshold: float, units: int = 1) -> None:
        self.threshold = threshold
        self.sums, self.by_code = np.zeros((units, len(_SUMS))), np.zeros((3, columns))

    def update(
        self, proba: FloatArray, true: BoolArray, unit: IntArray | None = None, weights: npt.ArrayLike | None = None
    ) -> None:
        """Add a batch (B, K) with the units and weights of its rows (B,)."""
        said = proba >= self.threshold
        both, w = said & true, np.ones(len(true)) if weights is None else np.asarray(weights, dtype=np.float64)
        n_said, n_true = said.sum(axis=1), true.sum(axis=1)
        two, has_two = n_said > 1, n_true > 1
        columns = (
            np.ones(len(true)), both.sum(axis=1), n_said, n_true, (said == true).all(axis=1),
            label_ranking(proba, true), yes_or_no_loss(proba, true), two & has_two, two, has_two,
        )  # fmt: skip
        values = np.stack([np.asarray(c, dtype=np.float64) for c in columns], axis=1) * w[:, None]
        np.add.at(self.sums, np.zeros(len(true), np.int64) if unit is None else unit, values)
        self.by_code += np.stack([w @ both, w @ said, w @ true])

    @property
    def rows(self) -> float:
        """Weight of all rows."""
        return float(self.sums[:, 0].sum())

    def values(self) -> dict[str, float]:
        """Every metric of :data:`METRICS`; NaN where there is nothing to measure."""
        right, said, true = self.by_code
        occurs = said + true > 0
        macro = (2 * right[occurs] / (said + true)[occurs]).mean() if occurs.any() else np.nan
        found = {k: float(v[0]) for k, v in self.replicates(np.ones((len(self.sums), 1))).items()} | {
            "macro_f1": float(macro)
        }
        return {name: found[name] for name in METRICS}

    def replicates(self, times: Float64) -> dict[str, Float64]:
        """Every metric but ``macro_f1`` with units drawn ``times`` (U, R): name -> (R,). (Codes with few rows are
        missing from resamples, which pushes a macro mean up.)"""
        s = dict(zip(_SUMS, self.sums.T @ times, strict=True))
        with np.errstate(invalid="ignore", divide="ignore"):
            return {
                "micro_f1": 2 * s["right"] / (s["said"] + s["true"]),
                "micro_precision": s["right"] / s["said"],
                "micro_recall": s["right"] / s["true"],
                "exact": s["exact"] / s["rows"],
                "lrap": s["lrap"] / s["rows"],
                "log_loss": s["log_loss"] / s["rows"],
                "several_precision": s["found_several"] / s["said_several"],
                "several_recall": s["found_several"] / s["has_several"],
                "codes": s["said"] / s["rows"],
            }


class BestThreshold:
    """The threshold of the best micro F1 of a mixture of two kinds of probabilities, from batches.

    The share in the mixture may be said last. Only pairs of row and code that may be said are kept.
    """

    def __init__(self) -> None:
        self._proba: list[Float64] = []
        self._true: list[BoolArray] = []
        self._all = 0

    def update(self, proba: FloatArray, true: BoolArray, other: FloatArray | None = None) -> None:
        """Add a batch (B, K); ``other`` (B, K) are the probabilities that it may be mixed with."""
        both = np.stack([proba, proba if other is None else other])
        some = both.max(axis=0) >= LOWEST
        self._proba.append(np.asarray(both[:, some], dtype=np.float64))
        self._true.append(true[some])
        self._all += int(true.sum())

    def value(self, share: float = 1.0) -> float:
        """The highest such threshold of share p + (1 - share) other, one of these; 1 without rows."""
        first, other = np.concatenate([*self._proba, np.zeros((2, 0))], axis=1)
        proba, true = share * first + (1 - share) * other, np.concatenate([*self._true, np.zeros(0, bool)])
        some = proba >= LOWEST
        proba, true = proba[some], true[some]
        order = np.argsort(-proba, kind="stable")
        proba, right = proba[order], np.cumsum(true[order])
        last = np.flatnonzero(np.r_[np.diff(proba) < 0, len(proba) > 0])  # equal ones are said together
        if not len(last):
            return 1.0
        f1 = 2 * right[last] / (last + 1 + self._all)
        return float(proba[last[f1.argmax()]])
