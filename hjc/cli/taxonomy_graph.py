"""``hjc taxonomy graph TAXONOMY``: build a graph of similar codes from skills, texts, crosswalks and confusions."""

from typing import TYPE_CHECKING, Annotated

import typer

from hjc.cli import options

if TYPE_CHECKING:
    from hjc.crosswalk.correspondence import Correspondence
    from hjc.taxonomy import Taxonomy
    from hjc.taxonomy.graph.category_graph import CategoryGraph

_SKILLS = typer.Option(help="Table of codes and what they need: skills, technologies, tools; repeatable.")
_CONFUSIONS = typer.Option(
    help="Table of true and coded codes (two columns, or source, target, weight), or the scores_*.parquet of a run."
)
_TASKS = typer.Option(help="Table of codes and longer texts, such as tasks, whose words are compared; repeatable.")
_CROSSWALK = typer.Option(help="Correspondence table to another taxonomy (--to); repeatable.")
_WEIGHT = typer.Option(
    "--weight", metavar="SOURCE=W", help="Weight of skills, texts, tasks, vectors, crosswalk, confusions."
)
_TOP = typer.Option(min=1, help="In the end keep the strongest links of each node to nodes of each level.")


def graph(
    spec: Annotated[
        str, typer.Argument(metavar="TAXONOMY", help="isco08, a CSV of codes, or a model directory.")
    ] = "isco08",
    out: Annotated[str, typer.Option("-o", "--out", metavar="FILE.npz", help="Graph to write (and FILE.json).")] = "",
    load: Annotated[str, typer.Option("--graph", metavar="FILE.npz", help="Show this graph instead.")] = "",
    skills: Annotated[list[str] | None, _SKILLS] = None,
    code_column: Annotated[str, typer.Option(help="Column of codes in --skills tables (found out).")] = "",
    item_column: Annotated[str, typer.Option(help="Column of skills or other items (found out).")] = "",
    value_column: Annotated[str, typer.Option(help="Column of numbers (importance).")] = "",
    kind_column: Annotated[str, typer.Option(help="Column of kinds, for --kind (found out).")] = "",
    kind: Annotated[list[str] | None, typer.Option(help="Only rows of this kind, e.g. technology; repeatable.")] = None,
    min_value: Annotated[float | None, typer.Option(help="Leave out items below this value.")] = None,
    method: Annotated[str, typer.Option(help="Shared items: jaccard or tfidf.")] = "jaccard",
    idf: Annotated[bool, typer.Option("--idf/--no-idf", help="Items that many leaves have weigh less.")] = True,
    ids: Annotated[str | None, typer.Option(help="CSV with uri,esco_code, where tables name codes by URI.")] = None,
    texts: Annotated[bool, typer.Option("--texts", help="Compare titles and descriptions (tf-idf).")] = False,
    tasks: Annotated[list[str] | None, _TASKS] = None,
    language: Annotated[str, typer.Option(help="Language of --texts and of shown titles.")] = "en",
    vectors: Annotated[str, typer.Option(metavar="FILE.npy", help="Vectors, a row a leaf or a row a node.")] = "",
    crosswalk: Annotated[list[str] | None, _CROSSWALK] = None,
    to: Annotated[list[str] | None, typer.Option("--to", metavar="TAX", help="Its target taxonomy.")] = None,
    reverse: Annotated[bool, typer.Option("--reverse", help="Read crosswalks from target to source.")] = False,
    confusions: Annotated[list[str] | None, _CONFUSIONS] = None,
    weight: Annotated[list[str] | None, _WEIGHT] = None,
    links: Annotated[int, typer.Option(min=1, help="Links of a leaf that each source keeps.")] = 50,
    top: Annotated[int | None, _TOP] = None,
    lift: Annotated[str, typer.Option(help="Link groups above the leaves too: mean, max, none.")] = "mean",
    code: Annotated[list[str] | None, typer.Option("--code", help="Show the neighbours of this code.")] = None,
    apart: Annotated[int | None, typer.Option(help="Show only links that the tree parts at this level.")] = None,
    show: Annotated[int, typer.Option(min=0, help="Links to show.")] = 10,
) -> None:
    """Which codes are alike by what they do, wherever they stand in the tree; for training and for looking at.

    Sources are combined as a weighted mean. Writes a sparse matrix without pickle, and where it comes from as JSON.
    """
    with options.one_message():
        from pathlib import Path

        from hjc.cli.taxonomy import _load
        from hjc.taxonomy.graph.category_graph import CategoryGraph, combine

        tree = _load(spec, None)
        tree.encode(code or [])
        if apart is not None:
            tree.check_level(apart)
        if out and not out.endswith(".npz"):
            raise ValueError(f"--out: got {out!r}, expected a name that ends in .npz")
        if load:
            built = CategoryGraph.load(load, tree)
        else:
            if lift not in ("mean", "max", "none"):
                raise ValueError(f"--lift: got {lift!r}, allowed are mean, max, none")
            columns = (code_column, item_column, value_column, kind_column)
            parts = [
                *_from_skills(tree, skills, columns, kind, min_value, method, idf, ids, links),
                *_from_texts(tree, texts, tasks, columns, kind, language, vectors, links),
                *_from_tables(tree, crosswalk, to, reverse, ids, confusions, links),
            ]
            if not parts:
                raise ValueError("give a source: --skills, --texts, --tasks, --vectors, --crosswalk or --confusions")
            built = combine([part for _, part in parts], _weights(weight, [name for name, _ in parts]))
            built = built if lift == "none" else built.lift(lift)  # type: ignore[arg-type]
            built = built if top is None else built.top(top)
        if out:
            built.save(out)
            written = Path(out).with_suffix(".json")
            written.write_text(_provenance(built), encoding="utf-8")
            options.note(f"-> {out}, {written}")
        _show(built, language, code or [], apart, show)


def _from_skills(
    tree: "Taxonomy", paths: list[str] | None, columns: tuple[str, str, str, str], kinds: list[str] | None,
    min_value: float | None, method: str, idf: bool, ids: str | None, links: int,
) -> "list[tuple[str, CategoryGraph]]":  # fmt: skip
    from hjc.crosswalk.readers import read_identifiers
    from hjc.taxonomy.graph.files import read_items
    from hjc.taxonomy.graph.sources import item_graph

    out = []
    code, item, value, kind = columns
    for path in paths or []:
        table = read_items(path, code=code, item=item, value=value, kind=kind, kinds=kinds or ())
        if ids is not None:
            table = table.relabel(source=read_identifiers(ids))
        limit = min_value if table.weight is not None else None
        if min_value is not None and limit is None:
            options.note(f"{path}: no column of numbers, --min-value does not apply (--value-column names one)")
        part = item_graph(tree, table, method=method, idf=idf, min_value=limit, k=links, files=[path])  # type: ignore[arg-type]
        options.note(f"{path}: {_counts(part)}")
        out.append(("skills", part))
    return out


def _from_texts(
    tree: "Taxonomy", texts: bool, tasks: list[str] | None, columns: tuple[str, str, str, str], kinds: list[str] | None,
    language: str, vectors: str, links: int,
) -> "list[tuple[str, CategoryGraph]]":  # fmt: skip
    from hjc.taxonomy.graph.files import leaf_texts, read_items
    from hjc.taxonomy.graph.sources import text_graph, vector_graph

    out = []
    if texts:
        out.append(("texts", text_graph(tree, language=language, k=links)))
        options.note(f"titles and descriptions: {_counts(out[-1][1])}")
    for path in tasks or []:
        table = read_items(path, code=columns[0], item=columns[1], kind=columns[3], kinds=kinds or ())
        out.append(("tasks", text_graph(tree, leaf_texts(tree, table), k=links, files=[path])))
        options.note(f"{path}: {_counts(out[-1][1])}")
    if vectors:
        import numpy as np

        out.append(("vectors", vector_graph(tree, np.load(vectors, allow_pickle=False), k=links, files=[vectors])))
        options.note(f"{vectors}: {_counts(out[-1][1])}")
    return out


def _from_tables(
    tree: "Taxonomy", crosswalks: list[str] | None, to: list[str] | None, reverse: bool, ids: str | None,
    confusions: list[str] | None, links: int,
) -> "list[tuple[str, CategoryGraph]]":  # fmt: skip
    from hjc.cli.carry import _read
    from hjc.cli.taxonomy import _load
    from hjc.crosswalk.mapping import build_crosswalk
    from hjc.taxonomy.graph.sources import confusion_graph, confusion_table, crosswalk_graph

    if len(crosswalks or []) != len(to or []):
        raise ValueError(
            f"{len(crosswalks or [])} --crosswalk tables need as many --to taxonomies, got {len(to or [])}"
        )
    out = []
    for path, target in zip(crosswalks or [], to or [], strict=True):
        walk = build_crosswalk(_read(path, "", "", "", "", None, reverse, ids), tree, _load(target, None))
        out.append(("crosswalk", crosswalk_graph(walk, k=links, files=[path])))
        options.note(f"{path}: {_counts(out[-1][1])}")
    for path in confusions or []:
        pairs = (
            _scored_pairs(tree, path) if path.endswith(".parquet") else _read(path, "", "", "", "", None, False, None)
        )
        counts, left_out = confusion_table(tree, pairs)
        notes = {"pairs_left_out": left_out}
        out.append(("confusions", confusion_graph(tree, counts, k=links, files=[path], notes=notes)))
        options.note(f"{path}: {_counts(out[-1][1])}; {left_out:,} pairs that are not two leaves left out")
    return out


def _scored_pairs(tree: "Taxonomy", path: str) -> "Correspondence":
    """True and most probable leaf of the rows that an evaluation has stored."""
    from hjc.crosswalk.correspondence import Correspondence
    from hjc.report.scores import StoredScores

    stored = StoredScores.read(path)
    if stored.taxonomy != tree:
        raise ValueError(f"{path}: is coded to {stored.taxonomy!r}, not to {tree!r}")
    ends = zip(stored.scores.gold.tolist(), stored.scores.top[:, -1].tolist(), strict=True)
    return Correspondence.from_pairs([(tree.codes[gold], tree.codes[top]) for gold, top in ends], name=path)


def _weights(given: list[str] | None, names: list[str]) -> list[float]:
    chosen = {}
    for text in given or []:
        name, sign, number = text.partition("=")
        if not sign or name not in names:
            raise ValueError(f"--weight: got {text!r}, expected SOURCE=NUMBER with a source of {', '.join(names)}")
        try:
            chosen[name] = float(number)
        except ValueError:
            raise ValueError(f"--weight: got {text!r}, {number!r} is not a number") from None
    return [chosen.get(name, 1.0) for name in names]


def _counts(graph: "CategoryGraph") -> str:
    counts = ", ".join(
        f"{name.replace('_', ' ')} {n:,.0f}" for name, n in graph.provenance["sources"][0]["counts"].items()
    )
    return f"{graph.links:,} links, {len(graph.isolated_leaves):,} leaves without any ({counts})"


def _provenance(graph: "CategoryGraph") -> str:
    import json

    about = {"taxonomy": graph.taxonomy.name, "taxonomy_hash": graph.taxonomy.hash, "links": graph.links}
    return json.dumps({**about, **graph.provenance}, indent=2, ensure_ascii=False) + "\n"


def _show(graph: "CategoryGraph", language: str, codes: list[str], apart: int | None, show: int) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from hjc.errors import name_some

    tree, console = graph.taxonomy, Console(highlight=False)

    def name(code: str) -> str:
        return escape(tree.title(tree.index_of[code], language))

    sizes = Table("level", "nodes", "with links", "links to their level", title=f"{tree.name}: {graph.links:,} links")
    per_level = graph.links_per_level()
    for level, (nodes, linked, pairs) in enumerate(per_level, 1):
        sizes.add_row(str(level), f"{nodes:,}", f"{linked:,}", f"{pairs:,}")
    console.print(sizes)
    alone = graph.isolated_leaves
    console.print(f"leaves without a link: {len(alone):,}{f' ({name_some(alone)})' if alone else ''}")
    for code in codes:
        table = Table("code", "title", "similarity", title=f"neighbours of {escape(code)} {name(code)}")
        for link in graph.neighbours(code, show):
            table.add_row(escape(link.other), name(link.other), f"{link.similarity:.3f}")
        console.print(table)
    if not codes and show:
        where = "" if apart is None else f" across groups of level {apart}"
        table = Table("code", "title", "code", "title", "similarity", title=f"strongest links of leaves{where}")
        for link in graph.strongest(show, apart=apart, leaves=True):
            ends = (escape(link.code), name(link.code), escape(link.other), name(link.other))
            table.add_row(*ends, f"{link.similarity:.3f}")
        console.print(table)
