"""``hjc taxonomy revise``: a training table of an old edition of a taxonomy to the new one."""

from dataclasses import asdict
from typing import Annotated

import typer

from hjc.cli.aliases import (
    BatchSize,
    CodeColumn,
    Links,
    LinkWeights,
    Output,
    Prefix,
    Quiet,
    Reading,
    RestoreZeros,
    Source,
    Writing,
    taxonomy_of,
)


def revise(
    source: Source,
    *,
    table: Annotated[str, typer.Option("--table", help="Correspondence table: CSV, TSV (.gz too), .xls, .xlsx.")],
    to: Annotated[str, typer.Option("--to", metavar="TAX", help="New edition: CSV of codes, isco08, model directory.")],
    start: Annotated[
        str | None, typer.Option("--from", metavar="TAX", help="Old edition; needed for rows coded to inner codes.")
    ] = None,
    output: Output = "-",
    code_column: CodeColumn = "code",
    row_weight_column: Annotated[str, typer.Option(help="Column of row weights, which are multiplied.")] = "",
    split: Annotated[
        str,
        typer.Option(help="Split codes: ancestor (an inner node as gold code) or weights (a row for each successor)."),
    ] = "ancestor",
    min_level: Annotated[int, typer.Option(help="A common ancestor above this level is no gold code.")] = 1,
    inner_share: Annotated[
        float, typer.Option(help="Share of the leaves of an inner old code that its new code must have (all).")
    ] = 1.0,
    keep_new: Annotated[
        bool, typer.Option("--keep-new", help="Rows coded to what only the new edition has keep their code.")
    ] = False,
    link_weights: LinkWeights,
    links: Links,
    prefix: Prefix = "new_",
    report: Annotated[str | None, typer.Option(help="CSV of what moved (OUT.report.csv).")] = None,
    reading: Reading,
    writing: Writing,
    batch_size: BatchSize = 8192,
    restore_zeros: RestoreZeros = False,
    quiet: Quiet = False,
) -> None:
    """Bring a training table from the old edition of a taxonomy to the new one.

    New columns: new_code (empty where there is none), new_weight, new_kind (unchanged, renamed, merged, split, dropped,
    unmapped; new with --keep-new), new_status. Train with code_column=new_code and, with --split weights,
    weight_column=new_weight.
    """
    from hjc.apply.revision import REVISION_COLUMNS, RevisionSummary, revise_table, write_report
    from hjc.apply.spelling import Spelling
    from hjc.cli.streams import finish, streams
    from hjc.crosswalk.correspondence import mend_table
    from hjc.crosswalk.readers import read_counts, read_links
    from hjc.crosswalk.revision import plan_revision

    old, new = None if start is None else taxonomy_of(start), taxonomy_of(to)
    mended = mend_table(
        read_links(table, **asdict(links)), old, new, restore_zeros=restore_zeros, asking="command"
    )  # fmt: skip
    plan = plan_revision(
        mended, new, old,
        split=split, weights=link_weights.weights, min_level=min_level, inner_share=inner_share,  # type: ignore[arg-type]
        target_counts=None if link_weights.counts is None else read_counts(link_weights.counts), keep_new=keep_new,
    )  # fmt: skip
    spelling, summary = Spelling(frozenset(plan.codes), restore_zeros), RevisionSummary()
    with streams(source, output, summary, reading, writing, batch_size=batch_size) as (reader, open_writer):
        rows = revise_table(
            reader, open_writer({f"{prefix}{name}": kind for name, kind in REVISION_COLUMNS.items()}), plan,
            code_column, weight_column=row_weight_column, prefix=prefix, spelling=spelling, summary=summary,
        )  # fmt: skip
    report = report or (None if output == "-" else f"{output}.report.csv")
    if report is not None:
        write_report(plan, rows, report)
    said = [spelling.message(), plan.summary(rows), f"what moved, code by code: {report}" if report else ""]
    finish(
        output, "revise", summary, [] if quiet else said, quiet=quiet, input=source, table=table,
        rows_out=summary.written, split=split, kinds_of_codes=plan.counts, rows_by_kind=plan.count_rows(rows),
        without_new_code=summary.uncoded, repaired_codes=spelling.counts,
    )  # fmt: skip
