"""Selective coding: how accurate are the codes if only the surest rows are coded automatically.

All functions take, for one level, the probability of the stated code and whether it was right
(``top_outcomes(...).level(level)``), so that they cost two numbers a row.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from hjc.arrays import Float64
from hjc.calibration.diagnostics import TopOutcomes
from hjc.taxonomy.tree import Taxonomy


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

    def to_frame(self) -> pd.DataFrame:
        """threshold, coverage, risk, accuracy: a line a point."""
        return pd.DataFrame(
            {"threshold": self.threshold, "coverage": self.coverage, "risk": self.risk, "accuracy": 1 - self.risk}
        )


def _checked(
    confidence: npt.ArrayLike, correct: npt.ArrayLike, weights: npt.ArrayLike | None
) -> tuple[Float64, Float64, Float64]:
    c, y = np.asarray(confidence, dtype=np.float64), np.asarray(correct, dtype=np.float64)
    w = np.ones(len(c)) if weights is None else np.asarray(weights, dtype=np.float64)
    if len(c) == 0 or y.shape != c.shape or w.shape != c.shape:
        raise ValueError(f"expected at least one row and equal lengths, got {c.shape}, {y.shape} and {w.shape}")
    if not (w >= 0).all() or w.sum() <= 0:
        raise ValueError("weights must be numbers from 0, not all 0")
    return c, y, w


def risk_coverage(
    confidence: npt.ArrayLike, correct: npt.ArrayLike, weights: npt.ArrayLike | None = None
) -> RiskCoverage:
    """The curve at every distinct confidence (El-Yaniv & Wiener 2010); equal confidences are stated together."""
    c, y, w = _checked(confidence, correct, weights)
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
    c, y, w = _checked(confidence, correct, weights)
    values = _areas(c, 1 - y, w[None, :])[0]
    if excess:
        values -= _areas(np.where(y > 0, 1.0, -w), 1 - y, w[None, :])[0]
    return float(values)


def _areas(c: Float64, wrong: Float64, w: Float64) -> Float64:
    """(R,) areas for rows of weights (R, n). Within a block of ties errors are spread evenly over its weight."""
    order = np.argsort(-c, kind="stable")
    last = np.flatnonzero(np.r_[np.diff(c[order]) != 0, True])
    first = np.r_[0, last[:-1] + 1]
    size = last - first + 1
    ws = w[:, order]
    mass = np.add.reduceat(ws, first, axis=1)
    error = np.add.reduceat(ws * wrong[order], first, axis=1)
    rate = np.repeat(np.divide(error, mass, out=np.zeros_like(mass), where=mass > 0), size, axis=1)
    total = np.cumsum(ws, axis=1)
    risk = np.divide(np.cumsum(ws * rate, axis=1), total, out=np.zeros_like(total), where=total > 0)
    return np.asarray((ws * risk).sum(axis=1) / total[:, -1])


@dataclass(frozen=True)
class Band:
    """A value with a percentile bootstrap interval."""

    value: float
    low: float
    high: float


def automation_rate(
    confidence: npt.ArrayLike,
    correct: npt.ArrayLike,
    target: float = 0.95,
    weights: npt.ArrayLike | None = None,
    *,
    replicates: int = 500,
    seed: int = 0,
    confidence_level: float = 0.95,
) -> Band:
    """Share of rows that can be coded automatically at a target accuracy, with a percentile bootstrap band.

    The rate is the largest coverage with the accuracy in the sample (chosen with hindsight, so slightly optimistic, and
    in each replicate likewise). Use it to describe; to set a threshold use :func:`hjc.decision.fit_thresholds`.
    """
    if not 0 < target < 1:
        raise ValueError(f"target: got {target}, allowed are numbers between 0 and 1")
    c, y, w = _checked(confidence, correct, weights)
    value = risk_coverage(c, y, w).at_accuracy(target)
    draws = _bootstrap(c, y, w, replicates, seed, (target,))[0][:, 0]
    low, high = np.quantile(draws, [(1 - confidence_level) / 2, (1 + confidence_level) / 2])
    return Band(value, float(low), float(high))


def _bootstrap(
    c: Float64, y: Float64, w: Float64, replicates: int, seed: int, targets: tuple[float, ...]
) -> tuple[Float64, Float64]:
    """(R, targets) automation rates and (R,) areas; rows counted Poisson-many times, a few replicates at once."""
    rng = np.random.default_rng(seed)
    order = np.argsort(-c, kind="stable")
    c, y, w = c[order], y[order], w[order]
    last = np.flatnonzero(np.r_[np.diff(c) != 0, True])
    rates, areas = [], []
    step = max(1, 2_000_000 // len(c))
    for start in range(0, replicates, step):
        times = rng.poisson(1.0, size=(min(step, replicates - start), len(c))) * w
        times[times.sum(axis=1) == 0] = w  # a draw of nothing (tiny samples) stands for the sample itself
        mass, wrong = np.cumsum(times, axis=1)[:, last], np.cumsum(times * (1 - y), axis=1)[:, last]
        rate = [np.where(wrong <= (1 - t) * mass + 1e-12, mass, 0.0).max(axis=1) / mass[:, -1] for t in targets]
        rates.append(np.reshape(rate, (len(targets), len(times))).T)
        areas.append(_areas(c, 1 - y, times))
    return np.concatenate(rates), np.concatenate(areas)


def risk_coverage_band(
    confidence: npt.ArrayLike,
    correct: npt.ArrayLike,
    weights: npt.ArrayLike | None = None,
    *,
    points: int = 101,
    replicates: int = 300,
    seed: int = 0,
    confidence_level: float = 0.95,
) -> pd.DataFrame:
    """For plots: risk at even coverages, with pointwise percentile bootstrap bands: coverage, risk, low, high."""
    c, y, w = _checked(confidence, correct, weights)
    at = np.linspace(0, 1, points)[1:]
    order = np.argsort(-c, kind="stable")
    y, w = y[order], w[order]
    last = np.flatnonzero(np.r_[np.diff(c[order]) != 0, True])  # equal confidences: errors spread evenly among them
    rng = np.random.default_rng(seed)

    def curve(weight: Float64) -> Float64:
        mass = np.r_[0.0, np.cumsum(weight)[last]]
        wrong = np.r_[0.0, np.cumsum(weight * (1 - y))[last]]
        return np.asarray(np.interp(at * mass[-1], mass, wrong) / (at * mass[-1]))

    draws = np.array([curve(rng.multinomial(len(y), np.full(len(y), 1 / len(y))) * w) for _ in range(replicates)])
    low, high = np.quantile(draws, [(1 - confidence_level) / 2, (1 + confidence_level) / 2], axis=0)
    return pd.DataFrame({"coverage": at, "risk": curve(w), "low": low, "high": high})


def selective_table(
    taxonomy: Taxonomy,
    outcomes: TopOutcomes,
    targets: tuple[float, ...] = (0.9, 0.95),
    *,
    replicates: int = 300,
    seed: int = 0,
) -> pd.DataFrame:
    """A line per level: level, n, accuracy, aurc, aurc_low, aurc_high, excess_aurc and for each target the automation
    rate with its band (``automation@0.95``, ``..._low``, ``..._high``)."""
    lines = []
    for level in range(1, taxonomy.depth + 1):
        c, y = outcomes.level(level)
        if len(c) == 0:
            continue
        line: dict[str, Any] = {"level": level, "n": len(c), "accuracy": float(y.mean()), "aurc": aurc(c, y)}
        cy = _checked(c, y, None)
        rates, areas = _bootstrap(*cy, replicates, seed, targets)
        line["aurc_low"], line["aurc_high"] = np.quantile(areas, [0.025, 0.975])
        line["excess_aurc"] = aurc(c, y, excess=True)
        for target, draws in zip(targets, rates.T, strict=True):
            low, high = np.quantile(draws, [0.025, 0.975])
            line[f"automation@{target:g}"] = risk_coverage(c, y).at_accuracy(target)
            line |= {f"automation@{target:g}_low": low, f"automation@{target:g}_high": high}
        lines.append(line)
    return pd.DataFrame(lines)
