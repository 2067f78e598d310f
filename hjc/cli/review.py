"""``hjc review``: which rows should a clerk look at?"""

import shlex
from typing import Annotated

import typer

from hjc.cli import session
from hjc.cli.aliases import (
    AllText,
    BatchSize,
    Computing,
    Level,
    Output,
    Prefix,
    Raw,
    Reading,
    RunDir,
    Seed,
    Source,
    TextColumns,
    Writing,
)


def review(
    run_dir: RunDir,
    source: Source,
    *,
    output: Output = "-",
    n: Annotated[int, typer.Option("-n", "--n", min=1, help="Rows to review.")] = 200,
    strategy: Annotated[
        str,
        typer.Option(
            help="To estimate: random, stratified, proportional. To learn from: uncertain, margin, entropy, bald, "
            "diverse, k_center."
        ),
    ] = "stratified",
    level: Level = None,
    strata: Annotated[
        str | None,
        typer.Option(metavar="COLUMN", help="Strata beside bands of uncertainty; predicted: the code of level 1."),
    ] = None,
    bands: Annotated[int, typer.Option(min=1, help="Bands of uncertainty in each stratum.")] = 3,
    passes: Annotated[int, typer.Option(min=2, help="Passes with dropout for bald.")] = 10,
    text_column: TextColumns = None,
    all_text: AllText = False,
    answer_column: Annotated[str, typer.Option(help="Name of the empty column for the clerks' codes.")] = "code",
    blind: Annotated[bool, typer.Option("--blind", help="Do not show the model's code to the clerks.")] = False,
    prefix: Prefix = "hjc_",
    raw: Raw = False,
    seed: Seed = 0,
    reading: Reading,
    computing: Computing,
    writing: Writing,
    batch_size: BatchSize = 4096,
) -> None:
    """Choose rows for clerks to code, for an honest audit or to learn from.

    OUT has all columns of the chosen rows, then hjc_row (first: 1), hjc_score, hjc_inclusion_probability, hjc_stratum,
    hjc_strategy, the model's hjc_code, hjc_title and hjc_proba, and an empty column for the answer. Filled in, it is
    the --audit of hjc estimate. Rows that were picked to learn from have no inclusion probability: no weighting makes
    an estimate of them.
    """
    from hjc.apply.loop import Columns, Summary
    from hjc.apply.predict import check_free
    from hjc.apply.review import Reviewing, review_columns, write_review
    from hjc.apply.step import recipe_of
    from hjc.classifiers.side import unknown_cells
    from hjc.cli.streams import best_of, chosen, fitting, spoken
    from hjc.tables import Reader, check_output, format_of, open_output, open_table

    columns, summary, options = Columns(recipe_of(run_dir, text_column)), Summary(), reading.of(source)
    if source == "-":
        raise ValueError("INPUT: standard input cannot be read twice; give a file")
    target = format_of(output, writing.format, writing=True)
    check_output(output, source, overwrite=writing.overwrite)

    def table() -> Reader:
        return open_table(source, options, rows=batch_size)

    new = review_columns(prefix, answer_column, blind)
    with table() as reader:
        columns = spoken(columns, run_dir, reader)
        check_free(list(new), reader.columns, "--answer-column")
    classifier, calibrated = best_of(computing.model(run_dir), raw)
    columns = fitting(columns, classifier, all_text)
    found = Reviewing(
        classifier, table, columns, n, strategy, level=level or classifier.taxonomy.depth, strata=strata,
        bands=bands, passes=passes, seed=seed, summary=summary,
    ).choose()  # fmt: skip
    with table() as reader, open_output(output, target, reader, new, safe_cells=writing.safe_cells) as writer:
        written = write_review(found, reader, writer, classifier, prefix)
    session.notes(
        [
            summary.left_out(),
            chosen(columns),
            unknown_cells(classifier.uncalibrated.side),
            *found.notes,
            found.message(written, calibrated),
        ]
    )
    if not found.plan.for_estimation:
        session.note(f"picked to learn from ({strategy}): not for hjc estimate --audit")
    elif output != "-":
        command = ["hjc", "estimate", source, "--run", run_dir, "--audit", output]
        command += [word for name in text_column or () for word in ("--text-column", name)]
        command += [word for name, value in vars(reading).items() if value
                    for word in (f"--{name.replace('_', '-')}", value)]  # fmt: skip
        command += ["--level", str(level)] if level else []
        command += ["--raw"] if raw else []
        command += ["--audit-code-column", answer_column]
        command += ["--audit-inclusion-column", f"{prefix}inclusion_probability"]
        command += ["--audit-stratum-column", f"{prefix}stratum"] if strategy == "stratified" else []
        command += ["-o", "shares.xlsx"] if target == "xlsx" else []
        session.note(f"when {answer_column} is filled in: {shlex.join(command)}")
