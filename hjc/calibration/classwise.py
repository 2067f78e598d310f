"""Calibration of every code of every level, in one pass over batches: memory does not grow with the rows."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import norm

from hjc.arrays import Float64, FloatArray, IntArray
from hjc.calibration.conditionals import as_gold, as_leaf_log_proba
from hjc.taxonomy.tree import Taxonomy

#: cells of probability, evenly spaced in the logit between these; what is below the first edge is one cell
_CELLS = 160
_EDGE = 9.21  # logit of 0.0001


class ClasswiseCounts:
    """Per level and code: how probable rows made it, and how often it was true, on a fine grid of probabilities.

    The rows of a batch are added to (code, cell) sums of rows, probabilities and hits; equal-mass bins are merged from
    the cells afterwards, which is :func:`hjc.calibration.classwise_ece` up to the width of a cell.
    """

    def __init__(self, taxonomy: Taxonomy) -> None:
        self.taxonomy = taxonomy
        self._sums = [np.zeros((3, len(taxonomy.level_nodes(d + 1)), _CELLS)) for d in range(taxonomy.depth)]
        self._rows = np.zeros(taxonomy.depth)

    def update(self, log_proba: FloatArray, gold: npt.ArrayLike) -> None:
        """Add a batch (B, L) with gold nodes (B,); a row counts at the levels down to its gold code's own."""
        x = as_leaf_log_proba(self.taxonomy, log_proba)
        wanted = as_gold(self.taxonomy, gold, len(x))
        for d, sums in enumerate(self._sums):
            column = np.where(wanted >= 0, self.taxonomy.level_column[wanted, d], -1)
            use = column >= 0
            p = np.exp(np.minimum(self.taxonomy.aggregate(x[use], d + 1).astype(np.float64), 0.0))
            self._rows[d] += len(p)
            total = p.sum(axis=0)
            row, code = np.nonzero(p > 1 / (1 + np.exp(_EDGE)))
            value = p[row, code]
            cell = _cell(value)
            k = sums.shape[1]
            flat = code * _CELLS + cell
            rows = np.bincount(flat, minlength=k * _CELLS).reshape(k, _CELLS).astype(np.float64)
            mass = np.bincount(flat, value, minlength=k * _CELLS).reshape(k, _CELLS).astype(np.float64)
            rows[:, 0] += len(p) - rows.sum(axis=1)  # all that is below the first edge
            mass[:, 0] += total - mass.sum(axis=1)
            sums[0] += rows
            sums[1] += mass
            own = column[use]
            at = p[np.arange(len(p)), own]
            np.add.at(sums[2], (own, np.where(at > 1 / (1 + np.exp(_EDGE)), _cell(at), 0)), 1.0)

    def table(self, bins: int = 15) -> pd.DataFrame:
        """A line a level and code that occurs: level, code, support, mean_probability, share, ece (debiased).

        ``mean_probability`` minus ``share`` is the error of the summed probabilities for that code.
        """
        lines: list[dict[str, Any]] = []
        for d, (rows, mass, hits) in enumerate(self._sums):
            n = self._rows[d]
            if not n:
                continue
            ece = _ece(rows, mass, hits, bins)
            nodes = self.taxonomy.level_nodes(d + 1)
            for k in np.flatnonzero(hits.sum(axis=1)).tolist():
                lines.append(
                    {
                        "level": d + 1,
                        "code": self.taxonomy.codes[nodes[k]],
                        "support": int(hits[k].sum()),
                        "mean_probability": max(float(mass[k].sum()), 0.0) / n,
                        "share": float(hits[k].sum()) / n,
                        "ece": float(ece[k]),
                    }
                )
        return pd.DataFrame(lines, columns=["level", "code", "support", "mean_probability", "share", "ece"])


def _cell(p: Float64) -> IntArray:
    with np.errstate(divide="ignore"):
        logit = np.log(p) - np.log1p(-np.minimum(p, 1 - 1e-12))
    at = ((logit + _EDGE) / (2 * _EDGE) * (_CELLS - 1)).astype(np.int64) + 1
    return np.clip(at, 1, _CELLS - 1)


def _ece(rows: Float64, mass: Float64, hits: Float64, bins: int) -> Float64:
    """(K,) debiased errors of K codes from their cells, as :func:`hjc.calibration.expected_calibration_error`."""
    k = len(rows)
    n = rows.sum(axis=1, keepdims=True)
    middle = (np.cumsum(rows, axis=1) - rows / 2) / n
    bin_of = np.minimum((middle * bins).astype(np.int64), bins - 1) + bins * np.arange(k)[:, None]
    size, p, y = (
        np.bincount(bin_of.ravel(), a.ravel(), minlength=k * bins).reshape(k, bins) for a in (rows, mass, hits)
    )
    some = np.maximum(size, 1)
    rate = y / some
    gap = np.abs(rate - p / some)
    noise = rate * (1 - rate) / np.maximum(size - 1, 1)
    spread, true = np.sqrt(noise), np.sqrt(np.maximum(gap**2 - noise, 0.0))
    z = np.divide(true, spread, out=np.full_like(true, np.inf), where=spread > 0)
    excess = 2 * (spread * norm.pdf(z) - true * norm.cdf(-z))
    return np.asarray(np.maximum((size / n * (gap - excess)).sum(axis=1), 0.0))
