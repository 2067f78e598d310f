"""Everything that is wrong, or looks wrong, with a taxonomy file, in one go."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from hjc.errors import TaxonomyError, name_some
from hjc.taxonomy.build import BETWEEN, edge_problems, from_prefix_codes, longest_prefix_parents
from hjc.taxonomy.csvio import TaxonomyTable, read_taxonomy_csv, read_taxonomy_table
from hjc.taxonomy.spelling import neighbour_guess, zero_candidates
from hjc.taxonomy.tree import Taxonomy


@dataclass(frozen=True)
class Problem:
    """A finding about a file: an "error" keeps it from being a tree, a "warning" wants a look, a "note" informs."""

    severity: Literal["error", "warning", "note"]
    kind: str
    text: str
    codes: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.severity}: {self.text}" + (f": {name_some(self.codes)}" if self.codes else "")


def check_taxonomy_file(
    path: str | Path,
    *,
    code: str = "code",
    parent: str = "parent",
    digits: Sequence[int] | None = None,
    separator: str | None = None,
    encoding: str | None = None,
) -> list[Problem]:
    """All problems of a taxonomy file, errors first; none found, an empty list. Arguments as for `read_taxonomy_csv`.

    Raises:
        FileNotFoundError: there is no such file. Everything else that is wrong is in the list.
    """
    try:
        table = read_taxonomy_table(path, code=code, parent=parent, separator=separator, encoding=encoding)
    except TaxonomyError as error:
        return [Problem("error", "unreadable", str(error))]
    problems = _errors(table, digits)
    if not problems:
        tree = read_taxonomy_csv(path, code=code, parent=parent, digits=digits, separator=separator, encoding=encoding)
        problems = _warnings(table, tree, digits)
    if table.blanks:
        problems.append(
            Problem(
                "warning", "blanks", "codes with surrounding blanks or invisible characters (taken off)", table.blanks
            )
        )
    problems += [Problem("warning", "widths", sentence) for sentence in table.mended]
    if table.ignored:
        problems.append(Problem("note", "ignored", "columns that are not read", table.ignored))
    order = ("error", "warning", "note")
    return sorted(problems, key=lambda p: order.index(p.severity))


def _errors(table: TaxonomyTable, digits: Sequence[int] | None) -> list[Problem]:
    if not table.codes:
        return [Problem("error", "empty", f"{table.path} has a header but no rows")]
    parents = table.parents
    if parents is None or digits is not None:
        parents = longest_prefix_parents(table.codes) if digits is None else [""] * len(table.codes)
    problems = []
    for found in edge_problems(table.codes, parents):
        codes = found.codes
        if found.kind == "empty":
            codes = tuple(f"line {line}" for line, c in zip(table.lines, table.codes, strict=True) if not c)
        elif found.kind == "duplicate":
            codes = tuple(f"{c} ({_places(table, c)})" for c in codes)
        problems.append(Problem("error", found.kind, found.text, codes))
    known, longest = set(table.codes) - {""}, max(map(len, table.codes))
    lost = [
        f"{above} (of {c}) looks like {', '.join(like)}"
        for c, above in zip(table.codes, parents, strict=True)
        if above and above not in known and (like := zero_candidates(known, above, longest))
    ]
    if lost:
        problems.append(
            Problem(
                "error",
                "lost zeros",
                "parents that have lost leading zeros (write the file with codes as text)",
                tuple(lost),
            )
        )
    if digits is not None and not problems:
        for missing in ("error", "create"):
            try:
                from_prefix_codes(table.codes, digits, name=str(table.path), missing=missing)
            except TaxonomyError as error:
                return [Problem("error", "prefix", str(error))]
    return problems


def _places(table: TaxonomyTable, code: str) -> str:
    """The lines of a code that stands twice, with its titles where they differ, and what it may be there."""
    at = [i for i, c in enumerate(table.codes) if c == code]
    titles = next(iter(table.titles.values()), [""] * len(table.codes))
    differ = len({titles[i].strip().casefold() for i in at}) > 1
    shown = []
    for i in at:
        guess = neighbour_guess(table.codes[i - 1], code, set(table.codes)) if i and differ else ""
        behind = f", behind {table.codes[i - 1]}: may be {guess}" if guess else ""
        shown.append(f"{table.lines[i]}{f' {titles[i].strip()!r}' if differ else ''}{behind}")
    return f"lines {', '.join(shown)}" if not differ else f"lines {'; '.join(shown)}"


def _warnings(table: TaxonomyTable, tree: Taxonomy, digits: Sequence[int] | None) -> list[Problem]:
    problems = []
    if table.levels is not None:
        found = tree.level[tree.encode(table.codes)].tolist()
        if wrong := [
            f"{c} (file {said or 'none'}, tree {level})"
            for c, said, level in zip(table.codes, table.levels, found, strict=True)
            if said != str(level)
        ]:
            problems.append(
                Problem("warning", "level", "the level column disagrees with the tree, which counts", tuple(wrong))
            )
    above = [tree.codes[p] if p >= 0 else "" for p in tree.parents.tolist()]
    if table.parents is None or digits is not None:
        size = {c: (len(parts), len(parts[0])) for c in tree.codes if (parts := BETWEEN.split(c))}
        shortest: dict[str, tuple[int, int]] = {}
        for c, p in zip(tree.codes, above, strict=True):
            shortest[p] = min(shortest.get(p, size[c]), size[c])
        if gaps := [c for c, p in zip(tree.codes, above, strict=True) if size[c] > shortest[p]]:
            text = "codes longer than their siblings: an inner code may be missing, or a leading zero lost"
            problems.append(Problem("warning", "gap", text, tuple(gaps)))
        plain = longest_prefix_parents(tree.codes, whole_parts=False)
        if table.parents is None and digits is None and (
            cut := [f"{c} (parent {p or 'none'}, not {q})" for c, p, q in zip(tree.codes, above, plain, strict=True)
                    if p != q]
        ):  # fmt: skip
            text = "codes were cut at their separators; if they lie deeper, give digits or a column of parents"
            problems.append(Problem("note", "separators", text, tuple(cut)))
    else:
        below = [(c, p) for c, p in zip(tree.codes, above, strict=True) if p]
        odd = [(c, p) for c, p in below if not c.startswith(p)]
        if odd and len(odd) <= 0.1 * len(below):  # prefixes are the rule here, so the exceptions want a look
            text = "codes that do not begin with their parent's code, as the others do"
            problems.append(Problem("warning", "prefix", text, tuple(f"{c} (parent {p})" for c, p in odd)))
    if not tree.titles:
        problems.append(Problem("warning", "titles", "no column of titles (title_en, name, label, ...)"))
    for language, texts in tree.titles.items():
        if none := tuple(c for c, text in zip(tree.codes, texts, strict=True) if not text.strip()):
            problems.append(Problem("warning", "titles", f"codes without a title in language {language!r}", none))
        same: dict[tuple[str, str], list[str]] = {}
        for c, p, text in zip(tree.codes, above, texts, strict=True):
            if text.strip():
                same.setdefault((p, text.strip().lower()), []).append(c)
        if twins := tuple(" = ".join(group) for group in same.values() if len(group) > 1):
            problems.append(
                Problem("warning", "twins", f"siblings with the same title in language {language!r}", twins)
            )
    return problems
