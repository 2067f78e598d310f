"""Weights that combine the leaf log-probabilities of several classifiers, fitted on validation rows.

K parts, B rows, L leaves, S classes of support (how many training rows a leaf has). Two families, both normalised over
the leaves, so coherent at every level:

* mixture: P(leaf) ~ sum_k exp(a[k, s(leaf)]) P_k(leaf)   (without classes of support the linear opinion pool)
* loglinear: P(leaf) ~ exp(c[s(leaf)]) prod_k P_k(leaf)^b[k, s(leaf)], b >= 0   (logarithmic pool; Hinton's product of
  experts with fitted powers)

In both a weight may depend on how sure the parts are of a row: a (or b) of part k is then moved by sum_j g[k, j] (m_j -
1/2), where m_j is the largest leaf probability of part j (b stays at 0 or above).

Parameters by support class are shrunk towards common ones, and g towards 0 (a Gaussian prior on the deviations), so a
class of support with few validation rows keeps what the others say.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.optimize import minimize

from hjc.arrays import BoolArray, Float32, Float64, FloatArray, IntArray
from hjc.classifiers.treemath import gold_log_proba, log_softmax, within
from hjc.data.codesets import CodeSets, Target, first_of
from hjc.progress import rows_progress
from hjc.taxonomy import Taxonomy

#: training rows of a leaf at which the next class of support begins
SUPPORT_BOUNDS = (1, 10, 100)
#: precision of the deviations by support class, in units of rows
SHRINKAGE = 10.0
#: log-probabilities of parts are raised to this before they are combined: no part vetoes a leaf
PART_FLOOR = -16.0
FAMILIES = ("single", "mixture", "loglinear")
FOLDS = 3


def support_class(counts: npt.ArrayLike) -> IntArray:
    """Class of support of leaves with so many training rows: 0 none, 1 for 1-9, 2 for 10-99, 3 for 100 and more."""
    return np.searchsorted(SUPPORT_BOUNDS, np.asarray(counts), side="right").astype(np.int64)


@dataclass(frozen=True)
class Combination:
    """How parts are combined.

    Attributes:
        family: single | mixture | loglinear.
        weights: (K, S) a or b of the module's formulas; for single, the power of the one part that has one above 0.
        bias: (S,) c of loglinear, else zeros.
        support: (L,) class of support of each leaf, all 0 where weights do not differ by it.
        gate: (K, K) g of the module's formulas; None: weights do not depend on how sure the parts are.
    """

    family: str
    weights: Float64
    bias: Float64
    support: IntArray
    gate: Float64 | None = None

    def weights_of(self, k: int, moved: Float32 | None) -> Float32:
        """Weights of part k: (S,), or (B, S) where rows have moved them."""
        own = self.weights[k].astype(np.float32)
        if moved is None:
            return own
        own = own + moved[:, k, None]
        return own if self.family == "mixture" else np.maximum(own, np.float32(0))

    def moved(self, parts: Sequence[FloatArray]) -> Float32 | None:
        """(B, K) what is added to the weights of each part in each row."""
        return None if self.gate is None else sureness(parts) @ self.gate.T.astype(np.float32)

    def scores(self, parts: Sequence[FloatArray]) -> Float32:
        """K arrays (B, L) of log-probabilities, not below the floor -> (B, L) unnormalised log-scores."""
        bias, moved = self.bias.astype(np.float32), self.moved(parts)
        if self.family == "mixture":
            out: Any = None
            for k, part in enumerate(parts):
                term = part + self.weights_of(k, moved)[..., self.support]
                out = term if out is None else np.logaddexp(out, term)
            return np.asarray(out, dtype=np.float32)
        total = np.zeros_like(np.asarray(parts[0], dtype=np.float32)) + bias[self.support]
        for k, part in enumerate(parts):
            weights = self.weights_of(k, moved)
            if weights.any():
                total += weights[..., self.support] * part
        return total

    def log_proba(self, parts: Sequence[FloatArray]) -> Float32:
        """K arrays (B, L) of natural-log leaf probabilities -> (B, L), normalised, float32."""
        scores = self.scores([np.maximum(p, np.float32(PART_FLOOR)) for p in parts])
        return log_softmax(scores)


def group_numbers(groups: IntArray | None, n: int) -> IntArray:
    """(n,) numbers from 0 of the groups of rows; None: each row is a group of its own."""
    return np.arange(n) if groups is None else np.unique(groups, return_inverse=True)[1].reshape(-1)


def folds_of(groups: IntArray, folds: int, seed: int) -> IntArray:
    """(n,) a number below ``folds`` for each row, rows of a group in one fold; fewer folds where groups are fewer."""
    own = group_numbers(groups, len(groups))
    count = int(own.max(initial=-1)) + 1
    return (np.random.default_rng(seed).permutation(count) % max(1, min(folds, count)))[own]


def sureness(parts: Sequence[FloatArray]) -> Float32:
    """(B, K) largest leaf probability of each part, less 1/2."""
    return np.stack([np.exp(p.max(axis=1)) - 0.5 for p in parts], axis=1).astype(np.float32)


@dataclass(frozen=True)
class Rows:
    """Validation rows: log-probabilities of the parts, and which leaves the codes of each row allow."""

    parts: tuple[FloatArray, ...]
    span: IntArray  # (B, 2) columns from, to; of the main code
    weight: Float64
    several: CodeSets | None = None
    taxonomy: Taxonomy | None = None

    @classmethod
    def make(
        cls, taxonomy: Taxonomy, parts: Sequence[FloatArray], gold: Target, weight: Float64 | None = None
    ) -> "Rows":
        """From log-probabilities (n, L) of the parts for rows that all have a code, or several."""
        own = np.ones(len(gold)) if weight is None else weight
        floored = tuple(np.maximum(p, np.float32(PART_FLOOR)) for p in parts)
        sets = gold if isinstance(gold, CodeSets) else None
        return cls(floored, taxonomy.leaf_slice[first_of(gold)], own, sets, taxonomy)

    def take(self, rows: IntArray) -> "Rows":
        several = None if self.several is None else self.several[rows]
        return Rows(tuple(p[rows] for p in self.parts), self.span[rows], self.weight[rows], several, self.taxonomy)

    def inside(self) -> BoolArray:
        """(B, L) leaves that the codes of a row allow."""
        out = within(self.span, np.arange(self.parts[0].shape[1]))
        if self.several is not None and self.taxonomy is not None:
            many = np.flatnonzero(self.several.several)
            out[many] = np.isfinite(self.several[many].leaf_log_weights(self.taxonomy))
        return out


def losses(combination: Combination, rows: Rows) -> Float64:
    """(B,) -ln P(any of the codes) of the combination."""
    log_proba = combination.log_proba(rows.parts)
    out = -gold_log_proba(log_proba, rows.span)
    if rows.several is not None:
        many = np.flatnonzero(rows.several.several)
        out[many] = -np.logaddexp.reduce(np.where(rows.inside()[many], log_proba[many], -np.inf), axis=1)
    return out


def fit_combination(
    rows: Rows, family: str, support: IntArray, *, part: int = 0, by_sureness: bool = False
) -> Combination:
    """Maximum a posteriori weights of a family.

    Args:
        support: (L,) class of support; zeros: the same weights for all leaves.
        part: of ``single``: which one; its power is fitted (a temperature).
        by_sureness: weights depend on how sure the parts are.
    """
    k, s = len(rows.parts), int(support.max()) + 1
    inside = rows.inside()
    share = rows.weight / rows.weight.sum()
    member = np.zeros((len(support), s))
    member[np.arange(len(support)), support] = 1.0
    used = [part] if family == "single" else list(range(k))
    sure = sureness(rows.parts) if by_sureness else None
    # parameters: common (K,), then deviations (K, S), then biases (S,), then what sureness adds (K, K)
    ends = np.cumsum([len(used), len(used) * s, s, k * k if by_sureness else 0])
    start = np.zeros(ends[-1])
    start[: len(used)] = -np.log(len(used)) if family == "mixture" else 1.0 / len(used)
    strength = SHRINKAGE / len(share)

    def unpack(theta: Float64) -> tuple[Float64, Float64, Float64 | None]:
        common, deviation, bias, gate = np.split(theta, ends[:-1])
        weights = common[:, None] + deviation.reshape(len(used), s)
        return weights, bias, gate.reshape(k, k) if by_sureness else None

    def objective(theta: Float64) -> tuple[float, Float64]:
        weights, bias, gate = unpack(theta)
        full = np.zeros((k, s))
        full[used] = weights
        made = Combination(family, full, bias, support, gate)
        moved = made.moved(rows.parts)
        raw = made.scores(rows.parts)
        proba = np.exp(raw - raw.max(axis=1, keepdims=True))
        total = proba.sum(axis=1, keepdims=True, dtype=np.float64)
        of_gold = np.where(inside, proba, 0)
        gold_total = np.maximum(of_gold.sum(axis=1, keepdims=True, dtype=np.float64), 1e-300)
        value = float(share @ np.log(total / gold_total).ravel())
        slope = (proba / total - of_gold / gold_total) * share[:, None]  # d value / d score (B, L)
        by_part = np.empty((len(used), s))
        by_gate = np.zeros((k, k))
        for row, index in enumerate(used):
            own, weight = rows.parts[index], made.weights_of(index, moved)
            if family == "mixture":
                own = np.exp(own + weight[..., support] - raw)
            if sure is None:
                by_part[row] = np.einsum("bl,bl->l", slope, own) @ member
                continue
            by_row = (slope * own) @ member  # (B, S)
            if family != "mixture":
                by_row = by_row * (weight > 0)  # held at 0, a weight does not move
            by_part[row] = by_row.sum(axis=0)
            by_gate[index] = by_row.sum(axis=1) @ sure
        _, deviation, _, moving = np.split(theta, ends[:-1])
        value += strength / 2 * float(deviation @ deviation + bias @ bias + moving @ moving)
        gradient = np.concatenate(
            [
                by_part.sum(axis=1),
                by_part.ravel() + strength * deviation,
                (slope.sum(axis=0) @ member if family == "loglinear" else np.zeros(s)) + strength * bias,
                by_gate.ravel()[: len(moving)] + strength * moving,
            ]
        )
        return value, gradient

    free = (None, None)
    low = 0.0 if family != "mixture" else None
    bounds = [(low, None)] * len(used) + [free] * (len(used) * s) + [free if family == "loglinear" else (0.0, 0.0)] * s
    if s == 1:  # a deviation of the only class would be the common parameter twice
        bounds[len(used) : len(used) * 2] = [(0.0, 0.0)] * len(used)
        bounds[-1] = (0.0, 0.0)
    bounds += [free] * (len(start) - len(bounds))
    found = minimize(objective, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 100})
    weights, bias, gate = unpack(found.x)
    full = np.zeros((k, s))
    full[used] = weights if family == "mixture" or by_sureness else np.maximum(weights, 0.0)
    return Combination(family, full, bias, support, gate)


@dataclass(frozen=True)
class Candidate:
    """A way to combine; ``part`` matters to ``single`` alone."""

    family: str
    part: int = 0
    by_support: bool = False
    by_sureness: bool = False

    def fit(self, rows: Rows, classes: IntArray) -> Combination:
        """Weights on these rows; ``classes`` (L,): class of support of each leaf, none of them empty."""
        support = classes if self.by_support else np.zeros_like(classes)
        return fit_combination(rows, self.family, support, part=self.part, by_sureness=self.by_sureness)


@dataclass(frozen=True)
class Choice:
    """What cross-validation chose, fitted on all rows.

    Attributes:
        table: a line per candidate: family, part (-1 but for ``single``), by_support, by_sureness, log_loss (out of
            fold), se, chosen.
        fold: (n,) the fold of each row.
    """

    combination: Combination
    candidate: Candidate
    table: pd.DataFrame
    classes: IntArray
    fold: IntArray

    def cross_fitted(self, rows: Rows, parts: Sequence[int] | None = None) -> Float32:
        """(n, L) log-probabilities of rows by the chosen way, its weights fitted on the other folds.

        Args:
            parts: only these, in place of all: what the whole is without the others.
        """
        rows = rows if parts is None else replace(rows, parts=tuple(rows.parts[k] for k in parts))
        out = np.empty(rows.parts[0].shape, dtype=np.float32)
        for f in np.unique(self.fold):
            held = np.flatnonzero(self.fold == f)
            made = self.candidate.fit(rows.take(np.flatnonzero(self.fold != f)), self.classes)
            out[held] = made.log_proba([p[held] for p in rows.parts])
        return out


def choose_combination(
    rows: Rows,
    counts: IntArray,
    *,
    families: Sequence[str] = FAMILIES,
    by_support: bool = True,
    by_sureness: bool = False,
    groups: IntArray | None = None,
    seed: int = 0,
) -> Choice:
    """The candidate with the least cross-validated log-loss; every single part with a power of its own is one of them.

    Args:
        counts: (L,) training rows of each leaf.
        families: ``single`` is always tried, so that the result is not worse than the best part but by chance.
        by_support, by_sureness: also try weights that depend on counts, and on how sure the parts are.
        groups: (n,) rows that must not lie in different folds (near-duplicates).

    Raises:
        ValueError: fewer than 10 rows.
    """
    n = len(rows.weight)
    if n < 2 * FOLDS:
        raise ValueError(f"got {n} validation rows; weights of a hybrid need at least {2 * FOLDS}")
    _, classes = np.unique(support_class(counts), return_inverse=True)  # no empty class
    candidates = [Candidate("single", part) for part in range(len(rows.parts))]
    for family in families:
        if family != "single" and len(rows.parts) > 1:
            for support in (False, True)[: 1 + by_support]:
                candidates += [Candidate(family, 0, support, sure) for sure in (False, True)[: 1 + by_sureness]]
    own = group_numbers(groups, n)
    if own.max() + 1 < 2 * FOLDS:  # too few groups to part
        own = np.arange(n)
    fold = folds_of(own, FOLDS, seed)
    held = np.empty((len(candidates), n))
    with rows_progress("weighing the parts", FOLDS * len(candidates)) as bar:
        for f in range(FOLDS):
            out, inside = np.flatnonzero(fold == f), rows.take(np.flatnonzero(fold != f))
            for i, candidate in enumerate(candidates):
                held[i, out] = losses(candidate.fit(inside, classes), rows.take(out))
                bar.advance(1)
    table = pd.DataFrame([asdict(candidate) for candidate in candidates])
    table["part"] = table["part"].where(table["family"] == "single", -1)
    table["log_loss"] = np.average(held, axis=1, weights=rows.weight)
    table["se"] = held.std(axis=1, ddof=1) / np.sqrt(n)
    best = int(table["log_loss"].argmin())
    table["chosen"] = table.index == best
    return Choice(candidates[best].fit(rows, classes), candidates[best], table, classes, fold)
