"""From files to JobData: columns mapped, codes looked up, what cannot be used rejected with a reason and counted."""

import dataclasses
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import pandas as pd

from hjc.arrays import BoolArray, IntArray, ObjectArray
from hjc.data.jobdata import JobData
from hjc.data.recipe import TextRecipe, present
from hjc.data.settings import DataSettings, SourceSettings
from hjc.data.splits import REJECT_COLUMNS, no_rejects
from hjc.errors import name_some
from hjc.tables import ReadOptions, Table, read_rows, read_table
from hjc.taxonomy.spelling import check_classification, repair_codes
from hjc.taxonomy.tree import Taxonomy

__all__ = ["ReadFile", "read_file", "read_job_data", "read_table"]

SPLIT_NAMES = {
    "train": "train", "training": "train", "valid": "valid", "validation": "valid", "val": "valid", "dev": "valid",
    "test": "test", "testing": "test",
}  # fmt: skip
_SHOWN = 80


@dataclass
class ReadFile:
    """One file, read. n usable rows.

    Attributes:
        data: n rows.
        settings: with all its fields filled.
        split: n values of the split column as train, valid or test; None without one.
        group: n values of the group column ("" for none); None without one.
        rejects: the other rows, as in Splits.
        counts: rows by what was done (read, rejected, filtered, cut, html, control ...).
        notes: sentences for the user.
    """

    data: JobData
    settings: SourceSettings
    split: ObjectArray | None
    group: ObjectArray | None
    rejects: pd.DataFrame
    counts: Counter[str]
    notes: list[str]


def read_job_data(
    path: str | Path | IO[bytes],
    taxonomy: Taxonomy,
    settings: DataSettings | None = None,
    *,
    if_present: Collection[str] = (),
) -> tuple[JobData, pd.DataFrame]:
    """The usable rows of one file and the table of rejects, with the columns and options of ``settings``.

    ``if_present``: see :func:`read_file`.

    Raises:
        TaxonomyError: most codes of the file are not in the taxonomy.
        ValueError: see :func:`read_file`.
    """
    settings = settings or DataSettings()
    named = dataclasses.replace(settings, train=["-"], valid=[], test=[], files=[], sources=[],
                                train_codes=[], valid_codes=[], test_codes=[], files_codes=[])  # fmt: skip
    part = read_file(named.all_sources()[0], settings, taxonomy, stream=path, if_present=if_present)
    return part.data, part.rejects


def read_file(
    source: SourceSettings,
    settings: DataSettings,
    taxonomy: Taxonomy,
    stream: "str | Path | IO[bytes] | None" = None,
    *,
    if_present: Collection[str] = (),
) -> ReadFile:
    """Read one file of ``settings.all_sources()``, or ``stream`` in its place.

    ``if_present``: which of language, source, weight, id and group may be missing from the file.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a column is not there, a language filter without languages, and all of :func:`read_rows`.
        TaxonomyError: most codes are not in the taxonomy.
    """
    table = read_rows(
        source.path if stream is None else stream,
        ReadOptions.given(
            format=source.format,
            separator=source.separator,
            encoding=source.encoding,
            quote=source.quote,
            sheet=source.sheet,
            codes_path=source.codes_path,
        ),
    )
    plain = bool(source.codes_path)
    text_columns = ["text"] if plain else list(source.text_columns or [])
    code_column = "code" if plain else source.code_column or ""
    optional = {
        key: "" if plain else getattr(source, f"{key}_column") or ""
        for key in ("language", "source", "weight", "id", "group", "split")
    }
    if source.role != "split":
        optional["split"] = ""
    elif not optional["split"] and (Path(source.path) / "dataset_dict.json").is_file():
        optional["split"] = "split"  # a saved DatasetDict comes with its splits
    for key in if_present:
        if optional[key] not in table.columns:
            optional[key] = ""
    if not code_column:
        raise ValueError(f"{table.name}: code_column is empty; name the column that holds the codes")
    if not text_columns:
        raise ValueError(f"{table.name}: text_columns: got none, at least one column is needed")
    table.check_columns([*text_columns, code_column, *filter(None, optional.values())])
    cells = {key: list(map(present, table.column(name))) for key, name in optional.items() if name}
    n, counts = len(table), Counter({"read": len(table) + table.rejects.count})
    notes = [f"{table.name}: {sentence}" for sentence in table.rejects.mended()]
    ids = cells.get("id", [""] * n)
    rejected = _Rejects(table, ids)

    language = np.array([(x or source.default_language or "").lower() for x in cells.get("language", [""] * n)], object)
    keep = rejected.open.copy()
    if settings.languages:
        if not optional["language"] and not source.default_language:
            raise ValueError(f"{table.name}: data.languages needs to know the language of the rows; set "
                             "language_column, or default_language for the whole file")  # fmt: skip
        keep &= np.isin(language, [x.lower() for x in settings.languages])
        counts["filtered"] = int(rejected.open.sum() - keep.sum())
        rejected.open &= keep

    recipe = TextRecipe.of(settings)
    texts, touched = recipe.clean(recipe.join([table.column(name).tolist() for name in text_columns]))
    counts.update(touched)
    raw_codes = list(map(present, table.column(code_column)))
    rejected.add(np.array([not text for text in texts], bool), "no text", raw_codes)
    rejected.add(np.array([not code for code in raw_codes], bool), "no code", texts)
    gold = _look_up(taxonomy, raw_codes, rejected, settings, counts, notes, table.name)
    weight = np.ones(n, np.float32)
    if "weight" in cells:
        weight = pd.to_numeric(pd.Series(cells["weight"], dtype="object"), errors="coerce").to_numpy(np.float64)
        bad = ~(np.isfinite(weight) & (weight >= 0))
        rejected.add(bad, "weight is not a number from 0", cells["weight"])
    split = None
    if "split" in cells and source.role == "split":
        split = np.array([SPLIT_NAMES.get(x.lower(), "") for x in cells["split"]], dtype=object)
        rejected.add(split == "", "split is none of train, valid, test", cells["split"])
    if "id" in cells:
        _note_duplicate_ids(ids, table.name, counts, notes)

    used = np.flatnonzero(rejected.open)
    order = used.tolist()
    origin = cells.get("source", [""] * n)
    data = JobData(
        taxonomy=taxonomy,
        texts=tuple(texts[i] for i in order),
        gold=gold[used],
        language=tuple(language[used].tolist()),
        source=tuple(origin[i] or source.default_source or "" for i in order),
        weight=weight[used].astype(np.float32),
        row=used,
        id=tuple(ids[i] for i in order),
    )
    counts["rejected"], counts["used"] = rejected.count, len(data)
    group = np.array(cells["group"], dtype=object)[used] if "group" in cells else None
    return ReadFile(data, source, None if split is None else split[used], group, rejected.frame(), counts, notes)


class _Rejects:
    """Rows of one file that are not used; each row is rejected once, for its first reason."""

    def __init__(self, table: Table, ids: list[str]) -> None:
        self.table, self.ids = table, ids
        #: (n,) rows that are still in use
        self.open = np.ones(len(table), dtype=bool)
        columns = zip(*table.rejects.lines, strict=True) if table.rejects.lines else ((), (), ())
        row, reason, value = map(list, columns)
        unreadable = {"file": table.name, "row": row, "id": "", "reason": reason, "value": [*map(shorten, value)]}
        self._parts = [pd.DataFrame(unreadable)] if row else []

    def add(self, bad: BoolArray, reason: "str | ObjectArray", values: Sequence[str]) -> None:
        """Reject the open rows where ``bad``; ``values``: n values to show, or one for each row of ``bad``."""
        rows = np.flatnonzero(bad & self.open)
        if not rows.size:
            return
        if len(values) != len(self.table):
            position = np.cumsum(bad) - 1
            shown = [values[i] for i in position[rows].tolist()]
        else:
            shown = [values[i] for i in rows.tolist()]
        self.open[rows] = False
        self._parts.append(
            pd.DataFrame(
                {
                    "file": self.table.name,
                    "row": self.table.line[rows],
                    "id": [self.ids[i] for i in rows.tolist()],
                    "reason": reason if isinstance(reason, str) else reason[rows],
                    "value": [shorten(value) for value in shown],
                }
            )
        )

    @property
    def count(self) -> int:
        return sum(len(part) for part in self._parts)

    def frame(self) -> pd.DataFrame:
        """All rejects in the order of the file."""
        if not self._parts:
            return no_rejects()
        return pd.concat(self._parts, ignore_index=True)[list(REJECT_COLUMNS)].sort_values("row", ignore_index=True)


def shorten(text: str) -> str:
    """The text on one line, at most 80 characters."""
    line = " ".join(text.split())
    return line if len(line) <= _SHOWN else line[: _SHOWN - 3] + "..."


def _look_up(
    taxonomy: Taxonomy,
    codes: list[str],
    rejected: _Rejects,
    settings: DataSettings,
    counts: Counter[str],
    notes: list[str],
    name: str,
) -> IntArray:
    """(n,) nodes of the codes; -1 where the row is rejected already or now."""
    open_rows = np.flatnonzero(rejected.open)
    repaired, report = repair_codes(
        taxonomy, [codes[i] for i in open_rows.tolist()], settings.restore_zeros, settings.code_width or None
    )
    gold = np.full(len(codes), -1, dtype=np.int64)
    gold[open_rows] = [taxonomy.index_of.get(code, -1) for code in repaired]
    unknown = gold < 0
    check_classification(taxonomy, report, name, taxonomy.name)
    if unknown[open_rows].any():
        why = {code: f"unknown code: {report.reasons.get(code, 'not in the taxonomy')}" for code in set(codes)}
        rejected.add(unknown, np.array([why[code] for code in codes], dtype=object), codes)
    if report.repaired:
        counts["codes_repaired"] = report.repaired
    if report:
        notes.append(f"{name}: {report}")
    return gold


def _note_duplicate_ids(ids: list[str], name: str, counts: Counter[str], notes: list[str]) -> None:
    times = Counter(filter(None, ids))
    twice = [key for key, count in times.items() if count > 1]
    if twice:
        counts["duplicate_ids"] = sum(times[key] for key in twice)
        notes.append(f"{name}: {len(twice):,} ids stand more than once: {name_some(twice)}; all their rows are used")
