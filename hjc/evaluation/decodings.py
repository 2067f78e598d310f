"""What hierarchical-classification research publishes: the area under the hP-hR curve, and hF1 and information contrast
of several ways to turn probabilities into codes, counted in the same pass as everything else."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from hjc.arrays import Float64, IntArray
from hjc.data.codesets import Target, likeliest
from hjc.decision import bayes_decision
from hjc.decision.conformal import ConformalSets
from hjc.decision.hierarchical_f import hf_costs, hf_sets
from hjc.decision.rules import back_off
from hjc.metrics import LevelProba, Resamples
from hjc.metrics.bootstrap import percentile_interval
from hjc.metrics.hierarchical import HierarchicalCurve, information_contrast, lies_under
from hjc.taxonomy import Taxonomy

#: bundles of rows that are drawn together, at most: each keeps a curve
BUNDLES = 400
ALL = "all thresholds"
LEAF, HALF = "most probable leaf", "deepest code above 0.5"
COLUMNS = ("decoding", "metric", "value", "low", "high", "n")


def code_of_best(beta: float = 1.0) -> str:
    """Name of the decoding that states one code."""
    return f"code of best expected hF{beta:g}"


def set_of_best(beta: float = 1.0) -> str:
    """Name of the decoding that states a set of codes."""
    return f"set of best expected hF{beta:g}"


class DecodingRows:
    """Counts what the decodings do, batch by batch with :meth:`update`.

    hF_beta is the mean over rows of (1 + b2) |A & T| / (|A| + b2 |T|), b2 = beta squared, A what is stated and T the
    true code, both with all ancestors but the root (``hierarchical_f1`` of metrics.csv is micro, and cuts to the level
    of the gold code). Codes under an
    inner gold code are neither right nor wrong: the code above them counts in their place. Of a row with several codes
    the most probable counts.

    Args:
        gold: (n,) gold nodes, or sets of them.
        information: (N,) of :func:`hjc.metrics.hierarchical.node_information`.
        resamples: of the rows, of at most :data:`BUNDLES` units; None: no intervals.
        weights: (n,) row weights.
        betas: of the hF that are counted, and that a code and a set are stated for; below 1 precision counts for more.
    """

    def __init__(
        self, taxonomy: Taxonomy, gold: Target, information: Float64, resamples: Resamples | None = None,
        weights: Float64 | None = None, *, betas: Sequence[float] = (1.0,),
    ) -> None:  # fmt: skip
        self.taxonomy, self.gold, self.information, self.resamples = taxonomy, gold, information, resamples
        self.weights, self.unit = weights, None if resamples is None else resamples.unit
        units = 1 if self.unit is None else int(self.unit.max(initial=0)) + 1
        self.curve, self.betas = HierarchicalCurve(taxonomy, units), tuple(betas)
        of_sets = ("hierarchical_precision", "hierarchical_recall", "codes", "information_contrast")
        self.metrics = (*(f"hf{beta:g}" for beta in self.betas), *of_sets)
        #: (U,) weight and (U, M) weighted sums of what the rows of each unit have: nothing is kept of a row
        self.total, self.rows = np.zeros(units), 0
        ways = (LEAF, HALF, *map(code_of_best, self.betas), *map(set_of_best, self.betas))
        self.sums = {way: np.zeros((units, len(self.metrics))) for way in ways}

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
            of_betas = ((1 + b * b) * shared / (size + b * b * own) for b in self.betas)
            found = (*of_betas, shared / np.maximum(size, 1), shared / own, size, contrast)
            for column, values in enumerate(found):
                np.add.at(self.sums[way][:, column], unit, weight * values)

        stated = {
            LEAF: levels.top[:, -1],
            HALF: back_off(tree, levels, 0.5).node,
        }
        for beta in self.betas:
            stated[code_of_best(beta)] = bayes_decision(tree, levels, hf_costs(tree, levels, beta)).decisions.node
        for way, node in stated.items():
            node = np.where((node >= 0) & lies_under(tree, node, gold), gold, node)
            some = node >= 0
            size = np.where(some, tree.level[node], 0)
            shared = np.where(some, tree.lca_level(np.maximum(node, 0), gold), 0)
            contrast = information_contrast(tree, self.information, node, gold)
            put(way, size, shared, contrast)
        for beta in self.betas:
            put(set_of_best(beta), *self._of_sets(hf_sets(tree, levels, beta).sets, gold))

    def _of_sets(self, sets: ConformalSets, gold: IntArray) -> tuple[IntArray, IntArray]:
        """Codes of each set that count, and those of them that are right."""
        tree, row = self.taxonomy, np.repeat(np.arange(len(gold)), sets.sizes)
        counted = ~lies_under(tree, sets.nodes, gold[row])
        right = (sets.nodes == gold[row]) | lies_under(tree, gold[row], sets.nodes)
        return np.bincount(row, counted, minlength=len(gold)), np.bincount(row, right, minlength=len(gold))

    def table(self) -> pd.DataFrame:
        """A line a decoding and metric, with 95 % bootstrap intervals (:data:`COLUMNS`).

        ``hf1_auc`` of all thresholds; of each decoding ``hf1`` (and other betas), ``hierarchical_precision``,
        ``hierarchical_recall`` (means over rows; 0 of a row without a code), ``codes`` (how many are stated, ancestors
        counted) and ``information_contrast`` (bits; of those that state one code).
        """
        return pd.DataFrame(list(self._lines()), columns=list(COLUMNS))

    def _lines(self) -> Iterator[dict[str, Any]]:
        drawn = [] if self.resamples is None else list(self.resamples.blocks(width=4))
        areas = [self.curve.area(times) for times in drawn]
        yield self._line(ALL, "hf1_auc", float(self.curve.area()[0]), areas)
        for way, sums in self.sums.items():
            for metric, of_unit in zip(self.metrics, sums.T, strict=True):
                if not np.isnan(of_unit).any():
                    with np.errstate(invalid="ignore"):
                        means = [(of_unit @ times) / (self.total @ times) for times in drawn]
                        yield self._line(way, metric, float(of_unit.sum() / self.total.sum()), means)

    def _line(self, way: str, metric: str, value: float, drawn: list[Float64]) -> dict[str, Any]:
        low, high = percentile_interval(np.concatenate(drawn), value) if drawn else (math.nan, math.nan)
        return {"decoding": way, "metric": metric, "value": value, "low": low, "high": high, "n": self.rows}
