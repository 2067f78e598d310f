"""Split conformal prediction sets at one level: LAC, APS and RAPS, for all rows alike or by group (Mondrian).

With n exchangeable calibration rows and the threshold at the ceil((n + 1)(1 - alpha))-th smallest nonconformity score
of their gold codes, the set of codes with a score up to the threshold holds a new row's true code with probability at
least 1 - alpha, whatever the classifier (Vovk, Gammerman & Shafer 2005; Papadopoulos et al. 2002), on average over
rows, or over the rows of each group when calibrated by group.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hjc.arrays import BoolArray, Float64, FloatArray, IntArray
from hjc.metrics.level_proba import LevelProba
from hjc.metrics.rows import RowScores
from hjc.taxonomy.tree import Taxonomy

SCORES = ("lac", "aps", "raps")
#: Probabilities are compared with thresholds up to this share of them, always on the side that covers: a row with the
#: text of a validation row has its very score, whatever rounding each went through (older files: single precision).
TIE = 1e-6


def conformal_quantile(scores: npt.ArrayLike, alpha: float) -> float:
    """The ceil((n + 1)(1 - alpha))-th smallest score; inf when that is more than n (too few rows for this alpha)."""
    if not 0 < alpha < 1:
        raise ValueError(f"alpha: got {alpha}, allowed are numbers between 0 and 1")
    s = np.sort(np.asarray(scores, dtype=np.float64))
    k = int(np.ceil((len(s) + 1) * (1 - alpha) - 1e-9))
    return float(s[k - 1]) if 1 <= k <= len(s) else (np.inf if k > len(s) else -np.inf)


def group_quantiles(scores: Float64, keep: BoolArray, groups: Sequence[Any] | None, alpha: float) -> dict[str, float]:
    """Threshold of the kept rows' scores under the key "", and under "=NAME" of each group with rows enough for alpha.

    Raises:
        ValueError: no row is kept, alpha outside (0, 1), or not one group a row.
    """
    if not keep.any():
        raise ValueError("no row has a gold code at the level: nothing to calibrate on")
    out = {"": conformal_quantile(scores[keep], alpha)}
    if groups is not None:
        names, inverse = _grouped(groups, len(scores))
        each = {f"={g}": conformal_quantile(scores[keep & (inverse == i)], alpha) for i, g in enumerate(names)}
        out |= {name: value for name, value in each.items() if np.isfinite(value)}
    return out


def lookup_quantiles(quantiles: Mapping[str, float], groups: Sequence[Any] | None, rows: int) -> Float64:
    """(rows,) thresholds. A group without one of its own has that of all rows: no promise is made about it."""
    if groups is None:
        if len(quantiles) > 1:
            raise ValueError("these conformal sets were calibrated by group: pass groups, one for each row")
        return np.full(rows, quantiles[""])
    names, inverse = _grouped(groups, rows)
    return np.array([quantiles.get(f"={g}", quantiles[""]) for g in names], dtype=np.float64)[inverse]


def _grouped(groups: Sequence[Any], rows: int) -> tuple[list[str], IntArray]:
    """Names of the groups, and the number (rows,) of each row's."""
    if len(groups) != rows:
        raise ValueError(f"groups: got {len(groups)} for {rows} rows")
    names, inverse = np.unique(np.asarray(groups, dtype=np.str_), return_inverse=True)
    return names.tolist(), inverse.reshape(-1)


def level_scores(p: Float64, score: str, penalty: float = 0.0, free: int = 0) -> Float64:
    """Nonconformity of every column of a level from its probabilities: (B, K).

    lac: 1 - p (Sadinle, Lei & Wasserman 2019). aps: probability of the more probable codes and of the code's own
    (Romano, Sesia & Candes 2020, eq. 8-10, not randomised). raps: that plus ``penalty * max(0, rank - free)``
    (Angelopoulos, Bates, Malik & Jordan 2021, eq. 4), ranks from 1.
    """
    if score == "lac":
        return 1 - p
    order = np.argsort(-p, axis=1, kind="stable")
    s = np.cumsum(np.take_along_axis(p, order, axis=1), axis=1)
    s += penalty * np.maximum(0, np.arange(1, p.shape[1] + 1) - free)
    out = np.empty_like(s)
    np.put_along_axis(out, order, s, axis=1)
    return out


@dataclass(frozen=True)
class ConformalSets:
    """A set of nodes for each of B rows: row i has ``nodes[indptr[i]:indptr[i + 1]]``, most probable first."""

    indptr: IntArray
    nodes: IntArray

    def __len__(self) -> int:
        return len(self.indptr) - 1

    def __getitem__(self, row: int) -> IntArray:
        return self.nodes[self.indptr[row] : self.indptr[row + 1]]

    @classmethod
    def of(cls, sizes: npt.ArrayLike, nodes: npt.ArrayLike) -> "ConformalSets":
        """From the number of nodes of each row and all nodes, row after row."""
        return cls(np.cumsum(np.r_[0, sizes], dtype=np.int64), np.asarray(nodes, dtype=np.int64))

    @property
    def sizes(self) -> IntArray:
        """(B,) number of nodes in each set."""
        return np.diff(self.indptr)

    def covers(self, taxonomy: Taxonomy, gold: npt.ArrayLike) -> BoolArray:
        """(B,) True where a node of the set is gold or an ancestor of it."""
        g = np.repeat(np.asarray(gold), self.sizes)
        level = taxonomy.level[self.nodes] - 1
        hit = (taxonomy.node_path[g, level] == self.nodes) & (g >= 0)
        row = np.repeat(np.arange(len(self)), self.sizes)
        return np.bincount(row, hit, minlength=len(self)) > 0


@dataclass(frozen=True)
class SplitConformal:
    """Fitted conformal sets of one level. Make it with :func:`fit_conformal`."""

    taxonomy: Taxonomy
    level: int
    score: str
    quantiles: dict[str, float]
    penalty: float = 0.0
    free: int = 0

    def sets(self, log_proba: FloatArray | LevelProba, groups: Sequence[Any] | None = None) -> ConformalSets:
        """Sets for a batch (B, L) of rows in these groups."""
        p = LevelProba.of(self.taxonomy, log_proba).at(self.level)
        inside = self.inside(p, lookup_quantiles(self.quantiles, groups, len(p)))
        inside[np.arange(len(p)), p.argmax(axis=1)] = True  # no set is empty; the first to enter one that is not
        row, column = np.nonzero(inside)
        order = np.lexsort((-p[row, column], row))
        nodes = self.taxonomy.level_nodes(self.level)[column[order]]
        return ConformalSets.of(inside.sum(axis=1), nodes)

    def inside(self, p: Float64, need: Float64) -> BoolArray:
        """(B, K) columns of the level whose nonconformity is at most ``need`` (B,), from their probabilities (B, K)."""
        if self.score == "lac":
            return np.asarray(p >= ((1 - need) * (1 - TIE))[:, None])
        # sums of probabilities: equal but for the order of summing
        return np.asarray(level_scores(p, self.score, self.penalty, self.free) <= need[:, None] + 1e-12)


def fit_conformal(
    taxonomy: Taxonomy,
    level: int,
    outcomes: RowScores,
    alpha: float,
    *,
    score: str = "lac",
    penalty: float = 0.01,
    free: int = 5,
    groups: Sequence[Any] | None = None,
) -> SplitConformal:
    """Calibrate on rows that neither training nor calibration of probabilities saw.

    Args:
        outcomes: of these rows, with ``aps`` (:func:`hjc.metrics.score_batches` with ``conformal``); rows without a
            gold code at the level are left out.
        score: lac, aps, or raps with ``penalty`` for each rank beyond ``free``.
        groups: one a row (language, predicted major group): coverage then holds within each (Vovk 2012, Mondrian).
            Groups with fewer rows than 1 / alpha - 1, or none, get the threshold of all rows, without a promise.

    Raises:
        ValueError: unknown score, alpha outside (0, 1), no usable row, or outcomes without ``aps``.
    """
    if score not in SCORES:
        raise ValueError(f"score: got {score!r}, allowed are {', '.join(SCORES)}")
    column = taxonomy.check_level(level) - 1
    penalty, free = (penalty, free) if score == "raps" else (0.0, 0)
    if score == "lac":
        values = -np.expm1(outcomes.log_p[:, column])
    elif outcomes.aps is None:
        raise ValueError(f"score {score!r} needs outcomes that were scored with conformal=True")
    else:
        values = outcomes.aps[:, column] + penalty * np.maximum(0, outcomes.rank[:, column] - free)
    quantiles = group_quantiles(values, outcomes.valid[:, column], groups, alpha)
    return SplitConformal(taxonomy, level, score, quantiles, penalty, free)


def cover_nodes(
    taxonomy: Taxonomy, leaf_sets: ConformalSets, log_proba: FloatArray | LevelProba, most: int
) -> ConformalSets:
    """At most ``most`` nodes that hold every leaf of each set: broader codes instead of a long list.

    Complete sibling groups are replaced by their parent; while there are too many nodes, the two whose common ancestor
    adds the least probability are replaced by it (representation complexity of Mortier et al. 2022, Set-valued
    prediction in hierarchical classification, greedily). What is covered only grows, so coverage holds. Where even
    level 1 has more nodes than ``most``, its nodes stay: there is no code for the root.
    """
    if most < 1:
        raise ValueError(f"most: got {most}, allowed are integers from 1")
    p = LevelProba.of(taxonomy, log_proba).nodes()
    out: list[list[int]] = []
    for row in range(len(leaf_sets)):
        nodes = set(leaf_sets[row].tolist())
        for node in sorted(nodes, reverse=True):  # breadth-first numbers: deepest first
            _fold_up(taxonomy, nodes, node)
        while len(nodes) > most and (best := _cheapest_ancestor(taxonomy, nodes, p[row])) >= 0:
            start, stop = taxonomy.leaf_slice[best]
            nodes = {v for v in nodes if not (start <= taxonomy.leaf_slice[v, 0] < stop)} | {best}
            _fold_up(taxonomy, nodes, best)
        out.append(sorted(nodes, key=lambda v: -p[row, v]))
    return ConformalSets.of([len(nodes) for nodes in out], [v for nodes in out for v in nodes])


def _fold_up(taxonomy: Taxonomy, nodes: set[int], node: int) -> None:
    """Replace a complete sibling group by its parent, and so on upwards; in place."""
    while node in nodes and (parent := int(taxonomy.parents[node])) >= 0:
        siblings = set(range(*taxonomy.group_slice[taxonomy.group[node]].tolist()))
        # A lone child says more than its parent: keep it as it is.
        if len(siblings) == 1 or not siblings <= nodes:
            return
        nodes -= siblings
        nodes.add(parent)
        node = parent


def _cheapest_ancestor(taxonomy: Taxonomy, nodes: set[int], p: Float64) -> int:
    """The ancestor of at least two of the nodes that adds the least probability; -1 when there is none."""
    held: dict[int, list[int]] = {}
    for node in nodes:
        up = int(taxonomy.parents[node])
        while up >= 0:
            held.setdefault(up, []).append(node)
            up = int(taxonomy.parents[up])
    several = [(p[a] - p[below].sum(), -int(taxonomy.level[a]), a) for a, below in held.items() if len(below) > 1]
    return min(several)[2] if several else -1
