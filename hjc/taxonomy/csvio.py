"""Trees to and from CSV and TSV files, and the reference tool's ``class,name`` hierarchy.

The file has a column of codes, usually a column of parents, and titles and descriptions in any number of
languages: ``code,parent,level,title_en,title_pl,description_en``. Columns that are not about the tree are ignored.
"""

import csv
import gzip
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hjc.errors import TaxonomyError
from hjc.files import write_bytes
from hjc.taxonomy.build import from_edges, from_prefix_codes, longest_prefix_parents
from hjc.taxonomy.spelling import trim
from hjc.taxonomy.tree import Taxonomy

if TYPE_CHECKING:  # importing hjc stays light: tables need pyarrow
    from hjc.tables import ReadOptions

#: the language of a title column that does not say one (ISO 639: undetermined)
UNDETERMINED = "und"
#: names of the code column that are tried after the one asked for; ``class`` is the reference tool's
CODE_COLUMNS = ("code", "class")
_TITLE = re.compile(r"(?:title|name|label)(?:_(?P<language>.+))?")
_DESCRIPTION = re.compile(r"(?:description|definition)(?:_(?P<language>.+))?")
_SEPARATORS = "\t,;|"


@dataclass(frozen=True)
class TaxonomyTable:
    """A taxonomy file as it stands: columns of equal length, nothing checked yet."""

    path: Path
    codes: list[str]
    parents: list[str] | None  # None: the file has no parent column, prefixes are ancestors
    levels: list[str] | None
    titles: dict[str, list[str]]
    descriptions: dict[str, list[str]]
    lines: list[int]  # line of the file on which each row begins, the header is on line 1
    mended: tuple[str, ...]  # sentences about rows that were shorter or longer than the header
    blanks: tuple[str, ...]  # codes and parents that had blanks around or invisible characters in them, taken off
    ignored: tuple[str, ...]  # columns that are not about the tree


@contextmanager
def as_taxonomy_error() -> Iterator[None]:
    """What a table cannot be read for is wrong with the taxonomy."""
    try:
        yield
    except TaxonomyError:
        raise
    except UnicodeError:
        raise
    except ValueError as error:
        raise TaxonomyError(str(error)) from error


def reading(path: str | Path, separator: str | None, encoding: str | None) -> "ReadOptions":
    """How the table of a taxonomy is read; one whose name does not tell the format is CSV."""
    from hjc.tables.options import SUFFIXES, ReadOptions, inner_suffix

    known = Path(path).is_dir() or inner_suffix(path) in SUFFIXES
    return ReadOptions.given(format=None if known else "csv", separator=separator, encoding=encoding)


def read_taxonomy_table(
    path: str | Path,
    *,
    code: str = "code",
    parent: str = "parent",
    separator: str | None = None,
    encoding: str | None = None,
) -> TaxonomyTable:
    """The columns of a taxonomy file, not yet checked to be a tree (see :func:`read_taxonomy_csv`)."""
    from hjc.tables import read_rows

    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no such file: {path}")
    with as_taxonomy_error():
        table = read_rows(path, reading(path, separator, encoding))
        table.rejects.refuse(str(path))
    header = table.columns
    if twice := [column for column in header if header.count(column) > 1]:
        raise TaxonomyError(f"{path}: column {twice[0]!r} stands twice in the header")
    columns = {name: table.cells(i) for i, name in enumerate(header)}

    used = next((c for c in (code, *(CODE_COLUMNS if code == "code" else ())) if c in columns), None)
    if used is None:
        raise TaxonomyError(
            f"{path}: no column {code!r}, the file has {header}. Rename the column of codes, say it (--code NAME of "
            "hjc taxonomy check, code= in Python), or make a file for every command: hjc taxonomy import csv "
            f"{path.name} --column code=NAME --column title_en=NAME -o DIR"
        )
    if parent != "parent" and parent not in columns:
        raise TaxonomyError(
            f"{path}: no column {parent!r}, the file has {header}. Say the column of parents (--parent NAME of hjc "
            "taxonomy check, parent= in Python)"
        )
    texts: dict[str, dict[str, list[str]]] = {"titles": {}, "descriptions": {}}
    ignored = []
    for name, values in columns.items():
        if name in (used, parent, "level"):
            continue
        for kind, pattern in (("titles", _TITLE), ("descriptions", _DESCRIPTION)):
            if match := pattern.fullmatch(name):
                language = match["language"] or UNDETERMINED
                if language in texts[kind]:
                    raise TaxonomyError(f"{path}: two columns of {kind} in language {language!r}; rename one of them")
                texts[kind][language] = values
                break
        else:
            ignored.append(name)
    edges = [*columns[used], *columns.get(parent, ())]
    return TaxonomyTable(
        path=path,
        codes=[trim(value) for value in columns[used]],
        parents=[trim(value) for value in columns[parent]] if parent in columns else None,
        levels=[value.strip() for value in columns["level"]] if "level" in columns else None,
        titles=texts["titles"],
        descriptions=texts["descriptions"],
        lines=table.line.tolist(),
        mended=tuple(table.rejects.mended()),
        blanks=tuple(value for value in edges if value != trim(value)),
        ignored=tuple(ignored),
    )


def stem(path: Path) -> str:
    """File name without its endings: ``isco08.csv.gz`` -> ``isco08``."""
    return path.name.split(".")[0] or path.name


def read_taxonomy_csv(
    path: str | Path,
    *,
    code: str = "code",
    parent: str = "parent",
    name: str | None = None,
    digits: Sequence[int] | None = None,
    separator: str | None = None,
    encoding: str | None = None,
) -> Taxonomy:
    """Read a tree from CSV or TSV, plain or ``.gz``, or whatever else :func:`hjc.tables.open_table` reads.

    Columns: the code; its parent; ``title``, ``name`` or ``label`` and ``description`` or ``definition``, each with a
    language behind an underscore (``title_en``; without one the language is "und"). ``level`` is not needed.
    Without a parent column, as in the reference tool's ``class,name``, the parent of a code is the longest code in the
    file that is a prefix of it; with ``digits`` its prefix at the next length above (see :func:`from_prefix_codes`).

    Args:
        code, parent: names of the columns; ``class`` is also known as the code.
        name: what the tree is called; by default the file name without endings.
        digits: cumulative code lengths; the parent column, if there is one, is then not read.
        separator, encoding: found out by default, see :class:`hjc.tables.ReadOptions`.

    Raises:
        FileNotFoundError: there is no such file.
        TaxonomyError: the file is no table, a column is missing, or the rows are not a tree.
    """
    table = read_taxonomy_table(path, code=code, parent=parent, separator=separator, encoding=encoding)
    name = stem(table.path) if name is None else name
    try:
        if digits is not None:
            return from_prefix_codes(
                table.codes, digits, titles=table.titles, descriptions=table.descriptions, name=name, missing="error"
            )
        parents = longest_prefix_parents(table.codes) if table.parents is None else table.parents
        return from_edges(table.codes, parents, titles=table.titles, descriptions=table.descriptions, name=name)
    except TaxonomyError as error:
        raise TaxonomyError(f"{table.path}: {error}") from error


def read_written(path: Path, name: str) -> Taxonomy:
    """What :func:`write_taxonomy_csv` wrote, without the reader of all tables, whose packages take longer to come.

    A file that is not quite as it was written is read by :func:`read_taxonomy_csv`, which says what is wrong with it.
    """
    with path.open(encoding="utf-8", newline="") as file:
        try:
            header, *rows = csv.reader(file, strict=True)
        except (ValueError, csv.Error):
            return read_taxonomy_csv(path, name=name)
    kinds = [column.split("_", 1) for column in header[3:]]
    plain = all(len(kind) == 2 and kind[0] in ("title", "description") for kind in kinds)
    if (
        header[:3] != ["code", "parent", "level"]
        or not plain
        or len(set(header)) < len(header)
        or any(len(row) != len(header) for row in rows)
        or not rows
    ):
        return read_taxonomy_csv(path, name=name)
    codes, parents, _, *columns = zip(*rows, strict=True)
    texts: dict[str, dict[str, tuple[str, ...]]] = {"title": {}, "description": {}}
    for (kind, language), values in zip(kinds, columns, strict=True):
        texts[kind][language] = values
    try:
        return from_edges(codes, parents, titles=texts["title"], descriptions=texts["description"], name=name)
    except TaxonomyError as error:
        raise TaxonomyError(f"{path}: {error}") from error


def _quoted(field: str) -> str:
    """A field for any of the separators. (``csv.writer`` leaves a lone carriage return bare before Python 3.13.)"""
    return '"' + field.replace('"', '""') + '"' if any(c in field for c in '\r\n"' + _SEPARATORS) else field


def write_taxonomy_csv(taxonomy: Taxonomy, path: str | Path) -> None:
    """Write ``code,parent,level,title_xx...,description_xx...``, UTF-8; reading gives the same tree and texts.

    A name ending in ``.gz`` is compressed, ending in ``.tsv`` separated by tabs. Equal trees give equal bytes.
    """
    path = Path(path)
    separator = "\t" if ".tsv" in path.suffixes[-2:] else ","
    texts = [(f"title_{k}", v) for k, v in taxonomy.titles.items()]
    texts += [(f"description_{k}", v) for k, v in taxonomy.descriptions.items()]
    rows: list[list[str]] = [["code", "parent", "level", *(column for column, _ in texts)]]
    for node, (code, above, level) in enumerate(
        zip(taxonomy.codes, taxonomy.parents.tolist(), taxonomy.level.tolist(), strict=True)
    ):
        parent = taxonomy.codes[above] if above >= 0 else ""
        rows.append([code, parent, str(level), *(values[node] for _, values in texts)])
    write_rows(path, rows, separator)


def write_rows(path: Path, rows: Iterable[Sequence[object]], separator: str = ",") -> None:
    """A UTF-8 table, gzip when the name ends in .gz; equal rows give equal bytes on every machine."""
    data = "".join(separator.join(_quoted(str(cell)) for cell in row) + "\n" for row in rows).encode("utf-8")
    if path.suffix == ".gz":
        packed = io.BytesIO()
        # no file name and no time in the header
        with gzip.GzipFile(filename="", mode="wb", compresslevel=9, fileobj=packed, mtime=0) as file:
            file.write(data)
        data = packed.getvalue()
    write_bytes(path, data)
