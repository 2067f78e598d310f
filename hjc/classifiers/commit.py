"""The last step of a save: from ``.commit`` into place, and where a model is whole when that step was interrupted."""

import os
import shutil
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from hjc.classifiers.paths import CONFIG, check_entries, inside, is_safe, read_json
from hjc.files import sync_to_disk

SAVING = ".saving-"
COMMIT = ".commit"
#: files that are made from a finished model and mean nothing beside another one: a save removes them
DERIVED = ("calibration.json", "calibration_scores.npz", "drift_profile.json")
#: copies of models whose files an older hjc left in two places; they live as long as the process
_GATHERED: list[tempfile.TemporaryDirectory[str]] = []


def finish_commit(target: Path) -> None:
    """Put what lies in ``.commit`` into place; repeatable at any point of an interruption. Only a save calls it."""
    commit = target / COMMIT
    if _pending(target):
        check_entries(commit)
        names = [n for n in names_in(commit) if n != CONFIG]
        for name in names:
            _place(commit / name, target, name)
        with suppress(FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
            new = read_json(commit / CONFIG)["files"]
            for name in read_json(target / CONFIG)["files"]:
                if name not in new and is_safe(name) and inside(target, name).is_file():
                    (target / name).unlink()
        for name in DERIVED:
            (target / name).unlink(missing_ok=True)
        _place(commit / CONFIG, target, CONFIG)
        sync_to_disk(target)
        gone = target / f"{SAVING}done"
        remove(gone)
        os.replace(commit, gone)  # in one step: half of it must not be taken for a model
        commit = gone
    remove(commit)


def _pending(directory: Path) -> bool:
    """Whether a save was interrupted after its model had become the valid one."""
    commit = directory / COMMIT
    return not commit.is_symlink() and (commit / CONFIG).is_file() and not (commit / CONFIG).is_symlink()


def _place(source: Path, target: Path, name: str) -> None:
    """Give a file its name in the directory, without a moment in which there is none or half of one."""
    make_parents(target, name)
    if (target / name).exists() and os.path.samefile(source, target / name):
        return
    step = target / f"{SAVING}file"
    step.unlink(missing_ok=True)
    try:
        os.link(source, step)
    except OSError:  # a file system without hard links
        shutil.copy2(source, step)
        sync_to_disk(step)
    os.replace(step, target / name)


def make_parents(target: Path, name: str) -> None:
    """Make the folders of a file; ModelDirError where a link, a device or a pipe is in the way."""
    inside(target, name).parent.mkdir(parents=True, exist_ok=True)


def remove(path: Path) -> None:
    """Remove a file, a link or a folder of ours, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def names_in(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def model_root(directory: str | os.PathLike[str]) -> Path:
    """Where the valid model of a directory lies: there, or in ``.commit`` after an interrupted save."""
    path = Path(directory)
    return path / COMMIT if _pending(path) else path


def gathered(commit: Path, files: Iterable[str]) -> Path:
    """A copy of a model of which an interrupted save of an older hjc has moved a part into place already."""
    folder = tempfile.TemporaryDirectory(prefix="hjc-")
    _GATHERED.append(folder)
    for name in files:
        found = next((p for side in (commit, commit.parent) if (p := inside(side, name)).is_file()), None)
        if found is not None:
            (Path(folder.name) / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(found, Path(folder.name) / name)
    return Path(folder.name)
