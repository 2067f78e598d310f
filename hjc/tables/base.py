"""What every reader of a table shares: the bytes, their encoding, the columns, a line at a time."""

import bz2
import codecs
import gzip
import lzma
import shutil
import sys
import tempfile
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from difflib import get_close_matches
from io import BufferedReader, TextIOWrapper
from pathlib import Path
from typing import IO, Any

import pyarrow as pa

from hjc.tables.chunks import Chunk
from hjc.tables.encodings import explain_undecodable, sniff_encoding
from hjc.tables.rejects import Rejects
from hjc.tables.whole import SUFFIXES

FORMATS = ("csv", "tsv", "parquet", "jsonl")
#: a chunk is closed early when its rows hold so many characters, so that long texts do not fill the memory
CHUNK_CHARACTERS = 32 << 20
OPENERS: dict[str, Any] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
#: what a compressed file that was cut off raises
DAMAGE = (EOFError, OSError, lzma.LZMAError)


def format_of(path: str, given: str | None, *, option: str) -> str:
    """The format of a file: as given, else by its suffix (before ``.gz``); ``-`` is CSV.

    Raises:
        ValueError: unknown format or suffix; names the option that says it.
    """
    if given is not None:
        if given not in FORMATS:
            raise ValueError(f"{option}: got {given!r}, allowed are {', '.join(FORMATS)}")
        return given
    if path == "-":
        return "csv"
    suffixes = [s.lower() for s in Path(path).suffixes]
    if suffixes and suffixes[-1] in OPENERS:
        suffixes.pop()
    if not suffixes or suffixes[-1] not in SUFFIXES:
        raise ValueError(
            f"{path}: the name does not tell the format; let it end in {', '.join(SUFFIXES)} "
            f"or give {option} {'|'.join(FORMATS)} (Excel: save as CSV)"
        )
    return SUFFIXES[suffixes[-1]]


def find_column(columns: Sequence[str], name: str, path: str) -> int:
    """The position of a column; white space around names in the header does not count.

    Raises:
        ValueError: it is absent (all columns and the nearest name are listed) or stands twice.
    """
    stripped = [c.strip() for c in columns]
    for present in (list(columns), stripped):
        if (count := present.count(name)) == 1:
            return present.index(name)
        if count > 1:
            raise ValueError(f"{path}: column {name!r} stands {count} times; give it a name of its own")
    folded = {c.casefold(): c for c in stripped}
    near = get_close_matches(name.casefold().strip(), list(folded), n=1, cutoff=0.5)
    hint = f"; did you mean {folded[near[0]]!r}?" if near else ""
    shown = ", ".join(repr(c) for c in columns[:30]) + (f" and {len(columns) - 30} more" if len(columns) > 30 else "")
    if len(columns) == 1 and any(s in columns[0] for s in ",;\t|"):
        hint += " The header looks unsplit: give --separator."
    raise ValueError(f"{path}: no column {name!r}; columns are {shown}{hint}")


class Reader(ABC):
    """An open input: its columns, and its rows chunk by chunk. Use it as a context manager.

    Args:
        path: file, or ``-`` for standard input.
        rejects: receives lines that are no rows.
        rows: rows of a chunk.
    """

    def __init__(self, path: str, rejects: Rejects, rows: int) -> None:
        self.path = path
        self.label = "standard input" if path == "-" else path
        self.rejects = rejects
        self.rows = rows
        self.columns: list[str] = []
        self._stack = ExitStack()
        self._raw: IO[bytes] | None = None
        #: size in bytes of the file, None for standard input
        self.size: int | None = None

    def __enter__(self) -> "Reader":
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    @property
    def delimiter(self) -> str:
        """The separator of a CSV input, so that a CSV output can use the same; a comma for other formats."""
        return ","

    @abstractmethod
    def chunks(self) -> Iterator[Chunk]: ...

    @abstractmethod
    def schema(self) -> pa.Schema:
        """The Arrow schema for a Parquet output."""

    def fraction(self) -> float | None:
        """How much of the file has been read, 0 to 1; None when unknown."""
        if not self.size or self._raw is None or self._raw.closed:
            return None
        return min(1.0, self._raw.tell() / self.size)

    def _open_binary(self, *, seekable: bool = False) -> IO[bytes]:
        """The bytes of the input, decompressed. ``seekable`` spools standard input to a temporary file."""
        if self.path == "-":
            if not seekable:
                return sys.stdin.buffer
            spool = self._stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115  closed by the stack
            shutil.copyfileobj(sys.stdin.buffer, spool)
            spool.seek(0)
            return spool
        if not Path(self.path).exists():
            raise FileNotFoundError(f"no input file at {self.path}")
        if Path(self.path).is_dir():
            raise ValueError(f"{self.path} is a directory; give one file")
        raw: IO[bytes] = self._stack.enter_context(Path(self.path).open("rb"))  # noqa: SIM115
        self._raw, self.size = raw, Path(self.path).stat().st_size
        if (opener := OPENERS.get(Path(self.path).suffix.lower())) is not None:
            return self._stack.enter_context(opener(raw, "rb"))
        return raw

    def _open_text(self, encoding: str | None, *, newline: str, seekable: bool = False) -> TextIOWrapper:
        """The decoded input; a file is decoded once in full before, so that a wrong encoding shows at once."""
        raw = self._open_binary(seekable=seekable)
        buffered: Any = raw if hasattr(raw, "peek") else BufferedReader(raw)
        try:
            head = buffered.peek(4096)[:4096]
        except DAMAGE as error:
            raise damaged(self.label, error) from None
        codec = encoding or sniff_encoding(head, self.label)
        try:
            if codecs.lookup(codec).name == "utf-8" and head.startswith(codecs.BOM_UTF8):
                codec = "utf-8-sig"
        except LookupError:
            raise ValueError(
                f"--encoding: got {encoding!r}, which Python does not know; for example utf-8, cp1250, utf-16"
            ) from None
        if self.path != "-":
            self._check_decodes(buffered, codec)
        text = TextIOWrapper(buffered, encoding=codec, newline=newline)
        self._stack.callback(text.detach)  # the stack closes the bytes; standard input stays open
        return text

    def _check_decodes(self, raw: IO[bytes], codec: str) -> None:
        decoder = codecs.getincrementaldecoder(codec)()
        try:
            while block := raw.read(1 << 20):
                decoder.decode(block)
            decoder.decode(b"", final=True)
        except UnicodeDecodeError as error:
            raise ValueError(explain_undecodable(self.label, codec, error)) from None
        except DAMAGE as error:
            raise damaged(self.label, error) from None
        raw.seek(0)


def damaged(label: str, error: BaseException) -> ValueError:
    """The error of a file that ends too early."""
    return ValueError(f"{label}: cannot be read: {error}; is the file complete?")


class Lines:
    """The lines of a stream for csv.reader, with the lines of the record at hand and a way to give them back."""

    def __init__(self, stream: TextIOWrapper, label: str) -> None:
        self._stream = stream
        self._label = label
        self._back: deque[str] = deque()
        self.number = 0
        self.taken: list[str] = []
        self.exhausted = False

    def __iter__(self) -> "Lines":
        return self

    def __next__(self) -> str:
        try:
            line = self._back.popleft() if self._back else self._stream.readline()
        except UnicodeDecodeError as error:
            raise ValueError(explain_undecodable(self._label, self._stream.encoding, error)) from None
        except DAMAGE as error:
            raise damaged(self._label, error) from None
        if not line:
            self.exhausted = True
            raise StopIteration
        self.number += 1
        self.taken.append(line)
        return line

    def give_back(self, lines: list[str]) -> None:
        """Put lines in front of what is still to be read."""
        self._back.extendleft(reversed(lines))
        self.number -= len(lines)
        self.exhausted = False
