"""``hjc estimate``: from texts to published shares per code and domain."""

from typing import Annotated, Any

import typer

from hjc.cli import options


def estimate(
    source: Annotated[str, typer.Argument(metavar="INPUT", help="CSV, TSV, Parquet or JSONL file (.gz too), or -.")],
    run_dir: Annotated[str, typer.Option("--run", metavar="RUN_DIR", help="Model directory, as train.py wrote it.")],
    output: Annotated[str, typer.Option("-o", "--output", metavar="OUT", help="CSV to write, or -.")] = "-",
    level: Annotated[int | None, typer.Option("-l", "--level", help="Deepest level to be published (deepest).")] = None,
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
    text_column: Annotated[
        list[str] | None,
        typer.Option("-t", "--text-column", help="Column with the text; repeat it to join several (as in training)."),
    ] = None,
    code_column: Annotated[
        str | None, typer.Option(help="Count the codes of this column instead of coding texts.")
    ] = None,
    audit: Annotated[
        str | None, typer.Option(metavar="FILE", help="Random sample of the rows with the codes that clerks found.")
    ] = None,
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
    raw: Annotated[bool, typer.Option("--raw", help="Do not apply the model's calibration.")] = False,
    target: Annotated[
        str, typer.Option(help="population: the rows are a sample of it. batch: the shares among these very rows.")
    ] = "population",
    confidence: Annotated[float, typer.Option(help="Of the intervals.")] = 0.95,
    bootstrap: Annotated[
        int, typer.Option(metavar="R", help="Standard errors from R replicates instead of formulas.")
    ] = 0,
    seed: Annotated[int, typer.Option(help="Seed of the replicates.")] = 0,
    separator: Annotated[str | None, typer.Option(help="Separator of a CSV input, or tab (found out).")] = None,
    encoding: Annotated[str | None, typer.Option(help="Encoding of a text input, e.g. cp1250 (utf-8).")] = None,
    sheet: Annotated[str | None, typer.Option(help="Sheet of a workbook (the first).")] = None,
    safe_cells: Annotated[
        bool, typer.Option("--safe-cells", help="CSV: ' before cells that a spreadsheet takes for formulas.")
    ] = False,
    batch_size: Annotated[int, typer.Option(min=1, help="Rows in memory at a time.")] = 4096,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing OUT.")] = False,
) -> None:
    """Estimate shares and counts per code at every level, with standard errors and intervals that add up the tree.

    OUT has the columns of --by, then level, code, title, share, se, low, high, count, count_low, count_high, rows,
    method and flag (few rows, imprecise, negative, no audit). Probabilities are calibrated where the model can.

    With --change OUT has share_old, share_new, change, se, low, high and significant instead. Errors that the periods
    share (the same validation rows, the same units in both) are taken into account.
    """
    with options.one_message():
        arguments = locals() | {"by": [name.strip() for name in by.split(",") if name.strip()]}
        _estimate(**arguments)


def _estimate(
    *, source: str, run_dir: str, output: str, level: int | None, by: list[str], weights: str | None, method: str,
    text_column: list[str] | None, code_column: str | None, audit: str | None, audit_code_column: str,
    audit_inclusion_column: str | None, audit_stratum_column: str | None, raw: bool, target: str, confidence: float,
    separator: str | None, encoding: str | None, sheet: str | None, safe_cells: bool, batch_size: int, overwrite: bool,
    bootstrap: int, seed: int, change: tuple[str, str] | None, change_column: str | None, unit_column: str | None,
) -> None:  # fmt: skip
    from hjc.apply.change import PAIRED, change_table
    from hjc.apply.estimate import FROM_VALIDATION, METHODS, gather, read_audit, shares_table
    from hjc.apply.loop import Columns, Summary
    from hjc.classifiers import stored_classifier
    from hjc.classifiers.load import load
    from hjc.evaluation.validation_scores import ValidationScores
    from hjc.tables import ReadOptions, check_output, format_of, open_table, write_frame

    if method == "auto":
        method = "classify_and_count" if code_column else "ppi" if audit else "summed"
    if method not in METHODS:
        raise ValueError(f"--method: got {method!r}, allowed are auto, {', '.join(METHODS)}")
    if not 0 < confidence < 1:
        raise ValueError(f"--confidence: got {confidence}, allowed are numbers between 0 and 1")
    if change is None and (change_column or unit_column):
        raise ValueError("--change-column and --unit-column refine --change OLD NEW: give that as well")
    if change is not None and not by:
        raise ValueError(
            "--change needs the column of the periods among --by, e.g. --by month --change 2024-01 2024-02"
        )
    if unit_column and (method not in PAIRED or target != "population"):
        raise ValueError(
            f"--unit-column goes with --method {' or '.join(PAIRED)} and --target population; with others leave it "
            "out: the periods are then taken as of different units, and intervals are too wide rather than too narrow "
            "where units stay as they are"
        )
    stored_classifier(run_dir)
    check_output(output, source, *([audit] if audit else []), overwrite=overwrite)
    recipe = None if code_column else options.recipe_of(run_dir, text_column)
    columns = Columns(recipe, by=by, weights=weights, code=code_column)
    reading = ReadOptions.given(separator=separator, encoding=encoding, sheet=sheet)
    target_kind = format_of(output, option="another name", writing=True)
    classifier = load(run_dir)
    validation = ValidationScores.load(run_dir, classifier.taxonomy) if method in FROM_VALIDATION else None
    calibrated = classifier.calibrator is not None and not raw
    if calibrated:
        classifier = classifier.calibrated()
    depth = classifier.taxonomy.check_level(level if level is not None else classifier.taxonomy.depth)

    def table(path: str) -> Any:
        return open_table(path, reading, rows=batch_size)

    parts: dict[str, Any] = {}
    if audit:
        with table(audit) as reader:
            parts["audit"], parts["audit_domain"] = read_audit(
                classifier, depth, reader, columns, audit_code_column,
                inclusion_column=audit_inclusion_column, stratum_column=audit_stratum_column,
            )  # fmt: skip
    summary = Summary()
    with table(source) as reader:
        gathered = gather(
            classifier, reader, columns, level=depth, method=method, validation=validation, calibrated=calibrated,
            target=target, summary=summary, unit=unit_column, bootstrap=bootstrap, seed=seed, **parts,
        )  # fmt: skip
    if change is None:
        found = shares_table(gathered, confidence)
    else:
        found = change_table(gathered, change_column or by[-1], *change, confidence=confidence)
    write_frame(found, output, target_kind, float_format="%.8g", safe_cells=safe_cells)
    options.note(summary.left_out())
    if not code_column:
        kind = f"calibrated ({classifier.parameters['calibration']})" if calibrated else "not calibrated"
        options.note(f"probabilities: {kind}; method: {method}; see docs/decisions.md on when it is right")
    flagged = found.loc[found["level"] == depth, "flag"].ne("").sum()
    total = (found["level"] == depth).sum()
    options.note(f"{flagged:,} of {total:,} estimates at level {depth} are flagged" if flagged else "")
    if change is not None:
        moved = int(found.loc[found["level"] == depth, "significant"].sum())
        how = ", ".join(found["how"].unique())
        options.note(
            f"{moved:,} of {total:,} changes at level {depth} are significant (periods: {how}); with so many tests "
            f"{(1 - confidence) * total:.3g} would be by chance alone"
        )
