"""A new model takes the place of a served one when it is not worse on the audited ads, which neither was trained on."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import sqlalchemy as sa

from hjc.arrays import Float64
from hjc.classifiers.base import Classifier
from hjc.classifiers.derived import model_fingerprint
from hjc.classifiers.load import load
from hjc.evaluation.training_texts import TrainingTexts
from hjc.metrics.rows import score_rows
from hjc.serve.models import VERSION
from hjc.serve.store.database import Store
from hjc.serve.store.people import User, note_event
from hjc.serve.store.results import table
from hjc.serve.store.schema import insert, now, promotions

#: audited ads below which nothing is compared; bootstrap samples of the intervals
LEAST, RESAMPLES = 30, 2000


class Worse(ValueError):
    """The new model is worse, or nothing shows that it is not."""


@dataclass(frozen=True)
class Figures:
    """Of one model on the audited ads, each at the level of its code, weighted by the inverse of the inclusion
    probability: share right and mean log-loss in nats."""

    accuracy: float
    log_loss: float


@dataclass(frozen=True)
class Comparison:
    """Old and new on the same ``rows`` ads; the differences new - old with 95 % percentile intervals; how many audited
    ads were left out because one of the models was trained on the same text."""

    rows: int
    trained: int
    old: Figures
    new: Figures
    accuracy_change: tuple[float, float, float]
    log_loss_change: tuple[float, float, float]

    @property
    def worse(self) -> str:
        """What is worse, or ""."""
        found = []
        if self.accuracy_change[0] < 0:
            found.append("fewer right codes")
        if self.log_loss_change[0] > 0:
            found.append("a higher log-loss")
        return " and ".join(found)

    def __str__(self) -> str:
        change, low, high = (100 * x for x in self.accuracy_change)
        loss, loss_low, loss_high = self.log_loss_change
        left = f"; {self.trained:,} left out, whose texts one of the two was trained on" if self.trained else ""
        return (
            f"{self.rows:,} audited ads{left}. Right: {self.old.accuracy:.1%} -> {self.new.accuracy:.1%} "
            f"({change:+.1f} points, 95 % interval {low:+.1f} to {high:+.1f}). Log-loss: {self.old.log_loss:.3f} -> "
            f"{self.new.log_loss:.3f} ({loss:+.3f}, {loss_low:+.3f} to {loss_high:+.3f})"
        )


def compare_on_audit(store: Store, old: str | Path, new: str | Path) -> Comparison:
    """Both models, calibrated where they can be, on every audited ad that coders have coded.

    Raises:
        Worse: fewer than :data:`LEAST` such ads, or the models code to different trees.
    """
    with store.read() as connection:
        rows = table(connection, "audit")
    models = [load(directory) for directory in (old, new)]
    tree = models[0].taxonomy
    if models[1].taxonomy != tree:
        raise Worse(f"{new} codes to {models[1].taxonomy!r}, the served model to {tree!r}: they cannot be compared")
    rows = [row for row in rows if row["code"] in tree.index_of]
    texts = models[0].recipe.clean([row["text"] for row in rows])[0]
    known = np.zeros(len(rows), dtype=bool)
    for directory in (old, new):
        if rows and (kept := TrainingTexts.load(directory)) is not None:
            known |= kept.seen(texts)[0]
    kept_at = np.flatnonzero(~known).tolist()
    rows, texts = [rows[i] for i in kept_at], [texts[i] for i in kept_at]
    if len(rows) < LEAST:
        raise Worse(
            f"{len(rows)} audited ads have a code and were in no training, {LEAST} are needed: draw an audit with the "
            "next batch, and have it coded"
        )
    weight = np.array([row["weight"] for row in rows], dtype=np.float64)
    gold = tree.encode([row["code"] for row in rows])
    scores = [_scores(model, texts, gold) for model in models]
    before, after = (Figures(*(float(weight @ x / weight.sum()) for x in one)) for one in scores)
    right, loss = (_change(b - a, weight) for a, b in zip(*scores, strict=True))
    return Comparison(len(rows), int(known.sum()), before, after, right, loss)


def _scores(model: Classifier, texts: list[str], gold: Any) -> tuple[Float64, Float64]:
    """(n,) right or not, and log-loss, at the level of each code."""
    best = model.calibrated() if model.calibrator is not None else model
    found = score_rows(model.taxonomy, best.leaf_log_proba(texts), gold)
    at = np.arange(len(texts)), model.taxonomy.level[gold] - 1
    return found.correct[at].astype(np.float64), -found.log_p[at]


def _change(difference: Float64, weight: Float64) -> tuple[float, float, float]:
    """Weighted mean of paired differences with its percentile interval over resampled ads."""
    rng, n = np.random.default_rng(0), len(difference)
    drawn = rng.integers(0, n, (RESAMPLES, n))
    means = (weight * difference)[drawn].sum(axis=1) / weight[drawn].sum(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(weight @ difference / weight.sum()), float(low), float(high)


def promote(store: Store, name: str, old: str | Path, new: str | Path, user: User | None = None) -> Comparison:
    """Have ``new`` served by ``name`` from now on, and keep what spoke for it.

    Raises:
        Worse: it has fewer right codes or a higher log-loss on the audited ads, or they cannot tell.
    """
    found = compare_on_audit(store, old, new)
    if found.worse:
        raise Worse(f"{new} is not served by {name}: it has {found.worse}. {found}")
    with store.write() as connection:
        insert(
            connection, promotions, at=now(), user_id=user.id if user else None, model=name,
            directory=str(Path(new).resolve()), version=model_fingerprint(new)[:VERSION], evidence=asdict(found),
        )  # fmt: skip
        note_event(connection, user, "promote", model=name, directory=str(new))
    return found


def promoted(store: Store, name: str) -> Path | None:
    """The directory that a name stands for by its last promotion; None without one."""
    with store.read() as connection:
        query = sa.select(promotions.c.directory).where(promotions.c.model == name).order_by(promotions.c.id.desc())
        found = connection.execute(query.limit(1)).scalar()
    return None if found is None else Path(found)
