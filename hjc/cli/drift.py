"""``hjc drift``: does a new table look like what the model was made on?"""

import math
from typing import Annotated

import typer

from hjc.cli import options


def drift(
    run_dir: Annotated[str, typer.Argument(help="Model directory, as train.py wrote it.")],
    source: Annotated[str, typer.Argument(metavar="INPUT", help="CSV, TSV, Parquet or JSONL file (.gz too), or -.")],
    output: Annotated[
        str | None, typer.Option("-o", "--output", metavar="OUT", help="CSV for the table of checks.")
    ] = None,
    text_column: Annotated[
        list[str] | None,
        typer.Option("-t", "--text-column", help="Column with the text; repeat it to join several (as in training)."),
    ] = None,
    language_column: Annotated[str | None, typer.Option(help="Column with the language.")] = None,
    separator: Annotated[str | None, typer.Option(help="Separator of a CSV input, or tab (found out).")] = None,
    encoding: Annotated[str | None, typer.Option(help="Encoding of a text input, e.g. cp1250 (utf-8).")] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Rows in memory at a time.")] = 4096,
) -> None:
    """Compare a table with the validation rows of the model: languages, lengths, words, confidence, predicted shares,
    and where the model places the texts.

    Prints the checks and a verdict: proceed, recalibrate, or re-audit (code a random sample by hand before publishing).
    Labels are not needed, and so a change in the meaning of codes cannot be seen.
    """
    with options.one_message():
        from rich.console import Console
        from rich.table import Table

        from hjc.apply.drift import profile_table
        from hjc.apply.loop import Columns, Summary
        from hjc.classifiers import stored_classifier
        from hjc.classifiers.load import load
        from hjc.evaluation.drift_profile import read_profile
        from hjc.statistics.drift import compare_profiles
        from hjc.tables import ReadOptions, open_table

        stored_classifier(run_dir)
        columns = Columns(options.recipe_of(run_dir, text_column), language=language_column)
        reading = ReadOptions.given(separator=separator, encoding=encoding)
        classifier = load(run_dir)
        reference, of = read_profile(run_dir, classifier.taxonomy)
        summary = Summary()
        with open_table(source, reading, rows=batch_size) as reader:
            new = profile_table(
                classifier, reader, columns, vectors=reference.features is not None, summary=summary
            )  # fmt: skip
        found = compare_profiles(reference, new)
        if output is not None:
            found.table.to_csv(output, index=False, float_format="%.6g", lineterminator="\n")
        table = Table("check", "level", "statistic", "value", "chance", "status")
        for line in found.table.to_dict("records"):
            noise = "" if math.isnan(line["noise"]) else f"{line['noise']:.3f}"
            where, statistic = str(line["level"] or ""), str(line["statistic"]).replace("_", " ")
            table.add_row(line["check"], where, statistic, f"{line['value']:.3f}", noise, line["status"])
        console = Console(highlight=False)
        console.print(table)
        console.print(f"{new.rows:,} rows against {reference.rows:,} {of} rows", markup=False)
        console.print(
            f"features: {reference.space or 'vectors'}, {len(reference.features):,} rows"
            if reference.features is not None
            else "features: not compared; the profile has no vectors of its rows",
            markup=False,
        )
        console.print(f"verdict: {found.verdict}", markup=False)
        for reason in found.reasons:
            console.print(f"- {reason}", markup=False)
        if summary.uncoded:
            options.note(summary.left_out())
