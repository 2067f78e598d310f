"""``hjc taxonomy show | check | import | graph``: look at a tree of codes before anything is trained on it."""

from typing import Annotated

import typer

from hjc.cli import options
from hjc.cli.taxonomy_graph import graph
from hjc.cli.taxonomy_import import import_

taxonomy_app = typer.Typer(help="Look at a tree of codes, check its file, or import one.", no_args_is_help=True)
taxonomy_app.command("import")(import_)
taxonomy_app.command("graph")(graph)

_SPEC = typer.Argument(metavar="TAXONOMY", help="isco08, a CSV or TSV of codes, or a model directory.")
_DIGITS = typer.Option(help="Cumulative code lengths when parents are prefixes, e.g. 1,2,3,4,6.")


@taxonomy_app.command("show")
def show(
    spec: Annotated[str, _SPEC] = "isco08",
    code: Annotated[list[str] | None, typer.Argument(help="Codes to show with their ancestors and children.")] = None,
    digits: Annotated[str | None, _DIGITS] = None,
    level: Annotated[int | None, typer.Option("-l", "--level", help="List the codes of this level.")] = None,
    language: Annotated[str | None, typer.Option(help="Language of the titles.")] = None,
) -> None:
    """Sizes of a tree, the codes of a level, or single codes with what is above and below them."""
    with options.one_message():
        from rich.console import Console
        from rich.table import Table

        from hjc.taxonomy import describe

        tree = _load(spec, digits)
        if language is not None and language not in tree.titles:
            raise ValueError(f"--language: got {language!r}, {tree.name!r} has {', '.join(tree.titles) or 'no titles'}")
        if level is not None:
            for node in tree.level_nodes(tree.check_level(level)).tolist():
                typer.echo(f"{tree.codes[node]}\t{tree.title(node, language)}")
            return
        if code:
            for node in tree.encode(code).tolist():
                above = [node]
                while (parent := int(tree.parents[above[0]])) >= 0:
                    above.insert(0, parent)
                for depth, ancestor in enumerate(above):
                    typer.echo(f"{'  ' * depth}{tree.codes[ancestor]}  {tree.title(ancestor, language)}")
                for child in (tree.parents == node).nonzero()[0].tolist():
                    typer.echo(f"{'  ' * len(above)}{tree.codes[child]}  {tree.title(child, language)}")
            return
        found = describe(tree)
        console = Console(highlight=False)
        table = Table("level", "nodes", "leaves", "codes of the level", title=f"{found.name}: {found.nodes:,} nodes")
        for row in found.levels:
            table.add_row(str(row.level), f"{row.nodes:,}", f"{row.leaves:,}", f"{row.columns:,}")
        console.print(table)
        largest = ", ".join(f"{parent or 'root'} ({size})" for parent, size in found.largest_groups)
        console.print(
            f"sibling groups {found.groups:,}; largest: {largest}; nodes without siblings {found.single_children:,}"
        )
        console.print(f"titles: {', '.join(f'{k} {v:,}' for k, v in found.titles.items()) or 'none'}")
        console.print(f"hash {found.hash}")


@taxonomy_app.command("check")
def check(
    path: Annotated[str, typer.Argument(help="CSV or TSV with the columns code, parent, title_xx...")],
    digits: Annotated[str | None, _DIGITS] = None,
    code: Annotated[str, typer.Option(help="Name of the code column.")] = "code",
    parent: Annotated[str, typer.Option(help="Name of the parent column.")] = "parent",
    separator: Annotated[str | None, typer.Option(help="Separator (found out).")] = None,
    encoding: Annotated[str | None, typer.Option(help="Encoding, e.g. cp1250 (utf-8).")] = None,
) -> None:
    """List everything that is wrong with a file of codes. Exit code 2 when it is not a tree."""
    with options.one_message():
        from hjc.taxonomy import check_taxonomy_file

        if separator == "tab":
            separator = "\t"
        problems = check_taxonomy_file(
            path, code=code, parent=parent, digits=_digits(digits), separator=separator, encoding=encoding
        )
        for problem in problems:
            typer.echo(str(problem))
        if any(problem.severity == "error" for problem in problems):
            raise typer.Exit(2)
        if not problems:
            typer.echo(f"{path}: no problems")


def _digits(text: str | None) -> list[int] | None:
    if text is None:
        return None
    try:
        return [int(part) for part in text.strip("[] ").split(",")]
    except ValueError:
        raise ValueError(f"--digits: got {text!r}, expected code lengths like 1,2,3,4") from None


def _load(spec: str, digits: str | None):  # type: ignore[no-untyped-def]  # the type would import NumPy at start
    from pathlib import Path

    from hjc.taxonomy import load_taxonomy

    if Path(spec).is_dir():
        from hjc.classifiers.storage import read_model_dir

        return read_model_dir(spec).taxonomy
    return load_taxonomy(spec, _digits(digits))
