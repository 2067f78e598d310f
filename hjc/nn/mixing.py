"""Sources of training rows in a ratio: of a dictionary, say, every epoch goes over another third."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from hjc.arrays import IntArray
from hjc.errors import name_some


@dataclass(frozen=True)
class Mixture:
    """Which rows an epoch goes over; every epoch goes over the same number of them.

    Attributes:
        whole: (m,) rows that every epoch has.
        parts: of each other source its rows in an order by chance, and how many of them an epoch has.
    """

    whole: IntArray
    parts: tuple[tuple[IntArray, int], ...]

    @classmethod
    def of(cls, source: Sequence[str], share: Mapping[str, float], seed: int) -> Self:
        """From the sources of n rows, and the share of the rows of some sources that an epoch has (others: all).

        Raises:
            ValueError: no row has such a source.
        """
        names = np.array(source, dtype=object)
        if unknown := sorted(set(share) - set(source)):
            known = name_some(sorted(set(source) - {""})) or "none: set data.sources with default_source"
            raise ValueError(f"trainer.source_share: no training row is of {name_some(unknown)}; sources are {known}")
        random = np.random.default_rng([seed, 3])
        parts = []
        for name, part in share.items():
            rows = np.flatnonzero(names == name)
            parts.append((random.permutation(rows), max(1, round(part * len(rows)))))
        return cls(np.flatnonzero(~np.isin(names, list(share))), tuple(parts))

    def rows(self, epoch: int) -> IntArray:
        """Rows of an epoch: of each part those behind the ones of the epoch before, from the start after the end."""
        found = [self.whole]
        for rows, number in self.parts:
            found.append(np.take(rows, np.arange(epoch * number, (epoch + 1) * number), mode="wrap"))
        return np.concatenate(found)
