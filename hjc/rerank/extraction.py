"""Title, duties, skills, seniority and sector of an ad by rules: headings in 24 languages, no language model.

The steps of the ISCO / ESCO document ("extract the key elements, ignoring company culture, benefits, application
process") with its lessons (seniority and industry), made of word lists that can be read (``headings.tsv``,
``words.tsv``). An ad without a known heading keeps its whole text as duties, without sentences that begin as offers and
calls to apply do, and ``notes`` says so.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import zip_longest

from hjc.corpus.prepare.phrases import Phrases, built_in, fold, words_of
from hjc.data.markup import has_html, squeeze, strip_html
from hjc.rerank.titles import clean_title, industry_of, seniority_of
from hjc.rerank.vocabulary import INDUSTRIES, SECTIONS, SENIORITIES, headings, sentence_starts

#: characters that are looked at, before and after mark-up is taken out; the rest is dropped and ``notes`` says so
MAX_RAW, MAX_CHARS = 200_000, 20_000
#: words of a line that can be a title, and of one that can be a heading
TITLE_WORDS, HEADING_WORDS = 15, 9
#: kinds of headings above passages; the others are labels of a value
_PASSAGES = frozenset(("duties", "skills", "benefits", "company", "apply"))
_ENDS = ".!?;:,•·|–-)"
_WORD = re.compile(r"\w+")
_BREAK = re.compile(r"[.!?;•\n]\s*|\s[-–*]\s+")
_SENTENCE = re.compile(r"(?<=[.!?;…])\s+|\n+|\s*[•●▪■]\s*")
_BULLET = re.compile(r"^[\s•●▪■◦–*#>·✓✔-]+|[\s*#]+$")


@dataclass(frozen=True, kw_only=True)
class Extraction:
    """What an ad says about its job.

    Attributes:
        title: without gender markers, places, salary and working time; "" if the ad has none.
        duties, skills: passages, sentences or lines of them on lines of their own.
        seniority: one of :data:`~hjc.rerank.vocabulary.SENIORITIES`, or "".
        industry: one of :data:`~hjc.rerank.vocabulary.INDUSTRIES`, or "".
        reason: why nothing could be extracted ("" if something was); such a query is to be declined.
        notes: what was done otherwise than asked: no_heading, no_title, cut, html, ...
    """

    title: str = ""
    duties: str = ""
    skills: str = ""
    seniority: str = ""
    industry: str = ""
    reason: str = ""
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name, allowed in (("seniority", SENIORITIES), ("industry", INDUSTRIES)):
            if getattr(self, name) and getattr(self, name) not in allowed:
                raise ValueError(f"{name}: got {getattr(self, name)!r}, allowed are '' and {', '.join(allowed)}")

    @property
    def empty(self) -> bool:
        """Whether there is no word to search for."""
        return not (self.title or self.duties or self.skills)

    def text(self) -> str:
        """The text to embed: title, duties and skills on lines of their own."""
        return "\n".join(part for part in (self.title, self.duties, self.skills) if part)


class RulesExtractor:
    """:func:`extract` for many ads."""

    def extract(self, texts: Sequence[str], titles: Sequence[str] | None = None) -> list[Extraction]:
        """One extraction a text, in order. ``titles``: of the title column, "" where there is none."""
        if titles is not None and len(titles) != len(texts):
            raise ValueError(f"titles: got {len(titles)}, expected one for each of {len(texts)} texts")
        return [extract(text, title or "") for text, title in zip_longest(texts, titles or (), fillvalue="")]


def extract(text: str, title: str = "") -> Extraction:
    """Extract one ad.

    Args:
        text: the ad, with or without its title as the first line, with or without mark-up.
        title: of a title column, if there is one.

    Raises:
        TypeError: not texts.
    """
    for name, value in (("text", text), ("title", title)):
        if not isinstance(value, str):
            raise TypeError(f"{name}: got {type(value).__name__}, expected str")
    notes: list[str] = []
    body, title = _plain(text, notes), squeeze(_plain(title, notes).replace("\n", " "))
    if not any(map(str.isalpha, body)) and not any(map(str.isalpha, title)):
        blank = not (body.strip() or title.strip())
        return Extraction(reason="empty text" if blank else "no letters in the text", notes=tuple(notes))
    if not title:
        title, body = _first_line(body)
    sections = _sections(body)
    if not title and sections["title"]:
        title = _first_words(sections["title"][0])
    if not title:
        notes.append("no_title")
    duties = _lines(sections["duties"])
    if not duties:
        duties = _lines(sections["lead"])
        if body and not sections["skills"]:
            notes.append("no_heading")
    skills = _lines(sections["skills"])
    cleaned = clean_title(title) if title else ""
    if not (cleaned or duties or skills):
        return Extraction(reason="nothing but offers, company or calls to apply", notes=tuple(notes))
    labels = " ".join(sections["industry"])
    context = "\n".join((*sections["lead"], *sections["company"], duties))
    return Extraction(
        title=cleaned, duties=duties, skills=skills, seniority=seniority_of(title),
        industry=industry_of(f"{title} {labels}".strip(), context), notes=tuple(dict.fromkeys(notes)),
    )  # fmt: skip


def _plain(text: str, notes: list[str]) -> str:
    """Readable text, a block a line, not longer than MAX_CHARS."""
    if len(text) > MAX_RAW:
        notes.append("cut")
        text = text[:MAX_RAW]
    if has_html(text):
        notes.append("html")
        text = strip_html(text)
    text = squeeze(text.replace("\xa0", " "))
    if len(text) > MAX_CHARS:
        notes.append("cut")
        text = text[:MAX_CHARS].rsplit(None, 1)[0]
    return text


def _first_line(body: str) -> tuple[str, str]:
    """(title, rest) where the first line is short, no sentence and no heading; else ("", body)."""
    line, _, rest = body.partition("\n")
    found = words_of(fold(line))
    sentence = line.endswith((".", ";", "?")) and len(found) > 4
    label = (colon := line.find(":")) >= 0 and line[colon + 1 : colon + 2] in ("", " ", "*")
    if not found or len(found) > TITLE_WORDS or sentence or label or (rest and _kind_of_line(found)):
        return "", body
    return line, rest


def _first_words(text: str) -> str:
    """What follows a label such as "Position:", up to the end of the line or sentence."""
    line = _SENTENCE.split(text.strip(), maxsplit=1)[0]
    return line if len(line.split()) <= TITLE_WORDS else ""


# ---------------------------------------------------------------------------------------------- sections


def _kind_of_line(found: Sequence[str]) -> str | None:
    """The kind of a line that is a heading and nothing else: a phrase makes at least half of its letters."""
    if not 0 < len(found) <= HEADING_WORDS:
        return None
    sizes = [(sum(map(len, found[b:e])), kind) for b, e, kind in headings().find(found)]
    size, kind = max(sizes, key=lambda pair: pair[0], default=(0, None))
    return kind if 2 * size >= sum(map(len, found)) else None


#: words from the first to before the last, and the kind of heading that they are; characters likewise
Hit = tuple[int, int, str]
Span = tuple[int, int]


def _marks(line: str) -> list[tuple[int, int, str]]:
    """(begin, end, kind) of the headings of a line, positions in characters.

    A phrase is a heading before a colon, as a whole line, and, because many ads come with line ends lost ("... z biurem
    Nasze wymagania Wykształcenie ..."), where it begins with a capital and another capital follows.
    """
    tokens = list(_WORD.finditer(line))
    found = [t[0].casefold() for t in tokens]
    hits = list(headings().find(found))
    if not hits:
        return []
    if len(tokens) <= 7 and line[-1:] not in ".;,:":
        kind = _kind_of_line(found)
        if kind is not None and kind not in ("title", "industry"):
            return [(0, len(line), kind)]
    marks: list[tuple[int, int, str]] = []
    at = 0
    for hit in hits:
        if tokens[hit[0]].start() < at:
            continue
        if (mark := _before_colon(line, tokens, hit) or _in_passing(line, tokens, hit)) is not None:
            marks.append((max(at, mark[0]), mark[1], hit[2]))
            at = mark[1]
    return marks


def _before_colon(line: str, tokens: Sequence["re.Match[str]"], hit: Hit) -> Span | None:
    """Where a heading stands that a colon ends. Labels of a value must stand right before it."""
    begin, end, kind = hit
    stop = tokens[end - 1].end()
    colon = line.find(":", stop, stop + 60)
    if colon < 0 or line.startswith("//", colon + 1) or (line[colon - 1].isdigit() and line[colon + 1 :][:1].isdigit()):
        return None
    between = line[stop:colon]
    exact = not between.strip(" *")
    if not exact and (kind not in _PASSAGES or len(between.split()) > 5 or _BREAK.search(between)):
        return None
    first = tokens[begin]
    before = line[max(0, first.start() - 60) : first.start()].rstrip(" *#")
    if not before or before[-1] in _ENDS or first[0][:1].isupper():
        return first.start(), colon + 1
    if kind not in _PASSAGES:
        return None
    # "On a typical day your tasks are:": the heading begins after the last stop
    starts = [m.end() for m in _BREAK.finditer(line, 0, first.start())]
    start = starts[-1] if starts else 0
    return (start, colon + 1) if len(line[start:colon].split()) <= HEADING_WORDS else None


def _in_passing(line: str, tokens: Sequence["re.Match[str]"], hit: Hit) -> Span | None:
    """Where a heading without a colon stands in a line that goes on."""
    begin, end, kind = hit
    if kind not in _PASSAGES and kind != "lead":
        return None
    first, last = tokens[begin], tokens[end - 1]
    single = end - begin == 1
    if not first[0][:1].isupper() or end == len(tokens) or (single and (len(first[0]) < 8 or kind == "lead")):
        return None
    if line[last.end() : tokens[end].start()].strip(" *#-–•"):
        return None
    before = line[: first.start()].rstrip(" *#-–•")
    at_stop = not before or before[-1] in ".!?;"
    if not tokens[end][0][:1].isupper():
        # without a capital behind it: only at a stop, and only what cannot make text be dropped
        return (first.start(), last.end()) if at_stop and not single and kind in ("duties", "skills") else None
    if single and not at_stop and tokens[begin - 1][0][:1].isupper():
        return None  # within a run of capitals: a name, or German nouns
    return first.start(), last.end()


def _sections(body: str) -> dict[str, list[str]]:
    """kind -> passages, in their order; ``lead`` has what stands under no heading."""
    out: dict[str, list[str]] = {k: [] for k in SECTIONS if k != "drop"}
    kind = "lead"
    for line in body.split("\n"):
        marks = _marks(line)
        at = 0
        for begin, end, following in marks:
            out[kind].append(line[at:begin])
            kind, at = following, end
        out[kind].append(line[at:])
        if marks and kind not in _PASSAGES and line[at:].strip():
            kind = "lead"  # a label and its value, which end with the line
    return {k: [part for part in parts if part.strip()] for k, parts in out.items()}


def _lines(passages: Sequence[str]) -> str:
    """Sentences and lines that are about the work, one a line."""
    starts, consent = sentence_starts(), _consent()
    kept = []
    for passage in passages:
        for sentence in _SENTENCE.split(passage):
            folded = fold(sentence)
            found = words_of(folded)
            if not any(map(str.isalpha, "".join(found))) or starts.begins(found) or consent.find(folded, found):
                continue
            kept.append(_BULLET.sub("", sentence))
    return "\n".join(kept)


@lru_cache(maxsize=1)
def _consent() -> Phrases:
    """Consent to data processing and equal opportunity: sentences that prepare cuts out as boilerplate."""
    return Phrases({"consent": built_in().by_kind["consent"]})
