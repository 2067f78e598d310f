"""Fixtures and settings that every test may use."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# one thread a process, said before NumPy and torch are there: the tests run in as many processes as there are cores
for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

# Two shared cores are slow at odd moments: time limits for single examples would make tests flicker.
settings.register_profile("hjc", deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("hjc")


def realdata_folder() -> Path:
    """The folder of real data, which need not exist."""
    return Path(os.environ.get("HJC_DATA", "../shared/data"))


@pytest.fixture(scope="session")
def realdata() -> Path:
    """The folder of real data; skipped where it is absent. Mark such tests with ``@pytest.mark.realdata``."""
    folder = realdata_folder()
    if not folder.is_dir():
        pytest.skip(f"no real data in {folder}: set HJC_DATA to the folder that has it")
    return folder.resolve()


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """``call("predict", ...)`` runs the hjc command in this process: (exit code, standard output, standard error)."""
    from hjc.cli import main

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["hjc", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            main()
        out, err = capsys.readouterr()
        return int(end.value.code or 0), out, err

    return run


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test marked ``realdata`` is skipped without the folder, whether it asks for the fixture or not."""
    folder = realdata_folder()
    if folder.is_dir():
        return
    skip = pytest.mark.skip(reason=f"no real data in {folder}: set HJC_DATA to the folder that has it")
    for item in items:
        if "realdata" in item.keywords:
            item.add_marker(skip)
