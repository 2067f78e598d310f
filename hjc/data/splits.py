"""What reading data returns: rows to train on, to validate on and to test on, and the rows that were not used."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from hjc.data.jobdata import JobData

#: source of ads that were composed from a taxonomy: they train, and never validate or test
COMPOSED = "composed_ad"
#: sources of rows that a language model labelled, or wrote
SILVER, SYNTHETIC = "silver", "synthetic_ad"
#: sources that never validate or test
TRAIN_ONLY = {
    COMPOSED: "composed ads",
    SILVER: "silver labels of a language model",
    SYNTHETIC: "ads of a language model",
}
REJECT_COLUMNS = ("file", "row", "id", "reason", "value")


def no_rejects() -> pd.DataFrame:
    """An empty table of rejects."""
    return pd.DataFrame({name: pd.Series(dtype="int64" if name == "row" else "str") for name in REJECT_COLUMNS})


def reject_reasons(rejects: pd.DataFrame, most: int = 5) -> str:
    """``unknown code (12), no text (3)``."""
    reasons = rejects["reason"].value_counts().head(most)
    return ", ".join(f"{reason} ({count:,})" for reason, count in reasons.items())


def write_rejects(folder: str | Path, tables: Sequence[pd.DataFrame]) -> Path:
    """FOLDER/rejects.csv with the rows that could not be used (file, row, id, reason, value)."""
    path = Path(folder) / "rejects.csv"
    every = pd.concat(list(tables), ignore_index=True)
    every.sort_values(["file", "row"], kind="stable").to_csv(path, index=False, encoding="utf-8", lineterminator="\n")
    return path


@dataclass(kw_only=True)
class Splits:
    """Training, validation and test data of one run.

    Attributes:
        train, valid: rows; ``valid`` may be empty.
        tests: name -> rows of each test set.
        rejects: rows that could not be used: file, row (line of the file as a person counts, header included), id,
            reason, value (shortened).
        counts: what reading did and did not do, name -> rows (filtered, cut, html, ...).
        notes: sentences for the user, one an observation.
        unlabelled: texts without codes.
    """

    train: JobData
    valid: JobData
    tests: dict[str, JobData] = field(default_factory=dict)
    rejects: pd.DataFrame = field(default_factory=no_rejects)
    counts: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    unlabelled: tuple[str, ...] = ()

    def named(self) -> Mapping[str, JobData]:
        """train, valid and every test by name ("test/<name>" where the name is not "test")."""
        tests = {name if name == "test" else f"test/{name}": data for name, data in self.tests.items()}
        return {"train": self.train, "valid": self.valid, **tests}
