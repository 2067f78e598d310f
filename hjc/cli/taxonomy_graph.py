"""``hjc taxonomy graph TAXONOMY``: build a graph of similar codes from skills, texts, crosswalks and confusions."""

from typing import TYPE_CHECKING, Annotated

import typer

from hjc.cli import session
from hjc.cli.aliases import TaxonomyArgument, pair, taxonomy_of

if TYPE_CHECKING:
    from hjc.crosswalk.correspondence import Correspondence
    from hjc.taxonomy import Taxonomy
    from hjc.taxonomy.graph.category_graph import CategoryGraph


def graph(
    spec: TaxonomyArgument = "isco08",
    out: Annotated[str, typer.Option("-o", "--out", metavar="FILE.npz", help="Graph to write (and FILE.json).")] = "",
    load: Annotated[str, typer.Option("--graph", metavar="FILE.npz", help="Show this graph instead.")] = "",
    skills: Annotated[
        list[str] | None,
        typer.Option(help="Table of codes and what they need: skills, technologies, tools; repeatable."),
    ] = None,
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
    tasks: Annotated[
        list[str] | None,
        typer.Option(help="Table of codes and longer texts, such as tasks, whose words are compared; repeatable."),
    ] = None,
    language: Annotated[str, typer.Option(help="Language of --texts and of shown titles.")] = "en",
    vectors: Annotated[str, typer.Option(metavar="FILE.npy", help="Vectors, a row a leaf or a row a node.")] = "",
    crosswalk: Annotated[
        list[str] | None, typer.Option(help="Correspondence table to another taxonomy (--to); repeatable.")
    ] = None,
    to: Annotated[list[str] | None, typer.Option("--to", metavar="TAX", help="Its target taxonomy.")] = None,
    reverse: Annotated[bool, typer.Option("--reverse", help="Read crosswalks from target to source.")] = False,
    confusions: Annotated[
        list[str] | None,
        typer.Option(
            help="Table of true and coded codes (two columns, or source, target, weight), or the scores_*.parquet "
            "of a run."
        ),
    ] = None,
    weight: Annotated[
        list[str] | None,
        typer.Option(
            "--weight", metavar="SOURCE=W", help="Weight of skills, texts, tasks, vectors, crosswalk, confusions."
        ),
    ] = None,
    links: Annotated[int, typer.Option(min=1, help="Links of a leaf that each source keeps.")] = 50,
    top: Annotated[
        int | None,
        typer.Option(min=1, help="In the end keep the strongest links of each node to nodes of each level."),
    ] = None,
    lift: Annotated[str, typer.Option(help="Link groups above the leaves too: mean, max, none.")] = "mean",
    code: Annotated[list[str] | None, typer.Option("--code", help="Show the neighbours of this code.")] = None,
    apart: Annotated[int | None, typer.Option(help="Show only links that the tree parts at this level.")] = None,
    show: Annotated[int, typer.Option(min=0, help="Links to show.")] = 10,
) -> None:
    """Which codes are alike by what they do, wherever they stand in the tree; for training and for looking at.

    Sources are combined as a weighted mean. Writes a sparse matrix without pickle, and where it comes from as JSON.
    """
    from pathlib import Path

    from hjc.files import write_json
    from hjc.taxonomy.graph.build import GraphSources, build_graph
    from hjc.taxonomy.graph.category_graph import CategoryGraph

    tree = taxonomy_of(spec)
    tree.encode(code or [])
    if apart is not None:
        tree.check_level(apart)
    if out and not out.endswith(".npz"):
        raise ValueError(f"--out: got {out!r}, expected a name that ends in .npz")
    if len(crosswalk or ()) != len(to or ()):
        raise ValueError(f"{len(crosswalk or ())} --crosswalk tables need as many --to taxonomies, got {len(to or ())}")
    if load:
        built = CategoryGraph.load(load, tree)
    else:
        columns = {"code": code_column, "item": item_column, "value": value_column, "kind": kind_column}
        targets = zip(crosswalk or (), map(taxonomy_of, to or ()), strict=True)
        pairs = [(path, _pairs(tree, path)) for path in confusions or ()]
        sources = GraphSources(
            skills=skills or (), tasks=tasks or (), texts=texts, columns=columns, kinds=kind or (),
            min_value=min_value, method=method, idf=idf, ids=ids, language=language, vectors=vectors,
            crosswalks=list(targets), reverse=reverse, confusions=pairs, links=links,
            weight=dict(_weight(text) for text in weight or ()),
        )  # fmt: skip
        built = build_graph(tree, sources, lift=lift, top=top, tell=session.note)
    if out:
        built.save(out)
        about = {"taxonomy": tree.name, "taxonomy_hash": tree.hash, "links": built.links}
        written = write_json(Path(out).with_suffix(".json"), {**about, **built.provenance})
        session.note(f"-> {out}, {written}")
    _show(built, language, code or [], apart, show)


def _weight(text: str) -> tuple[str, float]:
    name, number = pair(text, "--weight", "SOURCE=NUMBER")
    try:
        return name, float(number)
    except ValueError:
        raise ValueError(f"--weight: got {text!r}, {number!r} is not a number") from None


def _pairs(tree: "Taxonomy", path: str) -> "Correspondence":
    """True and coded codes of a table, or of the rows that an evaluation has stored."""
    from hjc.crosswalk.correspondence import Correspondence
    from hjc.crosswalk.readers import read_links
    from hjc.report.scores import StoredScores

    if not path.endswith(".parquet"):
        return read_links(path)
    stored = StoredScores.read(path)
    if stored.taxonomy != tree:
        raise ValueError(f"{path}: is coded to {stored.taxonomy!r}, not to {tree!r}")
    held = stored.scores.gold if stored.scores.held is None else stored.scores.held[:, -1]
    ends = zip(held.tolist(), stored.scores.top[:, -1].tolist(), strict=True)
    return Correspondence.from_pairs([(tree.codes[gold], tree.codes[top]) for gold, top in ends], name=path)


def _show(graph: "CategoryGraph", language: str, codes: list[str], apart: int | None, show: int) -> None:
    from hjc.errors import name_some

    tree = graph.taxonomy

    def name(code: str) -> str:
        return tree.title(tree.index_of[code], language)

    session.show_table(
        "levels",
        f"{tree.name}: {graph.links:,} links",
        ("level", "nodes", "with links", "links to their level"),
        ((str(level), *sizes) for level, sizes in enumerate(graph.links_per_level(), 1)),
    )
    alone = graph.isolated_leaves
    session.tell(leaves_without_links=list(alone))
    session.say(f"leaves without a link: {len(alone):,}{f' ({name_some(alone)})' if alone else ''}")
    for code in codes:
        session.show_table(
            f"neighbours of {code}",
            f"neighbours of {code} {name(code)}",
            ("code", "title", "similarity"),
            ((link.other, name(link.other), link.similarity) for link in graph.neighbours(code, show)),
        )
    if not codes and show:
        session.show_table(
            "strongest",
            "strongest links of leaves" + ("" if apart is None else f" across groups of level {apart}"),
            ("code", "title", "code", "title", "similarity"),
            (
                (link.code, name(link.code), link.other, name(link.other), link.similarity)
                for link in graph.strongest(show, apart=apart, leaves=True)
            ),
        )
