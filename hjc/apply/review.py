"""``hjc review``: which rows of a table a clerk should look at, with the probability that each had of being drawn.

The table is gone through once for the scores of every row; strategies that look at vectors or at several passes of the
network go on with a pool of rows; and once more to write the rows chosen, with all their columns.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import KW_ONLY, dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from hjc.apply.loop import Columns, Part, Summary, read_parts, write_parts
from hjc.arrays import Float64, FloatArray, IntArray
from hjc.classifiers.base import Classifier
from hjc.classifiers.features import word_vectors
from hjc.classifiers.vectors import TextVectors, dense
from hjc.decision import ReviewPlan, review_plan
from hjc.decision.review import bald, entropy, k_center, kmeans_plus_plus, margin
from hjc.errors import check_choice, check_range
from hjc.evaluation.watch import Watch
from hjc.index import normalise
from hjc.metrics.level_proba import LevelProba
from hjc.tables import Reader, Writer

Open = Callable[[], AbstractContextManager[Reader]]

#: strategies whose rows can be weighed up to all rows, and those that pick rows to learn from
SAMPLES = ("random", "stratified", "proportional")
PICKS = ("uncertain", "margin", "entropy", "bald", "diverse", "k_center")
STRATEGIES = (*SAMPLES, *PICKS)
#: rows that bald (the most uncertain) and diverse, k_center (an even sample) choose from, at most
BALD_POOL, VECTOR_POOL = 2000, 5000
#: of the probabilities of a level; else 1 - the largest
SCORES = {"margin": margin, "entropy": entropy, "bald": entropy}
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
    notes: Sequence[str]

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


@dataclass
class Reviewing:
    """Which ``n`` of the usable rows of a table are to be reviewed: :meth:`choose` says.

    Samples (:func:`hjc.decision.review_plan`): random; stratified and proportional, by 1 - probability of the code.
    Picks: uncertain (1 - probability), margin, entropy: the largest score. bald: of the most uncertain by entropy,
    those on which ``passes`` with dropout disagree most (neural models). diverse: k-means++ on vectors with uncertainty
    as weight; k_center: the rows that leave no row far from one that was chosen, whatever their scores.

    Args:
        open_table: opens the input anew at each call.
        level: whose codes are to be reviewed.
        strata: "predicted" (level 1), or a column, for stratified.

    Raises:
        ValueError: an unknown strategy, bald without dropout.
    """

    classifier: Classifier
    open_table: Open
    columns: Columns
    n: int
    strategy: str = "stratified"
    _: KW_ONLY
    level: int
    strata: str | None = None
    bands: int = 3
    passes: int = 10
    seed: int = 0
    summary: Summary = field(default_factory=Summary)

    def __post_init__(self) -> None:
        self.base, self.notes = self.classifier.uncalibrated, list[str]()
        check_choice("--strategy", self.strategy, STRATEGIES)
        if self.strata is not None and self.strategy != "stratified":
            raise ValueError(f"--strata is for --strategy stratified, not {self.strategy}")
        if self.strategy == "bald" and not self.base.has_dropout:
            raise ValueError(
                f"--strategy bald needs a neural model trained with dropout, this is {self.base.name!r}: use entropy, "
                "or diverse"
            )

    def choose(self) -> Review:
        """The rows; all of them, and a note, where more are wanted than there are. Raises ValueError below 1."""
        check_range("--n", self.n, self.n >= 1, "integers from 1")
        found = self._scores()
        if self.n > len(found):
            self.notes.append(f"{self.n:,} rows are wanted, and {len(found):,} can be used: all of them are chosen")
            self.n = len(found)
        wrong = np.clip(1 - found["proba"].to_numpy(), 0.0, 1.0)
        if self.strategy in SAMPLES:
            strata = found["stratum"].tolist() if self.strata else None
            plan = review_plan(wrong, self.n, self.strategy, strata=strata, bands=self.bands, seed=self.seed)
        else:
            chosen = np.sort(self._pick(found, wrong))
            plan = ReviewPlan(chosen, np.ones(self.n), np.full(self.n, "", dtype=object), False)
        row, node, proba, score = (found[name].to_numpy()[plan.rows] for name in ("row", "node", "proba", "score"))
        expected = float(wrong[plan.rows].mean()), float(wrong.mean())
        return Review(self.strategy, row, node, proba, score, plan, *expected, self.notes)

    def _scores(self) -> pd.DataFrame:
        """Of the usable rows: row (position in the input), predicted node, its proba, score, stratum."""
        tree, level, at_level = self.classifier.taxonomy, self.level, self.level - 1
        tree.check_level(level)
        by_column = self.strata is not None and self.strata != PREDICTED
        read = replace(self.columns, more=[self.strata] if by_column and self.strata else ())
        found = [pd.DataFrame({"row": [], "node": [], "proba": [], "score": [], "stratum": []})]
        watch = Watch(self.classifier, count=False)
        with self.open_table() as reader:
            for part in read_parts(reader, read, self.summary):
                for at, log_proba, _ in part.batches(self.classifier):
                    watch.see(at, part.texts, part.languages, log_proba)
                    levels = LevelProba.of(tree, log_proba)
                    proba = levels.confidence[:, at_level]
                    score = SCORES.get(self.strategy)
                    stratum = [tree.codes[node] for node in levels.top[:, 0].tolist()]
                    if by_column:
                        stratum = [(part.cells[self.strata or ""][i] or "").strip() for i in at.tolist()]
                    rows = {"row": part.start + at, "node": levels.top[:, at_level], "proba": proba, "stratum": stratum}
                    scored = 1 - proba if score is None else score(levels.at(level))
                    found.append(pd.DataFrame({**rows, "score": scored}))
        if len(found) == 1:
            raise ValueError(f"no row can be used: {self.summary.left_out()}")
        self.notes += watch.notes()
        return pd.concat(found[1:]).sort_values("row", ignore_index=True)

    def _pick(self, found: pd.DataFrame, wrong: Float64) -> IntArray:
        """(n,) positions among the usable rows; their scores become what the strategy went by."""
        score, size, bald_too = found["score"].to_numpy(), len(found), self.strategy == "bald"
        if self.strategy in ("uncertain", "margin", "entropy"):
            return np.argsort(-score, kind="stable")[: self.n]
        pool = np.arange(size)
        most = max(self.n, BALD_POOL if bald_too else VECTOR_POOL)
        if size > most and bald_too:
            pool = np.sort(np.argsort(-score, kind="stable")[:most])
            self.notes.append(f"chosen from the {most:,} of {size:,} rows with the highest entropy")
        elif size > most:
            pool = np.sort(np.random.default_rng(self.seed).choice(size, most, replace=False))
            self.notes.append(f"chosen from an even random sample of {most:,} of {size:,} rows")
        texts = self._texts(set(found["row"].to_numpy()[pool].tolist()))
        if bald_too:
            tree, values = self.base.taxonomy, np.zeros(size)
            for at, x in self.base.iter_dropout_log_proba(texts, self.passes, self.seed):
                values[pool[at]] = bald(np.stack([LevelProba.of(tree, one).at(self.level) for one in x]))
            found["score"] = values
            return pool[np.argsort(-values[pool], kind="stable")[: self.n]]
        vectors = self._vectors(texts)
        if self.strategy == "k_center":
            return pool[k_center(vectors, self.n)]
        return pool[kmeans_plus_plus(vectors, self.n, weights=wrong[pool], seed=self.seed)]

    def _texts(self, rows: set[int]) -> list[str]:
        """The texts of the rows at these positions, in the order of the table."""
        with self.open_table() as reader:
            return [
                text
                for part in read_parts(reader, self.columns)
                for i, text in enumerate(part.texts, start=part.start)
                if i in rows
            ]

    def _vectors(self, texts: list[str]) -> FloatArray:
        if self.base.vector_space is not None:
            return normalise(dense(self.base.text_vectors(texts)))
        self.notes.append("the model has no vectors of its own: texts are compared by tf-idf of their words")
        return normalise(dense(TextVectors("words", word_vectors(texts).transform(texts))))


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
