"""The bytes of an input: a file, standard input or an open stream; decompressed, and decoded for text formats."""

import bz2
import codecs
import gzip
import lzma
import shutil
import stat
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from difflib import get_close_matches
from io import BufferedReader, TextIOWrapper
from pathlib import Path
from typing import IO, Any

from hjc.files import binary
from hjc.tables.options import zip_member

OPENERS: dict[str, Any] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
#: what a damaged or cut off compressed file raises
DAMAGE = (EOFError, OSError, lzma.LZMAError, zlib.error, zipfile.BadZipFile)
#: what can be read as a table
Input = str | Path | IO[bytes]
#: tried to show the user what the bytes would be; first those of the languages that job data comes in
CANDIDATES = ("cp1250", "iso-8859-2", "cp1252", "cp1251", "utf-16-le")

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16: its mark begins with the same two bytes
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


class Source:
    """An input that is open for reading; a context manager. A stream of the caller stays open."""

    def __init__(self, path: Input) -> None:
        self.stream = None if isinstance(path, str | Path) else path
        self.path = str(getattr(path, "name", "the stream")) if self.stream is not None else str(path)
        self.label = "standard input" if self.path == "-" else self.path
        self._stack = ExitStack()
        self._raw: IO[bytes] | None = None
        self._again = False  # whether it can be gone through twice
        #: size in bytes of the file, None for streams
        self.size: int | None = None

    def close(self) -> None:
        self._stack.close()

    def fraction(self) -> float | None:
        """How much of the file has been read, 0 to 1; None when unknown."""
        if not self.size or self._raw is None or self._raw.closed:
            return None
        return min(1.0, self._raw.tell() / self.size)

    def check(self) -> None:
        """Raise FileNotFoundError or ValueError where there is no such file."""
        file = Path(self.path)
        if not file.exists():
            names = [p.name for p in file.parent.iterdir()] if file.parent.is_dir() else []
            near = get_close_matches(file.name, names, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise FileNotFoundError(f"no such file: {self.path}{hint}")
        if file.is_dir():
            raise ValueError(f"{self.path} is a directory; give one file")

    def binary(self, *, again: bool = False) -> IO[bytes]:
        """The bytes, decompressed. ``again``: they can be gone through twice (a pipe is kept in a temporary file)."""
        raw: IO[bytes]
        if self.stream is not None:
            raw = self.stream
        elif self.path == "-":
            raw = binary(sys.stdin)
        else:
            self.check()
            raw = self._stack.enter_context(Path(self.path).open("rb"))  # noqa: SIM115
            status = Path(self.path).stat()
            if stat.S_ISREG(status.st_mode):
                self._raw, self.size, self._again = raw, status.st_size, True
            suffix = Path(self.path).suffix.lower()
            if suffix in OPENERS:
                raw = self._stack.enter_context(OPENERS[suffix](raw, "rb"))
            elif suffix == ".zip":
                archive, name = zip_member(raw, self.label)
                raw = self._stack.enter_context(self._stack.enter_context(archive).open(name))
        if not again or self._again:
            return raw
        spool = self._stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115  closed by the stack
        with self.readable():
            shutil.copyfileobj(raw, spool)
        spool.seek(0)
        self._again = True
        return spool

    def text(self, encoding: str, *, newline: str, again: bool = False) -> TextIOWrapper:
        """The decoded input; a file is decoded once in full before, so that a wrong encoding shows at once."""
        raw = self.binary(again=again)
        buffered: Any = raw if hasattr(raw, "peek") else BufferedReader(raw)
        with self.readable():
            head = buffered.peek(4096)[:4096]
        codec = sniff_encoding(head, self.label) if encoding == "auto" else encoding
        try:
            if codecs.lookup(codec).name == "utf-8" and head.startswith(codecs.BOM_UTF8):
                codec = "utf-8-sig"
            if self._again:
                self._check_decodes(buffered, codec)
            text = TextIOWrapper(buffered, encoding=codec, newline=newline)
        except LookupError:
            raise ValueError(
                f"encoding: got {encoding!r}, which Python does not know; for example utf-8, cp1250, utf-16"
            ) from None
        if buffered is not raw:
            self._stack.callback(buffered.detach)
        self._stack.callback(text.detach)  # the stack closes the bytes; standard input stays open
        return text

    @contextmanager
    def readable(self, codec: str = "") -> Iterator[None]:
        """What damaged or undecodable bytes raise becomes one ValueError."""
        try:
            yield
        except UnicodeDecodeError as error:
            raise ValueError(explain_undecodable(self.label, codec or error.encoding, error)) from None
        except DAMAGE as error:
            raise ValueError(f"{self.label}: cannot be read: {error}; is the file complete?") from None

    def lines(self, stream: TextIOWrapper) -> Iterator[str]:
        """The lines of a text with their ends."""
        with self.readable(stream.encoding):
            for line in stream:  # noqa: UP028  "yield from" would close the stream with the generator
                yield line

    def _check_decodes(self, raw: IO[bytes], codec: str) -> None:
        decoder = codecs.getincrementaldecoder(codec)()
        with self.readable(codec):
            while block := raw.read(1 << 20):
                decoder.decode(block)
            decoder.decode(b"", final=True)
            raw.seek(0)


def sniff_encoding(head: bytes, name: str) -> str:
    """The encoding that the first bytes of a file show: by its byte order mark, else UTF-8.

    Raises:
        ValueError: every other byte is zero, so it is UTF-16 without a mark.
    """
    for mark, codec in _MARKS:
        if head.startswith(mark):
            return codec
    if len(head) >= 8:
        for offset, codec in ((1, "utf-16-le"), (0, "utf-16-be")):
            zeros = head[offset::2]
            if zeros.count(0) > 0.4 * len(zeros):
                raise ValueError(f"{name}: looks like UTF-16 without a byte order mark; set the encoding to {codec}")
    return "utf-8"


def explain_undecodable(name: str, codec: str, error: UnicodeDecodeError) -> str:
    """What the undecodable bytes are in other encodings, so that a person can pick the right one."""
    data, at = bytes(error.object), error.start
    start = max(data.rfind(b"\n", 0, at) + 1, at - 20)
    stop = data.find(b"\n", at)
    piece = data[start : min(stop if stop >= 0 else len(data), at + 20)]
    shown = []
    for candidate in CANDIDATES:
        if codecs.lookup(candidate).name == codecs.lookup(codec).name:
            continue
        try:
            text = piece.decode(candidate).strip()
        except UnicodeDecodeError:
            continue
        if candidate == "utf-16-le" and not all(c.isprintable() and ord(c) < 0x2000 for c in text):
            continue
        shown.append(f"{candidate} ({text!r})")
    return (
        f"{name}: byte 0x{data[at]:02x} is not {codec}. Say the encoding that reads right (--encoding NAME, or "
        "data.encoding=NAME in hjc train): "
        + (", ".join(shown) or ", ".join(CANDIDATES))
        + "; or convert the file to UTF-8"
    )
