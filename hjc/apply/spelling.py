"""Codes of a table that a spreadsheet has spoiled, repaired a chunk at a time as training data are (1120.0 is 1120)."""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from hjc.errors import name_some
from hjc.taxonomy.spelling import RepairReport, check_classification, one_of_each_kind, repair_codes

_EXAMPLES = 1000


@dataclass
class Spelling:
    """What the codes of a table must be, and what was done to them so far.

    Attributes:
        known: the tree, or the codes that there are.
        restore_zeros: put lost leading zeros back where one code is meant.
        repaired: (as it stood, code) -> rows.
        hints: value of the last chunk that is no code -> what seems to have happened to it, where that can be told.
        reasons, kinds: value that is no code -> why, of the first some thousand; kind -> rows; as in a RepairReport.
    """

    known: Collection[str]
    restore_zeros: bool = False
    repaired: Counter[tuple[str, str]] = field(default_factory=Counter)
    hints: dict[str, str] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    kinds: Counter[str] = field(default_factory=Counter)

    def mend(self, codes: Sequence[str | None]) -> list[str]:
        """The codes of a chunk: "" where there is none, the value itself where it is no code."""
        mended, report = repair_codes(self.known, codes, self.restore_zeros, asking="command")
        for before, after in zip(codes, mended, strict=True):
            if after and before is not None and (old := before.strip()) != after:
                self.repaired[old, after] += 1
        if len(self.reasons) < _EXAMPLES:  # a table of any size may be of another classification altogether
            self.reasons |= report.reasons
        self.kinds.update(report.counts)
        self.hints = {
            value.strip(): reason
            for value, reason in report.reasons.items()
            if not reason.endswith("is not in the tree")
        }
        return ["" if code is None else code.strip() for code in mended]

    def check(self, label: str, name: str, option: str = "") -> None:
        """After the last row. Raises TaxonomyError when most codes of the table are not in the tree ``name``."""
        report = RepairReport(self.kinds.total(), dict(self.kinds), reasons=self.reasons, asking="command")
        check_classification(self.known, report, label, name, option)

    def account(self) -> str:
        """Repairs, and what the values that are no codes probably are, a sentence of each kind."""
        return ". ".join(filter(None, [self.message(), *one_of_each_kind(self.reasons)]))

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
