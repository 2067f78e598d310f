"""Correspondence tables read as they are meant, and several of them in a row as one crosswalk."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hjc.crosswalk.correspondence import Correspondence, mend_table
from hjc.crosswalk.mapping import Crosswalk, build_crosswalk
from hjc.crosswalk.readers import read_correspondence, read_counts, read_identifiers
from hjc.taxonomy.tree import Taxonomy


def read_links(
    path: str,
    *,
    source_column: str = "",
    target_column: str = "",
    weight_column: str = "",
    relation_column: str = "",
    relation: Sequence[str] | None = None,
    reverse: bool = False,
    ids: str | None = None,
) -> Correspondence:
    """A correspondence table; columns, relations: see :func:`read_correspondence`.

    Args:
        reverse: from its target to its source. ids: CSV with uri,esco_code; the table names ESCO codes by their URI.
    """
    links = read_correspondence(
        path, source=source_column, target=target_column, weight=weight_column, relation=relation_column,
        relations=relation or (),
    )  # fmt: skip
    if ids is not None:
        names = read_identifiers(ids)
        links = links.relabel(source=names, target=names)
    return links.reverse() if reverse else links


def read_chain(
    tables: Sequence[str],
    trees: Sequence[Taxonomy],
    *,
    weights: str = "uniform",
    unmapped: str = "keep",
    counts: str | None = None,
    restore_zeros: bool = False,
    reverse: bool = False,
    **columns: Any,
) -> Crosswalk:
    """One crosswalk of tables in a row.

    Args:
        tables: each from a tree to the next. trees: one more than tables.
        weights, unmapped: see :func:`build_crosswalk`. counts: CSV with code,count of the only table.
        restore_zeros: of the codes of the tables. reverse, columns: of :func:`read_links`.

    Raises:
        ValueError: numbers of tables and trees that do not fit; and of reading and building.
    """
    if not tables or len(trees) != len(tables) + 1:
        raise ValueError(f"{len(tables)} tables need {len(tables) - 1} taxonomies between them, got {len(trees) - 2}")
    if counts and len(tables) > 1:
        raise ValueError("--counts belongs to one table; write each crosswalk with --matrix and chain those")
    walk: Crosswalk | None = None
    for i, path in enumerate(tables):
        links = mend_table(
            read_links(path, reverse=reverse, **columns), trees[i], trees[i + 1], restore_zeros=restore_zeros
        )
        # A table that `Crosswalk.to_csv` wrote holds shares; its header says so.
        how = "shares" if weights == "uniform" and not reverse and _is_matrix(path) else weights
        part = build_crosswalk(
            links, trees[i], trees[i + 1], weights=how, unmapped=unmapped,  # type: ignore[arg-type]
            target_counts=None if counts is None else read_counts(counts),
        )  # fmt: skip
        walk = part if walk is None else walk.then(part)
    assert walk is not None
    return walk


def _is_matrix(path: str) -> bool:
    if Path(path).suffix != ".csv":
        return False
    with Path(path).open(encoding="utf-8-sig", errors="replace") as stream:
        return stream.readline().strip() == "source,target,share"
