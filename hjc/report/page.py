"""An HTML page of tables and plots: plain values in, one self-contained file out. Everything is escaped by Jinja."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field

from hjc.report.text import fill


@dataclass(frozen=True)
class Span:
    """A piece of a running text, with a number shown on hovering and a class of style.css (for1 ... against3)."""

    text: str
    title: str = ""
    kind: str = ""


@dataclass(frozen=True)
class Cell:
    """Text of a table cell, with a small second line (an interval), a mark, quoted texts below, and a marked text."""

    text: str
    small: str = ""
    mark: str = ""
    best: bool = False
    quotes: Sequence[str] = ()
    spans: Sequence[Span] = ()


@dataclass(frozen=True)
class Row:
    cells: Sequence[Cell]
    #: set apart, as the line of the model without text
    prior: bool = False


@dataclass(frozen=True)
class Grid:
    """A table. ``left``: columns that are aligned to the left; ``groups``: heads above the first, (text, columns)."""

    head: Sequence[str]
    rows: Sequence[Row]
    left: Sequence[int] = (0,)
    caption: str = ""
    groups: Sequence[tuple[str, int]] = ()
    wide: bool = False


@dataclass(frozen=True)
class Block:
    """A paragraph, a marked text, a plot or a table under a heading, in this order."""

    title: str = ""
    text: str = ""
    image: str = ""
    alt: str = ""
    caption: str = ""
    table: Grid | None = None
    spans: Sequence[Span] = ()


@dataclass
class Section:
    title: str
    blocks: list[Block] = field(default_factory=list)


def image_block(title: str, image: bytes, alt: str, caption: str) -> Block:
    data = base64.b64encode(image).decode("ascii")
    return Block(title=title, image=f"data:image/png;base64,{data}", alt=alt, caption=caption)


def render(title: str, sections: Sequence[Section], facts: Sequence[tuple[str, str]] = (), subtitle: str = "") -> str:
    """The page as one string: styles and images inside, no script, no address outside."""
    return fill("report.html.j2", title=title, subtitle=subtitle, facts=facts, sections=sections)
