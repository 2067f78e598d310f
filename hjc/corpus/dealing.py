"""A sample dealt to coders with a common part, and their files put together again.

As in section 4.3.1 of the paper: each of three experts coded 3,233 ads of their own and 100 that all had.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from hjc.corpus.copying import Done
from hjc.errors import check_choice, check_range, name_some
from hjc.tables import check_output, format_of, read_rows, write_frame

UNIT, CODER, PURPOSE = "unit", "coder", "purpose"
COMMON, OWN = "common", "own"
#: the file of the deal, beside those of the coders
DEAL = "deal.csv"
#: what coders fill in
BLANK = ("code", "comment")


def deal_units(n: int, coders: int, common: int, seed: int = 1) -> list[list[int]]:
    """The units of each coder in the order in which they come: ``common`` drawn by chance go to everybody, the others
    are dealt by chance, as evenly as can be. Common ones are spread over the whole list, so that nobody knows them.

    Raises:
        ValueError: fewer than one coder, or more common units than there are.
    """
    check_range("coders", coders, coders >= 1, "one or more")
    check_range("--common", common, 0 <= common <= n, f"0 to {n:,}, the rows of the sample")
    rng = np.random.default_rng(seed)
    shuffled = rng.permutation(n)
    everybody, rest = shuffled[:common], shuffled[common:]
    return [rng.permutation(np.r_[everybody, rest[i::coders]]).tolist() for i in range(coders)]


def _file_names(coders: Sequence[str], kind: str) -> list[str]:
    names = [f"{name}.{kind}" for name in coders]
    bad = [name for name in coders if not name or Path(name).name != name or name.startswith(".") or name == "deal"]
    if bad or len({name.lower() for name in names}) < len(names):
        raise ValueError(f"--coder: got {name_some(coders)}; expected different names that can be names of files")
    return names


def deal_file(
    source: str, directory: str, coders: Sequence[str], common: int, *, columns: Sequence[str] = (), kind: str = "csv",
    seed: int = 1, overwrite: bool = False, **reading: Any,
) -> Done:  # fmt: skip
    """Write a file a coder (``unit``, the columns, empty ``code`` and ``comment``) and ``deal.csv``: who got what.

    Units are numbers from 1 in the order of the input. ``purpose`` stands in deal.csv only.

    Args:
        columns: those that coders see (all). A model's codes are best left out: they anchor.
        reading: of :func:`hjc.tables.read_rows`.

    Raises:
        ValueError: no row, an absent column, one called ``unit``, ``code`` or ``comment``, or names that are no files.
    """
    check_choice("--format", kind, ("csv", "xlsx"))
    table = read_rows(source, **reading)
    table.check_columns(list(columns))
    frame = table.whole()
    if not len(frame):
        raise ValueError(f"{source}: there is no row to deal")
    shown = frame[list(columns)] if columns else frame
    if taken := [name for name in (UNIT, *BLANK) if name in shown.columns]:
        raise ValueError(f"{source} has a column {taken[0]!r}, which coders would see; name those to show by --column")
    names, folder = _file_names(coders, kind), Path(directory)
    if folder.exists() and any((folder / name).exists() for name in (*names, DEAL)) and not overwrite:
        raise ValueError(
            f"{directory} holds a deal already, and a new one undoes coders' work: --overwrite, or another"
        )
    folder.mkdir(parents=True, exist_ok=True)
    dealt = deal_units(len(frame), len(coders), common, seed)
    shared = set.intersection(*map(set, dealt)) if len(coders) > 1 else set()
    lines = []
    for coder, name, rows in zip(coders, names, dealt, strict=True):
        mine = shown.iloc[rows].copy()
        mine.insert(0, UNIT, [str(i + 1) for i in rows])
        for blank in BLANK:
            mine[blank] = ""
        write_frame(mine, str(folder / name), kind)
        lines += [(str(i + 1), coder, COMMON if i in shared else OWN) for i in rows]
    deal = pd.DataFrame(lines, columns=[UNIT, CODER, PURPOSE])
    extra = frame[[c for c in frame if c not in (UNIT, CODER, PURPOSE, *BLANK)]].copy()
    extra.insert(0, UNIT, [str(i + 1) for i in range(len(frame))])
    write_frame(deal.merge(extra, on=UNIT, how="left"), str(folder / DEAL), "csv")
    each = ", ".join(f"{coder} {len(rows):,}" for coder, rows in zip(coders, dealt, strict=True))
    facts = {"command": "deal", "input": source, "rows_in": len(frame), "common": common, "seed": seed,
             "coders": {coder: len(rows) for coder, rows in zip(coders, dealt, strict=True)}}  # fmt: skip
    return Done(facts, [f"{len(frame):,} rows dealt: {each}; {common:,} of them to all -> {directory}"])


def gather_files(directory: str, output: str, *, overwrite: bool = False, **reading: Any) -> Done:
    """The coders' files and ``deal.csv`` as one table, a line a unit and coder, for ``hjc data agreement``.

    Columns: those of deal.csv (unit, coder, purpose, the sample's own, weights among them), then code and comment. A
    unit that is missing in a file, or has no code yet, has an empty code and is counted. ``reading``: how the coders'
    files are read now, whatever a spreadsheet made of them (separator, encoding); see :func:`hjc.tables.read_rows`.

    Raises:
        ValueError: no deal, no file of a coder, units that the coder was not dealt, a unit twice, no code column, an
            output of an unknown format or that is one of these files. FileExistsError: it exists.
    """
    folder, kind = Path(directory), format_of(output, writing=True)
    if not (folder / DEAL).is_file():
        raise ValueError(f"{directory} has no {DEAL}; give the folder that hjc data deal wrote")
    check_output(output, str(folder / DEAL), overwrite=overwrite)
    deal = read_rows(str(folder / DEAL)).whole()
    parts, notes, counts = [], [], {}
    for coder, lines in deal.groupby(CODER, sort=False):
        found = [path for path in (folder / f"{coder}.csv", folder / f"{coder}.xlsx") if path.is_file()]
        if len(found) != 1:
            raise ValueError(f"{directory}: expected {coder}.csv or {coder}.xlsx, got {len(found)} files")
        check_output(output, str(found[0]), overwrite=overwrite)
        table = read_rows(str(found[0]), **reading)
        table.check_columns([UNIT, "code"])
        given = table.whole()
        given[UNIT] = given[UNIT].str.strip()
        given = given[given[UNIT] != ""]
        if len(twice := given.loc[given[UNIT].duplicated(), UNIT]):
            raise ValueError(f"{found[0]}: unit {twice.iloc[0]!r} stands twice; keep one line of it")
        if strange := sorted(set(given[UNIT]) - set(lines[UNIT])):
            raise ValueError(f"{found[0]}: units {name_some(strange)} were not dealt to {coder!r}")
        for blank in BLANK:
            given[blank] = given[blank].str.strip() if blank in given else ""
        joined = lines.merge(given[[UNIT, *BLANK]], on=UNIT, how="left").fillna({name: "" for name in BLANK})
        parts.append(joined)
        coded = int((joined["code"] != "").sum())
        missing = int((~lines[UNIT].isin(given[UNIT])).sum())
        counts[str(coder)] = {"dealt": len(joined), "coded": coded, "missing": missing}
        gone = f"; {missing:,} that were dealt are not in {found[0].name}" if missing else ""
        notes.append(f"{coder}: {coded:,} of {len(joined):,} coded{gone}")
    every = pd.concat(parts, ignore_index=True)
    write_frame(every, output, kind)
    facts = {"command": "gather", "input": directory, "rows_out": len(every), "coders": counts}
    return Done(facts, [*notes, f"{len(every):,} lines -> {output}"])
