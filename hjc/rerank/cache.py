"""Answers on disk, by the content of their request: JSON lines, appended whole, so a kill loses one line at most."""

import json
import os
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from threading import Lock
from typing import Any


def request_key(
    model: str, messages: Sequence[Mapping[str, str]], schema: Mapping[str, Any], parameters: Mapping[str, Any]
) -> str:
    """SHA-256 (hex) of everything that an answer depends on. The address is no part of it: a model has one name."""
    content = {"model": model, "messages": list(messages), "schema": schema, "parameters": parameters}
    text = json.dumps(content, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


class AnswerCache:
    """A dictionary of answers and the file behind it. Several processes may append to one file.

    A line is ``{"key": ..., "model": ..., "answer": {...}, "tokens": [prompt, completion]}``. The file has neither the
    texts that were sent nor the key of the endpoint; an answer may quote an ad. What cannot be read (the last line
    after a kill) is skipped and counted in ``broken``.

    Raises:
        ValueError: a file that holds something else. OSError: a folder that cannot be written.
    """

    def __init__(self, path: str | Path | None = None) -> None:
        self.path = Path(path) if path else None
        self.broken = 0
        self._answers: dict[str, dict[str, Any]] = {}
        self._lock = Lock()
        self._stream: int | None = None
        if self.path is not None and self.path.exists():
            self._read(self.path)

    def _read(self, path: Path) -> None:
        good = 0
        with path.open("rb") as stream:
            for line in stream:
                try:
                    row = json.loads(line)
                    self._answers[str(row["key"])] = dict(row["answer"])
                    good += 1
                except (ValueError, KeyError, TypeError):
                    self.broken += bool(line.strip())
        if self.broken > 1 and not good:
            raise ValueError(f"{path}: not a cache of answers ({self.broken} lines cannot be read); give another name")

    def __len__(self) -> int:
        return len(self._answers)

    def __enter__(self) -> "AnswerCache":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def get(self, key: str) -> dict[str, Any] | None:
        """The answer to a request, None where there is none."""
        with self._lock:
            return self._answers.get(key)

    def put(self, key: str, answer: dict[str, Any], *, model: str = "", tokens: tuple[int, int] | None = None) -> None:
        """Keep an answer; on disk before this returns."""
        row = {"key": key, "model": model, "answer": answer, "tokens": list(tokens) if tokens else None}
        line = json.dumps(row, ensure_ascii=True).encode() + b"\n"
        with self._lock:
            self._answers[key] = answer
            if self.path is not None:
                if self._stream is None:
                    self._stream = self._open(self.path)
                os.write(self._stream, line)

    @staticmethod
    def _open(path: Path) -> int:
        path.parent.mkdir(parents=True, exist_ok=True)
        stream = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
        size = os.fstat(stream).st_size
        if size and os.pread(stream, 1, size - 1) != b"\n":
            os.write(stream, b"\n")  # a line that a kill cut off must not swallow the next one
        return stream

    def close(self) -> None:
        """Close the file; the answers stay."""
        with self._lock:
            if self._stream is not None:
                os.close(self._stream)
                self._stream = None
