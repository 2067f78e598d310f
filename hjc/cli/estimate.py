"""``hjc estimate``: from texts to published shares per code and domain."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from hjc.cli import session
from hjc.cli.aliases import (
    AllText,
    BatchSize,
    Computing,
    Confidence,
    Level,
    Output,
    Prior,
    Raw,
    Reading,
    Seed,
    Source,
    TextColumns,
    Writing,
    listed,
)
from hjc.cli.completion import run_directories

if TYPE_CHECKING:
    from pandas import DataFrame


def estimate(
    source: Source,
    *,
    run_dir: Annotated[
        str,
        typer.Option(
            "--run", metavar="RUN_DIR", help="Model directory, as train.py wrote it.", autocompletion=run_directories
        ),
    ],
    output: Output = "-",
    level: Level = None,
    by: Annotated[
        str, typer.Option(metavar="A,B", help="Columns whose values are the domains, e.g. region,month.")
    ] = "",
    weights: Annotated[str | None, typer.Option(metavar="COLUMN", help="Column with survey weights.")] = None,
    method: Annotated[
        str,
        typer.Option(
            help="classify_and_count, summed, misclassification, calibration, prior_shift, difference or ppi; "
            "auto is ppi with an audit and summed without."
        ),
    ] = "auto",
    text_column: TextColumns = None,
    all_text: AllText = False,
    code_column: Annotated[
        str | None, typer.Option(help="Count the codes of this column instead of coding texts.")
    ] = None,
    audit: Annotated[
        str | None, typer.Option(metavar="FILE", help="Random sample of the rows with the codes that clerks found.")
    ] = None,
    audit_sheet: Annotated[str | None, typer.Option(help="Sheet of the audit's workbook (the first).")] = None,
    audit_code_column: Annotated[str, typer.Option(help="Column of the audit with the right code.")] = "code",
    audit_inclusion_column: Annotated[
        str | None, typer.Option(help="Column of the audit with the probability of being audited (equal).")
    ] = None,
    audit_stratum_column: Annotated[
        str | None, typer.Option(help="Column of the audit with the stratum it was drawn in (one).")
    ] = None,
    change: Annotated[
        tuple[str, str] | None,
        typer.Option(metavar="OLD NEW", help="OUT: how shares moved between two periods, values of a --by column."),
    ] = None,
    change_column: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="The --by column of the periods (the last one).")
    ] = None,
    unit_column: Annotated[
        str | None,
        typer.Option(metavar="COLUMN", help="With --change: units (ads, firms) that may be in both periods."),
    ] = None,
    raw: Raw = False,
    prior: Prior = None,
    target: Annotated[
        str, typer.Option(help="population: the rows are a sample of it. batch: the shares among these very rows.")
    ] = "population",
    confidence: Confidence = 0.95,
    bootstrap: Annotated[
        int, typer.Option(metavar="R", help="Standard errors from R replicates instead of formulas.")
    ] = 0,
    seed: Seed = 0,
    reading: Reading,
    computing: Computing,
    writing: Writing,
    batch_size: BatchSize = 4096,
    figure: Annotated[
        list[str] | None,
        typer.Option(metavar="FILE", help="Also draw the shares: .png, .svg, .pdf, or a page .html; repeatable."),
    ] = None,
    against: Annotated[
        str | None, typer.Option(metavar="FILE", help="With --figure: OUT of an earlier period, drawn beside.")
    ] = None,
) -> None:
    """Estimate shares and counts per code at every level, with standard errors and intervals that add up the tree.

    OUT has the columns of --by, then level, code, title, share, se, low, high, count, count_low, count_high, rows,
    method and flag (few rows, imprecise, negative, no audit, other texts). Probabilities are calibrated where the
    model can.

    --figure draws them with their intervals; --against the OUT of the last period puts that beside them.

    With --change OUT has share_old, share_new, change, se, low, high and significant instead. Errors that the periods
    share (the same validation rows, the same units in both) are taken into account.
    """
    from hjc.apply.change import change_table, check_request
    from hjc.apply.estimate import FROM_VALIDATION, gather, judge, read_audit, shares_table
    from hjc.apply.loop import Columns, Summary
    from hjc.apply.priors import Wanted, check_method, in_table
    from hjc.apply.step import recipe_of
    from hjc.classifiers.side import unknown_cells
    from hjc.cli.streams import best_of, chosen, fitting, spoken, with_prior
    from hjc.evaluation.validation_scores import ValidationScores
    from hjc.tables import check_output, format_of, open_table, write_frame

    domains = listed(by)
    if method == "auto":
        method = "classify_and_count" if code_column else "ppi" if audit else "summed"
    check_method(Wanted.of(prior), method)
    check_request(method, confidence, domains, change, change_column, unit_column, target)
    recipe = None if code_column else recipe_of(run_dir, text_column)
    columns, summary = Columns(recipe, by=domains, weights=weights, code=code_column), Summary()
    earlier = check_figures(figure or (), against, change is not None, writing.overwrite)
    options = {source: reading.of_desk(source, "final").of(source)}
    if audit:
        options[audit] = reading.of_other(audit, audit_sheet).of_desk(audit, "audit").of(audit)
    if audit and options[audit].format == "desk":
        audit_inclusion_column = audit_inclusion_column or "inclusion_probability"
    kind = format_of(output, writing.format, writing=True)
    check_output(output, source, *([audit] if audit else []), overwrite=writing.overwrite)
    classifier = computing.model(run_dir)
    validation = ValidationScores.load(run_dir, classifier.taxonomy) if method in FROM_VALIDATION else None
    columns = fitting(columns, classifier, all_text)
    classifier, calibrated = best_of(classifier, raw)
    depth = classifier.taxonomy.check_level(level if level is not None else classifier.taxonomy.depth)
    if prior is not None:
        find = in_table(classifier, source, options[source], columns, batch_size, calibrated)
        classifier = with_prior(classifier, prior, run_dir, calibrated, find)
    audited, audited_domain = None, None
    if audit:
        with open_table(audit, options[audit], rows=batch_size) as reader:
            audited, audited_domain = read_audit(
                classifier, depth, reader, columns, audit_code_column,
                inclusion_column=audit_inclusion_column, stratum_column=audit_stratum_column,
            )  # fmt: skip
    with open_table(source, options[source], rows=batch_size) as reader:
        gathered = gather(
            classifier, reader, spoken(columns, run_dir, reader), level=depth, method=method, validation=validation,
            calibrated=calibrated, target=target, summary=summary, unit=unit_column, bootstrap=bootstrap, seed=seed,
            audit=audited, audit_domain=audited_domain,
        )  # fmt: skip
    if change is None:
        found = shares_table(gathered, confidence)
    else:
        found = change_table(gathered, change_column or domains[-1], *change, confidence=confidence)
    said = judge(gathered, found)
    write_frame(found, output, kind, float_format="%.8g", safe_cells=writing.safe_cells)
    for path in figure or ():
        from hjc.report.shares import draw_shares

        session.notes(draw_shares(path, found, earlier, title=f"Shares of {source}", notes=said))
    session.notes([summary.left_out(), chosen(columns), unknown_cells(classifier.uncalibrated.side), *said])
    if not code_column:
        how = f"calibrated ({classifier.parameters['calibration']})" if calibrated else "not calibrated"
        session.note(f"probabilities: {how}; method: {method}; see docs/decisions.md on when it is right")
    at = found[found["level"] == depth]
    flagged = at["flag"].ne("").sum()
    why = at["flag"].str.split(", ").explode().loc[lambda flag: flag.ne("")].value_counts()
    counts = ", ".join(f"{name} {n:,}" for name, n in why.items())
    session.note(f"{flagged:,} of {len(at):,} estimates at level {depth} are flagged: {counts}" if flagged else "")
    if change is not None:
        session.note(
            f"{int(at['significant'].sum()):,} of {len(at):,} changes at level {depth} are significant (periods: "
            f"{', '.join(found['how'].unique())}); with so many tests {(1 - confidence) * len(at):.3g} would be by "
            "chance alone"
        )


def check_figures(figures: Sequence[str], against: str | None, changes: bool, overwrite: bool) -> "DataFrame | None":
    """Whether what is to be drawn can be, before anything is coded; the shares of the earlier period.

    Raises:
        ValueError, FileNotFoundError, FileExistsError: another ending, a file that is there, no earlier table.
    """
    from hjc.report.shares import check_path, read_shares

    if against and (changes or not figures):
        raise ValueError("--against belongs to --figure, and not to --change, which compares two periods itself")
    for path in figures:
        check_path(path, overwrite)
    return read_shares(against) if against else None
