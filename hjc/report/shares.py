"""Estimated shares as a picture and as a page, beside those of an earlier period where there are any.

The tables are those of ``hjc estimate``: columns of domains, then ``level, code, title, share, se, low, high ...``, or
with ``--change`` ``share_old, share_new, change, low, high, significant``.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, PercentFormatter

from hjc.errors import check_choice, name_some
from hjc.files import write_bytes, write_text
from hjc.report import plots
from hjc.report.page import Section, render
from hjc.report.text import printable, shorten
from hjc.tables import read_table

FORMATS = (".png", ".svg", ".pdf", ".html")
#: a picture shows the deepest level with at most so many codes, and of them those with the largest shares
MOST_CODES, SHOWN = 45, 25
#: panels of a picture, domains of a page
PANELS, DOMAINS = 4, 20
_HOW_TO_READ = (
    "Bars and brackets are the intervals of the table. Where an earlier period stands beside, intervals that overlap "
    "do not say that nothing changed: hjc estimate --change gives each change its own interval."
)


def draw_shares(
    path: str | Path,
    table: pd.DataFrame,
    earlier: pd.DataFrame | None = None,
    title: str = "",
    notes: Sequence[str] = (),
) -> list[str]:
    """Write a picture (.png, .svg, .pdf) or a page (.html) of a table of shares or of changes.

    Args:
        earlier: shares of an earlier period, drawn beside; see :func:`read_shares`.
        notes: sentences about the rows behind the shares, which a page begins with.

    Returns:
        Sentences on what is not drawn.

    Raises:
        ValueError: another ending, a table without shares, or no code in common with ``earlier``.
    """
    path = Path(path)
    check_path(path, overwrite=True)
    if not len(table):
        raise ValueError("there are no shares to draw: the table has no rows")
    if earlier is not None and not set(table["code"]) & set(earlier["code"]):
        raise ValueError("--against: no code of the earlier table is in this one; is it of another classification?")
    parts = domains(table)
    if path.suffix.lower() == ".html":
        write_text(path, _page(parts, earlier, title or "Shares", notes))
        return [f"{path}: of {len(parts)} domains {DOMAINS} are shown"] if len(parts) > DOMAINS else []
    level = drawn_level(table)
    with plots.plot_style():
        figure = shares_figure(parts[:PANELS], level, earlier)
        if path.suffix.lower() == ".png":
            write_bytes(path, plots.png(figure))
        else:
            figure.savefig(path, metadata={"Date": None} if path.suffix.lower() == ".svg" else None)
    said = [f"{path}: level {level}, of {len(parts)} domains {PANELS} are drawn"] if len(parts) > PANELS else []
    codes = table.loc[table["level"] == level, "code"].nunique()
    return said + ([f"{path}: the {SHOWN} largest of {codes} codes are drawn"] if codes > SHOWN else [])


def check_path(path: str | Path, overwrite: bool = False) -> None:
    """Raise ValueError for an ending that is not drawn, FileExistsError where a file would be replaced."""
    check_choice("--figure: the ending", Path(path).suffix.lower(), FORMATS)
    if not overwrite and Path(path).exists():
        raise FileExistsError(f"{path} exists; give another name, or --overwrite")
    if not Path(path).parent.is_dir():
        raise FileNotFoundError(f"{path}: there is no folder {Path(path).parent}")


def read_shares(path: str | Path) -> pd.DataFrame:
    """An earlier table of ``hjc estimate``.

    Raises:
        FileNotFoundError, ValueError: no such file, or it has no level, code and share.
    """
    table = read_table(path)
    if absent := [name for name in ("level", "code", "share") if name not in table.columns]:
        raise ValueError(f"{path}: no table of hjc estimate: it has no column {name_some(absent)}")
    for name in ("level", "share", "low", "high"):
        table[name] = pd.to_numeric(table[name], errors="coerce") if name in table.columns else np.nan
    return table


def by_columns(table: pd.DataFrame) -> list[str]:
    """The columns of the domains: those before the level."""
    return [str(name) for name in table.columns[: list(table.columns).index("level")]]


def domains(table: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """(name, lines) of every domain, those with the most rows first; one nameless domain without columns of them."""
    names = by_columns(table)
    if not names:
        return [("", table)]
    found = [
        (", ".join(f"{column} {value}" for column, value in zip(names, key, strict=True)), lines)
        for key, lines in table.groupby(names, sort=False)
    ]
    rows = "rows" if "rows" in table.columns else "rows_new" if "rows_new" in table.columns else None
    return sorted(found, key=lambda part: -float(part[1][rows].max())) if rows else found


def drawn_level(table: pd.DataFrame) -> int:
    """The deepest level whose codes fit into a picture."""
    sizes = table.groupby("level")["code"].nunique()
    fitting = [level for level, n in zip(sizes.index.tolist(), sizes.tolist(), strict=True) if n <= MOST_CODES]
    return max(fitting, default=int(sizes.index.min()))


def _earlier(table: pd.DataFrame, earlier: pd.DataFrame | None) -> pd.DataFrame:
    """Share, low and high of the earlier period beside each line; NaN where it has none."""
    beside = pd.DataFrame({"share": np.nan, "low": np.nan, "high": np.nan}, index=table.index)
    if earlier is None:
        return beside
    keys = [name for name in by_columns(table) if name in earlier.columns] + ["level", "code"]
    known = earlier.drop_duplicates(keys).astype({name: str for name in keys if name != "level"})
    wanted = table[keys].astype({name: str for name in keys if name != "level"})
    found = wanted.merge(known[[*keys, "share", "low", "high"]], on=keys, how="left")
    return found[["share", "low", "high"]].set_index(table.index)


def shares_figure(parts: Sequence[tuple[str, pd.DataFrame]], level: int, earlier: pd.DataFrame | None = None) -> Figure:
    """Shares of a level with their intervals, the largest first, a panel a domain; hollow: those of an earlier period.

    Of a table of changes the changes, with a line at 0.
    """
    drawn = [(name, _largest(lines[lines["level"] == level])) for name, lines in parts]
    heights = [max(1.0, 0.24 * len(lines) + 0.55) for _, lines in drawn]
    figure = plots.new_figure(sum(heights) + 0.5)
    grid = figure.subplots(len(drawn), 1, squeeze=False, gridspec_kw={"height_ratios": heights})[:, 0]
    for axes, (name, lines) in zip(grid, drawn, strict=True):
        _panel(axes, lines, _earlier(lines, earlier))
        axes.set_title(shorten(printable(name), 80), loc="left")
        if "change" in lines.columns:
            axes.set_xlabel("change of the share, percentage points")
            axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{100 * x:+.3g}"))
        else:
            axes.set_xlabel("share, with its interval")
            axes.xaxis.set_major_formatter(PercentFormatter(xmax=1))
    told = [axes for axes in grid if axes.get_legend_handles_labels()[0]]
    if {label for axes in told for label in axes.get_legend_handles_labels()[1]} - {"now"}:  # "now" alone says nothing
        plots.legend_above(figure, max(told, key=lambda axes: len(axes.get_legend_handles_labels()[0])))
    return figure


def _largest(lines: pd.DataFrame) -> pd.DataFrame:
    size = lines["change"].abs() if "change" in lines.columns else lines["share"]
    return lines.assign(size=size).sort_values("size", ascending=False, kind="stable").head(SHOWN)


def _panel(axes: Any, lines: pd.DataFrame, before: pd.DataFrame) -> None:
    changes = "change" in lines.columns
    value = lines["change" if changes else "share"].to_numpy(dtype=float)
    y = np.arange(len(lines))
    old = before["share"].to_numpy(dtype=float)
    compared = bool(np.isfinite(old).any())
    if compared:
        _bars(axes, old, before, y + 0.2, {"color": plots.GREY, "mfc": "white"}, "earlier")
    strong = lines["significant"].astype(str).isin(("True", "true")) if changes else lines["flag"].fillna("").eq("")
    for keep, colour, label in ((strong, plots.COLOURS[0], "now"), (~strong, plots.COLOURS[1], "flagged")):
        at = np.flatnonzero(keep.to_numpy())
        if len(at):
            if changes:
                label = "beyond chance" if colour == plots.COLOURS[0] else "within chance"
            shift = -0.15 if compared else 0.0
            _bars(axes, value[at], lines.iloc[at], y[at] + shift, {"color": colour}, label)
    titles = [
        shorten(printable(f"{code} {title}"), 48) for code, title in zip(lines["code"], lines["title"], strict=True)
    ]
    axes.set_yticks(y, titles)
    axes.set_ylim(len(lines) - 0.4, -0.6)
    if changes:
        axes.axvline(0, color="black", linewidth=0.8)


def _bars(axes: Any, value: Any, lines: pd.DataFrame, y: Any, look: dict[str, Any], label: str) -> None:
    low, high = (lines[name].to_numpy(dtype=float) for name in ("low", "high"))
    spread = np.abs(np.vstack([value - low, high - value]))
    axes.errorbar(value, y, xerr=np.nan_to_num(spread), fmt="o", capsize=2, label=label, **look)


# ---------------------------------------------------------------------- the page


def _page(parts: list[tuple[str, pd.DataFrame]], earlier: pd.DataFrame | None, title: str, notes: Sequence[str]) -> str:
    levels = sorted(parts[0][1]["level"].unique().tolist())
    sections = []
    with plots.plot_style():
        for level in levels:
            shown = list(_of_level(parts[:DOMAINS], level, earlier))
            values = {
                "parts": shown,
                "changes": "change" in parts[0][1].columns,
                "compared": earlier is not None,
                "notes": notes if level == levels[0] else (),
            }
            sections.append(Section(f"Level {level}", "shares.html.j2", values, fold=level != levels[0]))
    return render(
        title,
        sections,
        subtitle=_HOW_TO_READ,
    )


def _of_level(
    parts: Sequence[tuple[str, pd.DataFrame]], level: int, earlier: pd.DataFrame | None
) -> Iterator[dict[str, Any]]:
    for name, lines in parts:
        at = lines[lines["level"] == level]
        before = _earlier(at, earlier)
        rows = [{**line, "old": old} for line, old in zip(at.to_dict("records"), before["share"].tolist(), strict=True)]
        key = "change" if "change" in at.columns else "share"
        rows.sort(key=lambda row: -abs(row[key]) if row[key] == row[key] else 0)
        yield {
            "name": name,
            "image": plots.address(plots.png(shares_figure([(name, lines)], level, earlier))),
            "rows": rows,
        }
