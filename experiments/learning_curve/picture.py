"""results.csv as a picture (docs/images/how_many_ads.png) and as the tables of docs/how-many-ads.md.

Of the Polish ads it prints 4 digits; the page has 6 digits beside them.

python experiments/learning_curve/picture.py
"""

import sys
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from common import ROOT
from matplotlib.ticker import FixedLocator, FuncFormatter

from hjc.report.plots import GREY, look, new_figure, plot_style

RESULTS = Path(__file__).resolve().parent / "results.csv"
FIGURE = ROOT / "docs" / "images" / "how_many_ads.png"
#: study -> its name, and the level that is shown
SHOWN: Mapping[str, tuple[str, int]] = {
    "usajobs": ("Federal vacancies, 669 series", 3),
    "kzis ads": ("Polish ads, 4 digits", 4),
    "titles": ("German and Polish titles, 436 groups", 4),
}
#: ads that a coder codes in an hour
AN_HOUR = 60
PANELS = {"recall@1": "Right, %", "automation@0.9": "Coded without a look, 90 % of them right, %"}


def shown() -> pd.DataFrame:
    """A line for each study, order and size: value, low and high of each figure at the level that is shown."""
    table = pd.read_csv(RESULTS)
    parts = [table[(table["study"] == study) & (table["level"] == level)] for study, (_, level) in SHOWN.items()]
    found = pd.concat(parts).drop_duplicates(["study", "drawn", "coded", "metric"], keep="last")
    return found.pivot(index=["study", "drawn", "coded"], columns="metric", values=["value", "low", "high"])


def picture(table: pd.DataFrame) -> None:
    with plot_style():
        figure = new_figure(3.4)
        for axes, (metric, label) in zip(figure.subplots(1, 2), PANELS.items(), strict=True):
            for i, (study, (name, _)) in enumerate(SHOWN.items()):
                if study not in table.index.get_level_values("study"):
                    continue
                colour, marker = look(i)
                of = table.loc[study]
                start = of.loc[["none"]]
                for order, style in (("random", "-"), ("review", ":")):
                    lines = pd.concat([start, of[of.index.get_level_values("drawn") == order]])
                    size = lines.index.get_level_values("coded").to_numpy()
                    value, low, high = (100 * lines[kind, metric].to_numpy() for kind in ("value", "low", "high"))
                    axes.plot(
                        size, value, style, color=colour, marker=marker, label=name if order == "random" else None
                    )
                    if order == "random":
                        axes.fill_between(size, low, high, color=colour, alpha=0.15, linewidth=0)
            axes.set_xscale("symlog", linthresh=100, linscale=0.5)
            axes.xaxis.set_major_locator(FixedLocator([0, 100, 300, 1000, 3000]))
            axes.xaxis.set_major_formatter(FuncFormatter(lambda n, _: f"{n:,.0f}\n{n / AN_HOUR:,.0f} h"))
            axes.set_ylim(0, 100)
            axes.set_title(label)
            axes.set_xlabel(f"coded ads, and hours at {AN_HOUR} an hour")
        figure.axes[0].legend(loc="lower right")
        figure.axes[1].text(
            0.98, 0.03, "dotted: drawn by hjc review", transform=figure.axes[1].transAxes, ha="right", color=GREY
        )
        figure.savefig(FIGURE)
    print(FIGURE)


def written(table: pd.DataFrame) -> None:
    """The tables as docs/how-many-ads.md has them, in Markdown."""
    for study, (name, _) in SHOWN.items():
        if study not in table.index.get_level_values("study"):
            continue
        print(
            f"\n{name}\n\n| coded ads | hours | right, % | log-loss | ECE | automatic, % |\n|---|---|---|---|---|---|"
        )
        of = table.loc[study].reset_index().sort_values(["coded", "drawn"])
        for line in of.to_dict("records"):
            n, drawn = line["coded", ""], line["drawn", ""]
            how = {"none": "", "random": " at random", "review": " by `hjc review`"}[drawn]
            if n == of["coded"].max():
                how = ", all"
            right, automatic = (
                "{:.{d}f} ({:.{d}f}-{:.{d}f})".format(*(100 * line[k, m] for k in ("value", "low", "high")), d=digits)
                for m, digits in zip(PANELS, (1, 0), strict=True)
            )
            loss, ece = f"{line['value', 'log_loss']:.2f}", f"{line['value', 'ece']:.2f}".removeprefix("0")
            print(f"| {n:,}{how} | {n / AN_HOUR:.0f} | {right} | {loss} | {ece} | {automatic} |")


if __name__ == "__main__":
    found = shown()
    picture(found)
    written(found)
