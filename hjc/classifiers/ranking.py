"""The most probable codes of rows as a table."""

from collections.abc import Iterable

import numpy as np
import pandas as pd

from hjc.arrays import FloatArray, IntArray
from hjc.classifiers.treemath import top_k_columns
from hjc.taxonomy import Taxonomy


def ranked_codes(
    taxonomy: Taxonomy, count: int, found: Iterable[tuple[IntArray, FloatArray]], level: int, top_k: int
) -> pd.DataFrame:
    """``row, rank, code, title, probability`` of ``count`` rows: ``top_k`` lines a row (or all codes of the level).

    Args:
        found: positions of rows (b,) and their leaf log-probabilities (b, L), each row once.
    """
    nodes = taxonomy.level_nodes(level)
    k = min(top_k, len(nodes))
    columns = np.empty((count, k), dtype=np.int64)
    proba = np.empty((count, k), dtype=np.float64)
    for at, log_proba in found:
        columns[at], proba[at] = top_k_columns(taxonomy.aggregate(log_proba, level), k)
    return ranked_nodes(taxonomy, nodes[columns], proba)


def ranked_nodes(taxonomy: Taxonomy, nodes: IntArray, proba: FloatArray) -> pd.DataFrame:
    """The same table of (n, k) nodes and their probabilities, the most probable first."""
    (count, k), chosen = nodes.shape, nodes.ravel()
    return pd.DataFrame(
        {
            "row": np.repeat(np.arange(count), k),
            "rank": np.tile(np.arange(1, k + 1), count),
            "code": [taxonomy.codes[i] for i in chosen],
            "title": [taxonomy.title(int(i)) for i in chosen],
            "probability": proba.ravel(),
        }
    )
