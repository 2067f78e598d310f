"""Folders and patterns coded part by part: killed at any moment and gone on with, no row is lost or there twice."""

import csv
import gzip
import json
import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hjc.apply import step as step_module
from hjc.apply.folder.code import code_files
from hjc.apply.folder.inputs import find_inputs, is_many
from hjc.apply.folder.manifest import Manifest
from hjc.apply.folder.processes import threads_each
from hjc.apply.step import Step
from hjc.data import TextRecipe
from hjc.data.settings import SideSettings
from hjc.taxonomy import from_edges
from tests import stub_classifier
from tests.stub_classifier import StubClassifier

MODEL = Path(__file__).parent / "fixtures" / "models_0_1" / "linear_topdown"
TREE = from_edges(["1", "2", "11", "12", "21"], [None, None, "1", "1", "2"], titles={"en": list("abcde")}, name="toy")
WORDS = ["nurse", "cook", "driver", "teacher", "welder"]
Call = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def stub(tmp_path_factory: pytest.TempPathFactory) -> Step:
    """A step of the stub classifier, which this process knows."""
    stub_classifier.register()
    directory = tmp_path_factory.mktemp("stub") / "model"
    StubClassifier(TREE).save_pretrained(directory)
    return Step(run_dir=str(directory), text_columns=("text",))


def write_csv(path: Path, texts: list[str], start: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = "".join(f'{start + i},"{text}"\n' for i, text in enumerate(texts))
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "wt", encoding="utf-8") as stream:
        stream.write("id,text\n" + rows)
    return path


def write_parquet(path: Path, texts: list[str], start: int = 0, group: int = 4) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    ids = pa.array(range(start, start + len(texts)), pa.int32())
    pq.write_table(pa.table({"id": ids, "text": pa.array(texts, pa.string())}), path, row_group_size=group)
    return path


def write_jsonl(path: Path, texts: list[str]) -> Path:
    path.write_text("".join(json.dumps({"id": i, "text": text}) + "\n" for i, text in enumerate(texts)))
    return path


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def a_folder(root: Path) -> Path:
    write_csv(root / "year=2023" / "a.csv", WORDS * 3)
    write_csv(root / "year=2024" / "b.csv.gz", WORDS, 100)
    write_parquet(root / "year=2024" / "c.parquet", WORDS * 4, 200)
    write_jsonl(root / "year=2024" / "d.jsonl", WORDS)
    (root / "_SUCCESS").write_text("")
    (root / "notes.txt").write_text("not a table")
    return root


def test_what_is_said_and_read_before_the_first_row(stub: Step, tmp_path: Path, monkeypatch) -> None:
    """Side variables that no column has; of several text columns one is chosen by a model that is read once."""
    model, read, said = StubClassifier(TREE), list[str](), list[str]()
    model.recipe = TextRecipe(("text",), side=(SideSettings(column="branch"),))
    model.save_pretrained(tmp_path / "model")
    usual = step_module.load
    monkeypatch.setattr(step_module, "load", lambda where: read.append(where) or usual(where))
    source = write_csv(tmp_path / "in" / "a.csv", WORDS).parent
    step = Step(run_dir=str(tmp_path / "model"), text_columns=("text", "id"))
    assert code_files(step, str(source), str(tmp_path / "out"), note=said.append).rows == len(WORDS)
    assert len(read) == 1
    assert [s for s in said if "no column 'branch': the model reads side variables as missing" in s]


@pytest.mark.slow
def test_a_folder_becomes_a_folder_of_the_same_names(tmp_path: Path, call: Call) -> None:
    source, out = a_folder(tmp_path / "ads"), tmp_path / "out"
    code, _, err = call("predict", MODEL, source, "-o", out, "-t", "text", "--part-rows", 4, "--batch-size", 3)
    assert code == 0, err
    assert "4 of 4 inputs: 45 rows" in err and "'notes.txt'" in err
    names = sorted(p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_file() and ".hjc" not in p.parts)
    assert names == ["year=2023/a.csv", "year=2024/b.csv.gz", "year=2024/c.parquet", "year=2024/d.jsonl"]
    for name in names:  # as the command for one table writes it
        single = tmp_path / f"single-{Path(name).name}"
        assert call("predict", MODEL, source / name, "-o", single, "-t", "text")[0] == 0
        if name.endswith(".parquet"):
            assert pq.ParquetFile(out / name).read().equals(pq.read_table(single))
            assert pq.ParquetFile(out / name).schema_arrow.field("id").type == pa.int32()
        else:
            opener = gzip.open if name.endswith(".gz") else open
            with opener(out / name, "rb") as made, opener(single, "rb") as wanted:
                assert made.read() == wanted.read()
    assert sorted(p.name for p in (out / ".hjc").iterdir()) == ["job.json", "manifest.jsonl"]
    code, _, err = call("predict", MODEL, source, "-o", out, "-t", "text", "--part-rows", 4)
    assert code == 0 and "(4 were done before)" in err and "0 of them" in err


@pytest.mark.slow
@settings(max_examples=15)
@given(data=st.data())
def test_parts_put_together_are_the_whole(
    stub: Step, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    root = tmp_path_factory.mktemp("parts")
    texts = data.draw(st.lists(st.sampled_from([*WORDS, "", "ł;ó", "two\nlines"]), max_size=9))
    kind = data.draw(st.sampled_from(["csv", "parquet", "jsonl"]))
    source = root / f"in.{kind}"
    if kind == "parquet":
        write_parquet(source, texts, group=data.draw(st.integers(1, 5)))
    elif kind == "csv":
        write_csv(source, texts)
    else:
        write_jsonl(source, [*texts, "nurse"])
    made = []
    for part_rows, rows in ((100, 100), (data.draw(st.integers(1, 4)), data.draw(st.integers(1, 4)))):
        target = root / f"{part_rows}-{rows}.{kind}"
        outcome = code_files(stub, str(source), str(target), part_rows=part_rows, rows=rows)
        assert not outcome.failed and not Path(f"{target}.hjc").exists()
        made.append(pq.read_table(target).to_pylist() if kind == "parquet" else target.read_text("utf-8"))
    assert made[0] == made[1]


# ---------------------------------------------------------------------- killed


def killed(step: Step, source: Path, out: Path, parts: int) -> None:
    """Code in another process, and kill it with SIGKILL when so many parts are finished."""
    child = multiprocessing.get_context("fork").Process(
        target=code_files, args=(step, str(source), str(out)), kwargs={"part_rows": 2}
    )
    child.start()
    try:
        ends = time.monotonic() + 30
        while len(list((out / ".hjc" / "parts").rglob("0*.json"))) < parts and time.monotonic() < ends:
            time.sleep(0.002)
    finally:
        assert child.pid is not None
        os.kill(child.pid, signal.SIGKILL)
        child.join()
    assert child.exitcode == -signal.SIGKILL


def test_killed_with_sigkill_and_given_again(stub: Step, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    texts = ["nurse", "cook", "driver", "teacher", "slow", "welder", "clerk"]
    write_csv(source / "a.csv", texts)
    write_parquet(source / "b.parquet", [*texts, "guard"], 100)
    whole = tmp_path / "whole"
    code_files(stub, str(source), str(whole))
    killed(stub, source, out, 2)
    kept = len(list((out / ".hjc" / "parts").rglob("0*.json")))
    assert kept >= 2 and not {"a.csv", "b.parquet"} <= {p.name for p in out.iterdir()}
    coded: list[str] = []
    row = StubClassifier._row
    monkeypatch.setattr(StubClassifier, "_row", lambda self, text: coded.append(text) or row(self, text))
    said: list[str] = []
    outcome = code_files(stub, str(source), str(out), part_rows=2, note=said.append)
    assert outcome.all_rows == 15 and len(coded) == outcome.rows < 15
    assert f"going on: 0 of 2 inputs and {kept} parts of others are done" in said and all(said)
    assert (out / "a.csv").read_bytes() == (whole / "a.csv").read_bytes()
    assert pq.read_table(out / "b.parquet").equals(pq.read_table(whole / "b.parquet"))
    assert [r["id"] for r in read_csv(out / "a.csv")] == [str(i) for i in range(len(texts))]


def test_killed_between_the_output_and_its_line(stub: Step, tmp_path: Path) -> None:
    source, out = write_csv(tmp_path / "in" / "a.csv", WORDS).parent, tmp_path / "out"
    write_csv(source / "b.csv", WORDS[:2], 50)
    code_files(stub, str(source), str(out), part_rows=2)
    manifest = out / ".hjc" / "manifest.jsonl"
    lines = manifest.read_bytes().splitlines(keepends=True)
    manifest.write_bytes(lines[0] + lines[1][:20])  # killed within a line
    assert list(Manifest(out / ".hjc").lines) == [json.loads(lines[0])["input"]]
    outcome = code_files(stub, str(source), str(out), part_rows=2)
    assert outcome.before == 1 and outcome.all_rows == 7
    assert [r["id"] for r in read_csv(out / "b.csv")] == ["50", "51"]
    assert len(manifest.read_text().splitlines()) == 2


# ---------------------------------------------------------------------- what is not as it was


def test_changed_inputs_are_refused_or_done_again(stub: Step, tmp_path: Path) -> None:
    source, out = write_csv(tmp_path / "in" / "a.csv", WORDS).parent, tmp_path / "out"
    write_csv(source / "b.csv", WORDS)
    code_files(stub, str(source), str(out))
    os.utime(source / "b.csv", (1, 1))  # touched: the same by its checksum
    assert code_files(stub, str(source), str(out)).before == 2
    write_csv(source / "a.csv", list(reversed(WORDS)))
    with pytest.raises(ValueError, match=r"1 of 2 inputs have changed since they were coded: 'a.csv'; --redo-changed"):
        code_files(stub, str(source), str(out))
    said: list[str] = []
    outcome = code_files(stub, str(source), str(out), redo_changed=True, note=said.append)
    assert (outcome.before, outcome.rows, outcome.all_rows) == (1, 5, 10)
    assert [r["text"] for r in read_csv(out / "a.csv")] == WORDS[::-1]
    assert "coded again, as they have changed: 'a.csv'" in said


def test_new_inputs_are_added_and_lost_outputs_made_again(stub: Step, tmp_path: Path) -> None:
    source, out = write_csv(tmp_path / "in" / "a.csv", WORDS).parent, tmp_path / "out"
    code_files(stub, str(source), str(out))
    write_csv(source / "b.csv", WORDS[:1])
    assert (done := code_files(stub, str(source), str(out))).before == 1 and done.rows == 1
    (out / "a.csv").write_text("id,text\n")
    (source / "b.csv").unlink()
    said: list[str] = []
    assert code_files(stub, str(source), str(out), note=said.append).rows == 5
    assert any("outputs are gone or not what was written: 'a.csv'" in s for s in said)
    assert any("inputs that are gone, whose outputs stay: 'b.csv'" in s for s in said)
    assert (out / "b.csv").exists()


def test_parts_of_an_input_that_changed_are_of_no_use(stub: Step, tmp_path: Path) -> None:
    source, out = write_csv(tmp_path / "in" / "a.csv", ["nurse", "cook", "slow", "slow"]).parent, tmp_path / "out"
    killed(stub, source, out, 1)
    write_csv(source / "a.csv", ["welder", "teacher", "clerk"])
    said: list[str] = []
    outcome = code_files(stub, str(source), str(out), part_rows=2, note=said.append)
    assert outcome.rows == 3 and any("1 finished parts are of no use" in s for s in said)
    assert [r["text"] for r in read_csv(out / "a.csv")] == ["welder", "teacher", "clerk"]


@pytest.mark.slow
def test_another_job_has_another_folder(tmp_path: Path, call: Call) -> None:
    source, out = write_csv(tmp_path / "in" / "a.csv", WORDS).parent, tmp_path / "out"
    assert call("predict", MODEL, source, "-o", out, "-t", "text", "-l", 1)[0] == 0
    code, _, err = call("predict", MODEL, source, "-o", out, "-t", "text", "-l", 1, "--top-k", 2)
    assert code == 2 and "top_k was 1, is 2" in err and "--overwrite" in err
    (out / "mine.txt").write_text("stays")
    assert call("predict", MODEL, source, "-o", out, "-t", "text", "-l", 1, "--top-k", 2, "--overwrite")[0] == 0
    assert "hjc_level1_code_2" in (out / "a.csv").read_text()
    assert (out / "mine.txt").read_text() == "stays"
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "a.csv").write_text("by hand")
    code, _, err = call("predict", MODEL, source, "-o", tmp_path / "other", "-t", "text")
    assert code == 2 and "'a.csv' already" in err


@pytest.mark.slow
def test_a_bad_input_does_not_stop_the_others(tmp_path: Path, call: Call) -> None:
    source, out = write_csv(tmp_path / "in" / "a.csv", WORDS).parent, tmp_path / "out"
    (source / "b.parquet").write_bytes(b"PAR1 torn")
    (source / "c.csv").write_text("id,text\n1,nurse\n2,cook,too,many\n3,driver\n")
    (source / "d.csv").write_text("id,words\n1,nurse\n")
    command = ("predict", MODEL, source, "-o", out, "-t", "text")
    code, _, err = call(*command)
    assert code == 2 and "2 of 4 inputs could not be coded" in err
    assert "b.parquet: " in err and "no column 'text'" in err and "1 unreadable lines" in err
    assert [r["id"] for r in read_csv(out / "c.csv")] == ["1", "3"]
    assert (out / "c.csv.rejects.csv").read_text().startswith("line,reason,value\n3,4 cells instead of 2")
    write_parquet(source / "b.parquet", WORDS)
    write_csv(source / "d.csv", WORDS)
    code, _, err = call(*command)
    assert code == 0 and "4 of 4 inputs (2 were done before): 17 rows, 10 of them" in err


# ---------------------------------------------------------------------- inputs and outputs


def test_what_a_pattern_takes(tmp_path: Path) -> None:
    for name in ("2023/a.csv", "2023/b.txt", "2024/a.csv.zip", "2024/c.tab", "x.md"):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).write_text("text\n")
    out = str(tmp_path / "out")

    def names(source: str, **options: str) -> dict[str, str]:
        return {one.name: one.output for one in find_inputs(f"{tmp_path}/in/{source}", out, **options)[0]}

    assert names("*/*.txt") == {"2023/b.txt": "2023/b.txt"}
    assert names("20*", output_format="parquet", input_format="csv") == {
        "2023/a.csv": "2023/a.parquet", "2023/b.txt": "2023/b.parquet",
        "2024/a.csv.zip": "2024/a.parquet", "2024/c.tab": "2024/c.parquet",
    }  # fmt: skip
    assert find_inputs(f"{tmp_path}/in/2023", out)[1] == ["b.txt"]
    assert is_many(f"{tmp_path}/in") and is_many("none/*.csv") and not is_many("a.csv") and not is_many("-")
    with pytest.raises(FileNotFoundError, match="no tables in"):
        names("*.csv")
    with pytest.raises(ValueError, match="lies in the input folder"):
        find_inputs(f"{tmp_path}/in", f"{tmp_path}/in/out")
    (tmp_path / "in/2024/a.csv").write_text("text\n")
    with pytest.raises(ValueError, match=r"'a.csv', 'a.csv.zip' would have one output, a.csv"):
        names("2024/*", input_format="csv")
    with pytest.raises(ValueError, match=r"^'2024/a.csv', '2024/a.csv.zip' would have one output, 2024/a.csv"):
        names("*/*", input_format="csv")


def test_options_that_do_not_go_together(tmp_path: Path, call: Call) -> None:
    source = write_csv(tmp_path / "in" / "a.csv", WORDS)
    for arguments, said in (
        ((source.parent, "-o", "-"), "give a folder"),
        ((source.parent, "-o", source), "several inputs need a folder"),
        ((source, "-o", tmp_path, "--resume"), "is a folder"),
        (("-", "-o", tmp_path / "x.csv", "--resume"), "not standard input"),
        ((source.parent, "-o", tmp_path / "out", "--rejects", "r.csv"), "OUTPUT.rejects.csv"),
        ((source.parent, "-o", tmp_path / "out", "--prior", "em"), "--prior em needs all rows"),
        ((source.parent, "-o", tmp_path / "out", "--language-column", "lang"), "no column 'lang'"),
    ):
        code, _, err = call("predict", MODEL, *arguments, "-t", "text")
        assert code == 2 and said in err, err


def test_threads_are_shared_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hjc.apply.folder.processes.cores", lambda: 8)
    monkeypatch.setenv("MKL_NUM_THREADS", "5")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    with threads_each(3):
        assert (os.environ["OMP_NUM_THREADS"], os.environ["MKL_NUM_THREADS"]) == ("2", "5")
    assert "OMP_NUM_THREADS" not in os.environ


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_several_processes_write_the_same(tmp_path: Path, call: Call, kind: str) -> None:
    source = (write_csv if kind == "csv" else write_parquet)(tmp_path / f"a.{kind}", WORDS * 9)
    one, two = tmp_path / f"one.{kind}", tmp_path / f"two.{kind}"
    options = ("-t", "text", "--part-rows", 4)
    assert call("predict", MODEL, source, "-o", one, *options, "--resume")[0] == 0
    code, _, err = call("predict", MODEL, source, "-o", two, *options, "--workers", 2)
    assert code == 0, err
    assert "1 of 1 inputs: 45 rows" in err
    if kind == "parquet":
        assert pq.read_table(one).equals(pq.read_table(two))
    else:
        assert one.read_bytes() == two.read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([source.name, one.name, two.name])


@pytest.mark.slow
def test_what_a_worker_cannot_load_is_one_message(tmp_path: Path, call: Call) -> None:
    source = write_csv(tmp_path / "a.csv", WORDS)
    code, _, err = call("predict", MODEL, source, "-o", tmp_path / "b.csv", "-t", "text", "--workers", 2, "-l", 9)
    assert code == 2 and err.count("error:") == 1 and "Traceback" not in err


@pytest.mark.slow
def test_only_its_own_workers_end_with_it(tmp_path: Path) -> None:
    source = write_csv(tmp_path / "in" / "a.csv", WORDS).parent
    other = multiprocessing.get_context("spawn").Process(target=time.sleep, args=(60,))
    other.start()

    def stop(*_: object) -> None:
        raise RuntimeError("enough")

    try:
        with pytest.raises(RuntimeError, match="enough"):
            code_files(Step(run_dir=str(MODEL), text_columns=("text",)), str(source), str(tmp_path / "out"), workers=2,
                       show=stop)  # fmt: skip
        assert multiprocessing.active_children() == [other]
    finally:
        other.kill()
        other.join()
