"""Rows and what :func:`hjc.rerank.ads.read_ad` makes of their texts: each is read once."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np

from hjc.arrays import BoolArray, IntArray
from hjc.data.jobdata import JobData
from hjc.rerank.ads import Ad, read_ad


@dataclass(frozen=True)
class ReadRows:
    """n rows of ``data``, and their ``ads``."""

    data: JobData
    ads: tuple[Ad, ...]

    @classmethod
    def of(cls, data: JobData) -> Self:
        return cls(data, tuple(map(read_ad, data.texts)))

    def __len__(self) -> int:
        return len(self.ads)

    @cached_property
    def kinds(self) -> np.ndarray[Any, np.dtype[np.object_]]:
        """(n,) of title, ad, body, nothing."""
        return np.array([ad.kind for ad in self.ads], dtype=object)

    def are(self, *kinds: str) -> BoolArray:
        """(n,) whether a row is of one of these kinds."""
        return np.isin(self.kinds, kinds)

    def take(self, rows: IntArray | BoolArray) -> Self:
        at = np.flatnonzero(rows) if rows.dtype == bool else rows
        return type(self)(self.data.take(at), tuple(self.ads[i] for i in at.tolist()))
