"""Files replaced whole or not at all, links and special files that a user names, and a lock that says who is late."""

import hashlib
import json
import os
import secrets
import shutil
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, TextIO

#: a file may be given as text too
PathLike = str | os.PathLike[str]


class BusyError(OSError):
    """Another process is writing there. The message says what to do."""


#: device and number of files that must stay as they are: what the command at work was told to read
_kept: set[tuple[int, int]] = set()


@contextmanager
def keeping(paths: Iterable[PathLike]) -> Iterator[None]:
    """Until the end of the block none of these files is written over, under no name. Those not there are left out."""
    mine = set()
    for path in paths:
        with suppress(OSError, ValueError):
            found = os.stat(path)
            if stat.S_ISREG(found.st_mode) and found.st_ino:
                mine.add((found.st_dev, found.st_ino))
    before = set(_kept)
    _kept.update(mine)
    try:
        yield
    finally:
        _kept.intersection_update(before)


def check_kept(path: PathLike) -> None:
    """Raise ValueError where writing to ``path`` would destroy an input: see :func:`keeping`."""
    with suppress(OSError):
        found = os.stat(path)
        if (found.st_dev, found.st_ino) in _kept:
            raise ValueError(f"{path} is an input of this command; give another name for what it writes")


@contextmanager
def replacing(path: PathLike, *, follow: bool = False, sync: bool = False) -> Iterator[Path]:
    """A new, empty file beside ``path`` to be written to; it takes the name ``path`` when all went well.

    After an error (Ctrl-C too) ``path`` is as it was and nothing else is left. The file's mode is that of a new file
    (umask), whatever wrote it. Names are never shared: parallel writers of one file do not mix, the last one stays.

    Args:
        follow: ``path`` was named by a user (``-o``): a link is followed, the mode of an old file is kept, and a
            device or a pipe is written into; else a link is replaced, so that nothing outside its folder changes.
        sync: have it on the disk before it takes the name, so that a power cut leaves the old or the new file.

    Raises:
        IsADirectoryError: ``path`` is a directory. ValueError: it is an input of the command at work.
    """
    target = destination(path) if follow else Path(path)
    if not target.is_symlink():
        check_kept(target)
    if target.is_dir() and not target.is_symlink():
        raise IsADirectoryError(f"{target} is a directory; give the name of a file")
    if follow and is_special(target):
        yield target
        return
    part = target.with_name(f".{target.name[:100]}.{os.getpid()}-{secrets.token_hex(4)}.part")
    handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    mode = stat.S_IMODE(os.fstat(handle).st_mode)
    os.close(handle)
    if follow and target.exists():
        mode = stat.S_IMODE(target.stat().st_mode)
    try:
        yield part
        part.chmod(mode)  # some libraries write files that only their owner can read
        if sync:
            sync_to_disk(part)
        os.replace(part, target)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    if sync:
        sync_to_disk(target.parent)


@contextmanager
def new_folder(folder: PathLike, scratch: PathLike) -> Iterator[Path]:
    """A new, empty folder inside ``scratch`` to be written to; it takes the name ``folder`` when all went well, and
    ``scratch`` is gone. After an error, or a kill, nothing is at ``folder`` and ``scratch`` is there to go on from.

    Args:
        scratch: on the same disk as ``folder``; one process at a time. What a killed one left there is replaced.

    Raises:
        FileExistsError: something other than an empty folder is at ``folder`` when all went well.
    """
    part = Path(scratch) / "finished.part"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    yield part
    check_new_folder(folder)
    os.replace(part, folder)
    shutil.rmtree(scratch, ignore_errors=True)


@contextmanager
def open_replacing(path: PathLike, *, follow: bool = False, sync: bool = False) -> Iterator[IO[bytes]]:
    """:func:`replacing` as an open binary stream."""
    with replacing(path, follow=follow, sync=sync) as part, part.open("wb") as stream:
        yield stream


def write_bytes(path: PathLike, data: bytes, *, follow: bool = False, sync: bool = False) -> Path:
    """Replace the content of a file; arguments as of :func:`replacing`."""
    with open_replacing(path, follow=follow, sync=sync) as stream:
        stream.write(data)
    return Path(path)


def write_text(path: PathLike, text: str, *, follow: bool = False, sync: bool = False) -> Path:
    """Replace the content of a file with text in UTF-8, line ends as they are; arguments as of :func:`replacing`."""
    return write_bytes(path, text.encode("utf-8"), follow=follow, sync=sync)


def read_json(path: PathLike) -> Any:
    """The value of a JSON file.

    Raises:
        ValueError: the text is no JSON, is not UTF-8, or is nested so deeply that it is nobody's honest file; names
            the file.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except RecursionError:
        raise ValueError(f"{path}: not valid JSON (nested too deeply)") from None
    except ValueError as error:
        raise ValueError(f"{path}: not valid JSON ({error})") from None


def write_json(path: PathLike, value: Any) -> Path:
    """Replace the content of a file with a JSON value for people to read."""
    return write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def checksum(path: PathLike) -> str:
    """SHA-256 of a file, in hexadecimal digits."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def check_folder(path: PathLike) -> None:
    """Raise NotADirectoryError where the folder to be written to is a file."""
    if Path(path).exists() and not Path(path).is_dir():
        raise NotADirectoryError(f"{path} is a file; -o takes a folder")


def check_new_folder(path: PathLike) -> None:
    """Raise FileExistsError where something is there other than an empty folder."""
    folder = Path(path)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FileExistsError(f"{folder} exists and is no empty folder; give another name, or remove it")


def binary(stream: TextIO | None) -> IO[bytes]:
    """The bytes of a standard stream. Raises OSError where the caller closed it."""
    if stream is None:
        raise OSError("standard input or output is closed; give the name of a file")
    return stream.buffer


def stem(path: str) -> str:
    """data/ads.csv.gz -> ads."""
    return path.replace("\\", "/").rstrip("/").rsplit("/", 1)[-1].split(".")[0]


def destination(path: PathLike) -> Path:
    """The file that a user's output name stands for: what a link, or a chain of them, points to, there or not yet.

    Raises:
        ValueError: the link leads to itself.
    """
    path = Path(path)
    if not path.is_symlink():
        return path
    try:
        return path.resolve(strict=False)
    except (OSError, RuntimeError):
        raise ValueError(f"{path} is a link that leads to itself; give another name") from None


def is_special(path: PathLike) -> bool:
    """Whether a device, a pipe or a socket is there (links followed): written into, never replaced or deleted."""
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def sync_to_disk(path: PathLike) -> None:
    """Have a file or directory on the disk before the next step (directories: where the system can)."""
    with suppress(OSError):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@contextmanager
def locked(path: PathLike, busy: str) -> Iterator[None]:
    """Hold the lock file ``path``, which is gone afterwards; a killed holder holds nothing.

    Raises:
        BusyError: another process (or thread) holds it; the message is ``busy``. Also when it is no plain file.
    """
    from filelock import FileLock, Timeout  # who only reads does without the package

    path = Path(path)
    if path.is_symlink() or (path.exists() and not path.is_file()):
        raise BusyError(f"{path} is no lock file of hjc; remove it")
    lock = FileLock(path, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise BusyError(busy) from None
    try:
        yield
    finally:
        with suppress(OSError):  # while it is held; who waits for the old file sees that it has no name and starts over
            path.unlink()
        lock.release()
