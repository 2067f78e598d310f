"""How a table is to be read, and which formats there are. Nothing heavy is imported here."""

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hjc.errors import check_choice

#: formats of one file that are read and written
FORMATS = ("csv", "tsv", "parquet", "jsonl", "xlsx")
#: formats that are only read: old Excel, a folder of Hugging Face datasets, a pair of plain text files, a desk's store
READABLE = (*FORMATS, "xls", "datasets", "plain", "desk")
SUFFIXES = {
    ".csv": "csv", ".txt": "csv", ".tsv": "tsv", ".tab": "tsv", ".parquet": "parquet", ".pq": "parquet",
    ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl", ".xlsx": "xlsx", ".xlsm": "xlsx", ".xls": "xls",
    ".db": "desk",
}  # fmt: skip
COMPRESSED = (".gz", ".bz2", ".xz")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadOptions:
    """What a reader is told; everything is found out by default.

    Args:
        format: auto goes by the file name (csv for streams), else one of :data:`READABLE`; ``jsonl`` is any JSON.
        separator: of CSV: auto finds comma, semicolon, tab or bar; else one character, or "tab".
        encoding: of text: auto is UTF-8 with or without byte order mark, or UTF-16/32 with one; else a Python codec.
        quote: the character around cells that hold separators or line breaks; "" where quotes mean nothing.
        sheet: of a workbook, by name, or of a desk's store (training, ratings, audit, final); "" is the first.
        codes_path: with format plain, the second file: line i has the code of the text on line i.
    """

    format: str = "auto"
    separator: str = "auto"
    encoding: str = "auto"
    quote: str = '"'
    sheet: str = ""
    codes_path: str = ""

    def __post_init__(self) -> None:
        check_choice("format", self.format, ("auto", *READABLE))
        if self.separator not in ("auto", "tab") and (len(self.separator) != 1 or self.separator in '"\r\n'):
            raise ValueError(f"separator: got {self.separator!r}, allowed are auto, tab or one character but no quote")
        if len(self.quote) > 1:
            raise ValueError(f"quote: got {self.quote!r}, allowed are one character, or nothing")

    @classmethod
    def given(cls, **values: Any) -> "ReadOptions":
        """Options of a command: those that are None are found out."""
        return cls(**{key: value for key, value in values.items() if value is not None})


def format_of(path: str | Path, given: str | None = None, *, option: str = "--format", writing: bool = False) -> str:
    """The format of a file: as given, else by its name (before ``.gz``, ``.zip`` ...); ``-`` is CSV, a folder datasets.

    Args:
        option: the command line's name for ``given``, for the message.
        writing: only what can be written is allowed.

    Raises:
        ValueError: unknown format or suffix; names the option that says it.
    """
    allowed = FORMATS if writing else READABLE
    if given is not None and given != "auto":
        check_choice(option, given, allowed)
        if writing and given != "xlsx" and Path(path).suffix.lower() in (".xlsx", ".xlsm", ".xls"):
            raise ValueError(
                f"{path} would hold {given} under the name of a workbook; name it .{given}, or leave {option} out"
            )
        return given
    if path == "-":
        return "csv"
    if Path(path).is_dir() and not writing:
        return "datasets"
    found = SUFFIXES.get(inner_suffix(path), "")
    if found not in allowed:
        known = ", ".join(suffix for suffix, kind in SUFFIXES.items() if kind in allowed)
        raise ValueError(
            f"{path}: the name does not tell the format; let it end in {known}, or give {option} {'|'.join(allowed)}"
        )
    return found


def inner_suffix(path: str | Path) -> str:
    """The ending that tells the format, lower case: ``.csv`` of a.CSV.gz, and of a.zip with the member b.csv."""
    suffixes = [s.lower() for s in Path(path).suffixes]
    outer = suffixes.pop() if suffixes else ""
    if outer == ".zip" and (not suffixes or suffixes[-1] not in SUFFIXES) and Path(path).is_file():
        with Path(path).open("rb") as stream:
            return Path(zip_member(stream, str(path))[1]).suffix.lower()
    if outer in (*COMPRESSED, ".zip"):
        return suffixes[-1] if suffixes else ""
    return outer


def zip_member(stream: Any, label: str) -> tuple[zipfile.ZipFile, str]:
    """The open archive and the name of its only file.

    Raises:
        ValueError: no archive, or not one file in it.
    """
    try:
        archive = zipfile.ZipFile(stream)
    except zipfile.BadZipFile as error:
        raise ValueError(f"{label}: cannot be read: {error}; is the file complete?") from None
    names = [n for n in archive.namelist() if not n.endswith("/") and not n.startswith("__MACOSX/")]
    if len(names) != 1:
        shown = ", ".join(names[:5]) or "nothing"
        raise ValueError(f"{label}: one file in the archive is needed, it holds {shown}; unpack it and give the file")
    return archive, names[0]
