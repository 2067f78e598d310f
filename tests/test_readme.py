"""The README and docs/ say what is so: commands run or compose, examples give their numbers, links resolve."""

import ast
import contextlib
import dataclasses
import doctest
import functools
import itertools
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib import util
from pathlib import Path
from types import ModuleType

import click
import pytest
import typer
from rich.console import Console

import hjc
from hjc.classifiers.ads_settings import AdsSettings
from hjc.classifiers.embedding.settings import BestSettings, EmbeddingSettings, HybridSettings
from hjc.classifiers.linear_settings import LinearSettings
from hjc.classifiers.lookup_settings import LookupSettings
from hjc.cli import app, main
from hjc.data.sample import sample_titles
from hjc.report.card import LICENCES
from hjc.training.config import MODELS, SECTIONS, compose
from hjc.training.workflow import run_training

ROOT = Path(hjc.__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), ROOT / "SECURITY.md"]
#: the pages whose commands are run here; other pages of docs/ have tests of their own
RUN = ["README", "getting-started", "data", "code-list", "models", "training", "evaluation", "prediction",
       "model-directory", "configuration", "extending", "python", "from-a-csv", "national-code-list", "coherent",
       "side-by-side"]  # fmt: skip
pytestmark = pytest.mark.skipif(not (ROOT / "docs").is_dir(), reason="hjc is not run from a checkout")

#: not run here: they take long, need a hub, or are run elsewhere (test_train_command). Their settings are composed.
LONG = re.compile(r"^make |model=(xlmr|e5|tiny)|trainer=long|^python train\.py (-m|--cfg|--help)|optuna_search")


def blocks(page: Path, *languages: str) -> list[str]:
    found = re.findall(r"^```(\w+)\n(.*?)^```$", page.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    return [body for language, body in found if language in languages]


def commands(page: Path) -> list[str]:
    return [line for body in blocks(page, "sh") for line in body.splitlines() if line.strip()]


def by_name(page: Path) -> str:
    return page.stem


every_page = pytest.mark.parametrize("page", PAGES, ids=by_name)
run_page = pytest.mark.parametrize("page", [p for p in PAGES if p.stem in RUN], ids=by_name)


def expand(arguments: list[str]) -> Iterator[list[str]]:
    """The jobs of a sweep; a single run is its own only job."""
    choices = [
        [f"{key}={v}" for v in value.split(",")] if "," in value and value[0] not in "[{'\"" else [argument]
        for argument in arguments
        for key, _, value in [argument.partition("=")]
    ]
    yield from (list(job) for job in itertools.product(*choices))


@every_page
def test_blocks_are_seen(page: Path) -> None:
    """Every fence begins its line and is closed: what stands between is what the tests here run."""
    text = page.read_text("utf-8")
    fences = re.findall(r"^```(\w*)$", text, re.MULTILINE)
    assert len(fences) == text.count("```") and all(fences[::2]) and not any(fences[1::2])
    assert len(blocks(page, *fences[::2])) == len(fences) / 2
    if page.stem == "model-directory":
        assert blocks(page, "sh") and blocks(page, "python")


@pytest.mark.slow
@run_page
def test_commands_compose_and_parse(page: Path) -> None:
    """Settings and options that a page names exist, also in the commands that are too long to run."""
    makefile = (ROOT / "Makefile").read_text("utf-8")
    click_app = typer.main.get_command(app)
    assert isinstance(click_app, click.Group) or hasattr(click_app, "get_command")
    for line in commands(page):
        for words in (shlex.split(part) for part in line.split(" > ")[0].split("|")):
            words = words[next(i for i, word in enumerate(words) if "=" not in word) :]
            if words[0] == "make":
                assert f"\n{words[1]}:" in makefile, line
            elif words[:2] == ["python", "train.py"] or words[:2] == ["hjc", "train"]:
                arguments = words[2:]
                if arguments[:1] == ["-m"]:
                    arguments = arguments[1:]
                    assert line.startswith("python train.py -m ")  # only before the settings does Hydra take it
                if "--help" in arguments:
                    continue
                if arguments[:2] == ["--cfg", "job"]:
                    arguments = arguments[2:]
                for job in expand([a for a in arguments if not a.startswith("+sweep=")]):
                    compose([*job, "run_dir=x"] if not any(a.startswith("run_dir=") for a in job) else job)
                for sweep in (a for a in arguments if a.startswith("+sweep=")):
                    assert (ROOT / f"hjc/configs/sweep/{sweep.partition('=')[2]}.yaml").exists(), line
            elif words[0] == "python":
                assert (ROOT / words[1]).exists(), line
            elif words[0] == "hjc":
                command, rest = click_app, words[1:]
                while hasattr(command, "get_command"):
                    command = command.get_command(None, rest[0])  # type: ignore[arg-type, union-attr]
                    assert command is not None, line
                    rest = rest[1:]
                command.make_context("hjc", list(rest))  # raises for an option that does not exist
            else:
                assert words[0] == "cat", f"{page.name}: a command of unknown kind: {line}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout as the pages see it, with the files that a reader is told to have."""
    here = tmp_path_factory.mktemp("reader")
    shutil.copytree(ROOT / "examples", here / "examples")
    shutil.copy(ROOT / "examples" / "ads.csv", here / "ads.csv")
    titles = sample_titles()
    small = titles[titles["code"].isin(["2221", "2211", "8332"]) & (titles["split"] == "train")]
    ads = small.assign(description="wanted in our team", text=small["title"], portal="jobs", age=30, nace="Q86")
    ads = ads[["title", "description", "code", "text", "nace", "portal", "age"]]
    ads.to_csv(here / "my_ads.csv", index=False)
    small[["title", "code"]].head(9).rename(columns={"title": "name"}).to_csv(here / "my_dictionary.csv", index=False)
    ads[["text", "code"]].head(9).to_csv(here / "my_titles.csv", index=False)
    rows = ["code,parent,title_en", "2,,professionals", "8,,operators", "2221,2,nurses", "2211,2,doctors"]
    (here / "my_codes.csv").write_text("\n".join([*rows, "8332,8,lorry drivers"]) + "\n")
    programs = here / "bin"
    programs.mkdir()
    (programs / "hjc").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m hjc.cli "$@"\n')
    (programs / "hjc").chmod(0o755)
    return here


def run(line: str, folder: Path) -> None:
    """Run a command of a page: in this process where it is one run of train.py or hjc, else in a shell.

    That the programs themselves start is tested elsewhere (test_cli, test_workflow, test_train_command).
    """
    words = ["outputs/titles" if word == "RUN_DIR" else word for word in shlex.split(line)]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        if "|" in words:
            environment = os.environ | {"PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"}
            environment |= {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
            shell = ["bash", "-o", "pipefail", "-ec", line]
            done = subprocess.run(shell, env=environment, capture_output=True, text=True, timeout=300, check=False)
            assert done.returncode == 0, f"{line}\n{done.stderr[-3000:]}"
        elif words[:2] == ["python", "train.py"]:
            run_training(compose(words[2:]), Console(quiet=True))
        else:
            assert words[0] == "hjc", line
            patch.setattr(sys, "argv", words)
            with pytest.raises(SystemExit) as end:
                main()
            assert not end.value.code, line


TITLES = next(line for line in commands(PAGES[0]) if "run_dir=outputs/titles" in line)
FIRST, SHOWN = (line for line in commands(PAGES[0]) if "outputs/first" in line)


@pytest.fixture(scope="module")
def trained(folder: Path) -> Path:
    """The folder after the README's own training command."""
    run(TITLES, folder)
    return folder


@pytest.mark.slow
@run_page
def test_commands_run(page: Path, trained: Path) -> None:
    lines = [line for line in commands(page) if line not in (TITLES, FIRST, SHOWN) and not LONG.search(line)]
    # RUN_DIR stands for a model: what follows it on the page has to be trained by then
    for line in sorted(lines, key=lambda line: "RUN_DIR" in line):
        run(line, trained)


@pytest.mark.slow
def test_the_output_that_the_readme_shows_is_that_of_its_commands(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """To mend it: paste what the second command prints."""
    monkeypatch.setenv("COLUMNS", "80")
    run(FIRST, folder)
    capsys.readouterr()
    run(SHOWN, folder)
    (shown,) = blocks(PAGES[0], "text")
    assert capsys.readouterr().out.strip() == shown.strip()


@pytest.mark.slow
def test_what_the_commands_wrote(trained: Path) -> None:
    import pandas as pd

    run("hjc predict outputs/titles examples/ads.csv -o check.csv -t title --level 4 --top-k 5", trained)
    coded = pd.read_csv(trained / "check.csv", dtype=str)
    ads = pd.read_csv(trained / "examples" / "ads.csv", dtype=str)
    pd.testing.assert_frame_equal(coded[ads.columns], ads)
    assert coded["hjc_level4_code_1"][0] == "2221" and coded["hjc_status"].iloc[-1] == "empty text"
    described = (ROOT / "docs" / "model-directory.md").read_text("utf-8")
    for path in (trained / "outputs" / "titles").iterdir():
        name = re.sub(r"(idf|scores)_\w+", r"\1_*", path.name) + ("/" if path.is_dir() else "")
        assert f"`{name}`" in described or path.name == "held_out", name


@pytest.mark.slow
@run_page
def test_python_examples_run(page: Path, trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(trained)
    for number, body in enumerate(blocks(page, "python")):
        with contextlib.redirect_stdout(None):
            exec(compile(ast.parse(body), f"{page.name}, block {number}", "exec"), {})


@run_page
def test_worked_examples_give_their_numbers(page: Path) -> None:
    for number, body in enumerate(blocks(page, "pycon")):
        test = doctest.DocTestParser().get_doctest(body, {}, f"{page.name}, block {number}", None, None)
        assert test.examples
        assert doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(test).failed == 0


def test_numbers_in_the_text_of_the_worked_example() -> None:
    """What coherent.md says around its example: the best leaf is not under the best group; what a code costs."""
    import numpy as np

    from hjc.metrics import level_metrics, score_rows
    from hjc.taxonomy import from_edges

    tree = from_edges(["2", "5", "21", "22", "51", "52"], [None, None, "2", "2", "5", "5"])
    log_proba = np.log([[0.30, 0.30, 0.36, 0.04]])
    scores = score_rows(tree, log_proba, tree.encode(["51"]))
    assert [tree.codes[i] for i in scores.top[0]] == ["2", "51"]
    found = [level_metrics(scores, tree, level)["log_loss"] for level in (2, 1)]
    text = (ROOT / "docs" / "coherent.md").read_text("utf-8")
    said = re.search(r"-ln 0\.36 = ([\d.]+) nats at level 2 and -ln 0\.40 = ([\d.]+) at level 1", text)
    assert said and [f"{x:.2f}" for x in found] == list(said.groups())


@functools.cache
def headings(page: Path) -> set[str]:
    """Anchors of a page, as GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@every_page
def test_links_resolve(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text("utf-8")):
        if target.startswith(("http://", "https://", "mailto:")):
            continue
        path, _, anchor = target.partition("#")
        found = (page.parent / path).resolve() if path else page
        assert found.exists(), f"{page.name}: {target}"
        if anchor:
            assert anchor in headings(found), f"{page.name}: {target}"


def test_links_of_pages_that_the_site_takes_from_elsewhere_resolve() -> None:
    script = (ROOT / "docs" / "site" / "hooks.py").read_text("utf-8")
    outside = [ROOT / name for name in re.findall(r'^    "([\w/]+\.md)":', script, re.MULTILINE)]
    for page in [*outside, *sorted((ROOT / "experiments").glob("*/README.md"))]:
        prose = re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
        for target in re.findall(r"\]\(([^)\s#]+)[^)\s]*\)", prose):
            if not target.startswith(("http://", "https://", "mailto:")):
                assert (page.parent / target).exists(), f"{page.relative_to(ROOT)}: {target}"


@run_page
def test_settings_that_are_named_exist(page: Path) -> None:
    for section, key in re.findall(
        r"`(model|trainer|data|taxonomy|evaluation)\.(\w+)(?=[`=])", page.read_text("utf-8")
    ):
        if (section, key) in {
            ("model", "to"),
            ("model", "trust"),
            ("model", "safetensors"),
            ("model", "onnx"),
            ("model", "npz"),
            ("taxonomy", "csv"),
        }:
            continue
        names = {field.name for cls in SECTIONS[section] for field in dataclasses.fields(cls)}
        assert key in names or hasattr(hjc, key), f"{page.name}: {section}.{key}"


def test_defaults_in_the_table_of_the_trainer() -> None:
    trainer = compose(["run_dir=x"]).trainer
    table = (ROOT / "docs" / "training.md").read_text("utf-8")
    checked = 0
    for line in table.splitlines():
        if not line.startswith("| `trainer."):
            continue
        names, values = line.split("|")[1:3]
        keys = re.findall(r"`trainer\.(\w+)`", names)
        said = [value.strip() for value in re.sub(r"[\[\]]", "", values).split(",")]
        if "seed" in keys:
            continue
        for key, value in zip(keys, said, strict=True):
            actual = getattr(trainer, key)
            actual = (actual or [""])[0] if isinstance(actual, list) else actual  # [] is written as nothing
            same = float(value) == actual if isinstance(actual, float) else value == str(actual).lower()
            assert same, f"trainer.{key} is {actual}, the table says {value}"
            checked += 1
    assert checked > 25


@pytest.mark.slow
def test_table_of_encoders_is_that_of_the_configs() -> None:
    rows = re.findall(r"^\| (`\w+`.*) \|$", (ROOT / "docs" / "encoders.md").read_text("utf-8"), re.MULTILINE)
    seen = set()
    for row in rows:
        cells = [cell.strip() for cell in row.split("|")]
        names = re.findall(r"`(\w+)`", cells[0])
        for name in names:
            config = compose([f"model={name}", "run_dir=x"]).model
            seen.add(name)
            if isinstance(config, LinearSettings | HybridSettings | BestSettings | AdsSettings | LookupSettings):
                continue
            if isinstance(config, EmbeddingSettings):
                assert (config.pooling, str(config.max_length)) == (cells[4], cells[5]), row
                continue
            assert config.encoder in cells[1] or config.encoder == "tiny", row
            assert (config.pooling, str(config.max_length)) == (cells[4], cells[5]), row
            known = next((v for k, v in LICENCES.items() if config.encoder.lower().startswith(k.lower())), None)
            assert known is None or known == cells[7], row
    assert seen == {path.stem for path in (ROOT / "hjc" / "configs" / "model").glob("*.yaml")}


def test_the_two_commands_are_those_of_the_makefile() -> None:
    assert commands(PAGES[0])[:2] == ["make demo", "make test"]


def test_figures_of_the_sample_are_those_of_the_files() -> None:
    from hjc.data.sample import sample_ads

    titles, ads = sample_titles(), sample_ads()
    text = PAGES[0].read_text("utf-8")
    assert f"{len(titles):,} titles in six" in " ".join(text.split()) and titles["language"].nunique() == 6
    assert f"{len(ads)} test ads" in text
    import pandas as pd

    example = pd.read_csv(ROOT / "examples" / "titles.csv", dtype=str)
    train = titles[(titles["split"] != "test") & (titles["language"] == "en")]
    assert set(zip(example["title"], example["isco"], strict=True)) == set(
        zip(train["title"], train["code"], strict=True)
    )


def load_script(path: Path) -> ModuleType:
    """A script of docs/site, which is no package."""
    spec = util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_setting_is_on_its_page() -> None:
    """Each field has a meaning, and the page is what the code says: python docs/site/settings.py writes it anew."""
    script = load_script(ROOT / "docs" / "site" / "settings.py")
    text = script.PAGE.read_text("utf-8")
    assert text == script.page()
    config = compose(["run_dir=x"])
    for section in set(SECTIONS) - {"model"}:
        for field in dataclasses.fields(getattr(config, section)):
            assert f"| `{section}.{field.name}` |" in text
    kinds = re.findall(r"^## model, where model.name is (\w+)$", text, re.MULTILINE)
    assert set(kinds) | script.MADE == set(MODELS)


def test_a_setting_without_a_meaning_is_refused() -> None:
    script = load_script(ROOT / "docs" / "site" / "settings.py")
    with pytest.raises(ValueError, match=r"Said\.silent has no meaning"):
        list(script.rows("x.", Said))
    assert script.meanings(Said) == {"said": "what it is for"}


@dataclasses.dataclass
class Said:
    #: what it is for
    said: int = 1
    silent: int = 2


def test_every_page_has_its_place_in_the_site() -> None:
    """What ``make docs`` would refuse, found without MkDocs: a page that is in no menu, a menu without its page."""
    text = (ROOT / "mkdocs.yml").read_text("utf-8")
    named = re.findall(r"^ +- .*?: (\S+\.md)$", text.partition("\nnav:")[2], re.MULTILINE)
    assert len(named) == len(set(named))
    pages = {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")}
    notebooks = {f"notebooks/{path.stem}.md" for path in (ROOT / "notebooks").glob("*.ipynb")}
    assert pages | notebooks <= set(named), (pages | notebooks) - set(named)
    script = (ROOT / "docs" / "site" / "hooks.py").read_text("utf-8")
    assert all(name in pages | notebooks or f'"{name}"' in script for name in named)


def test_results_have_a_place_of_their_own() -> None:
    text = PAGES[0].read_text("utf-8")
    section = re.search(r"^## Results\n(.*?)(?=^## )", text, re.MULTILINE | re.DOTALL)
    assert section and "<!-- results: begin" in section[1] and "<!-- results: end -->" in section[1]
