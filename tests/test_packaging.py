"""The wheel has everything that an installed hjc needs, and the project files agree with each other."""

import ast
import json
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import hjc

ROOT = Path(hjc.__file__).resolve().parent.parent

pytestmark = pytest.mark.skipif(not (ROOT / "pyproject.toml").exists(), reason="hjc is not run from a checkout")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("hatchling")
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=120)
    return next(folder.glob("*.whl"))


def test_wheel_contents(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    on_disk = {
        p.relative_to(ROOT).as_posix()
        for p in (ROOT / "hjc").rglob("*")
        if p.is_file() and "__pycache__" not in p.parts and p.suffix not in (".pyc", ".pyo")
    }
    assert {n for n in names if ".dist-info/" not in n} == on_disk
    for needed in (
        "hjc/py.typed",
        "hjc/configs/train.yaml",
        "hjc/configs/model/e5.yaml",
        "hjc/configs/experiment/demo.yaml",
        "hjc/taxonomy/isco08.csv.gz",
        "hjc/data/sample/titles.csv.gz",
        "hjc/data/sample/ads.csv.gz",
    ):
        assert needed in names, needed
    assert any(n.endswith("licenses/LICENSE") for n in names)


@pytest.mark.slow
def test_wheel_works_away_from_the_checkout(wheel: Path, tmp_path: Path) -> None:
    """Configurations compose and the sample loads from the wheel alone."""
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    code = (
        "import hjc, sys; assert hjc.__file__.startswith(sys.argv[1]), hjc.__file__\n"
        "from hjc.training.config import compose\nfrom hjc.data import load_sample\n"
        "config = compose(['model=xlmr', 'hierarchy=bottomup', 'experiment=demo'])\n"
        "assert config.name == 'demo', config\nassert len(load_sample().train) > 5000"
    )
    subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "site")],
        cwd=tmp_path, env={"PYTHONPATH": str(tmp_path / "site"), "PATH": ""}, check=True, timeout=120,
    )  # fmt: skip


def _project() -> dict:  # type: ignore[type-arg]
    found: dict = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]  # type: ignore[type-arg]
    return found


def test_every_requirement_is_pinned_within_its_range() -> None:
    pins = {}
    for line in (ROOT / "constraints.txt").read_text("utf-8").splitlines():
        if line.strip() and not line.startswith("#"):
            requirement = Requirement(line)
            pin = re.fullmatch(r"==([^*+]+)", str(requirement.specifier))
            assert pin, f"constraints.txt: {line!r} is no exact version"
            pins[canonicalize_name(requirement.name)] = pin[1]
    project = _project()
    wanted = [*project["dependencies"], *(r for extra in project["optional-dependencies"].values() for r in extra)]
    for text in wanted:
        requirement = Requirement(text)
        if requirement.name == "hjc":
            continue
        pin_of = pins.get(canonicalize_name(requirement.name))
        assert pin_of is not None, f"constraints.txt has no pin for {requirement.name}"
        assert requirement.specifier.contains(pin_of, prereleases=True), f"{text} excludes the pin {pin_of}"


def test_extras_of_the_makefile_exist() -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    extras = re.search(r"^TEST_EXTRAS := (\S+)", makefile, re.MULTILINE)
    assert extras and set(extras[1].split(",")) <= set(_project()["optional-dependencies"])


def test_make_alone_lists_what_there_is() -> None:
    """Nothing is installed by who only asks: the first rule of the file is what make does without a target."""
    rules = re.findall(r"^([^\s#:=.][^:=]*):(?!=)", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    assert rules[0] == "help" and "docs" in rules


def test_ci_runs_make_test() -> None:
    script = ROOT / ".ci" / "run"
    if not script.exists():  # not part of a source distribution
        pytest.skip("no .ci/run here")
    lines = script.read_text("utf-8").splitlines()
    assert "set -eu" in lines and lines[-2:] == ["make test", "exec make test-more"]
    assert script.stat().st_mode & 0o111


#: a program that cannot import what deep learning needs, and does everything that a linear model can
WITHOUT_TORCH = """
import sys
HIDDEN = ("torch", "pytorch_lightning", "lightning", "transformers", "torchmetrics", "accelerate", "sentencepiece")
class Hide:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in HIDDEN:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Hide())
import hjc
from hjc.cli import main
rows = [f"{title},{code}" for i in range(30) for title, code in
        ((f"nurse {i}", "2221"), (f"cook {i}", "5120"), (f"teacher {i}", "2341"), (f"driver {i}", "8332"))]
open("ads.csv", "w", encoding="utf-8").writelines(f"{row}{chr(10)}" for row in ["title,isco", *rows])
run = hjc.train("ads.csv", text="title", code="isco", model="linear", min_df=1, run_dir="run", quiet=True,
                evaluation={"bootstrap": 20})
assert run.evaluations["test"].metrics["level_4/recall@1"] > 0.9 and (run.directory / "report.html").exists()
for command in ("train model=linear data=csv data.files=ads.csv data.text_columns=title data.code_column=isco "
                "run_dir=two evaluation=quick -q", "predict run ads.csv -o coded.csv -q", "predict run --text nurse",
                "evaluate run ads.csv -q", "explain run nurse", "estimate ads.csv --run run -o shares.csv -q",
                "review run ads.csv -o review.csv -n 20 -q", "info run", "compare run two -q", "drift run ads.csv -q"):
    sys.argv = ["hjc", *command.split()]
    try:
        main()
    except SystemExit as end:
        assert not end.code, (command, end.code)
try:
    hjc.train("ads.csv", text="title", code="isco", model="e5", run_dir="three", quiet=True)
except (ImportError, ValueError) as error:
    print("refused:", error)
assert not set(HIDDEN) & {name.split(".")[0] for name in sys.modules}
print("everything ran")
"""


@pytest.mark.slow
def test_the_linear_path_needs_no_torch(tmp_path: Path) -> None:
    """torch, Lightning and transformers are required to install, but nothing linear imports them."""
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH], cwd=tmp_path, capture_output=True, text=True, timeout=300,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0 and "everything ran" in done.stdout, done.stderr[-3000:]
    assert "refused: " in done.stdout


def test_texts_are_read_and_written_in_a_named_encoding() -> None:
    """On Windows the encoding of a file that names none is that of the country."""
    text_methods = {"open": 0, "read_text": 0, "write_text": 1}
    found = []
    for path in sorted((ROOT / "hjc").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            method = isinstance(node.func, ast.Attribute)
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            owner = ast.unparse(node.func.value) if isinstance(node.func, ast.Attribute) else ""
            if name not in text_methods or owner in ("os", "gzip", "bz2", "lzma", "zipfile", "archive", "webbrowser"):
                continue
            at = (0 if method else 1) if name == "open" else None
            mode = node.args[at] if at is not None and len(node.args) > at else None
            mode = next((k.value for k in node.keywords if k.arg == "mode"), mode)
            binary = isinstance(mode, ast.Constant) and "b" in str(mode.value)
            named = any(k.arg == "encoding" for k in node.keywords) or (
                name != "open" and len(node.args) > text_methods[name]
            )
            if method and name == "open":  # only of a path: other things are opened, too
                text = mode.value if isinstance(mode, ast.Constant) else "r" if owner.endswith("path") else ""
                named = named or not re.fullmatch(r"[rwaxt+]+", str(text))
            if not binary and not named and not any(k.arg is None for k in node.keywords):
                found.append(f"{path.relative_to(ROOT)}:{node.lineno} {ast.unparse(node)[:80]}")
    assert found == []


def test_nothing_of_unix_alone() -> None:
    """No fork and no device: Windows and macOS have neither, or not the same."""
    sources = {p: p.read_text("utf-8") for p in (ROOT / "hjc").rglob("*.py")}
    for word in (r"os\.fork\(", r"[\"']/dev/", r"get_context\([\"']fork", r"\bimport fcntl", r"\bimport pwd"):
        assert [p.name for p, text in sources.items() if re.search(word, text)] == [], word


def test_the_papers_of_the_project_agree() -> None:
    if not (ROOT / "CITATION.cff").exists():
        pytest.skip("not a checkout")
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    project = _project()
    assert citation["version"] == project["version"] and citation["license"] == project["license"]
    assert f"## {project['version']}" in (ROOT / "CHANGELOG.md").read_text("utf-8")
    pythons = [c.rsplit(" ", 1)[1] for c in project["classifiers"] if re.search(r":: 3\.\d+$", c)]
    assert pythons == ["3.11", "3.12", "3.13"] and project["requires-python"] == ">=3.11,<3.14"
    container = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text("utf-8"))
    assert "make install" in container["postCreateCommand"] and "3.11" in container["image"]
    for name in ("CODE_OF_CONDUCT.md", "SECURITY.md"):
        assert (ROOT / name).stat().st_size > 500


def test_the_lock_has_the_pins_with_their_hashes() -> None:
    if not (ROOT / "requirements.lock").exists():
        pytest.skip("not a checkout")
    locked: dict[str, list[str]] = {}
    for line in (ROOT / "requirements.lock").read_text("utf-8").splitlines():
        if "==" in line:
            name, version = line.rstrip(" \\").split(";")[0].split("==")
            found = locked[f"{canonicalize_name(name)}=={version.strip()}"] = []
        else:
            found.append(line.strip().rstrip(" \\"))
    assert all(re.fullmatch("--hash=sha256:[0-9a-f]{64}", h) for hashes in locked.values() for h in hashes)
    assert all(locked.values())
    pins = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text("utf-8").splitlines() if "==" in line)
    pins = {canonicalize_name(name): version for name, version in pins.items()}
    wanted = [Requirement(text).name for text in _project()["dependencies"]]
    for name in map(canonicalize_name, wanted):
        assert f"{name}=={pins[name]}" in locked, name
