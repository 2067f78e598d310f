"""What an import gives: the tree, the texts about its codes, and an account of every row."""

import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from hjc.errors import name_some
from hjc.files import check_kept, replacing, write_text
from hjc.taxonomy.csvio import write_rows, write_taxonomy_csv
from hjc.taxonomy.tree import Taxonomy

if TYPE_CHECKING:
    import pandas as pd

#: kinds of text that are names of the occupation; the others describe it
TITLE_KINDS = ("alternative", "hidden", "reported", "short", "example", "index")
#: every kind of text
KINDS = (
    *TITLE_KINDS, "definition", "scope_note", "task", "technology", "tool", "skill", "knowledge", "ability",
    "requirement", "note", "exclusion",
)  # fmt: skip


class Text(NamedTuple):
    """A text about a code.

    ``detail`` says more by kind: the category of a technology or tool, type of a task (Core, Supplemental) or skill
    (essential, optional), industry of an index entry, code or URI that an exclusion belongs to. ``value`` is a number
    as text: the importance (1 to 5) of a skill, knowledge or ability.
    """

    code: str
    kind: str
    language: str
    text: str
    detail: str = ""
    value: str = ""
    file: str = ""
    line: int = 0


class Reject(NamedTuple):
    """A row, or a text in it, that could not be placed."""

    file: str
    line: int
    code: str
    reason: str
    value: str


@dataclass
class FileCount:
    """What became of the rows of one table: rows = used + rejected + skipped."""

    file: str
    role: str
    rows: int = 0
    used: int = 0
    rejected: int = 0
    skipped: Counter[str] = field(default_factory=Counter)


@dataclass
class ImportReport:
    """The account of an import.

    Attributes:
        kind: the reader.
        files: rows of each table in = used + rejected + skipped (by reason).
        missing: optional file -> what is lacking without it.
        ignored: files of the folder that this reader does not read.
        rejects: what could not be placed, and why.
        repairs: codes that were mended, by what was done.
        notes: sentences for the user.
        levels: nodes at each level, from 1.
        texts: (kind, language) -> number of texts, with titles and descriptions of the tree.
    """

    kind: str
    files: list[FileCount] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)
    ignored: list[str] = field(default_factory=list)
    rejects: list[Reject] = field(default_factory=list)
    repairs: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)
    levels: list[int] = field(default_factory=list)
    texts: Counter[tuple[str, str]] = field(default_factory=Counter)

    def by_kind(self) -> Counter[str]:
        """Number of texts of each kind, all languages together."""
        return Counter(kind for kind, _ in self.texts.elements())

    def as_dict(self) -> dict[str, Any]:
        """For import_report.json; of the rejects their counts by reason (rows are in rejects.csv)."""
        texts: dict[str, dict[str, int]] = {}
        for (kind, language), count in sorted(self.texts.items()):
            texts.setdefault(kind, {})[language] = count
        return {
            "kind": self.kind,
            "nodes_per_level": self.levels,
            "texts": texts,
            "files": [{**vars(f), "skipped": dict(f.skipped)} for f in self.files],
            "missing": self.missing,
            "ignored": self.ignored,
            "repairs": dict(self.repairs),
            "rejects": dict(Counter(r.reason for r in self.rejects)),
            "notes": self.notes,
        }  # fmt: skip

    def lines(self) -> list[str]:
        """The account as lines for a terminal."""
        out = [f"{self.kind}: {'/'.join(map(str, self.levels))} codes per level"]
        for kind, count in self.by_kind().items():
            languages = [language for k, language in sorted(self.texts) if k == kind]
            shown = ", ".join(languages[:8]) + (f" and {len(languages) - 8} more" if len(languages) > 8 else "")
            out.append(f"  {kind:<12} {count:>9,}  {shown}")
        for f in self.files:
            skipped = "".join(f", {n:,} skipped ({why})" for why, n in f.skipped.items())
            out.append(f"  {f.file} [{f.role}]: {f.rows:,} rows = {f.used:,} used + {f.rejected:,} rejected{skipped}")
        out += [f"  missing {file}: {what}" for file, what in self.missing.items()]
        out += [f"  mended {count:,} codes: {what}" for what, count in self.repairs.items()]
        out += [f"  not read: {name_some(self.ignored)}"] if self.ignored else []
        for reason, count in Counter(r.reason for r in self.rejects).most_common(8):
            example = next(r for r in self.rejects if r.reason == reason)
            out.append(f"  could not place {count:,}: {reason} (first: {example.file} line {example.line})")
        return out + [f"  {note}" for note in self.notes]


@dataclass(frozen=True)
class ImportedTaxonomy:
    """A taxonomy as its office publishes it.

    Attributes:
        taxonomy: the tree with titles and descriptions per language.
        texts: further texts about its codes, names first (kinds in ``TITLE_KINDS``).
        report: every row accounted for.
    """

    taxonomy: Taxonomy
    texts: tuple[Text, ...]
    report: ImportReport

    @property
    def alternative_titles(self) -> tuple[Text, ...]:
        """The texts that are names."""
        return tuple(t for t in self.texts if t.kind in TITLE_KINDS)

    @property
    def further_texts(self) -> tuple[Text, ...]:
        """The texts that are not names: tasks, technology, skills, notes, exclusions ..."""
        return tuple(t for t in self.texts if t.kind not in TITLE_KINDS)

    def to_frame(self) -> "pd.DataFrame":
        """All texts as a pandas table with the fields of :class:`Text` as columns."""
        import pandas as pd

        return pd.DataFrame(list(self.texts), columns=list(Text._fields))

    def write(self, directory: str | Path, *, format: str = "csv") -> list[Path]:
        """Write taxonomy.csv, texts.csv.gz (or texts.parquet), rejects.csv and import_report.json.

        Raises:
            ValueError: the format is neither csv nor parquet.
        """
        if format not in ("csv", "parquet"):
            raise ValueError(f"format: got {format!r}, allowed are csv and parquet")
        folder = Path(directory)
        folder.mkdir(parents=True, exist_ok=True)
        check_kept(folder / "taxonomy.csv")
        # an earlier import into the same folder must not be mistaken for a part of this one
        for old in ("texts.csv.gz", "texts.parquet", "rejects.csv"):
            check_kept(folder / old)
            (folder / old).unlink(missing_ok=True)
        paths = [folder / "taxonomy.csv", folder / ("texts.csv.gz" if format == "csv" else "texts.parquet")]
        write_taxonomy_csv(self.taxonomy, paths[0])
        if format == "csv":
            write_rows(paths[1], [Text._fields, *self.texts])
        else:
            with replacing(paths[1]) as part:
                self.to_frame().to_parquet(part, index=False)
        if self.report.rejects:
            paths.append(folder / "rejects.csv")
            write_rows(paths[-1], [Reject._fields, *self.report.rejects])
        paths.append(folder / "import_report.json")
        record = {"name": self.taxonomy.name, "hash": self.taxonomy.hash, **self.report.as_dict()}
        write_text(paths[-1], json.dumps(record, ensure_ascii=False, indent=1) + "\n")
        return paths
