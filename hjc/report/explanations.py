"""A few rows of a run with the words marked that decided their code. Colours differ in lightness and carry an underline
each, so that marks are told apart with any colour vision and on paper without colours."""

import importlib.util
import re
import time
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Any, NamedTuple

import numpy as np

from hjc.classifiers.base import Classifier
from hjc.evaluation.evaluate import Evaluation
from hjc.explain import METHODS, LevelExplanation, explain_text
from hjc.report.page import Section
from hjc.report.text import printable

#: texts that are explained at most, and seconds after which no further one is begun
TEXTS, SECONDS = 8, 40.0
#: points of the quadrature of integrated gradients: a report is no place for the last digit
STEPS = (16,)
#: of a longer text: characters from its beginning, and on each side of its two strongest words
HEAD, AROUND = 260, 60
#: share of the strongest word's size from which a word is marked faintly, clearly, strongly
SHADES = (0.15, 0.4, 0.7)
TITLE = "Words that decided"


class Span(NamedTuple):
    """A piece of a running text, with a number shown on hovering and a class of style.css (for1 ... against3)."""

    text: str
    title: str = ""
    kind: str = ""


def why_not(classifier: Classifier, examples: bool) -> str:
    """Why a report has no marked texts; "" where it has."""
    if not examples:
        return "Texts are left out of this report (evaluation.examples=false)."
    if classifier.exact_levels:
        return ""
    if not classifier.has_gradients:
        return (
            f'Not made for {classifier.name} models, where it takes many predictions: hjc explain RUN_DIR "text" does.'
        )
    if importlib.util.find_spec("captum") is None:
        return 'Needs captum for neural models: pip install "hjc[explain]", then evaluate again.'
    return ""


def explanations_section(
    classifier: Classifier, sets: Mapping[str, Evaluation], *, examples: bool = True, seed: int = 0
) -> Section:
    """Some right and some wrong rows of the test sets (else of the validation rows), or one line that says why none.

    A right row is compared with the most probable sibling at the deepest level that has one; a wrong row with its gold
    code where the two paths part.
    """
    values: dict[str, Any] = {"tree": classifier.taxonomy, "text": why_not(classifier, examples), "rows": []}
    section = Section(TITLE, "explained.html.j2", values)
    if values["text"]:
        return section
    names = [name for name in sets if name != "valid"][:2] or list(sets)[:1]
    started, methods = time.monotonic(), []
    for name in names:
        for i, right in _choose(sets[name], TEXTS // (2 * len(names)), seed):
            if time.monotonic() - started > SECONDS:
                values["note"] = f"No further text was begun after {SECONDS:.0f} seconds."
                break
            try:
                found = _explain(classifier, sets[name], i, right)
            except ValueError as error:  # an encoder that gradients do not fit: the report is of use without this
                values["text"] = printable(str(error))
                return section
            methods.append(METHODS[found.method])
            spans = marked(sets[name].data.texts[i], found)
            values["rows"].append({"name": name, "right": right, "found": found, "spans": spans})
    values["methods"] = list(dict.fromkeys(methods))
    if not values["rows"]:
        values["text"] = "No row has a gold code at the deepest level."
    return section


def _choose(evaluation: Evaluation, each: int, seed: int) -> list[tuple[int, bool]]:
    """(row, right): rows drawn at random of those that are right at the deepest level, and of those that are wrong."""
    scores, depth = evaluation.scores, evaluation.taxonomy.depth
    hit = scores.rank[:, depth - 1] == 1
    known = scores.valid[:, depth - 1]
    rng, kinds = np.random.default_rng(seed), []
    for right in (True, False):
        rows = np.flatnonzero(known & (hit == right))
        kinds.append([(int(i), right) for i in np.sort(rng.choice(rows, min(each, len(rows)), replace=False))])
    # by turns, so that both are there should time run out
    return [pair for pairs in zip_longest(*kinds) for pair in pairs if pair is not None]


def _explain(classifier: Classifier, evaluation: Evaluation, row: int, right: bool) -> LevelExplanation:
    tree, text = evaluation.taxonomy, evaluation.data.texts[row]
    node, gold = int(evaluation.scores.top[row, -1]), int(evaluation.scores.gold_at(tree, tree.depth)[row])
    columns = tree.level_column
    cheap: dict[str, Any] = {"only_lead": True, "steps": STEPS} if classifier.has_gradients else {}
    if right:
        sizes = np.bincount(tree.group)
        path = [int(n) for n in tree.node_path[node] if n >= 0]
        deepest = next((n for n in reversed(path) if sizes[tree.group[n]] > 1), path[-1])
        return explain_text(classifier, text, [int(tree.level[deepest])], code=tree.codes[deepest], **cheap)[0]
    level = next(d for d in range(1, tree.depth + 1) if columns[node, d - 1] != columns[gold, d - 1])
    return explain_text(classifier, text, [level], code=tree.codes[node], against=tree.codes[gold], **cheap)[0]


def marked(text: str, found: LevelExplanation) -> list[Span]:
    """The text, or parts of a long one, in pieces that are marked by what they contribute."""
    strongest = max((abs(w.lead) for w in found.words), default=0.0)
    spans: list[Span] = []
    for start, stop in _excerpt(text, found):
        if start > 0:
            spans.append(Span(" … "))
        at = start
        for word in found.words:
            if word.start < at or word.end > stop:
                continue
            spans += [Span(visible(text[at : word.start])), _span(text, word.start, word.end, word.lead, strongest)]
            at = word.end
        spans.append(Span(visible(text[at:stop])))
        at = stop
    if spans and stop < len(text):
        spans.append(Span(" …"))
    return [s for s in spans if s.text]


def _span(text: str, start: int, end: int, lead: float, strongest: float) -> Span:
    shade = sum(abs(lead) >= share * strongest for share in SHADES) if strongest > 0 else 0
    if not shade:
        return Span(visible(text[start:end]))
    return Span(visible(text[start:end]), f"{lead:+.2f}", f"{'for' if lead > 0 else 'against'}{shade}")


def _excerpt(text: str, found: LevelExplanation) -> Sequence[tuple[int, int]]:
    """Intervals of the text to be shown, between words, in order."""
    if len(text) <= HEAD + 4 * AROUND:
        return [(0, len(text))]
    strong = sorted(found.words, key=lambda w: -abs(w.lead))[:2]
    wanted = sorted([(0, HEAD), *((w.start - AROUND, w.end + AROUND) for w in strong)])
    merged: list[list[int]] = []
    for start, stop in wanted:
        start, stop = _between_words(text, max(start, 0)), _between_words(text, min(stop, len(text)))
        if merged and start <= merged[-1][1]:
            merged[-1][1] = max(merged[-1][1], stop)
        else:
            merged.append([start, stop])
    return [(start, stop) for start, stop in merged]


def _between_words(text: str, at: int) -> int:
    """The next place that is not inside of a run without blanks (or ``at``, where that run is long)."""
    rest = re.compile(r"\s").search(text, at, at + 40)
    return rest.start() if 0 < at < len(text) and rest else at


def visible(text: str) -> str:
    """As :func:`hjc.report.text.printable`, but blanks at the edges stay: the pieces of a text are put together."""
    return printable(f"x{text}x")[1:-1]
