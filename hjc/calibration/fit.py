"""Fit every kind of calibrator on validation rows and keep the simplest that cross-validation cannot better."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.sparse import csr_array

from hjc.arrays import BoolArray, Float64, FloatArray, IntArray
from hjc.calibration.base import Calibrator, Chain, Identity
from hjc.calibration.conditionals import segment_logsumexp
from hjc.calibration.scaling import ConditionalTemperature, Temperature, VectorScaling
from hjc.calibration.summary import LOG_POWER_GRID, CalibrationRows, summarise
from hjc.data.codesets import CodeSets
from hjc.taxonomy.tree import Taxonomy

#: from the simplest; ties in cross-validation go to the earlier
KINDS = ("identity", "temperature", "level_temperature", "group_temperature", "vector")
#: strengths of shrinkage tried by cross-validation, in units of rows: precision of log T (or of slope and bias)
RIDGES = {"group_temperature": (100.0, 10.0), "vector": (50.0, 5.0)}

_FINE = np.linspace(LOG_POWER_GRID[0], LOG_POWER_GRID[-1], 1665)


@dataclass(frozen=True)
class CalibrationFit:
    """The calibrator that was chosen, and the cross-validated log-loss of every candidate.

    ``table`` has a line per candidate: kind, ridge, log_loss (out-of-fold), gain (identity's minus its own), gain_se
    (of the paired difference), chosen.
    """

    calibrator: Calibrator
    kind: str
    table: pd.DataFrame


def _curve(tables: Float64, points: Any) -> Float64:
    """Splines through tabulated losses (..., grid) at other log-powers (p,): (..., p)."""
    from scipy.interpolate import CubicSpline  # a tenth of a second that no prediction should wait for

    return np.asarray(CubicSpline(LOG_POWER_GRID, tables, axis=-1)(points))


def minimise_on_grid(tables: Float64, prior_mean: npt.ArrayLike = 0.0, ridge: float = 0.0) -> Float64:
    """argmin over log(1/T) of splines through tabulated losses (..., grid) plus ridge/2 (log T - prior)^2: (...,)."""
    curve = _curve(tables, _FINE)
    if ridge:
        curve = curve + ridge / 2 * (_FINE - np.asarray(prior_mean)[..., None]) ** 2
    return np.asarray(_FINE[np.argmin(curve, axis=-1)])


def _summed_tables(data: CalibrationRows, table: Float64, keys: IntArray, size: int, train: Any) -> Float64:
    """(size, grid) weighted sums of segment losses (S, grid) over training rows, by key of the segment."""
    weight = data.weight[data.conditionals.row] * train[data.conditionals.row]
    return np.asarray(csr_array((weight, (keys, np.arange(len(keys)))), shape=(size, len(keys))) @ table)


def _fit_levels(data: CalibrationRows, train: BoolArray, table: Float64) -> ConditionalTemperature:
    sums = _summed_tables(data, table, data.conditionals.level - 1, data.taxonomy.depth, train)
    return ConditionalTemperature(data.taxonomy, np.exp(-minimise_on_grid(_anchor(sums))))


def _anchor(sums: Float64) -> Float64:
    """Where there is no evidence at all the curve is flat: let its minimum lie at T = 1."""
    flat = np.ptp(sums, axis=-1, keepdims=True) <= 1e-9
    return np.asarray(np.where(flat, LOG_POWER_GRID**2, sums))


def _fit_groups(data: CalibrationRows, train: BoolArray, table: Float64, ridge: float) -> ConditionalTemperature:
    """MAP: log T_group ~ Normal(log T_level, 1/ridge), so that a group with few rows keeps its level's temperature."""
    by_level = _fit_levels(data, train, table)
    sums = _summed_tables(data, table, data.conditionals.group, len(data.taxonomy.group_slice), train)
    theta = minimise_on_grid(sums, -np.log(by_level.group_temperature), ridge)
    return ConditionalTemperature(data.taxonomy, np.exp(-theta), per="group")


def _coarse(data: CalibrationRows, levels: ConditionalTemperature) -> Float64:
    """(n, K) log-probabilities at the level of vector scaling, after the temperatures of the levels down to it."""
    tree = data.taxonomy.truncate(data.level)
    scaled = ConditionalTemperature(tree, levels.temperature[: tree.depth]).transform(data.level_log_proba)
    return np.asarray(scaled, dtype=np.float64)


def fit_vector(log_proba: Float64, gold: IntArray, weight: Float64, ridge: float) -> tuple[Float64, Float64]:
    """Slopes and biases (K,) minimising weighted log-loss + ridge/2 (sum of squared log slope ratios and biases).

    slope_k = exp(u0 + u_k), u0 unpenalised; L-BFGS with the analytic gradient.
    """
    n, k = log_proba.shape
    hit = np.zeros((n, k))
    hit[np.arange(n), gold] = 1.0

    def objective(v: Float64) -> tuple[float, Float64]:
        slope, u, b = np.exp(v[0] + v[1 : k + 1]), v[1 : k + 1], v[k + 1 :]
        z = log_proba * slope + b
        lse = segment_logsumexp(z, [0])
        p = np.exp(z - lse)
        loss = weight @ (lse[:, 0] - z[np.arange(n), gold]) + ridge / 2 * (u @ u + b @ b)
        d = (p - hit) * weight[:, None]
        du = (d * log_proba).sum(axis=0) * slope
        return float(loss), np.r_[du.sum(), du + ridge * u, d.sum(axis=0) + ridge * b]

    from scipy.optimize import minimize

    scale = max(float(weight.sum()), 1.0)
    found = minimize(
        lambda v: tuple(part / scale for part in objective(v)), np.zeros(2 * k + 1), jac=True, method="L-BFGS-B",
        bounds=[(-2.0, 2.0)] * (k + 1) + [(None, None)] * k, options={"maxiter": 200},
    )  # fmt: skip
    v = np.asarray(found.x)
    return np.exp(v[0] + v[1 : k + 1]), v[k + 1 :]


def _fit_vector(data: CalibrationRows, train: BoolArray, table: Float64, ridge: float) -> Chain:
    levels = _fit_levels(data, train, table)
    column = data.taxonomy.level_column[data.gold, data.level - 1]
    use = train & (column >= 0)
    x = np.maximum(_coarse(data, levels), -700.0)
    slope, bias = fit_vector(x[use], column[use], data.weight[use], ridge)
    return Chain(data.taxonomy, [levels, VectorScaling(data.taxonomy, data.level, slope, bias)])


def row_losses(data: CalibrationRows, fitted: Any, rows: IntArray) -> Float64:
    """-ln P(gold) of rows by a calibrator of one of the kinds that are fitted here."""
    if isinstance(fitted, Identity | Temperature):
        power = 1.0 if isinstance(fitted, Identity) else 1 / fitted.temperature
        return _curve(data.temperature_loss[rows], np.log(power))
    levels, vector = getattr(fitted, "steps", (fitted, None))
    parts = data.conditionals
    losses = parts.losses(1 / levels.group_temperature[parts.group])
    if vector is not None:  # it stands for the levels down to its own
        losses = np.where(parts.level > data.level, losses, 0.0)
    out = np.bincount(parts.row, losses, minlength=len(data))[rows].astype(np.float64)
    if vector is not None:
        tree = data.taxonomy.truncate(data.level)
        scaled = VectorScaling(tree, data.level, vector.slope, vector.bias).transform(_coarse(data, levels)[rows])
        gold = data.taxonomy.truncation_map(data.level)[data.gold[rows]]
        out -= tree.node_log_proba(scaled)[np.arange(len(rows)), gold]
    return out


def fit_kind(data: CalibrationRows, train: BoolArray, table: Float64, kind: str, ridge: float) -> Calibrator:
    """A calibrator of one kind, on the training rows; ``table``: (S, grid) losses of the conditionals."""
    if kind == "identity":
        return Identity(data.taxonomy)
    if kind == "temperature":
        total = data.weight[train] @ data.temperature_loss[train]
        return Temperature(data.taxonomy, float(np.exp(-minimise_on_grid(total))))
    if kind == "level_temperature":
        return _fit_levels(data, train, table)
    return (_fit_groups if kind == "group_temperature" else _fit_vector)(data, train, table, ridge)


def candidates_of(kinds: Sequence[str]) -> list[tuple[str, float]]:
    """(kind, ridge) from the simplest, the identity always among them; the ridge is NaN where a kind has none."""
    wanted = [kind for kind in KINDS if kind in kinds or kind == "identity"]
    return [(kind, ridge) for kind in wanted for ridge in RIDGES.get(kind, (math.nan,))]


def tabulated(data: CalibrationRows) -> Float64:
    """(S, grid) losses of the conditionals at each temperature of the grid."""
    return np.stack([data.conditionals.losses(power) for power in np.exp(LOG_POWER_GRID)], axis=-1)


def fit_calibrator(
    taxonomy: Taxonomy,
    log_proba: FloatArray | Iterable[Any],
    gold: npt.ArrayLike | CodeSets,
    weights: npt.ArrayLike | None = None,
    *,
    kinds: Sequence[str] = KINDS,
    groups: npt.ArrayLike | None = None,
    level: int | None = None,
    folds: int = 5,
    seed: int = 0,
    margin: float = 1.0,
) -> CalibrationFit:
    """The calibrator for a classifier, from log-probabilities of validation rows that it was not trained on.

    Every kind is fitted on all folds but one and scored on that one. Going from the simplest kind to the most
    flexible, a candidate replaces the current best only if its mean log-loss is lower by more than ``margin`` standard
    errors of the paired difference. The identity is always the first, so the choice is never worse than leaving the
    classifier alone in cross-validation, and what noise alone could explain is not chosen.

    Args:
        log_proba: (n, L) array, or an iterable of batches (one pass; see :func:`hjc.metrics.iter_batches`).
        gold: (n,) node numbers; an inner node counts as "some leaf under it"; -1 rows are left out. Or sets of codes.
        weights: (n,) case weights.
        kinds: which of :data:`KINDS` to try.
        groups: (n,) near-duplicate groups that must not be split between folds.
        level: level of vector scaling, default the deepest with at most 64 codes.
        folds: from 2; rows are assigned by a hash, so that the order of batches does not matter.

    Raises:
        ValueError: unknown kind, fewer than 2 folds, no labelled rows, or shapes that disagree.
    """
    if unknown := sorted(set(kinds) - set(KINDS)):
        raise ValueError(f"kinds: got {unknown}, allowed are {list(KINDS)}")
    if folds < 2:
        raise ValueError(f"folds: got {folds}, allowed are integers from 2")
    data = summarise(taxonomy, log_proba, gold, weights, groups=groups, level=level, folds=folds, seed=seed)
    return choose(data, kinds=kinds, margin=margin)


def choose(data: CalibrationRows, *, kinds: Sequence[str] = KINDS, margin: float = 1.0) -> CalibrationFit:
    """The choice that :func:`fit_calibrator` describes, on a summary already made."""
    share = data.weight / data.weight.sum()
    present = np.unique(data.fold)
    candidates, table = candidates_of(kinds), tabulated(data)
    lines: list[dict[str, Any]] = []
    losses: list[Float64] = []
    best = 0
    for number, (kind, ridge) in enumerate(candidates):
        out = np.empty(len(data))
        for fold in present:
            held = data.fold == fold
            # With all rows in one fold (a handful, or one group) there is nothing to hold out: only identity is safe.
            if len(present) == 1 and kind != "identity":
                out[held] = np.inf
                continue
            out[held] = row_losses(data, fit_kind(data, ~held, table, kind, ridge), np.flatnonzero(held))
        losses.append(out)
        gain, gain_se = _paired(losses[0] - out, share)
        line = {"kind": kind, "ridge": ridge, "log_loss": float(share @ out), "gain": gain, "gain_se": gain_se}
        lines.append(line)
        step, step_se = _paired(losses[best] - out, share)
        if number and step > max(margin * step_se, 0.0):
            best = number
    fitted = fit_kind(data, np.ones(len(data), dtype=bool), table, *candidates[best])
    chosen = [i == best for i in range(len(lines))]
    return CalibrationFit(fitted, candidates[best][0], pd.DataFrame(lines).assign(chosen=chosen))


def cross_fit(data: CalibrationRows, chosen: CalibrationFit) -> dict[int, Calibrator]:
    """Fold -> the chosen kind fitted on the rows of all other folds.

    What a row's calibrated probabilities look like when its own label had no part in them: for thresholds and
    conformal scores on the very rows that calibration used.
    """
    line = chosen.table[chosen.table["chosen"]].iloc[0]
    ridge, table = float(line["ridge"]), tabulated(data)
    return {int(fold): fit_kind(data, data.fold != fold, table, chosen.kind, ridge) for fold in np.unique(data.fold)}


def _paired(difference: Float64, share: Float64) -> tuple[float, float]:
    """Weighted mean and its linearised standard error."""
    if not np.isfinite(difference).all():
        return -np.inf, 0.0
    mean = float(share @ difference)
    return mean, float(np.sqrt((share**2 * (difference - mean) ** 2).sum()))
