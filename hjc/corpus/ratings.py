"""The codes that several coders gave to the same units, from a table; ``hjc data agreement``."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from hjc.arrays import Float64, IntArray
from hjc.corpus.agreement import ratings_from_long
from hjc.data.codecells import CodeCells
from hjc.data.codesets import CodeSets
from hjc.data.splits import no_rejects
from hjc.errors import name_some
from hjc.tables import Table, read_rows
from hjc.taxonomy import Taxonomy
from hjc.taxonomy.spelling import check_classification, repair_codes


@dataclass(frozen=True)
class Ratings:
    """U units, C coders.

    Attributes:
        nodes: (U, C) codes as nodes, -1 where there is none. coders: their names; None where they are not known.
        weights, strata: (U,) of the units; None without.
        rejects: tables of the lines that could not be used.
        facts: for the log: rows in and used, rejected by reason, codes repaired and unknown.
        notes: sentences for the user.
    """

    nodes: IntArray
    coders: list[str] | None
    weights: Float64 | None
    strata: IntArray | None
    rejects: list[pd.DataFrame]
    facts: dict[str, Any]
    notes: list[str]
    sets: CodeSets | None = None


def read_ratings(
    source: str,
    tree: Taxonomy,
    code_columns: Sequence[str] = ("code",),
    *,
    unit_column: str = "id",
    coder_column: str = "",
    weight_column: str = "",
    stratum_column: str = "",
    code_separator: str = "",
    **reading: Any,
) -> Ratings:
    """One code column: a line a unit and coder; several: a line a unit and a column a coder.

    Args:
        code_separator: between several codes in a cell, as ``hjc train`` reads them; "": a cell has one.
        coder_column: "": coders are not known by name. weight_column, stratum_column: of the unit, "" without.
        reading: of :func:`hjc.tables.read_rows`.

    Raises:
        ValueError: an absent column; a weight that is no number; a weight or stratum that differs within a unit.
    """
    given = read_rows(source, **reading)
    frame, rejects = given.whole(), [no_rejects()]
    frame.index = pd.Index(given.line)
    wide = len(code_columns) > 1
    _check_columns(given, code_columns, "" if wide else unit_column, (weight_column, stratum_column, coder_column))
    rows_in, rejected = len(frame), {}
    for name in [] if wide else [unit_column, *filter(None, [coder_column])]:
        blank = frame[name].str.strip() == ""
        if blank.any():  # they would all be one unit, or one more coder
            rejected[f"no {name}"] = int(blank.sum())
            rejects.append(_rejects(source, frame[blank], f"no {name}", unit_column, ""))
            frame = frame[~blank]
    notes = [f"{count:,} rows have {reason} and are left out" for reason, count in rejected.items()]
    unit = [str(i) for i in range(len(frame))] if wide else frame[unit_column].tolist()
    cells = [c for n in code_columns for c in frame[n]]
    people = [n for n in code_columns for _ in unit] if wide else frame[coder_column].tolist() if coder_column else None
    split = CodeCells.of(cells, None, code_separator)
    cells = split.main
    mended, spelling = repair_codes(tree, cells, asking="nobody")
    check_classification(tree, spelling, source, tree.name)
    nodes, units, columns, unknown = ratings_from_long(tree, unit * len(code_columns), people, mended)
    if spelling:
        notes.append(str(spelling))
    if unknown:
        notes.append(f"{len(unknown)} codes are not in {tree.name!r} and count as missing: {name_some(unknown)}")
    sets = None
    if split.others:
        place = {name: i for i, name in enumerate(units)}
        people_at = {name: i for i, name in enumerate(columns)}
        coder_of = people if people is not None else _turns(unit * len(code_columns))
        at = [place[u] * len(columns) + people_at[p] for u, p in zip(unit * len(code_columns), coder_of, strict=True)]
        sets, left = _sets(tree, nodes, split, at)
        if left:
            notes.append(f"{len(left)} further codes are not in {tree.name!r} and are left out: {name_some(left)}")
    weights = strata = None
    if weight_column:
        values = _of_units(unit, frame[weight_column], "--weight-column")
        try:
            weights = values.astype(float)
        except ValueError as error:
            raise ValueError(f"--weight-column: {error}; numbers are needed") from None
    if stratum_column:
        strata = np.unique(_of_units(unit, frame[stratum_column], "--stratum-column"), return_inverse=True)[1]
    usable = {"", *(old for old, new in zip(cells, mended, strict=True) if new in tree.index_of)}
    for name in code_columns if unknown else ():
        strange = frame[~frame[name].isin(usable)]
        why = [f"unknown code: {spelling.reasons.get(value, 'not in the tree')}" for value in strange[name]]
        rejects.append(_rejects(source, strange, why, "" if wide else unit_column, name))
    coded = np.bincount((nodes >= 0).sum(axis=1), minlength=nodes.shape[1] + 1)
    coders = None if people is None else columns
    facts = {
        "rows_in": rows_in, "rows_used": len(frame), "rejected": rejected, "units": len(units), "coders": coders,
        "units_by_number_of_codes": dict(enumerate(coded.tolist())), "codes": {"read": len(cells), **spelling.counts},
        "unknown_codes": unknown, "repaired_codes": spelling.changed,
    }  # fmt: skip
    return Ratings(nodes, coders, weights, strata, rejects, facts, notes, sets)


def _turns(units: Sequence[str]) -> list[str]:
    """Names of unknown coders as :func:`ratings_from_long` gives them: the first code of a unit is 1, and so on."""
    seen: Counter[str] = Counter()
    out = []
    for unit in units:
        seen[unit] += 1
        out.append(str(seen[unit]))
    return out


def _sets(tree: Taxonomy, nodes: IntArray, cells: CodeCells, at: Sequence[int]) -> tuple[CodeSets, list[str]]:
    """All codes of each unit and coder, and further codes that are not in the tree. ``at``: place of each cell."""
    codes, _ = repair_codes(tree, [code for _, code, _ in cells.others])
    found = [tree.index_of.get(code, -1) for code in codes]
    kept = [(at[i], node) for (i, *_), node in zip(cells.others, found, strict=True) if node >= 0]
    main = np.flatnonzero(nodes.ravel() >= 0)
    place = np.r_[main, np.array([i for i, _ in kept], dtype=np.int64)]
    every = np.r_[nodes.ravel()[main], np.array([node for _, node in kept], dtype=np.int64)]
    order = np.argsort(place, kind="stable")
    sets = CodeSets.of_pairs(place[order], every[order], None, nodes.size)
    return sets, sorted({code for code, node in zip(codes, found, strict=True) if node < 0})


def _check_columns(given: Table, codes: Sequence[str], unit: str, further: Sequence[str]) -> None:
    if unit and unit not in given.frame.columns:
        raise ValueError(f"{given.name}: no column {unit!r}; give --unit-column")
    given.check_columns([*codes, *filter(None, further)])


def _rejects(source: str, rows: pd.DataFrame, reason: str | list[str], unit: str, code: str) -> pd.DataFrame:
    """Lines of a table (its index) as rejects."""
    return rows.assign(
        file=source, row=rows.index, id=rows[unit] if unit else "", reason=reason, value=rows[code] if code else ""
    )[["file", "row", "id", "reason", "value"]]


def _of_units(units: list[str], column: pd.Series, option: str) -> Any:
    """(U,) a survey weight or stratum: that of the unit, the same in all its lines; in the order of units.

    Raises:
        ValueError: two lines of a unit differ.
    """
    of_unit: dict[str, str] = {}
    for name, value in zip(units, column.tolist(), strict=True):
        if value.strip() != of_unit.setdefault(name, value.strip()):
            raise ValueError(
                f"{option}: unit {name!r} has {column.name!r} {of_unit[name]!r} in one line and {value.strip()!r} in "
                "another; it must be the same for all codes of a unit"
            )
    return np.array(list(of_unit.values()), dtype=str)
