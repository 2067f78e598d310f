"""Several runs on the same rows: metrics side by side, with paired bootstrap intervals of their differences."""

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import ndtr

from hjc.arrays import Float64, IntArray
from hjc.errors import name_some
from hjc.evaluation.training_texts import overlap
from hjc.metrics import Resamples, RowScores, level_metrics, replicate_metrics
from hjc.metrics.bootstrap import CENTRED, percentile_interval
from hjc.progress import rows_progress
from hjc.report.pairing import Run, align, common_sets, find_runs
from hjc.report.scores import StoredScores, read_training_counts
from hjc.report.tables import TRAINING_BUCKETS, bucketed, gold_counts, named
from hjc.taxonomy import Taxonomy

#: compared metrics -> whether more is better
COMPARED = {
    "recall@1": True,
    "recall@5": True,
    "log_loss": False,
    "macro_recall": True,
    "hierarchical_f1": True,
    "ece": False,
}
COLUMNS = (
    "set", "slice_kind", "slice", "level", "metric", "run", "n", "codes", "value", "low", "high", "difference",
    "difference_low", "difference_high", "p", "p_holm", "matters",
)  # fmt: skip
ALPHA = 0.05


@dataclass(frozen=True, eq=False)
class Comparison:
    """What :func:`compare_runs` found.

    Attributes:
        runs: in the order given; ``reference`` is the name of the one that the others are compared with.
        sets: set -> rows compared on.
        rates: run -> set -> rows per second of the classifier.
        depth: set -> deepest level.
        frame: tidy, columns ``COLUMNS``: ``difference`` is run minus reference on the same rows, NaN for the reference
            itself; ``p`` from the normal approximation of the bootstrap; ``p_holm`` is adjusted for all differences of
            the same set and slice kind; ``matters`` is "better", "worse" or "".
        holm: whether ``matters`` goes by ``p_holm`` (else: the 95 % interval excludes 0).
        notes: sentences about what was left out or matched.
    """

    runs: tuple[Run, ...]
    reference: str
    sets: Mapping[str, int]
    rates: Mapping[str, Mapping[str, float]]
    depth: Mapping[str, int]
    frame: pd.DataFrame
    holm: bool
    replicates: int
    clustered: bool
    notes: tuple[str, ...]


def compare_runs(
    directories: Sequence[str | os.PathLike[str]],
    *,
    sets: Sequence[str] = (),
    reference: str = "first",
    common_rows: bool = False,
    holm: bool = False,
    bootstrap: int = 1000,
    seed: int = 0,
    min_support: int = 30,
    progress: bool = True,
) -> Comparison:
    """Compare runs on the rows that they were evaluated on.

    Args:
        directories: run directories, sweeps (all jobs below) or folders that ``hjc evaluate -o`` wrote.
        sets: default: all test sets that the runs have in common.
        reference: "first", "best" (lowest log-loss at the deepest level of the first set) or the name of a run.
        common_rows: restrict to the rows that all runs have, where they differ.
        holm: mark differences by Holm's adjusted p instead of by their own interval.
        bootstrap: resamples, the same for all runs (paired).
        min_support: languages and sources with fewer rows are left out, and named.

    Raises:
        FileNotFoundError, ValueError: see :func:`find_runs`, :func:`common_sets`, :func:`align`; fewer than two runs;
            an unknown reference.
    """
    if bootstrap < 1:
        raise ValueError(f"bootstrap: got {bootstrap}, allowed are integers from 1 (1000 is usual)")
    runs, notes = find_runs(directories)
    if len(runs) < 2:
        raise ValueError(f"a comparison needs two runs or more, got {len(runs)}: {name_some(r.name for r in runs)}")
    names = [run.name for run in runs]
    if reference not in ("first", "best", *names):
        raise ValueError(f"reference: there is no run {reference!r}; allowed are first, best, {name_some(names, 20)}")
    chosen, more = common_sets(runs, sets)
    notes += more
    lines: list[dict[str, Any]] = []
    sizes: dict[str, int] = {}
    depth: dict[str, int] = {}
    rates: dict[str, dict[str, float]] = {name: {} for name in names}
    clustered = False
    at: int | None = {"first": 0, "best": None}.get(reference, names.index(reference) if reference in names else 0)
    for set_name in chosen:
        stored = [(run.name, StoredScores.read(run.sets[set_name])) for run in runs]
        positions, more = align(stored, common_rows)
        notes += more
        parts = [s.take(rows) for (_, s), rows in zip(stored, positions, strict=True)]
        tree = parts[0].taxonomy
        if at is None:
            losses = [level_metrics(p.scores, tree, tree.depth)["log_loss"] for p in parts]
            at = int(np.nanargmin(losses)) if not np.isnan(losses).all() else 0
        sizes[set_name], depth[set_name] = len(parts[0]), tree.depth
        for name, (_, s) in zip(names, stored, strict=True):
            rates[name][set_name] = s.rows_per_second
            notes += [f"{set_name}, {name}: {note}" for note in overlap(len(s), int(s.about.get("trained_on", 0)))]
        group = parts[at].group
        clustered |= group is not None
        resamples = Resamples.draw(len(parts[0]), bootstrap, seed, group)
        slices = list(_slices(parts[at], runs[at], tree, min_support, notes))
        others = _other_counts(runs, at, tree)
        if others and any(kind == "training_rows" for kind, *_ in slices):
            notes.append(
                f"{set_name}: rows are grouped by the training rows of {names[at]}; {name_some(others)} had others"
            )
        total = sum(len(rows) * len(levels) for _, _, rows, levels in slices)
        with rows_progress(f"comparing on {set_name}", total, progress) as bar:
            for kind, label, rows, levels in slices:
                scores = [p.scores.take(rows) for p in parts]
                for level in levels:
                    found = _compare_level(scores, tree, level, resamples.take(rows), names, at)
                    for line in found:
                        lines.append({"set": set_name, "slice_kind": kind, "slice": label, **line})
                bar.advance(len(rows) * len(levels))
    frame = _with_holm(pd.DataFrame(lines, columns=list(COLUMNS)), holm)
    return Comparison(
        runs=tuple(runs),
        reference=names[at or 0],
        sets=sizes,
        rates=rates,
        depth=depth,
        frame=frame,
        holm=holm,
        replicates=bootstrap,
        clustered=clustered,
        notes=tuple(dict.fromkeys(notes)),
    )


def _slices(
    stored: StoredScores, run: Run, tree: Taxonomy, min_support: int, notes: list[str]
) -> Iterator[tuple[str, str, IntArray, list[int]]]:
    """(kind, name, rows, levels): everything at all levels; languages, sources and training rows at the deepest."""
    deepest = [tree.depth]
    yield "", "", np.arange(len(stored)), list(range(1, tree.depth + 1))
    small = []
    for kind in ("language", "source"):
        values = named(getattr(stored, kind))
        for name in values.categories if len(values.categories) > 1 else ():
            rows = np.flatnonzero(values == name)
            if len(rows) < min_support:
                small.append(f"{kind} {name} ({len(rows)})")
            else:
                yield kind, name, rows, deepest
    if small:
        notes.append(f"{stored.name}: fewer than {min_support} rows, left out: {name_some(small, 12)}")
    counts = read_training_counts(run.directory, tree)
    if counts is None:
        notes.append(f"{run.name} has no training_counts.csv: no split by training rows")
        return
    trained = gold_counts(stored.scores, tree, tree.depth, tree.with_descendants(counts))
    buckets = bucketed(trained, TRAINING_BUCKETS)
    for name in TRAINING_BUCKETS:
        rows = np.flatnonzero(buckets == name)
        if len(rows):
            yield "training_rows", name, rows, deepest


def _other_counts(runs: Sequence[Run], at: int, tree: Taxonomy) -> list[str]:
    """Runs whose training rows per code differ from those of the reference (or are not known)."""
    own = read_training_counts(runs[at].directory, tree)
    others = [(run.name, read_training_counts(run.directory, tree)) for run in runs]
    return [] if own is None else [name for name, c in others if c is None or not np.array_equal(c, own)]


def _compare_level(
    scores: Sequence[RowScores],
    tree: Taxonomy,
    level: int,
    resamples: Resamples,
    names: Sequence[str],
    at: int,
) -> list[dict[str, Any]]:
    """A line for each run and metric, compared with run number ``at`` in the same resamples."""
    if not scores[at].valid[:, level - 1].any():
        return []
    gold = scores[at].gold_at(tree, level)
    codes = len(np.unique(gold[gold >= 0]))
    values = [level_metrics(s, tree, level) for s in scores]
    drawn = [replicate_metrics(s, tree, level, resamples) for s in scores]
    out = []
    for metric in COMPARED:
        for i, name in enumerate(names):
            value = values[i][metric]
            low, high = percentile_interval(drawn[i][metric], value, centred=metric in CENTRED)
            line: dict[str, Any] = {"level": level, "metric": metric, "run": name, "n": int(values[i]["n"]),
                                    "codes": codes, "value": value, "low": low, "high": high,
                                    "difference": math.nan, "difference_low": math.nan, "difference_high": math.nan,
                                    "p": math.nan}  # fmt: skip
            if i != at:
                line |= difference(metric, value, values[at][metric], drawn[i][metric], drawn[at][metric])
            out.append(line)
    return out


def difference(metric: str, a: float, b: float, drawn_a: Float64, drawn_b: Float64) -> dict[str, float]:
    """``a - b`` with its paired bootstrap interval, and a normal p-value.

    ``p`` is two-sided, from the standard deviation of the resampled differences: unlike a share of resamples it has
    no smallest value, which an adjustment for a hundred comparisons needs.
    """
    with np.errstate(invalid="ignore"):
        drawn = drawn_a - drawn_b
        found = a - b
    drawn = drawn[~np.isnan(drawn)]
    if metric in CENTRED and len(drawn):
        drawn = drawn - drawn.mean() + found
    low, high = percentile_interval(drawn, found)
    p = math.nan
    if math.isfinite(found) and len(drawn) > 1 and np.isfinite(drawn).all():
        spread = float(drawn.std(ddof=1))
        certain = 1.0 if abs(found) <= 1e-12 else 0.0  # every resample says the same
        p = float(2 * ndtr(-abs(found) / spread)) if spread > 1e-12 else certain
    return {"difference": found, "difference_low": low, "difference_high": high, "p": p}


def holm_adjusted(p: Sequence[float]) -> Float64:
    """Holm's (1979) step-down adjustment; NaN stays NaN and is not counted."""
    values = np.asarray(p, dtype=np.float64)
    out = np.full(len(values), np.nan)
    known = np.flatnonzero(~np.isnan(values))
    order = known[np.argsort(values[known], kind="stable")]
    factors = len(order) - np.arange(len(order))
    out[order] = np.minimum(np.maximum.accumulate(values[order] * factors), 1.0) if len(order) else 0.0
    return out


def _with_holm(frame: pd.DataFrame, holm: bool) -> pd.DataFrame:
    """Fill ``p_holm`` within each set and slice kind, and ``matters``."""
    out = frame.copy()
    out["p_holm"] = np.nan
    for _, rows in out.groupby(["set", "slice_kind"], sort=False).groups.items():
        out.loc[rows, "p_holm"] = holm_adjusted(out.loc[rows, "p"].tolist())
    low, high = out["difference_low"].to_numpy(float), out["difference_high"].to_numpy(float)
    real = (low > 0) | (high < 0)
    if holm:
        real = out["p_holm"].to_numpy(float) < ALPHA
    up = out["difference"].to_numpy(float) > 0
    good = np.array([COMPARED[m] for m in out["metric"]], dtype=bool)
    out["matters"] = np.where(real, np.where(up == good, "better", "worse"), "")
    return out
