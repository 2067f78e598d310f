"""A self-contained HTML page: templates and what they show. Everything is escaped by Jinja.

One small script filters long tables, and opens what is folded before it is printed or linked to. The page's own policy
allows it by its hash and nothing else: no other script, no address outside. Without it the page is whole, too.
"""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hjc.report.text import fill, source


@dataclass(frozen=True)
class Section:
    """A part of a page: its heading, a file of ``templates/``, and what that reads as ``s.values``; ``fold``: closed
    until it is asked for."""

    title: str
    template: str
    values: Mapping[str, Any]
    fold: bool = False


def render(title: str, sections: Sequence[Section], subtitle: str = "", **values: Any) -> str:
    """The page as one string: styles, images and its one script inside, no address outside."""
    script = source("report.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    return fill(
        "report.html.j2", title=title, subtitle=subtitle, sections=sections, script=script, digest=digest, **values
    )
