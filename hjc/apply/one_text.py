"""One text, coded: a small tree with the probability of every code, for people."""

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from hjc.classifiers.base import Classifier
from hjc.classifiers.treemath import top_k_columns
from hjc.data.recipe import OK, text_status
from hjc.errors import check_range
from hjc.taxonomy import Taxonomy

#: cells of the longest bar
BAR = 20
_EIGHTHS = " ▏▎▍▌▋▊▉"


class Line(NamedTuple):
    """A code of the tree: its level (1 is coarsest), its probability, and whether it is the likeliest of its level."""

    level: int
    code: str
    title: str
    probability: float
    first: bool


class Coded(NamedTuple):
    """A text with its lines, in the order of the tree; ``outcome``: (what, why) of a model that may decline."""

    text: str
    lines: list[Line]
    outcome: tuple[str, str]


def code_text(
    classifier: Classifier, text: str, *, top_k: int = 3, level: int | None = None, language: str | None = None
) -> Coded:
    """The ``top_k`` most probable codes of a level, the likeliest code of every level above, and all that hold these.

    A code's probability is the sum of those under it, shown or not.

    Args:
        text: raw; cleaned as the model's texts are.
        level: the deepest one shown (default: of the tree). language: of the titles.

    Raises:
        ValueError: the text has no words, an unknown level or language, or ``top_k`` below 1.
    """
    tree = classifier.taxonomy
    check_range("top_k", top_k, top_k >= 1, "integers from 1")
    depth = tree.check_level(tree.depth if level is None else level)
    if language is not None and language not in tree.titles:
        raise ValueError(f"language: got {language!r}, {tree.name!r} has titles in {', '.join(tree.titles) or 'none'}")
    cleaned = classifier.recipe.texts([text])[0]
    if (status := text_status(text.strip(), cleaned)) != OK:
        raise ValueError(f"the text cannot be coded: {status}")
    _, log_proba, outcomes = next(iter(classifier.iter_outcomes([cleaned])))
    proba: dict[int, float] = {}
    first: set[int] = set()
    shown: set[int] = set()
    for at in range(1, depth + 1):
        nodes = tree.level_nodes(at)
        found = np.exp(tree.aggregate(log_proba, at).astype(np.float64))[0]
        # a leaf above the level stands for itself below it: the same code, the same probability
        proba |= dict(zip(nodes.tolist(), found.tolist(), strict=True))
        best, _ = top_k_columns(np.log(found[None]), min(top_k if at == depth else 1, len(nodes)))
        chosen = nodes[best[0]].tolist()
        first.add(chosen[0])
        shown |= {int(node) for one in chosen for node in tree.node_path[one].tolist() if node >= 0}
    return Coded(cleaned, list(_walk(tree, shown, proba, first, language)), outcomes[0])


def _walk(
    tree: Taxonomy, shown: set[int], proba: dict[int, float], first: set[int], language: str | None
) -> Iterator[Line]:
    """Depth first, the likelier branch before the other."""

    def below(parent: int) -> Iterator[Line]:
        children = [node for node in shown if (tree.parents[node] if tree.level[node] > 1 else -1) == parent]
        for node in sorted(children, key=lambda n: (-proba[n], n)):
            title = tree.title(node, language)
            yield Line(int(tree.level[node]), tree.codes[node], title, proba[node], node in first)
            yield from below(node)

    yield from below(-1)


def tree_lines(found: Coded, width: int = 80, plain: bool = False) -> list[str]:
    """The lines for a terminal: code, title, bar and probability; ``plain``: bars of # alone."""
    heads = [f"{'  ' * (line.level - 1)}{line.code}" for line in found.lines]
    room = max(map(len, heads), default=0)
    titles = max(10, width - room - BAR - 10)
    wide = min(titles, max((len(line.title) for line in found.lines), default=0))
    out = []
    for head, line in zip(heads, found.lines, strict=True):
        title = line.title if len(line.title) <= wide else f"{line.title[: wide - 3]}..."
        out.append(f"{head:<{room}}  {title:<{wide}}  {_bar(line.probability, plain)}  {line.probability:.2f}".rstrip())
    what, why = found.outcome
    return [*out, *([f"{what}{f': {why}' if why else ''}"] if what else [])]


def _bar(probability: float, plain: bool) -> str:
    cells = max(0.0, min(1.0, probability)) * BAR
    if plain:
        return f"{'#' * round(cells):<{BAR}}"
    whole = math.floor(cells)
    part = _EIGHTHS[math.floor(8 * (cells - whole))] if whole < BAR else ""
    return f"{'█' * whole + part:<{BAR}}"


def plain_values(found: Coded) -> dict[str, object]:
    """For JSON."""
    values: dict[str, object] = {"text": found.text, "codes": [line._asdict() for line in found.lines]}
    if found.outcome[0]:
        values |= {"outcome": found.outcome[0], "reason": found.outcome[1]}
    return values
