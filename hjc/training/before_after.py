"""What coded ads have changed: a model before and after them, on the ads that were held back."""

from pathlib import Path

import numpy as np

from hjc.classifiers.base import Classifier
from hjc.classifiers.evidence import CRITICAL, clustered
from hjc.classifiers.load import load
from hjc.data.jobdata import JobData
from hjc.evaluation.training_texts import TrainingTexts
from hjc.metrics import score_rows

#: rows from which a comparison is no play of chance
LEAST = 10


def before_and_after(old: Path, new: Classifier, held: JobData) -> list[str]:
    """Sentences on share of right codes at the deepest level and log-loss, both models calibrated where they are.

    Rows that the old model was trained on are left out. A warning where log-loss has surely grown, by a one-sided test
    of the paired differences at 5 %. Nothing where fewer than :data:`LEAST` rows are left.
    """
    rows = held.labelled()
    if (known := TrainingTexts.load(old)) is not None:
        rows = rows.take(np.flatnonzero(~known.seen(rows.texts)[0]))
    if len(rows) < LEAST:
        return []
    right, loss = [], []
    for model in (load(old), new):
        model = model if model.calibrator is None else model.calibrated()
        scores = score_rows(model.taxonomy, model.leaf_log_proba(rows.texts), rows.target)
        right.append(float(scores.correct[:, -1].mean()))
        loss.append(-scores.log_p[:, -1])
    lines = [
        f"{len(rows):,} coded ads that were held back: before, {right[0]:.1%} right, log-loss {loss[0].mean():.2f}; "
        f"now {right[1]:.1%} and {loss[1].mean():.2f} (they also calibrated the new model)"
    ]
    group = np.arange(len(rows)) if rows.group is None else np.unique(rows.group, return_inverse=True)[1]
    if clustered(loss[1] - loss[0], group) > CRITICAL:
        lines.append(f"warning: on these ads the new model is worse: look at their codes, and stay with {old}")
    return lines
