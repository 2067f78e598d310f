"""An ad read as two pieces of evidence: what its title says, and what its body says of the work.

A title without noise (:func:`hjc.rerank.titles.clean_title`), and of the body duties and requirements
(:func:`hjc.rerank.extraction.extract`). Either may be missing: a table of titles, a page without a title, a title that
is only the employer's name.
"""

import re
from dataclasses import dataclass
from functools import lru_cache

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
#: letters that a job's name has at least, so that "m/w" and "UX/UI" are none
_LETTERS = 5


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
    no title. ``note`` of a text that is no ad (offers, a cookie notice, no letters) says why.

    Raises:
        TypeError: not a text.
    """
    plain = text.strip()
    if "\n" not in plain and len(plain.split()) <= TITLE_WORDS:
        return _with_title(plain, "", "")
    found = extract(text)
    body = "\n".join(part for part in (found.duties, found.skills) if part)
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
    kept = [piece for piece in pieces[::2] if not _COMPANY.search(piece)]
    return " - ".join(piece for piece in kept if piece.strip())


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
