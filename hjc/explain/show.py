"""Explanations and nearest texts as lines for a terminal and as plain values for JSON."""

from collections.abc import Iterator, Sequence
from typing import Any

from hjc.explain import METHODS, LevelExplanation
from hjc.explain.neighbours import Neighbours
from hjc.taxonomy import Taxonomy


def plain_level(tree: Taxonomy, found: LevelExplanation, language: str | None = None) -> dict[str, Any]:
    """What was found at a level, with codes and titles, and every word with its place in the text."""
    out: dict[str, Any] = {"level": found.level, "method": found.method}
    for key, node, p in (("code", found.node, found.probability), ("second", found.second, found.second_probability)):
        named = {"code": tree.codes[node], "title": tree.title(node, language), "probability": p}
        out[key] = named if node >= 0 else None
    for key in ("value", "constant", "difference", "difference_constant"):
        out[key] = getattr(found, key)
    return {**out, "words": [w._asdict() for w in found.words], "notes": list(found.notes)}


def level_lines(tree: Taxonomy, found: LevelExplanation, words: int, language: str | None = None) -> Iterator[str]:
    """The code, the sibling that came second, and at most so many words with what each did."""
    linear = found.method == "linear"
    yield f"level {found.level}  {tree.codes[found.node]} {tree.title(found.node, language)}  {found.probability:.3f}"
    if not linear:
        yield f"         {_words(found, 'part', words)}; {_from_to(found.constant, found.value)}"
    if found.second >= 0:
        title = tree.title(found.second, language)
        yield f"  before {tree.codes[found.second]} {title}  {found.second_probability:.3f}"
        end = _from_to(found.difference_constant, found.difference)
        if linear:
            end = f"constant {found.difference_constant:+.2f}; sum {found.difference:+.2f}"
        yield f"         {_words(found, 'lead', words)}; {end}"
    elif linear:
        yield "         it has no sibling: nothing to decide"


def closing_notes(explanations: Sequence[LevelExplanation]) -> list[str]:
    """What must be known to read them."""
    notes = dict.fromkeys(note for found in explanations for note in found.notes)
    return [*(f"note: {note}" for note in notes), "; ".join(dict.fromkeys(METHODS[e.method] for e in explanations))]


def _words(found: LevelExplanation, which: str, words: int) -> str:
    ranked = found.by_word(which)
    named = [(word if any(map(str.isalnum, word)) else f'"{word}"', part) for word, part in ranked[:words]]
    shown = [f"{word} {part:+.2f}" for word, part in named if abs(part) >= 0.005]
    if len(ranked) > words:
        shown.append(f"other words {sum(part for _, part in ranked[words:]):+.2f}")
    return ", ".join(shown) or "no word counts"


def _from_to(without: float, with_words: float) -> str:
    return f"from {without:+.2f} without the words to {with_words:+.2f}"


def plain_neighbours(tree: Taxonomy, near: Neighbours, language: str | None = None) -> list[dict[str, Any]]:
    """Every nearest text with its code, title, similarity, copies and row."""
    found = [{"code": tree.codes[one.gold], "title": tree.title(one.gold, language)} for one in near.nearest]
    others = ("similarity", "copies", "row", "text")
    return [named | {key: getattr(one, key) for key in others} for named, one in zip(found, near.nearest, strict=True)]


def neighbour_lines(tree: Taxonomy, near: Neighbours, language: str | None = None) -> Iterator[str]:
    """The nearest texts, cut at 120 characters."""
    some = "" if near.compared == near.total else f"the {near.compared:,} nearest by words of "
    yield f"nearest training texts ({near.space}; {some}{near.total:,} texts)"
    for one in near.nearest:
        text = " ".join(one.text.split())
        text = text if len(text) <= 120 else text[:119].rstrip() + "…"
        times = f" ({one.copies} times)" if one.copies > 1 else ""
        yield f"  {one.similarity:.3f}  {tree.codes[one.gold]} {tree.title(one.gold, language)}{times}: {text}"
