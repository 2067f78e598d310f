"""``hjc review``: which rows should a clerk look at?"""

from typing import Annotated, Any

import typer

from hjc.cli import options


def review(
    run_dir: Annotated[str, typer.Argument(help="Model directory, as train.py wrote it.")],
    source: Annotated[str, typer.Argument(metavar="INPUT", help="CSV, TSV, Parquet or JSONL file (.gz too).")],
    output: Annotated[str, typer.Option("-o", "--output", metavar="OUT", help="File to write, or -.")] = "-",
    n: Annotated[int, typer.Option("-n", "--n", min=1, help="Rows to review.")] = 200,
    strategy: Annotated[
        str,
        typer.Option(
            help="To estimate: random, stratified, proportional. To learn from: uncertain, margin, entropy, bald, "
            "diverse, k_center."
        ),
    ] = "stratified",
    level: Annotated[
        int | None, typer.Option("-l", "--level", help="Level of the codes in question (deepest).")
    ] = None,
    strata: Annotated[
        str | None,
        typer.Option(metavar="COLUMN", help="Strata beside bands of uncertainty; predicted: the code of level 1."),
    ] = None,
    bands: Annotated[int, typer.Option(min=1, help="Bands of uncertainty in each stratum.")] = 3,
    passes: Annotated[int, typer.Option(min=2, help="Passes with dropout for bald.")] = 10,
    text_column: Annotated[
        list[str] | None,
        typer.Option("-t", "--text-column", help="Column with the text; repeat it to join several (as in training)."),
    ] = None,
    answer_column: Annotated[str, typer.Option(help="Name of the empty column for the clerks' codes.")] = "code",
    blind: Annotated[bool, typer.Option("--blind", help="Do not show the model's code to the clerks.")] = False,
    prefix: Annotated[str, typer.Option(help="Start of the names of the other new columns.")] = "hjc_",
    raw: Annotated[bool, typer.Option("--raw", help="Do not apply the model's calibration.")] = False,
    seed: Annotated[int, typer.Option(help="Another seed draws another sample.")] = 0,
    separator: Annotated[str | None, typer.Option(help="Separator of a CSV input, or tab (found out).")] = None,
    encoding: Annotated[str | None, typer.Option(help="Encoding of a text input, e.g. cp1250 (utf-8).")] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Rows in memory at a time.")] = 4096,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing OUT.")] = False,
) -> None:
    """Choose rows for clerks to code, for an honest audit or to learn from.

    OUT has all columns of the chosen rows, then hjc_row (first: 1), hjc_score, hjc_inclusion_probability, hjc_stratum,
    hjc_strategy, the model's hjc_code, hjc_title and hjc_proba, and an empty column for the answer. Filled in, it is
    the --audit of hjc estimate. Rows that were picked to learn from have no inclusion probability: no weighting makes
    an estimate of them.
    """
    with options.one_message():
        from hjc.apply.loop import Columns, Summary
        from hjc.apply.review import review_columns, review_table, write_review
        from hjc.classifiers import stored_classifier
        from hjc.classifiers.load import load
        from hjc.tables import ReadOptions, check_output, format_of, open_output, open_table

        stored_classifier(run_dir)
        if source == "-":
            raise ValueError("INPUT: standard input cannot be read twice; give a file")
        check_output(output, source, overwrite=overwrite)
        columns = Columns(options.recipe_of(run_dir, text_column))
        reading = ReadOptions.given(separator=separator, encoding=encoding)
        out_kind = format_of(output, option="another name", writing=True)

        def table() -> Any:
            return open_table(source, reading, rows=batch_size)

        new = review_columns(prefix, answer_column, blind)
        with table() as reader:
            if taken := [c for c in new if c in reader.columns]:
                raise ValueError(
                    f"the input already has {', '.join(map(repr, taken))}; choose other names with --prefix and "
                    "--answer-column"
                )
        classifier = load(run_dir)
        calibrated = classifier.calibrator is not None and not raw
        if calibrated:
            classifier = classifier.calibrated()
        summary = Summary()
        found = review_table(
            classifier, table, columns, n, strategy, level=level or classifier.taxonomy.depth, strata=strata,
            bands=bands, passes=passes, seed=seed, summary=summary,
        )  # fmt: skip
        with table() as reader, open_output(output, out_kind, reader, new) as writer:
            written = write_review(found, reader, writer, classifier, prefix)
        options.note(summary.left_out())
        for note in found.notes:
            options.note(note)
        options.note(
            f"{written:,} rows to review; by the model's {'calibrated ' if calibrated else ''}probabilities "
            f"{found.expected_wrong:.0%} of their codes are wrong, of all codes {found.expected_wrong_all:.0%}"
        )
        if not found.plan.for_estimation:
            options.note(f"picked to learn from ({strategy}): not for hjc estimate --audit")
        elif output != "-":
            stratum = f" --audit-stratum-column {prefix}stratum" if strategy == "stratified" else ""
            options.note(
                f"filled in: hjc estimate {source} --run {run_dir} --audit {output} "
                f"--audit-code-column {answer_column} --audit-inclusion-column {prefix}inclusion_probability{stratum}"
            )
