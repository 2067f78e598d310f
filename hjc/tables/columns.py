"""Columns by their names."""

from collections.abc import Sequence
from difflib import get_close_matches


def find_column(columns: Sequence[str], name: str, path: str) -> int:
    """The position of a column; white space around names in the header does not count.

    Raises:
        ValueError: it is absent (the columns and the nearest name are listed) or stands twice.
    """
    stripped = [c.strip() for c in columns]
    for present in (list(columns), stripped):
        if (count := present.count(name)) == 1:
            return present.index(name)
        if count > 1:
            raise ValueError(f"{path}: column {name!r} stands {count} times in the header; rename one")
    folded = {c.casefold(): c for c in stripped[:1000]}
    near = get_close_matches(name.casefold().strip(), [c for c in folded if len(c) < 100], n=1, cutoff=0.5)
    hint = f"; did you mean {folded[near[0]]!r}?" if near else ""
    shown = ", ".join(repr(c if len(c) <= 80 else f"{c[:77]}...") for c in columns[:30]) or "none"
    shown += f" and {len(columns) - 30:,} more" if len(columns) > 30 else ""
    if len(columns) == 1 and any(s in columns[0] for s in ",;\t|"):
        hint += " The header looks unsplit: set the separator (--separator)."
    raise ValueError(f"{path}: no column {name!r}; columns are {shown}{hint}")
