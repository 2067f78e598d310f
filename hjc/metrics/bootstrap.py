"""Bootstrap intervals: one set of resamples shared by every metric, level and slice.

A resample is a count for each row (Poisson bootstrap: independent Poisson(1) counts, Chamandy et al. 2012), so every
metric that accepts weights can be resampled without copying rows. n rows, G drawn units, R resamples.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import sparse

from hjc.arrays import Float64, IntArray
from hjc.metrics.calibration_error import confidence_blocks, ece_from_blocks
from hjc.metrics.levels import check_weights, level_metrics, level_rows, ratios
from hjc.metrics.rows import RowScores
from hjc.taxonomy.tree import Taxonomy

#: more units than this are drawn in random bundles, so that the counts of a million rows fit in 50 MB
MAX_UNITS = 50_000

#: resamples worked on at a time
_BLOCK = 64

#: the calibration error of a resample is itself computed from about this many runs of neighbouring confidences
_CONFIDENCE_BLOCKS = 512

#: Resampling adds noise to these, which only pushes them up; their intervals are moved back by that shift.
CENTRED = frozenset({"ece", "ece_debiased"})


@dataclass(frozen=True, eq=False)
class Resamples:
    """Counts of a Poisson bootstrap.

    Attributes:
        unit: (n,) the drawn unit that each row belongs to: itself, its cluster, or its random bundle.
        counts: (G, R) how often each unit was drawn.
    """

    unit: IntArray
    counts: npt.NDArray[np.uint8]

    @classmethod
    def draw(
        cls,
        n: int,
        replicates: int = 1000,
        seed: int = 0,
        groups: npt.ArrayLike | None = None,
        max_units: int = MAX_UNITS,
    ) -> "Resamples":
        """Draw ``replicates`` resamples of n rows, the same for the same seed.

        Args:
            groups: (n,) cluster of each row (near-duplicates, one employer...), drawn together: the cluster bootstrap.
                A negative number is a row of its own.
            max_units: with more rows (or clusters) than this, they are dealt at random into this many bundles that are
                drawn whole. That leaves the expected variance as it is, because the deal does not look at the data.
        """
        if replicates < 1:
            raise ValueError(f"replicates: got {replicates}, allowed are integers from 1 (1000 is usual)")
        rng = np.random.default_rng(seed)
        unit = np.arange(n, dtype=np.int64)
        if groups is not None:
            given = np.asarray(groups)
            if given.shape != (n,):
                raise ValueError(f"groups: got shape {given.shape}, expected ({n},)")
            key = np.where(given >= 0, given.astype(np.int64), -1 - unit)
            unit = np.unique(key, return_inverse=True)[1].reshape(-1).astype(np.int64)
        g = int(unit.max()) + 1 if n else 0
        if g > max_units:
            unit = rng.permutation(np.arange(g) % max_units)[unit]
            g = max_units
        return cls(unit, rng.poisson(1.0, size=(g, replicates)).astype(np.uint8))

    @property
    def replicates(self) -> int:
        return int(self.counts.shape[1])

    def take(self, rows: npt.ArrayLike) -> "Resamples":
        """The same resamples seen by a subset of the rows."""
        index = np.asarray(rows)
        index = index.astype(np.int64) if index.size == 0 and index.dtype != bool else index  # [] arrives as float
        return Resamples(self.unit[index], self.counts)


def replicate_metrics(
    scores: RowScores,
    taxonomy: Taxonomy,
    level: int | None,
    resamples: Resamples,
    weights: npt.ArrayLike | None = None,
) -> dict[str, Float64]:
    """Every metric of :func:`level_metrics` but the counts, in each resample: name -> (R,).

    NaN where a resample leaves nothing to measure (no row, or for ``lca_level`` no mistake). ``macro_recall`` is not
    simply that of the resampled rows, see :class:`_MacroRecall`.
    """
    at = level_rows(scores, taxonomy, level)
    w = check_weights(weights, len(scores))[at.rows]
    present, unit = np.unique(resamples.unit[at.rows], return_inverse=True)
    unit = unit.reshape(-1)
    block, blocks = confidence_blocks(at.confidence, _CONFIDENCE_BLOCKS)
    g = len(present)
    linear = np.stack([np.bincount(unit, weights=w * column, minlength=g) for column in at.sums.T])  # (C, G)
    by_code = _keyed_sums(unit, g, at.code, at.codes, (w, w * at.hit))
    macro_recall = _MacroRecall(by_code, at.codes)
    by_block = _keyed_sums(unit, g, block, blocks, (w, w * at.confidence, w * at.hit))
    parts: list[dict[str, Float64]] = []
    for start in range(0, resamples.replicates, _BLOCK):
        counts = resamples.counts[present, start : start + _BLOCK].astype(np.float64)
        part = ratios(linear @ counts)
        part["macro_recall"] = macro_recall(by_code @ counts)
        runs = by_block @ counts
        part["ece"], part["ece_debiased"] = ece_from_blocks(
            runs[:blocks], runs[blocks : 2 * blocks], runs[2 * blocks :]
        )
        parts.append(part)
    return {name: np.concatenate([p[name] for p in parts]) for name in parts[0]}


class _MacroRecall:
    """Macro recall in resamples, for the codes that the rows have: a resample that misses a code does not drop it.

    Macro recall of the resampled rows would leave out most often the codes with few rows, which are the hard ones: it
    lies above the figure itself. And a code with one row would have no variance at all. So the codes are strata of the
    sample: within a code of m units its resampled recall, with the deviation times sqrt(m / (m - 1)) (a resample of m
    units has (m - 1) / m of their variance); codes of one unit are one stratum together (the collapsed strata of survey
    samples, Wolter 2007, section 2.5), which is on the safe side.

    Args:
        by_code: (2K, G) what one draw of each unit adds to weight and to hits of each code.
    """

    def __init__(self, by_code: sparse.csr_array, codes: int) -> None:
        total = np.asarray(by_code.sum(axis=1)).reshape(-1)
        self._weight = total[:codes]
        occurs = self._weight > 0
        units = np.diff(by_code.indptr)[:codes]
        self._codes = codes
        self._several, self._single = np.flatnonzero(occurs & (units > 1)), np.flatnonzero(occurs & (units == 1))
        self._recall = np.divide(total[codes:], self._weight, out=np.zeros(codes), where=occurs)
        self._factor = np.sqrt(units[self._several] / (units[self._several] - 1))[:, None]

    def __call__(self, drawn: Float64) -> Float64:
        """(2K, R) sums of weight and hits of each code in resamples -> (R,); NaN without any code."""
        weight, hits = drawn[: self._codes], drawn[self._codes :]
        many, one = self._several, self._single
        if not len(many) + len(one):
            return np.full(drawn.shape[1], np.nan)
        total = np.full(drawn.shape[1], self._recall[many].sum() + self._recall[one].sum())
        shift = np.divide(hits[many], weight[many], out=np.zeros_like(hits[many]), where=weight[many] > 0)
        shift -= self._recall[many][:, None]
        total += (self._factor * np.where(weight[many] > 0, shift, 0.0)).sum(axis=0)
        if len(one) > 1:
            times = weight[one] / self._weight[one][:, None]  # how often the one unit was drawn
            drawn_codes = times.sum(axis=0)
            recall = (times * self._recall[one][:, None]).sum(axis=0)
            mean = np.divide(recall, drawn_codes, out=np.zeros_like(recall), where=drawn_codes > 0)
            own = self._recall[one].mean()
            total += np.where(drawn_codes > 0, mean - own, 0.0) * len(one) * np.sqrt(len(one) / (len(one) - 1))
        result: Float64 = np.clip(total / (len(many) + len(one)), 0.0, 1.0)
        return result


def _keyed_sums(unit: IntArray, units: int, key: IntArray, keys: int, values: tuple[Float64, ...]) -> sparse.csr_array:
    """(len(values) * keys, G) matrix: what one draw of a unit adds to the sum of each value by key."""
    rows = np.concatenate([key + i * keys for i in range(len(values))])
    columns = np.tile(unit, len(values))
    data = np.concatenate(values)
    some = np.flatnonzero(data)
    return sparse.csr_array((data[some], (rows[some], columns[some])), shape=(len(values) * keys, units))


def percentile_interval(
    replicates: Float64, point: float, confidence: float = 0.95, centred: bool = False
) -> tuple[float, float]:
    """Percentile interval of the resamples that are not NaN; (NaN, NaN) when there are none.

    Order statistics without interpolation, rounded outward, so that infinite log-losses do no harm.

    Args:
        centred: move the interval by ``point - mean(replicates)`` (see ``CENTRED``) and keep it at or above 0.
    """
    values = np.sort(replicates[~np.isnan(replicates)])
    if not len(values) or np.isnan(point):
        return float("nan"), float("nan")
    tail = (1.0 - confidence) / 2.0
    last = len(values) - 1
    low, high = float(values[int(np.floor(tail * last))]), float(values[int(np.ceil((1.0 - tail) * last))])
    if centred:
        shift = point - float(values.mean())
        low, high = max(low + shift, 0.0), max(high + shift, 0.0)
    return low, high


def bootstrap_intervals(
    scores: RowScores,
    taxonomy: Taxonomy,
    level: int | None,
    resamples: Resamples,
    weights: npt.ArrayLike | None = None,
    confidence: float = 0.95,
    point: Mapping[str, float] | None = None,
) -> dict[str, tuple[float, float]]:
    """Bootstrap percentile intervals of the metrics of one level: name -> (low, high). Counts have none.

    ``point``: the :func:`level_metrics` of the same rows, where they are known already.
    """
    point = level_metrics(scores, taxonomy, level, weights) if point is None else point
    drawn = replicate_metrics(scores, taxonomy, level, resamples, weights)
    return {
        name: percentile_interval(values, point[name], confidence, centred=name in CENTRED)
        for name, values in drawn.items()
    }


@dataclass(frozen=True)
class PairedDifference:
    """``a - b`` of one metric on the same rows, with its bootstrap interval (``low``, ``high``).

    ``p_value``: two-sided bootstrap p, twice the smaller share of resamples on either side of 0, at least 2 / (R + 1).
    """

    metric: str
    level: int | None
    n: int
    a: float
    b: float
    difference: float
    low: float
    high: float
    p_value: float


def paired_difference(
    scores_a: RowScores,
    scores_b: RowScores,
    taxonomy: Taxonomy,
    metric: str,
    level: int | None = None,
    *,
    weights: npt.ArrayLike | None = None,
    groups: npt.ArrayLike | None = None,
    replicates: int = 1000,
    seed: int = 0,
    confidence: float = 0.95,
) -> PairedDifference:
    """Compare two classifiers on the same rows: both are computed in the same resamples (paired bootstrap).

    Args:
        metric: a name of ``METRICS`` other than the counts ``n`` and ``impossible``.
        level: 1..D, or None for overall.
        groups: (n,) clusters, see :meth:`Resamples.draw`.

    Raises:
        ValueError: the scores are not of the same rows (gold differs), or an unknown metric.
    """
    if not np.array_equal(scores_a.gold, scores_b.gold):
        raise ValueError(
            f"paired_difference: scores of {len(scores_a)} and {len(scores_b)} rows have different gold codes; "
            "both must come from the same rows in the same order"
        )
    resamples = Resamples.draw(len(scores_a), replicates, seed, groups)
    drawn_a = replicate_metrics(scores_a, taxonomy, level, resamples, weights)
    if metric not in drawn_a:
        raise ValueError(f"metric: got {metric!r}, allowed are {', '.join(drawn_a)}")
    drawn_b = replicate_metrics(scores_b, taxonomy, level, resamples, weights)
    metrics_a = level_metrics(scores_a, taxonomy, level, weights)
    a, b = metrics_a[metric], level_metrics(scores_b, taxonomy, level, weights)[metric]
    with np.errstate(invalid="ignore"):
        drawn = drawn_a[metric] - drawn_b[metric]
    drawn = drawn[~np.isnan(drawn)]  # inf - inf, or nothing to measure
    difference = a - b
    if metric in CENTRED:
        drawn = drawn - drawn.mean() + difference
    low, high = percentile_interval(drawn, difference, confidence)
    side = min(int((drawn <= 0).sum()), int((drawn >= 0).sum()))
    p_value = min(1.0, 2.0 * (side + 1) / (len(drawn) + 1)) if len(drawn) else float("nan")
    return PairedDifference(metric, level, int(metrics_a["n"]), a, b, difference, low, high, p_value)
