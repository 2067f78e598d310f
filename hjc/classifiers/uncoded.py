"""Ads without codes: those a model is surest of, and the level at which their titles and bodies are compared."""

import numpy as np

from hjc.arrays import Float64, IntArray
from hjc.taxonomy import Taxonomy

#: of the uncoded ads so many are looked at, and this share is held back to see whether title and body agree
MOST_UNLABELLED, HELD_BACK = 50_000, 0.2
#: title and body are compared at the level that has about so many codes
AGREE_NODES = 100


def surest(code: IntArray, sure: Float64, share: float) -> IntArray:
    """Ascending positions of the surest share of the rows of each code (n,), at least one of each."""
    order = np.lexsort((-sure, code))
    start = np.r_[True, code[order][1:] != code[order][:-1]]
    number = np.cumsum(start) - 1
    rank = np.arange(len(order)) - np.flatnonzero(start)[number]
    size = np.bincount(number)[number]
    return np.sort(order[rank < np.maximum(1, np.floor(share * size))])


def agreement_level(taxonomy: Taxonomy) -> int:
    """The level whose number of codes is nearest to :data:`AGREE_NODES`, in ratio."""
    sizes = [len(taxonomy.level_nodes(d)) for d in range(1, taxonomy.depth + 1)]
    return 1 + int(np.abs(np.log(np.array(sizes) / AGREE_NODES)).argmin())
