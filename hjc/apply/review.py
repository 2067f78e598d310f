"""``hjc review``: which rows of a table a clerk should look at, with the probability that each had of being drawn.

The table is gone through once for the scores of every row; strategies that look at vectors or at several passes of the
network go on with a pool of rows; and once more to write the rows chosen, with all their columns.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from hjc.apply.loop import Columns, Part, Summary, read_parts, write_parts
from hjc.arrays import Float64, FloatArray, IntArray
from hjc.classifiers.base import Classifier
from hjc.classifiers.features import word_vectors
from hjc.classifiers.vectors import TextVectors, dense, unit_rows
from hjc.decision import ReviewPlan, review_plan
from hjc.decision.review import bald, entropy, k_center, kmeans_plus_plus, margin
from hjc.metrics.level_proba import LevelProba
from hjc.tables import Reader, Writer

Open = Callable[[], AbstractContextManager[Reader]]

#: strategies whose rows can be weighed up to all rows, and those that pick rows to learn from
SAMPLES = ("random", "stratified", "proportional")
PICKS = ("uncertain", "margin", "entropy", "bald", "diverse", "k_center")
STRATEGIES = (*SAMPLES, *PICKS)
#: rows that bald (the most uncertain) and diverse, k_center (an even sample) choose from, at most
BALD_POOL, VECTOR_POOL = 2000, 5000
#: ``strata``: the predicted code of level 1
PREDICTED = "predicted"


@dataclass(frozen=True)
class Review:
    """The rows chosen: ``row`` (m,) positions in the input; predicted ``node`` (m,) and its ``proba`` (m,); the score
    that the strategy went by (m,); ``plan`` over the usable rows; expected share of wrong codes among the chosen and
    among all, by the model's own probabilities."""

    strategy: str
    row: IntArray
    node: IntArray
    proba: Float64
    score: Float64
    plan: ReviewPlan
    expected_wrong: float
    expected_wrong_all: float
    notes: tuple[str, ...]

    def message(self, written: int, calibrated: bool) -> str:
        """One sentence for the terminal."""
        return (
            f"{written:,} rows to review; by the model's {'calibrated ' if calibrated else ''}probabilities "
            f"{self.expected_wrong:.0%} of their codes are wrong, of all codes {self.expected_wrong_all:.0%}"
        )


def review_columns(prefix: str = "hjc_", answer: str = "code", blind: bool = False) -> dict[str, str]:
    """New column -> text or number, as the writer wants them; ``blind`` leaves the model's code out."""
    shown = {} if blind else {"code": "text", "title": "text", "proba": "number"}
    design = {"row": "number", "score": "number", "inclusion_probability": "number", "stratum": "text",
              "strategy": "text"}  # fmt: skip
    return {**{f"{prefix}{name}": kind for name, kind in (design | shown).items()}, answer: "text"}


def review_table(
    classifier: Classifier,
    open_table: Open,
    columns: Columns,
    n: int,
    strategy: str = "stratified",
    *,
    level: int,
    strata: str | None = None,
    bands: int = 3,
    passes: int = 10,
    seed: int = 0,
    summary: Summary | None = None,
) -> Review:
    """Choose ``n`` of the usable rows of a table.

    Samples (:func:`hjc.decision.review_plan`): random; stratified and proportional, by 1 - probability of the code.
    Picks: uncertain (1 - probability), margin, entropy: the largest score. bald: of the most uncertain by entropy,
    those on which ``passes`` with dropout disagree most (neural models). diverse: k-means++ on vectors with uncertainty
    as weight; k_center: the rows that leave no row far from one that was chosen, whatever their scores.

    Args:
        open_table: opens the input anew at each call.
        level: whose codes are to be reviewed.
        strata: "predicted" (level 1), or a column, for stratified.

    Raises:
        ValueError: an unknown strategy, more rows wanted than there are, bald without dropout.
    """
    if strategy not in STRATEGIES:
        raise ValueError(f"--strategy: got {strategy!r}, allowed are {', '.join(STRATEGIES)}")
    if strata is not None and strategy != "stratified":
        raise ValueError(f"--strata is for --strategy stratified, not {strategy}")
    base = classifier.uncalibrated
    if strategy == "bald" and not base.has_dropout:
        raise ValueError(
            f"--strategy bald needs a neural model trained with dropout, this is {base.name!r}: use entropy, or diverse"
        )
    summary = summary if summary is not None else Summary()
    row, node, proba, score, stratum = _score(classifier, open_table, columns, strategy, level, strata, summary)
    if not len(row):
        raise ValueError(f"no row can be used: {summary.left_out()}")
    if not 1 <= n <= len(row):
        raise ValueError(f"--n: got {n}, allowed are 1 to {len(row)}, the usable rows")
    wrong = np.clip(1 - proba, 0.0, 1.0)
    notes: list[str] = []
    if strategy in SAMPLES:
        plan = review_plan(wrong, n, strategy, strata=stratum if strata else None, bands=bands, seed=seed)
    else:
        chosen = _pick(base, open_table, columns, n, strategy, level, row, score, wrong, passes, seed, notes)
        plan = ReviewPlan(np.sort(chosen), np.ones(n), np.full(n, "", dtype=object), False)
    at = plan.rows
    return Review(
        strategy, row[at], node[at], proba[at], score[at], plan, float(wrong[at].mean()), float(wrong.mean()),
        tuple(notes),
    )  # fmt: skip


def _score(
    classifier: Classifier, open_table: Open, columns: Columns, strategy: str, level: int, strata: str | None,
    summary: Summary,
) -> tuple[IntArray, IntArray, Float64, Float64, list[str]]:  # fmt: skip
    """Of the usable rows (m): positions in the input, predicted nodes, their probabilities, scores, strata."""
    tree = classifier.taxonomy
    tree.check_level(level)
    read = replace(columns, more=[strata] if strata not in (None, PREDICTED) else ())
    found: list[tuple[IntArray, IntArray, Float64, Float64]] = []
    strata_of: list[str] = []
    with open_table() as reader:
        for part in read_parts(reader, read, summary):
            size, good = len(part), part.good
            node, proba, score = np.zeros(size, dtype=np.int64), np.zeros(size), np.zeros(size)
            stratum = [(v or "").strip() for v in part.cells[strata]] if read.more and strata else [""] * size
            for at, log_proba, _ in part.batches(classifier):
                levels = LevelProba.of(tree, log_proba)
                node[at], proba[at] = levels.top[:, level - 1], levels.confidence[:, level - 1]
                score[at] = 1 - proba[at]
                if strategy in ("margin", "entropy", "bald"):
                    score[at] = (margin if strategy == "margin" else entropy)(tree.aggregate(log_proba, level))
                if strata == PREDICTED:
                    for i, major in zip(at.tolist(), levels.top[:, 0].tolist(), strict=True):
                        stratum[i] = tree.codes[major]
            found.append((part.start + good, node[good], proba[good], score[good]))
            strata_of += [stratum[i] for i in good.tolist()]
    none = np.empty(0, dtype=np.int64)
    row, node, p, scores = (np.concatenate(x) for x in zip((none, none, none, none), *found, strict=True))
    return row, node, p, scores, strata_of


def _pick(
    base: Any, open_table: Open, columns: Columns, n: int, strategy: str, level: int, row: IntArray, score: Float64,
    wrong: Float64, passes: int, seed: int, notes: list[str],
) -> IntArray:  # fmt: skip
    """(n,) positions among the usable rows; ``score`` gets what the strategy went by."""
    if strategy in ("uncertain", "margin", "entropy"):
        return np.argsort(-score, kind="stable")[:n]
    most = max(n, BALD_POOL if strategy == "bald" else VECTOR_POOL)
    if len(row) <= most:
        pool = np.arange(len(row))
    elif strategy == "bald":
        pool = np.sort(np.argsort(-score, kind="stable")[:most])
        notes.append(f"chosen from the {most:,} of {len(row):,} rows with the highest entropy")
    else:
        pool = np.sort(np.random.default_rng(seed).choice(len(row), most, replace=False))
        notes.append(f"chosen from an even random sample of {most:,} of {len(row):,} rows")
    texts = _texts(open_table, columns, row[pool])
    if strategy == "bald":
        score[:] = 0.0
        for at, x in base.iter_dropout_log_proba(texts, passes, seed):
            score[pool[at]] = bald(np.stack([base.taxonomy.aggregate(one, level) for one in x]))
        return pool[np.argsort(-score[pool], kind="stable")[:n]]
    vectors = _vectors(base, texts, notes)
    if strategy == "k_center":
        return pool[k_center(vectors, n)]
    return pool[kmeans_plus_plus(vectors, n, weights=wrong[pool], seed=seed)]


def _texts(open_table: Open, columns: Columns, rows: IntArray) -> list[str]:
    """The texts of the rows at these positions (ascending)."""
    wanted, texts = set(rows.tolist()), []
    with open_table() as reader:
        for part in read_parts(reader, columns):
            texts += [text for i, text in enumerate(part.texts, start=part.start) if i in wanted]
    return texts


def _vectors(classifier: Classifier, texts: Sequence[str], notes: list[str]) -> FloatArray:
    if classifier.vector_space is None:
        notes.append("the model has no vectors of its own: texts are compared by tf-idf of their words")
        return unit_rows(dense(TextVectors("words", word_vectors(texts).transform(list(texts)))))
    return unit_rows(dense(classifier.text_vectors(texts)))


def write_review(review: Review, reader: Reader, writer: Writer, classifier: Classifier, prefix: str = "hjc_") -> int:
    """Write the chosen rows with all their columns and the new ones (:func:`review_columns`); returns how many."""
    tree, design = classifier.taxonomy, review.plan.for_estimation
    position = {int(r): i for i, r in enumerate(review.row)}

    def new(part: Part) -> dict[str, list[Any]]:
        here = [k for k in range(len(part)) if part.start + k in position]
        at = [position[part.start + k] for k in here]
        values: dict[str, list[Any]] = {
            "row": [part.start + k + 1 for k in here],
            "code": [tree.codes[review.node[i]] for i in at],
            "title": [tree.title(int(review.node[i])) for i in at],
            "proba": [float(review.proba[i]) for i in at],
            "score": [float(review.score[i]) for i in at],
            "inclusion_probability": [float(review.plan.inclusion_probability[i]) if design else None for i in at],
            "stratum": [str(review.plan.stratum[i]) for i in at],
            "strategy": [review.strategy] * len(at),
        }
        named = {f"{prefix}{name}": column for name, column in values.items()}
        part.chunk = part.chunk.take(here)
        return {name: named.get(name, [None] * len(at)) for name in writer.new}

    write_parts(reader, writer, Columns(), new)
    return len(position)
