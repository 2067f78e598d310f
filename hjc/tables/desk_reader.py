"""The store of a coder's desk (``hjc serve``, a SQLite file) as tables: its views, named as the sheets of a workbook.

``training`` (the first: rows to train on), ``ratings`` (a line for each ad and coder), ``audit`` (the random sample),
``final`` (a line for each ad). Columns of the ads stand beside those of the view.
"""

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from urllib.request import pathname2url

from hjc.errors import check_choice
from hjc.tables.base import CellsReader, Record
from hjc.tables.options import ReadOptions
from hjc.tables.rejects import Rejects
from hjc.tables.source import Source

SHEETS = ("training", "ratings", "audit", "final")
#: columns of the views that are not cells
_INNER = ("fields", "batch_id")


class DeskReader(CellsReader):
    """One view of a store, read without changing it, also while a service writes to it."""

    def __init__(self, source: Source, options: ReadOptions, rejects: Rejects, rows: int) -> None:
        super().__init__(source, rejects, rows)
        self.sheet = options.sheet or SHEETS[0]
        check_choice("sheet", self.sheet, SHEETS)
        if source.stream is not None or source.path == "-":
            raise ValueError(f"{self.label}: the store of a desk is read from a file, not from a stream")
        source.check()
        address = f"file:{pathname2url(str(Path(source.path).resolve()))}?mode=ro"
        self._file = sqlite3.connect(address, uri=True)
        try:
            found = self._file.execute(f"SELECT * FROM desk_{self.sheet} LIMIT 0").description
            given = self._fields()
        except sqlite3.DatabaseError as error:
            self._file.close()
            raise ValueError(f"{self.label}: no store of hjc serve ({error})") from None
        self._own = [name for name, *_ in found]
        #: column of the table -> column of the ads
        self._given = {f"ad_{name}" if name in self._own else name: name for name in given}
        self.columns = [*(name for name in self._own if name not in _INNER), *self._given]
        self._records = self._read()

    def __exit__(self, *error: object) -> None:
        self._file.close()
        super().__exit__(*error)

    def _fields(self) -> list[str]:
        """The columns that the ads came with."""
        if self.sheet == "ratings":
            return []
        query = "SELECT DISTINCT each.key FROM ads, json_each(ads.fields) each WHERE ads.fields IS NOT NULL ORDER BY 1"
        return [name for (name,) in self._file.execute(query)]

    def _read(self) -> Iterator[Record]:
        for number, row in enumerate(self._file.execute(f"SELECT * FROM desk_{self.sheet}"), 1):
            values = dict(zip(self._own, row, strict=True))
            fields = json.loads(values.get("fields") or "{}")
            cells = [_cell(values[name]) for name in self._own if name not in _INNER]
            yield number, cells + [_cell(fields.get(name)) for name in self._given.values()], []


def _cell(value: object) -> str:
    return "" if value is None else value if isinstance(value, str) else repr(value)
