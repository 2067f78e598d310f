"""``hjc data sample``, ``split``, ``deal`` and ``gather``: the paper's ways from a frame to coders and to training."""

from dataclasses import asdict
from typing import Annotated

import typer

from hjc.cli import session
from hjc.cli.aliases import (
    CodeColumn,
    Halves,
    LanguageColumn,
    OutputFile,
    OutputFolder,
    Overwrite,
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
    rule: Annotated[
        str,
        typer.Option(
            help="code-length (code x length of the text), languages (source x code), pps (systematic, probability "
            "proportional to a measure) or phrases (search phrases)."
        ),
    ],
    *,
    fraction: Annotated[
        float | None, typer.Option(help="Share of each stratum; the paper: 0.2; languages 0.1 and 0.15.")
    ] = None,
    size: Annotated[int | None, typer.Option(help="pps: rows to draw; the paper: 10,002.")] = None,
    measure: Annotated[str, typer.Option(help="pps: characters or words of the text, or a column.")] = "characters",
    strata: Annotated[
        list[str] | None,
        typer.Option(help="pps: words, keywords, code, or a column; repeatable, they are crossed."),
    ] = None,
    keywords: Annotated[
        str | None, typer.Option(help="pps: table group,pattern of --strata keywords; the first that occurs.")
    ] = None,
    allocation: Annotated[
        str, typer.Option(help="pps: rows of a stratum in proportion to its measure, its rows, or equal.")
    ] = "measure",
    phrases: Annotated[str | None, typer.Option(help="phrases: table phrase,n of regular expressions.")] = None,
    unique: Annotated[bool, typer.Option(help="phrases: of equal texts only the first.")] = True,
    code_column: CodeColumn = "code",
    text_column: Annotated[
        list[str] | None,
        typer.Option("-t", "--text-column", help="Text whose length counts; phrases: repeat it to search several."),
    ] = None,
    source_column: SourceColumn = "source",
    language_column: LanguageColumn = "language",
    by_language: Annotated[bool, typer.Option("--by-language", help="Strata by language, too.")] = False,
    bounds: Annotated[str, typer.Option(help="Upper bounds of bins: characters (50 ... 500), pps: words.")] = "",
    halves: Halves = "even",
    seed: Seed = 1,
    reading: Reading,
    writing: Writing,
) -> None:
    """Draw a sample with known inclusion probabilities: design_weight is 1 / that of the row.

    code-length and languages: max(1, round(fraction x N_h)) rows of each stratum, by chance. pps: --size rows,
    systematic within strata, longer texts more often. phrases: so many of the texts that hold each phrase.
    """
    from hjc.corpus.sampling import CHARACTER_BINS
    from hjc.corpus.sampling_files import RULES, sample_file
    from hjc.corpus.sampling_rules import sample_phrases, sample_pps
    from hjc.errors import check_choice

    check_choice("--rule", rule, (*RULES, "pps", "phrases"))
    for option, given, of in (
        ("--fraction", fraction is not None, RULES), ("--size", size is not None, ("pps",)),
        ("--strata", bool(strata), ("pps",)), ("--keywords", keywords is not None, ("pps",)),
        ("--phrases", phrases is not None, ("phrases",)), ("--by-language", by_language, ("languages",)),
    ):  # fmt: skip
        if given and rule not in of:
            raise ValueError(f"{option} belongs to --rule {' or '.join(of)}, got --rule {rule}")
    texts = text_column or ["text"]
    if rule != "phrases" and len(texts) > 1:
        raise ValueError(f"--rule {rule} measures one --text-column, got {len(texts)}")
    edges, both = [int(x) for x in listed(bounds)], {**asdict(reading), **writing.settings()}
    with session.all_or_nothing(output):
        if rule == "pps":
            if size is None:
                raise ValueError("--rule pps: how many rows? Give --size N")
            done = sample_pps(
                source, output, size, measure=measure, strata=strata or (), keywords=keywords, bounds=edges,
                allocation=allocation, text_column=texts[0], code_column=code_column, seed=seed, **both,
            )  # fmt: skip
        elif rule == "phrases":
            if phrases is None:
                raise ValueError("--rule phrases: give the phrases as a table: --phrases FILE with columns phrase,n")
            done = sample_phrases(source, output, phrases, text_columns=texts, unique=unique, seed=seed, **both)
        else:
            if fraction is None:
                raise ValueError(f"--rule {rule}: which share of each stratum? Give --fraction, such as 0.2")
            done = sample_file(
                source, output, rule, fraction, code_column=code_column, text_column=texts[0],
                source_column=source_column, language_column=language_column, by_language=by_language,
                bounds=edges or CHARACTER_BINS, halves=halves, seed=seed, **both,
            )  # fmt: skip
    session.finish(output, done.facts, done.notes)


def deal(
    source: Source,
    output: OutputFolder,
    coder: Annotated[list[str], typer.Option("--coder", help="Name of a coder, and of their file; repeatable.")],
    *,
    common: Annotated[int, typer.Option(help="Rows, drawn by chance, that all coders get.")] = 0,
    column: Annotated[list[str] | None, typer.Option(help="Column that coders see; repeatable (all).")] = None,
    format: Annotated[str, typer.Option(help="The coders' files as csv or xlsx.")] = "csv",
    overwrite: Overwrite = False,
    seed: Seed = 1,
    reading: Reading,
) -> None:
    """Deal a sample to coders, a file each, with a common part for agreement; DIR/deal.csv says who got what."""
    from hjc.corpus.dealing import deal_file

    done = deal_file(
        source, output, coder, common, columns=column or (), kind=format, seed=seed, overwrite=overwrite,
        **reading.settings(),
    )  # fmt: skip
    session.finish(output, done.facts, done.notes)


def gather(
    folder: Annotated[str, typer.Argument(metavar="DIR", help="Folder that hjc data deal wrote.")],
    output: OutputFile,
    *,
    overwrite: Overwrite = False,
    reading: Reading,
) -> None:
    """Put the coders' files of a deal together: a line a unit and coder, for hjc data agreement."""
    from hjc.corpus.dealing import gather_files

    done = gather_files(folder, output, overwrite=overwrite, **reading.settings())
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
