"""``hjc data index``: what is wrong with an index of titles, before a model is given it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from hjc.classifiers.title_index import TitleIndex, plain_title
from hjc.corpus.copying import write_tables
from hjc.data.codesets import CodeSets
from hjc.data.jobdata import JobData

#: titles that are shown of a group
_SHOWN = 5


@dataclass(frozen=True)
class IndexCheck:
    """What was found, a line each.

    Attributes:
        contradictions: title, language, codes (with their rows), rows, level (the deepest that all codes share; 0: they
            differ in the first digit already). Such a title gives several codes with shares.
        duplicates: title, language, code, rows, spelt (how it is written): lines that say the same.
        unreachable: row (the first is 1), title, code, reason: titles without a word, which nothing finds, and such as
            are not found alone (the same words in another order, which the stage tokens cannot tell apart).
        empty_codes: code, title: leaves of the tree that no title stands for.
        counts: rows, entries, and how many of each.
    """

    contradictions: pd.DataFrame
    duplicates: pd.DataFrame
    unreachable: pd.DataFrame
    empty_codes: pd.DataFrame
    counts: dict[str, int]

    def write(self, directory: Path | str) -> list[Path]:
        """``contradictions.csv``, ``duplicates.csv``, ``unreachable.csv`` and ``empty_codes.csv``."""
        names = ("contradictions", "duplicates", "unreachable", "empty_codes")
        return write_tables(directory, {name: getattr(self, name) for name in names})


def check_index(data: JobData, titles: Sequence[str] | None = None) -> IndexCheck:
    """Look through the rows of an index.

    Args:
        data: a title a row, with its codes. titles: what is looked up of them; default the texts.
    """
    tree, texts = data.taxonomy, list(titles if titles is not None else data.texts)
    sets = data.sets or CodeSets.of_gold(data.gold)
    index = TitleIndex.build(tree, texts, sets, np.ones(len(data)), data.language)
    frame = pd.DataFrame({
        "row": np.asarray(data.row)[sets.row] + 1, "text": [texts[i] for i in sets.row.tolist()],
        "language": [data.language[i] for i in sets.row.tolist()], "node": sets.nodes,
    })  # fmt: skip
    frame["key"] = [plain_title(text) for text in frame["text"]]
    named = frame[frame["key"] != ""]
    torn, twice = [], []
    for (_, language), group in named.groupby(["key", "language"], sort=False):
        nodes = group["node"].value_counts()
        if len(nodes) > 1:
            paths = tree.node_path[nodes.index.to_numpy()]
            level = int(np.cumprod((paths == paths[0]).all(axis=0) & (paths[0] >= 0)).sum())
            codes = ", ".join(
                f"{tree.codes[node]} ({rows})" for node, rows in zip(nodes.index.tolist(), nodes.tolist(), strict=True)
            )
            torn.append((group["text"].iloc[0], language, codes, len(group), level))
        for code, own in group.groupby(group["node"].map(lambda node: tree.codes[node]), sort=False):
            if len(own) > 1:
                spelt = " | ".join(list(dict.fromkeys(own["text"]))[:_SHOWN])
                twice.append((own["text"].iloc[0], language, code, len(own), spelt))
    lost = [(*line, "no word is left of it") for line in _lines(frame[frame["key"] == ""], tree.codes)]
    bags: dict[tuple[tuple[str, ...], str], str] = {}
    for key, language in zip(index.keys, index.language, strict=True):
        first = bags.setdefault((tuple(sorted(set(key.split()))), language), key)
        if first != key:
            same = named[(named["key"] == key) & (named["language"] == language)]
            reason = f"texts that find it find {first!r} as well: the same words"
            lost += [(*line, reason) for line in _lines(same, tree.codes)]
    covered = np.zeros(tree.num_leaves, dtype=bool)
    for start, stop in tree.leaf_slice[np.unique(sets.nodes)]:
        covered[start:stop] = True
    empty = tree.leaves[~covered]
    tables = (
        pd.DataFrame(torn, columns=["title", "language", "codes", "rows", "level"]).sort_values("level", kind="stable"),
        pd.DataFrame(twice, columns=["title", "language", "code", "rows", "spelt"]),
        pd.DataFrame(lost, columns=["row", "title", "code", "reason"]),
        pd.DataFrame({"code": [tree.codes[i] for i in empty], "title": [tree.title(int(i)) for i in empty]}),
    )
    names = ("contradictions", "duplicates", "unreachable", "empty_codes")
    counts = {"rows": len(data), "entries": len(index), **{n: len(t) for n, t in zip(names, tables, strict=True)}}
    return IndexCheck(*tables, counts)


def _lines(frame: pd.DataFrame, codes: Sequence[str]) -> list[tuple[int, str, str]]:
    cells = zip(frame["row"].tolist(), frame["text"].tolist(), frame["node"].tolist(), strict=True)
    return [(row, text, codes[node]) for row, text, node in cells]
