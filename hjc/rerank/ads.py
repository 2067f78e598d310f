"""An ad read as two pieces of evidence: what its title says, and what its body says of the work.

A title without noise (:func:`hjc.rerank.titles.clean_title`), and of the body duties and requirements
(:func:`hjc.rerank.extraction.extract`). Either may be missing: a table of titles, a page without a title, a title that
is only the employer's name.
"""

import re
from dataclasses import dataclass
from functools import lru_cache

from hjc.corpus.prepare.phrases import built_in, fold
from hjc.corpus.prepare.quality import RULES, SHORT_WORDS, judge
from hjc.rerank.extraction import TITLE_WORDS, extract
from hjc.rerank.titles import clean_title, seniority_of

#: what an ad is read as
TITLE, AD, BODY, NOTHING = "title", "ad", "body", "nothing"
#: legal forms of companies as the last word of a name; short ones only in capitals, so that no word is taken for one
_COMPANY = re.compile(
    r"\b(?:sp\.?\s*z\s*o\.?\s*o\.?|sp\.\s*[jk]\.|s\.\s?a\.|s\.\s?r\.\s?[ol]\.?|a\.\s?s\.|spol\. s r\.\s?o\."
    r"|d\.\s?o\.\s?o\.|kft\.?|zrt\.?|gmbh(?:\s*&\s*co\.?\s*kg)?|ltd\.?|limited|inc\.?|llc|plc|corp\.?|s\.\s?l\.|b\.\s?v\.|oyj?|aps|e\.\s?k\."
    r"|(?-i:AG|KG|SE|SA|AB|AS|NV|BV|SRL|SARL|SAS))(?=[\s,;:)|–-]|$)",
    re.IGNORECASE,
)
#: between two jobs of one title
_BETWEEN = re.compile(
    r"\s*/\s*|\s+(?:lub|or|oder|ou|o|of|eller|tai|vagy|nebo|alebo|ali|или|ή|sau|või|vai|arba)\s+", re.I
)
#: between two jobs, or the words of one: "cook and waiter", "research and development manager"
_AND = re.compile(
    r"\s*[/&+]\s*|\s+(?:and|und|i|oraz|et|y|e|ed|och|og|ja|és|a|un|ir|in|și|si|dhe|и|та|і|й|και)\s+", re.IGNORECASE
)
#: a job before the company that offers it: "Welder at Muster GmbH"
_AT = re.compile(
    r"\s+(?:at|for|with|w|we|bei|für|chez|pour|en|bij|voor|u|v|ve|pro|hos|til|presso|per|na|для|в)\s+"
    r"(?:(?:the|die|der|dem|das|la|le|el|het)\s+)?(?:company|firmie|spółce|firma|firmě|firme|société|empresa|azienda|ditta|bedrijf)?",
    re.IGNORECASE,
)
#: why a short text is no ad (rules of :mod:`hjc.corpus.prepare.quality`)
_PAGES = frozenset(("empty_shell", "error_page", "redirect_page", "expired", "cookie_notice", "landing_page"))
_PAGE_PHRASES = frozenset(("error", "redirect", "cookie", "expired", "landing"))
#: why one with the caption of such a page is none
_CAPTIONED = "the title is the caption of a page"
_MEANING = {rule.name: rule.meaning for rule in RULES if rule.name in _PAGES}
#: letters that a job's name has at least, so that "m/w" and "UX/UI" are none
_LETTERS = 5
#: and one that a model is surely able to name
_FEWEST = 3
#: words of a title that may be the caption of a page
_CAPTION = 4


@dataclass(frozen=True)
class Ad:
    """Title and body of an ad, each "" where there is none; ``note``: what was remarkable about it."""

    title: str = ""
    body: str = ""
    note: str = ""

    @property
    def kind(self) -> str:
        """One of title, ad (both), body, nothing."""
        if self.title:
            return AD if self.body else TITLE
        return BODY if self.body else NOTHING

    @property
    def text(self) -> str:
        """Title on the first line, then the body. Where the title is missing its line is a dash, which has no word: a
        model that reads the first line as the title then reads none."""
        return "\n".join(part for part in (self.title or "-", self.body) if part)


@lru_cache(maxsize=8192)
def read_ad(text: str) -> Ad:
    """Read a text whose first line is the title, if that looks like one.

    A line of few words without more is a title. Of longer texts the first line is the title where it is short and no
    sentence, else a line that a heading names; without one the ad has a body only. A title that is a company's name is
    no title. ``note`` of a text that is no ad (offers, a cookie notice, a server's message, no letters) says why.

    Raises:
        TypeError: not a text.
    """
    plain = text.strip()
    size = len(plain.split())
    if "\n" not in plain and size <= TITLE_WORDS:
        reason = _no_ad(plain)
        return Ad(note=f"no ad: {reason}") if reason else _with_title(plain, "", "")
    if size <= SHORT_WORDS:
        first, _, rest = plain.partition("\n")
        if reason := _no_ad(rest or first) or _captioned(first, rest):  # the title may name a job all the same
            return _with_title(first if rest and not _is_caption(first) else "", "", f"no ad: {reason}")
    found = extract(text)
    if found.reason:
        title, _, rest = plain.partition("\n")
        short = len(title.split()) <= TITLE_WORDS
        return _with_title(title if short else "", "" if short else rest, found.reason)
    if not found.title:
        first, _, rest = plain.partition("\n")
        size = len(first.split())
        if rest and size <= TITLE_WORDS and not (size > 4 and first.endswith((".", ";", "?"))):
            found = extract(rest, first)
    body = "\n".join(part for part in (found.duties, found.skills) if part)
    return _with_title(found.title, body, "")


def _with_title(title: str, body: str, note: str) -> Ad:
    name = without_company(title)
    if title and not name:
        note = f"the title is the name of a company; {note}".rstrip("; ")
    cleaned = clean_title(name) if name else ""
    if not any(map(str.isalpha, cleaned)):
        cleaned = ""
    return Ad(cleaned, body, note)


def without_company(title: str) -> str:
    """A title without the piece that ends in a company's legal form; "" where nothing else is left."""
    if not _COMPANY.search(title):
        return title
    pieces = re.split(r"(\s+[-–—|]\s+|\s*[|;:]\s*)", title)
    kept = [_before_company(piece) for piece in pieces[::2]]
    return " - ".join(piece for piece in kept if piece.strip())


def _before_company(piece: str) -> str:
    """What a piece of a title says before "at" and a company's name; all of it where there is no company."""
    if not (company := _COMPANY.search(piece)):
        return piece
    before = _AT.search(piece, 0, company.start())
    job = piece[: before.start()] if before else ""
    return job if sum(map(str.isalpha, job)) >= _LETTERS else ""


def _no_ad(text: str) -> str:
    """Why a short text is the page of a portal and no ad; "" where it may be one."""
    return next((_MEANING[reason] for reason in judge(text).reasons if reason in _PAGES), "")


def _is_caption(title: str) -> bool:
    """Whether the first line of a page that is no ad names the page: "Log in", "404 Not Found"."""
    if _no_ad(title):
        return True
    return len(title.split()) <= _CAPTION and not _PAGE_PHRASES.isdisjoint(built_in().find(fold(title)))


def _captioned(first: str, rest: str) -> str:
    """Why a page is no ad whose first line is its caption and which has no more than a line: "Log in", "Enter ..."."""
    if len(rest.split()) > TITLE_WORDS:
        return ""
    found = built_in().find(fold(first))
    whole = any(fold(first) in phrases for kind, phrases in found.items() if kind in _PAGE_PHRASES)
    return _no_ad(first) or (_CAPTIONED if whole else "")


@lru_cache(maxsize=8192)
def jobs_of(title: str) -> tuple[str, ...]:
    """The jobs that a title names, two or more; () where it names one.

    "Secretary / Bookkeeper" are two, "Senior/Regular Developer" is one: a word of seniority is no job.
    """
    parts = [part.strip(" -–,()") for part in _BETWEEN.split(title)]
    if len(parts) < 2 or not all(sum(map(str.isalpha, part)) >= _LETTERS for part in parts):
        return ()
    if any(len(part.split()) == 1 and seniority_of(part) for part in parts):
        return ()
    return tuple(dict.fromkeys(parts)) if len(set(map(str.casefold, parts))) > 1 else ()


@lru_cache(maxsize=8192)
def possible_jobs(title: str) -> tuple[str, ...]:
    """Words that may be a job each, or one job together: "cook and waiter", "Koch/Kellner", "design and build"; only a
    model can tell. () for longer titles, which mostly name one job ("teacher of physics and astronomy"), and where
    :func:`jobs_of` is sure."""
    parts = [part.strip(" -–,()") for part in _AND.split(title)]
    if len(parts) < 2 or jobs_of(title) or not all(len(part.split()) == 1 for part in parts):
        return ()
    if any(sum(map(str.isalpha, part)) < _FEWEST or seniority_of(part) for part in parts):
        return ()
    return tuple(dict.fromkeys(parts)) if len(set(map(str.casefold, parts))) > 1 else ()
