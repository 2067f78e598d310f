"""The plots of this study, from results.csv (and the row scores of the runs for reliability)."""

import numpy as np
import pandas as pd

from hjc.report.plots import look, new_figure, plot_style, png, reliability_before_after
from hjc.report.tables import reliability


def draw(table, scores, folder):
    """back_off.png, coverage_by_language.png, reliability_NAME.png."""
    with plot_style():
        for name, figure in {"back_off": back_off(table), "coverage_by_language": by_language(table)}.items():
            if figure is not None:
                (folder / f"{name}.png").write_bytes(png(figure))
        for name in scores:
            levels = {k: [reliability(s, d + 1) for d in range(s.depth)] for k, s in scores[name].items()}
            part = table[(table.data == name) & (table.table == "levels") & (table.fitted_on == "validation rows")]
            ece = {(k, int(d)): float(e) for k, d, e in part[["probabilities", "level", "ece"]].itertuples(index=False)}
            (folder / f"reliability_{name}.png").write_bytes(png(reliability_before_after(levels, ece)))


def back_off(table):
    """Share of right codes against the depth of the codes as a share of the tree's, a line a data set."""
    part = table[(table.rule == "back-off") & (table.probabilities == "calibrated") & (table.right != "")]
    part = part[part.fitted_on == "validation rows"]
    figure = new_figure(3.6)
    axes = figure.subplots(1, 2, sharey=True)
    depth = table[table.table == "levels"].groupby("data")["level"].apply(lambda d: d.astype(int).max())
    for i, name in enumerate(dict.fromkeys(part.data)):
        lines = part[part.data == name].astype({"right": float, "mean_level": float, "coded": float})
        ink, sign = look(i)
        how = {"color": ink, "marker": sign, "label": name, "linewidth": 1.1}
        axes[0].plot(lines.mean_level / depth[name], lines.right, **how)
        axes[1].plot(lines.coded, lines.right, **how)
    labels = ("mean level of the codes / depth of the tree", "share of rows coded")
    for panel, label in zip(axes, labels, strict=True):
        panel.set_xlabel(label)
        panel.yaxis.set_major_formatter(lambda y, _: f"{100 * y:.0f}" + (" %" if y > 0.999 else ""))
        panel.xaxis.set_major_formatter(lambda x, _: f"{100 * x:.0f} %")
    axes[0].set_ylabel("share of the codes that is right")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=3)
    return figure


def by_language(table):
    """Coverage of the 90 % sets of the deepest level by language: one threshold for all against one a language."""
    part = table[(table.data == "titles_24") & (table.slice != "") & (table.probabilities == "calibrated")]
    part = part[part.fitted_on == "half of the test titles"]
    rules = {"conformal set": "one threshold for all languages", "conformal set by language": "one for each"}
    part = part[part.rule.isin(list(rules))]
    if not len(part):
        return None
    part = part.astype({"right": float, "right_low": float, "right_high": float, "rows": int})
    first = part[part.rule == "conformal set"].sort_values("right")
    where = {name: i for i, name in enumerate(first.slice)}
    figure = new_figure(1.2 + 0.19 * len(where))
    axes = figure.subplots()
    for i, (rule, label) in enumerate(rules.items()):
        lines = part[(part.rule == rule) & part.slice.isin(list(where))]
        y = lines.slice.map(where).to_numpy() + (0.14 if i else -0.14)
        error = np.abs(lines[["right_low", "right_high"]].to_numpy().T - lines.right.to_numpy())
        axes.errorbar(lines.right, y, xerr=error, fmt=look(i)[1], color=look(1 - i)[0], label=label, elinewidth=1)
    axes.axvline(0.9, linestyle=":", color="#666666")
    rows = first.set_index("slice").rows
    axes.set_yticks(list(where.values()), [f"{name} ({rows[name]})" for name in where])
    axes.set_ylim(-0.7, len(where) - 0.3)
    axes.xaxis.set_major_formatter(lambda x, _: f"{100 * x:.0f} %")
    axes.set_xlabel("share of rows whose set holds the true code; 90 % promised")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside upper center", ncols=2)
    return figure


if __name__ == "__main__":
    from pathlib import Path

    here = Path(__file__).parent
    draw(pd.read_csv(here / "results.csv", keep_default_na=False), {}, here)
