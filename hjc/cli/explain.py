"""``hjc explain``: which words drove a code."""

from typing import Annotated

import typer

from hjc.cli import options


def explain(
    run_dir: Annotated[str, typer.Argument(help="Model directory, as train.py wrote it (a linear model).")],
    text: Annotated[str, typer.Argument(help="The text, as in training: the title, a line break, the description.")],
    level: Annotated[list[int] | None, typer.Option("-l", "--level", help="Level; repeatable (all).")] = None,
    words: Annotated[int, typer.Option(min=1, help="Words shown for each level.")] = 8,
    language: Annotated[str | None, typer.Option(help="Language of the titles, e.g. pl.")] = None,
    calibrated: Annotated[bool, typer.Option("--calibrated", help="Show calibrated probabilities.")] = False,
) -> None:
    """Show the code of each level, the sibling that came second, and which words spoke for (+) and against (-) it.

    The numbers are parts of the difference between the two scores, before the softmax among siblings; with those of the
    other words and a constant they add up to it exactly.
    """
    with options.one_message():
        from rich.console import Console

        from hjc.explain import explain_text
        from hjc.persistence import load, stored_classifier

        stored_classifier(run_dir)
        classifier = load(run_dir)
        if calibrated:
            classifier = classifier.calibrated()
        tree, console = classifier.taxonomy, Console(highlight=False)

        def show(message: str) -> None:
            console.print(message, markup=False, soft_wrap=True)

        for found in explain_text(classifier, text, level):
            title = tree.title(found.node, language)
            show(f"level {found.level}  {tree.codes[found.node]} {title}  {found.probability:.3f}")
            if found.second < 0:
                show("         it has no sibling: nothing to decide")
                continue
            title = tree.title(found.second, language)
            show(f"  before {tree.codes[found.second]} {title}  {found.second_probability:.3f}")
            shown = [f"{word} {part:+.2f}" for word, part in found.words[:words] if abs(part) >= 0.005]
            rest = sum(part for _, part in found.words[words:])
            more = [f"other words {rest:+.2f}"] if len(found.words) > words else []
            show(
                f"         {', '.join([*shown, *more, f'constant {found.constant:+.2f}'])}; sum {found.difference:+.2f}"
            )
