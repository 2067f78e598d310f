"""Probabilities of rows that are needed again, spooled to a file."""

import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import IO, Any

import numpy as np

from hjc.arrays import Float64, FloatArray, IntArray
from hjc.taxonomy import Taxonomy


class Spool:
    """Level log-probabilities of rows in a temporary file, to be gone through again and again."""

    def __init__(self, tree: Taxonomy) -> None:
        self.tree = tree
        self._file: IO[bytes] = tempfile.TemporaryFile(prefix="hjc-estimate-")  # noqa: SIM115
        self._weight: list[Float64] = []
        self.domain: list[tuple[str, ...]] = []
        self.unit: list[str] = []

    def add(
        self,
        level_log_proba: FloatArray,
        weight: Float64,
        domain: Iterable[tuple[str, ...]],
        unit: Iterable[str] | None = None,
    ) -> None:
        self._file.write(np.ascontiguousarray(level_log_proba, dtype=np.float32).tobytes())
        self._weight.append(weight)
        self.domain.extend(domain)
        self.unit.extend(unit or ())

    @property
    def weights(self) -> Float64:
        """Of all rows."""
        if len(self._weight) > 1:
            self._weight = [np.concatenate(self._weight)]
        return self._weight[0]

    def rows_of(self, domain: tuple[str, ...]) -> IntArray:
        """Positions of the rows of a domain; to be asked when all rows are in."""
        return self._positions[domain]

    @cached_property
    def _positions(self) -> dict[tuple[str, ...], IntArray]:
        number = {d: i for i, d in enumerate(dict.fromkeys(self.domain))}
        member = np.array([number[d] for d in self.domain])
        order = np.argsort(member, kind="stable")
        parts = np.split(order, np.flatnonzero(np.diff(member[order])) + 1)
        return dict(zip(number, parts, strict=True))

    def batches(self, rows: IntArray) -> "SpooledRows":
        self._file.flush()
        data = np.memmap(self._file, dtype=np.float32, mode="r", shape=(len(self.domain), self.tree.num_leaves))
        return SpooledRows(data, rows)


@dataclass(frozen=True)
class SpooledRows:
    """Some rows of a spool as batches; every iteration starts anew."""

    data: Any
    rows: IntArray

    def __iter__(self) -> Iterator[FloatArray]:
        for start in range(0, len(self.rows), 4096):
            yield np.asarray(self.data[self.rows[start : start + 4096]])
