"""Where an output goes: to ``OUT.partial`` until all is done, never over an input, one process at a time."""

import os
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import IO

from hjc.files import destination, is_special, locked
from hjc.tables.source import OPENERS


def check_output(output: str, *inputs: str, overwrite: bool) -> None:
    """Refuse to write over an input (always) or over a finished output (unless ``overwrite``).

    Raises:
        ValueError: the output or its partial file is an input, or a folder.
        FileExistsError: it exists. FileNotFoundError: its folder does not. BusyError: another process writes it.
    """
    if output == "-":
        return
    if Path(output).is_dir():
        raise ValueError(f"{output} is a directory; give the name of a file with -o")
    place = Place(output)
    for path in inputs:
        if path == "-" or not Path(path).exists():
            continue
        if Path(output).exists() and os.path.samefile(output, path):
            raise ValueError(f"{output} is the input itself; give another name with -o")
        if place.partial is not None and place.partial.exists() and os.path.samefile(place.partial, path):
            raise ValueError(f"{output} would be written to the input {path} first; give another name with -o")
    if place.partial is not None:
        if Path(output).exists() and not overwrite:
            raise FileExistsError(f"{output} exists; give --overwrite to replace it, or another name")
        place.check()


class Place:
    """Standard output, a pipe or a device (written directly), or a file: a link's target is replaced, not the link."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._target = None if path == "-" or is_special(path) else destination(path)
        #: what is written until all is done; None where it is written directly
        self.partial = None if self._target is None else self._target.with_name(self._target.name + ".partial")
        self._held, self._files = ExitStack(), ExitStack()

    def check(self) -> None:
        """Raise where it could not be opened now."""
        with self._held:
            self._lock()

    def _lock(self) -> None:
        if self.partial is not None:
            if not self.partial.parent.is_dir():
                raise FileNotFoundError(f"no directory {self.partial.parent} for the output; create it first")
            busy = f"another process is writing {self.path}; wait until it is done, or give another name"
            self._held.enter_context(locked(f"{self.partial}.lock", busy))

    def open(self) -> IO[bytes]:
        """The bytes to write to, compressed by the name's ending.

        Raises:
            FileNotFoundError: no such folder. BusyError: another process writes there.
        """
        if self.path == "-":
            return sys.stdout.buffer
        self._lock()
        raw: IO[bytes] = self._files.enter_context((self.partial or Path(self.path)).open("wb"))
        if (opener := OPENERS.get(Path(self.path).suffix.lower())) is not None:
            return self._files.enter_context(opener(raw, "wb"))
        return raw

    def close(self, *, done: bool, keep: bool = True) -> None:
        """End the file; give it its name when it is ``done``, else ``keep`` what was written in OUT.partial or not."""
        with self._held:
            self._files.close()
            if self.partial is not None and self._target is not None:
                if done:
                    os.replace(self.partial, self._target)
                elif not keep:
                    self.partial.unlink(missing_ok=True)
