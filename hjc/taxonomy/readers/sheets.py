"""Tables as offices publish them: CSV, TSV, text and Excel, plain or gzip, with titles above the header or without."""

import difflib
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

from hjc.errors import TaxonomyError
from hjc.tables import ReadOptions, Rejects, open_cells
from hjc.taxonomy.csvio import as_taxonomy_error

#: rows above the header (titles, dates, notes) that are looked through
HEADER_ROWS = 40
EXCEL = (".xlsx", ".xlsm", ".xls")
DELIMITED = (".csv", ".tsv", ".txt", ".tab")
PARQUET = (".parquet", ".pq")
_BLANKS = re.compile(r"[\s\u00a0\u200b\u200d\ufeff]+")


def suffix_of(path: Path) -> str:
    """Lower-case ending of a file name, without ``.gz``."""
    suffixes = [s.lower() for s in path.suffixes]
    if suffixes and suffixes[-1] == ".gz":
        suffixes.pop()
    return suffixes[-1] if suffixes else ""


def simple(name: str) -> str:
    """A column name as it is compared: letters and digits, lower case, without accents."""
    bare = unicodedata.normalize("NFKD", name)
    return "".join(c for c in bare if c.isalnum()).lower()


def tidy(text: str) -> str:
    """One line: runs of blanks (also no-break and zero-width ones) become one blank."""
    return _BLANKS.sub(" ", text).strip()


def lines_of(text: str) -> list[str]:
    """The non-empty lines of a cell that holds a list, each once."""
    return list(dict.fromkeys(line for part in text.splitlines() if (line := tidy(part))))


@dataclass
class Sheet:
    """A table with a header. n rows.

    Attributes:
        path: the file.
        name: file name, and the sheet's name behind "#" in a workbook with several.
        header: names of the columns.
        rows: n rows of as many cells as the header has, text.
        lines: line (or Excel row) of each, the first line of the file is 1.
        malformed: row number -> why the row is not one (too few cells, ...).
        columns: logical name -> name in this file, as the user mapped them.
    """

    path: Path
    name: str
    header: list[str]
    rows: list[list[str]]
    lines: list[int]
    malformed: dict[int, str] = field(default_factory=dict)
    columns: Mapping[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.rows)

    def find(self, *aliases: str) -> int | None:
        """Number of the column with the first of these names that is there, None without one.

        Raises TaxonomyError where several columns have the name and not the same cells.
        """
        found = _find(self.header, aliases, self.columns)
        if found is not None:
            name = simple(self.header[found])
            others = [i for i, h in enumerate(self.header) if i != found and simple(h) == name]
            if any(row[i] != row[found] for i in others for row in self.rows):
                raise TaxonomyError(
                    f"{self.name}: {len(others) + 1} columns are called {self.header[found]!r}; give all but the right "
                    "one another name"
                )
        return found

    def need(self, *aliases: str) -> int:
        """As :meth:`find`. Raises TaxonomyError with the nearest name when there is none."""
        found = self.find(*aliases)
        if found is None:
            raise TaxonomyError(f"{self.name}: {_missing([aliases], self.header, self.columns)}")
        return found

    def column(self, *aliases: str) -> list[str]:
        """The n cells of the column :meth:`need` finds."""
        return self.cells(self.need(*aliases))

    def optional(self, *aliases: str) -> list[str]:
        """The n cells of the column :meth:`find` finds; "" everywhere without one."""
        return self.cells(self.find(*aliases))

    def cells(self, column: int | None) -> list[str]:
        """The n cells of a column; "" everywhere for None."""
        return [""] * len(self.rows) if column is None else [row[column] for row in self.rows]


def _find(header: Sequence[str], aliases: Iterable[str], columns: Mapping[str, str]) -> int | None:
    names = [simple(h) for h in header]
    for alias in aliases:
        wanted = simple(columns.get(alias, alias))
        if wanted in names:
            return names.index(wanted)
    return None


def _missing(groups: Iterable[Sequence[str]], header: Sequence[str], columns: Mapping[str, str]) -> str:
    """What is missing, what is there, and the nearest name of each missing column."""
    present = {simple(h): h for h in header if h}
    parts = []
    for aliases in groups:
        near = next((m for a in aliases for m in difflib.get_close_matches(simple(a), list(present), 1, 0.6)), None)
        hint = f" (did you mean {present[near]!r}? Then map it: {aliases[0]}={present[near]})" if near else ""
        wanted = columns.get(aliases[0], aliases[0])
        parts.append(f"no column {wanted!r}{hint}")
    shown = [h for h in header if h]
    more = f" and {len(shown) - 20} more" if len(shown) > 20 else ""
    return f"{'; '.join(parts)}. Columns are {', '.join(map(repr, shown[:20])) or 'none'}{more}"


def _whole(rows: Iterable[tuple[int, list[str]]], rejects: Rejects, path: Path) -> Iterator[tuple[int, list[str]]]:
    with as_taxonomy_error():
        yield from rows
        rejects.refuse(str(path))


def open_sheets(
    path: Path, *, encoding: str | None = None, separator: str | None = None
) -> Iterator[tuple[str, Iterable[tuple[int, list[str]]]]]:
    """(sheet name, numbered rows) of a file; one nameless sheet for text files.

    Raises:
        FileNotFoundError: no such file.
        TaxonomyError: not text in the encoding, a broken workbook, a quote that is never closed.
        ImportError: an Excel file without openpyxl or xlrd.
    """
    if suffix_of(path) not in (*DELIMITED, *EXCEL, *PARQUET):
        known = ", ".join((*DELIMITED, *EXCEL, *PARQUET))
        raise TaxonomyError(f"{path}: the name does not tell the format; known are {known}")
    options, rejects = ReadOptions.given(encoding=encoding, separator=separator), Rejects()
    with as_taxonomy_error():
        if suffix_of(path) in (".tsv", ".tab", ".txt") and separator is None:
            tabs = replace(options, separator="tab", quote="")
            head = (islice(rows, HEADER_ROWS) for _, rows in open_cells(path, tabs))
            if any(len(row) > 1 for rows in head for _, row in rows):
                # The O*NET text release does not quote: a quotation mark there is part of the text.
                options = tabs if suffix_of(path) == ".txt" else replace(options, separator="tab")
        for title, rows in open_cells(path, options, rejects=rejects):
            yield title, _whole(rows, rejects, path)


def read_sheet(
    path: Path,
    required: Sequence[Sequence[str]],
    *,
    columns: Mapping[str, str] | None = None,
    encoding: str | None = None,
    separator: str | None = None,
) -> Sheet:
    """The first table of a file whose header has all the required columns.

    In a workbook every sheet is tried, and in each the first 40 rows: titles and notes stand above many headers.

    Args:
        required: for each column that must be there the names it may have. Case, blanks and punctuation do not count.
        columns: logical name (the first of the names) -> name of the column in this file.

    Raises:
        TaxonomyError: no header is found; names the nearest columns, and the sheets that were looked at.
        FileNotFoundError, ImportError: see :func:`open_sheets`.
    """
    columns = columns or {}
    best: tuple[int, str, list[str]] = (-1, "", [])
    looked = []
    for title, numbered in open_sheets(path, encoding=encoding, separator=separator):
        looked.append(title)
        iterator = iter(numbered)
        for line, row in islice(iterator, HEADER_ROWS):
            header = [tidy(cell) for cell in row]
            found = sum(_find(header, aliases, columns) is not None for aliases in required)
            if found == len(required):
                name = f"{path.name}#{title}" if title else path.name
                return _fill(path, name, header, iterator, columns, line)
            # the row with the most of them, then with the most cells, is what the user has to mend
            if any(header) and (found, sum(map(bool, header))) > (best[0], sum(map(bool, best[2]))):
                best = (found, title, header)
    if not best[2]:
        raise TaxonomyError(f"{path} is empty; expected columns {', '.join(repr(a[0]) for a in required)}")
    lacking = [aliases for aliases in required if _find(best[2], aliases, columns) is None]
    sheets = f" (sheets looked at: {', '.join(map(repr, looked))})" if len(looked) > 1 else ""
    raise TaxonomyError(f"{path}: {_missing(lacking, best[2], columns)}{sheets}")


def _fill(
    path: Path,
    name: str,
    header: list[str],
    rows: Iterable[tuple[int, list[str]]],
    columns: Mapping[str, str],
    line: int,
) -> Sheet:
    while header and not header[-1]:  # spreadsheets have empty columns at the right
        header.pop()
    excel = suffix_of(path) in EXCEL
    sheet = Sheet(path, name, header, [], [], columns=columns)
    width = len(header)
    for number, cells in rows:
        if not any(cell.strip() for cell in cells):
            continue
        if not excel and (len(cells) < width or any(cell.strip() for cell in cells[width:])):
            sheet.malformed[len(sheet.rows)] = f"{len(cells)} cells where the header has {width}"
        sheet.rows.append(cells)
        sheet.lines.append(number)
    if excel:  # some columns have no name: their cells are kept
        filled = (max((i for i, cell in enumerate(row) if cell.strip()), default=-1) + 1 for row in sheet.rows)
        width = max(width, max(filled, default=0))
        header += [""] * (width - len(header))
    sheet.rows = [(row + [""] * (width - len(row)))[:width] for row in sheet.rows]
    return sheet
