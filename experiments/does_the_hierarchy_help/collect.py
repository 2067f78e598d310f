"""results.csv, differences.csv and table.md of the study, from the fits that are there.

python experiments/does_the_hierarchy_help/collect.py
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sets import FOLDER, OUT, SETS  # puts what all studies share on the path

from common import mean_difference, write_lines  # isort: skip

from hjc.arrays import Float64
from hjc.decision.selective import risk_coverage
from hjc.metrics.calibration_error import expected_calibration_error

#: training rows of the gold code, from and to
TAIL = {"0": (0, 0), "1-2": (1, 2), "3-9": (3, 9), "10+": (10, 10**9)}
REPLICATES = 2_000
#: how the name of a mean over sets begins
MEAN = "mean of "
#: what is subtracted from what, system by system
PAIRS = (
    ("topdown", "bottomup"), ("plt", "bottomup"), ("topdown_adjusted", "topdown"), ("topdown_words", "logreg_words"),
    ("plt_words", "logreg_words"), ("encoder_topdown", "encoder_bottomup"), ("encoder_pathsum", "encoder_bottomup"),
)  # fmt: skip
PRIMARY = ("topdown", "bottomup", 8_000)


class Fit:
    """One fit: facts, and arrays a test row."""

    def __init__(self, path: Path) -> None:
        self.facts: dict[str, Any] = json.loads(path.read_text("utf-8"))
        with np.load(path.with_suffix(".npz"), allow_pickle=False) as arrays:
            self.rows = dict(arrays)
        f = self.facts
        counts = np.load(OUT / f["set"] / f"{f['size']}_{f['draw']}_counts.npy", allow_pickle=False)
        self.support = counts[self.rows["gold"]]

    @property
    def depth(self) -> int:
        return int(self.rows["rank"].shape[1])

    def of(self, metric: str, level: int) -> tuple[Float64, Any]:
        """Values of the rows whose code is determined at the level, and which rows these are."""
        valid = self.rows["valid"][:, level - 1]
        if metric == "recall@1":
            return (self.rows["rank"][valid, level - 1] == 1).astype(np.float64), valid
        return -self.rows["log_p"][valid, level - 1].astype(np.float64), valid


def fits() -> Iterator[Fit]:
    for name in SETS:
        for path in sorted((OUT / name).glob("*_*_*.json")):
            yield Fit(path)


def lines_of(fit: Fit) -> Iterator[dict[str, Any]]:
    """A line a level, and one a class of training rows at the deepest level."""
    f, r = fit.facts, fit.rows
    base = {key: f[key] for key in ("set", "size", "draw", "system", "rows")}
    for level in range(1, fit.depth + 1):
        right, valid = fit.of("recall@1", level)
        confidence, at = r["confidence"][valid, level - 1].astype(np.float64), level - 1
        line = {
            **base, "level": level, "slice": "", "n": len(right), "recall@1": right.mean(),
            "log_loss_raw": -r["raw_log_p"][valid, at].mean(), "log_loss": fit.of("log_loss", level)[0].mean(),
            "ece": expected_calibration_error(confidence, right),
            "ece_raw": expected_calibration_error(r["raw_confidence"][valid, at].astype(np.float64), right),
            "macro_recall": pd.Series(right).groupby(r["gold"][valid]).mean().mean(),
            "automation@0.9": risk_coverage(confidence, right).at_accuracy(0.9),
            "fit_seconds": f["fit_seconds"],
        }  # fmt: skip
        if level == fit.depth:
            line |= backed_off(fit)
        yield line
    right, valid = fit.of("recall@1", fit.depth)
    loss, support = fit.of("log_loss", fit.depth)[0], fit.support[valid]
    for name, (low, high) in TAIL.items():
        some = (support >= low) & (support <= high)
        if some.any():
            means = {"recall@1": right[some].mean(), "log_loss": loss[some].mean()}
            yield {**base, "level": fit.depth, "slice": name, "n": int(some.sum()), **means}


def backed_off(fit: Fit, sure: float = 0.9) -> dict[str, float]:
    """The deepest code of a row whose calibrated probability reaches .9: share of rows that get any, and a deepest
    one, its mean level (0 without), and how many of those coded are right."""
    r = fit.rows
    known = r["valid"].all(axis=1)
    passes = r["confidence"][known] >= sure
    level = np.where(passes.any(axis=1), fit.depth - passes[:, ::-1].argmax(axis=1), 0)
    right = (r["rank"][known] == 1)[np.arange(len(level)), np.maximum(level, 1) - 1]
    coded = level > 0
    return {
        "backed_off_coded": coded.mean(), "backed_off_deepest": (level == fit.depth).mean(),
        "backed_off_level": level.mean(), "backed_off_accuracy": right[coded].mean() if coded.any() else np.nan,
    }  # fmt: skip


def difference(first: list[Fit], second: list[Fit], metric: str, level: int, seed: int) -> Float64:
    """(1 + R,) mean paired difference of fits on the same draws, then in R resamples of test rows and of draws."""
    both = [(a.of(metric, level)[0], b.of(metric, level)[0]) for a, b in zip(first, second, strict=True)]
    rows = np.stack([a - b for a, b in both])  # (draws, n)
    valid = first[0].of(metric, level)[1]
    groups = OUT / first[0].facts["set"] / "groups.npy"
    group = np.load(groups, allow_pickle=False)[valid] if groups.exists() else None
    return mean_difference(rows, group, seed, REPLICATES)


def differences(found: dict[tuple[str, int, str], list[Fit]]) -> list[dict[str, Any]]:
    """A line for each pair, size, metric, level ("deepest", "top") and set, and for the mean over the sets."""
    lines: list[dict[str, Any]] = []
    for a, b in PAIRS:
        for size in sorted({key[1] for key in found}):
            for metric in ("recall@1", "log_loss"):
                for where in ("deepest", "top"):
                    every = []
                    for number, name in enumerate(SETS):
                        pair = found.get((name, size, a)), found.get((name, size, b))
                        if pair[0] is None or pair[1] is None:
                            continue
                        both = sorted({f.facts["draw"] for f in pair[0]} & {f.facts["draw"] for f in pair[1]})
                        one, two = ([f for f in part if f.facts["draw"] in both] for part in pair)
                        level = one[0].depth if where == "deepest" else 1
                        values = difference(one, two, metric, level, number)
                        every.append(values)
                        lines.append(line_of(a, b, size, metric, where, name, values, len(both)))
                    if len(every) > 1:
                        mean = np.mean(every, axis=0)
                        lines.append(line_of(a, b, size, metric, where, f"{MEAN}{len(every)} sets", mean, 0))
    return lines


def means(made: list[dict[str, Any]], table: pd.DataFrame) -> list[dict[str, Any]]:
    """The lines of means among those just made; where the table has lines of more sets, whose fits are elsewhere, the
    mean of all of these in their place.

    Sets are independent of one another: the squares of the half widths of their intervals add up.
    """
    comparison = ["system", "against", "size", "metric", "level"]
    of_sets = {key: part for key, part in table[~table["set"].str.startswith(MEAN)].groupby(comparison)}
    exact = {tuple(line[name] for name in comparison): line for line in made if line["set"].startswith(MEAN)}
    lines: list[dict[str, Any]] = []
    for key in dict.fromkeys(tuple(line[name] for name in comparison) for line in made):
        part = of_sets[key]
        name = f"{MEAN}{len(part)} sets"
        if key in exact and exact[key]["set"] == name:
            lines.append(exact[key])
        elif len(part) > 1:
            half = np.sqrt((((part["high"] - part["low"]) / 2) ** 2).sum()) / len(part)
            mean = part["difference"].mean()
            line = dict(zip(comparison, key, strict=True)) | {"set": name, "draws": 0}
            lines.append(line | {"difference": mean, "low": mean - half, "high": mean + half, "primary": False})
    return lines


def line_of(
    a: str, b: str, size: int, metric: str, where: str, name: str, values: Float64, draws: int
) -> dict[str, Any]:
    low, high = np.quantile(values[1:], [0.025, 0.975])
    primary = (a, b, size) == PRIMARY and metric == "recall@1" and where == "deepest" and name.startswith(MEAN)
    return {
        "system": a, "against": b, "size": size, "metric": metric, "level": where, "set": name, "draws": draws,
        "difference": values[0], "low": low, "high": high, "primary": primary,
    }  # fmt: skip


def table(results: pd.DataFrame) -> str:
    """Markdown: for each set and size recall@1 and calibrated log-loss at the deepest level."""
    whole = results[results["slice"] == ""]
    deepest = whole[whole["level"] == whole.groupby("set")["level"].transform("max")]
    out = []
    for name in SETS:
        part = deepest[deepest["set"] == name]
        if part.empty:
            continue
        sizes = sorted(part["size"].unique())
        out += [
            f"## {name}",
            "",
            "| | " + " | ".join(f"{size:,} rows" for size in sizes) + " |",
            "|---" * (1 + len(sizes)) + "|",
        ]
        for system in dict.fromkeys(part["system"]):
            cells = []
            for size in sizes:
                one = part[(part["system"] == system) & (part["size"] == size)]
                cells.append(
                    "" if one.empty else f"{100 * one['recall@1'].iloc[0]:.1f} / {one['log_loss'].iloc[0]:.2f}"
                )
            out.append(f"| {system} | " + " | ".join(cells) + " |")
        out.append("")
    return "\n".join(out)


def main() -> None:
    found: dict[tuple[str, int, str], list[Fit]] = {}
    lines: list[dict[str, Any]] = []
    for fit in fits():
        f = fit.facts
        found.setdefault((f["set"], f["size"], f["system"]), []).append(fit)
        lines += lines_of(fit)
    keys = ["set", "size", "system", "level", "slice"]
    frame = pd.DataFrame(lines)
    draws = frame.groupby(keys, sort=False)["draw"].nunique()
    results = frame.drop(columns="draw").groupby(keys, sort=False).mean().assign(draws=draws).reset_index()
    made = results.to_dict("records")
    path = write_lines(FOLDER.name, made, ("set", "size", "system"), digits=".5g")
    keys = ["system", "against", "size", "set"]
    compared = differences(found)
    of_sets = [line for line in compared if not line["set"].startswith(MEAN)]
    kept = write_lines(FOLDER.name, of_sets, keys, "differences.csv", ".4g")
    write_lines(FOLDER.name, means(compared, pd.read_csv(kept)), keys, "differences.csv", ".4g")
    everything = pd.read_csv(path, dtype={"slice": str}).fillna({"slice": ""})
    (FOLDER / "table.md").write_text(table(everything), encoding="utf-8")
    print(f"{len(lines)} lines of {sum(map(len, found.values()))} fits")


if __name__ == "__main__":
    main()
