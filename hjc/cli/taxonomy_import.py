"""``hjc taxonomy import KIND PATH... -o DIR``: an official taxonomy from the files of its office."""

from typing import Annotated

import typer

from hjc.cli import session
from hjc.cli.aliases import Digits, Languages, code_lengths, listed, pair


def import_(
    kind: Annotated[str | None, typer.Argument(help="Reader: isco08, esco, onet ... (--list shows all).")] = None,
    paths: Annotated[
        list[str] | None, typer.Argument(metavar="PATH...", help="Files, or folders that have them.")
    ] = None,
    output: Annotated[str | None, typer.Option("-o", "--output", help="Folder to write into.")] = None,
    list_: Annotated[bool, typer.Option("--list", help="List the readers and what they read.")] = False,
    name: Annotated[str, typer.Option(help="What the tree is called (the reader's name).")] = "",
    languages: Languages = "",
    language: Annotated[str, typer.Option(help="Language of texts that do not tell theirs.")] = "",
    column: Annotated[
        list[str] | None, typer.Option(help="A renamed column: EXPECTED=NAME IN THE FILE. More than once for several.")
    ] = None,
    digits: Digits = None,
    separator: Annotated[str | None, typer.Option(help="Separator of text files (found out).")] = None,
    encoding: Annotated[str | None, typer.Option(help="Encoding of text files, e.g. cp1250 (utf-8).")] = None,
    format: Annotated[str, typer.Option(help="Texts as csv (gzip) or parquet.")] = "csv",
) -> None:
    """Write taxonomy.csv, texts.csv.gz, rejects.csv and import_report.json, and show what was read."""
    from hjc.taxonomy.readers import READERS, ImportOptions, import_taxonomy

    if list_:
        for reader in READERS.values():
            session.say(f"{reader.kind:<9} {reader.title}\n{'':<9} {reader.files}")
        session.tell(kinds={reader.kind: {"title": reader.title, "files": reader.files} for reader in READERS.values()})
        return
    if kind is None or not paths:
        raise ValueError("give a KIND and a PATH: hjc taxonomy import esco ESCO-FOLDER -o tax (--list shows kinds)")
    if output is None:
        raise ValueError("where to? Give -o FOLDER")
    if format not in ("csv", "parquet"):
        raise ValueError(f"--format: got {format!r}, allowed are csv and parquet")
    imported = import_taxonomy(
        kind,
        paths,
        ImportOptions(
            name=name,
            languages=listed(languages),
            language=language,
            columns=dict(pair(text, "--column", "code=Kod") for text in column or []),
            encoding=encoding,
            separator="\t" if separator == "tab" else separator,
            digits=tuple(code_lengths(digits)),
        ),
    )
    written = imported.write(output, format=format)
    session.tell(report=imported.report.lines(), files=list(map(str, written)))
    for line in imported.report.lines():
        session.say(line)
    session.say(f"-> {', '.join(str(path) for path in written)}")
