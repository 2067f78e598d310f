"""The quality gate: is this text a job ad at all? Rules that can be read, each with a score and a reason.

A rule looks at one cleaned text and gives a score from 0 (no sign) to 1 (sure). A text is flagged with every rule whose
score reaches the threshold; its own score is the largest. Nothing is deleted here: what happens to flagged rows is the
caller's choice. Phrases of all languages are looked for in every text, so a wrong language code does no harm.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

from hjc.corpus.prepare.cleaning import MASKS
from hjc.corpus.prepare.phrases import Folded, Phrases, built_in, fold, hits, words_of

#: score from which a text is flagged
THRESHOLD = 0.5
#: a text of up to so many words can be a page of nothing but a message ...
SHORT_WORDS = 60
#: ... and from so many on a phrase of such a page says nothing any more
LONG_WORDS = 250
#: fewer letters are no title (the paper asked five characters of a description, section 4.3.1; "Cook" has four)
MIN_LETTERS = 3

_LETTERS = re.compile(r"[^\W\d_]+")
_SENTENCE = re.compile(r"(?<=[.!?;])\s+|\n")
_TAG = re.compile(
    r"</?(?:html|head|body|meta|link|title|p|br|div|span|ul|ol|li|b|i|u|a|strong|em|h[1-6]|table|tr|td|th|tbody|font|img|script"
    r"|style|section|article|nav|header|footer|main|form|input|button|label|iframe|noscript|svg|path|figure)\b[^<>]*>"
    r"|&(?:nbsp|amp|lt|gt|quot|apos|#x?[0-9a-f]{1,6});",
    re.IGNORECASE,
)
_CODE = re.compile(
    r"function\s*\w*\([^)]{0,40}\)\s*\{[^}]*\}?|\bvar\s+\w+\s*=[^;]*;|document\.\w+[^;\s]*;?|window\.\w+[^;\s]*;?"
    r"|[.#]?[\w-]+\s*\{[^{}]*:[^{}]*\}|@media[^{]*\{|<!doctype[^>]*>|\"@(?:context|type)\"\s*:",
    re.IGNORECASE,
)
#: one of these, or a brace, stands in everything that _CODE finds
_CODE_SIGN = re.compile(r"\bvar\s|document\.|window\.|<!doctype|\"@", re.IGNORECASE)
#: ASCII but letters, and every byte of other characters
_NOT_LETTERS = bytes(b for b in range(256) if not chr(b).isalpha() or b > 127)


class Text:
    """A text with what several rules need of it, computed when asked for (``look``: where that was done before)."""

    def __init__(self, text: str, phrases: Phrases, look: Folded | None = None) -> None:
        self.raw = text
        self.phrases = phrases
        if any(map(text.__contains__, MASKS.values())):
            look = None
            for tag in MASKS.values():
                text = text.replace(tag, " ")
        #: without the masks of e-mail, URL and telephone
        self.bare = text.strip()
        self._look = Folded(self.bare) if look is None else look

    @property
    def folded(self) -> str:
        return self._look.folded

    @property
    def words(self) -> list[str]:
        return self._look.words

    @cached_property
    def sentences(self) -> list[str]:
        return [s for s in (fold(x) for x in _SENTENCE.split(self.bare)) if s]

    @cached_property
    def _phrases(self) -> dict[str, list[str]]:
        return self.phrases.find(self.folded, self.words)

    def found(self, kind: str) -> list[str]:
        """The phrases of a kind that stand in the text."""
        return self._phrases.get(kind, [])

    def shortness(self) -> float:
        """1 up to SHORT_WORDS words, falling to 0 at LONG_WORDS."""
        return min(1.0, max(0.0, (LONG_WORDS - len(self.words)) / (LONG_WORDS - SHORT_WORDS)))

    def is_job(self) -> bool:
        """Whether at least two phrases of job ads stand in the text."""
        return len(self.found("job")) >= 2


@dataclass(frozen=True)
class Rule:
    """A reason, what it means, and the function that scores it."""

    name: str
    meaning: str
    score: Callable[[Text], float]


def _raw_html(text: Text) -> float:
    """Ten times the share of characters in tags, entities, scripts and style sheets: flagged from 5 % on."""
    if "<" not in text.raw and "{" not in text.raw and "&" not in text.raw and '"@' not in text.raw:
        return 0.0
    inside = 0
    if "<" in text.raw or "&" in text.raw:
        inside += sum(len(m[0]) for m in _TAG.finditer(text.raw))
    if "{" in text.raw or _CODE_SIGN.search(text.raw):  # the patterns themselves are slow
        inside += sum(len(m[0]) for m in _CODE.finditer(text.raw))
    return min(1.0, 10 * inside / max(1, len(text.raw)))


def _page_of(kind: str) -> Callable[[Text], float]:
    def score(text: Text) -> float:
        """A phrase of the kind in a short text that does not read like a job ad."""
        if not text.shortness() or not text.found(kind):
            return 0.0
        return 0.4 * text.shortness() if text.is_job() else text.shortness()

    return score


def _cookie_notice(text: Text) -> float:
    """The share of words in sentences with a cookie phrase; doubled, so flagged from a quarter of the text on."""
    if not (found := text.found("cookie")):
        return 0.0
    inside = sum(len(words_of(s)) for s in text.sentences if hits(s, found))
    return min(1.0, 2 * inside / max(1, len(text.words)))


def _empty_shell(text: Text) -> float:
    """Fewer than three letters; a placeholder; or nothing but headings that end with a colon."""
    if not text.bare[:MIN_LETTERS].isalpha() and sum(c.isalpha() for c in text.bare[:100]) < MIN_LETTERS:
        return 1.0
    if len(text.words) <= 12 and text.found("placeholder"):
        return 1.0
    if "lorem ipsum" in text.folded:
        return 1.0
    # A heading ends its line, and there are no fewer sentences than lines: most texts are done with that.
    if text.bare.count(":") < 2:
        return 0.0
    lines = [line for line in text.bare.split("\n") if line.strip()]
    ending = sum(line.rstrip().endswith(":") for line in lines)
    if ending < 2 or ending <= 0.6 * len(lines):
        return 0.0
    headings = sum(s.endswith(":") for s in text.sentences)
    return headings / len(text.sentences) if headings >= 2 and headings / len(text.sentences) > 0.6 else 0.0


def _landing_page(text: Text) -> float:
    """Two phrases of pages of many jobs or of signing in: 0.6; three: 0.8; more: 1. None in what reads like an ad."""
    found = len(text.found("landing"))
    if found < 2 or len(text.found("job")) >= found:
        return 0.0
    return min(1.0, 0.2 + 0.2 * found)


def _no_language(text: Text) -> float:
    """Less than half of the characters but blanks are letters."""
    # First by ASCII letters and ordinary blanks alone, which is quick and never takes signs for letters.
    raw = text.bare.encode("utf-8", "replace")
    if len(raw.translate(None, _NOT_LETTERS)) >= 0.75 * (len(text.bare) - raw.count(b" ") - raw.count(b"\n")):
        return 0.0
    solid = sum(map(len, text.bare.split()))
    if solid < 20:
        return 0.0
    letters = sum(map(len, _LETTERS.findall(text.bare))) / solid
    return min(1.0, max(0.0, 2 * (0.75 - letters))) if letters < 0.75 else 0.0


def _repetition(text: Text) -> float:
    """Long texts of few different words: a menu, a list of places, one sentence over and over."""
    n = len(text.words)
    if n < 40:
        return 0.0
    # Heaps' law: a text of n words has about 4 n^0.6 different ones; a third of that is far too few
    expected = 4 * min(n, 2000) ** 0.6
    share = len(set(text.words[:2000])) / min(expected, n)
    return min(1.0, max(0.0, (0.45 - share) / 0.3))


RULES: tuple[Rule, ...] = (
    Rule("empty_shell", "no text, a placeholder, or headings without anything below them", _empty_shell),
    Rule("raw_html", "mark-up, scripts or style sheets are left in the text", _raw_html),
    Rule("error_page", "the message of a server instead of an ad", _page_of("error")),
    Rule("redirect_page", "asks to be redirected, to wait, or for JavaScript", _page_of("redirect")),
    Rule("expired", "says that the vacancy is over, and no more", _page_of("expired")),
    Rule("cookie_notice", "at least a quarter of the words are about cookies", _cookie_notice),
    Rule("landing_page", "a page of many jobs, of search or of signing in, without a job of its own", _landing_page),
    Rule("no_language", "more digits and signs than letters", _no_language),
    Rule("repetition", "few different words, over and over", _repetition),
)


@dataclass(frozen=True)
class Verdict:
    """What the gate says of a text: score 0 to 1, and the reasons whose score reached the threshold, worst first."""

    score: float
    reasons: tuple[str, ...]

    @property
    def flagged(self) -> bool:
        return bool(self.reasons)


def judge(
    text: str,
    *,
    phrases: Phrases | None = None,
    threshold: float = THRESHOLD,
    rules: Sequence[Rule] = RULES,
    folded: Folded | None = None,
) -> Verdict:
    """Apply the rules to one (cleaned) text; ``folded`` is what cleaning made of it already."""
    look = Text(text, phrases if phrases is not None else built_in(), folded)
    scores = sorted(((rule.score(look), -i, rule.name) for i, rule in enumerate(rules)), reverse=True)
    return Verdict(scores[0][0] if scores else 0.0, tuple(name for score, _, name in scores if score >= threshold))
