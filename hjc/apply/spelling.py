"""Codes of a table that a spreadsheet has spoiled, repaired a chunk at a time as training data are (1120.0 is 1120)."""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from hjc.errors import name_some
from hjc.taxonomy.check import repair_codes
from hjc.taxonomy.tree import Taxonomy


def for_commands(message: str) -> str:
    """What to do about a spoiled code, in the words of the command line."""
    message = message.replace(", or pass restore_zeros=True with width=the length of the codes", "")
    return message.replace("pass restore_zeros=True", "give --restore-zeros")


@dataclass
class Spelling:
    """What the codes of a table must be, and what was done to them so far.

    Attributes:
        known: the tree, or the codes that there are.
        restore_zeros: put lost leading zeros back where one code is meant.
        repaired: (as it stood, code) -> rows.
        hints: value that is no code -> what seems to have happened to it, where that can be told.
    """

    known: Taxonomy | Collection[str]
    restore_zeros: bool = False
    repaired: Counter[tuple[str, str]] = field(default_factory=Counter)
    hints: dict[str, str] = field(default_factory=dict)

    def mend(self, codes: Sequence[str | None]) -> list[str]:
        """The codes of a chunk: "" where there is none, the value itself where it is no code."""
        mended, report = repair_codes(self.known, codes, self.restore_zeros)
        for before, after in zip(codes, mended, strict=True):
            if after and before is not None and (old := before.strip()) != after:
                self.repaired[old, after] += 1
        for value, reason in report.reasons.items():
            if not reason.endswith("is not in the tree"):
                self.hints[value.strip()] = for_commands(reason)
        return ["" if code is None else code.strip() for code in mended]

    @property
    def counts(self) -> dict[str, int]:
        """ "2411.0 -> 2411" -> rows."""
        return {f"{old} -> {new}": rows for (old, new), rows in self.repaired.most_common()}

    def message(self) -> str:
        """One line about the repairs; "" when there were none."""
        if not self.repaired:
            return ""
        shown = name_some(f"{old} -> {new} ({rows:,} rows)" for (old, new), rows in self.repaired.most_common())
        return f"{self.repaired.total():,} codes that a spreadsheet had spoiled were repaired: {shown}"
