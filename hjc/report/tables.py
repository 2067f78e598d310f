"""What the report shows beyond the metrics, computed from row scores: pure functions, no plotting, no files.

n rows, D levels, K codes of a level.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hjc.arrays import BoolArray, Float64, IntArray
from hjc.metrics import ECE_BINS, RowScores, equal_mass_bins
from hjc.metrics.intervals import wilson
from hjc.taxonomy import Taxonomy

#: training rows of a code: label, from, below
TRAINING_BUCKETS = (("0", 0, 1), ("1–9", 1, 10), ("10–99", 10, 100), ("100+", 100, math.inf))
#: characters of a text: label, from, below
LENGTH_BUCKETS = (
    ("0–10", 0, 11), ("11–20", 11, 21), ("21–40", 21, 41), ("41–80", 41, 81), ("81–160", 81, 161),
    ("161–400", 161, 401), ("401–1,000", 401, 1001), ("1,001–4,000", 1001, 4001), ("> 4,000", 4001, math.inf),
)  # fmt: skip
#: a code needs so many test rows to be listed among the best or the worst
MIN_SUPPORT = 5


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
    gold = taxonomy.node_path[scores.gold[rows], level - 1]
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


def by_bucket(
    scores: RowScores,
    taxonomy: Taxonomy,
    level: int,
    values: npt.ArrayLike,
    buckets: Sequence[tuple[str, float, float]],
) -> list[Share]:
    """recall@1 of a level by buckets of a number that each row has: one Share a bucket, empty ones included."""
    x = np.asarray(values)
    return _shares(scores, taxonomy, level, [(name, (x >= low) & (x < high)) for name, low, high in buckets])


def _shares(scores: RowScores, taxonomy: Taxonomy, level: int, groups: Sequence[tuple[str, BoolArray]]) -> list[Share]:
    valid, hit = scores.valid[:, level - 1], scores.rank[:, level - 1] == 1
    gold = taxonomy.node_path[scores.gold, level - 1]
    return [
        Share(
            name, level, int((rows & valid).sum()), int((rows & valid & hit).sum()), len(np.unique(gold[rows & valid]))
        )
        for name, rows in groups
    ]


def by_name(scores: RowScores, taxonomy: Taxonomy, level: int, names: Sequence[str]) -> list[Share]:
    """recall@1 of a level by a name that each row has ("" is shown as "und"), in the order of the names."""
    labels = np.array([name or "und" for name in names], dtype=object)
    return _shares(scores, taxonomy, level, [(name, labels == name) for name in sorted(set(labels.tolist()))])


def gold_counts(scores: RowScores, taxonomy: Taxonomy, level: int, counts: IntArray) -> IntArray:
    """(n,) training rows under the gold code of each row at a level (-1 where undetermined).

    ``counts``: (N,) training rows of each node and all below it.
    """
    gold = taxonomy.node_path[scores.gold, level - 1]
    return np.where(gold >= 0, counts[gold], -1)


@dataclass(frozen=True)
class ConfusedPair:
    """Gold and predicted node, how many of the gold code's rows go there, and the most confident of them."""

    gold: int
    predicted: int
    n: int
    support: int
    rows: tuple[int, ...]
    shared_level: int


def confused_pairs(
    scores: RowScores,
    taxonomy: Taxonomy,
    level: int,
    limit: int = 15,
    examples: int = 2,
    texts: Sequence[str] | None = None,
) -> list[ConfusedPair]:
    """The most frequent mistakes of a level, with the rows in which the model was surest of them.

    ``texts``: of each row; of rows with the same text (but for case and blanks) only one is an example.
    """
    rows = np.flatnonzero(scores.valid[:, level - 1] & (scores.rank[:, level - 1] > 1))
    gold = taxonomy.node_path[scores.gold, level - 1]
    support = np.bincount(gold[scores.valid[:, level - 1]], minlength=len(taxonomy))
    top = scores.top[:, level - 1].astype(np.int64)
    pair = gold[rows] * len(taxonomy) + top[rows]
    keys, counts = np.unique(pair, return_counts=True)
    out = []
    for i in np.lexsort((keys, -counts))[:limit].tolist():
        a, b = divmod(int(keys[i]), len(taxonomy))
        mine = rows[pair == keys[i]]
        surest = mine[np.argsort(-scores.confidence[mine, level - 1], kind="stable")]
        if texts is not None:
            distinct: dict[str, int] = {}
            for row in surest.tolist():
                distinct.setdefault(" ".join(texts[row].casefold().split()), row)
            surest = np.array(list(distinct.values()), dtype=np.int64)
        surest = surest[:examples]
        shared = int(taxonomy.lca_level(a, b))
        out.append(ConfusedPair(a, b, int(counts[i]), int(support[a]), tuple(surest.tolist()), shared))
    return out


@dataclass(frozen=True)
class CodeScore:
    """How well one code is found: rows, recall@1, recall@5, and the code it is most often taken for (-1: none)."""

    node: int
    n: int
    recall_1: float
    recall_5: float
    taken_for: int


def code_scores(scores: RowScores, taxonomy: Taxonomy, level: int, min_support: int = MIN_SUPPORT) -> list[CodeScore]:
    """Codes with at least ``min_support`` rows, worst first (recall@1, recall@5, then more rows first)."""
    rows = np.flatnonzero(scores.valid[:, level - 1])
    gold = taxonomy.node_path[scores.gold[rows], level - 1]
    rank, top = scores.rank[rows, level - 1], scores.top[rows, level - 1].astype(np.int64)
    order = np.argsort(gold, kind="stable")
    nodes, starts = np.unique(gold[order], return_index=True)
    out = []
    for node, mine in zip(nodes.tolist(), np.split(order, starts[1:]), strict=True) if len(nodes) else ():
        if len(mine) < min_support:
            continue
        wrong, counts = np.unique(top[mine][rank[mine] > 1], return_counts=True)
        taken = int(wrong[counts.argmax()]) if len(wrong) else -1
        out.append(CodeScore(node, len(mine), float((rank[mine] == 1).mean()), float((rank[mine] <= 5).mean()), taken))
    return sorted(out, key=lambda c: (c.recall_1, c.recall_5, -c.n, c.node))


def level_of_codes(scores: RowScores, taxonomy: Taxonomy, wanted: int = 10) -> int | None:
    """The deepest level at which ``wanted`` codes have enough rows to be listed, else the deepest with any at all."""
    enough = [len(code_scores(scores, taxonomy, d)) for d in range(1, taxonomy.depth + 1)]
    for least in (wanted, 1):
        if levels := [d + 1 for d, codes in enumerate(enough) if codes >= least]:
            return levels[-1]
    return None
