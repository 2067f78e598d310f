"""The tree as a page needs it: nodes to browse, and a search in codes, titles and descriptions of every language."""

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from hjc.data.letters import plain_letters
from hjc.serve.schemas import Hit, Node, NodeResponse
from hjc.taxonomy import Taxonomy

#: node, language, text: another name for a code
Example = tuple[int, str, str]
Where = Literal["code", "title", "description", "example"]
_WORD = re.compile(r"\w+")
#: what a hit is worth by where it was
_WORTH = {"title": 3.0, "example": 2.0, "description": 1.0}


def plain(text: str) -> str:
    """Lower case without accents, so that "infirmiere" finds "infirmière" and "lodz" finds "Łódź"."""
    text = unicodedata.normalize("NFD", plain_letters(text.casefold()))
    return "".join(c for c in text if not unicodedata.combining(c))


def node_of(tree: Taxonomy, node: int, language: str | None = None) -> Node:
    """A node as a response has it."""
    parent = int(tree.parents[node])
    return Node(
        code=tree.codes[node], title=tree.title(node, language), level=int(tree.level[node]),
        leaf=bool(tree.is_leaf[node]), parent=tree.codes[parent] if parent >= 0 else None,
        children=len(children_of(tree, node)),
    )  # fmt: skip


@lru_cache(maxsize=16)
def _children(tree: Taxonomy) -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for node, parent in enumerate(tree.parents.tolist()):
        found.setdefault(parent, []).append(node)
    return found


def children_of(tree: Taxonomy, node: int) -> list[int]:
    """The children of a node; -1 is the root."""
    return _children(tree).get(node, [])


def path_of(tree: Taxonomy, node: int) -> list[int]:
    """The nodes from the top to the node itself."""
    path = []
    while node >= 0:
        path.append(node)
        node = int(tree.parents[node])
    return path[::-1]


def whole_node(tree: Taxonomy, code: str, language: str | None = None) -> NodeResponse:
    """A node with its path, children and every text. Raises TaxonomyError for an unknown code."""
    node = int(tree.encode([code])[0])
    return NodeResponse(
        node=node_of(tree, node, language),
        path=[node_of(tree, n, language) for n in path_of(tree, node)],
        children=[node_of(tree, n, language) for n in children_of(tree, node)],
        titles={lang: texts[node] for lang, texts in tree.titles.items() if texts[node]},
        descriptions={lang: texts[node] for lang, texts in tree.descriptions.items() if texts[node]},
    )


@dataclass(frozen=True)
class _Entry:
    node: int
    where: Where
    language: str
    text: str
    folded: str


class Search:
    """Words looked for in the texts of a tree, and in examples of what is coded to its nodes.

    Every word of the query must be the beginning of a word (or, from four letters on, a part of one) in one text of a
    node, or of the title and a description together. Titles count more than descriptions, whole words more than
    beginnings, texts in the language of the reader more than others; a code is found by its beginning.
    """

    def __init__(self, tree: Taxonomy, examples: Iterable[Example] = ()) -> None:
        self.tree = tree
        texts: dict[Where, Mapping[str, Sequence[str]]] = {"title": tree.titles, "description": tree.descriptions}
        self.entries = [
            _Entry(node, where, language, text, plain(text))
            for where, by_language in texts.items()
            for language, values in by_language.items()
            for node, text in enumerate(values)
            if text
        ]
        self.entries += [_Entry(node, "example", language, text, plain(text)) for node, language, text in examples]
        self._folded = [" " + " ".join(_WORD.findall(entry.folded)) + " " for entry in self.entries]

    def find(self, query: str, language: str | None = None, n: int = 20, level: int | None = None) -> list[Hit]:
        """The ``n`` best nodes, best first; only of a level where one is given."""
        words = _WORD.findall(plain(query))
        if not words:
            return []
        best: dict[int, tuple[float, _Entry]] = {}
        for entry, text in zip(self.entries, self._folded, strict=True):
            if (score := _score(words, text)) > 0:
                score *= _WORTH[entry.where] * (1.25 if entry.language == language else 1.0)
                score /= 1 + 0.01 * len(text)
                if score > best.get(entry.node, (0.0, entry))[0]:
                    best[entry.node] = score, entry
        found: list[tuple[float, int, Where, str, str]]
        found = [(score, node, entry.where, entry.language, entry.text) for node, (score, entry) in best.items()]
        start = "".join(query.split()).casefold()
        found += [
            (100.0 - len(code), node, "code", "", code)
            for node, code in enumerate(self.tree.codes)
            if code.casefold().startswith(start)
        ]
        hits: dict[int, Hit] = {}
        for _, node, where, spoken, text in sorted(found, key=lambda one: (-one[0], one[1])):
            if node in hits or (level is not None and self.tree.level[node] != level):
                continue
            above = [self.tree.title(i, language) for i in path_of(self.tree, node)[:-1]]
            shown = node_of(self.tree, node, language).model_dump()
            hits[node] = Hit(**shown, matched=excerpt(text, words), where=where, language=spoken, path=above)
            if len(hits) >= n:
                break
        return list(hits.values())


def _score(words: list[str], text: str) -> float:
    """Mean worth of the words in a text, 0 where one is missing."""
    total = 0.0
    for word in words:
        if f" {word} " in text:
            total += 1.0
        elif f" {word}" in text:
            total += 0.7
        elif len(word) >= 4 and word in text:
            total += 0.4
        else:
            return 0.0
    return total / len(words)


def excerpt(text: str, words: list[str], size: int = 160) -> str:
    """The part of a text around the first word that was looked for."""
    line = " ".join(text.split())
    if len(line) <= size:
        return line
    at = max(0, min((i for word in words if (i := plain(line).find(word)) >= 0), default=0) - size // 3)
    return ("…" if at else "") + line[at : at + size].strip() + ("…" if at + size < len(line) else "")
