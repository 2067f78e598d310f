"""JobData: the one form in which texts and their codes reach a classifier. n rows, N nodes of the taxonomy."""

import hashlib
import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt

from hjc.arrays import BoolArray, Float32, IntArray
from hjc.data.codesets import CodeSets, Target
from hjc.data.side import side_of
from hjc.taxonomy.tree import Taxonomy

#: gold of a row without a code
UNLABELLED = -1
_COLUMNS = ("texts", "gold", "language", "source", "weight", "group", "row", "id")


@dataclass(frozen=True, eq=False, repr=False)
class JobData:
    """Texts with gold codes on one taxonomy. Columns that are left out are filled: "" or weight 1.

    Args:
        taxonomy: the tree that ``gold`` points into.
        texts: n texts, never None; already joined from the text columns.
        gold: (n,) node number of the code, leaf or inner; -1 where there is none. Default: none anywhere.
        language: n language codes, "" where unknown.
        source: n names of where the row is from, "" where unknown.
        weight: (n,) float32, weights of the rows in the loss. Default 1.
        group: (n,) number of the group of near-duplicates (or of a group column); rows of one group belong on
            one side of a split. None: not known.
        row: (n,) 0-based position of the row in its file.
        id: n identifiers from the file, "" where there is none.
        sets: all acceptable codes of each row, its ``gold`` first; None where no row has more than one.

    Raises:
        ValueError: columns differ in length, a weight is negative or not finite, gold is not a node number, or the
            first codes of ``sets`` are not those of ``gold``.
        TypeError: a text is not a string.
    """

    taxonomy: Taxonomy
    texts: tuple[str, ...]
    gold: IntArray = None  # type: ignore[assignment]  # filled in __post_init__
    language: tuple[str, ...] = ()
    source: tuple[str, ...] = ()
    weight: Float32 = None  # type: ignore[assignment]
    group: IntArray | None = None
    row: IntArray = None  # type: ignore[assignment]
    id: tuple[str, ...] = ()
    sets: CodeSets | None = None

    def __post_init__(self) -> None:
        n = len(self.texts)
        fill: dict[str, Any] = {"texts": tuple(self.texts)}
        for name in ("language", "source", "id"):
            values = tuple(getattr(self, name))
            fill[name] = values if values or n == 0 else ("",) * n
        gold, weight, row = self.gold, self.weight, self.row
        fill["gold"] = np.full(n, UNLABELLED, np.int64) if gold is None else np.asarray(gold, dtype=np.int64)
        fill["weight"] = np.ones(n, np.float32) if weight is None else np.asarray(weight, dtype=np.float32)
        fill["row"] = np.arange(n, dtype=np.int64) if row is None else np.asarray(row, dtype=np.int64)
        if self.group is not None:
            fill["group"] = np.asarray(self.group, dtype=np.int64)
        for name, value in fill.items():
            if len(value) != n or (isinstance(value, np.ndarray) and value.ndim != 1):
                raise ValueError(f"{name}: got {np.shape(value)} for {n} texts; every column needs one value a text")
            object.__setattr__(self, name, value)
        bad = next((i for i, text in enumerate(self.texts) if not isinstance(text, str)), None)
        if bad is not None:
            raise TypeError(
                f"texts: row {bad} is {type(self.texts[bad]).__name__}, expected str; drop or fill it first"
            )
        if n and (self.gold.min() < UNLABELLED or self.gold.max() >= len(self.taxonomy)):
            raise ValueError(
                f"gold: got {self.gold.min()} to {self.gold.max()}, allowed are node numbers -1 (no code) to "
                f"{len(self.taxonomy) - 1} of {self.taxonomy.name!r}"
            )
        if self.sets is not None:
            if not np.array_equal(self.sets.first, self.gold):
                raise ValueError("sets: the first code of each row must be its gold code, and no row may be left out")
            if self.sets.nodes.max(initial=0) >= len(self.taxonomy):
                raise ValueError(f"sets: a code is no node number of {self.taxonomy.name!r}")
            if not self.sets.several.any():
                object.__setattr__(self, "sets", None)
        if n and not (np.isfinite(self.weight).all() and (self.weight >= 0).all()):
            raise ValueError("weight: got a negative or not finite value, allowed are numbers from 0")

    # ------------------------------------------------------------------ looking

    def __len__(self) -> int:
        return len(self.texts)

    def __repr__(self) -> str:
        languages = ",".join(sorted(set(self.language) - {""})) or "?"
        return f"JobData({len(self):,} rows, {int((self.gold >= 0).sum()):,} labelled, languages={languages})"

    @property
    def codes(self) -> tuple[str, ...]:
        """n codes, "" where a row has none."""
        names = (*self.taxonomy.codes, "")  # gold -1 reads the last entry
        return tuple(names[i] for i in self.gold.tolist())

    @property
    def is_labelled(self) -> BoolArray:
        """(n,) True where a row has a code."""
        return np.asarray(self.gold >= 0)

    @property
    def target(self) -> Target:
        """What a row is learnt from and measured by: ``gold`` (n,), or ``sets`` where rows have several codes."""
        return self.gold if self.sets is None else self.sets

    @property
    def code_lists(self) -> tuple[tuple[str, ...], ...]:
        """n tuples of all acceptable codes, the main one first."""
        if self.sets is None:
            return tuple((code,) if code else () for code in self.codes)
        named, ends = [self.taxonomy.codes[i] for i in self.sets.nodes.tolist()], self.sets.indptr.tolist()
        return tuple(tuple(named[a:b]) for a, b in itertools.pairwise(ends))

    @property
    def hash(self) -> str:
        """SHA-256 (hex) of texts and codes in their order: names a data set in a model's provenance."""
        digest = hashlib.sha256()
        codes = self.codes if self.sets is None else map("|".join, self.code_lists)
        for text, code in zip(self.texts, codes, strict=True):
            data = text.encode("utf-8", "surrogatepass")
            digest.update(b"%d:%s>%d:%s;" % (len(data), data, len(code), code.encode()))
            if side := side_of(text):
                digest.update(repr(sorted(side.items())).encode("utf-8", "surrogatepass"))
        return digest.hexdigest()

    # ------------------------------------------------------------------ making others

    def take(self, indices: npt.ArrayLike) -> "JobData":
        """The rows at ``indices`` (integers, any order) or where a boolean mask (n,) is True."""
        index = np.asarray(indices)
        if index.dtype == bool:
            if index.shape != (len(self),):
                raise ValueError(f"take: got a mask of shape {index.shape} for {len(self)} rows")
            index = np.flatnonzero(index)
        index = index.astype(np.int64).reshape(-1)  # an empty list arrives as float
        columns = {name: value for name in _COLUMNS if (value := getattr(self, name)) is not None}
        taken: dict[str, Any] = {
            name: tuple(map(value.__getitem__, index.tolist())) if isinstance(value, tuple) else value[index]
            for name, value in columns.items()
        }
        return replace(self, **taken, sets=None if self.sets is None else self.sets[index])

    def spread(self) -> "JobData":
        """A row for each code: what a row weighs is shared among its codes. For methods that know one code a row.

        Their loss, the mean of -ln P(code) over a row's codes, lies above that of the set, -ln P(any of them).
        """
        if self.sets is None:
            return self
        at = np.r_[self.sets.row, np.flatnonzero(self.gold < 0)]
        node = np.r_[self.sets.nodes, np.full(len(at) - len(self.sets.nodes), UNLABELLED)]
        share = np.r_[self.sets.share, np.ones(len(at) - len(self.sets.nodes))]
        order = np.argsort(at, kind="stable")
        found = replace(self, sets=None).take(at[order])
        return replace(found, gold=node[order], weight=(found.weight * share[order]).astype(np.float32))

    def labelled(self) -> "JobData":
        """The rows that have a code."""
        return self if self.is_labelled.all() else self.take(self.is_labelled)

    def truncate(self, depth: int) -> "JobData":
        """The same rows on ``taxonomy.truncate(depth)``; deeper codes become their ancestor at that level."""
        new = np.r_[self.taxonomy.truncation_map(depth), UNLABELLED]  # gold -1 reads the last entry
        sets = None if self.sets is None else self.sets.mapped(new[:-1])
        return replace(self, taxonomy=self.taxonomy.truncate(depth), gold=new[self.gold], sets=sets)

    @classmethod
    def concat(cls, parts: Iterable["JobData"]) -> "JobData":
        """The rows of all parts in their order. Groups of different parts stay different.

        Raises:
            ValueError: no part was given, or parts lie on different taxonomies.
        """
        items = list(parts)
        if not items:
            raise ValueError("concat: got no parts, at least one is needed")
        first = items[0]
        for other in items[1:]:
            if other.taxonomy is not first.taxonomy and other.taxonomy != first.taxonomy:
                raise ValueError(
                    f"concat: parts lie on different taxonomies, {first.taxonomy!r} and {other.taxonomy!r}"
                )
        group: IntArray | None = None
        if any(part.group is not None for part in items):
            pieces: list[IntArray] = []
            start = 0
            for part in items:  # a part without groups: every row is a group of its own
                piece = np.arange(len(part)) if part.group is None else part.group
                pieces.append(np.unique(piece, return_inverse=True)[1].astype(np.int64) + start)
                start += len(np.unique(piece))
            group = np.concatenate(pieces)
        joined: dict[str, Any] = {"group": group}
        if any(part.sets is not None for part in items):
            joined["sets"] = CodeSets.concat(part.sets or CodeSets.of_gold(part.gold) for part in items)
        for name in _COLUMNS:
            if name != "group":
                columns = [getattr(part, name) for part in items]
                joined[name] = tuple(chain(*columns)) if isinstance(columns[0], tuple) else np.concatenate(columns)
        return cls(first.taxonomy, **joined)

    @classmethod
    def from_lists(
        cls,
        taxonomy: Taxonomy,
        texts: Sequence[str],
        codes: Sequence[str | Sequence[str] | None] | None = None,
        languages: Sequence[str] | None = None,
        sources: Sequence[str] | None = None,
        weights: npt.ArrayLike | None = None,
        groups: npt.ArrayLike | None = None,
        ids: Sequence[str] | None = None,
    ) -> "JobData":
        """Build from plain lists. A code that is None or "" means the row has none; a list of codes, that any is right.

        Raises:
            TaxonomyError: a code is unknown.
            ValueError: lengths differ.
        """
        n = len(texts)
        gold, sets = np.full(n, UNLABELLED, np.int64), None
        if codes is not None:
            if len(codes) != n:
                raise ValueError(f"codes: got {len(codes)} for {n} texts; every text needs a code, or None")
            given = [[c] if isinstance(c, str) else list(c) for c in (code or () for code in codes)]
            row = np.repeat(np.arange(n), [len(some) for some in given])
            found = CodeSets.of_pairs(row, taxonomy.encode([str(c) for some in given for c in some]), None, n)
            gold, sets = found.first, found
        return cls(
            taxonomy=taxonomy,
            texts=tuple(texts),
            gold=gold,
            language=tuple(languages or ()),
            source=tuple(sources or ()),
            weight=None if weights is None else np.asarray(weights, dtype=np.float32),  # type: ignore[arg-type]
            group=None if groups is None else np.asarray(groups, dtype=np.int64),
            id=tuple(ids or ()),
            sets=sets,
        )
