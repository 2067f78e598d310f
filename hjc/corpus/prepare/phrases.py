"""The phrase lists of cleaning and of the quality gate: one readable table, ``phrases.tsv`` beside this module.

Columns: kind, language, phrase. Phrases are compared case-folded, with blanks made one, as whole words. A table of
one's own adds to these (``hjc data prepare --phrases FILE``).
"""

import csv
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property, lru_cache
from importlib import resources
from pathlib import Path

#: kind -> what its phrases say about the text that they stand in
KINDS = {
    "error": "the page is an error message",
    "redirect": "the page sends its reader elsewhere or asks for a browser feature",
    "cookie": "a notice about cookies",
    "expired": "the vacancy is over",
    "landing": "a page of many jobs, or for signing in",
    "placeholder": "a description that was never written",
    "job": "a usual heading or promise of a job ad: evidence against a landing page",
    "consent": "legal clauses: data protection, equal opportunity; boilerplate",
    "button": "the caption of a button; boilerplate where it is a line of its own",
    "phone": "a word before a telephone number",
}
_WORD = re.compile(r"\w+")


class Phrases:
    """Folded phrases by kind, with an index by their longest word, which makes looking for them quick."""

    def __init__(self, by_kind: Mapping[str, Iterable[str]]) -> None:
        self.by_kind = {kind: tuple(dict.fromkeys(by_kind.get(kind, ()))) for kind in KINDS}
        self.phone_words = frozenset(self.by_kind["phone"])
        self._by_word: dict[str, list[tuple[str, str]]] = {}
        for kind, phrases in self.by_kind.items():
            for phrase in phrases:
                self._by_word.setdefault(max(words_of(phrase), key=len), []).append((kind, phrase))
        self._words = frozenset(self._by_word)

    def find(self, folded: str, words: Iterable[str] | None = None) -> dict[str, list[str]]:
        """kind -> phrases that stand in a folded text as whole words (``words``: its words, if known already)."""
        found: dict[str, list[str]] = {}
        for word in self._words.intersection(words_of(folded) if words is None else words):
            for kind, phrase in self._by_word[word]:
                if stands_alone(folded, phrase):
                    found.setdefault(kind, []).append(phrase)
        return found


class Folded:
    """A text in the form in which phrases are looked for, made when asked for and once."""

    def __init__(self, text: str) -> None:
        self.text = text

    @cached_property
    def folded(self) -> str:
        return fold(self.text)

    @cached_property
    def words(self) -> list[str]:
        """Of the folded text."""
        return words_of(self.folded)

    @classmethod
    def joined(cls, parts: "Sequence[Folded]") -> "Folded":
        """Of the texts one below the other, from what was made of them before."""
        whole = cls("\n".join(part.text for part in parts))
        whole.__dict__["folded"] = " ".join(part.folded for part in parts if part.folded)
        whole.__dict__["words"] = [word for part in parts for word in part.words]
        return whole


def fold(text: str) -> str:
    """The form in which phrases are compared: case-folded, blanks made one, apostrophes straight."""
    return " ".join(text.casefold().replace("’", "'").split())


@lru_cache(maxsize=1)
def built_in() -> Phrases:
    """The phrases that come with hjc, in all languages."""
    text = resources.files("hjc.corpus.prepare").joinpath("phrases.tsv").read_text(encoding="utf-8")
    return parse_phrases(text.splitlines(), "phrases.tsv")


def parse_phrases(lines: Iterable[str], name: str) -> Phrases:
    """kind -> folded phrases of a table with the columns kind, language, phrase.

    Raises:
        ValueError: a line without three cells, or of an unknown kind; names the line.
    """
    rows = csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
    header = next(rows, [])
    if [cell.strip() for cell in header] != ["kind", "language", "phrase"]:
        raise ValueError(f"{name}: the first line must be kind, language, phrase, separated by tabs; got {header}")
    found: dict[str, dict[str, None]] = {kind: {} for kind in KINDS}
    for number, row in enumerate(rows, start=2):
        if not row:
            continue
        if len(row) != 3 or not words_of(row[2]):
            raise ValueError(f"{name}: line {number} needs three cells separated by tabs, got {row}")
        if row[0] not in KINDS:
            raise ValueError(f"{name}: line {number}: kind {row[0]!r}, allowed are {', '.join(KINDS)}")
        found[row[0]][fold(row[2])] = None
    return Phrases(found)


def load_phrases(path: Path | str | None = None) -> Phrases:
    """The built-in phrases, with those of a file added to them."""
    if path is None:
        return built_in()
    try:
        more = parse_phrases(Path(path).read_text(encoding="utf-8-sig").splitlines(), str(path))
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 ({error.reason}); save it as UTF-8") from None
    return Phrases({kind: [*phrases, *more.by_kind[kind]] for kind, phrases in built_in().by_kind.items()})


def words_of(folded: str) -> list[str]:
    """Runs of letters and digits."""
    return _WORD.findall(folded)


def hits(folded: str, phrases: Iterable[str]) -> bool:
    """Whether one of the phrases stands in a folded text as whole words."""
    return any(stands_alone(folded, p) for p in phrases)


def stands_alone(folded: str, phrase: str) -> bool:
    """Whether a phrase stands somewhere in a folded text with no letter or digit against its ends."""
    at = folded.find(phrase)
    while at >= 0:
        end = at + len(phrase)
        if (at == 0 or not folded[at - 1].isalnum()) and (end == len(folded) or not folded[end].isalnum()):
            return True
        at = folded.find(phrase, at + 1)
    return False
