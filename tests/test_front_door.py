"""What a new user meets in the shell: one text, a prompt, completion, JSON, quiet, extras named in time."""

import builtins
import json
import os
import pty
import shlex
import subprocess
import sys
from importlib import util
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from hjc.apply.one_text import code_text, plain_values, tree_lines
from hjc.classifiers.linear import LinearClassifier
from hjc.cli.completion import GROUPS, options, run_directories, training_settings
from hjc.taxonomy import from_edges
from hjc.training.config import as_list, compose
from hjc.training.extras import check_extras
from tests.stub_classifier import StubClassifier

#: ragged: 3 is a leaf of the first level
TREE = from_edges(
    ["1", "2", "3", "11", "12", "21", "22"], [None, None, None, "1", "1", "2", "2"],
    titles={"en": ["health", "transport", "army", "nurses", "doctors", "drivers", "pilots of very large aeroplanes"]},
)  # fmt: skip
TEXTS = ["nurse on a ward", "night nurse", "doctor", "ward doctor", "lorry driver", "bus driver", "pilot", "soldier"]
CODES = ["11", "11", "12", "12", "21", "21", "22", "3"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("door") / "run"
    LinearClassifier(TREE, min_df=1).fit(TEXTS, codes=CODES).save_pretrained(folder)
    return folder


# ---------------------------------------------------------------------- one text


def test_a_tree_holds_its_codes_and_their_true_probabilities() -> None:
    stub = StubClassifier(TREE)
    for text in ("a nurse", "some pilot", "x"):
        found = code_text(stub, text, top_k=2)
        by_code = {line.code: line.probability for line in found.lines}
        for level in (1, 2):
            proba = stub.predict_proba([text], level=level)[0]
            wanted = dict(zip(TREE.level_codes(level), proba.tolist(), strict=True))
            best = max(wanted, key=lambda code: wanted[code])
            assert best in by_code
            assert all(by_code[code] == pytest.approx(p, abs=1e-6) for code, p in wanted.items() if code in by_code)
        shown = [line.code for line in found.lines]
        assert all(TREE.codes[p] in shown for code in shown if (p := TREE.parents[TREE.index_of[code]]) >= 0)
        assert len(shown) == len(set(shown))
        lines = tree_lines(found, width=60)
        assert len(lines) == len(shown) and max(map(len, lines)) <= 60
        assert all(c in "# " or c.isascii() for line in tree_lines(found, plain=True) for c in line)
        assert json.loads(json.dumps(plain_values(found)))["codes"][0]["code"] == shown[0]


def test_bad_texts_and_options_say_so() -> None:
    stub = StubClassifier(TREE)
    for keywords, said in (({"text": " "}, "empty text"), ({"text": "..."}, "no words"), ({"level": 3}, "level"),
                           ({"top_k": 0}, "integers from 1"), ({"language": "xx"}, "titles in en")):  # fmt: skip
        with pytest.raises(ValueError, match=said):
            code_text(stub, **{"text": "nurse", **keywords})


def test_predict_one_text(call, model: Path) -> None:
    code, out, _ = call("predict", model, "--text", "night nurse on a ward")
    assert not code and out.splitlines()[0].startswith("1 ") and "█" in out and "11  nurses" in out
    code, out, _ = call("predict", model, "--text", "nurse", "--text", "pilot", "--json", "-l", 1, "-k", 2)
    found = [json.loads(line) for line in out.splitlines()]
    assert not code and [len(one["codes"]) for one in found] == [2, 2] and found[1]["codes"][0]["code"] == "2"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["registered nurse"], "to code it as a text: hjc predict"),
        (["nowhere.csv", "-t", "title"], "no such file: nowhere.csv"),
        ([], "texts are asked for only in a terminal"),
        (["--text", "nurse", "ads.csv"], "INPUT belongs to tables"),
        (["--text", "nurse", "--back-off", "0.5"], "belongs to tables"),
        (["--text", "!"], "cannot be coded"),
        (["--text", "nurse", "-l", "1", "-l", "2"], "give the deepest"),
    ],
)
def test_what_is_no_text_stays_an_error(call, model: Path, arguments: list[str], said: str) -> None:
    code, out, err = call("predict", model, *arguments)
    assert code == 2 and said in err and not out


@pytest.mark.slow
def test_a_prompt_in_a_terminal(model: Path) -> None:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "hjc.cli", "predict", str(model)]
    child = subprocess.Popen(command, stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    os.write(ours, b"night nurse\n...\n\n")
    out, err = child.communicate(timeout=120)
    os.close(ours)
    os.close(theirs)
    assert child.returncode == 0 and "11  nurses" in out
    assert "LinearClassifier(topdown" in err and "error: the text cannot be coded" in err


# ---------------------------------------------------------------------- completion


def test_run_directories_are_completed(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "outputs").mkdir()
    for name in ("titles", "tests"):
        (tmp_path / "outputs" / name).symlink_to(model)
    (tmp_path / "outputs" / "empty").mkdir()
    assert list(run_directories("")) == ["outputs/tests", "outputs/titles"]
    assert list(run_directories("outputs/ti")) == ["outputs/titles"]
    assert list(run_directories("out")) == ["outputs/"] and not list(run_directories("nowhere/x"))


def test_settings_are_completed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "model=" in training_settings("mo") and list(training_settings("model=line")) == [
        "model=linear", "model=linear_char",
    ]  # fmt: skip
    monkeypatch.setenv("COMP_WORDS", "hjc train model = line")  # bash parts words at =
    assert list(training_settings("line")) == ["linear", "linear_char"]
    for group in GROUPS:
        assert options(group), group
    for name in ("model=e5", "taxonomy=isco08", "trainer=paper"):
        compose([name])


@pytest.mark.slow
def test_the_shell_is_told(model: Path) -> None:
    environment = os.environ | {"_HJC_COMPLETE": "complete_bash", "COMP_WORDS": "hjc predict --te", "COMP_CWORD": "2"}
    done = subprocess.run([sys.executable, "-m", "hjc.cli"], env=environment, capture_output=True, text=True)
    assert done.stdout.split() == ["--text", "--text-column"], done.stderr
    # the shell is the one that the command was started from: one that outlives it, or none is found
    command = ["bash", "-c", f"{sys.executable} -m hjc.cli --show-completion; exit $?"]
    assert "_HJC_COMPLETE" in subprocess.run(command, capture_output=True, text=True).stdout


# ---------------------------------------------------------------------- JSON, quiet, colour


def test_tables_as_json(call, model: Path, tmp_path: Path) -> None:
    table = tmp_path / "ads.csv"
    pd.DataFrame({"text": TEXTS, "code": CODES}).to_csv(table, index=False)
    code, out, err = call("evaluate", model, table, "-t", "text", "--json", "--bootstrap", 0)
    found = json.loads(out)
    assert not code and found["rows"] == 8 and found["metrics"]["level_2/recall@1"] == 1.0, err
    assert found["summary"][0].startswith("Of 100 new texts")
    code, out, _ = call("taxonomy", "show", model, "--json")
    assert json.loads(out)["levels"][0] == {"level": "1", "nodes": 3, "leaves": 1, "codes of the level": 3}
    code, out, _ = call("taxonomy", "show", model, "11", "--json")
    assert [one["code"] for one in json.loads(out)["11"]["path"]] == ["1", "11"]
    (tmp_path / "bad.csv").write_text("code,parent\n1,\n11,9\n")
    code, out, _ = call("taxonomy", "check", tmp_path / "bad.csv", "--json")
    assert code == 2 and json.loads(out)["problems"][0]["severity"] == "error"
    code, out, _ = call("predict", model, table, "-t", "text", "--json", "-q")
    assert json.loads(out.splitlines()[0])["hjc_level2_code_1"] == "11"
    code, _, err = call("predict", model, table, "-t", "text", "--json", "--format", "csv")
    assert code == 2 and "exclude each other" in err


def test_quiet_leaves_results_and_warnings(call, model: Path, tmp_path: Path) -> None:
    table = tmp_path / "ads.csv"
    pd.DataFrame({"text": [*TEXTS, ""], "code": [*CODES, "11"]}).to_csv(table, index=False)
    loud = call("evaluate", model, table, "-t", "text", "--bootstrap", 0)
    quiet = call("evaluate", model, table, "-t", "text", "--bootstrap", 0, "--quiet")
    assert "could not be used" in loud[2] and quiet[2] == "" and "R@1" in quiet[1]
    assert call("evaluate", model, "nowhere.csv", "-t", "text", "--quiet")[2].startswith("error:")


@pytest.mark.slow
def test_no_color_means_none(model: Path) -> None:
    for variables, coloured in (({"FORCE_COLOR": "1"}, True), ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, False)):
        environment = {**os.environ, **variables, "TERM": "xterm-256color"}
        done = subprocess.run(
            [sys.executable, "-m", "hjc.cli", "predict", "--help"], env=environment, capture_output=True, text=True
        )
        assert ("\x1b[3" in done.stdout or "\x1b[1;3" in done.stdout) == coloured, done.stdout[:300]


# ---------------------------------------------------------------------- follow-up commands, lists, extras


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["stratified", "random"])
def test_the_command_that_review_names_works(call, model: Path, tmp_path: Path, strategy: str) -> None:
    table, sample = tmp_path / "my ads.csv", tmp_path / "to code.csv"
    rng = np.random.default_rng(0)
    rows = [f"{TEXTS[i]} {j}" for j, i in enumerate(rng.integers(0, len(TEXTS), 200).tolist())]
    pd.DataFrame({"text": rows}).to_csv(table, index=False, sep="|")
    code, _, err = call("review", model, table, "-o", sample, "-n", 40, "-t", "text", "--separator", "|", "-l", 1,
                        "--strategy", strategy)  # fmt: skip
    assert not code, err
    chosen = pd.read_csv(sample, dtype=str, sep="|")
    chosen["code"] = [CODES[next(i for i, t in enumerate(TEXTS) if row.startswith(t))] for row in chosen["text"]]
    chosen.to_csv(sample, index=False, sep="|")
    command = next(line for line in err.splitlines() if "hjc estimate" in line).partition("hjc ")[2]
    code, out, err = call(*shlex.split(command))
    assert not code, err
    assert out.splitlines()[0].startswith("level,code,title,share")


def test_one_value_of_a_list_needs_no_brackets() -> None:
    config = compose(["model=linear", "data=csv", "data.files=my_ads.csv", "data.text_columns=title", "taxonomy=kzis",
                      "taxonomy.path=x.csv", "taxonomy.digits=1", "evaluation.slices=language"])  # fmt: skip
    assert (config.data.files, config.data.text_columns) == (["my_ads.csv"], ["title"])
    assert config.taxonomy.digits == [1] and config.evaluation.slices == ["language"]
    for argument in (
        "data.files=[a.csv]",
        "data.files=a.csv,b.csv",
        "data.files=${x}",
        "model=e5",
        "-m",
        "taxonomy.digits=null",
    ):
        assert as_list(argument) == argument


def hide(monkeypatch: pytest.MonkeyPatch, *modules: str) -> None:
    """As if the packages were not installed."""
    find, load = util.find_spec, builtins.__import__

    def found(name: str, package: str | None = None) -> object:
        return None if name.split(".")[0] in modules else find(name, package)

    def imported(name: str, *rest: object, **more: object) -> object:
        if name.split(".")[0] in modules:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return load(name, *rest, **more)  # type: ignore[arg-type]

    for name in [n for n in sys.modules if n.split(".")[0] in modules]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr("hjc.training.extras.find_spec", found)
    monkeypatch.setattr(builtins, "__import__", imported)


@pytest.mark.parametrize(
    ("overrides", "module", "extra"),
    [
        (["model=e5", "logger=wandb"], "wandb", "wandb"),
        (["model=e5", "logger=tensorboard"], "tensorboard", "tensorboard"),
        (["model=linear", "logger=mlflow"], "mlflow", "mlflow"),
        (["model=e5", "model.lora_rank=4"], "peft", "lora"),
        (["model=linear", "model.stemming=en"], "snowballstemmer", "stemming"),
        (["model=retrieval", "model.index=faiss"], "faiss", "ann"),
        (["model=retrieval", "model.index=usearch"], "usearch", "ann"),
        (
            ["model=retrieval", "model.reranker=chat", "model.chat.endpoint=http://x", "model.chat.model=x"],
            "httpx",
            "llm",
        ),
        (["model=linear", "data=csv", "data.files=[x.xlsx]"], "openpyxl", "excel"),
        (["model=linear", "data=csv", "data.files=[x.xls]"], "xlrd", "excel"),
        (["model=linear", "data=datasets", "data.files=[x]"], "datasets", "datasets"),
        (["model=linear", "data=csv", "data.files=[x.csv]", "data.strip_html=true"], "bs4", "prepare"),
    ],
)
def test_a_missing_package_is_named_before_any_data_is_read(
    overrides: list[str], module: str, extra: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from hjc.training.config import ConfigError
    from hjc.training.workflow import run_training

    config = compose([*overrides, f"run_dir={tmp_path / 'run'}"])
    hide(monkeypatch, module)
    with pytest.raises(ImportError, match=rf"hjc\[{extra}\]"):
        check_extras(config)
    with pytest.raises(ConfigError, match=rf'needs the package {module}: pip install "hjc\[{extra}\]"'):
        run_training(config)
    assert not (tmp_path / "run" / "rejects.csv").exists()


def test_a_search_without_optuna_says_what_to_install(tmp_path: Path) -> None:
    program = Path(__file__).parents[1] / "experiments" / "optuna_search.py"
    if not program.exists():
        pytest.skip("experiments are not here")
    code = f"import sys, runpy; sys.modules['optuna'] = None; runpy.run_path({str(program)!r}, run_name='__main__')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and done.stderr.strip().endswith('pip install "hjc[search]"')


def test_what_a_crosswalk_covers_as_json(call, tmp_path: Path) -> None:
    (tmp_path / "old.csv").write_text("code,parent\n1,\n2,\n")
    (tmp_path / "links.csv").write_text("source,target\n1,2\n2,2\n")
    given = ("--from", tmp_path / "old.csv", "--to", tmp_path / "old.csv", "--table", tmp_path / "links.csv")
    named = ("--source-column", "source", "--target-column", "target")
    code, out, err = call("crosswalk", *given, *named, "--json")
    assert not code and json.loads(out)["pairs"] == 2, err


def test_every_command_that_prints_a_table_has_json() -> None:
    import inspect

    import typer

    from hjc.cli import app

    def commands(command, path: str):
        for name, below in getattr(command, "commands", {}).items():
            yield from commands(below, f"{path} {name}")
        if not hasattr(command, "commands"):
            yield path, command

    showing = set()
    for path, command in commands(typer.main.get_command(app), "hjc"):
        if "show_table(" in inspect.getsource(inspect.unwrap(command.callback)):
            showing.add(path)
            assert "--json" in [name for parameter in command.params for name in parameter.opts], path
    assert {"hjc data index", "hjc drift", "hjc taxonomy show"} <= showing
