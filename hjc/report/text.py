"""Templates of reports, and text on its way into them: cut, made printable, escaped for Markdown and LaTeX."""

import math
import unicodedata
from functools import cache
from pathlib import Path
from typing import Any

import jinja2

_TEMPLATES = Path(__file__).parent / "templates"
#: bidirectional overrides and isolates, which could turn what follows around
_STEERING = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_TEX = {
    "\\": "\\textbackslash{}", "&": "\\&", "%": "\\%", "$": "\\$", "#": "\\#", "_": "\\_", "{": "\\{", "}": "\\}",
    "~": "\\textasciitilde{}", "^": "\\textasciicircum{}", "−": "$-$", "–": "--", "∞": "$\\infty$", "▲": "", "▼": "",
    "<": "$<$", ">": "$>$", "[": "{[}", "]": "{]}",
}  # fmt: skip


def shorten(text: str, limit: int) -> str:
    """One line of at most ``limit`` characters."""
    line = " ".join(text.split())
    return line if len(line) <= limit else line[: limit - 1].rstrip() + "…"


def printable(text: str) -> str:
    """The text in one line, without characters that steer instead of show (controls, direction marks, surrogates)."""
    kept = "".join(" " if unicodedata.category(c) in ("Cc", "Zl", "Zp") else c for c in text)
    kept = "".join("\ufffd" if unicodedata.category(c) == "Cs" else c for c in kept)
    return " ".join("".join(c for c in kept if c not in _STEERING).split())


def quoted(text: str) -> str:
    """A text as the report quotes it: one line, 160 characters, nothing that steers the display."""
    return shorten(printable(text), 160) or "(empty text)"


def figure(value: float, digits: int = 3, percent: bool = False) -> str:
    """A number for a table: – for NaN, ∞ for infinite."""
    if math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    return f"{value * 100 if percent else value:,.{digits}f}"


def interval(low: float, high: float, digits: int = 3, percent: bool = False) -> str:
    """``[low, high]``; "" where one of them is not known."""
    if math.isnan(low) or math.isnan(high):
        return ""
    return f"[{figure(low, digits, percent)}, {figure(high, digits, percent)}]"


def size_text(size: float) -> str:
    """Bytes for people, decimal units."""
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.2f} GB"


def markdown(text: str) -> str:
    """Text that Markdown shows as it stands, in a table too."""
    out = printable(text)
    for character in "\\`*_<>|#":
        out = out.replace(character, "\\" + character)
    return out.replace("[", "\\[").replace("]", "\\]") if "](" in out else out


def tex(text: str) -> str:
    """Text that LaTeX shows as it stands."""
    return "".join(_TEX.get(c, c) for c in printable(text))


@cache
def _environment() -> jinja2.Environment:
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=lambda name: name is not None and ".html" in name,
        undefined=jinja2.ChainableUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.filters |= {"md": markdown, "tex": tex, "figure": figure, "interval": interval, "printable": printable}
    made.filters |= {"quoted": quoted, "shorten": shorten, "size": size_text}
    made.tests["known"] = lambda value: value is not None and value == value
    made.globals |= {"nan": math.nan, "zip": zip}
    return made


def source(name: str) -> str:
    """A file of ``templates/`` as it stands."""
    return (_TEMPLATES / name).read_text(encoding="utf-8")


def fill(template: str, **values: Any) -> str:
    """A template of ``templates/`` with its values; in those of HTML everything is escaped."""
    return _environment().get_template(template).render(values)
