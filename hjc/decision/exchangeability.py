"""Are the new rows like the calibration rows? If not, conformal coverage and thresholds are promises about others."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import chi2_contingency, ks_2samp

from hjc.errors import name_some

_LEVEL = "the scores of level "


@dataclass(frozen=True)
class ExchangeabilityCheck:
    """p_value (Bonferroni over what was compared), doubtful, and a sentence for the user."""

    p_value: float
    doubtful: bool
    message: str


def check_exchangeability(
    reference: npt.ArrayLike,
    new: npt.ArrayLike,
    *,
    reference_groups: npt.ArrayLike | None = None,
    new_groups: npt.ArrayLike | None = None,
    level: float = 0.01,
    least: float = 0.0,
) -> ExchangeabilityCheck:
    """Label-free test of calibration rows against new rows: exchangeable rows have the same law of every score.

    Kolmogorov-Smirnov two-sample tests of each column of scores (probabilities of the top codes of the levels, say:
    ``LevelProba.confidence``), a chi-square test of the mix of groups (source, language, year), Bonferroni. It
    can show that rows differ, never that they do not: labels may have changed their meaning without a trace in scores.

    Args:
        reference, new: (n,) or (n, D) and (m,) or (m, D) scores that need no labels.
        level: p-values below it are doubtful.
        least: differences (Kolmogorov-Smirnov distance; total variation of the mix) up to it are not, however sure:
            with tens of thousands of rows every difference is significant, and one of 0.05 moves coverage little.
    """
    a, b = (np.asarray(x, dtype=np.float64) for x in (reference, new))
    a, b = (x[:, None] if x.ndim == 1 else x for x in (a, b))
    if a.shape[1:] != b.shape[1:] or len(a) == 0 or len(b) == 0:
        raise ValueError(
            f"scores: got shapes {a.shape} and {b.shape}, expected rows of the same width, at least one each"
        )
    tests: dict[str, float] = {}
    size: dict[str, float] = {}
    for d in range(a.shape[1]):
        name = f"{_LEVEL}{d + 1}" if a.shape[1] > 1 else "the scores"
        found = ks_2samp(a[:, d], b[:, d])
        tests[name], size[name] = float(found.pvalue), float(found.statistic)
    new_only: list[str] = []
    if reference_groups is not None and new_groups is not None:
        ga, gb = np.asarray(reference_groups).astype(str), np.asarray(new_groups).astype(str)
        names = sorted(set(ga) | set(gb))
        counts = np.array([[(g == name).sum() for name in names] for g in (ga, gb)])
        new_only = [n for n, c in zip(names, counts.T, strict=True) if c[0] == 0]
        if len(names) > 1:
            tests["the mix of groups"] = float(chi2_contingency(counts).pvalue)
            share = counts / counts.sum(axis=1, keepdims=True)
            size["the mix of groups"] = float(np.abs(share[0] - share[1]).sum() / 2)
    p = min(1.0, min(tests.values()) * len(tests))
    differing = [name for name, value in tests.items() if value * len(tests) < level and size[name] > least]
    doubtful = bool(differing or new_only)
    if not doubtful:
        return ExchangeabilityCheck(
            p, False, f"no sign that the new rows differ from the calibration rows (p = {p:.2g})"
        )
    why = [f"{_together(differing)} differ (p = {p:.2g})"] if differing else []
    why += [f"groups without calibration rows: {name_some(new_only)}"] if new_only else []
    return ExchangeabilityCheck(
        p,
        True,
        f"exchangeability is doubtful: {'; '.join(why)}. Coverage and accuracy calibrated on other rows may not hold. "
        "Calibrate on labelled rows of this source, or by group",
    )


def _together(names: list[str]) -> str:
    """``the scores of levels 1, 2 and 4 and the mix of groups``."""
    levels = [name.rsplit(" ", 1)[1] for name in names if name.startswith(_LEVEL)]
    others = [name for name in names if not name.startswith(_LEVEL)]
    listed = ", ".join(levels[:-1]) + " and " * (len(levels) > 1) + "".join(levels[-1:])
    return " and ".join([f"the scores of level{'s' * (len(levels) > 1)} {listed}"] * bool(levels) + others)
