"""The words of the extraction: headings of ads (``headings.tsv``) and words of titles and sectors (``words.tsv``).

Columns: kind, language, phrase. Phrases of all languages are looked for in every text, as in the quality gate, so a
wrong language code does no harm. There are headings in 22 of the 24 official languages of the EU (all but Irish and
Maltese), Ukrainian and Russian. In ``words.tsv`` a phrase may begin or end with an asterisk: any letters.
"""

import csv
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from importlib import resources

from hjc.corpus.prepare.phrases import fold, words_of

#: what a passage under a heading is
SECTIONS = ("duties", "skills", "benefits", "company", "apply", "other", "title", "industry", "lead", "drop")
#: closed set of seniorities, in the order in which one wins over another
SENIORITIES = ("trainee", "junior", "supervisor", "manager", "senior")
#: closed set of sectors: sections of NACE Rev. 2, D to E and J to S partly split or put together as ads name them
INDUSTRIES = (
    "agriculture", "mining", "manufacturing", "energy", "water_waste", "construction", "trade", "transport",
    "hospitality", "ict", "finance", "real_estate", "professional", "administrative", "public", "education", "health",
    "arts", "personal_services", "household",
)  # fmt: skip
#: neutral: no seniority, though a word of it has one; noise: how and when (noise_end: where it ends a title);
#: lead_in: recruiting words before a title (label: followed by a colon)
_WORD_KINDS = ("neutral", *SENIORITIES, "noise", "noise_end", "lead_in", "label", "place", *INDUSTRIES)

#: words of texts whose kind is kept in memory
_REMEMBERED = 100_000


class Vocabulary:
    """Phrases of several kinds, found in word lists by dictionary look-ups (no scan over all phrases)."""

    def __init__(self, phrases: Iterable[tuple[str, str]]) -> None:
        """``phrases``: pairs of kind and phrase. A phrase of two kinds keeps the first."""
        self._exact: dict[tuple[str, ...], str] = {}
        self._prefix: dict[str, str] = {}
        self._suffix: dict[str, str] = {}
        for kind, phrase in phrases:
            folded = fold(phrase)
            if folded.endswith("*"):
                self._prefix.setdefault(folded[:-1], kind)
            elif folded.startswith("*"):
                self._suffix.setdefault(folded[1:], kind)
            elif words := tuple(words_of(folded)):
                self._exact.setdefault(words, kind)
        self.longest = max(map(len, self._exact), default=0)
        self._longest_from: dict[str, int] = {}
        for phrase_words in self._exact:
            self._longest_from[phrase_words[0]] = max(len(phrase_words), self._longest_from.get(phrase_words[0], 0))
        self._first = self._longest_from.keys()
        self._seen: dict[str, str | None] = {}
        self._prefix_lengths = tuple(sorted({len(p) for p in self._prefix}, reverse=True))
        self._suffix_lengths = tuple(sorted({len(p) for p in self._suffix}, reverse=True))

    def begins(self, words: Sequence[str]) -> bool:
        """Whether folded words begin with a phrase."""
        if not words or words[0] not in self._first:
            return False
        return any(tuple(words[:n]) in self._exact for n in range(1, min(self.longest, len(words)) + 1))

    def _word(self, word: str) -> str | None:
        """The kind of a word by its beginning or end. Words recur, so what was found is remembered."""
        try:
            return self._seen[word]
        except KeyError:
            pass
        prefixes = ((self._prefix, word[:n]) for n in self._prefix_lengths if n <= len(word))
        suffixes = ((self._suffix, word[-n:]) for n in self._suffix_lengths if n < len(word))
        kind = next((k for table, part in (*prefixes, *suffixes) if (k := table.get(part)) is not None), None)
        if kind is None and len(word) > 4 and word.endswith("s"):
            kind = self._exact.get((word[:-1],))  # "cooks", where the list has "cook"
        if len(self._seen) >= _REMEMBERED:
            self._seen.clear()
        self._seen[word] = kind
        return kind

    def find(self, words: Sequence[str]) -> Iterator[tuple[int, int, str]]:
        """``(begin, end, kind)`` of phrases in folded words, left to right, the longest first, none within another."""
        partial = bool(self._prefix or self._suffix)
        last = -1
        for i, word in enumerate(words):
            if i < last or not (partial or word in self._first):
                continue
            if word in self._first:
                for n in range(min(self._longest_from[word], len(words) - i), 0, -1):
                    if (kind := self._exact.get(tuple(words[i : i + n]))) is not None:
                        last = i + n
                        yield i, last, kind
                        break
                else:
                    if partial and (kind := self._word(word)) is not None:
                        yield i, i + 1, kind
            elif (kind := self._word(word)) is not None:
                yield i, i + 1, kind


def _read(name: str, kinds: Sequence[str]) -> list[tuple[str, str]]:
    text = resources.files("hjc.rerank").joinpath(name).read_text(encoding="utf-8")
    rows = list(csv.reader(text.splitlines()[1:], delimiter="\t", quoting=csv.QUOTE_NONE))
    for number, row in enumerate(rows, start=2):
        if len(row) != 3 or row[0] not in kinds or not words_of(row[2]):
            raise ValueError(f"{name}: line {number}: {row}, expected kind, language, phrase with a known kind")
    return [(kind, phrase) for kind, _, phrase in rows]


@lru_cache(maxsize=1)
def headings() -> Vocabulary:
    """Headings of sections."""
    return Vocabulary(row for row in _read("headings.tsv", SECTIONS) if row[0] != "drop")


@lru_cache(maxsize=1)
def sentence_starts() -> Vocabulary:
    """Words that begin a sentence which says nothing about the work."""
    return Vocabulary(row for row in _read("headings.tsv", SECTIONS) if row[0] == "drop")


@lru_cache(maxsize=8)
def words(*kinds: str) -> Vocabulary:
    """Words of some kinds of ``words.tsv``."""
    order = {kind: i for i, kind in enumerate(kinds)}
    return Vocabulary(sorted((r for r in _read("words.tsv", _WORD_KINDS) if r[0] in order), key=lambda r: order[r[0]]))
