"""The bootstrap: how rows are drawn again, for every interval of hjc, and the intervals of metrics.

A resample is a count for each row (Poisson bootstrap: independent Poisson(1) counts, Chamandy et al. 2012; within
strata, draws with replacement), so everything that accepts weights can be resampled without copying rows, and one set
of resamples serves every metric, level and slice. n rows, G drawn units, R resamples.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from hjc.arrays import Float64, IntArray
from hjc.metrics.calibration_error import bin_members, errors_of_bins
from hjc.metrics.levels import LevelRows, bin_values, check_weights, level_rows, ratios
from hjc.metrics.rows import RowScores
from hjc.taxonomy.tree import Taxonomy

#: more units than this are drawn in random bundles, so that the counts of a million rows fit in 50 MB
MAX_UNITS = 50_000

_DRAWN = 256

#: counts (units times resamples) worked on at a time
_CELLS = 2_000_000

#: Resampling adds noise to these, which only pushes them up; their intervals are moved back by that shift.
CENTRED = frozenset({"ece", "ece_plain"})


@dataclass(frozen=True, eq=False)
class Resamples:
    """How often each unit of n rows is drawn in each of R resamples.

    Attributes:
        unit: (n,) the drawn unit that each row belongs to: itself, its cluster, or its random bundle.
        counts: (G, R) how often each unit was drawn.
    """

    unit: IntArray
    counts: npt.NDArray[np.unsignedinteger[Any]]

    @classmethod
    def draw(
        cls,
        n: int,
        replicates: int = 1000,
        seed: int = 0,
        groups: npt.ArrayLike | None = None,
        max_units: int = MAX_UNITS,
        strata: npt.ArrayLike | None = None,
    ) -> "Resamples":
        """Draw ``replicates`` resamples of n rows, the same for the same seed.

        Args:
            groups: (n,) cluster of each row (near-duplicates, one employer...), drawn together: the cluster bootstrap.
                A negative number is a row of its own.
            max_units: with more rows (or clusters) than this, they are dealt at random into this many bundles that are
                drawn whole. That leaves the expected variance as it is, because the deal does not look at the data.
            strata: (n,) stratum of each row: rows are drawn with replacement within each, as many as it has.
        """
        if replicates < 1:
            raise ValueError(f"replicates: got {replicates}, allowed are integers from 1 (1000 is usual)")
        rng = np.random.default_rng(seed)
        unit = np.arange(n, dtype=np.int64)
        if strata is not None:
            counts = np.empty((n, replicates), dtype=np.uint16)
            for stratum in np.unique(strata):
                rows = np.flatnonzero(np.asarray(strata) == stratum)
                counts[rows] = rng.multinomial(len(rows), np.full(len(rows), 1 / len(rows)), size=replicates).T
            return cls(unit, counts)
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
        counts = np.empty((g, replicates), dtype=np.uint8)
        for start in range(0, g, _DRAWN):  # NumPy draws integers of eight bytes: some units at a time
            some = counts[start : start + _DRAWN]
            some[:] = rng.poisson(1.0, size=some.shape)
        return cls(unit, counts)

    @property
    def replicates(self) -> int:
        return int(self.counts.shape[1])

    def blocks(self, keys: npt.ArrayLike | None = None, *, width: int = 1) -> Iterator[Float64]:
        """The counts of the units ``keys`` (all without), as floats, (G, some resamples) at a time.

        ``width``: numbers that the caller makes of each count, for blocks that stay small.
        """
        drawn = self.counts if keys is None else self.counts[np.asarray(keys)]
        step = max(16, _CELLS // max(len(drawn) * width, 1))
        for start in range(0, self.replicates, step):
            yield drawn[:, start : start + step].astype(np.float64)

    def first(self, replicates: int) -> "Resamples":
        """The first of the resamples."""
        return Resamples(self.unit, self.counts[:, :replicates])

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
    return replicates_of(at, resamples, check_weights(weights, len(scores))[at.rows])


def replicates_of(at: LevelRows, resamples: Resamples, weights: Float64) -> dict[str, Float64]:
    """:func:`replicate_metrics` of rows laid out already, with their weights (m,); resamples are of all rows.

    The calibration errors keep the bins of the rows themselves.
    """
    present, unit = np.unique(resamples.unit[at.rows], return_inverse=True)
    unit, g = unit.reshape(-1), len(present)
    sums = at.sums(unit, g, weights)
    linear = np.stack(list(sums.values()))
    codes, code = np.unique(at.code, return_inverse=True)
    by_code = keyed_sums(unit, g, code.reshape(-1), len(codes), (weights, weights * at.hit))
    member, bins = bin_members(at.confidence, weights)
    values = bin_values(at, weights)[: 3 if (weights == 1).all() else 4]  # of even weights, the squares are the weights
    by_bin = keyed_sums(unit, g, member, bins, values)
    macro_recall = _MacroRecall(by_code, len(codes))
    parts: list[dict[str, Float64]] = []
    for counts in resamples.blocks(None if g == len(resamples.counts) else present):
        part = ratios(dict(zip(sums, linear @ counts, strict=True)))
        part["macro_recall"] = macro_recall(by_code @ counts)
        binned = (by_bin @ counts).reshape(len(values), bins, counts.shape[1])
        part["ece"], part["ece_plain"] = errors_of_bins(
            binned[0], binned[1], binned[2], binned[-1 if len(values) > 3 else 0]
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


def keyed_sums(unit: IntArray, units: int, key: IntArray, keys: int, values: tuple[Float64, ...]) -> sparse.csr_array:
    """(len(values) * keys, G) matrix: what one draw of a unit adds to the sum of each value by key."""
    order = np.argsort(key, kind="stable")
    columns = np.tile(unit[order], len(values))
    ends = np.cumsum(np.bincount(key, minlength=keys))
    indptr = np.r_[0, np.concatenate([ends + i * len(key) for i in range(len(values))])]
    data = np.concatenate([np.asarray(v, dtype=np.float64)[order] for v in values])
    out = sparse.csr_array((data, columns, indptr), shape=(len(values) * keys, units))
    if units < len(key):
        out.sum_duplicates()
    out.eliminate_zeros()
    return out


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


def intervals_of(
    at: LevelRows, resamples: Resamples, weights: Float64, point: Mapping[str, float], confidence: float = 0.95
) -> dict[str, tuple[float, float]]:
    """Bootstrap percentile intervals of the metrics ``point`` of rows (m,) with their weights: name -> (low, high).

    Counts have none.
    """
    return {
        name: percentile_interval(values, point[name], confidence, centred=name in CENTRED)
        for name, values in replicates_of(at, resamples, weights).items()
    }


class PoissonStream:
    """A Poisson bootstrap of rows that pass batch by batch: nothing is kept of them."""

    def __init__(self, replicates: int, seed: int) -> None:
        self.replicates, self._rng = replicates, np.random.default_rng(seed)

    def times(self, weights: Float64) -> Float64:
        """(R, B) weights of the rows of the next batch in each resample, from their weights (B,)."""
        return np.asarray(self._rng.poisson(1.0, size=(len(weights), self.replicates)).T * weights)
