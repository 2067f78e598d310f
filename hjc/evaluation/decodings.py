"""What hierarchical-classification research publishes: the area under the hP-hR curve, and hF1 and information contrast
of several ways to turn probabilities into codes, counted in the same pass as everything else."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from hjc.arrays import Float64, IntArray
from hjc.data.codesets import Target, likeliest
from hjc.decision import bayes_decision
from hjc.decision.conformal import ConformalSets
from hjc.decision.hierarchical_f import hf_sets
from hjc.decision.rules import back_off
from hjc.metrics import LevelProba, Resamples
from hjc.metrics.bootstrap import percentile_interval
from hjc.metrics.hierarchical import HierarchicalCurve, information_contrast, lies_under
from hjc.taxonomy import Taxonomy

#: bundles of rows that are drawn together, at most: each keeps a curve
BUNDLES = 400
ALL = "all thresholds"
SET = "set of best expected hF1"
LEAF, HALF, NODE = "most probable leaf", "deepest code above 0.5", "code of best expected hF1"
COLUMNS = ("decoding", "metric", "value", "low", "high", "n")
METRICS = ("hf1", "hierarchical_precision", "hierarchical_recall", "codes", "information_contrast")


class DecodingRows:
    """Counts what the decodings do, batch by batch with :meth:`update`.

    hF1 is the mean over rows of 2 |A & T| / (|A| + |T|), A what is stated and T the true code, both with all ancestors
    but the root (``hierarchical_f1`` of metrics.csv is micro, and cuts to the level of the gold code). Codes under an
    inner gold code are neither right nor wrong: the code above them counts in their place. Of a row with several codes
    the most probable counts.

    Args:
        gold: (n,) gold nodes, or sets of them.
        information: (N,) of :func:`hjc.metrics.hierarchical.node_information`.
        resamples: of the rows, of at most :data:`BUNDLES` units; None: no intervals.
        weights: (n,) row weights.
    """

    def __init__(
        self, taxonomy: Taxonomy, gold: Target, information: Float64, resamples: Resamples | None = None,
        weights: Float64 | None = None,
    ) -> None:  # fmt: skip
        self.taxonomy, self.gold, self.information, self.resamples = taxonomy, gold, information, resamples
        self.weights, self.unit = weights, None if resamples is None else resamples.unit
        units = 1 if self.unit is None else int(self.unit.max(initial=0)) + 1
        self.curve = HierarchicalCurve(taxonomy, units)
        #: (U,) weight and (U, M) weighted sums of what the rows of each unit have: nothing is kept of a row
        self.total, self.rows = np.zeros(units), 0
        self.sums = {way: np.zeros((units, len(METRICS))) for way in (LEAF, HALF, NODE, SET)}

    def update(self, rows: IntArray, levels: LevelProba) -> None:
        """Add a batch (B, L) at positions ``rows`` (B,)."""
        tree = self.taxonomy
        gold = likeliest(self.gold[rows], levels.nodes)
        weight = np.ones(len(rows)) if self.weights is None else self.weights[rows]
        unit = np.zeros(len(rows), dtype=np.int64) if self.unit is None else self.unit[rows]
        self.rows += int((weight > 0).sum())
        np.add.at(self.total, unit, weight)
        self.curve.update(levels, gold, unit, weight)

        def put(way: str, size: IntArray, shared: IntArray, contrast: Any = math.nan) -> None:
            own = tree.level[gold]
            found = (2 * shared / (size + own), shared / np.maximum(size, 1), shared / own, size, contrast)
            for column, values in enumerate(found):
                np.add.at(self.sums[way][:, column], unit, weight * values)

        stated = {
            LEAF: levels.top[:, -1],
            HALF: back_off(tree, levels, 0.5).node,
            NODE: bayes_decision(tree, levels, "hf1").decisions.node,
        }
        for way, node in stated.items():
            node = np.where((node >= 0) & lies_under(tree, node, gold), gold, node)
            some = node >= 0
            size = np.where(some, tree.level[node], 0)
            shared = np.where(some, tree.lca_level(np.maximum(node, 0), gold), 0)
            contrast = information_contrast(tree, self.information, node, gold)
            put(way, size, shared, contrast)
        put(SET, *self._of_sets(hf_sets(tree, levels).sets, gold))

    def _of_sets(self, sets: ConformalSets, gold: IntArray) -> tuple[IntArray, IntArray]:
        """Codes of each set that count, and those of them that are right."""
        tree, row = self.taxonomy, np.repeat(np.arange(len(gold)), sets.sizes)
        counted = ~lies_under(tree, sets.nodes, gold[row])
        right = (sets.nodes == gold[row]) | lies_under(tree, gold[row], sets.nodes)
        return np.bincount(row, counted, minlength=len(gold)), np.bincount(row, right, minlength=len(gold))

    def table(self) -> pd.DataFrame:
        """A line a decoding and metric, with 95 % bootstrap intervals (:data:`COLUMNS`).

        ``hf1_auc`` of all thresholds; of each decoding ``hf1``, ``hierarchical_precision``, ``hierarchical_recall``
        (means over rows; 0 of a row without a code), ``codes`` (how many are stated, ancestors counted) and
        ``information_contrast`` (bits; of those that state one code).
        """
        return pd.DataFrame(list(self._lines()), columns=list(COLUMNS))

    def _lines(self) -> Iterator[dict[str, Any]]:
        drawn = [] if self.resamples is None else list(self.resamples.blocks(width=4))
        areas = [self.curve.area(times) for times in drawn]
        yield self._line(ALL, "hf1_auc", float(self.curve.area()[0]), areas)
        for way, sums in self.sums.items():
            for metric, of_unit in zip(METRICS, sums.T, strict=True):
                if not np.isnan(of_unit).any():
                    with np.errstate(invalid="ignore"):
                        means = [(of_unit @ times) / (self.total @ times) for times in drawn]
                        yield self._line(way, metric, float(of_unit.sum() / self.total.sum()), means)

    def _line(self, way: str, metric: str, value: float, drawn: list[Float64]) -> dict[str, Any]:
        low, high = percentile_interval(np.concatenate(drawn), value) if drawn else (math.nan, math.nan)
        return {"decoding": way, "metric": metric, "value": value, "low": low, "high": high, "n": self.rows}
