"""A graph of similar codes from tables of skills, texts, vectors, crosswalks and confusions; ``hjc taxonomy graph``."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hjc.crosswalk.correspondence import Correspondence
from hjc.crosswalk.mapping import build_crosswalk
from hjc.crosswalk.readers import read_identifiers, read_links
from hjc.errors import check_choice
from hjc.taxonomy.graph.category_graph import CategoryGraph, combine
from hjc.taxonomy.graph.files import leaf_texts, read_items
from hjc.taxonomy.graph.sources import (
    confusion_graph,
    confusion_table,
    crosswalk_graph,
    item_graph,
    text_graph,
    vector_graph,
)
from hjc.taxonomy.tree import Taxonomy

LIFTS = ("mean", "max", "none")


@dataclass(frozen=True, kw_only=True)
class GraphSources:
    """What says that codes are alike.

    Attributes:
        skills, tasks: tables of items, and of longer texts, of codes. texts: compare titles and descriptions.
        columns: code, item, value, kind of these tables ("": found out). kinds: only rows of these.
        min_value: items below it are left out. method, idf: see :func:`item_graph`.
        ids: CSV with uri,esco_code, where tables name codes by URI. language: of titles and descriptions.
        vectors: .npy file, a row a leaf or a row a node.
        crosswalks: correspondence tables, each to a tree. reverse: read them from target to source.
        confusions: (name of the table, pairs of true and coded codes).
        links: of a leaf that each source keeps. weight: source -> weight (1).
    """

    skills: Sequence[str] = ()
    tasks: Sequence[str] = ()
    texts: bool = False
    columns: Mapping[str, str] = field(default_factory=dict)
    kinds: Sequence[str] = ()
    min_value: float | None = None
    method: str = "jaccard"
    idf: bool = True
    ids: str | None = None
    language: str = "en"
    vectors: str = ""
    crosswalks: Sequence[tuple[str, Taxonomy]] = ()
    reverse: bool = False
    confusions: Sequence[tuple[str, Correspondence]] = ()
    links: int = 50
    weight: Mapping[str, float] = field(default_factory=dict)


def build_graph(
    tree: Taxonomy, sources: GraphSources, *, lift: str = "mean", top: int | None = None,
    tell: Callable[[str], None] = lambda sentence: None,
) -> CategoryGraph:  # fmt: skip
    """A weighted mean of the graphs of all sources, with links of groups above the leaves (``lift``).

    Args:
        top: in the end keep the strongest links of each node. tell: gets a sentence for each source.

    Raises:
        ValueError: no source, or a weight for one that is not there; and what reading raises.
    """
    check_choice("--lift", lift, LIFTS)
    parts = [*_items(tree, sources, tell), *_texts(tree, sources, tell), *_tables(tree, sources, tell)]
    if not parts:
        raise ValueError("give a source: --skills, --texts, --tasks, --vectors, --crosswalk or --confusions")
    names = [name for name, _ in parts]
    if strange := [name for name in sources.weight if name not in names]:
        raise ValueError(f"--weight: got {strange[0]!r}, expected a source of {', '.join(dict.fromkeys(names))}")
    built = combine([part for _, part in parts], [sources.weight.get(name, 1.0) for name in names])
    built = built if lift == "none" else built.lift(lift)  # type: ignore[arg-type]
    return built if top is None else built.top(top)


Parts = list[tuple[str, CategoryGraph]]


def _items(tree: Taxonomy, sources: GraphSources, tell: Callable[[str], None]) -> Parts:
    out: Parts = []
    for path in sources.skills:
        table = read_items(path, kinds=sources.kinds, **sources.columns)
        if sources.ids is not None:
            table = table.relabel(source=read_identifiers(sources.ids))
        limit = sources.min_value if table.weight is not None else None
        if sources.min_value is not None and limit is None:
            tell(f"{path}: no column of numbers, --min-value does not apply (--value-column names one)")
        settings: dict[str, Any] = {"method": sources.method, "idf": sources.idf, "min_value": limit}
        out.append(("skills", item_graph(tree, table, k=sources.links, files=[path], **settings)))
        tell(f"{path}: {_counts(out[-1][1])}")
    return out


def _texts(tree: Taxonomy, sources: GraphSources, tell: Callable[[str], None]) -> Parts:
    out: Parts = []
    if sources.texts:
        out.append(("texts", text_graph(tree, language=sources.language, k=sources.links)))
        tell(f"titles and descriptions: {_counts(out[-1][1])}")
    columns = {name: column for name, column in sources.columns.items() if name != "value"}
    for path in sources.tasks:
        table = read_items(path, kinds=sources.kinds, **columns)
        out.append(("tasks", text_graph(tree, leaf_texts(tree, table), k=sources.links, files=[path])))
        tell(f"{path}: {_counts(out[-1][1])}")
    if path := sources.vectors:
        vectors = np.load(path, allow_pickle=False)
        out.append(("vectors", vector_graph(tree, vectors, k=sources.links, files=[path])))
        tell(f"{path}: {_counts(out[-1][1])}")
    return out


def _tables(tree: Taxonomy, sources: GraphSources, tell: Callable[[str], None]) -> Parts:
    out: Parts = []
    for path, target in sources.crosswalks:
        walk = build_crosswalk(read_links(path, reverse=sources.reverse, ids=sources.ids), tree, target)
        out.append(("crosswalk", crosswalk_graph(walk, k=sources.links, files=[path])))
        tell(f"{path}: {_counts(out[-1][1])}")
    for path, pairs in sources.confusions:
        counts, left_out = confusion_table(tree, pairs)
        notes = {"pairs_left_out": left_out}
        out.append(("confusions", confusion_graph(tree, counts, k=sources.links, files=[path], notes=notes)))
        tell(f"{path}: {_counts(out[-1][1])}; {left_out:,} pairs that are not two leaves left out")
    return out


def _counts(graph: CategoryGraph) -> str:
    counts = ", ".join(
        f"{name.replace('_', ' ')} {n:,.0f}" for name, n in graph.provenance["sources"][0]["counts"].items()
    )
    return f"{graph.links:,} links, {len(graph.isolated_leaves):,} leaves without any ({counts})"
