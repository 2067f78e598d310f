"""The notebooks run from top to bottom, and the outputs that are stored in them are what they give."""

import re
from pathlib import Path
from typing import Any

import pytest

import hjc

pytestmark = pytest.mark.slow

ROOT = Path(hjc.__file__).resolve().parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
NUMBER = re.compile(r"-?\d+(?:\.\d+)?")


def outputs(cell: Any) -> str:
    """What a cell printed and returned, as text."""
    parts = [output.get("text") or output.get("data", {}).get("text/plain", "") for output in cell.outputs]
    return "\n".join(parts)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs_and_its_outputs_are_real(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    stored = nbformat.read(path, as_version=4)
    nbformat.validate(stored)
    fresh = nbformat.from_dict({**stored})
    for cell in fresh.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    stored = nbformat.read(path, as_version=4)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    client = nbclient.NotebookClient(
        fresh, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    )
    client.execute()  # an error in a cell is raised here
    checked = 0
    for before, after in zip(stored.cells, fresh.cells, strict=True):
        if before.cell_type != "code":
            continue
        assert before.execution_count, f"{path.name}: a cell was never run: {before.source[:60]}"
        if "check" in before.metadata.get("tags", []):
            old, new = outputs(before), outputs(after)
            assert NUMBER.sub("#", old).split() == NUMBER.sub("#", new).split(), before.source[:60]
            numbers = [[float(x) for x in NUMBER.findall(text)] for text in (old, new)]
            # solvers of another version end a little elsewhere
            assert numbers[0] == pytest.approx(numbers[1], abs=0.03, rel=0.05), before.source[:60]
            checked += 1
    assert checked or path.stem != "quickstart"
    written = path.read_text("utf-8")
    assert str(Path.home()) not in written and str(ROOT) not in written
