"""Estimated shares as pictures and pages: what is drawn is what the table says, and what is not drawn is said."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from hjc.report.plots import plot_style
from hjc.report.shares import MOST_CODES, SHOWN, domains, draw_shares, drawn_level, read_shares, shares_figure


def shares(regions: int = 0, codes: int = 5, seed: int = 0) -> pd.DataFrame:
    """A table as hjc estimate writes it."""
    rng = np.random.default_rng(seed)
    parts = []
    for region in range(max(regions, 1)):
        for level, n in ((1, min(codes, 3)), (2, codes)):
            share = rng.dirichlet(np.ones(n))
            part = pd.DataFrame({
                "level": level, "code": [f"{level}{i:02d}" for i in range(n)],
                "title": [f"<b>title {i}" for i in range(n)],
                "share": share, "se": 0.01, "low": share - 0.02, "high": share + 0.02, "count": 100 * share,
                "rows": 100 + region, "method": "summed", "flag": ["few rows" if i == 0 else "" for i in range(n)],
            })  # fmt: skip
            if regions:
                part.insert(0, "region", f"r{region}")
            parts.append(part)
    return pd.concat(parts, ignore_index=True)


def points(table: pd.DataFrame, level: int, earlier: pd.DataFrame | None = None) -> dict[str, list[float]]:
    """Label of the legend -> the drawn values."""
    with plot_style():
        figure = shares_figure([("", table)], level, earlier)
    found = {}
    for container in figure.axes[0].containers:
        found[container.get_label()] = [float(x) for x in container.lines[0].get_xdata()]
    return found


def test_what_is_drawn_is_what_the_table_says() -> None:
    now, before = shares(), shares(seed=1)
    at = now[now["level"] == 2]
    found = points(now, 2, before)
    assert found["flagged"] == at.loc[at["flag"] != "", "share"].tolist()
    assert sorted(found["now"]) == sorted(at.loc[at["flag"] == "", "share"])
    order = at.sort_values("share", ascending=False)["code"]
    wanted = before[before["level"] == 2].set_index("code").loc[order, "share"]
    assert found["earlier"] == wanted.tolist()


def test_changes_are_drawn_around_zero() -> None:
    table = shares().drop(columns=["share", "count", "rows"])
    table[["share_old", "share_new", "change"]] = 0.1, 0.2, 0.1
    table["significant"] = table["code"].str.endswith("1")
    found = points(table, 2)
    assert len(found["beyond chance"]) == 1 and len(found["within chance"]) == 4


def test_the_level_that_fits_and_the_domains_by_size() -> None:
    assert drawn_level(shares()) == 2 and drawn_level(shares(codes=MOST_CODES + 1)) == 1
    names = [name for name, _ in domains(shares(regions=3))]
    assert names == ["region r2", "region r1", "region r0"]


@pytest.mark.slow
def test_files(tmp_path: Path) -> None:
    now, last = shares(regions=6, codes=SHOWN + 5), tmp_path / "last.csv"
    shares(regions=6, codes=SHOWN + 5, seed=1).to_csv(last, index=False)
    before = read_shares(last)
    for ending, start in ((".png", b"\x89PNG"), (".svg", b"<?xml"), (".pdf", b"%PDF")):
        said = draw_shares(tmp_path / f"now{ending}", now, before)
        assert (tmp_path / f"now{ending}").read_bytes().startswith(start)
        assert "of 6 domains 4 are drawn" in said[0] and f"the {SHOWN} largest" in said[1]
    assert draw_shares(tmp_path / "now.html", now, before, title="<i>Ads") == []
    page = (tmp_path / "now.html").read_text("utf-8")
    assert (
        page.count("<img ") == 12 and "&lt;b&gt;title 1" in page and "<b>title" not in page and "&lt;i&gt;Ads" in page
    )
    assert (
        "http:" not in page
        and "https:" not in page
        and "earlier %" in page
        and "region r5" in page
        and page.count("<script>") == 1
    )


@pytest.mark.parametrize(
    ("name", "earlier", "error", "said"),
    [
        ("x.jpg", None, ValueError, "allowed are .png, .svg, .pdf, .html"),
        ("nowhere/x.png", None, FileNotFoundError, "no folder"),
        ("x.png", "code,share\n1,2\n", ValueError, "it has no column 'level'"),
        ("x.png", "level,code,title,share\n1,zz,z,0.5\n", ValueError, "another classification"),
    ],
)
def test_what_cannot_be_drawn_says_why(tmp_path: Path, name: str, earlier: str | None, error: type, said: str) -> None:
    (tmp_path / "last.csv").write_text(earlier or "")
    with pytest.raises(error, match=said):
        draw_shares(tmp_path / name, shares(), read_shares(tmp_path / "last.csv") if earlier else None)


def test_estimate_draws(call, tmp_path: Path) -> None:
    from hjc.classifiers.linear import LinearClassifier
    from hjc.taxonomy import from_edges

    tree = from_edges(["1", "2", "11", "21"], [None, None, "1", "2"])
    model = LinearClassifier(tree, min_df=1).fit(
        ["nurse", "nurse b", "driver", "driver b"], codes=["11", "11", "21", "21"]
    )
    model.save_pretrained(tmp_path / "run")
    pd.DataFrame({"text": ["nurse"] * 30 + ["driver"] * 10}).to_csv(tmp_path / "ads.csv", index=False)
    given = ("estimate", tmp_path / "ads.csv", "--run", tmp_path / "run", "-t", "text", "--overwrite")
    code, _, err = call(*given, "-o", tmp_path / "last.csv")
    assert not code, err
    code, _, err = call(*given, "-o", tmp_path / "now.csv", "--figure", tmp_path / "a.png", "--figure",
                        tmp_path / "a.html", "--against", tmp_path / "last.csv")  # fmt: skip
    assert not code and (tmp_path / "a.png").exists() and "earlier" in (tmp_path / "a.html").read_text("utf-8"), err
    for wrong, said in ((("--against", tmp_path / "last.csv"), "belongs to --figure"),
                        (("--figure", tmp_path / "a.gif"), "allowed are"),
                        (("--figure", tmp_path / "a.png", "--against", tmp_path / "no.csv"), "no.csv")):  # fmt: skip
        code, out, err = call(*given, *wrong)
        assert code == 2 and said in err and not out
    assert call(*given[:-1], "--figure", tmp_path / "a.png")[0] == 2  # it is there already
