"""``hjc taxonomy graph``: sources from files, what is shown, what is written, errors in one message."""

import doctest
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import typer

from hjc.cli.taxonomy import taxonomy_app
from hjc.data.jobdata import JobData
from hjc.metrics import score_rows
from hjc.report.scores import StoredScores
from hjc.taxonomy import load_taxonomy, write_taxonomy_csv
from hjc.taxonomy.graph.category_graph import CategoryGraph
from hjc.taxonomy.graph.files import leaf_texts, read_items
from tests.test_category_graph import TREE

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def files(tmp_path: Path) -> Path:
    write_taxonomy_csv(TREE, tmp_path / "tree.csv")
    (tmp_path / "tech.csv").write_text(
        "code,example,category\n11,Oven,x\n12,oven,x\n12,Mixer,x\n211,Truck,x\n9,Tank,x\n"
    )
    (tmp_path / "skills.csv").write_text(
        "code,element_id,element,importance,level\n11,1,Baking,5,1\n12,1,Baking,4,1\n211,2,Driving,5,1\n212,2,Driving,1,1\n"
    )
    (tmp_path / "texts.csv").write_text(
        "code,kind,language,text,detail,value\n11,task,en,Bake,,\n211,skill,en,Drive,,4\n212,skill,en,Drive,,2\n"
    )
    (tmp_path / "walk.csv").write_text("source,target\n11,a\n12,a\n")
    (tmp_path / "other.csv").write_text("code,parent\na,\nb,\n")
    (tmp_path / "wrong.csv").write_text("true,coded\n11,12\n11,11\n12,12\n21,11\n")
    return tmp_path


def test_all_sources_in_one_graph(call: Call, files: Path) -> None:
    np.save(files / "v.npy", np.eye(5))
    status, out, err = call(
        "taxonomy", "graph", files / "tree.csv", "--skills", files / "tech.csv", "--skills", files / "skills.csv",
        "--min-value", "3", "--texts", "--vectors", files / "v.npy", "--crosswalk", files / "walk.csv", "--to",
        files / "other.csv", "--confusions", files / "wrong.csv", "--weight", "skills=2", "--lift", "max", "--top", "3",
        "-o", files / "graph.npz",
    )  # fmt: skip
    assert status == 0, err
    assert "11" in out and "bread baker" in out and "strongest links" in out
    assert "tech.csv: no column of numbers" in err and "unknown codes 1" in err
    assert "1 pairs that are not two leaves left out" in err
    tree = load_taxonomy(str(files / "tree.csv"))
    graph = CategoryGraph.load(files / "graph.npz", tree)
    # technology, skills, texts, vectors, crosswalk, confusions; weights 2, 2, 1, 1, 1, 1 of 8
    assert graph.neighbours("11", 1)[0].other == "12" and graph.neighbours("1", 9) == []
    about = json.loads((files / "graph.json").read_text())
    assert about["taxonomy_hash"] == tree.hash and about["links"] == graph.links
    assert [s["weight"] for s in about["sources"]] == [0.25, 0.25, 0.125, 0.125, 0.125, 0.125]
    assert [s["kind"] for s in about["sources"]] == ["items", "items", "texts", "vectors", "crosswalk", "confusions"]
    assert about["sources"][0]["files"][0]["name"] == "tech.csv"
    assert about["steps"] == [{"lift": "max"}, {"top": 3, "mutual": False}]
    status, out, _ = call(
        "taxonomy", "graph", files / "tree.csv", "--graph", files / "graph.npz", "--code", "11", "--code", "3"
    )
    assert status == 0 and "neighbours of 11 bread baker" in out and "cake baker" in out
    assert "leaves without a link: 1 ('3')" in out


def test_parts_across_groups_and_reversed_crosswalks(call: Call, files: Path) -> None:
    (files / "back.csv").write_text("source,target\na,11\na,211\nb,12\n")
    command = ["taxonomy", "graph", files / "tree.csv", "--crosswalk", files / "back.csv", "--to", files / "other.csv"]
    status, out, err = call(*command, "--reverse", "--lift", "none", "--apart", "1")
    assert status == 0, err
    assert "across groups of level 1" in out and "truck driver" in out and "1.000" in out


def test_confusions_of_an_evaluated_run(call: Call, files: Path) -> None:
    """The rows that an evaluation stores, against the same counts by hand."""
    tree = load_taxonomy(str(files / "tree.csv"))
    gold = ["11", "11", "12", "211", "21"]
    data = JobData.from_lists(tree, ["a", "b", "c", "d", "e"], gold)
    p = np.array([[6, 4, 1, 1, 1], [1, 9, 1, 1, 1], [9, 1, 1, 1, 1], [1, 1, 1, 9, 1], [1, 1, 1, 9, 1]], dtype=float)
    scores = score_rows(tree, np.log(p / p.sum(axis=1, keepdims=True)), data.gold)
    StoredScores.of("valid", scores, data).write(files)
    path = next(files.glob("*.parquet"))
    status, _, err = call(
        "taxonomy", "graph", files / "tree.csv", "--confusions", path, "--lift", "none", "-o", files / "g.npz"
    )
    assert status == 0 and "1 pairs that are not two leaves" in err, err
    graph = CategoryGraph.load(files / "g.npz", tree)
    # 11: one of 2 rows wrong; 12: one of 1; 211: one of 1, and one row is added to each
    assert graph.neighbours("11") == [("11", "12", pytest.approx((1 / 3 + 1 / 2) / 2))]
    assert graph.neighbours("211") == [("211", "212", pytest.approx((1 / 2 + 0) / 2))]
    status, _, err = call("taxonomy", "graph", "isco08", "--confusions", path)
    assert status == 2 and "is coded to" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give a source"),
        (["--texts", "--lift", "sum"], "mean, max, none"),
        (["--texts", "--weight", "skills=2"], "a source of texts"),
        (["--texts", "--weight", "texts=x"], "'x' is not a number"),
        (["--texts", "--language", "en", "-o", "graph.csv"], "ends in .npz"),
        (["--crosswalk", "walk.csv"], "as many --to"),
        (["--skills", "missing.csv"], "missing.csv"),
        (["--skills", "other.csv"], "--item-column"),
        (["--skills", "tech.csv", "--kind", "x"], "--kind-column"),
        (["--graph", "tech.csv"], "no graph written by hjc"),
        (["--texts", "--code", "99"], "'99'"),
    ],
)
def test_errors_are_one_message(
    call: Call, files: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.chdir(files)
    status, _, err = call("taxonomy", "graph", "tree.csv", *arguments)
    assert status == 2
    assert message in err and "Traceback" not in err


def test_relations_of_esco_name_codes_by_uri(call: Call, files: Path) -> None:
    """The layout of ESCO's occupationSkillRelations.csv."""
    start = "http://data.europa.eu/esco"
    rows = [("o1", "essential", "s1"), ("o2", "essential", "s1"), ("o2", "optional", "s2"), ("o9", "essential", "s1")]
    (files / "relations.csv").write_text(
        "occupationUri,relationType,skillType,skillUri\n"
        + "".join(f"{start}/occupation/{o},{r},knowledge,{start}/skill/{s}\n" for o, r, s in rows)
    )
    (files / "ids.csv").write_text(f"uri,esco_code\n{start}/occupation/o1,11\n{start}/occupation/o2,211\n")
    command = ["taxonomy", "graph", files / "tree.csv", "--skills", files / "relations.csv", "--ids", files / "ids.csv"]
    status, _, err = call(*command, "--lift", "none", "-o", files / "g.npz", "--kind", "essential")
    assert status == 0 and "unknown codes 1" in err, err
    tree = load_taxonomy(str(files / "tree.csv"))
    # both leaves have the skill, so it says nothing (idf 0); with the optional one they still share nothing else
    assert CategoryGraph.load(files / "g.npz", tree).links == 0
    status, _, err = call(*command, "--lift", "none", "-o", files / "g.npz", "--no-idf")
    assert status == 0, err
    assert CategoryGraph.load(files / "g.npz", tree).neighbours("11") == [("11", "211", 0.5)]


def test_tasks_are_compared_by_their_words(call: Call, files: Path) -> None:
    (files / "tasks.csv").write_text(
        "code,task,type\n11,Bake rolls,Core\n11,Clean the oven,Core\n12,Bake cakes in an oven,Core\n"
        "2,Drive,Core\n9,Bake,Core\n"
    )
    status, _, err = call(
        "taxonomy", "graph", files / "tree.csv", "--tasks", files / "tasks.csv", "--lift", "none", "-o", files / "g.npz"
    )
    assert status == 0, err
    tree = load_taxonomy(str(files / "tree.csv"))
    graph = CategoryGraph.load(files / "g.npz", tree)
    assert {(a, b) for a, b, _ in graph.strongest(9)} == {("11", "12"), ("211", "212")}
    assert leaf_texts(tree, read_items(files / "tasks.csv")) == [
        "Bake rolls\nClean the oven", "Bake cakes in an oven", "Drive", "Drive", "",
    ]  # fmt: skip
    (files / "tasks.csv").write_text("code,task\n9,Bake\n")
    status, _, err = call("taxonomy", "graph", files / "tree.csv", "--tasks", files / "tasks.csv")
    assert status == 2 and "no text belongs" in err


def test_items_of_an_import_by_kind(files: Path) -> None:
    table = read_items(files / "texts.csv", kinds=["skill"], value="value")
    assert (table.source, table.target, table.weight) == (("211", "212"), ("Drive", "Drive"), (4.0, 2.0))
    assert read_items(files / "skills.csv").weight == (5.0, 4.0, 5.0, 1.0)
    assert read_items(files / "skills.csv", item="element_id").target == ("1", "1", "2", "2")
    assert read_items(files / "tech.csv").weight is None


@pytest.mark.slow
@pytest.mark.realdata
def test_onet_technology_finds_related_occupations(call: Call, realdata: Path) -> None:
    onet = realdata / "onet"
    status, out, err = call(
        "taxonomy", "graph", onet / "soc2018_onet_hierarchy.csv", "--skills", onet / "technology_skills.csv.gz",
        "--lift", "none", "--code", "15-1252.00", "--show", "5",
    )  # fmt: skip
    assert status == 0, err
    assert "unknown codes 0" in err
    assert "15-1253.00" in out or "15-1254.00" in out  # testers, web developers


def docs_page() -> Path:
    page = Path(__file__).resolve().parent.parent / "docs" / "embedding.md"
    if not page.exists():
        pytest.skip("not run from a checkout")
    return page


def test_examples_of_the_docs() -> None:
    assert doctest.testfile(str(docs_page()), module_relative=False).failed == 0


def test_options_of_the_docs_exist() -> None:
    lines = [line for line in docs_page().read_text("utf-8").splitlines() if line.startswith("hjc taxonomy graph")]
    command = typer.main.get_command(taxonomy_app).commands["graph"]
    names = {name for parameter in command.params for name in parameter.opts}
    used = {word for line in lines for word in line.split() if word.startswith("--")}
    assert len(lines) >= 5 and used <= names, used - names
