"""``hjc data sample`` and ``hjc data split``: the sampling and splitting rules of the paper on files."""

from dataclasses import asdict
from typing import Annotated

import typer

from hjc.cli import session
from hjc.cli.aliases import (
    CodeColumn,
    Halves,
    LanguageColumn,
    OutputFile,
    Reading,
    Seed,
    Source,
    SourceColumn,
    Writing,
    listed,
)


def sample(
    source: Source,
    output: OutputFile,
    rule: Annotated[str, typer.Option(help="code-length (code x length of the text) or languages (source x code).")],
    fraction: Annotated[float, typer.Option(help="Share of each stratum; the paper: 0.2; languages 0.1 and 0.15.")],
    *,
    code_column: CodeColumn = "code",
    text_column: Annotated[str, typer.Option("-t", "--text-column", help="Text whose length counts.")] = "text",
    source_column: SourceColumn = "source",
    language_column: LanguageColumn = "language",
    by_language: Annotated[bool, typer.Option("--by-language", help="Strata by language, too.")] = False,
    bounds: Annotated[str, typer.Option(help="Upper bounds of the length bins, in characters (50,100 ... 500).")] = "",
    halves: Halves = "even",
    seed: Seed = 1,
    reading: Reading,
    writing: Writing,
) -> None:
    """Draw a stratified sample: max(1, round(fraction x N_h)) rows of each stratum; design_weight is N_h / n_h."""
    from hjc.corpus.sampling import CHARACTER_BINS
    from hjc.corpus.sampling_files import sample_file

    with session.all_or_nothing(output):
        done = sample_file(
            source, output, rule, fraction, code_column=code_column, text_column=text_column,
            source_column=source_column, language_column=language_column, by_language=by_language,
            bounds=[int(x) for x in listed(bounds)] or CHARACTER_BINS, halves=halves, seed=seed,
            **asdict(reading), **writing.settings(),
        )  # fmt: skip
    session.finish(output, done.facts, done.notes)


def split(
    source: Source,
    output: OutputFile,
    *,
    code_column: CodeColumn = "code",
    source_column: SourceColumn = "",
    train_only: Annotated[list[str] | None, typer.Option(help="Source that only trains; repeatable.")] = None,
    train_fraction: Annotated[float, typer.Option(help="Training share of each source x code.")] = 0.7,
    valid_fraction: Annotated[
        float, typer.Option(help="Share of the training rows that validate, none of --train-only (0: training carves).")
    ] = 0.0,
    column: Annotated[str, typer.Option(help="Name of the new column.")] = "split",
    halves: Halves = "even",
    seed: Seed = 1,
    reading: Reading,
    writing: Writing,
) -> None:
    """Add a column that says train or test by the paper's rule: 70/30 in source x code, single rows test."""
    from hjc.corpus.sampling_files import split_file

    with session.all_or_nothing(output):
        done = split_file(
            source, output, code_column=code_column, source_column=source_column, train_only=train_only or (),
            train_fraction=train_fraction, valid_fraction=valid_fraction, column=column, halves=halves, seed=seed,
            **asdict(reading), **writing.settings(),
        )  # fmt: skip
    session.finish(output, done.facts, done.notes)
