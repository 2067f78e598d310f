"""``hjc drift``: does a new table look like what the model was made on?"""

from typing import Annotated

import typer

from hjc.cli import session
from hjc.cli.aliases import BatchSize, LanguageColumn, Reading, RunDir, Source, TextColumns


def drift(
    run_dir: RunDir,
    source: Source,
    *,
    output: Annotated[
        str | None, typer.Option("-o", "--output", metavar="OUT", help="CSV for the table of checks.")
    ] = None,
    text_column: TextColumns = None,
    language_column: LanguageColumn = "",
    reading: Reading,
    batch_size: BatchSize = 4096,
) -> None:
    """Compare a table with the validation rows of the model: languages, lengths, words, confidence, predicted shares,
    and where the model places the texts.

    Prints the checks and a verdict: proceed, recalibrate, or re-audit (code a random sample by hand before publishing).
    Labels are not needed, and so a change in the meaning of codes cannot be seen.
    """
    from hjc.apply.drift import profile_table
    from hjc.apply.loop import Columns, Summary
    from hjc.apply.step import recipe_of
    from hjc.classifiers.load import load
    from hjc.evaluation.drift_profile import read_profile
    from hjc.statistics.drift import compare_profiles
    from hjc.tables import format_of, open_table, write_frame

    target = "csv" if output is None else format_of(output, writing=True, option="another name")
    columns = Columns(recipe_of(run_dir, text_column), language=language_column or None)
    options, summary, classifier = reading.of(source), Summary(), load(run_dir)
    reference, of = read_profile(run_dir, classifier.taxonomy)
    with open_table(source, options, rows=batch_size) as reader:
        new = profile_table(classifier, reader, columns, vectors=reference.features is not None, summary=summary)
    found = compare_profiles(reference, new)
    if output is not None:
        write_frame(found.table, output, target, float_format="%.6g")
    session.tell(verdict=found.verdict, reasons=list(found.reasons), rows=new.rows, reference_rows=reference.rows)
    session.show_table("checks", None, ("check", "level", "statistic", "value", "chance", "status"), found.lines())
    session.say(f"{new.rows:,} rows against {reference.rows:,} {of} rows")
    session.say(
        f"features: {reference.space or 'vectors'}, {len(reference.features):,} rows"
        if reference.features is not None
        else "features: not compared; the profile has no vectors of its rows"
    )
    session.say("\n- ".join([f"verdict: {found.verdict}", *found.reasons]))
    session.note(summary.left_out() if summary.uncoded or summary.marked else "")
