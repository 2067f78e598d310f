"""Lines that could not be read as a row: counted, described, and written to a file as they come."""

import csv
from pathlib import Path
from typing import Any, TextIO

_KEPT = 5
_VALUE_LIMIT = 2000
_WAITING = 10_000


class _LineFeeds:
    """A stream for csv.writer that ends rows with a line feed.

    With a line feed as its own terminator the csv module before Python 3.13 leaves carriage returns in cells
    unquoted, and readers would cut the row there; with CR LF it quotes both.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, row: str) -> None:
        self._stream.write(row.removesuffix("\r\n") + "\n")


def csv_writer(stream: TextIO, delimiter: str = ",") -> Any:
    """A ``csv.writer`` whose rows end with a line feed and whose cells come back as they were."""
    return csv.writer(_LineFeeds(stream), delimiter=delimiter, lineterminator="\r\n")


class Rejects:
    """Collects unreadable lines of an input.

    Args:
        path: CSV file with the columns ``line, reason, value``, written from :meth:`begin` on, and not there without
            rejects. None keeps only the count and the first five for the message.
        keep: keep every one in ``lines``.

    Attributes:
        begun: whether the file of an earlier run has gone.
        padded, surplus: rows that were read although their last cells were left out, or had one empty cell too many.
    """

    def __init__(self, path: Path | None = None, *, keep: bool = False) -> None:
        self.path = path
        self.count = self.padded = self.surplus = 0
        self.first: list[tuple[int, str]] = []
        self.lines: list[tuple[int, str, str]] = []
        self._keep = keep
        self._stream: TextIO | None = None
        self.begun = False

    def add(self, line: int, reason: str, value: str) -> None:
        """``line`` is 1-based; ``value`` is what stood there, cut after 2,000 characters."""
        self.count += 1
        if len(self.first) < _KEPT:
            self.first.append((line, reason))
        if not self._keep and self.path is None:
            return
        self.lines.append((line, reason, value[:_VALUE_LIMIT]))
        if self.path is not None and (self.begun or len(self.lines) > _WAITING):
            self.begin()

    def begin(self) -> None:
        """The output has been opened: a file of an earlier run goes, and lines are written as they come."""
        if self.path is None:
            return
        if not self.begun:
            self.path.unlink(missing_ok=True)
            self.begun = True
        if self._stream is None and self.lines:
            self._stream = self.path.open("w", encoding="utf-8", errors="backslashreplace", newline="")
            csv_writer(self._stream).writerow(["line", "reason", "value"])
        if self._stream is not None:
            csv_writer(self._stream).writerows(self.lines)
            self.lines.clear()

    def close(self, *, discard: bool = False) -> None:
        """End the file. ``discard``: the work failed, so that there is to be none (one of an earlier run stays)."""
        if not discard:
            self.begin()
        if self._stream is not None:
            self._stream.close()
            self._stream = None
            if discard and self.path is not None:
                self.path.unlink(missing_ok=True)

    def refuse(self, label: str) -> None:
        """Raise ValueError where a line was no row: for tables that are worth nothing with a hole."""
        if self.count:
            line, reason = self.first[0]
            more = f" and {self.count - 1} more malformed lines" if self.count > 1 else ""
            raise ValueError(f"{label}: line {line}: {reason}{more}")

    def message(self) -> str:
        """One paragraph for the terminal, empty when all rows were as they should be."""
        parts = []
        if self.count:
            shown = "; ".join(f"line {line}: {reason}" for line, reason in self.first)
            more = f" and {self.count - len(self.first)} more" if self.count > len(self.first) else ""
            where = f"; all in {self.path}" if self.path is not None else "; keep them with --rejects FILE"
            noun = "line" if self.count == 1 else "lines"
            parts.append(f"{self.count} unreadable {noun} left out ({shown}{more}){where}")
        return "\n".join([*parts, *self.mended()])

    def mended(self) -> list[str]:
        """Sentences about rows that were not as wide as the header and were read all the same."""
        out = []
        if self.padded:
            out.append(f"{self.padded:,} rows are shorter than the header; their last cells count as empty")
        if self.surplus:
            out.append(f"{self.surplus:,} rows end with one separator too many, which is ignored")
        return out
