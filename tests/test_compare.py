"""hjc compare: which rows are the same, the differences and their intervals, and the tables in every format."""

import json
import math
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from rich.console import Console

from hjc.cli import app
from hjc.data.jobdata import JobData
from hjc.metrics import Resamples, RowScores, level_metrics, replicate_metrics, score_rows
from hjc.metrics.bootstrap import percentile_interval
from hjc.report.compare_tables import Compared, terminal, write_comparison
from hjc.report.comparison import COLUMNS, COMPARED, Comparison, compare_runs, holm_adjusted
from hjc.report.pairing import DifferentRowsError, _what_differs, align, common_sets, find_runs
from hjc.report.scores import StoredScores, write_training_counts
from hjc.report.tables import METRIC_COLUMNS
from hjc.report.text import tex
from hjc.taxonomy import from_prefix_codes
from hjc.training.config import compose
from hjc.training.workflow import run_training
from tests.strategies import random_log_proba

TREE = from_prefix_codes(["111", "112", "121", "122", "123", "211", "221", "222", "223"], [1, 2, 3], name="nine")
N = 240


def rows(n: int = N, seed: int = 0, **columns: Any) -> JobData:
    rng = np.random.default_rng(seed)
    return JobData(
        taxonomy=TREE,
        texts=tuple(f"text {int(rng.integers(n // 2))}" for _ in range(n)),  # many texts stand there twice
        gold=rng.choice(TREE.leaves, size=n),
        language=tuple(rng.choice(["pl", "de", "fr"], size=n, p=[0.6, 0.35, 0.05]).tolist()),
        **columns,
    )


def scored(data: JobData, skill: float, seed: int = 0) -> RowScores:
    """Scores of a model that leans towards the gold code; the same seed gives models with the same noise."""
    log_proba = random_log_proba(TREE.num_leaves, len(data), seed, scale=1.0)
    log_proba[np.arange(len(data)), TREE.leaf_slice[data.gold, 0]] += skill
    log_proba -= np.log(np.exp(log_proba).sum(axis=1, keepdims=True))
    return score_rows(TREE, log_proba, data.gold)


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Path]:
    """Writes a run directory: as much of it as a comparison reads."""

    def write(name: str, data: JobData, skill: float, *, sets: tuple[str, ...] = ("test",), seed: int = 0) -> Path:
        folder = tmp_path / name
        folder.mkdir(parents=True)
        for set_name in sets:
            StoredScores.of(set_name, scored(data, skill, seed), data, seconds=2.0).write(folder)
        train = JobData.from_lists(TREE, ["t"] * 13, ["111"] * 12 + ["211"])
        write_training_counts(folder, train)
        record = {
            "status": "finished",
            "config": {"model": {"name": "linear", "hierarchy": name}},
            "timing": {"fit_seconds": 1.5},
            "peak_memory_mb": {"process": 100.0},
            "data": {"train": {"rows": 13}},
        }
        (folder / "train.yaml").write_text(yaml.safe_dump(record))
        (folder / "config.json").write_text(json.dumps({"classifier": "linear", "files": {"a": {"size": 1500}}}))
        return folder

    return write


def quick(*directories: Path, **options: Any) -> Comparison:
    return compare_runs(directories, **{"bootstrap": 200, "progress": False, **options})


def test_differences_are_those_of_the_paired_bootstrap(run: Callable[..., Path]) -> None:
    data = rows(group=np.arange(N) // 2)
    a, b = run("a", data, 0.5), run("b", data, 1.5, seed=1)
    found = quick(a, b)
    frame = found.frame
    assert tuple(frame.columns) == COLUMNS and found.reference == "a" and found.sets == {"test": N} and found.clustered
    resamples = Resamples.draw(N, 200, 0, data.group)
    for level in (1, 3):
        for metric in COMPARED:
            line = frame.query("slice_kind == '' and level == @level and metric == @metric and run == 'b'").iloc[0]
            both = scored(data, 1.5, 1), scored(data, 0.5)
            value, other = (level_metrics(s, TREE, level)[metric] for s in both)
            drawn = [replicate_metrics(s, TREE, level, resamples)[metric] for s in both]
            difference = drawn[0] - drawn[1]
            if metric == "ece":  # resampling shifts it
                difference += value - other - difference.mean()
            low, high = percentile_interval(difference, value - other)
            assert line["difference"] == pytest.approx(value - other)
            assert (line["difference_low"], line["difference_high"]) == pytest.approx((low, high))
            assert line["value"] == pytest.approx(value) and line["n"] == N
            real = low > 0 or high < 0
            assert line["matters"] == (("better" if COMPARED[metric] == (value > other) else "worse") * real)
    assert frame.query("slice_kind == '' and metric == 'log_loss' and run == 'b'")["matters"].eq("better").all()
    # the model is found worse the other way round
    back = quick(b, a).frame.query("slice_kind == '' and metric == 'log_loss' and run == 'a'")
    assert back["matters"].eq("worse").all()
    assert quick(a, b, reference="best").reference == "b" and quick(a, b, reference="b").reference == "b"


def test_a_run_against_itself(run: Callable[..., Path]) -> None:
    data = rows()
    frame = quick(run("a", data, 1.0), run("b", data, 1.0)).frame.query("run == 'b'")
    assert (frame["difference"] == 0).all() and (frame["p"] == 1).all() and (frame["matters"] == "").all()


def test_slices(run: Callable[..., Path]) -> None:
    data = rows()
    found = quick(run("a", data, 0.5), run("b", data, 1.5))
    frame = found.frame
    languages = np.array(data.language)
    for name in ("pl", "de"):
        lines = frame.query("slice_kind == 'language' and slice == @name and run == 'a' and metric == 'recall@1'")
        at = np.flatnonzero(languages == name)
        assert lines["level"].tolist() == [3] and lines["n"].tolist() == [len(at)]
        assert lines["value"].iloc[0] == pytest.approx(level_metrics(scored(data, 0.5).take(at), TREE, 3)["recall@1"])
    assert "fr" not in frame["slice"].tolist() and any("language fr" in note for note in found.notes)
    buckets = frame.query("slice_kind == 'training_rows' and run == 'a' and metric == 'recall@1'").set_index("slice")
    gold = np.array([TREE.codes[g] for g in data.gold])
    expected = {"0": int((~np.isin(gold, ["111", "211"])).sum()), "1–9": int((gold == "211").sum()),
                "10–99": int((gold == "111").sum())}  # fmt: skip
    assert buckets["n"].to_dict() == expected and buckets["codes"].to_dict() == {"0": 7, "1–9": 1, "10–99": 1}


def test_holm() -> None:
    # Holm (1979): sorted p times m, m-1, ..., never decreasing
    assert holm_adjusted([0.01, 0.04, 0.03, math.nan, 0.005]).tolist() == pytest.approx(
        [0.03, 0.06, 0.06, math.nan, 0.02], nan_ok=True
    )
    assert holm_adjusted([0.6, 0.9]).tolist() == [1.0, 1.0] and len(holm_adjusted([])) == 0
    for seed in range(20):  # the other formulation: smallest level at which the step-down procedure rejects
        p = np.random.default_rng(seed).uniform(size=6) ** 3
        ours = holm_adjusted(p.tolist())
        order = np.argsort(p)
        for rank, i in enumerate(order):
            step_down = max(min(1.0, (6 - j) * p[order[j]]) for j in range(rank + 1))
            assert ours[i] == pytest.approx(step_down)


@pytest.mark.slow
def test_holm_marks_fewer(run: Callable[..., Path]) -> None:
    data = rows()
    folders = [run(f"r{i}", data, 1.0 + 0.02 * i, seed=i) for i in range(8)]
    plain, adjusted = (quick(*folders, holm=h).frame for h in (False, True))
    assert (adjusted["matters"] != "").sum() < (plain["matters"] != "").sum()
    with_p = adjusted.dropna(subset="p")
    assert (with_p["p_holm"] >= with_p["p"]).all()


def test_an_infinite_loss(run: Callable[..., Path], tmp_path: Path) -> None:
    data = rows(20)
    folder = run("a", data, 1.0).parent / "b"
    with np.errstate(divide="ignore"):
        StoredScores.of("test", score_rows(TREE, np.log(np.eye(9)[[0] * 20]), data.gold), data).write(folder)
    found = quick(folder.parent / "a", folder)
    lines = found.frame.query("slice_kind == '' and run == 'b' and metric == 'log_loss'")
    assert np.isposinf(lines["difference"]).all() and (lines["matters"] == "worse").all() and lines["p"].isna().all()
    paths = {p.suffix: p.read_text("utf-8") for p in write_comparison(found, tmp_path / "out")}
    assert "∞" in paths[".md"] and "∞" in paths[".html"] and "$\\infty$" in paths[".tex"]


# ---------------------------------------------------------------------- which rows


def stored(data: JobData, skill: float = 1.0) -> StoredScores:
    return StoredScores.of("test", scored(data, skill), data)


def test_rows_in_another_order() -> None:
    data = rows()
    order = np.random.default_rng(3).permutation(N)
    a, b = stored(data), stored(data.take(order))
    positions, notes = align([("a", a), ("b", b)])
    assert [data.texts[i] for i in positions[0]] == [data.take(order).texts[i] for i in positions[1]]
    assert (a.scores.gold[positions[0]] == b.scores.gold[positions[1]]).all()
    assert all(len(set(p.tolist())) == N for p in positions) and "another order" in notes[0]


def test_other_text_columns_of_the_same_rows() -> None:
    data = rows()
    other = JobData(taxonomy=TREE, texts=tuple("longer " + t for t in data.texts), gold=data.gold)
    positions, notes = align([("a", stored(data)), ("b", stored(other))])
    assert all((p == np.arange(N)).all() for p in positions) and "other texts" in notes[0]


def test_different_rows_are_refused_or_restricted(run: Callable[..., Path]) -> None:
    data = rows()
    a, b = run("a", data, 1.0), run("b", data.take(np.arange(40, N)), 1.0)
    with pytest.raises(DifferentRowsError, match=r"a 240, b 200; 200 in common\); --common-rows compares on those"):
        quick(a, b)
    found = quick(a, b, common_rows=True)
    assert found.sets == {"test": 200} and any("200 rows that all runs have" in note for note in found.notes)
    with pytest.raises(DifferentRowsError, match="hjc evaluate"):
        quick(a, run("c", JobData(taxonomy=TREE, texts=("z",) * N, gold=data.gold[::-1]), 1.0))


def test_common_rows_by_identifier() -> None:
    data = rows(60, id=tuple(f"id{i}" for i in range(60)))
    other = JobData(taxonomy=TREE, texts=("other",) * 60, gold=data.gold, id=data.id).take(np.arange(50)[::-1])
    positions, _ = align([("a", stored(data)), ("b", stored(other))], common_rows=True)
    assert positions[0].tolist() == list(range(50)) and positions[1].tolist() == list(range(50))[::-1]
    flat = from_prefix_codes(["1", "2"], [1])
    alien = StoredScores.of("test", score_rows(flat, np.log([[0.5, 0.5]]), [0]), JobData.from_lists(flat, ["a"], ["1"]))
    with pytest.raises(ValueError, match="one taxonomy"):
        align([("a", stored(data)), ("b", alien)], common_rows=True)


def test_sweeps_and_names(run: Callable[..., Path], tmp_path: Path) -> None:
    data = rows(40)
    for i in (10, 9, 1):
        run(f"sweep/{i}_x", data, 1.0)
    run("other/1_x", data, 1.0)
    (tmp_path / "sweep" / "11_failed").mkdir()
    (tmp_path / "sweep" / "11_failed" / "train.yaml").write_text("status: failed\n")
    found, notes = find_runs([tmp_path / "sweep", tmp_path / "other" / "1_x", tmp_path / "sweep" / "9_x"])
    assert [r.name for r in found] == ["sweep/1_x", "sweep/9_x", "sweep/10_x", "other/1_x"]
    jobs = [f"jobs/{i}_hierarchy={h},model.C={c},x.y=[a,b]" for i, (h, c) in enumerate((("plt", 1), ("topdown", 2)))]
    for job in jobs:
        run(job, data, 1.0)
    assert [r.name for r in find_runs([tmp_path / "jobs"])[0]] == [
        "hierarchy=plt,model.C=1",
        "hierarchy=topdown,model.C=2",
    ]
    for i, kind in enumerate(("word", "char")):  # the directory's name was cut before what differs
        cut = run(f"long/{i}_data.max_train_rows=3000,hierarchy=plt,mod", data, 1.0)
        (cut / ".hydra").mkdir()
        (cut / ".hydra" / "overrides.yaml").write_text(f"- hierarchy=plt\n- model.features={kind}\n")
    assert [r.name for r in find_runs([tmp_path / "long"])[0]] == ["model.features=word", "model.features=char"]
    assert any("11_failed" in note for note in notes) and any("more than once" in note for note in notes)
    with pytest.raises(FileNotFoundError, match="no such directory"):
        find_runs([tmp_path / "nowhere"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="no row scores"):
        find_runs([tmp_path / "empty"])
    with pytest.raises(ValueError, match="two runs or more, got 1"):
        quick(tmp_path / "sweep" / "1_x")
    with pytest.raises(ValueError, match="there is no run 'z'"):
        quick(tmp_path / "sweep", reference="z")


def test_sets(run: Callable[..., Path]) -> None:
    data = rows(40)
    a, b = run("a", data, 1.0, sets=("valid", "test", "test/x")), run("b", data, 1.0, sets=("valid", "test"))
    runs, _ = find_runs([a, b])
    assert common_sets(runs) == (["test"], ["sets that not every run has are left out: 'test/x'"])
    assert common_sets(runs, ["valid"])[0] == ["valid"]
    with pytest.raises(ValueError, match="--set test/x: 'b' have no such set"):
        common_sets(runs, ["test/x"])
    c, _ = find_runs([run("c", data, 1.0, sets=("valid",)), run("d", data, 1.0, sets=("valid",))])
    assert common_sets(c)[0] == ["valid"]
    with pytest.raises(ValueError, match="no evaluated set in common"):
        common_sets([*c, *find_runs([run("e", data, 1.0, sets=("test",))])[0]])


# ---------------------------------------------------------------------- formats


def test_files(run: Callable[..., Path], tmp_path: Path) -> None:
    data = rows()
    hostile = "b_<script>&50%|x"
    found = quick(run("a", data, 0.5), run(hostile, data, 1.5))
    paths = {p.suffix: p.read_text("utf-8") for p in write_comparison(found, tmp_path / "out")}
    assert set(paths) == {".csv", ".md", ".tex", ".html"}
    frame = pd.read_csv(tmp_path / "out" / "compare.csv", keep_default_na=False, na_values=["nan"])
    assert len(frame) == len(found.frame) and tuple(frame.columns) == COLUMNS
    assert (
        paths[".html"].count("<script>") == 1 and "http:" not in paths[".html"] and "b_&lt;script&gt;" in paths[".html"]
    )
    assert "1.5 kB" in paths[".html"] and "120" in paths[".html"] and "▲" in paths[".html"]
    tables = [line for line in paths[".md"].splitlines() if line.startswith("|")]
    assert tables and all(line.endswith("|") for line in tables)
    width = 0
    for line in tables:  # a stray pipe would add a column
        cells = len(re.findall(r"(?<!\\)\|", line))
        width = cells if set(line) <= set("|:-") or not width else width
        assert cells == width or tables[tables.index(line) + 1].startswith("|:-")
    for environment in ("table", "tabular"):
        assert paths[".tex"].count(f"\\begin{{{environment}}}") == paths[".tex"].count(f"\\end{{{environment}}}") == 7
    assert "b\\_$<$script$>$\\&50\\%" in paths[".tex"] and "$^{+}$" in paths[".tex"] and "\\toprule" in paths[".tex"]
    assert tex("a\\b{c}~^#$") == "a\\textbackslash{}b\\{c\\}\\textasciitilde{}\\textasciicircum{}\\#\\$"
    console = Console(record=True, width=80, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(terminal(found, "test"))
    shown = console.export_text()
    assert "R@1" in shown and "script" in shown and max(map(len, shown.splitlines())) <= 80
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError, match="takes a folder"):
        write_comparison(found, tmp_path / "file")


def test_names_of_jobs_say_what_differs() -> None:
    assert _what_differs(["0_a=1,b=2", "1_a=1,b=3"]) == ["b=2", "b=3"]
    assert _what_differs(["0_a=[1,2],+b.c=2", "1_a=[1,3],+b.c=2"]) == ["a=[1,2]", "a=[1,3]"]
    assert _what_differs(["0_a=1,b=2", "1_a=1"]) == ["0_b=2", "1"]  # the second would have no name
    assert _what_differs(["0_a=1", "baseline"]) == ["0_a=1", "baseline"]
    assert _what_differs(["0_a=1"]) == ["0_a=1"]


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
def test_latex_compiles(run: Callable[..., Path], tmp_path: Path) -> None:
    data = rows(60)
    found = quick(run("a_[1]%", data, 1.0), run("b_<script>&50%", data, 0.2))
    write_comparison(found, tmp_path)
    page = "\\documentclass{article}\\usepackage{booktabs,graphicx}\\begin{document}\\input{compare.tex}\\end{document}"
    (tmp_path / "page.tex").write_text(page)
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "page.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace")
    assert done.returncode == 0, done.stdout[-2000:]
    assert "Overfull" not in done.stdout
    tex = (tmp_path / "compare.tex").read_text("utf-8")
    for kind in found.frame["slice_kind"].unique():
        words = {"": "differences with 95", "training_rows": "by training rows of the gold code"}.get(
            kind, f"by {kind}"
        )
        assert words in tex
    assert tex.count("\\begin{table}") == 3 + 2 * (found.frame["slice_kind"].nunique() - 1) > 3


@pytest.mark.slow
def test_from_training_to_comparison(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two linear runs on a part of the sample, `hjc evaluate` of both, and the command that compares."""

    def call(*arguments: object) -> tuple[int, str]:
        with pytest.raises(SystemExit) as ended:
            app([str(a) for a in arguments])
        shown = capsys.readouterr()
        return int(ended.value.code or 0), shown.out + shown.err

    common = ["data.languages=[en]", "taxonomy.depth=1", "model=linear", "evaluation.bootstrap=20"]
    for name, override in (("a", "model.C=10"), ("b", "model.C=1")):
        config = compose([*common, override, f"evaluation.report={name == 'a'}", f"run_dir={tmp_path / name}"])
        run_training(config, Console(quiet=True))
    record = yaml.safe_load((tmp_path / "a" / "train.yaml").read_text())
    assert set(record["rows_per_second"]) == {"valid", "test/titles", "test/ads"}
    assert (tmp_path / "a" / "report.html").exists() and not (tmp_path / "b" / "report.html").exists()
    code, shown = call("compare", tmp_path / "a", tmp_path / "b", "-o", tmp_path / "out", "--bootstrap", 50)
    assert code == 0 and "test/titles: 436 rows" in shown
    assert {p.name for p in (tmp_path / "out").iterdir()} == {f"compare.{x}" for x in ("csv", "md", "tex", "html")}
    code, shown = call("compare", tmp_path / "out")
    assert code == 2 and "no row scores" in shown
    data = tmp_path / "more.csv"
    data.write_text("text,code\nnurse,2\ncook,5\nwhat\n" + "driver,8\n" * 8)
    columns = ("-t", "text", "--code-column", "code", "--no-report", "--bootstrap", 10)
    for name in "ab":
        assert call("evaluate", tmp_path / name, data, *columns, "-o", tmp_path / "eval" / name)[0] == 0
    assert not (tmp_path / "eval" / "a" / "report.html").exists()
    found = quick(tmp_path / "eval")
    assert found.sets == {"test": 10} and found.runs[0].facts["model"] == "linear, topdown"
    assert set(found.frame["slice_kind"]) == {"", "training_rows"}


def test_bold_says_something(run: Callable[..., Path]) -> None:
    """The best run is bold; where all have the same figure none is."""
    data = rows(60)
    alike, apart = quick(run("a", data, 1.0), run("b", data, 1.0)), quick(run("c", data, 1.0), run("d", data, 0.2))
    for found, some in ((alike, False), (apart, True)):
        cells = [c for grid in Compared(found, "test").overviews() for row in grid.rows for c in row]
        assert any(c.best for c in cells) == some


def test_the_overview_is_cut_into_lines_that_can_be_read(run: Callable[..., Path]) -> None:
    """Three levels: 18 figures a run in two tables of nine; each figure stands in one of them."""
    data = rows(60)
    found = quick(run("a", data, 1.0), run("b", data, 0.2))
    grids = Compared(found, "test").overviews()
    assert [len(grid.head) - 1 for grid in grids] == [9, 9]
    assert [name for grid in grids for name, _ in grid.groups] == [METRIC_COLUMNS[m][0] for m in COMPARED]
    assert not any(grid.wide for grid in grids)
