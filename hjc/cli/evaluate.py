"""``hjc evaluate``: score a model on labelled rows of a file."""

from typing import Annotated

import typer

from hjc.cli import options


def evaluate(
    run_dir: Annotated[str, typer.Argument(help="Model directory, as train.py wrote it.")],
    data: Annotated[str, typer.Argument(metavar="DATA", help="CSV, TSV, Parquet or JSONL file with codes, or -.")],
    output: Annotated[
        str | None,
        typer.Option("-o", "--output", metavar="DIR", help="Folder for metrics, row scores, report and rejects."),
    ] = None,
    text_column: Annotated[
        list[str] | None,
        typer.Option("-t", "--text-column", help="Column with the text; repeat it to join several (as in training)."),
    ] = None,
    code_column: Annotated[str | None, typer.Option(help="Column with the right code (as in training).")] = None,
    language_column: Annotated[
        str | None, typer.Option(help="Column with the language, to slice by (as in training).")
    ] = None,
    source_column: Annotated[
        str | None, typer.Option(help="Column with the source, to slice by (as in training).")
    ] = None,
    name: Annotated[str, typer.Option(help="What the figures are called: NAME/level_4/recall@5.")] = "test",
    bootstrap: Annotated[int, typer.Option(min=0, help="Resamples of the 95 % intervals; 0 for none.")] = 1000,
    seed: Annotated[int, typer.Option(help="Seed of the resamples.")] = 0,
    separator: Annotated[str, typer.Option(help="Separator of a CSV, or tab.")] = "auto",
    encoding: Annotated[str, typer.Option(help="Encoding of a text file, e.g. cp1250.")] = "auto",
    format: Annotated[str, typer.Option(help="csv, tsv, parquet, jsonl; auto goes by the file name.")] = "auto",
    calibrated: Annotated[
        bool, typer.Option("--calibrated", help="Score the probabilities after the model's calibration.")
    ] = False,
    report: Annotated[bool, typer.Option(help="With -o: write report.html and plots.")] = True,
    examples: Annotated[bool, typer.Option(help="Quote texts of the rows in the report.")] = True,
    restore_zeros: Annotated[
        bool, typer.Option("--restore-zeros", help="Mend codes that lost leading zeros where only one code fits.")
    ] = False,
) -> None:
    """Print the metrics of every level, with 95 % intervals, and write them to a folder."""
    with options.one_message():
        from pathlib import Path

        import numpy as np
        from rich.console import Console

        from hjc.classifiers import stored_classifier
        from hjc.classifiers.load import load
        from hjc.data.labelled import write_rejects
        from hjc.data.reading import read_job_data
        from hjc.data.settings import DataSettings
        from hjc.evaluation import evaluate_model
        from hjc.evaluation.tables import show
        from hjc.report.save import save_evaluations
        from hjc.report.scores import read_training_counts, write_counts

        stored_classifier(run_dir)
        settings = DataSettings(
            **options.recipe_of(run_dir, text_column).settings(),
            code_column=code_column or options.trained_column(run_dir, "code_column") or "code",
            language_column=language_column or options.trained_column(run_dir, "language_column"),
            source_column=source_column or options.trained_column(run_dir, "source_column"),
            separator=separator,
            encoding=encoding,
            format=format,
            restore_zeros=restore_zeros,
        )
        if output is not None and Path(output).exists() and not Path(output).is_dir():
            raise NotADirectoryError(f"{output} is a file; -o takes a folder")
        classifier = load(run_dir)
        if calibrated:
            classifier.calibrated()  # says what to do where there is none
        given = {"language": language_column, "source": source_column}
        trained_only = [key for key, name in given.items() if not name]  # used where the file has them
        rows, rejects = read_job_data(data, classifier.taxonomy, settings, if_present=trained_only)
        if not len(rows):
            reasons = rejects["reason"].value_counts().head(5).to_dict()
            why = "; ".join(f"{reason} ({count:,} rows)" for reason, count in reasons.items())
            raise ValueError(f"{data}: no row can be evaluated: {why or 'there are none'}")
        counts = read_training_counts(run_dir, classifier.taxonomy)
        found = evaluate_model(
            classifier, rows, name=name, validation=run_dir, calibrated=calibrated, bootstrap=bootstrap, seed=seed,
            train_gold=None if counts is None else np.repeat(np.arange(len(counts)), counts),
        )  # fmt: skip
        show(found, Console(highlight=False), f"{name}: {len(rows):,} rows of {data}", ("language", "source"))
        if output is not None:
            found.write(output)
            write_rejects(output, [rejects])
            if counts is not None and Path(output).resolve() != Path(run_dir).resolve():
                write_counts(output, classifier.taxonomy, counts)
            page = save_evaluations(
                output, {name: (found, found.data)}, run_dir=run_dir, counts=counts, report=report, examples=examples,
                keep=True, decided={name: found.decided} if found.decided else None,
                classifier=classifier.calibrated() if calibrated else classifier,
            )  # fmt: skip
            options.note(f"metrics, tables of calibration and decisions, rejects.csv and row scores are in {output}")
            options.note(f"report: {page}" if page else "")
        if len(rejects):
            reasons = rejects["reason"].value_counts().head(3).to_dict()
            why = "; ".join(f"{reason} ({count:,})" for reason, count in reasons.items())
            options.note(f"{len(rejects):,} rows could not be used: {why}{'' if output else '; keep them with -o DIR'}")
