"""Lines that could not be read as a row: counted, described, and written to a file as they come."""

import csv
from pathlib import Path
from typing import Any, TextIO

_KEPT = 5
_VALUE_LIMIT = 2000


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
        path: CSV file with the columns ``line, reason, value``, created with the first reject and not before. None
            keeps only the count and the first five for the message.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        self.count = 0
        self.first: list[tuple[int, str]] = []
        self._stream: TextIO | None = None

    def add(self, line: int, reason: str, value: str) -> None:
        """``line`` is 1-based; ``value`` is what stood there, cut after 2,000 characters."""
        self.count += 1
        if len(self.first) < _KEPT:
            self.first.append((line, reason))
        if self.path is None:
            return
        if self._stream is None:
            self._stream = self.path.open("w", encoding="utf-8", errors="backslashreplace", newline="")
            csv_writer(self._stream).writerow(["line", "reason", "value"])
        csv_writer(self._stream).writerow([line, reason, value[:_VALUE_LIMIT]])

    def close(self) -> None:
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def message(self) -> str:
        """One paragraph for the terminal, empty when nothing was rejected."""
        if not self.count:
            return ""
        shown = "; ".join(f"line {line}: {reason}" for line, reason in self.first)
        more = f" and {self.count - len(self.first)} more" if self.count > len(self.first) else ""
        where = f"; all in {self.path}" if self.path is not None else "; keep them with --rejects FILE"
        noun = "line" if self.count == 1 else "lines"
        return f"{self.count} unreadable {noun} left out ({shown}{more}){where}"
