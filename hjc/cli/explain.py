"""``hjc explain``: which words drove a code."""

from typing import Annotated, Any

import typer

from hjc.cli import session
from hjc.cli.aliases import Calibrated, Json, Levels, Reading, RunDir, TextColumns, TitleLanguage, TrainedCodeColumn


def explain(
    run_dir: RunDir,
    text: Annotated[str, typer.Argument(help="The text, as in training: the title, a line break, the description.")],
    *,
    level: Levels = None,
    code: Annotated[str | None, typer.Option(help="Explain this code (the most probable one).")] = None,
    against: Annotated[str | None, typer.Option(help="Compare it with this one (its most probable sibling).")] = None,
    method: Annotated[
        str, typer.Option(help="linear, gradients or occlusion (leaving words out); auto: the model's own.")
    ] = "auto",
    words: Annotated[int, typer.Option(min=1, help="Words shown for each level.")] = 8,
    neighbours: Annotated[
        int, typer.Option("-n", "--neighbours", min=0, help="Also the training texts nearest to it.")
    ] = 0,
    train: Annotated[
        str | None, typer.Option(metavar="FILE", help="Where they are looked for (the data that train.yaml names).")
    ] = None,
    text_column: TextColumns = None,
    code_column: TrainedCodeColumn = None,
    reading: Reading,
    language: TitleLanguage = None,
    calibrated: Calibrated = False,
    json: Json = False,
) -> None:
    """Show the code of each level, the sibling that came second, and which words spoke for (+) and against (-) it.

    Linear models: exact parts of the difference between the two scores. Neural models: integrated gradients of the
    log-probability of the code, and of its lead over the second (needs captum: pip install "hjc[explain]"). Others:
    what the log-probability loses without the word. --neighbours compares texts in the model's own space.
    """
    from json import dumps

    from hjc.apply.step import recipe_of
    from hjc.classifiers.load import load
    from hjc.explain import explain_text
    from hjc.explain.neighbours import nearest_texts
    from hjc.explain.show import closing_notes, level_lines, neighbour_lines, plain_level, plain_neighbours
    from hjc.explain.training_rows import rows_of_file, training_rows

    recipe = None if train is None else recipe_of(run_dir, text_column)
    classifier = load(run_dir)
    text = classifier.recipe.texts([text])[0]
    if calibrated:
        classifier = classifier.calibrated()
    tree = classifier.taxonomy
    found = explain_text(classifier, text, level, code=code, against=against, method=method)
    values: dict[str, Any] = {"text": text, "levels": [plain_level(tree, one, language) for one in found]}
    if not json:
        typer.echo("\n".join(line for one in found for line in level_lines(tree, one, words, language)))
        session.notes(closing_notes(found))
    if neighbours:
        if train is None or recipe is None:
            rows = training_rows(run_dir, tree)
        else:
            rows = rows_of_file(train, run_dir, tree, recipe=recipe, code_column=code_column, **reading.settings())
        near = nearest_texts(classifier, text, rows, neighbours)
        values["neighbours"] = plain_neighbours(tree, near, language)
        if not json:
            typer.echo("\n".join(neighbour_lines(tree, near, language)))
    if json:
        typer.echo(dumps(values, ensure_ascii=False, indent=1))
