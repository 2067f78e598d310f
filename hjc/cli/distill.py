"""``hjc distill``: a fast student of a slow model, from texts without codes."""

from typing import Annotated

import typer

from hjc.cli import session
from hjc.cli.aliases import Computing, Reading, RunDir, Seed, Source, TextColumns


def distill(
    run_dir: RunDir,
    texts: Source,
    output: Annotated[str, typer.Option("-o", "--output", metavar="DIR", help="New model directory.")],
    reading: Reading,
    computing: Computing,
    text_column: TextColumns = None,
    layers: Annotated[
        int, typer.Option(min=0, help="Keep the first so many layers of a neural model (0: a static student).")
    ] = 0,
    width: Annotated[
        int | None, typer.Option(min=1, help="Numbers of a vector of a static student (128): more are better for ads.")
    ] = None,
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the texts.")] = 3,
    most: Annotated[int, typer.Option("--rows", min=0, help="Texts to learn from, drawn at random (0: all).")] = 0,
    seed: Seed = 1,
) -> None:
    """Fit a student to what a model says of texts without codes: many times faster, and close to its teacher.

    Any model can be the teacher. Without --layers the student has a vector for each n-gram, and no network.
    """
    from pathlib import Path

    from hjc.apply.distill import read_texts
    from hjc.apply.step import recipe_of
    from hjc.calibration import Identity
    from hjc.classifiers.derived import write_calibration
    from hjc.classifiers.distill import distill
    from hjc.classifiers.static import StaticSettings
    from hjc.files import check_new_folder

    if layers and width is not None:
        raise ValueError("--width is for a static student, one with --layers has the width of its teacher: give one")
    check_new_folder(output)
    recipe = recipe_of(run_dir, text_column)
    model = computing.model(run_dir)
    model.recipe = recipe
    teacher = model.calibrated() if model.calibrator is not None else model
    with session.all_or_nothing(output):
        found, note = read_texts(texts, recipe, reading.of(texts), most=most, seed=seed)
        session.note(note)
        static = None if width is None else StaticSettings(width=width)
        done = distill(teacher, found, layers=layers, epochs=epochs, settings=static, seed=seed, told=session.note)
        done.student.save_pretrained(Path(output))
        if model.calibrator is not None:  # what it has learnt is calibrated
            write_calibration(output, Identity(model.taxonomy), {"learnt_from": "a calibrated teacher"})
    session.note(f"{done} -> {output}")
