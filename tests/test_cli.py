"""The hjc command: exit codes, messages, files, pipes."""

import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

import hjc
from hjc.data import TextRecipe
from hjc.taxonomy import from_edges
from tests.stub_classifier import StubClassifier, register

ROOT = Path(__file__).parents[1]
TREE = from_edges(
    ["01", "02", "011", "012", "021"],
    [None, None, "01", "01", "02"],
    titles={"en": ["one", "two", "a", "b", "c"], "pl": ["jeden", "dwa", "ą", "b", "ć"]},
    name="toy",
)


@pytest.fixture
def model(tmp_path, monkeypatch):
    from hjc.classifiers import CLASSIFIERS

    monkeypatch.setitem(CLASSIFIERS, "stub", ("", ""))  # so that it is taken out again
    register()
    StubClassifier(TREE).save_pretrained(tmp_path / "run")
    return tmp_path / "run"


@pytest.fixture
def ads(tmp_path):
    path = tmp_path / "ads.csv"
    path.write_text('id,text,code\n007,cook,012\n007,"a ""b"",\nc",11\n3,,021\n4,<p></p>,01\n', encoding="utf-8")
    return path


def rows_of(path) -> list[dict[str, str]]:
    with open(path, encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_predict(call, model, ads, tmp_path):
    out = tmp_path / "coded.csv"
    code, stdout, err = call(
        "predict", model, ads, "-o", out, "-t", "text", "--level", 1, "--level", 2, "-k", 2, "--language", "pl"
    )
    assert (code, stdout) == (0, "")
    assert "4 rows in" in err and "1 not coded (empty text)" in err and str(out) in err
    rows = rows_of(out)
    assert [row["id"] for row in rows] == ["007", "007", "3", "4"]
    assert rows[1]["text"] == 'a "b",\nc'
    expected = hjc.load(model).predict(["cook"], level=2, top_k=2)
    assert [rows[0]["hjc_level2_code_1"], rows[0]["hjc_level2_code_2"]] == expected["code"].tolist()
    assert float(rows[0]["hjc_level2_proba_1"]) == pytest.approx(expected["probability"][0], rel=1e-5)
    assert rows[0]["hjc_level1_title_1"] in ("jeden", "dwa")
    assert [row["hjc_level1_code_1"] for row in rows[2:]] == ["", ""]
    assert [row["hjc_status"][:5] for row in rows] == ["ok", "ok", "empty", "no wo"]
    assert not list(tmp_path.glob("*.rejects.csv")) and not list(tmp_path.glob("*.partial"))


def test_predict_refuses_without_a_stack_trace(call, model, ads, tmp_path):
    out = tmp_path / "coded.csv"
    cases = [
        ((model, ads, "-o", out, "-t", "txt"), "columns are 'id', 'text', 'code'; did you mean 'text'?"),
        ((model, ads, "-o", out), "--text-column"),
        ((model, ads, "-o", ads, "-t", "text", "--overwrite"), "is an input of this command"),
        ((model, ads, "-o", model, "-t", "text", "--format", "csv"), "is a directory"),
        ((model, ads, "-o", out, "-t", "text", "--level", 3), "3"),
        ((model, ads, "-o", out, "-t", "text", "-k", 0), "--top-k"),
        ((model, ads, "-o", out, "-t", "text", "--language", "xx"), "'en', 'pl'"),
        ((model, tmp_path / "no.csv", "-o", out, "-t", "text"), "no such file"),
        ((model, ads, "-o", tmp_path / "x.docx", "-t", "text"), "--format"),
        ((model, ads, "-o", out, "-t", "text", "--input-format", "xml"), "--input-format: got 'xml'"),
        ((tmp_path / "norun", ads, "-o", out, "-t", "text"), "no model directory"),
        ((tmp_path, ads, "-o", out, "-t", "text"), "no hjc model directory"),
    ]
    for arguments, message in cases:
        code, _, err = call("predict", *arguments)
        assert code == 2 and message in err and err.startswith("error: ") and "Traceback" not in err, (message, err)
        assert not out.exists()
    code, _, err = call("predict", model, ads, "-t", "text", "--no-such-option")
    assert code == 2
    with pytest.raises(ValueError, match="did you mean"):
        call("predict", model, ads, "-o", out, "-t", "txt", "--debug")


def test_predict_twice(call, model, ads, tmp_path):
    out = tmp_path / "coded.csv"
    assert call("predict", model, ads, "-o", out, "-t", "text", "-q") == (0, "", "")
    code, _, err = call("predict", model, ads, "-o", out, "-t", "text")
    assert code == 2 and "--overwrite" in err
    assert call("predict", model, ads, "-o", out, "-t", "text", "--overwrite")[0] == 0
    code, _, err = call("predict", model, out, "-o", tmp_path / "again.csv", "-t", "text")
    assert code == 2 and "--prefix" in err
    assert call("predict", model, out, "-o", tmp_path / "again.csv", "-t", "text", "--prefix", "new_")[0] == 0
    assert rows_of(tmp_path / "again.csv")[0]["new_status"] == "ok"


def test_unreadable_lines_are_counted_and_kept(call, model, tmp_path):
    (tmp_path / "in.csv").write_text("id,text\n1,cook\n2,nurse,x\n3,driver\n")
    code, _, err = call("predict", model, tmp_path / "in.csv", "-o", tmp_path / "out.jsonl", "-t", "text")
    assert code == 0 and "1 unreadable line left out (line 3: 3 cells instead of 2)" in err
    assert rows_of(tmp_path / "out.jsonl.rejects.csv") == [
        {"line": "3", "reason": "3 cells instead of 2", "value": "2,nurse,x\n"}
    ]
    assert [json.loads(line)["id"] for line in (tmp_path / "out.jsonl").read_text().splitlines()] == ["1", "3"]


def test_columns_and_texts_are_those_of_the_training(call, model, tmp_path):
    trained = hjc.load(model)
    trained.recipe = TextRecipe(("title", "body"), " | ", 9)
    trained.save_pretrained(model)
    (model / "train.yaml").write_text("config:\n  data: {text_columns: [other], code_column: isco}\n")
    frame = pd.DataFrame({"title": ["cook", "nurse"], "body": ["", "night shifts"], "isco": ["012", "01"]})
    frame.to_parquet(tmp_path / "in.parquet")
    assert call("predict", model, tmp_path / "in.parquet", "-o", tmp_path / "out.parquet")[0] == 0
    out = pd.read_parquet(tmp_path / "out.parquet")
    expected = hjc.load(model).predict(["cook", "nurse | n"])
    assert out["hjc_level2_proba_1"].tolist() == pytest.approx(expected["probability"].tolist())
    code, stdout, _ = call("evaluate", model, tmp_path / "in.parquet", "--bootstrap", 0)
    assert code == 0 and "2 rows" in stdout


@pytest.mark.slow
def test_evaluate(call, model, ads, tmp_path):
    code, out, err = call(
        "evaluate", model, ads, "-t", "text", "--code-column", "code", "-o", tmp_path / "eval", "--bootstrap", 20
    )
    assert code == 0 and "1 rows of" in out, err
    metrics = json.loads((tmp_path / "eval" / "metrics.json").read_text())
    assert "test/level_2/recall@1" in metrics
    assert (tmp_path / "eval" / "metrics.csv").exists()
    rejects = rows_of(tmp_path / "eval" / "rejects.csv")
    assert len(rejects) == 3 and "3 rows could not be used" in err
    code, _, err = call("evaluate", model, ads, "-t", "text", "--code-column", "kod")
    assert code == 2 and "did you mean 'code'?" in err


@pytest.mark.slow
def test_evaluate_takes_the_columns_of_the_training_where_the_file_has_them(call, model, tmp_path):
    names = {"text_columns": ["title"], "code_column": "isco", "language_column": "lang", "source_column": "origin"}
    (model / "train.yaml").write_text(json.dumps({"config": {"data": names}}), encoding="utf-8")
    trained = hjc.load(model)
    trained.recipe = TextRecipe(("title",))
    trained.save_pretrained(model)
    lines = "".join(f"cook {i},012,{'pl' if i % 2 else 'de'}\n" for i in range(60))
    (tmp_path / "with.csv").write_text("title,isco,lang\n" + lines, encoding="utf-8")
    code, out, err = call("evaluate", model, tmp_path / "with.csv", "-o", tmp_path / "eval", "--bootstrap", 0)
    assert code == 0 and "by language" in out, err
    assert "test/pl/level_2/recall@1" in json.loads((tmp_path / "eval" / "metrics.json").read_text())
    (tmp_path / "without.csv").write_text("title,isco\ncook,012\n", encoding="utf-8")
    code, out, err = call("evaluate", model, tmp_path / "without.csv", "--bootstrap", 0)
    assert code == 0 and "by language" not in out, err
    code, _, err = call("evaluate", model, tmp_path / "without.csv", "--language-column", "lang")
    assert code == 2 and "lang" in err


def test_info(call, model):
    code, out, _ = call("info", model)
    assert code == 0 and "stub" in out and "toy, levels 2/3" in out and "depth = 3" in out
    code, out, _ = call("info", model, "--json")
    assert json.loads(out)["taxonomy"]["levels"] == [2, 3]
    (model / "taxonomy.csv").write_text("code,parent\n1,\n")
    code, _, err = call("info", model)
    assert code == 2 and "taxonomy.csv" in err


def test_taxonomy(call, model, tmp_path):
    code, out, _ = call("taxonomy", "show", "isco08", "2221", "--language", "pl")
    assert code == 0 and out.splitlines()[0].startswith("2  ") and "2221" in out.splitlines()[3]
    code, out, _ = call("taxonomy", "show", model, "-l", 1)
    assert out == "01\tone\n02\ttwo\n"
    code, out, _ = call("taxonomy", "show")
    assert code == 0 and "436" in out
    code, _, err = call("taxonomy", "show", "isco08", "9999999")
    assert code == 2 and "9999999" in err
    (tmp_path / "bad.csv").write_text("code,parent\n1,\n1,\n12,3\n")
    code, out, _ = call("taxonomy", "check", tmp_path / "bad.csv")
    assert code == 2 and out.startswith("error: ")
    (tmp_path / "good.csv").write_text("code,parent,title_en\n1,,a\n2,,b\n11,1,c\n12,1,d\n21,2,e\n22,2,f\n")
    code, out, _ = call("taxonomy", "check", tmp_path / "good.csv")
    assert code == 0


def test_version_and_help(call):
    assert call("--version") == (0, f"hjc {hjc.__version__}\n", "")
    for command in ((), ("predict",), ("evaluate",), ("info",), ("taxonomy",), ("taxonomy", "show")):
        code, out, _ = call(*command, "--help")
        assert code == 0 and "Usage" in out


# ---------------------------------------------------------------------- real processes


def command(*arguments, **options):
    return subprocess.Popen(
        [sys.executable, "-m", "tests.stub_classifier", *map(str, arguments)],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options,
    )  # fmt: skip


def test_help_imports_nothing_heavy():
    probe = (
        "import sys; sys.argv = ['hjc', 'predict', '--help']\nfrom hjc.cli import main\n"
        "try: main()\nexcept SystemExit: pass\n"
        "print(sorted({'torch', 'pandas', 'transformers', 'hydra', 'sklearn', 'pyarrow'} & set(sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-c", probe], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert out.rstrip().endswith("\n[]")


@pytest.mark.slow
def test_train_passes_its_arguments_to_hydra(tmp_path):
    process = command("train", "model=linnear", f"run_dir={tmp_path / 'run'}")
    _, err = process.communicate(timeout=60)
    assert process.returncode == 2
    assert b"did you mean linear?" in err and b"Traceback" not in err


@pytest.mark.slow
def test_predict_between_pipes(model, tmp_path):
    text = 'id;text\r\n1;żółć\r\n2;\r\n3;"a\r\nb"\r\n'
    process = command("predict", model, "-", "-t", "text")
    out, err = process.communicate(text.encode("utf-8-sig"), timeout=60)
    assert process.returncode == 0, err
    rows = list(csv.reader(io.StringIO(out.decode("utf-8"), newline=""), delimiter=";"))
    assert [row[:2] for row in rows] == [["id", "text"], ["1", "żółć"], ["2", ""], ["3", "a\r\nb"]]
    assert b"3 rows in" in err and b"3 rows in" not in out


@pytest.mark.slow
def test_jsonl_between_pipes_and_a_reader_that_leaves(model):
    lines = "".join(json.dumps({"n": i, "text": f"t{i}"}) + "\n" for i in range(20_000))
    arguments = (
        "predict",
        model,
        "-",
        "-t",
        "text",
        "--input-format",
        "jsonl",
        "--format",
        "jsonl",
        "--batch-size",
        50,
    )
    process = command(*arguments)
    out, err = process.communicate(lines[:5000].rsplit("\n", 1)[0].encode(), timeout=60)
    assert process.returncode == 0, err
    numbers = [json.loads(line)["n"] for line in out.decode().splitlines()]
    assert numbers == list(range(len(numbers))) and len(numbers) > 100
    read, write = os.pipe()
    os.close(read)
    closed = subprocess.run(
        [sys.executable, "-m", "tests.stub_classifier", *map(str, arguments)],
        cwd=ROOT, input=lines[:50_000].rsplit("\n", 1)[0].encode(), stdout=write, stderr=subprocess.PIPE, timeout=60,
    )  # fmt: skip
    os.close(write)
    assert b"Traceback" not in closed.stderr and b"Exception" not in closed.stderr


@pytest.mark.slow
@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM])
def test_interrupt_leaves_a_partial_file(model, tmp_path, kind):
    (tmp_path / "in.csv").write_text("text\n" + "slow\n" * 1000)
    # a test runner started in the background hands down an ignored SIGINT; the program under test must hear it
    process = command(
        *["predict", model, tmp_path / "in.csv", "-o", tmp_path / "out.csv", "-t", "text", "--batch-size", 2],
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    partial = tmp_path / "out.csv.partial"
    deadline = time.monotonic() + 30
    while not (partial.exists() and process.poll() is None) and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(1)
    process.send_signal(kind)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert b"interrupted: " in err and b"out.csv.partial" in err and b"Traceback" not in err
    assert not (tmp_path / "out.csv").exists()
    assert int(err.split(b"interrupted: ")[1].split()[0]) == len(rows_of(partial))
