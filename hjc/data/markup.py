"""Mark-up: whether a text has any, the words in it, and its readable text. The one place that knows HTML."""

import html
import re
from collections.abc import Callable
from functools import lru_cache
from html.entities import html5
from typing import Any

_NAMES = "p|br|div|span|ul|ol|li|b|i|u|strong|em|h[1-6]|a|table|tr|td|th|font|img|script|style|section"
_NUMBERED = r"&#(?:\d{1,6}|x[\da-f]{1,5});"
_HTML = re.compile(rf"</?(?:{_NAMES})\b[^<>]*>|{_NUMBERED}", re.IGNORECASE)
#: "<U+25B6>", a character as R writes it, is no tag; "&lt;p&gt;" is one, escaped
_PAGE = re.compile(rf"</?(?:{_NAMES})(?:[\s/][^<>]*)?>|&lt;/?(?:{_NAMES})(?:\s|/|&gt;)|{_NUMBERED}", re.IGNORECASE)
#: they read well as they stand, and so they stood when models and splits were made
_OF_XML = frozenset(("amp;", "lt;", "gt;", "quot;", "apos;"))
_ENTITY = re.compile(r"&([A-Za-z][A-Za-z0-9]{1,7};)")
_TAG = re.compile(r"<!--.*?-->|</?[A-Za-z][^<>]*>", re.DOTALL)
#: elements whose text nobody was meant to read as part of the ad
_DEAD = frozenset(
    (
        "script", "style", "noscript", "template", "svg", "iframe", "object", "nav", "footer", "button", "select",
        "textarea", "head", "title", "meta",
    )
)  # fmt: skip
_BLOCKS = frozenset(
    (
        "p", "div", "li", "ul", "ol", "tr", "table", "h1", "h2", "h3", "h4", "h5", "h6", "section", "article", "header",
        "main", "aside", "br", "hr", "dl", "dt", "dd", "pre", "blockquote",
    )
)  # fmt: skip
#: elements behind which :func:`without_html` ends a line
_ENDS = ("p", "br", "div", "li", "tr", "h1", "h2", "h3", "h4", "h5", "h6", "ul", "ol", "table", "section")
#: characters of the longest first line that may be a title
_TITLE = 1000
#: a tag, comment or element without text for readers that does not end where the line does
_GOES_ON = re.compile(rf"<[^<>]*$|<!doctype|<!--(?!.*-->)|<({'|'.join(sorted(_DEAD))})\b(?!.*</\1)", re.IGNORECASE)
_BLANKS = re.compile(r"[ \t\xa0]+")
_DECLARATION = re.compile(r"^\s*<\?xml[^>]*\?>", re.IGNORECASE)
#: one of these stands in every text that has blanks to be made one
_LOOSE = (
    "  ", " \n", "\n ", "\n\n",
    *map(chr, (*range(0x09, 0x0A), *range(0x0B, 0x0E), *range(0x1C, 0x20), 0x85, 0xA0, 0x1680, *range(0x2000, 0x200B))),
    *map(chr, (0x2028, 0x2029, 0x202F, 0x205F, 0x3000)),
)  # fmt: skip


def has_html(text: str) -> bool:
    """Whether a text contains a usual HTML tag or entity."""
    if "<" not in text and "&" not in text:
        return False
    return _HTML.search(text) is not None or bool(_entities(text))


def _entities(text: str) -> set[str]:
    return {found[1] for found in _ENTITY.finditer(text) if found[1] in html5}


def is_page(text: str) -> bool:
    """Whether a text is read without its mark-up: it has a tag or an entity. ``R&amp;D`` alone is no page."""
    if "<" not in text and "&" not in text:
        return False
    return _PAGE.search(text) is not None or bool(_entities(text) - _OF_XML)


def has_words(text: str) -> bool:
    """Whether a text has a letter or a digit outside of tags and entities. Needs no package for HTML."""
    if not any(map(str.isalnum, text)):
        return False
    return ("<" not in text and "&" not in text) or any(map(str.isalnum, html.unescape(_TAG.sub(" ", text))))


def without_html(text: str) -> str:
    """The text as ``data.strip_html`` has taught it to models: every word that is no script, lines as they were.

    Only what is stored in models keeps it as it is; :func:`strip_html` reads pages better.

    Raises:
        ImportError: beautifulsoup4 is not installed.
    """
    try:
        from bs4 import BeautifulSoup
    except ImportError as error:
        raise ImportError("strip_html needs beautifulsoup4: pip install 'hjc[prepare]', or set it to false") from error
    soup = BeautifulSoup(text, "html.parser")
    for dead in soup(["script", "style"]):
        dead.decompose()
    for block in soup(list(_ENDS)):
        block.append("\n")
    lines = (_BLANKS.sub(" ", line).strip() for line in soup.get_text().split("\n"))
    return "\n".join(line for line in lines if line)


def strip_html(text: str) -> str:
    """The readable text of a page, a line for each block; doubly escaped mark-up (``&lt;p&gt;``) as well."""
    for _ in range(3):
        text = _html_text(text)
        if not has_html(text):
            break
    return text


def readable(text: str) -> str:
    """A page without its mark-up, as :func:`strip_html` reads it; the first line, which may be a title, stays one."""
    if not is_page(text):
        return text
    first, end, rest = text.partition("\n")
    if not end or len(first) > _TITLE or _GOES_ON.search(first) or not has_words(first):
        return strip_html(text)
    parts = (strip_html(part).strip() if has_html(part) else part for part in (first, rest))
    return "\n".join(filter(None, parts))


def _html_text(text: str) -> str:
    etree, parse = _lxml()
    if "<" not in text:
        return html.unescape(text)
    try:
        root = parse(_DECLARATION.sub("", text))
    except (etree.ParserError, ValueError):  # nothing but comments or blanks
        return ""
    if root is None:
        return ""
    parts: list[str] = []
    dead = 0
    for event, element in etree.iterwalk(root, events=("start", "end", "comment", "pi")):
        if event in ("comment", "pi"):
            if not dead:
                parts.append(element.tail or "")
            continue
        tag = element.tag if isinstance(element.tag, str) else ""
        if event == "start":
            dead += tag in _DEAD
            if not dead:
                parts.append("\n" if tag in _BLOCKS else " " if tag in ("td", "th") else "")
                parts.append((element.text or "").replace("\n", " ") if tag != "pre" else element.text or "")
        else:
            dead -= tag in _DEAD
            if not dead:
                parts.append("\n" if tag in _BLOCKS else "")
                parts.append((element.tail or "").replace("\n", " "))
    return squeeze("".join(parts))


@lru_cache(maxsize=1)
def _lxml() -> tuple[Any, Callable[[str], Any]]:
    import lxml.html  # when it is first needed: most texts have no mark-up
    from lxml import etree

    parser = lxml.html.HTMLParser(huge_tree=True, remove_pis=False, encoding="utf-8")
    return etree, lambda text: lxml.html.document_fromstring(text.encode("utf-8", "replace"), parser=parser)


def squeeze(text: str) -> str:
    """Blanks made one, lines trimmed, empty lines left out."""
    if not any(map(text.__contains__, _LOOSE)) and text == text.strip():
        return text
    lines = (" ".join(line.split()) for line in text.splitlines())
    return "\n".join(line for line in lines if line)
