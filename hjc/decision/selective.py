"""Selective coding: how accurate are the codes if only the surest rows are coded automatically.

All functions take, for one level, the probability of the stated code and whether it was right
(:meth:`hjc.metrics.RowScores.level`), so that they cost two numbers a row.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import digamma

from hjc.arrays import Float64
from hjc.metrics.bootstrap import Resamples, keyed_sums
from hjc.metrics.calibration_error import bin_members, checked_rows
from hjc.metrics.rows import RowScores
from hjc.taxonomy.tree import Taxonomy

#: in resamples, neighbouring confidences are stated together in about this many steps
_STEPS = 512


@dataclass(frozen=True)
class RiskCoverage:
    """Points of a risk-coverage curve, from the strictest threshold down: states everything at the last point.

    threshold (m,) descending; coverage (m,) weight share of rows with at least that confidence; risk (m,) their
    weighted error rate.
    """

    threshold: Float64
    coverage: Float64
    risk: Float64

    def at_accuracy(self, target: float) -> float:
        """Largest coverage whose accuracy is at least ``target``; 0 where none is. A point estimate: see
        :func:`hjc.decision.fit_thresholds` for a threshold with a guarantee."""
        good = self.risk <= 1 - target + 1e-12
        return float(self.coverage[good].max()) if good.any() else 0.0


def risk_coverage(
    confidence: npt.ArrayLike, correct: npt.ArrayLike, weights: npt.ArrayLike | None = None
) -> RiskCoverage:
    """The curve at every distinct confidence (El-Yaniv & Wiener 2010); equal confidences are stated together."""
    c, y, w = checked_rows(confidence, correct, weights)
    order = np.argsort(-c, kind="stable")
    c, y, w = c[order], y[order], w[order]
    mass, wrong = np.cumsum(w), np.cumsum(w * (1 - y))
    last = np.r_[np.flatnonzero(np.diff(c)), len(c) - 1]
    keep = last[mass[last] > 0]
    return RiskCoverage(c[keep], mass[keep] / mass[-1], wrong[keep] / mass[keep])


def aurc(
    confidence: npt.ArrayLike, correct: npt.ArrayLike, weights: npt.ArrayLike | None = None, *, excess: bool = False
) -> float:
    """Area under the risk-coverage curve: mean over rows of the risk when coding down to that row (Geifman, Uziel &
    El-Yaniv 2019). Rows of equal confidence stand in random order, so the mean is taken over their orders.

    Args:
        excess: minus the area of a perfect ordering of the same rows (E-AURC of the same paper): right ones first, then
            wrong ones, of which lighter ones first, which is the least area that weights allow.
    """
    c, y, w = checked_rows(confidence, correct, weights)
    return _area(c, 1 - y, w) - (_area(np.where(y > 0, 1.0, -w), 1 - y, w) if excess else 0.0)


def _area(c: Float64, wrong: Float64, w: Float64) -> float:
    """Within a block of ties errors are spread evenly over its weight."""
    _, block = np.unique(-c, return_inverse=True)
    mass, error = np.bincount(block, w), np.bincount(block, w * wrong)
    rate = np.divide(error, mass, out=np.zeros_like(mass), where=mass > 0)
    order = np.argsort(block, kind="stable")
    ws = w[order]
    total = np.cumsum(ws)
    risk = np.divide(np.cumsum(ws * rate[block[order]]), total, out=np.zeros_like(total), where=total > 0)
    return float(ws @ risk / total[-1])


def _cumulated(c: Float64, y: Float64, w: Float64, resamples: Resamples) -> tuple[Float64, Float64]:
    """(R, b) weight and wrong weight stated down to each step from the surest, in each resample.

    A resample of nothing (tiny samples) stands for the sample itself.
    """
    member, b = bin_members(c, w, _STEPS)
    step = b - 1 - member
    units, unit = np.unique(resamples.unit, return_inverse=True)
    adds = keyed_sums(unit.reshape(-1), len(units), step, b, (w, w * (1 - y)))
    drawn = np.concatenate([(adds @ counts).T for counts in resamples.blocks(units)])
    drawn[drawn[:, :b].sum(axis=1) == 0] = np.asarray(adds.sum(axis=1)).reshape(-1)
    mass, wrong = (np.cumsum(np.ascontiguousarray(part), axis=1) for part in (drawn[:, :b], drawn[:, b:]))
    return mass, wrong


def resampled_rates(
    confidence: npt.ArrayLike, correct: npt.ArrayLike, resamples: Resamples, targets: tuple[float, ...]
) -> tuple[Float64, Float64]:
    """(R, targets) shares of rows that can be coded at each accuracy and (R,) areas, in resamples of the rows.

    The share is the largest coverage with the accuracy in the sample: chosen with hindsight, so slightly optimistic.
    Use it to describe; to set a threshold use :func:`hjc.decision.fit_thresholds`.
    """
    mass, wrong = _cumulated(*checked_rows(confidence, correct, None), resamples)
    total = mass[:, -1]
    rates = [np.where(wrong <= (1 - t) * mass + 1e-12, mass, 0.0).max(axis=1) / total for t in targets]
    # s rows of a step, r of them wrong in any order, below M rows with E errors: the risk at the k-th of them is
    # (E + k r/s) / (M + k), whose sum over k is r + (E - M r/s) (psi(M + s + 1) - psi(M + 1))
    rows, errors = (np.diff(part, axis=1, prepend=0.0) for part in (mass, wrong))
    rate = np.divide(errors, rows, out=np.zeros_like(rows), where=rows > 0)
    reciprocals = np.diff(digamma(mass + 1), axis=1, prepend=digamma(1.0))
    areas = errors + (wrong - errors - (mass - rows) * rate) * reciprocals
    return np.stack(rates, axis=1), areas.sum(axis=1) / total


def risk_coverage_band(confidence: npt.ArrayLike, correct: npt.ArrayLike, *, replicates: int = 300) -> pd.DataFrame:
    """For plots: risk at 100 even coverages, with pointwise 95 % bootstrap bands: coverage, risk, low, high."""
    c, y, w = checked_rows(confidence, correct, None)
    at = np.linspace(0, 1, 101)[1:]
    curve = risk_coverage(c, y, w)  # between its points errors are spread evenly

    def risk(mass: Float64, wrong: Float64) -> Float64:
        reached = at * mass[-1]
        return np.asarray(np.interp(reached, np.r_[0.0, mass], np.r_[0.0, wrong]) / reached)

    mass, wrong = _cumulated(c, y, w, Resamples.draw(len(c), replicates))
    draws = np.array([risk(m, e) for m, e in zip(mass, wrong, strict=True)])
    low, high = np.quantile(draws, [0.025, 0.975], axis=0)
    own = risk(curve.coverage, curve.risk * curve.coverage)
    return pd.DataFrame({"coverage": at, "risk": own, "low": low, "high": high})


def selective_table(
    taxonomy: Taxonomy,
    scores: RowScores,
    targets: tuple[float, ...] = (0.9, 0.95),
    *,
    resamples: Resamples | None = None,
) -> pd.DataFrame:
    """A line per level: level, n, accuracy, aurc, aurc_low, aurc_high, excess_aurc and for each target the automation
    rate with its band (``automation@0.95``, ``..._low``, ``..._high``): see :func:`resampled_rates`.

    Args:
        resamples: of the rows, for the 95 % percentile bands; NaN without.
    """
    lines = []
    for level in range(1, taxonomy.depth + 1):
        c, y = scores.level(level)
        if len(c) == 0:
            continue
        curve = risk_coverage(c, y)
        values = {"aurc": aurc(c, y), **{f"automation@{t:g}": curve.at_accuracy(t) for t in targets}}
        bands = np.full((2, len(values)), np.nan)
        if resamples is not None:
            rates, areas = resampled_rates(c, y, resamples.take(scores.valid[:, level - 1]), targets)
            bands = np.quantile(np.c_[areas, rates], [0.025, 0.975], axis=0)
        line: dict[str, Any] = {"level": level, "n": len(c), "accuracy": float(y.mean())}
        for (name, value), low, high in zip(values.items(), *bands.tolist(), strict=True):
            line |= {name: value, f"{name}_low": low, f"{name}_high": high}
            if name == "aurc":
                line["excess_aurc"] = aurc(c, y, excess=True)
        lines.append(line)
    return pd.DataFrame(lines)
