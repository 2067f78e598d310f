"""Codes that spreadsheets have spoiled: recognised, explained and, where there is only one reading, repaired.

Three things happen to codes on their way: leading zeros are lost when a column is read as numbers (0110 -> 110),
whole numbers become decimals (1120 -> 1120.0), and blanks get around them. A repair is made only where one reading
is possible, and it is always counted; lost zeros are put back only when the user asks for it.
"""

import re
from collections import Counter
from collections.abc import Collection, Container, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from hjc.errors import name_some
from hjc.taxonomy.build import is_missing
from hjc.taxonomy.tree import Taxonomy

#: blanks that ``str.strip`` does not know: zero-width space and joiner, byte order mark
_INVISIBLE = "\u200b\u200d\ufeff"
_DECIMAL = re.compile(r"(.*\d)\.0+")
_WHOLE = re.compile(r"(\d+)\.0+")

Kind = Literal["known", "missing", "blanks", "decimal", "zeros", "lost_zeros", "ambiguous", "unknown"]
_FIXED = {
    "blanks": "surrounding blanks taken off",
    "decimal": "decimal numbers turned back into codes",
    "zeros": "leading zeros restored",
}


def _strip(text: str) -> str:
    before = None
    while before != text:
        before, text = text, text.strip().strip(_INVISIBLE)
    return text


def zero_candidates(known: Container[str], code: str, longest: int) -> tuple[str, ...]:
    """The known codes that turn into ``code`` as a number: leading zeros are lost, after a point also the last ones."""
    if not code or not code[0].isdigit():
        return ()
    room = longest - len(code)
    out = []
    for lead in range(room + 1):
        for trail in range(room - lead + 1 if "." in code else 1):
            if lead + trail and (candidate := "0" * lead + code + "0" * trail) in known:
                out.append(candidate)
    return tuple(out)


@dataclass(frozen=True)
class _Verdict:
    kind: Kind
    code: str  # the repaired code, or the value as it came
    readings: tuple[str, ...] = ()  # codes of the tree that the value may stand for
    numeric: bool = False  # the value has certainly been a number once

    def reason(self, value: str) -> str:
        """Why the value is no code of the tree, and what to do."""
        names = " or ".join(repr(r) for r in self.readings)
        if self.kind == "ambiguous":
            return (
                f"{value!r} may be {names}: read codes as text, "
                f"or pass restore_zeros=True with width=the length of the codes"
            )
        if self.kind == "lost_zeros":
            return (
                f"{value!r} looks like {names} with a lost leading zero: read codes as text, or pass restore_zeros=True"
            )
        if self.kind == "decimal":
            return (
                f"{value!r} looks like {self.code!r} read as a decimal number: read codes as text, or use repair_codes"
            )
        if self.kind == "blanks":
            return f"{value!r} is {self.code!r} with surrounding blanks: strip them, or use repair_codes"
        return f"{value!r} is not in the tree"


def _judge(known: Container[str], value: object, longest: int, restore_zeros: bool, width: int | None) -> _Verdict:
    """One value. The order matters: what is a code as it stands is never changed, unless the user gave a width."""
    if is_missing(value) or (isinstance(value, str) and not _strip(value)):
        return _Verdict("missing", "")
    numeric = not isinstance(value, str)
    raw = str(int(value)) if isinstance(value, float | np.floating) and float(value).is_integer() else str(value)
    base = _strip(raw)
    shape: Kind = "known" if base == raw else "blanks"
    if base not in known and (match := _DECIMAL.fullmatch(base)):
        base, numeric = match[1], True
    if numeric:
        shape = "decimal"
    readings = zero_candidates(known, base, longest)
    if width is not None:
        readings = tuple(r for r in readings if len(r) == width)
        if restore_zeros and len(base) < width and base.zfill(width) in known:
            return _Verdict("zeros", base.zfill(width), numeric=numeric)
    if base in known:
        if numeric and readings:  # 11.0 is 11 or what is left of 011
            return _Verdict("ambiguous", raw, (base, *readings), True)
        return _Verdict(shape, base, readings, numeric)
    if len(readings) > 1:
        return _Verdict("ambiguous", raw, readings, numeric)
    if readings:
        if restore_zeros:
            return _Verdict("zeros", readings[0], readings, numeric)
        return _Verdict("lost_zeros", raw, readings, numeric)
    return _Verdict("unknown", raw, (), numeric)


def _longest(codes: Iterable[str]) -> int:
    return max(map(len, codes), default=0)


def whole_number(code: str) -> str:
    """1120.0, as a spreadsheet writes a column of numbers, is 1120; any other code stays as it is.

    For codes whose tree is not known (yet); with a tree :func:`repair_codes` also sees what is a code as it stands.
    """
    match = _WHOLE.fullmatch(code)
    return match[1] if match else code


@dataclass(frozen=True)
class RepairReport:
    """What :func:`repair_codes` found. True when there is something to tell the user.

    Attributes:
        rows: number of values looked at.
        counts: rows by kind: known, missing; repaired: blanks, decimal, zeros; left as they were because they are
            no code: lost_zeros, ambiguous, unknown.
        changed: value -> the code it was turned into.
        reasons: value that is no code of the tree -> sentence that says why and what to do (for a rejects file).
        suspect: code that is known as it stands, but in a column that has lost zeros may be a shorter rest of
            another one -> those others. Left as they are.
    """

    rows: int
    counts: dict[str, int] = field(default_factory=dict)
    changed: dict[str, str] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    suspect: dict[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def repaired(self) -> int:
        """Rows whose code was changed."""
        return sum(self.counts.get(kind, 0) for kind in _FIXED)

    @property
    def rejected(self) -> int:
        """Rows with a value that is no code of the tree (rows without any value do not count)."""
        return sum(self.counts.get(kind, 0) for kind in ("lost_zeros", "ambiguous", "unknown"))

    def __bool__(self) -> bool:
        return bool(self.changed or self.reasons or self.suspect)

    def __str__(self) -> str:
        """One line for each kind of finding; "" when there is none."""
        lines = []
        for kind, what in _FIXED.items():
            if count := self.counts.get(kind, 0):
                lines.append(f"{count} of {self.rows} codes: {what}")
        if self.changed:
            lines.append("repaired: " + name_some(f"{old} -> {new}" for old, new in self.changed.items()))
        if self.reasons:
            lines.append(f"{self.rejected} of {self.rows} codes are not in the tree: {name_some(self.reasons)}")
            lines.extend(_first_of_each_kind(self.reasons))
        if self.suspect:
            told = name_some(f"{code} (or {', '.join(others)})" for code, others in self.suspect.items())
            lines.append(f"zeros were lost in this column, so these may mean another code and were left alone: {told}")
        return "\n".join(lines)


def _first_of_each_kind(reasons: dict[str, str]) -> list[str]:
    """The first sentence with each wording, leaving out those that only repeat that a code is unknown."""
    shown: dict[str, str] = {}
    for sentence in reasons.values():
        if not sentence.endswith("is not in the tree"):
            shown.setdefault(re.sub(r"'[^']*'( or '[^']*')*", "", sentence), sentence)
    return list(shown.values())


def repair_codes(
    taxonomy: Taxonomy | Collection[str], codes: Iterable[object], restore_zeros: bool = False, width: int | None = None
) -> tuple[list[str], RepairReport]:
    """Codes as the tree spells them, and a report of every change and every value that is no code.

    Blanks around a code and a decimal ".0" are taken off when exactly one code is meant. Leading zeros are put back
    only with ``restore_zeros`` and only when exactly one code is meant: in ISCO-08 "110" can only be 0110, but "11" is
    a sub-major group as well as what is left of 011, so "11" stays and "11.0" is reported. ``width`` says how long the
    codes of this column are, which decides such cases: with ``restore_zeros=True, width=3`` "11" is 011.

    Args:
        taxonomy: the tree, or the codes that there are (better a set or a mapping).
        codes: B values: text, missing values (None, NaN, ""), or numbers from a column that was read as numbers.
        restore_zeros: put lost leading zeros back.
        width: length of every code in the column, if they all have the same.

    Returns:
        B codes ("" for missing, the value itself where it is no code), and the :class:`RepairReport`.

    Raises:
        ValueError: ``width`` is not a positive integer.
    """
    if width is not None and (isinstance(width, bool) or not isinstance(width, int) or width < 1):
        raise ValueError(f"width: got {width!r}, allowed are positive integers (the length of the codes) and None")
    known: Collection[str] = taxonomy.index_of if isinstance(taxonomy, Taxonomy) else taxonomy
    longest = _longest(known)
    verdicts: dict[object, _Verdict] = {}
    out: list[str] = []
    rows: list[_Verdict] = []
    for value in codes:
        key = None if is_missing(value) else value  # NaN differs from itself
        if key not in verdicts:
            verdicts[key] = _judge(known, value, longest, restore_zeros, width)
        rows.append(verdicts[key])
        out.append(verdicts[key].code)
    bad = ("lost_zeros", "ambiguous", "unknown")
    lossy = any(v.numeric or v.kind in ("zeros", "lost_zeros") for v in verdicts.values())
    report = RepairReport(
        rows=len(out),
        counts=dict(Counter(v.kind for v in rows)),
        changed={str(k): v.code for k, v in verdicts.items() if v.kind in _FIXED},
        reasons={str(k): v.reason(str(k)) for k, v in verdicts.items() if v.kind in bad},
        suspect={v.code: v.readings for v in verdicts.values() if lossy and v.kind == "known" and v.readings},
    )
    return out, report


def explain_unknown(taxonomy: Taxonomy, codes: Iterable[object]) -> str:
    """One message about codes that are not in the tree: the first five, and what seems to have happened to them."""
    values = list(dict.fromkeys(codes))
    longest = _longest(taxonomy.codes)
    spellings: dict[str, list[str]] = {}
    for code in taxonomy.codes:
        spellings.setdefault(_bare(code), []).append(code)
    reasons: dict[str, str] = {}
    for value in values:
        verdict = _judge(taxonomy.index_of, value, longest, False, None)
        if verdict.kind == "missing":
            reasons[str(value)] = f"{str(value)!r} is a missing value: leave such rows out"
        elif verdict.kind != "known":
            reasons[str(value)] = verdict.reason(str(value))
            if verdict.kind == "unknown":
                reasons[str(value)] = _other_hint(taxonomy, verdict.code, spellings) or reasons[str(value)]
    hints = _first_of_each_kind(reasons)
    if not hints:
        examples = ", ".join(repr(taxonomy.codes[i]) for i in taxonomy.leaves[:: max(1, taxonomy.num_leaves // 3)][:3])
        hints = [f"codes of this tree look like {examples}"]
    return f"unknown codes in {taxonomy.name!r}: {name_some(values)}. " + ". ".join(hints)


def _bare(text: str) -> str:
    """Letters and digits only, lower case."""
    return "".join(c for c in text if c.isalnum()).lower()


def _other_hint(taxonomy: Taxonomy, code: str, spellings: Mapping[str, list[str]]) -> str:
    """A sentence when the code differs from one of the tree in punctuation only, or lies below one of its leaves."""
    same = spellings.get(_bare(code), [])
    if len(same) == 1:
        return f"{code!r} looks like {same[0]!r} written in another way"
    for n in range(len(code) - 1, 0, -1):
        node = taxonomy.index_of.get(code[:n])
        if node is not None:
            if bool(taxonomy.is_leaf[node]):
                return f"{code!r} lies below {code[:n]!r}, a leaf of this tree: cut the codes, or use a deeper tree"
            break
    return ""
