"""Text hygiene at reading: only what no model should ever see. Words, case and mark-up stay as they are."""

import re
from collections.abc import Sequence

# C0 and C1 controls but tab and line ends; byte order marks, half surrogate pairs and non-characters
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufeff\ud800-\udfff\ufffe\uffff]")
#: of these nothing is left, of the others a blank: they stood between words
_NOTHING = "\x00\ufeff\ufffe\uffff"
_HTML = re.compile(
    r"</?(?:p|br|div|span|ul|ol|li|b|i|u|strong|em|h[1-6]|a|table|tr|td|th|font|img|script|style|section)\b[^<>]*>"
    r"|&(?:nbsp|amp|lt|gt|quot|#\d{1,5});",
    re.IGNORECASE,
)
_BLANKS = re.compile(r"[ \t\xa0]+")
_BLOCKS = ("p", "br", "div", "li", "tr", "h1", "h2", "h3", "h4", "h5", "h6", "ul", "ol", "table", "section")


def has_html(text: str) -> bool:
    """Whether a text contains a usual HTML tag or entity."""
    return ("<" in text or "&" in text) and _HTML.search(text) is not None


def clean_texts(texts: Sequence[str], max_chars: int = 0, strip_html: bool = False) -> tuple[list[str], dict[str, int]]:
    """Texts without control characters and outer blanks, cut to ``max_chars``.

    Args:
        texts: n texts.
        max_chars: characters to keep (0: all).
        strip_html: take mark-up out; needs beautifulsoup4.

    Returns:
        n texts, and how many were touched: control, html (found), html_removed, cut. Keys without rows are left out.

    Raises:
        ImportError: ``strip_html`` without beautifulsoup4.
    """
    counts = dict.fromkeys(("control", "html", "html_removed", "cut"), 0)
    out: list[str] = []
    remove = _html_remover() if strip_html else None
    for text in texts:
        if _CONTROL.search(text):
            counts["control"] += 1
            text = _without_controls(text)
        if has_html(text):
            counts["html"] += 1
            if remove is not None:
                counts["html_removed"] += 1
                text = _without_controls(remove(text))  # an entity may stand for one
        text = text.strip()
        if max_chars and len(text) > max_chars:
            counts["cut"] += 1
            text = text[:max_chars].rstrip()
        out.append(text)
    return out, {key: count for key, count in counts.items() if count}


def _without_controls(text: str) -> str:
    return _CONTROL.sub(lambda found: "" if found[0] in _NOTHING else " ", text)


def _html_remover():  # type: ignore[no-untyped-def]  # bs4 is optional
    try:
        from bs4 import BeautifulSoup
    except ImportError as error:
        raise ImportError(
            "data.strip_html needs beautifulsoup4: pip install 'hjc[prepare]', or set it to false"
        ) from error

    def remove(text: str) -> str:
        soup = BeautifulSoup(text, "html.parser")
        for dead in soup(["script", "style"]):
            dead.decompose()
        for block in soup(list(_BLOCKS)):
            block.append("\n")
        lines = (_BLANKS.sub(" ", line).strip() for line in soup.get_text().split("\n"))
        return "\n".join(line for line in lines if line)

    return remove
