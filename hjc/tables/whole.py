"""Tables of texts from files: CSV, TSV, Parquet, JSON Lines, Hugging Face datasets and pairs of plain files.

Every cell comes as text, exactly as it is written (a code keeps its leading zeros), and every row keeps its place:
a malformed row stays where it is, marked with its problem, so nothing after it is shifted.
"""

import bz2
import csv
import difflib
import gzip
import io
import itertools
import lzma
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
import pandas as pd

from hjc.arrays import IntArray, ObjectArray
from hjc.tables.encodings import explain_undecodable, sniff_encoding
from hjc.tables.records import read_datasets, read_jsonl, read_parquet, text_series

SEPARATORS = (",", ";", "\t", "|")
SUFFIXES = {
    ".csv": "csv", ".txt": "csv", ".tsv": "tsv", ".tab": "tsv", ".parquet": "parquet", ".pq": "parquet",
    ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl",
}  # fmt: skip
_OPENERS: dict[str, Any] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
_SNIFF_CHARS = 65_536
#: put after the last line: where it does not come out as a row of its own, a quote was left open
_END = "\x00end of file\x00"


@dataclass
class Table:
    """What a file holds. n rows.

    Attributes:
        frame: n rows of text; "" where a cell is empty or absent.
        line: (n,) where each row starts in the file, as a person counts: the header is line 1. Without lines
            (Parquet, datasets): 1 for the first row.
        problem: n reasons why a row is malformed, "" for good rows. Its cells are then as far as they could be read.
        name: the file's name, for messages.
    """

    frame: pd.DataFrame
    line: IntArray
    problem: ObjectArray
    name: str

    def __len__(self) -> int:
        return len(self.frame)

    def whole(self) -> pd.DataFrame:
        """The frame. Raises ValueError where a row is malformed."""
        if (bad := np.flatnonzero(self.problem != "")).size:
            first = bad[0]
            more = f" and {bad.size - 1} more malformed rows" if bad.size > 1 else ""
            raise ValueError(f"{self.name}: line {self.line[first]}: {self.problem[first]}{more}")
        return self.frame

    def column(self, name: str) -> pd.Series:
        """A column. Raises ValueError with the columns that are there and the nearest name."""
        self.check_columns([name])
        return self.frame[name]

    def check_columns(self, names: Iterable[str]) -> None:
        """Raise ValueError where a column is not there, with the columns that are and the nearest name."""
        present = [str(c) for c in self.frame.columns]
        for name in names:
            if name not in present:
                by_lower = {c.casefold(): c for c in present}
                near = difflib.get_close_matches(name.casefold(), list(by_lower), n=1, cutoff=0.5)
                hint = f"; did you mean {by_lower[near[0]]!r}?" if near else ""
                only = len(present) == 1 and any(s in present[0] for s in SEPARATORS)
                hint += " The header looks unsplit: set the separator." if only else ""
                raise ValueError(
                    f"{self.name}: no column {name!r}; columns are {', '.join(map(repr, present)) or 'none'}{hint}"
                )


def read_table(path: str | Path | IO[bytes], **options: Any) -> pd.DataFrame:
    """All rows of a file as text (see :func:`read_rows` for the options).

    Raises:
        ValueError: as read_rows, and where a row is malformed; read_rows returns such rows marked instead.
    """
    return read_rows(path, **options).whole()


def read_rows(
    path: str | Path | IO[bytes],
    *,
    format: str = "auto",
    separator: str = "auto",
    quote: str = '"',
    encoding: str = "auto",
    codes_path: str | Path | None = None,
) -> Table:
    """Read a file, a datasets directory, "-" (standard input) or an open binary stream.

    Args:
        path: .csv .tsv .txt .parquet .jsonl .json, also with .gz .bz2 .xz; or a directory of `save_to_disk`.
        format: auto goes by the file name (and csv for streams); csv, tsv, parquet, jsonl, datasets or plain.
        separator: auto finds comma, semicolon, tab or bar; else one character, or "tab".
        quote: the character around cells that hold separators or line breaks; "" where quotes mean nothing.
        encoding: auto is UTF-8 with or without byte order mark, or UTF-16/32 with one; else a Python codec name.
        codes_path: with format plain, the second file: line i has the code of the text on line i.

    Raises:
        FileNotFoundError: no such file.
        ValueError: unknown format, undecodable bytes (with what they are in other encodings), unbalanced quotes,
            a duplicate or empty column name, plain files of different lengths.
    """
    if codes_path is not None:
        return _read_plain(Path(str(path)), Path(codes_path), encoding)
    local = None if path == "-" or hasattr(path, "read") else Path(str(path))
    name = str(local) if local else "standard input" if path == "-" else str(getattr(path, "name", "the stream"))
    if local is not None and not local.exists():
        near = difflib.get_close_matches(local.name, _names_in(local.parent), n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise FileNotFoundError(f"no such file: {local}{hint}")
    kind = format_of(local, format)
    if kind == "plain":
        raise ValueError(f"{name}: format plain is a pair of files; set codes_path to the one with a code a line")
    if kind == "datasets" and local is None:
        raise ValueError(f"{name}: format datasets is a directory, not a stream")
    if kind == "datasets":
        return _table(*read_datasets(cast(Path, local)), name)
    if kind == "parquet":
        return _table(*read_parquet(local if local is not None else io.BytesIO(_binary(path).read()), name), name)
    with _open_text(path, encoding, name) as stream:
        if kind == "jsonl":
            return _table(*read_jsonl(stream, name), name)
        return _read_csv(stream, name, "\t" if separator == "tab" else separator, quote, prefer_tab=kind == "tsv")


def _names_in(folder: Path) -> list[str]:
    return [p.name for p in folder.iterdir()] if folder.is_dir() else []


def format_of(path: Path | None, format: str = "auto") -> str:
    """The format of a file: as given, else by its name (before ``.gz``); a folder is of Hugging Face datasets.

    Raises:
        ValueError: unknown format or suffix.
    """
    allowed = "csv, tsv, parquet, jsonl, datasets, plain"
    if format != "auto":
        if format not in allowed.split(", "):
            raise ValueError(f"format: got {format!r}, allowed are auto, {allowed}")
        return format
    if path is None:
        return "csv"
    if path.is_dir():
        return "datasets"
    suffixes = [s.lower() for s in path.suffixes]
    if suffixes and suffixes[-1] in _OPENERS:
        suffixes.pop()
    if suffixes and suffixes[-1] in SUFFIXES:
        return SUFFIXES[suffixes[-1]]
    raise ValueError(f"{path}: the name does not tell the format; set it to one of {allowed} (Excel: save as CSV)")


def _binary(path: Any) -> IO[bytes]:
    if path == "-":
        return sys.stdin.buffer
    if hasattr(path, "read"):
        return path
    return _OPENERS.get(Path(path).suffix.lower(), open)(path, "rb")


@contextmanager
def _open_text(path: Any, encoding: str, name: str) -> Iterator[IO[str]]:
    """A text stream with line ends as they are. Undecodable bytes raise ValueError with suggestions."""
    binary = io.BufferedReader(cast(Any, _binary(path)))
    try:
        codec = sniff_encoding(binary.peek(4096)[:4096], name) if encoding == "auto" else encoding
        try:
            text = io.TextIOWrapper(binary, encoding=codec, newline="")
        except LookupError as error:
            raise ValueError(f"{name}: encoding: got {encoding!r}, which Python does not know; for example utf-8, "
                             "cp1250, iso-8859-2, utf-16") from error  # fmt: skip
        try:
            yield text
        except UnicodeDecodeError as error:
            raise ValueError(explain_undecodable(name, codec, error)) from error
        finally:
            text.detach()
    except (OSError, EOFError, lzma.LZMAError) as error:
        if isinstance(error, FileNotFoundError | PermissionError):
            raise
        raise ValueError(f"{name}: cannot be read: {error}; is the file complete?") from error
    finally:
        if path == "-" or hasattr(path, "read"):
            binary.detach()  # closing it is the caller's
        else:
            binary.close()


# ---------------------------------------------------------------------------------------------- CSV and TSV


def sniff_separator(sample: str, *, prefer_tab: bool = False) -> str:
    """The separator of , ; tab | that cuts the header in at least two and the most rows into as many cells."""
    best, best_score = ",", (0.0, 0)
    for separator in SEPARATORS:
        try:
            rows = [row for row in csv.reader(io.StringIO(sample, newline=""), delimiter=separator) if row]
        except csv.Error:
            continue
        rows = rows[:-1] if len(rows) > 2 else rows  # the sample may end within a row
        width = len(rows[0]) if rows else 0
        if width < 2:
            continue
        if separator == "\t" and prefer_tab:
            return separator
        score = (round(sum(len(row) == width for row in rows) / len(rows), 1), width)
        if score > best_score:
            best, best_score = separator, score
    return best


def _read_csv(stream: IO[str], name: str, separator: str, quote: str, *, prefer_tab: bool) -> Table:
    csv.field_size_limit(2**31 - 1)  # the default of 131,072 is less than a long ad with its HTML
    head, size = [], 0
    for raw in stream:
        head.append(raw)
        size += len(raw)
        if size > _SNIFF_CHARS:
            break
    if separator == "auto":
        separator = sniff_separator("".join(head), prefer_tab=prefer_tab)
    elif len(separator) != 1:
        raise ValueError(f"{name}: separator: got {separator!r}, allowed are auto, tab or one character")
    lines = itertools.chain(head, stream, [_END])
    if quote:
        reader = csv.reader(lines, delimiter=separator, quotechar=quote)
    else:
        reader = csv.reader(lines, delimiter=separator, quoting=csv.QUOTE_NONE)
    header = next(reader)
    if header == [_END]:
        raise ValueError(f"{name}: the file is empty; a first line with column names is needed")
    _check_header(header, name)
    width = len(header)
    rows: list[list[str]] = []
    line: list[int] = []
    problem: dict[int, str] = {}
    start = reader.line_num + 1
    for row in reader:
        end = reader.line_num
        if len(row) != width and row != [_END]:
            if row:
                spread = f", over lines {start} to {end}: is a quote not closed?" if end > start else ""
                problem[len(rows)] = f"{len(row)} cells where the header has {width}{spread}"
            elif width > 1:
                problem[len(rows)] = "blank line"
            row = (row + [""] * width)[:width]
        rows.append(row)
        line.append(start)
        start = end + 1
    if not rows or rows.pop() != [_END]:
        opened = line[-1] if line else 1
        raise ValueError(
            f"{name}: a quote that opens in the row of line {opened} is never closed and swallows the rest; "
            "double it, remove it, or read without quotes (quote='')"
        )
    line.pop()
    while rows and problem.get(len(rows) - 1) == "blank line":  # line breaks at the end of a file are no rows
        del problem[len(rows) - 1]
        rows.pop()
        line.pop()
    columns: Sequence[Sequence[str]] = list(zip(*rows, strict=True)) if rows else [()] * width
    frame = pd.DataFrame({key: text_series(cells) for key, cells in zip(header, columns, strict=True)})
    return _table(frame, line, problem, name)


def _check_header(header: list[str], name: str) -> None:
    for i, key in enumerate(header):
        header[i] = key.strip()
    if twice := sorted({c for c in header if header.count(c) > 1 and c}):
        raise ValueError(f"{name}: column {twice[0]!r} stands {header.count(twice[0])} times in the header; rename one")
    for i, key in enumerate(header):
        header[i] = key or f"unnamed_{i + 1}"  # an index column that pandas wrote
    if len(set(header)) != len(header):
        raise ValueError(f"{name}: unnamed columns clash with named ones; name every column in the header")


# ---------------------------------------------------------------------------------------------- plain pairs


def _read_plain(texts: Path, codes: Path, encoding: str) -> Table:
    columns = []
    for path in (texts, codes):
        if not path.is_file():
            raise FileNotFoundError(f"no such file: {path}")
        with _open_text(path, encoding, str(path)) as stream:
            # only at line feeds: str.splitlines would also cut at U+2028 or a form feed within a text
            lines = stream.read().split("\n")
        if lines[-1] == "":
            lines.pop()
        columns.append([x.removesuffix("\r") for x in lines])
    if len(columns[0]) != len(columns[1]):
        raise ValueError(f"{texts} has {len(columns[0]):,} lines and {codes} has {len(columns[1]):,}; line i of one "
                         "belongs to line i of the other, so they must be equally long")  # fmt: skip
    frame = pd.DataFrame({"text": text_series(columns[0]), "code": text_series(columns[1])})
    return _table(frame, list(range(1, len(frame) + 1)), {}, str(texts))


def _table(frame: pd.DataFrame, line: list[int], problem: dict[int, str], name: str) -> Table:
    problems = np.full(len(line), "", dtype=object)
    for i, reason in problem.items():
        problems[i] = reason
    return Table(frame=frame, line=np.array(line, dtype=np.int64), problem=problems, name=name)
