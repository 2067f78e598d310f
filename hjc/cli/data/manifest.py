"""``hjc data manifest``: what a data set holds, as tables and a plot."""

from typing import Annotated

import typer

from hjc.cli import options


def manifest(
    files: Annotated[list[str], typer.Argument(metavar="[NAME=]FILE...", help="Tables; NAME is the set (its name).")],
    output: Annotated[str, typer.Option("-o", "--output", metavar="DIR", help="Folder for the tables and the plot.")],
    taxonomy: Annotated[str, typer.Option(help="isco08, a CSV or TSV of codes, or a model directory.")] = "isco08",
    digits: Annotated[str | None, typer.Option(help="Cumulative code lengths when parents are prefixes.")] = None,
    text_column: Annotated[list[str] | None, typer.Option("-t", "--text-column", help="Text; repeatable.")] = None,
    code_column: Annotated[str, typer.Option("-c", "--code-column", help="Column with the code.")] = "code",
    source_column: Annotated[str, typer.Option(help="Column with the source.")] = "",
    language_column: Annotated[str, typer.Option(help="Column with the language.")] = "",
    split_column: Annotated[str, typer.Option(help="Column that says train, valid or test.")] = "",
    exclude: Annotated[list[str] | None, typer.Option(help="Source left out of coverage; repeatable.")] = None,
) -> None:
    """Counts by source, code, language and level; coverage of the codes; words a text; the long tail as a plot."""
    with options.one_message():
        from rich.console import Console
        from rich.table import Table

        from hjc.cli.data.tables import account, by_split, note_rejects, read_labelled, tree_of, write_rejects
        from hjc.corpus.manifest import manifest as make
        from hjc.data import JobData

        tree = tree_of(taxonomy, digits)
        parts: dict[str, list[JobData]] = {}
        accounts, rejects = [], []
        for item in files:
            name, found, path = item.partition("=")
            if not found:
                name, path = path_name(item), item
            part = read_labelled(
                path, tree, text_column or ["text"], code_column,
                source_column=source_column, language_column=language_column, split_column=split_column, max_chars=0,
            )  # fmt: skip
            note_rejects(part, path)
            rejects.append(part.rejects)
            accounts.append({"set": name, "file": path, **account(part)})
            for key, data in by_split(part, name).items():
                parts.setdefault(key, []).append(data)
        result = make({key: JobData.concat(data) for key, data in parts.items()}, exclude=exclude or ())
        result.facts["files"] = accounts
        written = [*result.write(output), write_rejects(output, rejects)]
        table = Table("split", "source", "rows", "codes", title="Rows and codes by source")
        for row in result.by_source.itertuples():
            table.add_row(str(row.split), str(row.source), f"{row.rows:,}", f"{row.codes:,}")
        Console(highlight=False).print(table)
        absent, leaves = result.facts["leaves_without_rows"], tree.num_leaves
        options.note(f"{absent:,} of {leaves:,} leaf codes have no row; {len(written)} files in {output}")


def path_name(path: str) -> str:
    """data/ads.csv.gz -> ads."""
    return path.replace("\\", "/").rstrip("/").rsplit("/", 1)[-1].split(".")[0]
