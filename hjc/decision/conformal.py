"""Split conformal prediction sets at one level: LAC, APS and RAPS, for all rows alike or by group (Mondrian).

With n exchangeable calibration rows and the threshold at the ceil((n + 1)(1 - alpha))-th smallest nonconformity score
of their gold codes, the set of codes with a score up to the threshold holds a new row's true code with probability at
least 1 - alpha, whatever the classifier (Vovk, Gammerman & Shafer 2005; Papadopoulos et al. 2002), on average over
rows, or over the rows of each group when calibrated by group.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hjc.arrays import BoolArray, Float64, FloatArray, IntArray
from hjc.calibration.conditionals import as_gold
from hjc.errors import name_some
from hjc.metrics.level_proba import LevelProba
from hjc.metrics.rows import iter_batches
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


def group_quantiles(scores: Float64, groups: Sequence[Any] | None, alpha: float) -> dict[str, float]:
    """Threshold of each group's scores, and of all under the key "" (used when there are no groups)."""
    out = {"": conformal_quantile(scores, alpha)}
    if groups is not None:
        if len(groups) != len(scores):
            raise ValueError(f"groups: got {len(groups)} for {len(scores)} rows")
        names, inverse = np.unique(np.asarray(groups, dtype=np.str_), return_inverse=True)
        out |= {f"={g}": conformal_quantile(scores[inverse == i], alpha) for i, g in enumerate(names.tolist())}
    return out


def quantiles_to_json(quantiles: Mapping[str, float]) -> dict[str, float | None]:
    """JSON has no infinity: null."""
    return {k: v if np.isfinite(v) else None for k, v in quantiles.items()}


def quantiles_from_json(state: Mapping[str, float | None]) -> dict[str, float]:
    """The inverse of :func:`quantiles_to_json`."""
    return {k: np.inf if v is None else float(v) for k, v in state.items()}


def check_state(taxonomy: Taxonomy, state: Mapping[str, Any], kind: str) -> None:
    """Raises ValueError when a stored rule is of another kind or was fitted on another tree."""
    if state.get("kind") != kind:
        raise ValueError(f"got a stored rule of kind {state.get('kind')!r}, expected {kind!r}")
    if state.get("taxonomy_hash") != taxonomy.hash:
        raise ValueError(f"the stored rule was fitted on another tree than {taxonomy!r}; fit it again on this one")


def lookup_quantiles(quantiles: dict[str, float], groups: Sequence[Any] | None, rows: int, unseen: str) -> Float64:
    """(rows,) thresholds. ``unseen``: what a group without calibration rows gets: "error", "pooled" or "everything"."""
    grouped = len(quantiles) > 1
    if groups is None:
        if grouped:
            raise ValueError("these conformal sets were calibrated by group: pass groups, one for each row")
        return np.full(rows, quantiles[""])
    if len(groups) != rows:
        raise ValueError(f"groups: got {len(groups)} for {rows} rows")
    if not grouped and unseen == "error":
        raise ValueError("groups were given, but calibration was not by group; fit again with groups")
    default = {"error": None, "pooled": quantiles[""], "everything": np.inf}[unseen]
    names, inverse = np.unique(np.asarray(groups, dtype=np.str_), return_inverse=True)
    missing = [g for g in names.tolist() if f"={g}" not in quantiles]
    if missing and default is None:
        raise ValueError(
            f"groups without calibration rows: {name_some(missing)}; calibrated are "
            f"{name_some([k[1:] for k in quantiles if k])}, or fit with unseen='pooled' (no guarantee) or 'everything'"
        )
    return np.array([quantiles.get(f"={g}", default) for g in names.tolist()], dtype=np.float64)[inverse.reshape(-1)]


def level_scores(p: Float64, score: str, uniform: Float64 | None, penalty: float = 0.0, free: int = 0) -> Float64:
    """Nonconformity of every column of a level from its probabilities: (B, K).

    lac: 1 - p (Sadinle, Lei & Wasserman 2019). aps: probability of the more probable codes plus u times the code's own,
    u uniform a row, 1 when not randomised (Romano, Sesia & Candes 2020, eq. 8-10). raps: that plus
    ``penalty * max(0, rank - free)`` (Angelopoulos, Bates, Malik & Jordan 2021, eq. 4), ranks from 1.
    """
    if score == "lac":
        return 1 - p
    order = np.argsort(-p, axis=1, kind="stable")
    ranked = np.take_along_axis(p, order, axis=1)
    before = np.cumsum(ranked, axis=1) - ranked
    s = before + (1.0 if uniform is None else uniform[:, None]) * ranked
    if score == "raps":
        s = s + penalty * np.maximum(0, np.arange(1, p.shape[1] + 1) - free)
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
    alpha: float
    score: str
    quantiles: dict[str, float]
    rows: int
    randomised: bool = False
    penalty: float = 0.0
    free: int = 0
    unseen: str = "error"

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        names = ("level", "alpha", "score", "rows", "randomised", "penalty", "free", "unseen")
        return {
            "kind": "split_conformal",
            "taxonomy_hash": self.taxonomy.hash,
            "quantiles": quantiles_to_json(self.quantiles),
            **{name: getattr(self, name) for name in names},
        }

    @classmethod
    def from_dict(cls, taxonomy: Taxonomy, state: Mapping[str, Any]) -> "SplitConformal":
        """The inverse of :meth:`to_dict`. Raises ValueError for another kind or tree."""
        check_state(taxonomy, state, "split_conformal")
        rest = {k: v for k, v in state.items() if k not in ("kind", "taxonomy_hash", "quantiles")}
        return cls(taxonomy, quantiles=quantiles_from_json(state["quantiles"]), **rest)

    def sets(
        self,
        log_proba: FloatArray | LevelProba,
        groups: Sequence[Any] | None = None,
        *,
        rng: np.random.Generator | None = None,
        allow_empty: bool = False,
    ) -> ConformalSets:
        """Sets for a batch (B, L). An empty set is given the most probable code (coverage only grows) unless allowed.

        A randomised score draws from ``rng``: one generator for all batches, seeded once by the caller.
        """
        p = LevelProba.of(self.taxonomy, log_proba).at(self.level)
        need = lookup_quantiles(self.quantiles, groups, len(p), self.unseen)
        inside = self.inside(p, need, rng=rng)
        if not allow_empty:
            inside[np.arange(len(p)), p.argmax(axis=1)] = True  # the first to enter a set that is not empty
        row, column = np.nonzero(inside)
        order = np.lexsort((-p[row, column], row))
        nodes = self.taxonomy.level_nodes(self.level)[column[order]]
        return ConformalSets(np.r_[0, np.cumsum(inside.sum(axis=1))].astype(np.int64), nodes)

    def inside(self, p: Float64, need: Float64, rng: np.random.Generator | None = None) -> BoolArray:
        """(B, K) columns of the level whose nonconformity is at most ``need`` (B,), from their probabilities (B, K)."""
        if self.score == "lac":
            return np.asarray(p >= ((1 - need) * (1 - TIE))[:, None])
        # sums of probabilities: equal but for the order of summing
        scores = level_scores(p, self.score, _draw(self.randomised, len(p), rng), self.penalty, self.free)
        return np.asarray(scores <= need[:, None] + 1e-12)


def _draw(randomised: bool, rows: int, rng: np.random.Generator | None) -> Float64 | None:
    if not randomised:
        return None
    if rng is None:
        raise ValueError("a randomised score needs rng=numpy.random.default_rng(seed), one for all batches")
    return rng.random(rows)


def fit_conformal(
    taxonomy: Taxonomy,
    level: int,
    log_proba: FloatArray | Iterable[Any],
    gold: npt.ArrayLike,
    alpha: float,
    *,
    score: str = "aps",
    randomised: bool = False,
    penalty: float = 0.01,
    free: int = 5,
    groups: Sequence[Any] | None = None,
    unseen: str = "error",
    seed: int = 0,
) -> SplitConformal:
    """Calibrate on rows that neither training nor calibration of probabilities saw.

    Args:
        log_proba: (n, L) or batches of it (see :func:`hjc.metrics.iter_batches`).
        gold: (n,) nodes; rows without a gold code at the level (-1, or an inner node above it) are left out.
        groups: one a row (language, predicted major group): coverage then holds within each (Vovk 2012, Mondrian).
        unseen: "error", "pooled" or "everything" for a group that had no calibration rows.

    Raises:
        ValueError: unknown score or unseen, alpha outside (0, 1), or no usable row.
    """
    if score not in SCORES:
        raise ValueError(f"score: got {score!r}, allowed are {list(SCORES)}")
    if unseen not in ("error", "pooled", "everything"):
        raise ValueError(f"unseen: got {unseen!r}, allowed are 'error', 'pooled' and 'everything'")
    wanted = as_gold(taxonomy, gold, len(np.asarray(gold)))
    column = np.where(wanted >= 0, taxonomy.level_column[wanted, taxonomy.check_level(level) - 1], -1)
    penalty, free = (penalty, free) if score == "raps" else (0.0, 0)
    randomised = randomised and score != "lac"
    uniform = np.random.default_rng(seed).random(len(wanted)) if randomised else None
    scores = np.full(len(wanted), np.nan)
    for rows, batch in iter_batches(log_proba):
        use = column[rows] >= 0
        r = rows[use]
        p = LevelProba.of(taxonomy, batch[use]).at(level)
        s = level_scores(p, score, None if uniform is None else uniform[r], penalty, free)
        scores[r] = s[np.arange(len(r)), column[r]]
    known = column >= 0
    if not known.any():
        raise ValueError(f"no row has a gold code at level {level}: nothing to calibrate on")
    if np.isnan(scores[known]).any():
        raise ValueError(f"log_proba has fewer rows than the {len(wanted)} of gold, or holds NaN")
    inside = None if groups is None else [g for g, k in zip(groups, known, strict=True) if k]
    quantiles = group_quantiles(scores[known], inside, alpha)
    return SplitConformal(taxonomy, level, alpha, score, quantiles, int(known.sum()), randomised, penalty, free, unseen)


def cover_nodes(taxonomy: Taxonomy, leaf_sets: ConformalSets, log_proba: FloatArray, most: int) -> ConformalSets:
    """At most ``most`` nodes that hold every leaf of each set: broader codes instead of a long list.

    Complete sibling groups are replaced by their parent; while there are too many nodes, the two whose common ancestor
    adds the least probability are replaced by it (representation complexity of Mortier et al. 2022, Set-valued
    prediction in hierarchical classification, greedily). What is covered only grows, so coverage holds. Where even
    level 1 has more nodes than ``most``, its nodes stay: there is no code for the root.
    """
    if most < 1:
        raise ValueError(f"most: got {most}, allowed are integers from 1")
    p = np.exp(taxonomy.node_log_proba(np.asarray(log_proba, dtype=np.float64)))
    children = np.bincount(taxonomy.parents[taxonomy.parents >= 0], minlength=len(taxonomy))
    out: list[IntArray] = []
    for row in range(len(leaf_sets)):
        nodes = set(leaf_sets[row].tolist())
        for node in sorted(nodes, reverse=True):  # breadth-first numbers: deepest first
            _fold_up(taxonomy, nodes, node, children)
        while len(nodes) > most:
            best = _cheapest_ancestor(taxonomy, nodes, p[row])
            if best < 0:
                break
            start, stop = taxonomy.leaf_slice[best]
            nodes = {v for v in nodes if not (start <= taxonomy.leaf_slice[v, 0] < stop)} | {best}
            _fold_up(taxonomy, nodes, best, children)
        chosen = np.array(sorted(nodes, key=lambda v: -p[row, v]), dtype=np.int64)
        out.append(chosen)
    return ConformalSets(
        np.r_[0, np.cumsum([len(c) for c in out])].astype(np.int64),
        np.concatenate(out) if out else np.zeros(0, dtype=np.int64),
    )


def _fold_up(taxonomy: Taxonomy, nodes: set[int], node: int, children: IntArray) -> None:
    """Replace a complete sibling group by its parent, and so on upwards; in place."""
    while node in nodes and (parent := int(taxonomy.parents[node])) >= 0:
        first, stop = taxonomy.group_slice[taxonomy.group[node]]
        siblings = set(range(int(first), int(stop)))
        # A lone child says more than its parent: keep it as it is.
        if len(siblings) == 1 or not siblings <= nodes or children[parent] != len(siblings):
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
