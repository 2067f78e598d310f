"""From files to JobData: columns mapped, codes looked up, what cannot be used rejected with a reason and counted."""

import dataclasses
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import IO, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from hjc.arrays import BoolArray, Float64, IntArray, ObjectArray
from hjc.data.codecells import CodeCells
from hjc.data.codesets import CodeSets
from hjc.data.jobdata import JobData
from hjc.data.recipe import UNDECODED, TextRecipe, marked_note, present, undecoded
from hjc.data.settings import DataSettings, SourceSettings
from hjc.data.side import numeric
from hjc.data.splits import REJECT_COLUMNS, TRAIN_ONLY, no_rejects, reject_reasons
from hjc.errors import name_some
from hjc.tables import ReadOptions, Table, read_rows
from hjc.taxonomy.spelling import Asking, check_classification, is_missing, repair_codes
from hjc.taxonomy.tree import Taxonomy

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
    #: (n,) probabilities of the inclusion column, 0 where a cell is empty; None without one
    inclusion: Float64 | None = None

    def sentences(self, label: str) -> list[str]:
        """How many rows of the file could not be used and why, and what was mended."""
        found = [line if line.startswith(f"{label}: ") else f"{label}: {line}" for line in self.notes]
        if len(self.rejects):
            found.insert(0, f"{label}: {len(self.rejects):,} rows cannot be used: {reject_reasons(self.rejects)}")
        return found

    def account(self) -> dict[str, Any]:
        """rows_in = rows_used + rejected, by reason: for the log of a command."""
        reasons = {str(reason): int(count) for reason, count in self.rejects["reason"].value_counts().items()}
        used = len(self.data)
        return {"rows_in": used + len(self.rejects), "rows_used": used, "rejected": reasons}

    def by_split(self, default: str) -> dict[str, JobData]:
        """The rows under the names of the split column; all under ``default`` without one."""
        if self.split is None:
            return {default: self.data}
        return {str(name): self.data.take(self.split == name) for name in dict.fromkeys(self.split.tolist())}

    def grouped(self) -> JobData:
        """The rows with their group column as numbers; a row without a group is one of its own."""
        if self.group is None:
            return self.data
        given = np.unique(self.group.astype(str), return_inverse=True)[1]
        alone = np.arange(len(self.data)) + given.max(initial=0) + 1
        return dataclasses.replace(self.data, group=np.where(self.group == "", alone, given))


def read_job_data(
    path: str | Path | IO[bytes],
    taxonomy: Taxonomy,
    settings: DataSettings | None = None,
    *,
    if_present: Collection[str] = (),
    asking: Asking = "training",
) -> tuple[JobData, pd.DataFrame]:
    """The usable rows of one file and the table of rejects, with the columns and options of ``settings``.

    ``if_present``, ``asking``: see :func:`read_file`.

    Raises:
        TaxonomyError: most codes of the file are not in the taxonomy.
        ValueError: see :func:`read_file`.
    """
    part = read_one(path, taxonomy, settings or DataSettings(), if_present=if_present, asking=asking)
    return part.data, part.rejects


def read_one(
    path: str | Path | IO[bytes],
    taxonomy: Taxonomy,
    settings: DataSettings,
    *,
    if_present: Collection[str] = (),
    asking: Asking = "training",
) -> ReadFile:
    """:func:`read_job_data` with what is to be said of the file."""
    named = dataclasses.replace(settings, train=["-"], valid=[], test=[], files=[], sources=[],
                                train_codes=[], valid_codes=[], test_codes=[], files_codes=[])  # fmt: skip
    return read_file(named.all_sources()[0], settings, taxonomy, stream=path, if_present=if_present, asking=asking)


def read_labelled(path: str, taxonomy: Taxonomy, text: Sequence[str], code: str, **further: Any) -> ReadFile:
    """The usable rows of one file. ``further`` settings of the data: language_column, max_chars, separator ..."""
    settings = DataSettings(files=[path], text_columns=list(text), code_column=code, **further)
    return read_file(settings.all_sources()[0], settings, taxonomy, asking="nobody")


def options_of(source: SourceSettings) -> ReadOptions:
    """How a file is read."""
    names = ("format", "separator", "encoding", "quote", "sheet", "codes_path")
    return ReadOptions.given(**{name: getattr(source, name) for name in names})


def read_file(
    source: SourceSettings,
    settings: DataSettings,
    taxonomy: Taxonomy,
    stream: "str | Path | IO[bytes] | None" = None,
    *,
    if_present: Collection[str] = (),
    asking: Asking = "training",
) -> ReadFile:
    """Read one file of ``settings.all_sources()``, or ``stream`` in its place.

    ``if_present``: which of language, source, weight, id, group and side may be missing from the file.
    ``asking``: whom rejects tell how to put lost zeros back, see :func:`hjc.taxonomy.spelling.repair_codes`.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a column is not there, a language filter without languages, and all of :func:`read_rows`.
        TaxonomyError: most codes are not in the taxonomy.
    """
    table = read_rows(source.path if stream is None else stream, options_of(source))
    plain = bool(source.codes_path)
    text_columns = ["text"] if plain else list(source.text_columns or [])
    code_column = "code" if plain else source.code_column or ""
    optional = {
        key: "" if plain else getattr(source, f"{key}_column") or ""
        for key in ("language", "source", "weight", "id", "group", "split", "other_codes", "inclusion")
    }
    if source.role != "split":
        optional["split"] = ""
    elif not optional["split"] and (Path(source.path) / "dataset_dict.json").is_file():
        optional["split"] = "split"  # a saved DatasetDict comes with its splits
    for key in set(if_present) & set(optional):
        if optional[key] not in table.columns:
            optional[key] = ""
    if not code_column:
        raise ValueError(f"{table.name}: code_column is empty; name the column that holds the codes")
    if not text_columns:
        raise ValueError(f"{table.name}: text_columns: got none, at least one column is needed")
    side = [s.column for s in source.side or [] if not plain]
    if "side" in if_present:
        side = [name for name in side if name in table.columns]
    table.check_columns([*text_columns, code_column, *filter(None, optional.values()), *side])
    cells = {key: list(map(present, table.column(name))) for key, name in optional.items() if name}
    n = len(table)
    ids = cells.get("id", [""] * n)
    rows = _Rows(table, ids, asking)

    language = np.array([(x or source.default_language or "").lower() for x in cells.get("language", [""] * n)], object)
    if settings.languages:
        if not optional["language"] and not source.default_language:
            raise ValueError(f"{table.name}: data.languages needs to know the language of the rows; set "
                             "language_column, or default_language for the whole file")  # fmt: skip
        rows.open = np.isin(language, [x.lower() for x in settings.languages])
        rows.counts["filtered"] = int(n - rows.open.sum())

    recipe = TextRecipe.of(settings)
    text_cells = [table.column(name).tolist() for name in text_columns]
    texts, touched = recipe.clean(recipe.join(text_cells))
    rows.counts.update(touched)
    if note := marked_note(touched.get("html", 0)):
        rows.notes.append(f"{table.name}: {note}")
    texts = recipe.beside(texts, {name: table.column(name).tolist() for name in side})
    codes = CodeCells.of(
        list(map(present, table.column(code_column))), cells.get("other_codes"), settings.code_separator
    )
    raw_codes = codes.main
    rows.reject(np.isin(np.arange(n), undecoded(text_cells)), UNDECODED, raw_codes)
    rows.reject(np.array([not text for text in texts], bool), "no text", raw_codes)
    rows.reject(np.array([not code for code in raw_codes], bool), "no code", texts)
    rows.reject(codes.bad, "a code's weight, after =, is not a number above 0", codes.cells)
    gold = rows.nodes(taxonomy, raw_codes, settings)
    sets = rows.sets(taxonomy, gold, codes, settings)
    weight = np.ones(n, np.float32)
    if "weight" in cells:
        weight = pd.to_numeric(pd.Series(cells["weight"], dtype="object"), errors="coerce").to_numpy(np.float64)
        bad = ~(np.isfinite(weight) & (weight >= 0))
        rows.reject(bad, "weight is not a number from 0", cells["weight"])
    inclusion = None
    if "inclusion" in cells:
        inclusion = np.array([numeric(cell or "0") for cell in cells["inclusion"]], dtype=np.float64)
        bad = ~((inclusion >= 0) & (inclusion <= 1))
        rows.reject(bad, "inclusion probability is not a number from 0 to 1", cells["inclusion"])
    split = None
    if "split" in cells and source.role == "split":
        split = np.array([SPLIT_NAMES.get(x.lower(), "") for x in cells["split"]], dtype=object)
        rows.reject(split == "", "split is none of train, valid, test", cells["split"])
    if "id" in cells:
        rows.note_duplicate_ids()

    used = np.flatnonzero(rows.open)
    order = used.tolist()
    origin = cells.get("source", [""] * n)
    for name in ("source", "label_source"):  # a mark that must not be missed
        if "source" not in cells and name in table.columns:
            origin = [cell if cell in TRAIN_ONLY else own for cell, own in zip(table.column(name), origin, strict=True)]
    data = JobData(
        taxonomy=taxonomy,
        texts=tuple(texts[i] for i in order),
        gold=gold[used],
        language=tuple(language[used].tolist()),
        source=tuple(origin[i] or source.default_source or "" for i in order),
        weight=weight[used].astype(np.float32),
        row=used,
        id=tuple(ids[i] for i in order),
        sets=None if sets is None else sets[used],
    )
    if data.sets is not None:
        rows.counts["several_codes"] = int(data.sets.several.sum())
    rows.counts["rejected"], rows.counts["used"] = len(rows.rejected), len(data)
    group = np.array(cells["group"], dtype=object)[used] if "group" in cells else None
    split = None if split is None else split[used]
    inclusion = None if inclusion is None else inclusion[used]
    return ReadFile(data, source, split, group, rows.frame(), rows.counts, rows.notes, inclusion)


def read_frame(frame: pd.DataFrame, source: SourceSettings, settings: DataSettings, taxonomy: Taxonomy) -> ReadFile:
    """As :func:`read_file`, of a table in memory: it is read as the Parquet file that it would make. Rows count from 1.

    Raises:
        TypeError: it is no DataFrame. ValueError, TaxonomyError: as :func:`read_file`.
    """
    if not isinstance(frame, pd.DataFrame):
        raise TypeError(f"{source.path}: got a {type(frame).__name__}, expected a pandas DataFrame")
    arrays, names = [], list(map(str, frame.columns))
    for i in range(len(names)):
        column = frame.iloc[:, i]
        try:
            arrays.append(pa.array(column, from_pandas=True))
        except (pa.ArrowInvalid, pa.ArrowTypeError):  # numbers and text in one column
            arrays.append(pa.array([None if is_missing(x) else str(x) for x in column], pa.string()))
    stream = BytesIO()
    pq.write_table(pa.Table.from_arrays(arrays, names=names), stream)
    stream.seek(0)
    stream.name = source.path
    return read_file(dataclasses.replace(source, format="parquet"), settings, taxonomy, stream)


class _Rows:
    """The rows of one file: which are still in use, why the others are not, and what is said about them."""

    def __init__(self, table: Table, ids: list[str], asking: Asking) -> None:
        self.table, self.ids, self.asking = table, ids, asking
        #: (n,) rows that are still in use
        self.open = np.ones(len(table), dtype=bool)
        #: (row, id, reason, value); each row is rejected once, for its first reason
        self.rejected = [(line, "", reason, shorten(value)) for line, reason, value in table.rejects.lines]
        self.counts = Counter({"read": len(table) + table.rejects.count})
        self.notes = [f"{table.name}: {sentence}" for sentence in table.rejects.mended()]

    def reject(self, bad: BoolArray, reason: "str | Sequence[str]", values: Sequence[str]) -> None:
        """Reject the open rows where ``bad`` (n,); ``values``: n values to show."""
        for i in np.flatnonzero(bad & self.open).tolist():
            why = reason if isinstance(reason, str) else reason[i]
            self.rejected.append((int(self.table.line[i]), self.ids[i], why, shorten(values[i])))
        self.open &= ~bad

    def frame(self) -> pd.DataFrame:
        """All rejects in the order of the file."""
        found = pd.DataFrame(self.rejected, columns=list(REJECT_COLUMNS[1:])).astype(no_rejects().dtypes[1:])
        found.insert(0, "file", self.table.name)
        return found.sort_values("row", ignore_index=True, kind="stable")

    def nodes(self, taxonomy: Taxonomy, codes: list[str], settings: DataSettings) -> IntArray:
        """(n,) nodes of the codes; -1 where the row is rejected already or now."""
        name, used = self.table.name, np.flatnonzero(self.open)
        repaired, report = repair_codes(
            taxonomy, [codes[i] for i in used.tolist()], settings.restore_zeros, settings.code_width or None,
            asking=self.asking,
        )  # fmt: skip
        gold = np.full(len(codes), -1, dtype=np.int64)
        gold[used] = [taxonomy.index_of.get(code, -1) for code in repaired]
        check_classification(taxonomy, report, name, taxonomy.name)
        why = [f"unknown code: {report.reasons.get(code, 'not in the taxonomy')}" for code in codes]
        self.reject(gold < 0, why, codes)
        if report.repaired:
            self.counts["codes_repaired"] = report.repaired
        if report:
            self.notes.append(f"{name}: {report}")
        return gold

    def sets(self, taxonomy: Taxonomy, gold: IntArray, cells: "CodeCells", settings: DataSettings) -> CodeSets | None:
        """All codes of the rows, that of ``gold`` (n,) first; None where no row names a second one.

        Other codes that are not in the tree are left out and named in a note; the rows stay.
        """
        if not cells.others:
            return None
        row = np.array([i for i, *_ in cells.others], dtype=np.int64)
        codes, _ = repair_codes(
            taxonomy, [code for _, code, _ in cells.others], settings.restore_zeros, settings.code_width or None
        )
        node = np.array([taxonomy.index_of.get(code, -1) for code in codes], dtype=np.int64)
        unknown, used = self.open[row] & (node < 0), self.open[row] & (node >= 0)
        if count := int(unknown.sum()):
            self.counts["other_codes_unknown"] = count
            names = sorted({codes[i] for i in np.flatnonzero(unknown).tolist()})
            self.notes.append(
                f"{self.table.name}: {count:,} other codes are not in {taxonomy.name!r} and are left out, their rows "
                f"stay: {name_some(names)}"
            )
        main, weight = np.flatnonzero(gold >= 0), np.array([w for *_, w in cells.others], dtype=np.float32)
        at = np.r_[main, row[used]]
        order = np.argsort(at, kind="stable")
        nodes, weights = np.r_[gold[main], node[used]], np.r_[cells.weight[main], weight[used]]
        return CodeSets.of_pairs(at[order], nodes[order], weights[order], len(gold))

    def note_duplicate_ids(self) -> None:
        times = Counter(filter(None, self.ids))
        if twice := [key for key, count in times.items() if count > 1]:
            self.counts["duplicate_ids"] = sum(times[key] for key in twice)
            said = f"{len(twice):,} ids stand more than once: {name_some(twice)}; all their rows are used"
            self.notes.append(f"{self.table.name}: {said}")


def shorten(text: str) -> str:
    """The text on one line, at most 80 characters."""
    line = " ".join(text.split())
    return line if len(line) <= _SHOWN else line[: _SHOWN - 3] + "..."
