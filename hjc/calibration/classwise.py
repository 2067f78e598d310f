"""Calibration of every code of every level, in one pass over batches: memory does not grow with the rows."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from hjc.arrays import Float64, FloatArray, IntArray
from hjc.calibration.conditionals import as_gold
from hjc.metrics.calibration_error import ECE_BINS, errors_of_bins, sums_by
from hjc.metrics.level_proba import LevelProba
from hjc.taxonomy.tree import Taxonomy

#: cells of probability, evenly spaced in the logit between these; what is below the first edge is one cell
_CELLS = 160
_EDGE = 9.21  # logit of 0.0001
_FIRST = 1 / (1 + np.exp(_EDGE))


class ClasswiseCounts:
    """Per level and code: how probable rows made it, and how often it was true, on a fine grid of probabilities.

    The rows of a batch are added to (code, cell) sums of rows, probabilities and hits; bins of equal mass are merged
    from the cells afterwards. Classwise ECE (Kull et al. 2019, NeurIPS) of a level is the mean over its codes.
    """

    def __init__(self, taxonomy: Taxonomy) -> None:
        self.taxonomy = taxonomy
        self._sums = [np.zeros((3, len(taxonomy.level_nodes(d + 1)), _CELLS)) for d in range(taxonomy.depth)]
        self._rows = np.zeros(taxonomy.depth)

    def update(self, log_proba: FloatArray | LevelProba, gold: npt.ArrayLike) -> None:
        """Add a batch (B, L) with gold nodes (B,); a row counts at the levels down to its gold code's own."""
        levels = LevelProba.of(self.taxonomy, log_proba)
        wanted = as_gold(self.taxonomy, gold, len(levels))
        for d, sums in enumerate(self._sums):
            column = np.where(wanted >= 0, self.taxonomy.level_column[wanted, d], -1)
            use = column >= 0
            p = levels.at(d + 1) if use.all() else levels.at(d + 1)[use]
            self._rows[d] += len(p)
            k = sums.shape[1]
            large = np.flatnonzero(p > _FIRST)
            value = p.ravel()[large]
            flat = large % k * _CELLS + _cell(value)
            rows, mass = (np.bincount(flat, v, minlength=k * _CELLS).reshape(k, _CELLS) for v in (None, value))
            sums[0] += rows
            sums[1] += mass
            sums[0, :, 0] += len(p) - rows.sum(axis=1)  # all that is below the first edge
            sums[1, :, 0] += p.sum(axis=0) - mass.sum(axis=1)
            own = column[use]
            at = p[np.arange(len(p)), own]
            np.add.at(sums[2], (own, np.where(at > _FIRST, _cell(np.maximum(at, _FIRST)), 0)), 1.0)

    def table(self) -> pd.DataFrame:
        """A line a level and code that occurs: level, code, support, mean_probability, share, ece.

        ``mean_probability`` minus ``share`` is the error of the summed probabilities for that code.
        """
        parts = []
        for d, (rows, mass, hits) in enumerate(self._sums):
            support = hits.sum(axis=1)
            k = np.flatnonzero(support)
            codes = [self.taxonomy.codes[i] for i in self.taxonomy.level_nodes(d + 1)[k].tolist()]
            n = max(self._rows[d], 1.0)
            columns: dict[str, Any] = {"level": d + 1, "code": codes, "support": support[k].astype(np.int64)}
            columns |= {"mean_probability": np.maximum(mass[k].sum(axis=1), 0.0) / n, "share": support[k] / n}
            parts.append(pd.DataFrame(columns | {"ece": _ece(rows[k], mass[k], hits[k])}))
        return pd.concat(parts, ignore_index=True)


def _cell(p: Float64) -> IntArray:
    logit = np.log(p / (1 - np.minimum(p, 1 - 1e-12)))
    at = ((logit + _EDGE) / (2 * _EDGE) * (_CELLS - 1)).astype(np.int64) + 1
    return np.clip(at, 1, _CELLS - 1)


def _ece(rows: Float64, mass: Float64, hits: Float64, bins: int = ECE_BINS) -> Float64:
    """(K,) the ``ece`` of K codes from their cells."""
    k = len(rows)
    middle = (np.cumsum(rows, axis=1) - rows / 2) / rows.sum(axis=1, keepdims=True)
    bin_of = (np.minimum((middle * bins).astype(np.int64), bins - 1) + bins * np.arange(k)[:, None]).ravel()
    size, p, y = (sums_by(bin_of, a.ravel(), k * bins).reshape(k, bins).T for a in (rows, mass, hits))
    return errors_of_bins(size, p, y, size)[0]
