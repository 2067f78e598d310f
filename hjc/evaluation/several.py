"""A head for several codes of a text: fitted beside a finished model, measured against the model's probabilities."""

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from hjc.arrays import BoolArray, Float64, IntArray
from hjc.classifiers.base import Classifier
from hjc.classifiers.paths import SEVERAL
from hjc.classifiers.several import NO_SETS, SeveralHead
from hjc.data.codesets import CodeSets
from hjc.data.jobdata import JobData
from hjc.metrics import LevelProba, Resamples
from hjc.metrics.bootstrap import percentile_interval
from hjc.metrics.several import BestThreshold, SetScores, determined, present, yes_or_no_loss
from hjc.taxonomy import Taxonomy

#: the head, and the model's own probabilities, of which the same is asked
HEAD, PROBABILITIES = "head", "probabilities"
WAYS = (HEAD, PROBABILITIES)
#: of the head in its mixture with the probabilities, which are tried on validation rows
SHARES = np.linspace(0, 1, 11)
COLUMNS = ("way", "level", "threshold", "metric", "value", "low", "high", "n")


def sets_of(data: JobData) -> CodeSets:
    """All codes of each row."""
    return CodeSets.of_gold(data.gold) if data.sets is None else data.sets


def check_several(model: Classifier, train: JobData) -> None:
    """Raise ValueError where :func:`fit_several` would, before anything is trained."""
    if model.vector_space is None:
        raise model.cannot(
            "have a head for several codes (evaluation.several)", "linear, neural, static and embedding models"
        )
    if train.sets is None:
        raise ValueError(NO_SETS.format(rows=len(train), used=len(train)))


def fit_several(model: Classifier, directory: str | Path, train: JobData, valid: JobData, again: bool = False) -> str:
    """Fit a head for several codes beside the finished model of a directory and set ``model.several``.

    The codes of a training row are taken for all that its text has. A head that is there is kept unless ``again``.

    Returns:
        One sentence on it.

    Raises:
        ValueError: the model places no texts in a space, or no training row has several codes.
    """
    head = None if again else SeveralHead.load(directory, model.taxonomy, model.text_vectors)
    if head is None:
        rows = train.take(train.weight > 0)
        head = SeveralHead.fit(model.taxonomy, model.text_vectors(list(rows.texts)), sets_of(rows))
        model.several = head
        if len(valid):
            share, thresholds = _chosen(model, head, valid)
            head = replace(head, share=share, thresholds=thresholds)
        head.save(directory)
    model.several = head
    sentence = f"head for several codes ({SEVERAL}): {head.rows:,} training rows, {head.several:,} with several codes"
    if HEAD in head.thresholds:
        sentence += f"; its share in the mixture with the model's own probabilities is {head.share:.1f}"
        best = ", ".join(f"{t:.2f} at level {d}" for d, t in enumerate(head.thresholds[HEAD][:-1], start=1))
        sentence += f"; --several with the best F1 on validation rows: {best}"
    return sentence


def of_all_ways(model: Classifier, texts: list[str], levels: LevelProba) -> dict[str, Float64]:
    """Way -> (B, N) probabilities that a text has each node."""
    assert model.several is not None
    return {HEAD: model.several.proba(model.text_vectors(texts), levels.nodes()), PROBABILITIES: levels.nodes()}


def _chosen(model: Classifier, head: SeveralHead, valid: JobData) -> tuple[float, dict[str, Float64]]:
    """The share of the head in the mixture that has the least log-loss over all nodes, and the thresholds of best F1 of
    that mixture and of the model's own probabilities."""
    tree, sets, loss = model.taxonomy, sets_of(valid), np.zeros(len(SHARES))
    best = [BestThreshold() for _ in range(tree.depth + 1)]
    for rows, log_proba in model.iter_log_proba(valid.texts):
        own = LevelProba.of(tree, log_proba).nodes()
        proba = np.exp(head.log_proba(model.text_vectors([valid.texts[i] for i in rows.tolist()])))
        for place, nodes, keep, true in _parts(tree, sets[rows]):
            at = np.ix_(keep, nodes)
            best[place].update(proba[at], true, own[at])
            if place == tree.depth:
                loss += [yes_or_no_loss(share * proba[at] + (1 - share) * own[at], true).sum() for share in SHARES]
    share = float(SHARES[loss.argmin()])
    return share, {way: np.array([t.value(s) for t in best]) for way, s in ((HEAD, share), (PROBABILITIES, 0.0))}


def _parts(tree: Taxonomy, sets: CodeSets) -> Iterator[tuple[int, IntArray, IntArray, BoolArray]]:
    """Of each level, and last of all nodes: its place, the nodes, the rows that count there, and what these have.

    A row counts where all its codes are known to the level; over all nodes where all are leaves.
    """
    has = present(tree, sets)
    for level in range(1, tree.depth + 1):
        keep, nodes = np.flatnonzero(determined(tree, sets, level)), tree.level_nodes(level)
        yield level - 1, nodes, keep, has[np.ix_(keep, nodes)]
    yield tree.depth, np.arange(len(tree)), keep, has[keep]


class SeveralRows:
    """Counts what the head and the model's probabilities say of all codes of the rows, batch by batch.

    Args:
        data: the rows (n). resamples: of them, of few units; None: no intervals. weights: (n,) row weights.
    """

    def __init__(
        self, model: Classifier, data: JobData, resamples: Resamples | None = None, weights: Float64 | None = None
    ) -> None:
        assert model.several is not None
        self.model, self.texts, self.sets = model, data.texts, sets_of(data)
        self.resamples, self.weights = resamples, np.ones(len(data)) if weights is None else weights
        self.unit = np.zeros(len(data), dtype=np.int64) if resamples is None else resamples.unit
        tree, units = model.taxonomy, int(self.unit.max(initial=0)) + 1
        sizes = [*(len(tree.level_nodes(d)) for d in range(1, tree.depth + 1)), len(tree)]
        half = np.full(tree.depth + 1, 0.5)  # without validation rows nothing says more
        thresholds = {way: model.several.thresholds.get(way, half) for way in WAYS}
        self.scores = {
            way: [SetScores(k, float(t), units) for k, t in zip(sizes, thresholds[way], strict=True)] for way in WAYS
        }

    def update(self, rows: IntArray, levels: LevelProba) -> None:
        """Add a batch at positions ``rows`` (B,)."""
        ways = of_all_ways(self.model, [self.texts[i] for i in rows.tolist()], levels)
        for place, nodes, keep, true in _parts(self.model.taxonomy, self.sets[rows]):
            at = rows[keep]
            for way, proba in ways.items():
                self.scores[way][place].update(proba[np.ix_(keep, nodes)], true, self.unit[at], self.weights[at])

    def table(self) -> pd.DataFrame:
        """A line a way, level ("all" for all nodes) and metric, see :class:`hjc.metrics.several.SetScores`, with 95 %
        bootstrap intervals of all but ``macro_f1`` (:data:`COLUMNS`)."""
        return pd.DataFrame(list(self._lines()), columns=list(COLUMNS))

    def replicates(self, way: str, place: int) -> dict[str, Float64]:
        """Every metric but ``macro_f1`` of a way at a place (level less one, last all nodes) in each resample."""
        assert self.resamples is not None
        drawn = [self.scores[way][place].replicates(times) for times in self.resamples.blocks(width=10)]
        return {name: np.concatenate([d[name] for d in drawn]) for name in drawn[0]}

    def _lines(self) -> Iterator[dict[str, Any]]:
        for way, places in self.scores.items():
            for place, scores in enumerate(places):
                drawn = {} if self.resamples is None else self.replicates(way, place)
                name = str(place + 1) if place < len(places) - 1 else "all"
                for metric, value in scores.values().items():
                    if name == "all" and metric.startswith("several"):
                        continue  # every row has a node at each level
                    low, high = percentile_interval(drawn[metric], value) if metric in drawn else (math.nan, math.nan)
                    line = {"way": way, "level": name, "threshold": scores.threshold, "metric": metric}
                    yield line | {"value": value, "low": low, "high": high, "n": int(scores.rows)}
