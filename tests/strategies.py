"""Random trees and probabilities for property tests."""

import numpy as np
from hypothesis import strategies as st

from hjc.metrics.bootstrap import intervals_of
from hjc.metrics.levels import level_rows, metrics_of
from hjc.taxonomy import Taxonomy, from_edges

#: digits, punctuation that CSV quotes, and letters beyond ASCII
_CODE = st.text(alphabet="0123456789.-,;\"'A Łя", min_size=1, max_size=6).filter(lambda s: s == s.strip() != "")
_TITLE = st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\x00"), max_size=12)


@st.composite
def edges(draw: st.DrawFn, max_nodes: int = 30, max_depth: int = 6, plain_codes: bool = False):
    """``(codes, parents)`` of a random tree in random order: ragged, with single-child chains, "" for level 1."""
    n = draw(st.integers(1, max_nodes))
    if plain_codes:
        codes = [f"c{i:03d}" for i in draw(st.permutations(range(n)))]
    else:
        codes = draw(st.lists(_CODE, min_size=n, max_size=n, unique=True))
    # A bias towards the latest node gives chains, towards -1 gives flat trees.
    style = draw(st.sampled_from(["any", "chain", "flat"]))
    level, parent = [], []
    for i in range(n):
        low = {"any": -1, "chain": max(-1, i - 2), "flat": -1}[style]
        high = {"any": i - 1, "chain": i - 1, "flat": min(i - 1, 2)}[style]
        p = draw(st.integers(low, high))
        while p >= 0 and level[p] >= max_depth:
            p = parent[p]
        parent.append(p)
        level.append(level[p] + 1 if p >= 0 else 1)
    order = draw(st.permutations(range(n)))
    return [codes[i] for i in order], [codes[parent[i]] if parent[i] >= 0 else "" for i in order]


@st.composite
def taxonomies(
    draw: st.DrawFn, max_nodes: int = 30, max_depth: int = 6, titles: bool = False, plain_codes: bool = False
) -> Taxonomy:
    """Random ragged trees with 1 to ``max_nodes`` nodes; with ``titles`` also texts in up to two languages."""
    codes, parents = draw(edges(max_nodes, max_depth, plain_codes))

    def texts() -> dict[str, list[str]]:
        languages = draw(st.lists(st.sampled_from(["en", "pl", "und", "pt-BR"]), max_size=2, unique=True))
        return {lang: draw(st.lists(_TITLE, min_size=len(codes), max_size=len(codes))) for lang in languages}

    if not titles:
        return from_edges(codes, parents, name="random")
    return from_edges(codes, parents, titles=texts(), descriptions=texts(), name="random")


def random_log_proba(num_leaves: int, rows: int, seed: int, scale: float = 3.0) -> np.ndarray:
    """(rows, num_leaves) float64 log-probabilities, rows sum to one; a larger scale gives more extreme ones."""
    logits = np.random.default_rng(seed).normal(scale=scale, size=(rows, num_leaves))
    logits -= logits.max(axis=1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))


def bootstrap_intervals(scores, taxonomy, level, resamples):
    """95 % intervals of every metric of a level, of rows of weight 1."""
    at = level_rows(scores, taxonomy, level)
    ones = np.ones(len(at.rows))
    return intervals_of(at, resamples, ones, metrics_of(at, ones))
