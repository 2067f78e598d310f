"""Does the accuracy of a language go with its share of something? Section 7.3 of the paper correlates both."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from hjc.arrays import Float64
from hjc.evaluation.evaluate import Evaluation
from hjc.tables import read_rows

#: languages that a correlation needs: with three, Fisher's interval is all numbers
LEAST = 4
#: the column of shares that an evaluation has by itself
TEST_ROWS = "share of the rows"
COLUMNS = ("level", "share", "languages", "pearson", "pearson_low", "pearson_high", "spearman", "spearman_low",
           "spearman_high")  # fmt: skip


def read_language_shares(path: str) -> dict[str, dict[str, float]]:
    """Column -> language -> share, of a table with a column ``language`` and columns of numbers.

    Raises:
        ValueError: no column ``language``, no other, a language twice, a cell that is no number from 0.
    """
    table = read_rows(path)
    languages, frame = table.column("language").str.strip(), table.whole()
    if frame.shape[1] < 2:
        raise ValueError(f"--language-shares: {path} has a column language, and needs columns of shares beside it")
    if len(twice := languages[languages.duplicated()]):
        raise ValueError(f"--language-shares: {path} has the language {twice.iloc[0]!r} twice")
    out: dict[str, dict[str, float]] = {}
    for name in [c for c in frame if c != "language"]:
        values = pd.to_numeric(frame[name].str.strip(), errors="coerce")
        if len(bad := languages[~(values >= 0) & (frame[name].str.strip() != "")]):
            raise ValueError(f"--language-shares: {name} of {bad.iloc[0]!r} is no number from 0")
        out[str(name)] = {k: float(v) for k, v in zip(languages, values, strict=True) if v == v}
    return out


def correlations(x: Float64, y: Float64, confidence: float = 0.95) -> tuple[float, float, float, float, float, float]:
    """Pearson's and Spearman's coefficient of n pairs, each with its interval; NaN where one of them does not vary.

    Intervals are of Fisher's z: standard errors 1 / sqrt(n - 3), and sqrt((1 + r^2 / 2) / (n - 3)) of ranks (Bonett &
    Wright 2000).
    """
    n, out = len(x), []
    normal = float(stats.norm.ppf(0.5 + confidence / 2))
    for a, b, of_ranks in ((x, y, False), (stats.rankdata(x), stats.rankdata(y), True)):
        if n < LEAST or np.ptp(a) == 0 or np.ptp(b) == 0:
            out += [math.nan] * 3
            continue
        r = float(np.corrcoef(a, b)[0, 1])
        half = normal * math.sqrt((1 + r * r / 2 if of_ranks else 1.0) / (n - 3))
        z = math.atanh(min(max(r, -1 + 1e-12), 1 - 1e-12))
        out += [r, math.tanh(z - half), math.tanh(z + half)]
    return tuple(out)  # type: ignore[return-value]


def language_correlation(found: Evaluation, shares: Mapping[str, Mapping[str, float]]) -> pd.DataFrame:
    """A line a level and kind of shares (:data:`COLUMNS`), over the languages that have figures.

    ``share``: the columns given, and that of each language among the rows evaluated. A language that a column does not
    name is left out there.

    Raises:
        ValueError: fewer than four languages have figures.
    """
    frame = found.frame[(found.frame["slice_kind"] == "language") & (found.frame["metric"] == "recall@1")]
    names = frame["slice"].unique()
    if len(names) < LEAST:
        raise ValueError(
            f"--language-shares: {len(names)} languages have figures, a correlation needs {LEAST}; is the column of "
            "languages named, and does each have 30 rows or more?"
        )
    lines = []
    for level, part in frame.groupby("level", sort=False):
        accuracy = dict(zip(part["slice"], part["value"], strict=True))
        rows = dict(zip(part["slice"], part["n"].astype(float) / part["n"].sum(), strict=True))
        for name, share in {**shares, TEST_ROWS: rows}.items():
            both = [k for k, value in accuracy.items() if k in share and not math.isnan(value)]
            x, y = (np.array([of[k] for k in both], dtype=np.float64) for of in (accuracy, share))
            lines.append((str(level), name, len(both), *correlations(x, y)))
    return pd.DataFrame(lines, columns=list(COLUMNS))


def correlation_lines(table: pd.DataFrame) -> tuple[list[str], list[list[str]]]:
    """Heads and cells of :func:`language_correlation` for a terminal: a coefficient with its interval is one cell."""

    def cell(line: Mapping[Any, Any], name: str) -> str:
        value, low, high = (line[key] for key in (name, f"{name}_low", f"{name}_high"))
        return "does not vary" if math.isnan(value) else f"{value:.2f} ({low:.2f} to {high:.2f})"

    lines = [
        [str(x["level"]), str(x["share"]), str(x["languages"]), cell(x, "pearson"), cell(x, "spearman")]
        for x in table.to_dict("records")
    ]
    return ["level", "share", "languages", "Pearson", "Spearman"], lines
