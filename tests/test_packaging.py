"""The wheel has everything that an installed hjc needs, and the project files agree with each other."""

import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
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


def test_ci_runs_make_test() -> None:
    script = ROOT / ".ci" / "run"
    if not script.exists():  # not part of a source distribution
        pytest.skip("no .ci/run here")
    lines = script.read_text("utf-8").splitlines()
    assert "set -eu" in lines and lines[-2:] == ["make test", "exec make test-more"]
    assert script.stat().st_mode & 0o111
