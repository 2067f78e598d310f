"""The first codes of some levels as columns of a table: how they are called, and their cells."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hjc.arrays import BoolArray, FloatArray, IntArray
from hjc.errors import name_some
from hjc.taxonomy import Taxonomy


@dataclass(frozen=True)
class CodeColumns:
    """Codes, titles and probabilities of the first ``top_k`` at each level.

    With the prefix ``hjc_``: ``hjc_level4_code_1, hjc_level4_title_1, hjc_level4_proba_1``, then rank 2 and so on, then
    the next level. Each level is ranked for itself by its marginal probability, so the first code of level 4 need not
    lie under the first of level 3. A level with fewer codes than ``top_k`` gets as many ranks as it has codes.

    Raises:
        ValueError: a level, ``top_k`` or title language that the taxonomy does not have.
    """

    taxonomy: Taxonomy
    levels: tuple[int, ...] = ()
    top_k: int = 1
    prefix: str = "hjc_"
    title_language: str | None = None

    def __post_init__(self) -> None:
        tree = self.taxonomy
        levels = dict.fromkeys(tree.check_level(level) for level in self.levels or (tree.depth,))
        object.__setattr__(self, "levels", tuple(levels))
        if self.top_k < 1:
            raise ValueError(f"--top-k: got {self.top_k}, allowed are integers from 1")
        if self.title_language is not None and self.title_language not in tree.titles:
            raise ValueError(
                f"--language: the taxonomy {tree.name!r} has no titles in {self.title_language!r}; "
                f"it has {', '.join(map(repr, tree.titles)) or 'none at all'}"
            )

    def ranks(self, level: int) -> int:
        """How many ranks a level gets."""
        return min(self.top_k, len(self.taxonomy.level_nodes(level)))

    def of_level(self, level: int) -> dict[str, str]:
        """Column -> ``text`` or ``number`` of a level, in order."""
        kinds = {"code": "text", "title": "text", "proba": "number"}
        return {
            f"{self.prefix}level{level}_{what}_{rank}": kind
            for rank in range(1, self.ranks(level) + 1)
            for what, kind in kinds.items()
        }

    def top(self, level: int, log_proba: FloatArray) -> tuple[IntArray, FloatArray]:
        """Nodes and probabilities (b, ranks) of the first codes, from (b, K) log-probabilities of a level."""
        from hjc.classifiers.base import top_k_columns  # which imports pandas

        columns, proba = top_k_columns(log_proba, self.ranks(level))
        return self.taxonomy.level_nodes(level)[columns], proba

    def cells(
        self, level: int, size: int, at: IntArray, nodes: IntArray, proba: FloatArray, shown: BoolArray
    ) -> dict[str, list[Any]]:
        """The columns of a level: the codes (m, ranks) of the rows ``at`` (m,) of ``size`` where they are ``shown``
        (m, ranks), None elsewhere."""
        codes, titles = (np.empty(len(self.taxonomy), dtype=object) for _ in range(2))
        for node in np.unique(nodes).tolist():
            codes[node], titles[node] = self.taxonomy.codes[node], self.taxonomy.title(node, self.title_language)
        out: dict[str, list[Any]] = {}
        for name, values in zip(self.of_level(level), self._by_rank(codes[nodes], titles[nodes], proba), strict=True):
            rank, column = len(out) // 3, np.full(size, None, dtype=object)
            column[at[shown[:, rank]]] = values[shown[:, rank]]
            out[name] = column.tolist()
        return out

    @staticmethod
    def _by_rank(*tables: Any) -> list[Any]:
        return [table[:, rank] for rank in range(tables[0].shape[1]) for table in tables]


def check_free(new: Sequence[str], columns: Sequence[str]) -> None:
    """Raise ValueError when the input already has a column of that name (it was coded before, say)."""
    present = {*columns, *(c.strip() for c in columns)}
    if taken := [c for c in new if c in present]:
        raise ValueError(
            f"the input already has {name_some(taken)}; give the new columns another prefix, e.g. --prefix new_"
        )
