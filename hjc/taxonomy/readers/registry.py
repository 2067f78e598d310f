"""The readers by name, and the files that each finds in what the user points at."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hjc.errors import TaxonomyError, name_some
from hjc.taxonomy.readers.collect import Collector
from hjc.taxonomy.readers.result import ImportedTaxonomy
from hjc.taxonomy.readers.sheets import DELIMITED, EXCEL, Sheet, read_sheet, suffix_of


@dataclass(frozen=True, kw_only=True)
class ImportOptions:
    """What a user may say about the files.

    Attributes:
        name: what the tree is called ("": the reader's name).
        languages: only these (empty: all).
        language: of texts that do not tell theirs ("": the reader's default).
        columns: logical column name -> name in the files, for renamed columns (and the map of the generic reader).
        encoding, separator: of text files (None: found out; UTF-8).
        digits: cumulative code lengths, for the generic reader.
        skip: tables that hold nothing but such kinds of text are not read (skill, tool ...): those of O*NET are large.
    """

    name: str = ""
    languages: tuple[str, ...] = ()
    language: str = ""
    columns: Mapping[str, str] = field(default_factory=dict)
    encoding: str | None = None
    separator: str | None = None
    digits: tuple[int, ...] = ()
    skip: tuple[str, ...] = ()


@dataclass(frozen=True)
class Table:
    """A table that a reader looks for.

    Attributes:
        role: what it is, for messages.
        pattern: regular expression that its file name fully matches, without regard to case and without ``.gz``.
        required: for each column that must be there the names it may have.
        purpose: what is lacking without it; "" for a table that the reader says itself whether it needs.
        kind: the kind of text it holds, where it holds nothing else (see ``ImportOptions.skip``).
    """

    role: str
    pattern: str
    required: tuple[tuple[str, ...], ...]
    purpose: str = ""
    kind: str = ""

    def fits(self, path: Path) -> bool:
        name = re.sub(r"\.gz$", "", path.name, flags=re.IGNORECASE)
        return re.fullmatch(self.pattern, name, flags=re.IGNORECASE) is not None


class Source:
    """The files that the user points at: files, and folders (not below their first level with readable files)."""

    def __init__(self, paths: Iterable[str | Path], options: ImportOptions, tables: Sequence[Table] = ()) -> None:
        self.options = options
        self.tables = tables
        self.given = [Path(p) for p in paths]
        if not self.given:
            raise ValueError("no path was given: name the files, or a folder that has them")
        self.files: list[Path] = []
        self.explicit: set[Path] = set()
        for path in self.given:
            if path.is_dir():
                found = _readable(path) or [f for sub in sorted(path.iterdir()) if sub.is_dir() for f in _readable(sub)]
                self.files += [f for f in found if f not in self.files]
            elif path.is_file():
                self.explicit.add(path)
                self.files += [path] if path not in self.files else []
            else:
                raise FileNotFoundError(f"no such file or folder: {path}")
        if not self.files:
            raise TaxonomyError(f"{name_some(self.given)}: no {', '.join((*DELIMITED, *EXCEL))} file in it")
        self.taken: set[Path] = set()
        self.notes: list[str] = []

    def read(self, path: Path, table: Table) -> Sheet:
        """One file as the table. Raises TaxonomyError with the nearest columns when it is not."""
        self.taken.add(path)
        return read_sheet(
            path, table.required, columns=self.options.columns, encoding=self.options.encoding,
            separator=self.options.separator,
        )  # fmt: skip

    def all(self, table: Table) -> list[Sheet]:
        """Every file that is this table: by its name; a file named by the user also by its columns alone."""
        out = [self.read(path, table) for path in self.files if path not in self.taken and table.fits(path)]
        if out:
            return out
        unclear = [p for p in self.files if p in self.explicit and not any(t.fits(p) for t in self.tables)]
        for path in [p for p in unclear if p not in self.taken]:
            try:
                return [self.read(path, table)]
            except TaxonomyError:
                self.taken.discard(path)
        return []

    def find(self, table: Table, collector: Collector | None = None) -> Sheet | None:
        """The first such file. Without one its purpose is noted as missing in the report of ``collector``; None, and
        nothing noted, for a table that is not wanted."""
        if table.kind and table.kind in self.options.skip:
            return None
        named = [path for path in self.files if path not in self.taken and table.fits(path)]
        if len(named) > 1:
            others = name_some(path.name for path in named[1:])
            self.notes.append(f"{table.role}: several files have such a name; {named[0].name!r} is read, not {others}")
        found = [self.read(named[0], table)] if named else self.all(table)
        if not found and collector is not None and table.purpose:
            collector.report.missing[table.role] = table.purpose
        return found[0] if found else None

    def lacking(self, tables: Sequence[Table], wanted: str) -> TaxonomyError:
        """The error when none of the tables that a reader starts from is there."""
        for path in sorted(self.explicit - self.taken):  # tells which columns the file lacks
            try:
                self.read(path, tables[0])
            except TaxonomyError as error:
                return error
        names = [p.name for p in self.files]
        return TaxonomyError(f"no {wanted} among {name_some(names, 12)} of {name_some(self.given)}")


def _readable(folder: Path) -> list[Path]:
    return [p for p in sorted(folder.iterdir()) if p.is_file() and suffix_of(p) in (*DELIMITED, *EXCEL)]


Read = Callable[[Source, Collector], ImportedTaxonomy]


@dataclass(frozen=True)
class Reader:
    """A reader: its name, what it reads, and the function."""

    kind: str
    title: str
    files: str
    function: Read
    tables: tuple[Table, ...] = ()


#: kind -> reader, in the order of registration
READERS: dict[str, Reader] = {}


def register(kind: str, title: str, files: str, tables: Sequence[Table] = ()) -> Callable[[Read], Read]:
    """Decorator: make a function available as ``hjc taxonomy import KIND``.

    ``tables`` are those that it tells apart by file name; a file with another name is told by its columns.
    """

    def add(function: Read) -> Read:
        READERS[kind] = Reader(kind, title, files, function, tuple(tables))
        return function

    return add


def import_taxonomy(
    kind: str, paths: str | Path | Sequence[str | Path], options: ImportOptions | None = None
) -> ImportedTaxonomy:
    """Read a taxonomy from the files of its office.

    Args:
        kind: a key of ``READERS`` ("isco08", "esco", "onet", ...).
        paths: a file, a folder, or several of them (an ESCO bundle for each language, say).
        options: see :class:`ImportOptions`.

    Raises:
        ValueError: unknown kind.
        FileNotFoundError: a path does not exist.
        TaxonomyError: no table to build the tree from, a broken file, no code with a place in the tree, or no title in
            any of the languages that were asked for.
        ImportError: an Excel file without the extra ``excel``.
    """
    options = options or ImportOptions()
    if kind not in READERS:
        raise ValueError(f"kind: got {kind!r}, allowed are {', '.join(READERS)}")
    source = Source([paths] if isinstance(paths, str | Path) else paths, options, READERS[kind].tables)
    collector = Collector(kind, options.name or kind, options.languages)
    imported = READERS[kind].function(source, collector)
    imported.report.notes += source.notes
    imported.report.ignored += sorted(str(p) for p in source.files if p not in source.taken)
    absent = [x for x in options.languages if x not in imported.taxonomy.titles]
    if absent:
        have = ", ".join(sorted(collector.found)) or "none"
        if len(absent) == len(options.languages):
            raise TaxonomyError(f"languages: no title is in {', '.join(absent)}; the files have {have}")
        imported.report.notes.append(f"no titles in {', '.join(absent)}; the files have {have}")
    return imported
