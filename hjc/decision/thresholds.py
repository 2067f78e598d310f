"""Thresholds that reach a wanted accuracy with a stated confidence, from validation data.

A point estimate would be chosen for its luck: among many thresholds one looks good by chance. Here each threshold is a
hypothesis "codes stated at this threshold are right less often than wanted", tested by the exact binomial test (Clopper
& Pearson 1934), in a sequence fixed beforehand (from the strictest down, stop at the first that is not rejected). A
fixed sequence needs no correction for the number of thresholds (Angelopoulos, Bates, Candes, Jordan & Lei 2021, Learn
then Test); for power it is begun at up to three places, each with a third of the error probability (their multi-start).
With probability ``confidence`` over validation samples, accuracy at the chosen threshold is at least the target.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import bdtr
from scipy.stats import binom, binomtest

from hjc.arrays import BoolArray, Float64, IntArray
from hjc.decision.rules import Thresholds
from hjc.metrics.rows import RowScores
from hjc.taxonomy.tree import Taxonomy

#: thresholds that are tried, strictest first; fixed before any data is seen, as the guarantee demands
GRID = np.r_[0.9995, 0.999, 0.998, np.arange(995, 0, -5) / 1000.0, 0.0]


@dataclass(frozen=True)
class ThresholdFit:
    """The thresholds, and a line per level (and major group): threshold (NaN if none), n rows of validation, coded
    (share stated), accuracy among stated, lower (its one-sided Clopper-Pearson bound), target."""

    thresholds: Thresholds
    table: pd.DataFrame


@lru_cache(maxsize=256)
def rows_for_power(target: float, delta: float, power: float = 0.9) -> int:
    """How many rows until the test rejects with this power when errors are half as frequent as allowed."""
    n = 1
    while n < 1_000_000:
        most = int(binom.ppf(delta, n, 1 - target))
        most -= int(binom.cdf(most, n, 1 - target) > delta)
        if most >= 0 and binom.cdf(most, n, (1 - target) / 2) >= power:
            return n
        n = int(n * 1.1) + 1
    return n


def at_least(values: npt.ArrayLike) -> IntArray:
    """(T,) how many of the values reach each threshold of the grid."""
    v = np.sort(np.asarray(values, dtype=np.float64))
    return np.asarray(len(v) - np.searchsorted(v, GRID, side="left"), dtype=np.int64)


def choose_threshold(stated: IntArray, good: IntArray, target: float, delta: float) -> tuple[float, int, int]:
    """The lowest threshold whose accuracy is shown to be at least ``target``: (threshold, n stated, n right).

    (inf, 0, 0) where none is. Places to begin depend on how many rows each threshold states, never on labels.

    Args:
        stated, good: (T,) rows that each threshold of the grid states, and those of them that are right.
    """
    n = int(stated.max(initial=0))
    enough = rows_for_power(target, delta / 3)
    wanted = sorted({min(w, n) for w in (enough // 4, enough, n // 3)} - {0})
    starts = sorted({int(np.argmax(stated >= w)) for w in wanted})
    best = -1
    some = np.maximum(stated, 1)
    fails = (bdtr(some - good, some, 1 - target) > delta / max(len(starts), 1)) | (stated == 0)
    for start in starts:
        passed = int(np.argmax(np.r_[fails[start:], True]))
        best = max(best, start + passed - 1) if passed else best
    if best < 0:
        return np.inf, 0, 0
    return float(GRID[best]), int(stated[best]), int(good[best])


def fit_thresholds(
    taxonomy: Taxonomy,
    outcomes: RowScores,
    target: float,
    *,
    confidence: float = 0.95,
    rule: str = "level",
    by_group: bool = False,
    simultaneous: bool = False,
) -> ThresholdFit:
    """Thresholds for :func:`hjc.decision.back_off` that reach a target accuracy (module docstring: how sure).

    Args:
        outcomes: of validation rows that neither training nor calibration saw (:func:`hjc.metrics.score_batches`).
        target: wanted accuracy, between 0 and 1.
        rule: "level": at each level, of the rows whose level code reaches the threshold, at least ``target`` are right
            at that level. "back_off": one threshold for all levels; of all rows that get a code of any level, at least
            ``target`` have the true code at or under it (rows with an inner gold code are left out).
        by_group: also for each most probable level-1 code separately; a group that cannot show the target is never
            coded automatically at that level (inf), rather than hidden in the average.
        simultaneous: the confidence holds for all levels (and groups) together (Bonferroni), not for each.

    Raises:
        ValueError: target or confidence outside (0, 1), or an unknown rule.
    """
    for name, value in (("target", target), ("confidence", confidence)):
        if not 0 < value < 1:
            raise ValueError(f"{name}: got {value}, allowed are numbers between 0 and 1")
    if rule not in ("level", "back_off"):
        raise ValueError(f"rule: got {rule!r}, allowed are 'level' and 'back_off'")
    depth = taxonomy.depth
    levels = range(1, depth + 1) if rule == "level" else range(1)  # 0: any level
    groups: list[int | None] = [None, *(taxonomy.level_nodes(1).tolist() if by_group else [])]
    delta = (1 - confidence) / (len(levels) * max(1, len(groups) - 1) if simultaneous else 1)
    lines: list[dict[str, Any]] = []
    found: dict[int | None, Float64] = {}
    for group in groups:
        rows = np.ones(len(outcomes), dtype=bool) if group is None else outcomes.top[:, 0] == group
        values = np.full(depth, np.inf)
        for level in levels:
            at = level - 1  # of any level: the deepest must be known
            keep = rows & outcomes.valid[:, at]
            c, right = outcomes.confidence[keep], outcomes.rank[keep] == 1
            each = (at_least(c[:, at]), at_least(c[right[:, at], at])) if level else _back_off_counts(c, right)
            threshold, stated, good = choose_threshold(*each, target, delta)
            values[at if level else slice(None)] = threshold
            bound = binomtest(good, stated, alternative="greater").proportion_ci(1 - delta).low if stated else np.nan
            lines.append(
                {
                    "level": level or "any",
                    "group": "" if group is None else taxonomy.codes[group],
                    "threshold": threshold if np.isfinite(threshold) else np.nan,
                    "n": len(c),
                    "coded": stated / len(c) if len(c) else 0.0,
                    "accuracy": good / stated if stated else np.nan,
                    "lower": float(bound),
                    "target": target,
                }
            )
        found[group] = values
    by = {taxonomy.codes[g]: v for g, v in found.items() if g is not None}
    return ThresholdFit(Thresholds(found[None], by), pd.DataFrame(lines))


def _back_off_counts(confidence: Float64, right: BoolArray) -> tuple[IntArray, IntArray]:
    """At each threshold of the grid: rows (B, D) that get a code of any level, and those whose code is right.

    A level states where the threshold is at most its confidence and above that of every deeper level.
    """
    upto = np.maximum.accumulate(confidence[:, ::-1], axis=1)[:, ::-1]  # the largest of the level and those below it
    deeper = np.c_[upto[:, 1:], np.full(len(confidence), -np.inf)]
    right = right & (confidence > deeper)
    return at_least(upto[:, 0]), at_least(confidence[right]) - at_least(deeper[right])
