"""Rows of ``hjc estimate``: read chunk by chunk, spooled where they are needed again, drawn again for a bootstrap."""

import tempfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import IO, Any

import numpy as np

from hjc.arrays import Float64, FloatArray, IntArray
from hjc.data.recipe import OK, TextRecipe
from hjc.statistics import PoissonBootstrap
from hjc.tables import Reader, find_column
from hjc.taxonomy import Taxonomy


@dataclass
class Counted:
    """Rows of an input, and those that no share can be made of, by reason."""

    rows: int = 0
    left_out: dict[str, int] = field(default_factory=dict)
    #: what was done to codes, and what seems to be wrong with the others
    codes: str = ""

    def leave_out(self, reason: str, rows: int = 1) -> None:
        self.left_out[reason] = self.left_out.get(reason, 0) + rows

    def message(self) -> str:
        why = "".join(f"; {count:,} left out ({reason})" for reason, count in self.left_out.items())
        return f"{self.rows:,} rows{why}" + (f". {self.codes}" if self.codes else "")


@dataclass(frozen=True)
class Columns:
    """Which columns mean what: those of the recipe, domains, survey weight, code (for tables that are coded)."""

    recipe: TextRecipe = field(default_factory=TextRecipe)
    by: Sequence[str] = ()
    weights: str | None = None
    code: str | None = None


@dataclass(frozen=True)
class Rows:
    """A chunk: texts that can be coded, domains, weights, and the values of further columns; all of the same rows.
    ``row``: (n,) their 0-based positions among all rows of the input."""

    texts: list[str]
    domain: list[tuple[str, ...]]
    weight: Float64
    more: dict[str, list[str | None]]
    row: IntArray


def read_rows(reader: Reader, columns: Columns, counted: Counted, more: Sequence[str] = ()) -> Iterator[Rows]:
    """The usable rows of a table, chunk by chunk.

    Raises:
        ValueError: a column does not exist, or a weight is no number from 0.
    """
    names = [*columns.recipe.columns, *columns.by, *([columns.weights] if columns.weights else []), *more]
    position = {name: find_column(reader.columns, name, reader.label) for name in names}
    before = 0
    for chunk in reader.chunks():
        value = {name: chunk.texts(at, name) for name, at in position.items()}
        if columns.recipe.columns:
            cleaned, status = columns.recipe.read([value[name] for name in columns.recipe.columns])
        else:
            cleaned, status = [""] * len(chunk), [OK] * len(chunk)
        weight = np.ones(len(chunk))
        if columns.weights:
            weight = np.array([weight_of(v, reader.label, columns.weights) for v in value[columns.weights]])
        use = [i for i, s in enumerate(status) if s == OK]
        for s in status:
            if s != OK:
                counted.leave_out(s)
        counted.rows += len(chunk)
        yield Rows(
            [cleaned[i] for i in use],
            [tuple((value[name][i] or "").strip() for name in columns.by) for i in use],
            weight[use],
            {name: [value[name][i] for i in use] for name in more},
            before + np.array(use, dtype=np.int64),
        )
        before += len(chunk)


def weight_of(value: str | None, path: str, column: str) -> float:
    """A weight as a number. Raises ValueError where it is none, or below 0."""
    try:
        number = float((value or "").strip().replace(",", "."))
    except ValueError:
        number = -1.0
    if not (np.isfinite(number) and number >= 0):
        raise ValueError(f"{path}: column {column!r} holds {value!r}; weights are numbers from 0")
    return number


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


@dataclass
class Draws:
    """A streaming bootstrap for each domain; nothing where ``replicates`` is 0."""

    taxonomy: Taxonomy
    level: int
    replicates: int
    seed: int
    hard: bool
    by_domain: dict[tuple[str, ...], PoissonBootstrap] = field(default_factory=dict)

    def update(self, log_proba: FloatArray, weight: Float64, domain: Sequence[tuple[str, ...]]) -> None:
        if not self.replicates:
            return
        for name in dict.fromkeys(domain):
            rows = np.array([d == name for d in domain])
            if name not in self.by_domain:  # another stream for each: domains are different rows
                seed = zlib.crc32(repr((self.seed, name)).encode())
                self.by_domain[name] = PoissonBootstrap(self.taxonomy, self.level, self.replicates, seed, self.hard)
            self.by_domain[name].update(log_proba[rows], weight[rows])


@dataclass(frozen=True)
class SpooledRows:
    """Some rows of a spool as batches; every iteration starts anew."""

    data: Any
    rows: IntArray

    def __iter__(self) -> Iterator[FloatArray]:
        for start in range(0, len(self.rows), 4096):
            yield np.asarray(self.data[self.rows[start : start + 4096]])
