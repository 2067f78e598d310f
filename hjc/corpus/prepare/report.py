"""What a preparation did, for its log and for the terminal."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any


@dataclass
class PrepareReport:
    """What was done. ``rows_in == rows_out + rejected``, and ``unreadable`` lines come on top.

    Attributes:
        rejected: reason -> rows that went to the rejected file.
        flagged: rule -> rows (a row may have several). cleaned: what was found -> rows. languages: code -> rows.
        duplicates: as :meth:`DuplicateGroups.counts`. conflicts: groups with several codes.
    """

    rows_in: int = 0
    rows_out: int = 0
    unreadable: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    flagged: Counter[str] = field(default_factory=Counter)
    flagged_rows: int = 0
    cleaned: Counter[str] = field(default_factory=Counter)
    languages: Counter[str] = field(default_factory=Counter)
    duplicates: dict[str, int] = field(default_factory=dict)
    conflicts: int = 0
    seconds: float = 0.0

    @property
    def rate(self) -> float:
        """Rows per second."""
        return self.rows_in / max(self.seconds, 1e-9)

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain values, for the log."""
        return {
            "rows_in": self.rows_in,
            "rows_out": self.rows_out,
            "rows_rejected": sum(self.rejected.values()),
            "rejected": dict(self.rejected),
            "unreadable_lines": self.unreadable,
            "flagged_rows": self.flagged_rows,
            "flagged": dict(self.flagged.most_common()),
            "cleaned": dict(self.cleaned.most_common()),
            "languages": dict(self.languages.most_common()),
            "duplicates": self.duplicates,
            "groups_with_several_codes": self.conflicts,
            "seconds": round(self.seconds, 2),
            "rows_per_second": round(self.rate, 1),
        }

    def message(self, output: str) -> str:
        """A few lines for the terminal."""

        def counts(of: Counter[str], most: int | None = None) -> str:
            return ", ".join(f"{name} {count:,}" for name, count in of.most_common(most))

        rejected, flagged, languages = counts(self.rejected), counts(self.flagged), counts(self.languages, 6)
        d = self.duplicates
        lines = [
            f"{self.rows_in:,} rows in, {self.rows_out:,} out, {sum(self.rejected.values()):,} rejected"
            + (f" ({rejected})" if rejected else "")
            + f"; {self.seconds:.1f} s, {self.rate:,.0f} rows/s -> {output}",
            f"flagged {self.flagged_rows:,}" + (f": {flagged}" if flagged else ""),
            f"languages: {languages}" if languages else "",
            f"{d['identical_to_an_earlier']:,} rows repeat an earlier text; {d['rows_in_them']:,} rows in "
            f"{d['groups_of_several']:,} groups of duplicates, {self.conflicts:,} of them with several codes",
        ]
        return "\n".join(line for line in lines if line)
