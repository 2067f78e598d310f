"""What a data set holds, as tables and a plot that can stand in a report: the paper's Tables 7 to 10 and Figure 2.

A set is named rows of JobData: ``{"train": ..., "test": ...}``, or one set of any name.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from hjc.arrays import IntArray
from hjc.corpus.copying import write_tables
from hjc.corpus.sampling import count_words
from hjc.data.jobdata import JobData
from hjc.files import write_json
from hjc.taxonomy.tree import Taxonomy

if TYPE_CHECKING:
    from matplotlib.figure import Figure

UNKNOWN = "(none)"


@dataclass(frozen=True)
class Manifest:
    """Tables of a data set.

    Attributes:
        by_source: split, source, rows, labelled, codes (distinct gold codes): the paper's Table 9.
        by_code: split, source, code, title, level, rows.
        by_language: split, language, rows, share: the paper's Table 10.
        by_level: split, level, codes_in_taxonomy, codes_present, share, rows (whose code is determined there).
        coverage: group (a code of level 1), title, leaves, then for each source the percentage of the group's leaves
            that occur in it, All, Cases (rows of all sources); the last line N has rows by source: the paper's
            Table 7.
        words: source, group, min, q1, median, mean, q3, max, rows: words a text, the paper's Tables 8 and 18.
        long_tail: rank, code, title, rows of each leaf, most frequent first; leaves without rows last.
        absent: leaves that no row has, by group of level 1: group, code, title.
        facts: hash of each split, taxonomy name and hash, sources left out of coverage.
    """

    by_source: pd.DataFrame
    by_code: pd.DataFrame
    by_language: pd.DataFrame
    by_level: pd.DataFrame
    coverage: pd.DataFrame
    words: pd.DataFrame
    long_tail: pd.DataFrame
    absent: pd.DataFrame
    facts: dict[str, Any] = field(default_factory=dict)

    TABLES = ("by_source", "by_code", "by_language", "by_level", "coverage", "words", "long_tail", "absent")

    def write(self, directory: Path | str, *, plot: bool = True) -> list[Path]:
        """Write ``manifest.json`` (facts and row counts), a CSV for each table and ``long_tail.png``."""
        folder = Path(directory)
        written = write_tables(folder, {name: getattr(self, name) for name in self.TABLES})
        if plot:
            path = folder / "long_tail.png"
            figure = plot_long_tail(self.long_tail)
            figure.savefig(path, dpi=150)
            written.append(path)
        path = folder / "manifest.json"
        write_json(path, self.facts)
        return [*written, path]


def manifest(splits: Mapping[str, JobData], *, exclude: Collection[str] = ()) -> Manifest:
    """All tables of the named sets, which must lie on one taxonomy.

    Args:
        splits: name -> rows.
        exclude: sources without a column in coverage that do not count in its column All, and are left out of nothing
            else: in the paper's Table 7 the coverage is without the official dictionary, Cases has its rows.

    Raises:
        ValueError: no set, sets on different taxonomies, or a source of ``exclude`` that does not occur.
    """
    if not splits:
        raise ValueError("manifest: got no data, at least one set is needed")
    taxonomy = next(iter(splits.values())).taxonomy
    if any(data.taxonomy != taxonomy for data in splits.values()):
        raise ValueError("manifest: the sets lie on different taxonomies")
    rows = pd.concat(
        [
            pd.DataFrame(
                {
                    "split": name,
                    "source": [s or UNKNOWN for s in data.source],
                    "language": [x or UNKNOWN for x in data.language],
                    "node": data.gold,
                    "words": count_words(data.texts),
                }
            )
            for name, data in splits.items()
        ],
        ignore_index=True,
    )
    if unknown := sorted(set(exclude) - set(rows["source"])):
        raise ValueError(f"exclude: no row is of source {unknown[0]!r}; sources are {sorted(set(rows['source']))[:20]}")
    order = list(splits)
    labelled = rows[rows["node"] >= 0]
    leaf_rows = _leaf_counts(taxonomy, labelled["node"].to_numpy())
    facts = {
        "taxonomy": {"name": taxonomy.name, "hash": taxonomy.hash, "leaves": taxonomy.num_leaves},
        "splits": {
            name: {"rows": len(data), "labelled": int(data.is_labelled.sum()), "hash": data.hash}
            for name, data in splits.items()
        },
        "leaves_without_rows": int((leaf_rows == 0).sum()),
        "rows_at_inner_codes": int((~taxonomy.is_leaf[labelled["node"].to_numpy()]).sum()),
        "left_out_of_coverage": sorted(exclude),
    }
    return Manifest(
        by_source=_by_source(rows, order),
        by_code=_by_code(taxonomy, labelled, order),
        by_language=_by_language(rows, order),
        by_level=_by_level(taxonomy, labelled, order),
        coverage=coverage(taxonomy, labelled["node"].to_numpy(), labelled["source"].to_numpy(), exclude=exclude),
        words=_words(taxonomy, labelled),
        long_tail=_long_tail(taxonomy, leaf_rows),
        absent=_absent(taxonomy, leaf_rows),
        facts=facts,
    )


def coverage(
    taxonomy: Taxonomy, nodes: IntArray, sources: "np.ndarray[Any, Any]", *, exclude: Collection[str] = ()
) -> pd.DataFrame:
    """The percentage of leaves of each group of level 1 that occur in each source (the paper's Table 7).

    A row coded to an inner node covers no leaf; it counts in Cases. So do the rows of excluded sources, as in the paper
    (its sources add up to 191,675 rows, its Cases to 200,875, which has the 9,200 of the official dictionary).

    Returns:
        One line a group and a last line N with the rows of each source.
    """
    groups = taxonomy.level_nodes(1)
    group_of = taxonomy.node_path[:, 0]
    leaves = taxonomy.leaves
    size = np.array([(group_of[leaves] == g).sum() for g in groups])
    names = [s for s in sorted(set(sources.tolist())) if s not in exclude]
    included = ~np.isin(sources, list(exclude))
    table: dict[str, Any] = {
        "group": [taxonomy.codes[g] for g in groups] + ["N"],
        "title": [taxonomy.title(int(g)) for g in groups] + [""],
        "leaves": [*size.tolist(), int(size.sum())],
    }
    for name, mask in [*((name, sources == name) for name in names), ("All", included)]:
        seen = np.unique(nodes[mask & taxonomy.is_leaf[nodes]])
        share = [100 * (group_of[seen] == g).sum() / n for g, n in zip(groups, size, strict=True)]
        table[name if name not in table else f"{name} (source)"] = [*(round(float(s), 1) for s in share), mask.sum()]
    table["Cases"] = [*((group_of[nodes] == g).sum() for g in groups), len(nodes)]
    return pd.DataFrame(table)


def plot_long_tail(long_tail: pd.DataFrame) -> "Figure":
    """The paper's Figure 2: rows of each leaf that has any, by rank, on a logarithmic scale."""
    from matplotlib.figure import Figure

    counts = long_tail["rows"].to_numpy()
    present = counts[counts > 0]
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.subplots()
    axes.plot(np.arange(1, len(present) + 1), present, drawstyle="steps-mid", linewidth=1.5)
    axes.set_yscale("log")
    axes.set_xlim(0, max(1, len(counts)))
    for bound in (10, 100):
        number = int((present >= bound).sum())
        axes.axhline(bound, color="0.6", linewidth=0.8, linestyle="--")
        axes.text(len(counts), bound * 1.08, f"{number:,} codes with {bound} rows or more", ha="right", fontsize=8)
    axes.set_xlabel(f"Rank of the code ({len(present):,} of {len(counts):,} codes have rows)")
    axes.set_ylabel("Rows")
    axes.grid(alpha=0.25)
    return figure


# ---------------------------------------------------------------------------------------------- the tables


def _leaf_counts(taxonomy: Taxonomy, nodes: IntArray) -> IntArray:
    """(L,) rows whose code is the leaf itself."""
    return np.bincount(nodes, minlength=len(taxonomy))[taxonomy.leaves].astype(np.int64)


def _sorted(frame: pd.DataFrame, order: list[str]) -> pd.DataFrame:
    place = {name: i for i, name in enumerate(order)}
    return frame.sort_values("split", key=lambda s: s.map(place), kind="stable").reset_index(drop=True)


def _by_source(rows: pd.DataFrame, order: list[str]) -> pd.DataFrame:
    parts = [
        part.groupby(["split", "source"], sort=True)["node"]
        .agg(rows="size", labelled=lambda x: int((x >= 0).sum()), codes=lambda x: int(x[x >= 0].nunique()))
        .reset_index()
        for part in (rows, rows.assign(source="All"))
    ]
    return _sorted(pd.concat(parts, ignore_index=True), order)


def _by_code(taxonomy: Taxonomy, rows: pd.DataFrame, order: list[str]) -> pd.DataFrame:
    out = rows.groupby(["split", "source", "node"], sort=True).size().rename("rows").reset_index()
    node = out["node"].to_numpy()
    out.insert(2, "code", [taxonomy.codes[i] for i in node])
    out.insert(3, "title", [taxonomy.title(int(i)) for i in node])
    out.insert(4, "level", taxonomy.level[node])
    return _sorted(out.sort_values(["split", "source", "code"], kind="stable").drop(columns="node"), order)


def _by_language(rows: pd.DataFrame, order: list[str]) -> pd.DataFrame:
    out = rows.groupby(["split", "language"], sort=True).size().rename("rows").reset_index()
    out["share"] = out["rows"] / out.groupby("split")["rows"].transform("sum")
    return _sorted(out, order)


def _by_level(taxonomy: Taxonomy, rows: pd.DataFrame, order: list[str]) -> pd.DataFrame:
    out = []
    for name in order:
        path = taxonomy.node_path[rows.loc[rows["split"] == name, "node"].to_numpy()]
        for level in range(1, taxonomy.depth + 1):
            at = path[:, level - 1]
            total, present = len(taxonomy.level_nodes(level)), len(np.unique(at[at >= 0]))
            out.append((name, level, total, present, present / total, int((at >= 0).sum())))
    return pd.DataFrame(out, columns=["split", "level", "codes_in_taxonomy", "codes_present", "share", "rows"])


def _words(taxonomy: Taxonomy, rows: pd.DataFrame) -> pd.DataFrame:
    group = [taxonomy.codes[i] for i in taxonomy.node_path[rows["node"].to_numpy(), 0]]
    frame = rows.assign(group=group)
    parts = [frame, frame.assign(group="All"), frame.assign(source="All"), frame.assign(source="All", group="All")]
    out = (
        pd.concat(parts, ignore_index=True)
        .groupby(["source", "group"], sort=True)["words"]
        .agg(
            min="min",
            q1=lambda x: x.quantile(0.25),
            median="median",
            mean="mean",
            q3=lambda x: x.quantile(0.75),
            max="max",
            rows="size",
        )
    )
    return out.reset_index()


def _long_tail(taxonomy: Taxonomy, counts: IntArray) -> pd.DataFrame:
    order = np.lexsort((np.arange(len(counts)), -counts))
    return pd.DataFrame(
        {
            "rank": np.arange(1, len(counts) + 1),
            "code": [taxonomy.leaf_codes[i] for i in order],
            "title": [taxonomy.title(int(taxonomy.leaves[i])) for i in order],
            "rows": counts[order],
        }
    )


def _absent(taxonomy: Taxonomy, counts: IntArray) -> pd.DataFrame:
    nodes = taxonomy.leaves[counts == 0]
    return pd.DataFrame(
        {
            "group": [taxonomy.codes[i] for i in taxonomy.node_path[nodes, 0]],
            "code": [taxonomy.codes[i] for i in nodes],
            "title": [taxonomy.title(int(i)) for i in nodes],
        }
    )
