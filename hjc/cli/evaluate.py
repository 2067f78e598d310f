"""``hjc evaluate``: score a model on labelled rows of a file."""

from dataclasses import replace
from typing import Annotated

import typer

from hjc.cli import session
from hjc.cli.aliases import (
    AllText,
    Bootstrap,
    Calibrated,
    CodeSeparator,
    Computing,
    FolderOrNone,
    OtherCodesColumn,
    Prior,
    Reading,
    RestoreZeros,
    RunDir,
    Seed,
    Source,
    TextColumns,
    TrainedCodeColumn,
    TrainedLanguageColumn,
)


def evaluate(
    run_dir: RunDir,
    data: Source,
    *,
    output: FolderOrNone = None,
    text_column: TextColumns = None,
    all_text: AllText = False,
    code_column: TrainedCodeColumn = None,
    other_codes_column: OtherCodesColumn = None,
    code_separator: CodeSeparator = None,
    language_column: TrainedLanguageColumn = None,
    source_column: Annotated[
        str | None, typer.Option(help="Column with the source, to slice by (as in training).")
    ] = None,
    weight_column: Annotated[
        str | None, typer.Option(help="Survey weight of a row: figures are of the frame, not of the sample.")
    ] = None,
    language_shares: Annotated[
        str | None,
        typer.Option(help="Table language,share ...: correlation of the accuracy by language with each column."),
    ] = None,
    name: Annotated[str, typer.Option(help="What the figures are called: NAME/level_4/recall@5.")] = "test",
    bootstrap: Bootstrap = 1000,
    seed: Seed = 0,
    reading: Reading,
    computing: Computing,
    format: Annotated[str | None, typer.Option(help="Another name of --input-format.")] = None,
    calibrated: Calibrated = False,
    prior: Prior = None,
    report: Annotated[bool, typer.Option(help="With -o: write report.html and plots.")] = True,
    examples: Annotated[bool, typer.Option(help="Quote texts of the rows in the report.")] = True,
    restore_zeros: RestoreZeros = False,
) -> None:
    """Print the metrics of every level, with 95 % intervals, and write them to a folder."""
    from pathlib import Path

    import numpy as np
    from rich.console import Console

    from hjc.apply.priors import in_texts
    from hjc.apply.step import recipe_of, trained_column
    from hjc.classifiers.side import missing_side, unknown_cells
    from hjc.cli.streams import with_prior
    from hjc.corpus.copying import write_tables
    from hjc.data.reading import read_one
    from hjc.data.settings import DataSettings
    from hjc.data.side import side_of
    from hjc.data.splits import reject_reasons, write_rejects
    from hjc.evaluation import evaluate_model
    from hjc.evaluation.kind import TextKind
    from hjc.evaluation.languages import correlation_lines, language_correlation, read_language_shares
    from hjc.evaluation.tables import show
    from hjc.evaluation.words import plain_sentences
    from hjc.files import check_folder
    from hjc.report.save import save_evaluations
    from hjc.report.scores import read_training_counts, write_counts
    from hjc.tables import read_rows

    recipe = recipe_of(run_dir, text_column)
    settings = DataSettings(
        **recipe.settings(),
        **replace(reading, input_format=reading.input_format or format).settings(),
        code_column=code_column or trained_column(run_dir, "code_column") or "code",
        other_codes_column=other_codes_column or trained_column(run_dir, "other_codes_column"),
        code_separator=code_separator or trained_column(run_dir, "code_separator"),
        language_column=language_column or trained_column(run_dir, "language_column"),
        source_column=source_column or trained_column(run_dir, "source_column"),
        restore_zeros=restore_zeros,
        weight_column=weight_column or "",
    )
    shares = None if language_shares is None else read_language_shares(language_shares)
    if output is not None:
        check_folder(output)
    classifier = computing.model(run_dir)
    if calibrated:
        classifier.calibrated()  # says what to do where there is none
    given = {"language": language_column, "source": source_column, "other_codes": other_codes_column}
    # used where the file has them
    trained_only = ["side", *(key for key, column in given.items() if not column)]
    part = read_one(data, classifier.taxonomy, settings, if_present=trained_only, asking="command")
    rows, rejects = part.data, part.rejects
    session.notes(part.notes)
    if not len(rows):
        raise ValueError(f"{data}: no row can be evaluated: {reject_reasons(rejects) or 'there are none'}")
    if rows.sets is not None:
        session.note(f"{int(rows.sets.several.sum()):,} rows have several codes: any of them counts as right")
    if (kind := None if all_text or data == "-" else TextKind.of(classifier, recipe)) is not None:
        table = read_rows(data, replace(reading, input_format=reading.input_format or format).of(data))
        side = {s.column: table.column(s.column).tolist() for s in recipe.side if s.column in table.columns}
        rows = kind.rows(recipe, rows, [table.column(name).tolist() for name in recipe.columns], side)
        session.note(kind.note())
    if classifier.uncalibrated.side is not None:
        there = {name for text in rows.texts for name in side_of(text)}
        session.note(missing_side(recipe, there))
    counts = read_training_counts(run_dir, classifier.taxonomy)
    model, rules_from = classifier, str(run_dir)
    if prior is not None:
        model = classifier.calibrated() if calibrated else classifier
        model = with_prior(model, prior, run_dir, calibrated, in_texts(model, rows.texts, calibrated))
        calibrated, rules_from = False, ""  # rules of the validation rows hold for their shares only
    found = evaluate_model(
        model, rows, name=name, validation=rules_from or None, calibrated=calibrated, bootstrap=bootstrap, seed=seed,
        weighted=weight_column is not None,
        train_gold=None if counts is None else np.repeat(np.arange(len(counts)), counts),
    )  # fmt: skip
    session.tell(
        rows=len(rows), rejected=len(rejects), notes=list(found.notes), summary=plain_sentences({name: found}),
        metrics=found.metrics, intervals=found.intervals,
    )  # fmt: skip
    if not session.as_json():
        show(found, Console(highlight=False), f"{name}: {len(rows):,} rows of {data}", ("language", "source"))
        session.say("\n".join(plain_sentences({name: found})))
    session.note(unknown_cells(model.uncalibrated.side))
    related = None if shares is None else language_correlation(found, shares)
    if related is not None:
        heads, lines = related.columns.tolist(), related.astype({"level": str}).to_numpy().tolist()
        if not session.as_json():
            heads, lines = correlation_lines(related)
        title = f"{name}: recall@1 by language and shares of languages"
        session.show_table("language_correlation", title, heads, lines)
    if output is not None:
        found.write(output)
        if related is not None:
            write_tables(output, {"language_correlation": related})
        write_rejects(output, [rejects])
        if counts is not None and Path(output).resolve() != Path(run_dir).resolve():
            write_counts(output, classifier.taxonomy, counts)
        page = save_evaluations(
            output, {name: found}, run_dir=run_dir, counts=counts, report=report, examples=examples, keep=True,
            classifier=classifier.calibrated() if calibrated else model,
        )  # fmt: skip
        session.note(f"metrics, tables of calibration and decisions, rejects.csv and row scores are in {output}")
        session.note(f"report: {page}" if page else "")
    if len(rejects):
        kept = "" if output else "; keep them with -o DIR"
        session.note(f"{len(rejects):,} rows could not be used: {reject_reasons(rejects, 3)}{kept}")
