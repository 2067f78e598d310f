"""Answers of models on disk, by the content of their request: a killed run goes on, a repeated one asks nothing."""

import json
import os
import sqlite3
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from threading import Lock
from typing import Any, Self

#: keys of one query; SQLite's default limit is 32,766 variables
_QUERY = 500


def request_key(*parts: Any) -> str:
    """SHA-256 (hex) of everything that an answer depends on: text, numbers, lists and mappings of them."""
    return sha256(json.dumps(parts, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


class AnswerCache:
    """Answers in a SQLite file that only its owner can read (None: in memory). What was put is on disk.

    Several threads and processes may use one file. It has neither the texts that were sent nor the key of an endpoint;
    an answer may quote a text.

    Raises:
        ValueError: the file is something else. OSError: a folder that cannot be written.
    """

    def __init__(self, path: str | Path | None = None) -> None:
        self.path = Path(path) if path else None
        self._new = self.path is not None and not self.path.exists()
        if self.path is not None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600))
        self._lock = Lock()
        self._db = sqlite3.connect(str(self.path or ":memory:"), timeout=60, check_same_thread=False)
        try:
            with self._db:
                self._db.execute("CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, answer TEXT NOT NULL)")
        except sqlite3.DatabaseError as error:
            self._db.close()
            raise ValueError(f"{path}: not a cache of answers ({error}); give another name") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        useless = error[0] is not None and self._new and not len(self)
        self.close()
        if useless and self.path is not None:  # an input that could not be read leaves nothing behind
            self.path.unlink(missing_ok=True)

    def __len__(self) -> int:
        with self._lock:
            return int(self._db.execute("SELECT count(*) FROM answers").fetchone()[0])

    def get(self, keys: Sequence[str]) -> dict[str, Any]:
        """key -> answer, of those that are there."""
        out: dict[str, Any] = {}
        for i in range(0, len(keys), _QUERY):
            some = list(keys[i : i + _QUERY])
            with self._lock:
                query = f"SELECT key, answer FROM answers WHERE key IN ({','.join('?' * len(some))})"
                rows = self._db.execute(query, some).fetchall()
            out |= {key: json.loads(answer) for key, answer in rows}
        return out

    def put(self, answers: Mapping[str, Any]) -> None:
        """Keep answers (what JSON can say); on disk before this returns."""
        with self._lock, self._db:
            rows = [(key, json.dumps(answer)) for key, answer in answers.items()]
            self._db.executemany("INSERT OR REPLACE INTO answers VALUES (?, ?)", rows)

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._db.close()
