"""``hjc data prepare``: clean, judge and group a table of ads of any size."""

from dataclasses import asdict
from typing import Annotated

import typer

from hjc.cli import session
from hjc.cli.aliases import (
    BatchSize,
    CorpusTextColumns,
    OutputFile,
    Prefix,
    Quiet,
    Reading,
    Source,
    Writing,
    listed,  # fmt: skip
)


def prepare(
    source: Source,
    output: OutputFile,
    *,
    text_column: CorpusTextColumns = None,
    code_column: Annotated[str, typer.Option("-c", "--code-column", help="Codes, for conflicts of labels.")] = "",
    languages: Annotated[
        str, typer.Option(help="Languages to choose among, such as pl,en,uk (24 of Europe); none: not identified.")
    ] = "",
    keep_languages: Annotated[str, typer.Option(help="Languages that --drop language keeps (all of them).")] = "",
    drop: Annotated[
        list[str] | None,
        typer.Option(help="Move such rows to OUT.rejected: quality, language, identical; repeatable (none)."),
    ] = None,
    threshold: Annotated[float, typer.Option(help="Score of the quality gate from which a row is flagged.")] = 0.5,
    near_duplicates: Annotated[
        float, typer.Option(help="Jaccard similarity of word shingles that groups texts; 0: identical texts only.")
    ] = 0.8,
    phrases: Annotated[
        str | None, typer.Option(help="Table of further phrases: kind, language, phrase (tabs).")
    ] = None,
    html: Annotated[bool, typer.Option("--html/--no-html", help="Remove mark-up.")] = True,
    unicode: Annotated[bool, typer.Option("--unicode/--no-unicode", help="Repair broken characters.")] = True,
    mask: Annotated[bool, typer.Option("--mask/--no-mask", help="Mask e-mail, telephone and URL.")] = True,
    boilerplate: Annotated[bool, typer.Option("--boilerplate/--no-boilerplate", help="Cut legal clauses.")] = True,
    gate: Annotated[bool, typer.Option("--gate/--no-gate", help="Judge the quality.")] = True,
    prefix: Prefix = "prep_",
    reading: Reading,
    batch_size: BatchSize = 2048,
    workers: Annotated[int, typer.Option(min=1, help="Processes; each has its own language models.")] = 1,
    writing: Writing,
    quiet: Quiet = False,
) -> None:
    """Clean texts, flag what is no ad, identify languages, group duplicates. No row is lost.

    All columns stay; new ones: prep_COLUMN for each text column (cleaned), prep_cleaned (what was found), prep_quality
    (0 good to 1 bad) and prep_reasons, prep_language and prep_language_score, prep_group (train with
    data.group_column=prep_group and splits keep groups together) and prep_duplicate_of (0-based row of the first
    identical text). Besides: OUT.log.json (counts: in = out + rejected), OUT.conflicts.csv (groups with several
    codes), OUT.rejected.* (with --drop) and OUT.unreadable.csv (lines that are no rows).
    """
    from hjc.corpus.prepare import PAPER_LANGUAGES, CleaningSettings, PrepareSettings, load_phrases
    from hjc.corpus.prepare.file import prepare_file
    from hjc.progress import RowsLine

    settings = PrepareSettings(
        text_columns=tuple(text_column or ["text"]), code_column=code_column,
        cleaning=CleaningSettings(
            html=html, unicode=unicode, mask=mask, boilerplate=boilerplate, phrases=load_phrases(phrases)
        ),
        gate=gate, threshold=threshold, languages=() if languages == "none" else listed(languages) or PAPER_LANGUAGES,
        wanted=listed(keep_languages), drop=tuple(drop or ()), similarity=near_duplicates or None, prefix=prefix,
    )  # fmt: skip
    with session.all_or_nothing(output):
        done = prepare_file(
            source, output, settings, workers=workers, rows=batch_size, **asdict(reading), **writing.settings(),
            progress=None if quiet else RowsLine("preparing"),
        )  # fmt: skip
    done.facts["settings"]["phrases"] = phrases
    session.finish(output, done.facts, done.notes[:1] if quiet else done.notes)
