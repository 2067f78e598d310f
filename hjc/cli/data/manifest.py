"""``hjc data manifest``: what a data set holds, as tables and a plot."""

from typing import Annotated

import typer

from hjc.cli import session
from hjc.cli.aliases import (
    CodeColumn,
    CorpusTextColumns,
    Digits,
    LanguageColumn,
    OutputFolder,
    Reading,
    SourceColumn,
    Taxonomy,
    taxonomy_of,
)


def manifest(
    files: Annotated[list[str], typer.Argument(metavar="[NAME=]FILE...", help="Tables; NAME is the set (its name).")],
    output: OutputFolder,
    *,
    taxonomy: Taxonomy = "isco08",
    digits: Digits = None,
    text_column: CorpusTextColumns = None,
    code_column: CodeColumn = "code",
    source_column: SourceColumn = "",
    language_column: LanguageColumn = "",
    split_column: Annotated[str, typer.Option(help="Column that says train, valid or test.")] = "",
    exclude: Annotated[list[str] | None, typer.Option(help="Source left out of coverage; repeatable.")] = None,
    reading: Reading,
) -> None:
    """Counts by source, code, language and level; coverage of the codes; words a text; the long tail as a plot."""
    from hjc.corpus.manifest import manifest as make
    from hjc.data import JobData
    from hjc.data.reading import read_labelled
    from hjc.data.splits import write_rejects
    from hjc.files import stem

    tree = taxonomy_of(taxonomy, digits)
    parts: dict[str, list[JobData]] = {}
    accounts, rejects = [], []
    for item in files:
        name, path = item.split("=", 1) if "=" in item else (stem(item), item)
        part = read_labelled(
            path, tree, text_column or ["text"], code_column, source_column=source_column,
            language_column=language_column, split_column=split_column, max_chars=0, **reading.settings(),
        )  # fmt: skip
        session.notes(part.sentences(path))
        rejects.append(part.rejects)
        accounts.append({"set": name, "file": path, **part.account()})
        for key, data in part.by_split(name).items():
            parts.setdefault(key, []).append(data)
    result = make({key: JobData.concat(data) for key, data in parts.items()}, exclude=exclude or ())
    result.facts["files"] = accounts
    written = [*result.write(output), write_rejects(output, rejects)]
    session.show_table(
        "by_source",
        "Rows and codes by source",
        ("split", "source", "rows", "codes"),
        ((str(row.split), str(row.source), row.rows, row.codes) for row in result.by_source.itertuples()),
    )
    absent = result.facts["leaves_without_rows"]
    session.note(f"{absent:,} of {tree.num_leaves:,} leaf codes have no row; {len(written)} files in {output}")
