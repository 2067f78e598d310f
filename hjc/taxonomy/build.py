"""Build a tree from (code, parent) edges or from codes whose prefixes are their ancestors."""

import re
from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np

from hjc.errors import TaxonomyError, check_choice, name_some
from hjc.taxonomy.spelling import is_missing, trim
from hjc.taxonomy.tree import Taxonomy

#: language -> {code: text}, or -> one text for each input code
Texts = Mapping[str, Mapping[str, str] | Sequence[str | None]]


def _as_codes(values: Iterable[object], what: str) -> list[str]:
    """Text without surrounding blanks and invisible characters; missing values become ""."""
    out, wrong = [], []
    for value in values:
        if is_missing(value):
            out.append("")
        elif isinstance(value, str):
            out.append(trim(value))
        else:
            wrong.append(value)
    if wrong:
        kind = type(wrong[0]).__name__
        raise TaxonomyError(
            f"{what} must be text, got {kind}: {name_some(wrong)}. Numbers lose leading zeros: "
            f"read the column as text (pandas: dtype=str)"
        )
    return out


@dataclass(frozen=True)
class EdgeProblem:
    """What keeps edges from being a tree: the kind, the codes concerned and a sentence without them."""

    kind: Literal["empty", "duplicate", "self-parent", "orphan", "cycle"]
    codes: tuple[str, ...]
    text: str

    def __str__(self) -> str:
        return f"{self.text}: {name_some(self.codes)}"


def edge_problems(codes: Sequence[str], parents: Sequence[str]) -> list[EdgeProblem]:
    """Everything that keeps the edges from being a tree; "" is the parent of a code at level 1."""
    problems = []
    if empty := [f"row {i + 1}" for i, code in enumerate(codes) if not code]:
        problems.append(EdgeProblem("empty", tuple(empty), "rows without a code"))
    if twice := [code for code, count in Counter(codes).items() if code and count > 1]:
        problems.append(EdgeProblem("duplicate", tuple(twice), "duplicate codes"))
    if own := [code for code, parent in zip(codes, parents, strict=True) if code and code == parent]:
        problems.append(EdgeProblem("self-parent", tuple(dict.fromkeys(own)), "codes that are their own parent"))
    known = set(codes)
    if orphans := [
        f"{code} (parent {parent})"
        for code, parent in zip(codes, parents, strict=True)
        if code and parent and parent not in known
    ]:
        problems.append(EdgeProblem("orphan", tuple(orphans), "codes whose parent is not in the list"))
    parent_of = {c: p for c, p in zip(codes, parents, strict=True) if c and c != p}
    if loops := _on_cycles(parent_of):
        problems.append(EdgeProblem("cycle", tuple(loops), "codes that are their own ancestor (a cycle)"))
    return problems


def _on_cycles(parent_of: Mapping[str, str]) -> list[str]:
    """The codes that lie on a cycle, cycle after cycle."""
    done: set[str] = set()
    loops: list[str] = []
    for start in parent_of:
        walk: dict[str, None] = {}
        code = start
        while code in parent_of and code not in done and code not in walk:
            walk[code] = None
            code = parent_of[code]
        if code in walk:
            steps = list(walk)
            loops.extend(steps[steps.index(code) :])
        done.update(walk)
    return loops


def _aligned(texts: Texts | None, codes: Sequence[str], what: str) -> dict[str, list[str]]:
    """language -> one text for each input code. A text for a code that does not exist is an error, not dropped."""
    known = set(codes)
    out: dict[str, list[str]] = {}
    for language, values in (texts or {}).items():
        if isinstance(values, Mapping):
            if unknown := [code for code in values if code not in known]:
                raise TaxonomyError(f"{what}[{language!r}] has texts for unknown codes: {name_some(unknown)}")
            aligned = [values.get(code) for code in codes]
        else:
            aligned = list(values)
            if len(aligned) != len(codes):
                raise TaxonomyError(f"{what}[{language!r}]: got {len(aligned)} texts for {len(codes)} codes")
        out[language] = ["" if is_missing(text) else str(text) for text in aligned]
    return out


def from_edges(
    codes: Iterable[str],
    parents: Iterable[str | None],
    *,
    titles: Texts | None = None,
    descriptions: Texts | None = None,
    name: str = "taxonomy",
) -> Taxonomy:
    """A tree from codes and the code of each one's parent, in any order.

    Siblings are sorted by code (code points), so that the tree and its hash do not depend on the order of the rows.

    Args:
        codes: N codes (text; surrounding blanks are taken off).
        parents: for each the code of its parent; None, "" or NaN for level 1.
        titles, descriptions: language -> {code: text}, or language -> N texts in the order of ``codes``.
        name: what the tree is called in tables and messages.

    Raises:
        TaxonomyError: empty or duplicate codes, orphans, self-parents, cycles; all kinds found are in the message,
            each with its first five codes and how many more.
    """
    code_list, parent_list = _as_codes(codes, "codes"), _as_codes(parents, "parents")
    if len(code_list) != len(parent_list):
        raise TaxonomyError(f"got {len(code_list)} codes but {len(parent_list)} parents")
    if not code_list:
        raise TaxonomyError(f"{name}: a taxonomy needs at least one code, got none")
    if problems := edge_problems(code_list, parent_list):
        raise TaxonomyError(f"{name} is not a tree: " + "; ".join(str(p) for p in problems))
    title_lists = _aligned(titles, code_list, "titles")
    description_lists = _aligned(descriptions, code_list, "descriptions")

    children: dict[str, list[int]] = {}
    for i, parent in enumerate(parent_list):
        children.setdefault(parent, []).append(i)
    order: list[int] = []
    parent_numbers: list[int] = []
    queue = deque([("", -1)])
    while queue:
        parent, number = queue.popleft()
        for i in sorted(children.get(parent, ()), key=lambda j: code_list[j]):
            queue.append((code_list[i], len(order)))
            order.append(i)
            parent_numbers.append(number)
    return Taxonomy(
        codes=tuple(code_list[i] for i in order),
        parents=np.array(parent_numbers, dtype=np.int64),
        titles={lang: tuple(texts[i] for i in order) for lang, texts in title_lists.items()},
        descriptions={lang: tuple(texts[i] for i in order) for lang, texts in description_lists.items()},
        name=name,
    )


def from_prefix_codes(
    codes: Iterable[str],
    digits: Sequence[int],
    *,
    titles: Texts | None = None,
    descriptions: Texts | None = None,
    name: str = "taxonomy",
    missing: Literal["create", "error"] = "create",
) -> Taxonomy:
    """A tree from codes whose prefixes are their ancestors.

    Args:
        codes: leaves, and as many inner codes as there are, in any order.
        digits: cumulative code lengths: ISCO ``[1, 2, 3, 4]``, KZiS ``[1, 2, 3, 4, 6]``.
        titles, descriptions: language -> {code: text}, or language -> texts in the order of ``codes``.
        name: what the tree is called in tables and messages.
        missing: what to do with an inner code that is not in the list: "create" it (without a title), or report it as
            an "error".

    Raises:
        TaxonomyError: empty or duplicate codes, codes whose length fits no level, and missing inner codes if asked.
        ValueError: ``digits`` or ``missing`` make no sense.
    """
    check_choice("missing", missing, ("create", "error"))
    lengths = list(digits)
    if any(isinstance(d, bool) or int(d) != d for d in lengths):
        raise ValueError(f"digits: got {lengths}, expected integers, for example [1, 2, 3, 4]")
    if not lengths or lengths[0] < 1 or any(b <= a for a, b in pairwise(lengths)):
        raise ValueError(
            f"digits: got {lengths}, expected increasing cumulative code lengths, "
            f"for example [1, 2, 3, 4] for ISCO or [1, 2, 3, 4, 6] for KZiS"
        )
    listed = _as_codes(codes, "codes")
    if problems := edge_problems(listed, [""] * len(listed)):
        raise TaxonomyError(f"{name} is not a tree: " + "; ".join(str(p) for p in problems))
    if wrong := [code for code in listed if len(code) not in lengths]:
        raise TaxonomyError(
            f"{name}: codes whose length fits no level of digits={lengths}: {name_some(wrong)}. "
            f"Check the scheme, and that codes were read as text (numbers lose leading zeros)"
        )
    above = {d: n for n, d in pairwise([0, *lengths])}
    created = sorted({code[:d] for code in listed for d in lengths if d <= len(code)} - set(listed))
    if created and missing == "error":
        raise TaxonomyError(
            f"{name}: inner codes missing from the list: {name_some(created)}. Add them, or pass missing='create' "
            "(without titles)"
        )
    extra, everything = [""] * len(created), [*listed, *created]
    return from_edges(
        everything,
        [code[: above[len(code)]] for code in everything],
        titles={k: [*v, *extra] for k, v in _aligned(titles, listed, "titles").items()},
        descriptions={k: [*v, *extra] for k, v in _aligned(descriptions, listed, "descriptions").items()},
        name=name,
    )


#: punctuation between the parts of a code: a part is a number of its own, 7223.10 does not lie below 7223.1
BETWEEN = re.compile(r"[.\-/ ]")


def longest_prefix_parents(codes: Sequence[str], *, whole_parts: bool = True) -> list[str]:
    """For each code the longest other code in the list that is a prefix of it, "" if there is none.

    This is what the reference tool's hierarchy files (``class``, ``name``) mean, for any lengths of codes. Behind the
    first separator (``. - /`` or a blank) a code is cut at separators only, unless ``whole_parts`` is False.
    """
    known = set(codes)
    return [next((c[:n] for n in _cuts(c, whole_parts) if c[:n] in known), "") for c in codes]


def _cuts(code: str, whole_parts: bool) -> list[int]:
    """Where a code may be cut to give its parent, longest first."""
    between = [match.start() for match in BETWEEN.finditer(code)] if whole_parts else []
    return [*between[:0:-1], *range(between[0] if between else len(code) - 1, 0, -1)]
