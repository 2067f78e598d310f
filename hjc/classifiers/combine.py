"""Weights that combine the leaf log-probabilities of several classifiers, fitted on validation rows.

K parts, B rows, L leaves, S classes of support (how many training rows a leaf has). Two families, both normalised over
the leaves, so coherent at every level:

* mixture: P(leaf) ~ sum_k exp(a[k, s(leaf)]) P_k(leaf)   (without classes of support the linear opinion pool)
* loglinear: P(leaf) ~ exp(c[s(leaf)]) prod_k P_k(leaf)^b[k, s(leaf)], b >= 0   (logarithmic pool; Hinton's product of
  experts with fitted powers)

Parameters by support class are shrunk towards common ones (a Gaussian prior on the deviations), so a class of support
with few validation rows keeps what the others say.
"""

from collections.abc import Sequence
from dataclasses import dataclass
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
    """

    family: str
    weights: Float64
    bias: Float64
    support: IntArray

    def scores(self, parts: Sequence[FloatArray]) -> Float32:
        """K arrays (B, L) of log-probabilities, not below the floor -> (B, L) unnormalised log-scores."""
        weights, bias = self.weights.astype(np.float32), self.bias.astype(np.float32)
        if self.family == "mixture":
            out: Any = None
            for k, part in enumerate(parts):
                term = part + weights[k][self.support]
                out = term if out is None else np.logaddexp(out, term)
            return np.asarray(out, dtype=np.float32)
        total = np.zeros_like(np.asarray(parts[0], dtype=np.float32)) + bias[self.support]
        for k, part in enumerate(parts):
            if weights[k].any():
                total += weights[k][self.support] * part
        return total

    def log_proba(self, parts: Sequence[FloatArray]) -> Float32:
        """K arrays (B, L) of natural-log leaf probabilities -> (B, L), normalised, float32."""
        scores = self.scores([np.maximum(p, np.float32(PART_FLOOR)) for p in parts])
        return log_softmax(scores)


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


def fit_combination(rows: Rows, family: str, support: IntArray, *, part: int = 0) -> Combination:
    """Maximum a posteriori weights of a family.

    Args:
        support: (L,) class of support; zeros: the same weights for all leaves.
        part: of ``single``: which one; its power is fitted (a temperature).
    """
    k, s = len(rows.parts), int(support.max()) + 1
    inside = rows.inside()
    share = rows.weight / rows.weight.sum()
    member = np.zeros((len(support), s))
    member[np.arange(len(support)), support] = 1.0
    used = [part] if family == "single" else list(range(k))
    # parameters: common (K,), then deviations (K, S), then biases (S,)
    start = np.zeros(len(used) * (1 + s) + s)
    start[: len(used)] = -np.log(len(used)) if family == "mixture" else 1.0 / len(used)
    strength = SHRINKAGE / len(share)

    def unpack(theta: Float64) -> tuple[Float64, Float64]:
        common, deviation = theta[: len(used)], theta[len(used) : len(used) * (1 + s)].reshape(len(used), s)
        return common[:, None] + deviation, theta[len(used) * (1 + s) :]

    def objective(theta: Float64) -> tuple[float, Float64]:
        weights, bias = unpack(theta)
        full = np.zeros((k, s))
        full[used] = weights
        made = Combination(family, full, bias, support)
        raw = made.scores(rows.parts)
        proba = np.exp(raw - raw.max(axis=1, keepdims=True))
        total = proba.sum(axis=1, keepdims=True, dtype=np.float64)
        of_gold = np.where(inside, proba, 0)
        gold_total = np.maximum(of_gold.sum(axis=1, keepdims=True, dtype=np.float64), 1e-300)
        value = float(share @ np.log(total / gold_total).ravel())
        slope = (proba / total - of_gold / gold_total) * share[:, None]  # d value / d score (B, L)
        by_part = np.empty((len(used), s))
        for row, index in enumerate(used):
            own = rows.parts[index]
            if family == "mixture":
                own = np.exp(own + full[index][support].astype(np.float32) - raw)
            by_part[row] = np.einsum("bl,bl->l", slope, own) @ member
        deviation = theta[len(used) : len(used) * (1 + s)]
        value += strength / 2 * float(deviation @ deviation + bias @ bias)
        gradient = np.concatenate(
            [
                by_part.sum(axis=1),
                by_part.ravel() + strength * deviation,
                (slope.sum(axis=0) @ member if family == "loglinear" else np.zeros(s)) + strength * bias,
            ]
        )
        return value, gradient

    free = (None, None)
    low = 0.0 if family != "mixture" else None
    bounds = [(low, None)] * len(used) + [free] * (len(used) * s) + [free if family == "loglinear" else (0.0, 0.0)] * s
    if s == 1:  # a deviation of the only class would be the common parameter twice
        bounds[len(used) : len(used) * 2] = [(0.0, 0.0)] * len(used)
        bounds[-1] = (0.0, 0.0)
    found = minimize(objective, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 100})
    weights, bias = unpack(found.x)
    full = np.zeros((k, s))
    full[used] = weights if family == "mixture" else np.maximum(weights, 0.0)
    return Combination(family, full, bias, support)


def choose_combination(
    rows: Rows, counts: IntArray, *, families: Sequence[str] = FAMILIES, by_support: bool = True, seed: int = 0
) -> tuple[Combination, pd.DataFrame]:
    """The candidate with the least cross-validated log-loss; every single part with a power of its own is one of them.

    Also a line per candidate: family, by_support, log_loss (out of fold), se, chosen.

    Args:
        counts: (L,) training rows of each leaf.
        families: ``single`` is always tried, so that the result is not worse than the best part but by chance.

    Raises:
        ValueError: fewer than 10 rows.
    """
    n = len(rows.weight)
    if n < 2 * FOLDS:
        raise ValueError(f"got {n} validation rows; weights of a hybrid need at least {2 * FOLDS}")
    plain = np.zeros(len(counts), dtype=np.int64)
    _, classes = np.unique(support_class(counts), return_inverse=True)  # no empty class
    candidates: list[tuple[str, int, bool]] = [("single", part, False) for part in range(len(rows.parts))]
    for family in families:
        if family != "single" and len(rows.parts) > 1:
            candidates += [(family, 0, False), (family, 0, True)] if by_support else [(family, 0, False)]
    fold = np.random.default_rng(seed).permutation(n) % FOLDS
    held = np.empty((len(candidates), n))
    with rows_progress("weighing the parts", FOLDS * len(candidates)) as bar:
        for f in range(FOLDS):
            out, inside = np.flatnonzero(fold == f), rows.take(np.flatnonzero(fold != f))
            for i, (family, part, supported) in enumerate(candidates):
                fitted = fit_combination(inside, family, classes if supported else plain, part=part)
                held[i, out] = losses(fitted, rows.take(out))
                bar.advance(1)
    table = pd.DataFrame(candidates, columns=["family", "part", "by_support"])
    table["part"] = table["part"].where(table["family"] == "single", -1)
    table["log_loss"] = np.average(held, axis=1, weights=rows.weight)
    table["se"] = held.std(axis=1, ddof=1) / np.sqrt(n)
    best = int(table["log_loss"].argmin())
    table["chosen"] = table.index == best
    family, part, supported = candidates[best]
    chosen = fit_combination(rows, family, classes if supported else plain, part=part)
    return chosen, table
