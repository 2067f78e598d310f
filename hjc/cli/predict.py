"""``hjc predict``: code a table of any size."""

from typing import Annotated, Any

import typer

from hjc.cli import options


def predict(
    run_dir: Annotated[str, typer.Argument(help="Model directory, as train.py wrote it.")],
    source: Annotated[
        str, typer.Argument(metavar="INPUT", help="CSV, TSV, Parquet, JSON or Excel file (.gz too), or -.")
    ],
    output: Annotated[str, typer.Option("-o", "--output", metavar="OUT", help="File to write, or - .")] = "-",
    text_column: Annotated[
        list[str] | None,
        typer.Option("-t", "--text-column", help="Column with the text; repeat it to join several (as in training)."),
    ] = None,
    level: Annotated[
        list[int] | None, typer.Option("-l", "--level", help="Level to code to, 1 is coarsest; repeatable (deepest).")
    ] = None,
    top_k: Annotated[int, typer.Option("-k", "--top-k", help="Codes for each row and level.")] = 1,
    language: Annotated[str | None, typer.Option(help="Language of the titles in the output, e.g. pl.")] = None,
    prefix: Annotated[str, typer.Option(help="Start of the names of new columns.")] = "hjc_",
    format: Annotated[
        str | None, typer.Option(help="Output: csv, tsv, parquet, jsonl, xlsx (by the name of OUT).")
    ] = None,
    input_format: Annotated[str | None, typer.Option(help="The same for INPUT (by its name; csv for -).")] = None,
    separator: Annotated[str | None, typer.Option(help="Separator of a CSV input, or tab (found out).")] = None,
    encoding: Annotated[str | None, typer.Option(help="Encoding of a text input, e.g. cp1250 (utf-8).")] = None,
    sheet: Annotated[str | None, typer.Option(help="Sheet of a workbook (the first).")] = None,
    safe_cells: Annotated[
        bool, typer.Option("--safe-cells", help="CSV: ' before cells that a spreadsheet takes for formulas.")
    ] = False,
    calibrated: Annotated[
        bool, typer.Option("--calibrated", help="Use the model's calibration, fitted on its validation rows.")
    ] = False,
    back_off: Annotated[
        float | None, typer.Option(metavar="P", help="Also the deepest code with at least this probability.")
    ] = None,
    target_accuracy: Annotated[
        float | None,
        typer.Option(metavar="A", help="Also the deepest code such that this share of coded rows is right."),
    ] = None,
    conformal: Annotated[
        float | None,
        typer.Option(metavar="ALPHA", help="Also a code and sets that hold the truth with probability 1 - ALPHA."),
    ] = None,
    by_group: Annotated[
        bool, typer.Option("--by-group", help="--target-accuracy: a threshold for each most probable level-1 code.")
    ] = False,
    conformal_by: Annotated[
        str | None,
        typer.Option(metavar="WHAT", help="The probability holds within each: language or group (level-1 code)."),
    ] = None,
    conformal_score: Annotated[str, typer.Option(help="Score of the sets: lac, aps or raps.")] = "lac",
    conformal_codes: Annotated[
        int | None, typer.Option(metavar="K", help="Also at most K codes, of any level, that hold the set.")
    ] = None,
    language_column: Annotated[
        str | None, typer.Option(help="Column with the language of a row (as in training, where it is there).")
    ] = None,
    cost: Annotated[
        str | None,
        typer.Option(metavar="COST", help="Also the code of least expected cost: lca, levels, or a cost table."),
    ] = None,
    path: Annotated[
        str | None,
        typer.Option(metavar="PATH", help="Also codes of one path: leaf (to the most probable leaf) or greedy."),
    ] = None,
    abstain: Annotated[
        float | None, typer.Option(metavar="P", help="No code at a level where the first has less probability.")
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Rows in memory: read, coded and written at a time.")] = 4096,
    rejects: Annotated[
        str | None, typer.Option(help="CSV for unreadable lines (OUT.rejects.csv; nowhere for standard output).")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing OUT.")] = False,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="No progress and no summary.")] = False,
) -> None:
    """Code every row of a table: all its columns in their order, then the codes.

    New columns, for level 4: hjc_level4_code_1, hjc_level4_title_1, hjc_level4_proba_1, then rank 2 and so on; last
    hjc_status, which is "ok" or says why a row has no codes. Probabilities are those of the level as a whole. Lines
    that are no rows (too many cells, broken JSON) are counted and written to the rejects.

    --back-off, --cost, --target-accuracy and --conformal add columns before the status: hjc_backoff_code,
    hjc_bayes_code, hjc_target_code, hjc_conformal_code (each with _level, _title, _proba, _reason), hjc_bayes_cost,
    hjc_level4_automatic, hjc_level4_set and hjc_level4_set_size. The last two options need a model that was trained
    with validation rows. The first codes of the levels are each level's own and may disagree; --path adds
    hjc_level4_path, codes of one path, and hjc_coherent. A retrieval model adds hjc_outcome (unanimous, reranked,
    retrieved, declined) and hjc_outcome_reason.
    """
    with options.one_message():
        _predict(
            run_dir, source, output, text_column, tuple(level or ()), top_k, language, prefix, format, input_format,
            separator, encoding, sheet, safe_cells, batch_size, rejects, overwrite, quiet, calibrated,
            language_column,
            {
                "back_off": back_off, "target_accuracy": target_accuracy, "by_group": by_group, "conformal": conformal,
                "conformal_by": conformal_by, "conformal_score": conformal_score, "conformal_codes": conformal_codes,
                "cost": cost, "path": path, "abstain": abstain,
            },
        )  # fmt: skip


def _predict(
    run_dir: str, source: str, output: str, text_column: list[str] | None, levels: tuple[int, ...], top_k: int,
    language: str | None, prefix: str, format: str | None, input_format: str | None, separator: str | None,
    encoding: str | None, sheet: str | None, safe_cells: bool,
    batch_size: int, rejects_path: str | None, overwrite: bool, quiet: bool, calibrated: bool,
    language_column: str | None, rules: dict[str, Any],
) -> None:  # fmt: skip
    from dataclasses import replace

    from hjc.apply.loop import Columns, Summary
    from hjc.apply.predict import Plan, code_table
    from hjc.classifiers import stored_classifier
    from hjc.classifiers.load import load
    from hjc.cli.streams import note_summary, progress_of, streams

    # What can go wrong cheaply goes wrong first; the model is loaded last.
    stored_classifier(run_dir)
    columns = Columns(options.recipe_of(run_dir, text_column))
    summary = Summary()
    with streams(
        source, output, summary, format=format, input_format=input_format, separator=separator, encoding=encoding,
        batch_size=batch_size, overwrite=overwrite, rejects=rejects_path, what="written", sheet=sheet,
        safe_cells=safe_cells,
    ) as (reader, open_writer):  # fmt: skip
        columns.find(reader)
        classifier = load(run_dir)
        plan = Plan(
            classifier.taxonomy, levels=levels, top_k=top_k, prefix=prefix, title_language=language,
            outcomes=classifier.has_outcomes,
        )  # fmt: skip
        if calibrated:
            classifier = classifier.calibrated()
        validation = None
        if any(value is not None and value is not False and value != "lac" for value in rules.values()):
            from hjc.apply.decisions import plan_decisions

            if rules["target_accuracy"] is not None or rules["conformal"] is not None:
                from hjc.evaluation.validation_scores import ValidationScores

                validation = ValidationScores.load(run_dir, classifier.taxonomy)
            decisions = plan_decisions(plan, validation, calibrated=calibrated, **rules)
            plan = replace(plan, decisions=decisions)
            trained = options.trained_column(run_dir, "language_column")
            columns = replace(columns, language=language_column or (trained if trained in reader.columns else None))
            if rules["conformal_by"] == "language" and columns.language is None:
                raise ValueError("--conformal-by language: which column has the language? Give --language-column NAME")
            for sentence in decisions.notes:
                options.note(f"warning: {sentence}")
        writer = open_writer(plan.columns)
        with progress_of(reader, quiet) as progress:
            code_table(classifier, reader, writer, plan, columns, progress=progress, summary=summary)
        if plan.decisions is not None:
            if not quiet:
                options.note(plan.decisions.message())
            if validation is not None:
                options.note(plan.decisions.warning(validation, calibrated))
    if not quiet:
        note_summary(summary, output)
