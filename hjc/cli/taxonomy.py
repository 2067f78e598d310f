"""``hjc taxonomy show | check | import | graph | revise``: look at a tree of codes before anything is trained on it."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from hjc.cli import session
from hjc.cli.aliases import Digits, Level, TaxonomyArgument, TitleLanguage, code_lengths, taxonomy_of
from hjc.cli.revise import revise
from hjc.cli.taxonomy_graph import graph
from hjc.cli.taxonomy_import import import_

if TYPE_CHECKING:
    from hjc.taxonomy import Taxonomy

taxonomy_app = typer.Typer(help="Look at a tree of codes, check its file, or import one.", no_args_is_help=True)


def show(
    spec: TaxonomyArgument = "isco08",
    code: Annotated[list[str] | None, typer.Argument(help="Codes to show with their ancestors and children.")] = None,
    digits: Digits = None,
    level: Level = None,
    language: TitleLanguage = None,
) -> None:
    """Sizes of a tree, the codes of a level, or single codes with what is above and below them."""
    from hjc.taxonomy import describe

    tree = taxonomy_of(spec, digits)
    if language is not None and language not in tree.titles:
        raise ValueError(f"--language: got {language!r}, {tree.name!r} has {', '.join(tree.titles) or 'no titles'}")
    if level is not None:
        nodes = tree.level_nodes(tree.check_level(level)).tolist()
        session.tell(codes=_named(tree, nodes, language))
        for node in nodes:
            session.say(f"{tree.codes[node]}\t{tree.title(node, language)}")
        return
    if code:
        for node in tree.encode(code).tolist():
            above = tree.node_path[node, : tree.level[node]].tolist()
            children = (tree.parents == node).nonzero()[0].tolist()
            parts = {"path": above, "children": children}
            session.tell(**{tree.codes[node]: {key: _named(tree, some, language) for key, some in parts.items()}})
            for depth, ancestor in enumerate(above):
                session.say(f"{'  ' * depth}{tree.codes[ancestor]}  {tree.title(ancestor, language)}")
            for child in children:
                session.say(f"{'  ' * len(above)}{tree.codes[child]}  {tree.title(child, language)}")
        return
    found = describe(tree)
    session.tell(name=found.name, nodes=found.nodes, groups=found.groups, titles=found.titles, hash=found.hash)
    session.show_table(
        "levels",
        f"{found.name}: {found.nodes:,} nodes",
        ("level", "nodes", "leaves", "codes of the level"),
        ((str(row.level), row.nodes, row.leaves, row.columns) for row in found.levels),
    )
    largest = ", ".join(f"{parent or 'root'} ({size})" for parent, size in found.largest_groups)
    alone = f"nodes without siblings {found.single_children:,}"
    session.say(f"sibling groups {found.groups:,}; largest: {largest}; {alone}")
    session.say(f"titles: {', '.join(f'{k} {v:,}' for k, v in found.titles.items()) or 'none'}")
    session.say(f"hash {found.hash}")


def _named(tree: "Taxonomy", nodes: list[int], language: str | None) -> list[dict[str, str]]:
    return [{"code": tree.codes[node], "title": tree.title(node, language)} for node in nodes]


def check(
    path: Annotated[str, typer.Argument(help="CSV or TSV with the columns code, parent, title_xx...")],
    digits: Digits = None,
    code: Annotated[str, typer.Option(help="Name of the code column.")] = "code",
    parent: Annotated[str, typer.Option(help="Name of the parent column.")] = "parent",
    separator: Annotated[str | None, typer.Option(help="Separator (found out).")] = None,
    encoding: Annotated[str | None, typer.Option(help="Encoding, e.g. cp1250 (utf-8).")] = None,
) -> None:
    """List everything that is wrong with a file of codes. Exit code 2 when it is not a tree."""
    from hjc.taxonomy import check_taxonomy_file

    problems = check_taxonomy_file(
        path, code=code, parent=parent, digits=code_lengths(digits) or None, encoding=encoding,
        separator="\t" if separator == "tab" else separator,
    )  # fmt: skip
    session.tell(problems=[asdict(problem) for problem in problems])
    for problem in problems:
        session.say(str(problem))
    if any(problem.severity == "error" for problem in problems):
        raise typer.Exit(2)
    session.say(f"{path}: a tree" + ("; see the warnings" if problems else ", no problems"))


session.add(taxonomy_app, "import", import_, shows=True)
session.add(taxonomy_app, "graph", graph, shows=True)
session.add(taxonomy_app, "show", show, shows=True)
session.add(taxonomy_app, "check", check, shows=True)
session.add(taxonomy_app, "revise", revise)
