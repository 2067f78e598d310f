"""Text hygiene at reading: only what no model should ever see. Words, case and mark-up stay as they are."""

import re
from collections.abc import Sequence

from hjc.data import markup

# C0 and C1 controls but tab and line ends; byte order marks, half surrogate pairs and non-characters
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufeff\ud800-\udfff\ufffe\uffff]")
#: of these nothing is left, of the others a blank: they stood between words
_NOTHING = "\x00\ufeff\ufffe\uffff"


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
    for text in texts:
        if _CONTROL.search(text):
            counts["control"] += 1
            text = _without_controls(text)
        if markup.has_html(text):
            counts["html"] += 1
            if strip_html:
                counts["html_removed"] += 1
                text = _without_controls(markup.without_html(text))  # an entity may stand for one
        text = text.strip()
        if max_chars and len(text) > max_chars:
            counts["cut"] += 1
            text = text[:max_chars].rstrip()
        out.append(text)
    return out, {key: count for key, count in counts.items() if count}


def _without_controls(text: str) -> str:
    return _CONTROL.sub(lambda found: "" if found[0] in _NOTHING else " ", text)
