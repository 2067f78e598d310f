"""What a run is about to learn from: sizes, languages, lengths, codes seen, the long tail, conflicting labels."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from hjc.data.jobdata import JobData
from hjc.data.splits import Splits
from hjc.data.splitting import identical_groups

if TYPE_CHECKING:
    from rich.console import Console

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
#: bounds of the long-tail table: 0, 1-9, 10-99, 100 and more training rows
TAIL = (0, 1, 10, 100)
#: where more than this share of the codes has no row, among so many rows at least, titles of hjc are named
MOST, ENOUGH = 0.4, 100


@dataclass(frozen=True)
class DataSummary:
    """Tables about the splits.

    Attributes:
        rows: split, rows, codes (different gold nodes), inner (rows whose gold is an inner node).
        languages, sources: split, the value, rows.
        lengths: split, then characters at the quantiles 5, 25, 50, 75, 95 and 100 %.
        levels: level, codes in the taxonomy, seen in training, share, rows of training determined at that level.
        tail: training rows of a leaf (0, 1-9, 10-99, 100+), leaves, share of training rows.
        conflicts: split, texts that stand more than once, of these with different codes, rows of the latter.
        rejects: reason, rows.
        counts: as in Splits.
        notes: those of Splits, and where many codes of ISCO-08 have no row, what brings them some.
    """

    rows: pd.DataFrame
    languages: pd.DataFrame
    sources: pd.DataFrame
    lengths: pd.DataFrame
    levels: pd.DataFrame
    tail: pd.DataFrame
    conflicts: pd.DataFrame
    rejects: pd.DataFrame
    counts: Mapping[str, int]
    notes: tuple[str, ...]

    def tables(self) -> dict[str, pd.DataFrame]:
        """Title -> table, those that have something to say; of languages and sources a column a split."""
        found = {
            "Rows, codes, and repeated texts": self.rows.merge(self.conflicts, on="split"),
            "Characters a text, by share of rows": self.lengths,
        }
        for title, frame in (("Rows by language", self.languages), ("Rows by source", self.sources)):
            if (name := frame.columns[1]) and frame[name].nunique() > 1:
                wide = frame.pivot(index=name, columns="split", values="rows").fillna(0).astype(int)
                wide = wide[frame["split"].unique()]
                order = wide.sum(axis=1).sort_values(ascending=False, kind="stable").index
                found[title] = wide.loc[order].reset_index()
        found |= {"Codes seen in training": self.levels, "Leaves by their training rows": self.tail}
        return found | ({"Rejected rows": self.rejects} if len(self.rejects) else {})

    def sentences(self) -> list[str]:
        """Rows of each split, codes that training has seen, rows that cannot be used, and the notes."""
        rows = {str(line["split"]): int(line["rows"]) for line in self.rows.to_dict("records")}
        deepest = self.levels.iloc[-1]
        found = [
            f"rows: {', '.join(f'{name} {count:,}' for name, count in rows.items())}",
            f"codes: {int(deepest['seen']):,} of the {int(deepest['codes']):,} finest have training rows",
        ]
        if count := self.counts.get("several_codes"):
            found.append(f"{count:,} rows have several right codes")
        if len(self.rejects):
            some = self.rejects.head(4).to_dict("records")
            reasons = ", ".join(f"{line['reason']} ({line['rows']:,})" for line in some)
            found.append(f"not used: {int(self.rejects['rows'].sum()):,} rows ({reasons}); see rejects.csv")
        return [*found, *(f"note: {note}" for note in self.notes)]

    def print(self, console: "Console | None" = None, limit: int = 12) -> None:
        """Print the tables; of languages, sources and reasons the ``limit`` largest."""
        from rich.console import Console
        from rich.markup import escape

        out = console or Console()
        for title, frame in self.tables().items():
            out.print(_table(title, frame, limit if title.startswith(("Rows by", "Rejected")) else 0))
        done = {k: v for k, v in self.counts.items() if v and not k.startswith("overlap_")}
        out.print(", ".join(f"{key.replace('_', ' ')} {value:,}" for key, value in done.items()), highlight=False)
        for note in self.notes:
            out.print(f"note: {escape(note)}", highlight=False)


def summarise(splits: Splits) -> DataSummary:
    """Tables about the splits of a run; see :class:`DataSummary`."""
    named = {name: data for name, data in splits.named().items() if len(data) or name == "train"}

    def by_split(row: Callable[[JobData], dict[str, Any]]) -> pd.DataFrame:
        return pd.DataFrame([{"split": name, **row(data)} for name, data in named.items()])

    levels = _levels(splits.train)
    notes = tuple(splits.notes)
    without = 1 - float(levels.iloc[-1]["seen"]) / float(levels.iloc[-1]["codes"])
    if without > MOST and len(splits.train) >= ENOUGH and splits.train.taxonomy.name == "isco08":
        notes += (
            f"{without:.0%} of the codes have no training row. Titles that come with hjc can teach them: hjc ready "
            "isco08 -o DIR makes a model of these, and hjc learn DIR FILE -o NEW goes on with your rows",
        )
    reasons = splits.rejects["reason"].astype("str").str.split(":").str[0].value_counts()
    return DataSummary(
        rows=by_split(_sizes),
        languages=_value_counts(named, "language"),
        sources=_value_counts(named, "source"),
        lengths=by_split(_lengths),
        levels=levels,
        tail=_tail(splits.train),
        conflicts=by_split(_conflicts),
        rejects=reasons.rename_axis("reason").reset_index(name="rows"),
        counts=dict(splits.counts),
        notes=notes,
    )


def _sizes(data: JobData) -> dict[str, int]:
    gold = data.labelled().gold
    return {"rows": len(data), "codes": len(np.unique(gold)), "inner": int((~data.taxonomy.is_leaf[gold]).sum())}


def _value_counts(named: Mapping[str, JobData], column: str) -> pd.DataFrame:
    parts = [pd.DataFrame({"split": name, column: getattr(data, column)}) for name, data in named.items()]
    whole = pd.concat(parts, ignore_index=True).replace({column: ""}, "?")
    return whole.groupby(["split", column], sort=False).size().reset_index(name="rows")


def _lengths(data: JobData) -> dict[str, int]:
    sizes = list(map(len, data.texts)) or [0]
    return {f"{q:.0%}": int(value) for q, value in zip(QUANTILES, np.quantile(sizes, QUANTILES), strict=True)}


def _levels(train: JobData) -> pd.DataFrame:
    tree = train.taxonomy
    path = tree.node_path[train.labelled().gold]
    total = [len(tree.level_nodes(level)) for level in range(1, tree.depth + 1)]
    seen = [len(np.unique(nodes[nodes >= 0])) for nodes in path.T]
    frame = pd.DataFrame({"level": np.arange(1, tree.depth + 1), "codes": total, "seen": seen})
    return frame.assign(share=frame["seen"] / frame["codes"], rows=(path >= 0).sum(axis=0))


def _tail(train: JobData) -> pd.DataFrame:
    tree = train.taxonomy
    per_leaf = np.bincount(train.labelled().gold, minlength=len(tree))[tree.leaves]
    band = np.searchsorted(TAIL, per_leaf, side="right") - 1
    rows = np.bincount(band, per_leaf, len(TAIL)) / max(int(per_leaf.sum()), 1)
    names = ["0", *(f"{low}-{high - 1}" for low, high in pairwise(TAIL[1:])), f"{TAIL[-1]}+"]
    return pd.DataFrame(
        {"training rows": names, "leaves": np.bincount(band, minlength=len(TAIL)), "share of rows": rows}
    )


def _conflicts(data: JobData) -> dict[str, int]:
    """Identical texts with different codes: no classifier can get all of them right."""
    if not len(data):
        return {"repeated": 0, "conflicting": 0, "rows of these": 0}
    group = identical_groups(data.texts)
    size = np.bincount(group)
    pairs = np.unique(np.stack([group, data.gold]), axis=1)
    torn = np.bincount(pairs[0], minlength=len(size)) > 1
    return {
        "repeated": int((size > 1).sum()),
        "conflicting": int(torn.sum()),
        "rows of these": int(size[torn].sum()),
    }


def _table(title: str, frame: pd.DataFrame, limit: int = 0):  # type: ignore[no-untyped-def]  # rich is imported late
    from rich.table import Table

    more = len(frame) - limit if limit else 0
    table = Table(title=title, title_justify="left", caption=f"and {more} more" if more > 0 else None)
    for name in frame.columns:
        number = pd.api.types.is_numeric_dtype(frame[name])
        table.add_column(str(name), justify="right" if number else "left")
    for row in (frame.head(limit) if limit else frame).itertuples(index=False):
        table.add_row(*(_cell(value) for value in row))
    return table


def _cell(value: object) -> str:
    if isinstance(value, float | np.floating):
        return f"{value:.1%}"
    return f"{value:,}" if isinstance(value, int | np.integer) else str(value).replace("[", r"\[")
