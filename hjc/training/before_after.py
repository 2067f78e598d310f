"""What coded ads have changed: a model before and after them, on ads that were held back and on names."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hjc.arrays import Float64
from hjc.classifiers.base import Classifier
from hjc.classifiers.combine import group_numbers
from hjc.classifiers.evidence import CRITICAL, clustered
from hjc.classifiers.load import load
from hjc.data.jobdata import JobData
from hjc.evaluation.training_texts import TrainingTexts
from hjc.metrics import score_rows

#: rows from which a comparison is no play of chance
LEAST = 10
#: a change that is smaller than the figures show (nats, share of rows) is none, however sure it is
LEAST_CHANGE = 0.01


def before_and_after(old: Path, new: Classifier, ads: JobData | None, names: JobData | None) -> list[str]:
    """Sentences on share of right codes at the deepest level and log-loss, both models calibrated where they are.

    Args:
        ads: held back in the training of the new model. names: that the first model was validated on.

    Rows that the old model was trained on are left out, and nothing is said of fewer than :data:`LEAST`. A warning
    where log-loss on ads has surely grown, by a one-sided test of the paired differences at 5 %; where fewer names are
    right, by one of these; not for less than :data:`LEAST_CHANGE`.
    """
    before = load(old)
    known = TrainingTexts.load(old)
    lines = []
    worse = f"on these ads the new model is worse: look at their codes, and stay with {old}"
    fewer = "fewer names are right than before: the coded ads give such titles other codes"
    for rows, what, note, judged_by_loss, warning in (
        (ads, "coded ads that were held back", "they also calibrated the new model", True, worse),
        (names, "names that validated the first model", "nothing of them is trained on", False, fewer),
    ):
        if rows is None:
            continue
        rows = rows.labelled()
        if known is not None:
            rows = rows.take(np.flatnonzero(~known.seen(rows.texts)[0]))
        if len(rows) < LEAST:
            continue
        right, loss = _figures([before, new], rows)
        lines.append(
            f"{len(rows):,} {what}: before, {right[0].mean():.1%} right, log-loss {loss[0].mean():.2f}; now "
            f"{right[1].mean():.1%} and {loss[1].mean():.2f} ({note})"
        )
        lost = loss[1] - loss[0] if judged_by_loss else right[0] - right[1]
        surely = clustered(lost, group_numbers(rows.group, len(rows))) > CRITICAL
        if surely and lost.mean() >= LEAST_CHANGE:
            lines.append(f"warning: {warning}")
    return lines


def _figures(models: Sequence[Classifier], rows: JobData) -> tuple[list[Float64], list[Float64]]:
    """Of each model (n,) whether rows are right at the deepest level, 1 or 0, and their losses."""
    right, loss = [], []
    for model in models:
        best = model if model.calibrator is None else model.calibrated()
        scores = score_rows(best.taxonomy, best.leaf_log_proba(rows.texts), rows.target)
        right.append(scores.correct[:, -1].astype(np.float64))
        loss.append(-scores.log_p[:, -1])
    return right, loss
