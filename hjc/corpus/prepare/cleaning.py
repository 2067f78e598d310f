"""Ads as scraped -> plain text: mark-up, broken encodings, boilerplate, blanks, and marks for personal data.

Steps, in this order, each of which can be switched off: HTML (lxml), Unicode repair (ftfy), masking of e-mail
addresses, URLs and telephone numbers, boilerplate (sentences and lines with phrases of kind consent or button), blanks.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from unicodedata import normalize

from hjc.corpus.prepare.phrases import Folded, Phrases, built_in, fold, hits
from hjc.data.markup import has_html, squeeze, strip_html

#: what an e-mail address, a URL and a telephone number become
MASKS = {"email": "[email]", "url": "[url]", "phone": "[phone]"}
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
#: C1 controls, the replacement character, Latin ligatures and line separators: work for ftfy beside mojibake
_ODD = re.compile("[\x80-\x9f\ufffd\ufb00-\ufb06\u0132\u0133\u2028\u2029]")
#: characters beyond ASCII with at most four ASCII characters between them
_BEYOND_ASCII = re.compile("[^\x00-\x7f]+(?:[\x00-\x7f]{1,4}[^\x00-\x7f]+)*")
#: pieces of text that are remembered (some 30 MB)
_REMEMBERED = 200_000
_ROUND_BUTTONS = " .!?»›>|•-"
_SENTENCE = re.compile(r"(?<=[.!?…;])\s+|\n")
_EMAIL = re.compile(r"[\w.+-]{1,64}\s?(?:@|\(at\)|\[at\])\s?[\w-]+(?:\.[\w-]+)*\.[^\W\d_]{2,24}\b")
_URL = re.compile(r"(?:https?://|www\.)[^\s<>\"'()\[\]]+", re.IGNORECASE)
_PHONE = re.compile(r"(?<![\w.,/+-])(?:\+|00)?\(?\d[\d \t\xa0().\-/]{5,20}\d(?![\w%])")
_DIGITS = re.compile(r"\d[\d \t\xa0().\-/]{5,20}\d")  # what _PHONE needs, found faster
_DATE = re.compile(
    r"(?:19|20)\d\d[-./ ]\d{1,2}[-./ ]\d{1,2}|\d{1,2}[-./]\d{1,2}[-./](?:19|20)\d\d|(?:19|20)\d\d ?[-/] ?(?:19|20)\d\d"
)
_GROUPED = re.compile(
    r"\d{3}[ .-]\d{3}[ .-]\d{3}|\d{2}[ -]\d{3}[ -]\d{2}[ -]\d{2}|\(0?\d{1,4}\)[ -]?\d[\d -]{4,}\d"
    r"|\(?\d{3}\)?[ .-]\d{3}[ .-]\d{4}|0\d{1,4}[ /-]\d{3,}(?:[ -]\d+)*|0\d(?:[ .-]\d\d){4}"
)
_MONEY = re.compile(r"^\s*(?:zł|pln|eur|euro|usd|gbp|chf|kč|czk|ft|huf|kr|ron|lei|грн|uah|руб|[€$£₴₽])", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class CleaningSettings:
    """Which steps are done. All are on by default."""

    html: bool = True
    unicode: bool = True
    mask: bool = True
    boilerplate: bool = True
    phrases: Phrases = field(default_factory=built_in)


@dataclass(frozen=True)
class Cleaned:
    """A cleaned text and what was found in it: html, repaired, email, url, phone, boilerplate -> how often.

    ``folded`` is the text as the quality gate looks at it.
    """

    text: str
    found: dict[str, int]
    folded: Folded = field(repr=False, compare=False)


def clean(text: str, settings: CleaningSettings | None = None) -> Cleaned:
    """Clean one text. Nothing is cut from a text without mark-up, broken characters, personal data or boilerplate but
    blanks; where boilerplate is all there is, it stays.

    Raises:
        ImportError: ftfy is not installed (``pip install 'hjc[prepare]'``).
    """
    settings = settings or CleaningSettings()
    found: dict[str, int] = {}
    text = _CONTROL.sub(" ", text)
    if settings.html and has_html(text):
        found["html"] = 1
        text = strip_html(text)
    if settings.unicode:
        mended = repairer()(text)
        if mended != text:
            found["repaired"] = 1
            text = mended
    if settings.mask:
        text = mask(text, settings.phrases.phone_words, found)
    text = squeeze(text)
    folded = Folded(text)
    if settings.boilerplate:
        text, cut = cut_boilerplate(text, settings.phrases, folded)
        if cut:
            found["boilerplate"] = cut
            folded = Folded(text)
    return Cleaned(text, found, folded)


# ---------------------------------------------------------------------------------------------- characters


@lru_cache(maxsize=1)
def repairer() -> Callable[[str], str]:
    try:
        import ftfy
        from ftfy.badness import is_bad
    except ImportError as error:
        raise ImportError("repairing characters needs ftfy: pip install 'hjc[prepare]', or switch it off") from error
    # Quotation marks and letters of other widths are left as people wrote them.
    config = ftfy.TextFixerConfig(unescape_html=False, uncurl_quotes=False, fix_character_width=False, explain=False)
    #: surroundings of characters beyond ASCII in which ftfy sees no mojibake
    harmless: set[str] = set()

    def suspect(text: str) -> bool:
        """ftfy's own test for mojibake (37 patterns of up to 7 characters), asked once of each surrounding.

        Each pattern holds a character beyond ASCII, at most two ASCII characters before the first and two behind the
        last such, so no match is missed by looking at these pieces.
        """
        for found in _BEYOND_ASCII.finditer(text):
            piece = text[max(0, found.start() - 2) : found.end() + 2]
            if piece in harmless:
                continue
            if is_bad(piece):
                return is_bad(text)  # a piece may match at its start what is no start in the text
            if len(harmless) >= _REMEMBERED:
                harmless.clear()
            harmless.add(piece)
        return False

    def repair(text: str) -> str:
        if text.isascii():
            return text
        # the test first: the whole treatment takes many times as long
        return ftfy.fix_text(text, config) if _ODD.search(text) or suspect(text) else normalize("NFC", text)

    return repair


# ---------------------------------------------------------------------------------------------- masks


def mask(text: str, phone_words: Iterable[str], found: dict[str, int] | None = None) -> str:
    """E-mail addresses, URLs and telephone numbers become :data:`MASKS`; ``found`` counts them."""
    counts: dict[str, int] = found if found is not None else {}

    def note(kind: str) -> str:
        counts[kind] = counts.get(kind, 0) + 1
        return MASKS[kind]

    if "@" in text or "(at)" in text or "[at]" in text:
        text = _EMAIL.sub(lambda _: note("email"), text)
    if "://" in text or "www." in text.lower():
        text = _URL.sub(lambda m: note("url") + m[0][len(m[0].rstrip(".,;:!?")) :], text)
    if _DIGITS.search(text):
        words = frozenset(phone_words)
        text = _PHONE.sub(lambda m: note("phone") if is_phone(m, words) else m[0], text)
    return text


def is_phone(match: "re.Match[str]", phone_words: frozenset[str]) -> bool:
    """Whether a run of digits is a telephone number.

    It is when it has 7 to 15 digits, is no date, span of years or sum of money, and starts with + or 00, or follows
    a word for telephone, or is grouped as telephone numbers are (601 234 567, 22 123 45 67, (030) 1234567).
    """
    number, digits = match[0], sum(c.isdigit() for c in match[0])
    if not 7 <= digits <= 15 or _DATE.fullmatch(number) or _DATE.match(number):
        return False
    if number.startswith("+") or (re.match(r"00[1-9]", number) is not None and digits >= 10):
        return True
    before = fold(match.string[max(0, match.start() - 24) : match.start()]).rstrip(" .:-(")
    if before.split(" ")[-1].strip(".:(,;") in phone_words:
        return True
    return bool(_GROUPED.fullmatch(number.strip())) and not _MONEY.match(match.string[match.end() : match.end() + 6])


# ---------------------------------------------------------------------------------------------- boilerplate


def cut_boilerplate(text: str, phrases: Phrases, folded: Folded | None = None) -> tuple[str, int]:
    """The text without sentences that hold a consent phrase and lines that are the caption of a button; how many.

    A sentence ends at a line break or after . ! ? ; and a blank. A text of nothing else stays as it is. The text is
    taken to be squeezed.
    """
    look = Folded(text) if folded is None else folded
    found = phrases.find(look.folded, look.words)
    consent, buttons = found.get("consent", []), frozenset(found.get("button", ()))
    if not consent and not buttons:
        return text, 0
    longest = max(map(len, buttons), default=0)  # folding makes no text shorter
    kept, cut, start = [], 0, 0
    ends = [(m.start(), m.end()) for m in _SENTENCE.finditer(text)]
    for stop, after in [*ends, (len(text), len(text))]:
        sentence = text[start:stop]
        short = len(sentence.strip(_ROUND_BUTTONS)) <= longest
        plain = fold(sentence) if consent or short else ""
        if hits(plain, consent) or (short and plain.strip(_ROUND_BUTTONS) in buttons):
            cut += 1
        else:
            kept.append(text[start:after])
        start = after
    rest = squeeze("".join(kept))
    return (rest, cut) if rest else (text, 0)
