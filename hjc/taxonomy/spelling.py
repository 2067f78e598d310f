"""Codes that spreadsheets and people have spelt in another way: recognised, explained and, where certain, repaired.

Leading zeros are lost when a column is read as numbers (0110 -> 110), whole numbers become decimals (1120 -> 1120.0),
blanks and invisible characters get in. A repair is made only where one reading is possible, and it is always counted;
lost zeros are put back only when the user asks for it. What else a value may mean (``="2221"``, ``C5120``, a group
filled with zeros ...) is said, never assumed.

Knows no tree: the codes that there are may be a :class:`~hjc.taxonomy.tree.Taxonomy`, a set or a mapping.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Container, Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import numpy as np

from hjc.errors import TaxonomyError, name_some

_DECIMAL = re.compile(r"(.*\d)\.0+")
_WHOLE = re.compile(r"(\d+)\.0+")
#: the name of a classification in front of a code (``ISCO-08 7212``), or the C of ESCO's identifiers (``C2341``)
_NAMED = (
    re.compile(r"(?P<name>[^\W\d_]+[-_ ]?\d\d+)[-_:/. ]+(?P<code>\d.*)"),
    re.compile(r"(?P<name>)(?:[^\W\d_]{2,}[-_:/. ]*|C)(?P<code>\d.*)"),
)
#: fewer unknown codes than this do not make a table one of another classification
_FEW = 10

_OPTION = "--taxonomy; hjc train: taxonomy.path=FILE; a model keeps its own tree"

Kind = Literal["known", "missing", "blanks", "decimal", "zeros", "lost_zeros", "ambiguous", "spelling", "unknown"]
_FIXED = {
    "blanks": "surrounding blanks taken off",
    "decimal": "decimal numbers turned back into codes",
    "zeros": "leading zeros restored",
}
_BAD = ("lost_zeros", "ambiguous", "spelling", "unknown")
#: who is told -> how to ask for lost zeros to be put back, and what to add where codes have one length; "nobody" cannot
Asking = Literal["python", "command", "training", "nobody"]
_ASK: dict[Asking, tuple[str, str]] = {
    "python": ("pass restore_zeros=True", "with width=the length of the codes"),
    "command": ("give --restore-zeros", ""),
    "training": ("give data.restore_zeros=true", "with data.code_width=the length of the codes"),
    "nobody": ("", ""),
}


def is_missing(value: object) -> bool:
    """None, NaN and the pandas missing values (which compare unequal to, or unknown with, themselves)."""
    if isinstance(value, float | np.floating):
        return bool(np.isnan(value))
    return value is None or type(value).__name__ in ("NAType", "NaTType")


def trim(text: str) -> str:
    """A code without blanks around it and without invisible characters (zero-width space, byte order mark ...)."""
    if not text.isascii():
        text = "".join(c for c in text if unicodedata.category(c) != "Cf")
    return text.strip()


def whole_number(code: str) -> str:
    """1120.0, as a spreadsheet writes a column of numbers, is 1120; any other code stays as it is.

    For codes whose tree is not known (yet); with a tree :func:`repair_codes` also sees what is a code as it stands.
    """
    match = _WHOLE.fullmatch(code)
    return match[1] if match else code


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


def neighbour_guess(before: str, code: str, known: Container[str]) -> str:
    """What a code that stands twice should be in the row after ``before``: the next number, "" where that is no guess.

    After 962907 a second 932908 is probably 962908.
    """
    if not (before.isascii() and before.isdigit()) or len(before) != len(code):
        return ""
    following = str(int(before) + 1).zfill(len(before))
    return following if following != code and following not in known and len(following) == len(code) else ""


@dataclass(frozen=True)
class _Verdict:
    kind: Kind
    code: str  # the repaired code, or the value as it came
    readings: tuple[str, ...] = ()  # codes of the tree that the value may stand for
    numeric: bool = False  # the value has certainly been a number once
    guess: str = ""  # what the value probably is, as the end of a sentence

    def reason(self, value: str, asking: Asking) -> str:
        """Why the value is no code of the tree, and what to do."""
        names = " or ".join(map(repr, self.readings))
        zeros, width = _ASK[asking]
        return {
            "ambiguous": f"{value!r} may be {names}: read codes as text" + (width and f", or {zeros} {width}"),
            "lost_zeros": f"{value!r} looks like {names} with a lost leading zero: read codes as text"
            + (zeros and f", or {zeros}"),
            "decimal": f"{value!r} looks like {self.code!r} read as a decimal number: read codes as text, or use "
            "repair_codes",
            "blanks": f"{value!r} is {self.code!r} with surrounding blanks: strip them, or use repair_codes",
            "missing": f"{value!r} is a missing value: leave such rows out",
        }.get(self.kind, f"{value!r} {self.guess or 'is not in the tree'}")


class _Known:
    """The codes that there are, and what a value may mean among them."""

    def __init__(self, codes: Collection[str]) -> None:
        self.codes = codes if isinstance(codes, Set | Mapping) else frozenset(codes)
        self.longest = max(map(len, self.codes), default=0)

    @cached_property
    def inner(self) -> frozenset[str]:
        """Everything that a longer code begins with."""
        return frozenset(code[:n] for code in self.codes for n in range(1, len(code)))

    @cached_property
    def by_letters(self) -> dict[str, list[str]]:
        """Letters and digits alone -> the codes that are spelt with them."""
        out: dict[str, list[str]] = {}
        for code in self.codes:
            out.setdefault(_letters(code), []).append(code)
        return out

    def judge(self, value: object, restore_zeros: bool = False, width: int | None = None) -> _Verdict:
        """One value. The order matters: what is a code as it stands is never changed, unless the user gave a width."""
        if is_missing(value):
            return _Verdict("missing", "")
        numeric = not isinstance(value, str)
        raw = str(int(value)) if isinstance(value, float | np.floating) and float(value).is_integer() else str(value)
        base = trim(raw)
        if not base:
            return _Verdict("missing", "")
        shape: Kind = "known" if base == raw else "blanks"
        if base not in self.codes and (match := _DECIMAL.fullmatch(base)):
            base, numeric = match[1], True
        if numeric:
            shape = "decimal"
        readings = zero_candidates(self.codes, base, self.longest)
        if width is not None:
            readings = tuple(r for r in readings if len(r) == width)
            if restore_zeros and len(base) < width and base.zfill(width) in self.codes:
                return _Verdict("zeros", base.zfill(width), numeric=numeric)
        if base in self.codes:
            if numeric and readings:  # 11.0 is 11 or what is left of 011
                return _Verdict("ambiguous", raw, (base, *readings), True)
            return _Verdict(shape, base, readings, numeric)
        if len(readings) > 1:
            return _Verdict("ambiguous", raw, readings, numeric)
        if readings:
            if restore_zeros:
                return _Verdict("zeros", readings[0], readings, numeric)
            return _Verdict("lost_zeros", raw, readings, numeric)
        guess = self.guess(base)
        return _Verdict("spelling" if guess else "unknown", raw, (), numeric, guess)

    def guess(self, text: str) -> str:
        """What a value that is no code probably is, as the end of a sentence; "" where nothing is known."""
        for plain, edition in _unwrapped(text):
            readings = (plain,) if plain in self.codes else zero_candidates(self.codes, plain, self.longest)
            if readings := readings or tuple(self.by_letters.get(_letters(plain), ())):
                ours = f", if {edition} is this tree" if edition else ""
                return f"looks like {' or '.join(map(repr, readings))} written in another way{ours}"
        cuts = [text[:n] for n in range(1, len(text)) if text[:n] in self.codes]
        groups = [c for c in cuts if not text[len(c) :].strip("0")] if len(text) <= self.longest else []
        if groups:
            return f"looks like {' or '.join(map(repr, groups))}, a group filled with zeros: cut them off"
        if cuts and cuts[-1] not in self.inner:
            return f"lies below {cuts[-1]!r}, a leaf of this tree: cut the codes, or use a deeper tree"
        return ""

    def examples(self) -> list[str]:
        """Three codes with nothing below them."""
        leaves = sorted(code for code in self.codes if code not in self.inner)
        return leaves[:: max(1, len(leaves) // 3)][:3]


def _letters(text: str) -> str:
    """Letters and digits only, lower case."""
    return "".join(c for c in text if c.isalnum()).lower()


def _unwrapped(text: str) -> Iterator[tuple[str, str]]:
    """What may be left when the wrapping of a code is taken off, and the edition that the wrapping names, if any."""
    text = unicodedata.normalize("NFKC", text)
    yield text, ""
    text = text.removeprefix("=").strip("\"'`\u2018\u2019\u201c\u201d ")  # ="2221" and '8332 keep zeros in Excel
    text = whole_number(text.replace(",", ".").rstrip("/").rsplit("/", 1)[-1].rsplit("#", 1)[-1])
    yield text, ""
    for pattern in _NAMED:
        if match := pattern.fullmatch(text):
            yield match["code"], match["name"]
    code, _, words = text.partition(" ")
    if any(map(str.isalpha, words)) and any(map(str.isdigit, code)):  # 2221 Nursing professionals
        yield code.rstrip(".:-"), ""


@dataclass(frozen=True)
class RepairReport:
    """What :func:`repair_codes` found. True when there is something to tell the user.

    Attributes:
        rows: number of values looked at.
        counts: rows by kind: known, missing; repaired: blanks, decimal, zeros; left as they were because they are
            no code: lost_zeros, ambiguous, spelling (a guess is in the reason), unknown.
        changed: value -> the code it was turned into.
        reasons: value that is no code of the tree -> sentence that says why and what to do (for a rejects file).
        suspect: code that is known as it stands, but in a column that has lost zeros may be a shorter rest of
            another one -> those others. Left as they are.
        asking: whom the reasons tell what to do.
    """

    rows: int
    counts: dict[str, int] = field(default_factory=dict)
    changed: dict[str, str] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    suspect: dict[str, tuple[str, ...]] = field(default_factory=dict)
    asking: Asking = "python"

    @property
    def repaired(self) -> int:
        """Rows whose code was changed."""
        return sum(self.counts.get(kind, 0) for kind in _FIXED)

    @property
    def rejected(self) -> int:
        """Rows with a value that is no code of the tree (rows without any value do not count)."""
        return sum(self.counts.get(kind, 0) for kind in _BAD)

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
            verb = "is" if self.rejected == 1 else "are"
            lines.append(f"{self.rejected} of {self.rows} codes {verb} not in the tree: {name_some(self.reasons)}")
            lines.extend(one_of_each_kind(self.reasons))
        if self.suspect:
            told = name_some(f"{code} (or {', '.join(others)})" for code, others in self.suspect.items())
            lines.append(f"zeros were lost in this column, so these may mean another code and were left alone: {told}")
        return "\n".join(lines)


def one_of_each_kind(reasons: Mapping[str, str]) -> list[str]:
    """The first sentence with each wording, leaving out those that only repeat that a code is unknown."""
    shown: dict[str, str] = {}
    for value, sentence in reasons.items():
        if not sentence.endswith("is not in the tree"):
            wording = re.sub(r"'[^']*'( or '[^']*')*", "", sentence.removeprefix(repr(value)))
            shown.setdefault(wording, sentence)
    return list(shown.values())


def repair_codes(
    taxonomy: Collection[str],
    codes: Iterable[object],
    restore_zeros: bool = False,
    width: int | None = None,
    *,
    asking: Asking = "python",
) -> tuple[list[str], RepairReport]:
    """Codes as the tree spells them, and a report of every change and every value that is no code.

    Blanks, invisible characters and a decimal ".0" are taken off when exactly one code is meant. Leading zeros are put
    back only with ``restore_zeros`` and only when exactly one code is meant: in ISCO-08 "110" can only be 0110, but
    "11" is a sub-major group as well as what is left of 011, so "11" stays and "11.0" is reported. ``width`` says how
    long the codes of this column are, which decides such cases: with ``restore_zeros=True, width=3`` "11" is 011.

    Args:
        taxonomy: the tree, or the codes that there are (better a set or a mapping).
        codes: B values: text, missing values (None, NaN, ""), or numbers from a column that was read as numbers.
        restore_zeros: put lost leading zeros back.
        width: length of every code in the column, if they all have the same.
        asking: whom the reasons tell what to do: who calls this function, a command, or a training; or nobody, where
            zeros cannot be put back.

    Returns:
        B codes ("" for missing, the value itself where it is no code), and the :class:`RepairReport`.

    Raises:
        ValueError: ``width`` is not a positive integer.
    """
    if width is not None and (isinstance(width, bool) or not isinstance(width, int) or width < 1):
        raise ValueError(f"width: got {width!r}, allowed are positive integers (the length of the codes) and None")
    known = _Known(taxonomy)
    verdicts: dict[object, _Verdict] = {}
    rows: list[_Verdict] = []
    for value in codes:
        key = None if is_missing(value) else value  # NaN differs from itself
        if key not in verdicts:
            verdicts[key] = known.judge(value, restore_zeros, width)
        rows.append(verdicts[key])
    lossy = any(v.numeric or v.kind in ("zeros", "lost_zeros") for v in verdicts.values())
    report = RepairReport(
        rows=len(rows),
        counts=dict(Counter(v.kind for v in rows)),
        changed={str(k): v.code for k, v in verdicts.items() if v.kind in _FIXED},
        reasons={str(k): v.reason(str(k), asking) for k, v in verdicts.items() if v.kind in _BAD},
        suspect={v.code: v.readings for v in verdicts.values() if lossy and v.kind == "known" and v.readings},
        asking=asking,
    )
    return [verdict.code for verdict in rows], report


def explain_unknown(
    taxonomy: Collection[str], codes: Iterable[object], name: str = "", *, asking: Asking = "python"
) -> str:
    """One message about codes that are not in the tree ``name``: the first five, and what may have happened to them."""
    values, known = list(dict.fromkeys(codes)), _Known(taxonomy)
    verdicts = {value: known.judge(value) for value in values}
    unknown = {str(v): found.reason(str(v), asking) for v, found in verdicts.items() if found.kind != "known"}
    hints = one_of_each_kind(unknown)
    hints = hints or [f"codes of this tree look like {', '.join(map(repr, known.examples()))}"]
    return f"unknown codes{f' in {name!r}' if name else ''}: {name_some(values)}. " + ". ".join(hints)


def check_classification(
    taxonomy: Collection[str], report: RepairReport, label: str, name: str, option: str = ""
) -> None:
    """Nobody wants labels judged, trained on or counted against the tree of another classification.

    Args:
        taxonomy, report: as given to and by :func:`repair_codes`.
        label: of the table, for the message.
        name: of the tree.
        option: that names another tree; by default that of the ``hjc data`` commands and of training.

    Raises:
        TaxonomyError: not one code of the table is in the tree, or most of them (and at least ten rows) are not.
    """
    given = report.rows - report.counts.get("missing", 0)
    if not report.rejected or (report.rejected < given and (report.rejected < _FEW or report.rejected <= given / 2)):
        return
    share = "no row has a code of the taxonomy" if report.rejected == given else "most codes are not in the taxonomy"
    found = explain_unknown(taxonomy, report.reasons, name, asking=report.asking)
    raise TaxonomyError(
        f"{label}: {share} ({report.rejected:,} of {given:,} rows); {found}. "
        f"Are they codes of another classification? Then name it ({option or _OPTION}), or bring them over first with "
        "hjc crosswalk"
    )
