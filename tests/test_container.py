"""The container files: what can be said of them without a daemon."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import hjc

ROOT = Path(hjc.__file__).resolve().parent.parent
FOLDER = ROOT / "docker"
pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason="hjc is not run from a checkout")
HOW = "make test-more installs it"


def instructions() -> list[tuple[str, str]]:
    text = re.sub(r"\\\n", " ", (FOLDER / "Dockerfile").read_text("utf-8"))
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [(line.split(None, 1)[0], line.split(None, 1)[1]) for line in lines]


def test_the_image_is_not_root_has_a_health_check_and_all_it_copies() -> None:
    found = instructions()
    kinds = [kind for kind, _ in found]
    assert dict(found)["USER"] == "10001" and "HEALTHCHECK" in kinds
    assert kinds.index("USER") < kinds.index("ENTRYPOINT")
    ignored = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    for kind, rest in found:
        if kind == "COPY" and "--from" not in rest:
            for name in rest.split()[:-1]:
                assert (ROOT / name).exists() and f"!{name}" in ignored, name


def test_compose_names_what_is_there() -> None:
    found = yaml.safe_load((FOLDER / "compose.yaml").read_text("utf-8"))
    desk = found["services"]["desk"]
    assert (FOLDER / desk["build"]["context"] / desk["build"]["dockerfile"]).resolve().is_file()
    assert set(desk["depends_on"]) <= set(found["services"])
    assert desk["read_only"] and desk["cap_drop"] == ["ALL"]
    assert "--tokens" in desk["entrypoint"][-1]


@pytest.mark.more
@pytest.mark.slow
def test_hadolint_has_nothing_to_say() -> None:
    program = shutil.which("hadolint", path=f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin")
    if program is None:
        pytest.skip(f"no hadolint: {HOW}")
    done = subprocess.run([program, FOLDER / "Dockerfile"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.more
@pytest.mark.slow
def test_the_steps_of_the_image_in_an_empty_folder(tmp_path: Path) -> None:
    """What is copied is enough for the wheel, and the command of the image is one of the wheel's."""
    pytest.importorskip("build")
    source, target = tmp_path / "src", tmp_path / "site"
    source.mkdir()
    for kind, rest in instructions():
        if kind == "COPY" and "--from" not in rest:
            for name in rest.split()[:-1]:
                copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy2
                copy(ROOT / name, source / Path(name).name)
    command = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-build-isolation", "--target", target, source]
    subprocess.run([*map(str, command), "--quiet", "--disable-pip-version-check"], check=True)
    assert (target / "hjc" / "serve" / "static" / "index.html").is_file()
    assert (target / "hjc" / "serve" / "static" / "lang" / "en.json").is_file()
    assert (target / "hjc" / "serve" / "store" / "migrations" / "env.py").is_file()
    started = subprocess.run([sys.executable, "-m", "hjc.cli", "serve", "--help"], cwd=tmp_path, capture_output=True,
                             text=True, env={"PYTHONPATH": str(target), "PATH": "/usr/bin:/bin"})  # fmt: skip
    assert started.returncode == 0 and "--tokens" in started.stdout
