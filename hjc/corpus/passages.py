"""Descriptions of occupations cut into their parts: summary, tasks, examples, notes, and what is classified elsewhere.

"Some related occupations classified elsewhere: Radiologist - 2212" names an occupation that does not belong to the
group, in the words that the group is about: poison for a classifier that learns from descriptions, and the best
negatives for one that compares. The phrases are those of the published files: English in the ISCO-08 definitions
(also within ESCO), in the scope notes of ESCO and the definitions of the U.S. SOC; Swedish in SSYK 2012. The
descriptions of ESCO 1.0.8 occupations were searched in all 26 languages, and KZiS in Polish: they have no such
passages, only limits within a sentence ("z wyłączeniem metod chirurgicznych"), which belong to the meaning and stay.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

_FLAGS = re.IGNORECASE
#: part -> heading, for each language that has passages with headings
HEADINGS: dict[str, tuple[tuple[str, str], ...]] = {
    "en": (
        ("tasks", r"\bTasks\s+(?:performed\s+)?(?:by\s[^.:;]{3,80}?\s)?(?:usually\s+|would\s+)?include\s*[:–-]*"),
        ("examples", r"Examples?\s+of\s+(?:the\s+)?occupations\s+classified\s+here\s*(?::|-)?"),
        ("exclusions", r"(?:Some\s+)?related\s+occupations\s+classified\s+elsewhere\s*(?::|-)?"),
        ("exclusions", r"(?-i:Excluded)\s+from\s+this\s+(?:[\w-]+\s+)?group\s+are\s*:"),
        ("children", r"Occupations\s+in\s+this\s+[\w-]+(?:\s+group)?\s+are\s+classified\s+into\s+the\s[^:]{9,50}:"),
        ("notes", r"(?:(?<=^)|(?<=\s))(?-i:Notes?)(?=\s+(?-i:[A-Z]))"),
    ),
    "sv": (("exclusions", r"Hit\s+hör\s+inte\b\s*:?"),),
}  # fmt: skip
#: sentences that say what does not belong, for each language
SENTENCES: dict[str, str] = {
    "en": (
        r"^(?:it |this group |they )?excludes?\b|\b(?:is|are|be) excluded from\b"
        r"|^(?:excluded from|(?:it |this occupation )?does not include|not included)\b"
    ),
}
#: a sentence that refers to another group of ISCO-08
_REFERS = re.compile(
    r"(?<!not )\b(?:classified|included) in (?:unit|minor|sub-major|major) groups? (\d{1,4})\b", _FLAGS
)
_TO_BE = re.compile(r",?\s+(?:is|are|be|(?:should|may|can)(?: only| also)? be)$", _FLAGS)
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z“\"À-ÖØ-Þ])|\n+")
_LETTERED = re.compile(r"(?:^|(?<=\s)|(?<=;))\(\w{1,2}\)\s+")
_DASH = re.compile(r"(?:^|(?<=\s))[-–•]\s+")
_WITH_CODE = re.compile(r"\s*(.+?)\s*[-–]\s*(\d{1,4})(?=\s|$)")
_BRACKET = re.compile(r"\s*\(([^()]*?\d{2}[\d.\-]*)\b[^()]*\)")
_CODE = re.compile(r"\d\d-\d{4}(?:\.\d\d)?|\d{4}(?:\.\d+)+|\d{2,4}")
_LEAD = re.compile(
    r"^(?:it |this occupation |this group )?(?:excludes?|excluded from this (?:[\w-]+ )?group are|does not include)\s+",
    _FLAGS,
)
_JOINT = re.compile(r"^(?:[\s,;.:/“”\"’]|and\b|or\b|as well as\b|och\b|samt\b)+", _FLAGS)


@dataclass(frozen=True)
class Exclusion:
    """What is not meant: a text, and the code it belongs to where the passage gives one."""

    text: str
    target: str = ""


PARTS = ("text", "tasks", "examples", "exclusions", "children", "notes")


@dataclass(frozen=True)
class Passages:
    """A description in parts. ``text`` is what describes the occupation itself; ``children`` only lists groups."""

    text: str
    tasks: tuple[str, ...] = ()
    examples: tuple[str, ...] = ()
    exclusions: tuple[Exclusion, ...] = ()
    notes: str = ""
    children: str = ""


def sentences(text: str) -> list[str]:
    """Sentences of a text, by full stops before capitals and by line ends."""
    return [part.strip() for part in _SENTENCE_END.split(text) if part and part.strip()]


def split_description(text: str, language: str = "en", *, related: Callable[[str], bool] | None = None) -> Passages:
    """Cut a description into its parts.

    Args:
        text: a description with or without line ends.
        language: "" or one without known phrases gives the text back whole.
        related: whether a code that a note refers to is the group's own, or above or below it. A note such as "regional
            managers are included in Unit Group 1120" is an exclusion everywhere but at 1120.
    """
    pieces: dict[str, list[str]] = {part: [] for part in PARTS}
    found = sorted(
        (match.start(), match.end(), part)
        for part, pattern in HEADINGS.get(language, ())
        for match in re.finditer(pattern, text, _FLAGS)
    )
    begin, part = 0, "text"
    for start, end, following in found:
        if start < begin:
            continue
        pieces[part].append(text[begin:start])
        begin, part = end, following
    pieces[part].append(text[begin:])
    exclusions = [item for piece in pieces["exclusions"] for item in _excluded_list(piece)]
    kept = {}
    for name in ("text", "notes"):
        own = []
        for sentence in (s for piece in pieces[name] for s in sentences(piece)):
            if (out := _excluded_sentence(sentence, language, related)) is None:
                own.append(sentence)
            else:
                exclusions += out
        kept[name] = " ".join(own)
    return Passages(
        text=kept["text"],
        tasks=tuple(item for piece in pieces["tasks"] for item in _items(piece)),
        examples=tuple(item for piece in pieces["examples"] for item in _items(piece)),
        exclusions=tuple(dict.fromkeys(exclusions)),
        notes=kept["notes"],
        children=" ".join(" ".join(pieces["children"]).split()),
    )


def _clean(text: str) -> str:
    return " ".join(text.split()).strip(" ;.,:-–")


def _items(text: str) -> list[str]:
    """Items of a list with letters in brackets, dashes or semicolons."""
    for pattern in (_LETTERED, _DASH):
        if pattern.search(text):
            return [item for part in pattern.split(text) if (item := _clean(part))]
    return [item for part in text.split(";") if (item := _clean(part))]


def _excluded_list(text: str) -> list[Exclusion]:
    """Items such as "- Radiologist - 2212", "Personlig assistent (5343)" or "- police (other than military);"."""
    if _BRACKET.search(text) and not re.search(r"[-–]\s*\d{4}(?:\s|$)", text):
        return _by_brackets(text)
    out: list[Exclusion] = []
    waiting = ""  # an item may hold a dash itself: "Street vendor - food - 5212"
    for part in _DASH.split(text):
        item = _clean(part)
        if not item:
            continue
        if re.fullmatch(r"\d{1,4}", item):
            if waiting:
                out.append(Exclusion(waiting, item))
            waiting = ""
            continue
        if waiting:
            out.append(Exclusion(waiting))
        waiting = ""
        match = _WITH_CODE.fullmatch(" ".join(part.split()))
        if match:
            out.append(Exclusion(_clean(match[1]), match[2]))
        else:
            waiting = item
    return [*out, Exclusion(waiting)] if waiting else out


def _by_brackets(text: str) -> list[Exclusion]:
    """Each text before a code in brackets, with that code; what has none stays with what follows it."""
    out, begin = [], 0
    for match in _BRACKET.finditer(text):
        code = _CODE.search(match[1])
        name = _clean(_JOINT.sub("", text[begin : match.start()])).strip('“”"’ ')
        if code and name:
            out.append(Exclusion(name, code[0]))
            begin = match.end()
    rest = _clean(_JOINT.sub("", text[begin:])).strip('“”"’ ')
    return [*out, Exclusion(rest)] if len(rest) > 2 else out


def _excluded_sentence(sentence: str, language: str, related: Callable[[str], bool] | None) -> list[Exclusion] | None:
    """What a sentence excludes; None when it is about the group itself."""
    if language not in SENTENCES:
        return None
    refers = _REFERS.findall(sentence) if language == "en" else []
    if refers and related is not None and not any(related(code) for code in refers):
        text = re.sub(r"^For example,?\s*", "", sentence)
        found = _REFERS.search(text)
        name = _TO_BE.sub("", text[: found.start()].strip()) if found else text
        return [Exclusion(_clean(name) or _clean(text), refers[0])]
    if not re.search(SENTENCES[language], sentence, _FLAGS):
        return None
    body = _LEAD.sub("", sentence)
    return _by_brackets(body) or [Exclusion(_clean(body))]
