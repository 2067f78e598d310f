"""What the report shows beyond the metrics, computed from row scores: pure functions, no plotting, no files.

n rows, D levels, K codes of a level.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from hjc.arrays import Float64, IntArray
from hjc.metrics import ECE_BINS, RowScores, equal_mass_bins
from hjc.metrics.intervals import wilson
from hjc.taxonomy import Taxonomy

#: a bucket of training rows of a code -> where it begins; it ends where the next one does
TRAINING_BUCKETS = {"0": 0, "1–9": 1, "10–99": 10, "100+": 100}
#: a bucket of characters of a text -> where it begins
LENGTH_BUCKETS = {
    "0–10": 0, "11–20": 11, "21–40": 21, "41–80": 41, "81–160": 81, "161–400": 161, "401–1,000": 401,
    "1,001–4,000": 1001, "> 4,000": 4001,
}  # fmt: skip
#: a code needs so many test rows to be listed among the best or the worst
MIN_SUPPORT = 5
#: metric -> head of its column, digits, as percent
METRIC_COLUMNS = {
    "log_loss": ("log-loss", 3, False),
    "recall@1": ("recall@1 %", 1, True),
    "recall@5": ("recall@5 %", 1, True),
    "recall@10": ("recall@10 %", 1, True),
    "macro_recall": ("macro recall %", 1, True),
    "hierarchical_f1": ("hierarchical F1 %", 1, True),
    "ece": ("ECE", 3, False),
    "brier": ("Brier", 3, False),
}


@dataclass(frozen=True)
class Share:
    """A share of rows with its 95 % interval. ``name``: the bucket; ``n``: its rows; ``codes``: distinct gold codes."""

    name: str
    level: int
    n: int
    hits: int
    codes: int = 0

    @property
    def value(self) -> float:
        return self.hits / self.n if self.n else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        return wilson(self.hits, self.n)


def recall_curve(scores: RowScores, level: int, k_max: int = 20) -> Float64:
    """(k_max,) recall@k for k = 1..k_max at a level; NaN without rows."""
    rank = scores.rank[scores.valid[:, level - 1], level - 1]
    if not len(rank):
        return np.full(k_max, np.nan)
    counts = np.bincount(np.minimum(rank, k_max + 1), minlength=k_max + 2)
    result: Float64 = np.cumsum(counts[1 : k_max + 1]) / len(rank)
    return result


@dataclass(frozen=True, eq=False)
class Confusion:
    """Counts of gold (rows) against predicted (columns) codes at a level.

    Attributes:
        nodes: (K,) the codes shown, in code order.
        counts: (K, K + 1); the last column counts predictions of codes that are not shown.
        hidden: gold codes that occur and are not shown, and their rows.
    """

    level: int
    nodes: IntArray
    counts: IntArray
    hidden: tuple[int, int]


def confusion(scores: RowScores, taxonomy: Taxonomy, level: int, limit: int = 45) -> Confusion:
    """Confusion of the most probable code of a level. Shown are the codes that occur; the ``limit`` most frequent."""
    rows = np.flatnonzero(scores.valid[:, level - 1])
    gold = scores.gold_at(taxonomy, level)[rows]
    top = scores.top[rows, level - 1].astype(np.int64)
    columns = taxonomy.level_nodes(level)
    support = np.bincount(gold, minlength=len(taxonomy))[columns]
    predicted = np.bincount(top, minlength=len(taxonomy))[columns]
    seen = np.flatnonzero((support > 0) | (predicted > 0))
    shown = np.sort(seen[np.lexsort((seen, -predicted[seen], -support[seen]))][:limit])
    nodes = columns[shown]
    at = np.full(len(taxonomy), len(nodes), dtype=np.int64)
    at[nodes] = np.arange(len(nodes))
    counts = np.zeros((len(nodes) + 1, len(nodes) + 1), dtype=np.int64)
    np.add.at(counts, (at[gold], at[top]), 1)
    others = np.setdiff1d(np.flatnonzero(support > 0), shown)
    return Confusion(level, nodes, counts[:-1], (len(others), int(support[others].sum())))


@dataclass(frozen=True, eq=False)
class Reliability:
    """Bins of equal row counts by confidence: (B,) mean confidence, accuracy, rows; and all confidences."""

    level: int
    confidence: Float64
    accuracy: Float64
    n: IntArray
    all_confidence: Float64


def reliability(scores: RowScores, level: int, bins: int = ECE_BINS) -> Reliability:
    """Accuracy of the most probable code against its probability, in at most ``bins`` bins of equal row counts.

    Rows of one confidence are not parted, as in the calibration error itself.
    """
    confidence, hit = scores.level(level)
    if not len(confidence):
        return Reliability(level, confidence, confidence, np.zeros(0, dtype=np.int64), confidence)
    found = equal_mass_bins(confidence, hit, bins)
    return Reliability(level, found.confidence, found.accuracy, np.bincount(found.member), confidence)


def bucketed(values: npt.ArrayLike, buckets: Mapping[str, int]) -> Any:
    """A pandas Categorical with the bucket of each number; none below the first one."""
    return pd.cut(np.asarray(values), [*buckets.values(), math.inf], right=False, labels=list(buckets))


def named(names: Sequence[str]) -> Any:
    """A pandas Categorical of names that rows have, its categories in their order; "" is "und"."""
    return pd.Categorical([name or "und" for name in names])


def by_group(scores: RowScores, taxonomy: Taxonomy, level: int, labels: Any) -> list[Share]:
    """recall@1 of a level by a bucket or name that each row has: one Share each, empty ones included."""
    gold, hit = scores.gold_at(taxonomy, level), scores.rank[:, level - 1] == 1
    rows = pd.DataFrame({"label": labels, "hit": hit, "gold": gold})[scores.valid[:, level - 1]]
    found = rows.groupby("label", observed=False).agg(n=("hit", "size"), hits=("hit", "sum"), codes=("gold", "nunique"))
    return [Share(str(name), level, int(n), int(hits), int(codes)) for name, n, hits, codes in found.itertuples()]


def gold_counts(scores: RowScores, taxonomy: Taxonomy, level: int, counts: IntArray) -> IntArray:
    """(n,) training rows under the gold code of each row at a level (-1 where undetermined).

    ``counts``: (N,) training rows of each node and all below it.
    """
    gold = scores.gold_at(taxonomy, level)
    return np.where(gold >= 0, counts[gold], -1)


class ConfusedPair(NamedTuple):
    """Gold and predicted node, how many of the gold code's rows go there, and the most confident of them."""

    gold: int
    predicted: int
    n: int
    support: int
    rows: tuple[int, ...]
    shared_level: int


def confused_pairs(
    scores: RowScores, taxonomy: Taxonomy, level: int, limit: int = 15, examples: int = 2, texts: Sequence[str] = ()
) -> list[ConfusedPair]:
    """The most frequent mistakes of a level, with the rows in which the model was surest of them.

    ``texts``: of each row; of rows with the same text (but for case and blanks) only one is an example.
    """
    pair, at = ["gold", "predicted"], level - 1
    rows = pd.DataFrame({
        "gold": scores.gold_at(taxonomy, level),
        "predicted": scores.top[:, at].astype(np.int64),
        "confidence": scores.confidence[:, at],
        "text": pd.Series([" ".join(t.casefold().split()) for t in texts] or range(len(scores)), dtype=object),
    })[scores.valid[:, at]]  # fmt: skip
    support = rows["gold"].value_counts()
    wrong = rows[scores.rank[rows.index, at] > 1].sort_values("confidence", ascending=False, kind="stable")
    surest = wrong.drop_duplicates([*pair, "text"]).groupby(pair).head(examples).groupby(pair).groups
    counts = wrong.groupby(pair).size().sort_values(ascending=False, kind="stable")[:limit]
    return [
        ConfusedPair(a, b, n, int(support[a]), tuple(surest[a, b].tolist()), int(taxonomy.lca_level(a, b)))
        for (a, b), n in zip(counts.index.tolist(), counts.tolist(), strict=True)
    ]


def code_scores(scores: RowScores, taxonomy: Taxonomy, level: int, min_support: int = MIN_SUPPORT) -> pd.DataFrame:
    """How well each code with at least ``min_support`` rows is found, worst first: node, n, recall_1, recall_5, and
    the code that it is most often taken_for (-1: none)."""
    keep, at = scores.valid[:, level - 1], level - 1
    rank, top = scores.rank[keep, at], scores.top[keep, at].astype(np.int64)
    rows = pd.DataFrame({"node": scores.gold_at(taxonomy, level)[keep], "first": rank == 1, "five": rank <= 5})
    found = rows.groupby("node").agg(n=("first", "size"), recall_1=("first", "mean"), recall_5=("five", "mean"))
    wrong = rows.assign(top=top)[rank > 1].groupby(["node", "top"]).size().reset_index(name="n")
    often = wrong.sort_values(["n", "top"], ascending=[False, True]).drop_duplicates("node").set_index("node")["top"]
    found["taken_for"] = often.reindex(found.index, fill_value=-1)
    enough = found[found["n"] >= min_support].reset_index()
    return enough.sort_values(["recall_1", "recall_5", "n", "node"], ascending=[True, True, False, True])


def level_of_codes(scores: RowScores, taxonomy: Taxonomy, wanted: int = 10) -> int | None:
    """The deepest level at which ``wanted`` codes have enough rows to be listed, else the deepest with any at all."""
    enough = [len(code_scores(scores, taxonomy, d)) for d in range(1, taxonomy.depth + 1)]
    for least in (wanted, 1):
        if levels := [d + 1 for d, codes in enumerate(enough) if codes >= least]:
            return levels[-1]
    return None
