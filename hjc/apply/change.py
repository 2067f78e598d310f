"""``hjc estimate --change OLD NEW``: how shares moved between two periods, domain by domain, with intervals."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from hjc.apply.estimate import METHODS, Gathered, by_domain
from hjc.arrays import Float64, IntArray
from hjc.errors import name_some
from hjc.statistics import Change, ShareEstimate, change
from hjc.statistics.changes import unit_variance
from hjc.statistics.estimate import FEW_ROWS
from hjc.statistics.totals import level_proba

#: methods whose only error is that of sampling rows: pairs of rows then say all about the covariance
PAIRED = ("classify_and_count", "summed")


def check_request(
    method: str,
    confidence: float,
    by: Sequence[str],
    change: tuple[str, str] | None = None,
    change_column: str | None = None,
    unit_column: str | None = None,
    target: str = "population",
) -> None:
    """Raise ValueError, with the options of ``hjc estimate``, where what is asked for does not go together."""
    if method not in METHODS:
        raise ValueError(f"--method: got {method!r}, allowed are auto, {', '.join(METHODS)}")
    if not 0 < confidence < 1:
        raise ValueError(f"--confidence: got {confidence}, allowed are numbers between 0 and 1")
    if change is None and (change_column or unit_column):
        raise ValueError("--change-column and --unit-column refine --change OLD NEW: give that as well")
    if change is not None and not by:
        raise ValueError(
            "--change needs the column of the periods among --by, e.g. --by month --change 2024-01 2024-02"
        )
    if unit_column and (method not in PAIRED or target != "population"):
        raise ValueError(
            f"--unit-column goes with --method {' or '.join(PAIRED)} and --target population; with others leave it "
            "out: the periods are then taken as of different units, and intervals are too wide rather than too narrow "
            "where units stay as they are"
        )


def change_table(found: Gathered, column: str, old: str, new: str, *, confidence: float = 0.95) -> pd.DataFrame:
    """New minus old shares of every code, for each domain of the other --by columns.

    Columns: those of --by without ``column``, then level, code, title, share_old, share_new, change, se, low, high,
    significant, rows_old, rows_new, method, how (independent, same labelled rows, paired units) and flag. A domain
    without rows in one of the periods has NaN and says so in the flag.

    Args:
        found: of :func:`hjc.apply.estimate.gather` by ``column`` (and others); with units, rows are paired by them.

    Raises:
        ValueError: the column is not among --by, or a period has no rows at all.
    """
    if column not in found.by:
        raise ValueError(f"--change: the column of the periods, {column!r}, must be among --by; got {list(found.by)}")
    at = list(found.by).index(column)
    periods = dict.fromkeys(d[at] for d in found.domains)
    for value in (old, new):
        if value not in periods:
            raise ValueError(f"--change: no row has {column} {value!r}; there are {name_some(sorted(periods))}")
    if old == new:
        raise ValueError(f"--change: got {old!r} twice, expected two periods")
    rest = dict.fromkeys((*d[:at], *d[at + 1 :]) for d in found.domains if d[at] in (old, new))
    others = [name for name in found.by if name != column]
    pairs = {d: [(*d[:at], period, *d[at:]) for period in (old, new)] for d in rest}
    return by_domain(others, {d: _lines(found, pair, (old, new), confidence) for d, pair in pairs.items()})


def _lines(found: Gathered, pair: Sequence[tuple[str, ...]], names: tuple[str, str], confidence: float) -> pd.DataFrame:
    present = set(found.domains)
    made: list[ShareEstimate | None] = []
    flags = []
    for domain, name in zip(pair, names, strict=True):
        made.append(found.estimate(domain) if domain in present else None)
        one = made[-1]
        if one is None:
            flags.append(f"no {'audit' if domain in present else 'rows'} in {name}")
        elif one.effective < FEW_ROWS:
            flags.append(f"few rows in {name}")
    a, b = made
    tree = found.taxonomy.truncate(found.level)
    if a is None or b is None:
        nothing = np.full(len(tree), np.nan)
        moved, unknown = Change(tree, nothing, nothing), "unknown"
    else:
        unit = _unit_variance(found, pair)
        draws = a.replicates is not None and a.shared is not None  # one seed: replicates go together
        moved, unknown = change(b, a, unit_variance=unit, shared_audit=draws and unit is None), ""
    frame = moved.to_frame(confidence)
    nodes = [tree.index_of[c] for c in frame["code"]]
    for i, (name, one) in enumerate((("share_old", a), ("share_new", b))):
        frame.insert(3 + i, name, np.nan if one is None else one.share[nodes])
    frame["rows_old"], frame["rows_new"] = (0 if one is None else one.rows for one in made)
    frame["method"] = next((one.method for one in (b, a) if one is not None), found.method)
    frame["how"] = unknown or moved.how
    frame["flag"] = ", ".join(flags)
    return frame


def _unit_variance(found: Gathered, pair: Sequence[tuple[str, ...]]) -> Float64 | None:
    """Of the two domains' rows, where units are known."""
    spool = found.spool
    if spool is None or not spool.unit:
        return None
    parts = [spool.rows_of(domain) for domain in pair]
    at = np.concatenate(parts)
    # A row without a unit is its own.
    unit = pd.factorize(np.array([spool.unit[i] or f"\0{i}" for i in at.tolist()], dtype=object))[0].astype(np.int64)
    data = spool.batches(at).data

    def values(rows: IntArray) -> Float64:
        p, best = level_proba(spool.tree, np.asarray(data[at[rows]]), spool.tree.depth)
        counted = found.method == "classify_and_count"
        return (np.arange(p.shape[1]) == best[:, None]).astype(np.float64) if counted else p

    period = np.repeat([0, 1], [len(rows) for rows in parts])
    return unit_variance(spool.tree, values, spool.weights[at], unit, period)
