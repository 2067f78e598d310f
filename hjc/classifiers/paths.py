"""Paths inside a model directory, which a stranger may have made: nothing leads out of it, nothing but plain files;
the last step of a save, from ``.commit`` into place, and where a model is whole when that step was interrupted.

A model directory of a Hugging Face hub cache is the one exception: its files are links to the ``blobs`` folder of the
same cached repository.
"""

import hashlib
import json
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from hjc.errors import ModelDirError
from hjc.files import read_json, sync_to_disk

CONFIG = "config.json"
#: what a run was: command, settings, data hashes
PROVENANCE = "train.yaml"
#: the key of the SHA-256 of a file's own content, all of it but this key; files of an older hjc have none
CONTENT = "content_sha256"
SAVING = ".saving-"
COMMIT = ".commit"
#: files that are made from a finished model and mean nothing beside another one: a save removes them
SEVERAL = "several.npz"
DERIVED = ("calibration.json", "calibration_scores.npz", "drift_profile.json", "training_texts.npz", SEVERAL)
#: copies of models whose files an older hjc left in two places; they live as long as the process
_GATHERED: list[tempfile.TemporaryDirectory[str]] = []
#: folders of a run that loading never reads; users move them elsewhere and leave links, and loggers make links
UNREAD = frozenset({"logs", "checkpoints", "plots", ".hydra"})
#: devices under Windows, in any folder and with any suffix
_DEVICE = re.compile(r"(?:con|prn|aux|nul|com\d|lpt\d)(?:\..*)?", re.IGNORECASE)


def is_safe(name: object) -> bool:
    """Whether a name from a config.json is a plain path that stays inside the directory, on every system."""
    if not isinstance(name, str) or re.search(r'[\\\x00-\x1f:*?"<>|]', name):
        return False
    path = PurePosixPath(name)
    parts = path.parts
    return (
        str(path) == name
        and bool(parts)
        and not path.is_absolute()
        and ".." not in parts
        and not any(map(_DEVICE.fullmatch, parts))
    )


def inside(root: Path, name: str) -> Path:
    """The path of ``name`` in a model directory, every component looked at.

    Raises:
        ModelDirError: it is absolute or leads out, or a component is a link, or a device, pipe or socket.
    """
    if not is_safe(name):
        raise ModelDirError(f"{root}: lists {name!r}, which lies outside the directory; do not trust this model")
    path = root
    for part in PurePosixPath(name).parts:
        path = path / part
        check_entry(root, path)
    return path


def check_entry(root: Path, path: Path) -> None:
    """Raise ModelDirError when ``path``, an entry below ``root``, is a link (those of a hub cache apart) or special."""
    try:
        mode = path.lstat().st_mode
    except OSError:  # not there: who reads it says so
        return
    if stat.S_ISLNK(mode) and not _is_blob_link(root, path):
        raise ModelDirError(
            f"{path} is a link, and a model directory must hold its own files; put the file itself in its place if "
            "you made the link, else do not trust this model"
        )
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_ISLNK(mode)):
        raise ModelDirError(f"{path} is a device, pipe or socket and no file; remove it, and do not trust this model")


def check_entries(root: Path) -> None:
    """:func:`check_entry` of everything in a model directory but the folders that loading never reads."""
    folders = [root]
    while folders:
        folder = folders.pop()
        for entry in os.scandir(folder):
            if folder != root or entry.name not in UNREAD:
                check_entry(root, folder / entry.name)
                if entry.is_dir(follow_symlinks=False):
                    folders.append(folder / entry.name)


def _is_blob_link(root: Path, path: Path) -> bool:
    """Whether the directory lies in ``snapshots/REVISION`` of a hub cache and the link leads to one of its blobs."""
    real = root.resolve()  # its own links are the user's
    for folder in (real, *real.parents):
        blobs = folder.parent.parent / "blobs"
        if folder.parent.name == "snapshots" and blobs.is_dir() and not blobs.is_symlink():
            link = real / path.relative_to(root)
            target = Path(os.path.normpath(link.parent / os.readlink(link)))
            return target.parent == blobs and not target.is_symlink() and target.is_file()
    return False


def content_hash(state: Mapping[str, Any]) -> str:
    """SHA-256 of plain JSON values, or of arrays with their names, types and shapes."""
    digest = hashlib.sha256()
    for name, value in sorted(state.items()):
        if isinstance(value, np.ndarray):
            digest.update(f"{name} {value.dtype.str} {value.shape}\n".encode())
            digest.update(np.ascontiguousarray(value).tobytes())
        else:
            digest.update(json.dumps([name, value], sort_keys=True).encode())
    return digest.hexdigest()


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
