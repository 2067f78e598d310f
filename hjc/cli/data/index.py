"""``hjc data index``: is an index of titles fit to code by?"""

from typing import Annotated

import typer

from hjc.cli import session
from hjc.cli.aliases import (
    CodeColumn,
    CodeSeparator,
    Digits,
    OtherCodesColumn,
    OutputFolder,
    Reading,
    Source,
    Taxonomy,
    taxonomy_of,
)


def index(
    source: Source,
    output: OutputFolder,
    *,
    text_column: Annotated[str, typer.Option("-t", "--text-column", help="Column with the title.")] = "text",
    code_column: CodeColumn = "code",
    other_codes_column: OtherCodesColumn = None,
    code_separator: CodeSeparator = None,
    language_column: Annotated[str, typer.Option(help="Column with the language.")] = "",
    taxonomy: Taxonomy = "isco08",
    digits: Digits = None,
    reading: Reading,
) -> None:
    """Check an index of titles (model=lookup): titles of several codes, repeated, never found; codes without titles."""
    from hjc.apply.index_check import check_index
    from hjc.data.reading import read_labelled
    from hjc.data.splits import write_rejects

    part = read_labelled(
        source, taxonomy_of(taxonomy, digits), [text_column], code_column, language_column=language_column,
        other_codes_column=other_codes_column or "", code_separator=code_separator or "", **reading.settings(),
    )  # fmt: skip
    found = check_index(part.data)
    found.write(output)
    write_rejects(output, [part.rejects])
    said = {
        "contradictions": "titles of several codes", "duplicates": "titles repeated with the same code",
        "unreachable": "lines that nothing finds, or never alone", "empty_codes": "codes without any title",
    }  # fmt: skip
    session.show_table(
        "found", f"{found.counts['rows']:,} lines, {found.counts['entries']:,} titles", ("what", "how many", "file"),
        [(text, f"{found.counts[name]:,}", f"{name}.csv") for name, text in said.items()],
    )  # fmt: skip
    facts = {"command": "index", "input": source, **part.account(), "counts": found.counts}
    session.finish(output, facts, [*part.sentences(source), f"the tables, rejects.csv and log.json are in {output}"])
