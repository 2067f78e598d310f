"""``hjc explain``: which words drove a code."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from hjc.cli import options

if TYPE_CHECKING:
    from hjc.explain import LevelExplanation
    from hjc.explain.neighbours import Neighbour, Neighbours
    from hjc.taxonomy import Taxonomy


def explain(
    run_dir: Annotated[str, typer.Argument(help="Model directory, as train.py wrote it.")],
    text: Annotated[str, typer.Argument(help="The text, as in training: the title, a line break, the description.")],
    level: Annotated[
        list[int] | None,
        typer.Option("-l", "--level", help="Level; repeatable (linear models: all, others: the deepest)."),
    ] = None,
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
    text_column: Annotated[
        list[str] | None, typer.Option("-t", "--text-column", help="Text column of FILE; repeatable (as in training).")
    ] = None,
    code_column: Annotated[str | None, typer.Option(help="Code column of FILE (as in training).")] = None,
    language: Annotated[str | None, typer.Option(help="Language of the titles, e.g. pl.")] = None,
    calibrated: Annotated[bool, typer.Option("--calibrated", help="Show calibrated probabilities.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON, every word with its place in the text.")] = False,
) -> None:
    """Show the code of each level, the sibling that came second, and which words spoke for (+) and against (-) it.

    Linear models: exact parts of the difference between the two scores. Neural models: integrated gradients of the
    log-probability of the code, and of its lead over the second (needs captum: pip install "hjc[explain]"). Others:
    what the log-probability loses without the word. --neighbours compares texts in the model's own space.
    """
    with options.one_message():
        from hjc.classifiers import stored_classifier
        from hjc.classifiers.load import load
        from hjc.explain import explain_text
        from hjc.explain.neighbours import nearest_texts
        from hjc.explain.training_rows import rows_of_file, training_rows

        stored_classifier(run_dir)
        recipe = None if train is None else options.recipe_of(run_dir, text_column)
        classifier = load(run_dir)
        text = classifier.recipe.texts([text])[0]
        if calibrated:
            classifier = classifier.calibrated()
        tree = classifier.taxonomy
        found = explain_text(classifier, text, level, code=code, against=against, method=method)
        values: dict[str, Any] = {"text": text, "levels": [_plain(tree, one, language) for one in found]}
        if not json:
            _print_text(tree, found, words, language)
        if neighbours:
            rows = (
                training_rows(run_dir, tree)
                if train is None or recipe is None
                else rows_of_file(train, run_dir, tree, recipe=recipe, code_column=code_column)
            )
            near = nearest_texts(classifier, text, rows, neighbours)
            if json:
                values["neighbours"] = [_neighbour(tree, one, language) for one in near.nearest]
            else:
                _print_neighbours(tree, near, language)
        if json:
            _print_json(values)


def _print_json(values: dict[str, Any]) -> None:
    from json import dumps

    typer.echo(dumps(values, ensure_ascii=False, indent=1))


def _plain(tree: "Taxonomy", found: "LevelExplanation", language: str | None) -> dict[str, Any]:
    out: dict[str, Any] = {"level": found.level, "method": found.method}
    for key, node, p in (("code", found.node, found.probability), ("second", found.second, found.second_probability)):
        named = {"code": tree.codes[node], "title": tree.title(node, language), "probability": p}
        out[key] = named if node >= 0 else None
    for key in ("value", "constant", "difference", "difference_constant"):
        out[key] = getattr(found, key)
    return {**out, "words": [w._asdict() for w in found.words], "notes": list(found.notes)}


def _print_text(tree: "Taxonomy", explanations: "list[LevelExplanation]", words: int, language: str | None) -> None:
    from rich.console import Console

    from hjc.explain import METHODS

    console = Console(highlight=False)

    def show(message: str) -> None:
        console.print(message, markup=False, soft_wrap=True)

    for found in explanations:
        show(
            f"level {found.level}  {tree.codes[found.node]} {tree.title(found.node, language)}  {found.probability:.3f}"
        )
        if found.method != "linear":
            show(f"         {_line(found, 'part', words)}; {_from_to(found.constant, found.value)}")
        if found.second >= 0:
            title = tree.title(found.second, language)
            show(f"  before {tree.codes[found.second]} {title}  {found.second_probability:.3f}")
            end = (
                f"constant {found.difference_constant:+.2f}; sum {found.difference:+.2f}"
                if found.method == "linear"
                else _from_to(found.difference_constant, found.difference)
            )
            show(f"         {_line(found, 'lead', words)}; {end}")
        elif found.method == "linear":
            show("         it has no sibling: nothing to decide")
    for note in dict.fromkeys(note for found in explanations for note in found.notes):
        options.note(f"note: {note}")
    options.note("; ".join(dict.fromkeys(METHODS[found.method] for found in explanations)))


def _line(found: "LevelExplanation", which: str, words: int) -> str:
    ranked = found.by_word(which)
    named = [(word if any(map(str.isalnum, word)) else f'"{word}"', part) for word, part in ranked[:words]]
    shown = [f"{word} {part:+.2f}" for word, part in named if abs(part) >= 0.005]
    if len(ranked) > words:
        shown.append(f"other words {sum(part for _, part in ranked[words:]):+.2f}")
    return ", ".join(shown) or "no word counts"


def _from_to(without: float, with_words: float) -> str:
    return f"from {without:+.2f} without the words to {with_words:+.2f}"


def _neighbour(tree: "Taxonomy", near: "Neighbour", language: str | None) -> dict[str, Any]:
    named = {"code": tree.codes[near.gold], "title": tree.title(near.gold, language)}
    return {**named, "similarity": near.similarity, "copies": near.copies, "row": near.row, "text": near.text}


def _print_neighbours(tree: "Taxonomy", near: "Neighbours", language: str | None) -> None:
    from rich.console import Console

    console = Console(highlight=False)
    some = "" if near.compared == near.total else f"the {near.compared:,} nearest by words of "
    console.print(f"nearest training texts ({near.space}; {some}{near.total:,} texts)", markup=False, soft_wrap=True)
    for one in near.nearest:
        text = " ".join(one.text.split())
        text = text if len(text) <= 120 else text[:119].rstrip() + "…"
        times = f" ({one.copies} times)" if one.copies > 1 else ""
        line = f"  {one.similarity:.3f}  {tree.codes[one.gold]} {tree.title(one.gold, language)}{times}: {text}"
        console.print(line, markup=False, soft_wrap=True)
