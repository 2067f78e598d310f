"""Is a classifier calibrated? A table from row scores: calibration errors, Brier scores, an isotonic check."""

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from hjc.metrics.calibration_error import ECE_BINS, checked_rows, equal_mass_bins
from hjc.metrics.levels import level_metrics
from hjc.metrics.rows import RowScores
from hjc.taxonomy.tree import Taxonomy


def brier_decomposition(
    confidence: npt.ArrayLike, correct: npt.ArrayLike, *, bins: int = ECE_BINS, weights: npt.ArrayLike | None = None
) -> dict[str, float]:
    """Brier score of the top code's probability (is it the right one?), decomposed on equal-mass bins (Murphy 1973, J.
    Appl. Meteorol. 12).

    top_brier = reliability - resolution + uncertainty + within_variance - within_covariance: exact with the two
    within-bin terms of Stephenson, Coelho & Jolliffe (2008, Weather and Forecasting 23).
    """
    c, y, w = checked_rows(confidence, correct, weights)
    b = equal_mass_bins(c, y, bins, w)
    w = w / w.sum()
    base = float(w @ y)
    dc, dy = c - b.confidence[b.member], y - b.accuracy[b.member]
    return {
        "top_brier": float(w @ (c - y) ** 2),
        "reliability": float(b.share @ (b.confidence - b.accuracy) ** 2),
        "resolution": float(b.share @ (b.accuracy - base) ** 2),
        "uncertainty": base * (1 - base),
        "within_variance": float(w @ dc**2),
        "within_covariance": float(2 * w @ (dc * dy)),
    }


def calibration_table(taxonomy: Taxonomy, scores: RowScores) -> pd.DataFrame:
    """A line a level that has rows.

    level, n; log_loss, ece, ece_plain and brier as in metrics.csv; accuracy and mean confidence of the most probable
    code; ece_l2, the debiased l2 error (Kumar, Liang & Ma 2019, Verified Uncertainty Calibration: root of the sum of
    share x (gap^2 - noise)); isotonic_gain; top_brier and its parts (:func:`brier_decomposition`).
    """
    lines: list[dict[str, Any]] = []
    for level in range(1, taxonomy.depth + 1):
        c, y = scores.level(level)
        if not len(c):
            continue
        found, b = level_metrics(scores, taxonomy, level), equal_mass_bins(c, y)
        noise = b.accuracy * (1 - b.accuracy) / np.maximum(b.size - 1, 1)
        lines.append(
            {
                **{"level": level, "n": len(c), "log_loss": found["log_loss"]},
                **{"accuracy": float(y.mean()), "confidence": float(c.mean())},
                **{name: found[name] for name in ("ece", "ece_plain")},
                "ece_l2": math.sqrt(max(float(b.share @ ((b.accuracy - b.confidence) ** 2 - noise)), 0.0)),
                "isotonic_gain": isotonic_gain(c, y),
                "brier": found["brier"],
                **brier_decomposition(c, y),
            }
        )
    return pd.DataFrame(lines)


def isotonic_gain(confidence: npt.ArrayLike, correct: npt.ArrayLike) -> float:
    """What isotonic regression of correctness on the top code's probability gains in ``top_brier``, in-sample (Zadrozny
    & Elkan 2002): a diagnostic.

    It would change only the number shown for the stated code, not the distribution (siblings would no longer sum to
    their parent), hence no calibrator is made of it. A gain well above zero says that a temperature is not enough.
    """
    from sklearn.isotonic import IsotonicRegression  # half a second that no prediction should wait for

    c, y, _ = checked_rows(confidence, correct, None)
    fitted = IsotonicRegression(y_min=0.0, y_max=1.0).fit_transform(c, y)
    return float(((c - y) ** 2).mean() - ((fitted - y) ** 2).mean())
