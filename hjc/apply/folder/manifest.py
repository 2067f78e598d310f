"""What is done of a job, on the disk: settings and inputs it began with, finished parts, finished outputs.

``OUT/.hjc/job.json`` has the settings; ``OUT/.hjc/manifest.jsonl`` a line for each finished output with size, time and
SHA-256 of its input; ``OUT/.hjc/parts/NAME/`` the finished parts of an input that is not finished, each with a record
that has its SHA-256. A kill at any moment leaves the state before or after, never one between. Outputs and their lines
are on the disk before the work goes on; parts need not be, as a power cut costs those whose checksum is wrong.
"""

import json
import os
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hjc.apply.folder.inputs import Input
from hjc.errors import name_some
from hjc.files import checksum, read_json, write_text

FORMAT = 1
#: a file of a part; no pattern for tables finds it
PART = ".part"


@dataclass(frozen=True)
class PartRecord:
    """A finished part of an input, as its JSON file says it.

    Attributes:
        number: from 0. rows: in it. uncoded: status -> rows.
        share: of the input's bytes that were read for it, 0 to 1.
        sha256: of its file. stamp: of the input (:meth:`Input.stamp`) when it was coded.
    """

    number: int
    rows: int
    uncoded: Mapping[str, int]
    share: float
    sha256: str
    stamp: list[int]


@dataclass(frozen=True)
class EndRecord:
    """What is known of an input when its last row has been read."""

    parts: int
    rows: int
    unreadable: int
    mended: list[str]
    stamp: list[int]


@dataclass
class State:
    """How far an input has come. ``parts``: finished ones; ``end``: None until somebody has read all of it."""

    parts: dict[int, PartRecord] = field(default_factory=dict)
    end: EndRecord | None = None

    @property
    def complete(self) -> bool:
        return self.end is not None and all(n in self.parts for n in range(self.end.parts))


def write_record(path: Path, record: PartRecord | EndRecord) -> None:
    """Write a record, whole or not at all; what it speaks of must be there already."""
    write_text(path, json.dumps(record.__dict__, ensure_ascii=False))


def read_state(folder: Path, stamp: Sequence[int]) -> tuple[State, int]:
    """What is finished of an input with this stamp, and how many parts are of no use: of an input that has changed
    since, or not what their record says."""
    state, useless = State(), 0
    if not folder.is_dir():
        return state, useless
    for path in folder.glob("*.json"):
        try:
            values = read_json(path)
        except ValueError:  # a power cut
            useless += 1
            continue
        current = values["stamp"] == list(stamp)
        if path.stem == "end":
            state.end = EndRecord(**values) if current else None
            continue
        record = PartRecord(**values)
        file = path.with_suffix(PART)
        if current and file.exists() and checksum(file) == record.sha256:
            state.parts[record.number] = record
        else:
            useless += 1
    return state, useless


class Manifest:
    """The finished outputs of a job: input name -> its line."""

    def __init__(self, work: Path) -> None:
        self.path = work / "manifest.jsonl"
        self.lines: dict[str, dict[str, Any]] = {}
        if self.path.exists():
            whole = self.path.read_bytes()
            if whole and not whole.endswith(b"\n"):  # killed within a line: what it speaks of is looked at again
                whole = whole[: whole.rfind(b"\n") + 1]
                with self.path.open("r+b") as stream:
                    stream.truncate(len(whole))
            for line in whole.decode("utf-8").splitlines():
                values = json.loads(line)
                self.lines[values["input"]] = values

    def add(self, one: Input, end: EndRecord, uncoded: Counter[str], size: int) -> dict[str, Any]:
        """A finished output of ``size`` bytes."""
        values = {
            "input": one.name, "output": one.output, "rows": end.rows, "uncoded": dict(uncoded),
            "unreadable": end.unreadable, "stamp": end.stamp, "sha256": checksum(one.path), "output_size": size,
        }  # fmt: skip
        self.write(values)
        return values

    def write(self, values: dict[str, Any]) -> None:
        """Append a line and have it on the disk."""
        with self.path.open("ab") as stream:
            stream.write(json.dumps(values, ensure_ascii=False).encode() + b"\n")
            stream.flush()
            os.fsync(stream.fileno())
        self.lines[values["input"]] = values

    def is_same(self, one: Input) -> bool:
        """Whether a finished input is as it was: by size and time, and where only the time is another, by SHA-256."""
        line, stamp = self.lines[one.name], one.stamp()
        if line["stamp"] == stamp:
            return True
        if line["stamp"][0] != stamp[0] or line["sha256"] != checksum(one.path):
            return False
        self.write({**line, "stamp": stamp})  # touched, or copied
        return True


def check_settings(work: Path, settings: Mapping[str, Any]) -> str:
    """Write the settings of a new job, or compare them with those that it began with.

    Returns:
        A sentence where another version of hjc began it, else "".

    Raises:
        ValueError: it is another job's folder; names what differs.
    """
    import hjc

    path = work / "job.json"
    wanted = {"format": FORMAT, "hjc": hjc.__version__, **settings}
    wanted = json.loads(json.dumps(wanted, ensure_ascii=False))
    if not path.exists():
        work.mkdir(parents=True, exist_ok=True)
        write_text(path, json.dumps(wanted, indent=1, ensure_ascii=False) + "\n", sync=True)
        return ""
    began = read_json(path)
    other = [key for key in {**wanted, **began} if key != "hjc" and wanted.get(key) != began.get(key)]
    if other:
        shown = [f"{key} was {_short(began.get(key))}, is {_short(wanted.get(key))}" for key in other[:5]]
        raise ValueError(
            f"{work.parent} has codes of another job ({'; '.join(shown)}): give the same options and model, another "
            "output folder, or --overwrite to begin anew"
        )
    if began["hjc"] != wanted["hjc"]:
        return f"warning: hjc {began['hjc']} began this job, this is hjc {wanted['hjc']}"
    return ""


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 40 else f"{text[:37]}..."


def clear(work: Path, target: Path, *, outputs: bool = True) -> None:
    """Remove a job's records, and the outputs that its manifest names (those below ``target``). Other files stay."""
    if not work.is_dir():
        return
    for line in Manifest(work).lines.values() if outputs else ():
        for name in (line["output"], f"{line['output']}.rejects.csv"):
            path = target / name
            if target.resolve() in path.resolve().parents:
                path.unlink(missing_ok=True)
    shutil.rmtree(work)


def check_target(work: Path, target: Path, inputs: Sequence[Input], overwrite: bool) -> None:
    """Raise where outputs stand in the way that are not this job's.

    Raises:
        FileExistsError: files of these names are there and nothing says that hjc wrote them.
    """
    if overwrite or (work / "job.json").exists():
        return
    if there := [one.output for one in inputs if (target / one.output).exists()]:
        raise FileExistsError(
            f"{target} has {name_some(there)} already, not from such a command; give --overwrite to replace them, or "
            "another folder"
        )
