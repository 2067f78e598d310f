"""Nearest neighbours of fixed vectors: exact by default, approximate back ends as an extra. Knows no taxonomy."""

from hjc.index.exact import Neighbours, exact_search, normalise
from hjc.index.vectors import APPROXIMATE_FROM, VectorIndex

__all__ = ["APPROXIMATE_FROM", "Neighbours", "VectorIndex", "exact_search", "normalise"]
