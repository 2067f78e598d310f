"""Paths inside a model directory, which a stranger may have made: nothing leads out of it, nothing but plain files.

A model directory of a Hugging Face hub cache is the one exception: its files are links to the ``blobs`` folder of the
same cached repository.
"""

import json
import os
import re
import stat
from pathlib import Path, PurePosixPath
from typing import Any

from hjc.errors import ModelDirError

CONFIG = "config.json"
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


def read_json(path: Path) -> Any:
    """ValueError where the text is no JSON, whatever is wrong with it."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except RecursionError:
        raise ValueError("nested too deeply") from None
