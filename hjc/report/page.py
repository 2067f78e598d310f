"""A self-contained HTML page: templates and what they show. Everything is escaped by Jinja."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hjc.report.text import fill


@dataclass(frozen=True)
class Section:
    """A part of a page: its heading, a file of ``templates/``, and what that reads as ``s.values``."""

    title: str
    template: str
    values: Mapping[str, Any]


def render(title: str, sections: Sequence[Section], subtitle: str = "", **values: Any) -> str:
    """The page as one string: styles and images inside, no script, no address outside."""
    return fill("report.html.j2", title=title, subtitle=subtitle, sections=sections, **values)
