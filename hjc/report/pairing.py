"""Which rows of several runs are the same rows. n rows each."""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from hjc.arrays import IntArray
from hjc.classifiers.load import PROVENANCE, training_record
from hjc.errors import name_some
from hjc.report.save import run_facts
from hjc.report.scores import StoredScores, score_files, set_of


class DifferentRowsError(ValueError):
    """Runs were evaluated on different rows; the message says how many they have in common."""


@dataclass(frozen=True)
class Run:
    """A directory with row scores. ``sets``: name of each evaluated set -> its score file; ``facts``: see run_facts."""

    name: str
    directory: Path
    sets: dict[str, Path]
    facts: dict[str, Any] = field(default_factory=dict)


def find_runs(directories: Sequence[str | os.PathLike[str]]) -> tuple[list[Run], list[str]]:
    """The runs in the given directories and, for sweeps, in those below; and notes on what was left out.

    Runs are named by the shortest end of their path that tells them apart; the jobs of a sweep by the overrides that
    not all of them have.

    Raises:
        FileNotFoundError: a directory does not exist.
        ValueError: a directory has no row scores in it or below, or a score file cannot be read.
    """
    found: list[Path] = []
    notes: list[str] = []
    for given in directories:
        path = Path(given)
        if not path.is_dir():
            raise FileNotFoundError(f"{path}: there is no such directory; give run directories of train.py")
        if score_files(path):
            found.append(path)
            continue
        below = sorted({p.parent for p in path.rglob("scores_*.parquet")}, key=_natural)
        without = sorted({p.parent for p in path.rglob(PROVENANCE)} - set(below) - {path}, key=_natural)
        if without:
            notes.append(f"left out, without row scores (failed or unfinished?): {name_some(without)}")
        if not below:
            raise ValueError(
                f"{path} has no row scores (scores_*.parquet), which runs of this version write. For an older run "
                "repeat its train command, which evaluates the finished model again, or use "
                f"`hjc evaluate {path} DATA -o DIR` and compare DIR"
            )
        found += below
    unique = list({path.resolve(): path for path in found}.values())
    if len(unique) < len(found):
        notes.append(f"{len(found) - len(unique)} directories were given more than once")
    runs = []
    for name, path in zip(_names(unique), unique, strict=True):
        sets = {set_of(file): file for file in score_files(path)}
        facts = run_facts(path) if training_record(path) else {}
        if not facts:  # made by `hjc evaluate -o`: what is known of the model was written with the scores
            facts = dict(StoredScores.read(next(iter(sets.values()))).about)
        runs.append(Run(name, path, sets, facts))
    return runs, notes


def _natural(path: Path) -> list[Any]:
    """Sorts job 10 after job 9."""
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in re.split(r"(\d+)", str(path))]


def _names(paths: Sequence[Path]) -> list[str]:
    parts = [path.resolve().parts for path in paths]
    for length in range(1, max(map(len, parts), default=1) + 1):
        names = ["/".join(p[-length:]) for p in parts]
        if len(set(names)) == len(names):
            break
    return _what_differs(names, [_overrides(path) for path in paths])


def _overrides(path: Path) -> list[str]:
    """All overrides of a sweep's job, as Hydra keeps them; [] where it has not."""
    try:
        found = yaml.safe_load((path / ".hydra" / "overrides.yaml").read_text("utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError):
        return []
    return [str(item) for item in found] if isinstance(found, list) else []


#: the directory of a sweep's job: its number, then its overrides
_JOB = re.compile(r"(?P<number>\d+)_(?P<overrides>[^=/]+=[^/]*)")


def _what_differs(names: list[str], kept: Sequence[list[str]] = ()) -> list[str]:
    """Names of a sweep's jobs without the overrides that all have, and without the number where that is enough.

    ``kept``: the overrides of each job; a directory's name has them too, but is cut where they are many.
    """
    jobs = [_JOB.fullmatch(name) for name in names]
    if len(names) < 2 or not all(jobs):
        return names
    # a comma separates overrides where the name of a setting follows; others are inside of a value
    overrides = [re.split(r",(?=[+~]*[\w./@]+=)", job["overrides"]) for job in jobs if job]
    if kept and all(kept):
        overrides = list(kept)
    shared = set(overrides[0]).intersection(*overrides)
    own = [",".join(x for x in some if x not in shared) for some in overrides]
    if all(own) and len(set(own)) == len(own):
        return own
    return [f"{job['number']}_{text}".rstrip("_") for job, text in zip(jobs, own, strict=True) if job]


def common_sets(runs: Sequence[Run], wanted: Sequence[str] = ()) -> tuple[list[str], list[str]]:
    """The sets that all runs were evaluated on (test sets; "valid" only when there is no other), and notes.

    Raises:
        ValueError: a wanted set is missing somewhere, or there is no common one.
    """
    for name in wanted:
        if lacking := [run.name for run in runs if name not in run.sets]:
            have = sorted({s for run in runs for s in run.sets})
            raise ValueError(
                f"--set {name}: {name_some(lacking)} have no such set; evaluated sets are {name_some(have)}"
            )
    if wanted:
        return list(dict.fromkeys(wanted)), []
    shared = [name for name in runs[0].sets if all(name in run.sets for run in runs)]
    if not shared:
        lines = "; ".join(f"{run.name}: {', '.join(sorted(run.sets))}" for run in runs[:6])
        raise ValueError(f"the runs have no evaluated set in common ({lines}); evaluate them on the same rows")
    others = sorted({name for run in runs for name in run.sets} - set(shared))
    notes = [f"sets that not every run has are left out: {name_some(others)}"] if others else []
    return [name for name in shared if name != "valid"] or shared, notes


def align(stored: Sequence[tuple[str, StoredScores]], common_rows: bool = False) -> tuple[list[IntArray], list[str]]:
    """Positions of the same rows in each run, in the order of the first; and notes.

    Rows are the same when text and gold code are, wherever they stand; or, for runs that read other text columns of one
    file, when position, identifier and gold code of every row agree. With ``common_rows`` only rows that all runs have
    are kept, matched by identifier and gold code where every row has one of its own, else by text and gold code.

    Raises:
        DifferentRowsError: the rows differ and ``common_rows`` is not set, or there is no common row.
        ValueError: the runs are on different taxonomies.
    """
    first_name, first = stored[0]
    for name, other in stored[1:]:
        if other.taxonomy != first.taxonomy:
            raise ValueError(
                f"{first.name}: {name} codes to {other.taxonomy!r}, {first_name} to {first.taxonomy!r}; runs can be "
                "compared on one taxonomy (and depth) only"
            )
    every = np.arange(len(first))
    if all(other.data_hash == first.data_hash for _, other in stored):
        return [every] * len(stored), []
    notes: list[str] = []
    keys = [_keys(s, by_id=False) for _, s in stored]
    if all(k.keys() == keys[0].keys() for k in keys):
        return _positions(keys, list(keys[0])), [f"{first.name}: the same rows in another order; they were matched"]
    if all(_same_places(first, other) for _, other in stored[1:]):
        text = "the runs read other texts of the same rows (file position, identifier and gold code agree)"
        return [every] * len(stored), [f"{first.name}: {text}"]
    if all(all(s.id) and len(set(s.id)) == len(s) for _, s in stored):
        keys = [_keys(s, by_id=True) for _, s in stored]
    shared = [key for key in keys[0] if all(key in k for k in keys[1:])]
    counts = ", ".join(f"{name} {len(s):,}" for name, s in stored[:6]) + (", ..." if len(stored) > 6 else "")
    if not common_rows:
        advice = (
            "--common-rows compares on those"
            if shared
            else "evaluate the runs on the same file with `hjc evaluate RUN_DIR DATA -o DIR` and compare those"
        )
        raise DifferentRowsError(
            f"{first.name}: the runs were evaluated on different rows ({counts}; {len(shared):,} in common); {advice}"
        )
    if not shared:
        raise DifferentRowsError(f"{first.name}: the runs have no row in common ({counts})")
    notes.append(f"{first.name}: compared on the {len(shared):,} rows that all runs have ({counts})")
    return _positions(keys, shared), notes


def _same_places(a: StoredScores, b: StoredScores) -> bool:
    same = len(a) == len(b) and np.array_equal(a.scores.gold, b.scores.gold) and np.array_equal(a.row, b.row)
    return bool(same) and a.id == b.id


def _keys(stored: StoredScores, by_id: bool) -> dict[Any, int]:
    """(what identifies a row, how many equal rows came before it) -> position."""
    gold = stored.scores.gold.tolist()
    names: list[Any] = list(zip(stored.id, gold, strict=True)) if by_id else stored.key.tolist()
    seen: dict[Any, int] = {}
    out: dict[Any, int] = {}
    for i, name in enumerate(names):
        count = seen.get(name, 0)
        seen[name] = count + 1
        out[name, count] = i
    return out


def _positions(keys: Sequence[dict[Any, int]], wanted: Sequence[Any]) -> list[IntArray]:
    return [np.array([k[key] for key in wanted], dtype=np.int64) for k in keys]
