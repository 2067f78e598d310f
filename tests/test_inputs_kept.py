"""No command writes over what it was given to read, and a full disk leaves nothing that passes for an output."""

import errno
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hjc.files import keeping, write_text
from hjc.tables import write_frame
from tests.serve_client import MODEL

Call = Callable[..., tuple[int, str, str]]
ADS = "id,text,code\n" + "".join(f"{i},nurse {i},211\n" for i in range(30))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    shutil.copytree(MODEL, tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture
def ads(tmp_path: Path) -> Path:
    (tmp_path / "ads.csv").write_text(ADS)
    return tmp_path / "ads.csv"


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("command", ["predict", "drift", "review", "evaluate"])
@pytest.mark.parametrize("how", ["itself", "link", "hard link", "config.json", "taxonomy.csv"])
def test_the_output_is_nothing_that_was_read(
    call: Call, model: Path, ads: Path, tmp_path: Path, command: str, how: str
) -> None:
    """``hjc drift -o`` took the input for its output, and any command with --overwrite the files of the model."""
    out = ads
    if how == "link":
        out = tmp_path / "link.csv"
        out.symlink_to(ads)
    elif how == "hard link":
        out = tmp_path / "hard.csv"
        out.hardlink_to(ads)
    elif how != "itself":
        out = model / how
    before = bytes_of(tmp_path)
    more: dict[str, list[str]] = {"predict": ["--overwrite", "--format", "csv"], "review": ["-n", "3", "--overwrite"]}
    code, _, err = call(command, model, ads, "-t", "text", "-o", out, *more.get(command, []))
    assert code == 2 and "Traceback" not in err
    assert "is an input of this command" in err
    assert bytes_of(tmp_path) == before


def test_a_table_of_a_folder_is_no_input(call: Call, tmp_path: Path) -> None:
    """``hjc taxonomy import -o .`` beside the file it reads, where that has the name of what it writes."""
    tree = tmp_path / "taxonomy.csv"
    tree.write_text("code,parent,title_en\n2,,health\n21,2,nurses\n")
    before = bytes_of(tmp_path)
    code, _, err = call("taxonomy", "import", "csv", tree, "-o", tmp_path)
    assert code == 2 and "is an input of this command" in err and bytes_of(tmp_path) == before


def test_names_are_free_again_after_the_command(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("old")
    with keeping([path, tmp_path / "not there", "\0"]):
        with pytest.raises(ValueError, match="an input of this command"):
            write_text(path, "new")
        write_text(tmp_path / "b.csv", "new")
    assert path.read_text() == "old"
    write_text(path, "new")


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet", "xlsx"])
@pytest.mark.parametrize("room", [0, 3000])
def test_a_full_disk_leaves_no_file_that_cannot_be_read(
    call: Call, model: Path, ads: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, room: int
) -> None:
    """Parquet and workbooks without their end are nothing, and were said to hold the rows."""
    from hjc.tables import writers

    class Full:
        """A file on a disk with so much room."""

        def __init__(self, raw: Any) -> None:
            self.raw, self.left = raw, room

        def write(self, data: Any) -> int:
            self.left -= len(data)
            if self.left < 0:
                raise OSError(errno.ENOSPC, "No space left on device")
            return int(self.raw.write(data))

        def __getattr__(self, name: str) -> Any:
            return getattr(self.raw, name)

    opened = writers.Place.open
    monkeypatch.setattr(writers.Place, "open", lambda place: Full(opened(place)))
    out = tmp_path / f"out.{kind}"
    code, _, err = call("predict", model, ads, "-t", "text", "-o", out, "--top-k", 20)
    assert code == 2 and "No space left" in err and "Traceback" not in err
    assert not out.exists()
    partial = tmp_path / f"out.{kind}.partial"
    assert partial.exists() == (f"{out}.partial" in err)
    if kind in ("parquet", "xlsx"):
        assert not partial.exists()


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet", "xlsx"])
def test_tables_of_memory_refuse_an_input(ads: Path, kind: str) -> None:
    import pandas as pd

    with keeping([ads]), pytest.raises(ValueError, match="an input of this command"):
        write_frame(pd.DataFrame({"a": [1]}), str(ads), kind)
    assert ads.read_text() == ADS
