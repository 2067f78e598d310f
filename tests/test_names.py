"""Names and paths in the documentation are those of the code."""

import re
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest

import hjc
from tests.test_layers import ROOMS

ROOT = Path(hjc.__file__).resolve().parent.parent
PAGES = [
    *sorted(ROOT.glob("*.md")),
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted(ROOT.glob("experiments/*/README.md")),
]
pytestmark = pytest.mark.skipif(not (ROOT / "docs").is_dir(), reason="hjc is not run from a checkout")
#: groups of entry points, not modules
ENTRY_POINTS = {"hjc.heads", "hjc.classifiers"}


def quoted(page: Path) -> list[str]:
    """What stands in backticks, outside blocks of code; of the changes the new names only."""
    text = re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    if page.name == "CHANGELOG.md":
        text = "\n".join(line.split("|")[2] for line in text.splitlines() if line.startswith("| `hjc."))
    return re.findall(r"`([^`\n]+)`", text)


def exists(name: str) -> bool:
    """A module, or an attribute of one, or a field of a class there."""
    parts = name.split(".")
    for n in range(len(parts), 0, -1):
        try:
            found: object = import_module(".".join(parts[:n]))
        except ModuleNotFoundError as error:
            if (error.name or "").split(".")[0] != "hjc":  # an extra that is not installed
                return find_spec(".".join(parts[:n])) is not None
            continue
        for part in parts[n:]:
            if not hasattr(found, part) and part not in getattr(found, "__annotations__", {}):
                return False
            found = getattr(found, part, None)
        return True
    return False


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_names_and_paths_exist(page: Path) -> None:
    for words in quoted(page):
        if re.fullmatch(r"hjc(\.\w+)+(\(.*\))?", words):
            name = words.split("(")[0]
            assert name in ENTRY_POINTS or exists(name), f"{page.name}: {words}"
        elif re.match(r"(hjc|tests|docs|examples|experiments|benchmarks|notebooks)/[\w/.*-]+$", words):
            where = re.sub(r"[A-Z]{4,}|\*+", "*", words)
            assert any(ROOT.glob(where)) or (page.parent / words).exists(), f"{page.name}: {words}"


def test_contributing_lists_every_room() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    listed = re.findall(r"`(hjc/[\w/]+)(?:\.py)?`", text.split("## One datum")[0])
    rooms = [room.replace(".", "/") for rooms in ROOMS for room in rooms]
    assert sorted(listed) == sorted(rooms)
    assert len(text.splitlines()) < 100
