"""A job from its settings to its last output: what is left to do, who does it, and what became of it."""

import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Protocol

from hjc.apply.folder.inputs import Input
from hjc.apply.folder.manifest import Manifest, State, read_state
from hjc.apply.folder.parts import NEVER, Job, Task, Tell, Told, assemble
from hjc.errors import name_some

#: rows of this run, rows a second, share of the whole that is done, and that at the start
Show = Callable[[int, float, float, float], None]


class Engine(Protocol):
    """Who codes the parts. ``workers``: how many at once."""

    workers: int

    def run(self, tasks: Sequence[Task], tell: Tell) -> Iterator[tuple[Task, str]]:
        """Code the parts of all tasks; each finished task with "", or with why its input cannot be coded."""
        ...

    def notes(self) -> list[str]:
        """Sentences about the rows that were coded."""
        ...


@dataclass
class Outcome:
    """What was done, now and before.

    Attributes:
        inputs: how many there are. before: inputs that were finished already.
        rows: coded now; all_rows: with those of earlier commands. uncoded: status -> rows, of all.
        unreadable: lines that are no rows, of all. failed: input -> why it could not be coded. notes: sentences.
    """

    inputs: int = 0
    before: int = 0
    rows: int = 0
    all_rows: int = 0
    uncoded: Counter[str] = field(default_factory=Counter)
    unreadable: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def message(self) -> str:
        """One line for the terminal."""
        rate = f", {self.rows / self.seconds:,.0f} rows/s" if self.rows and self.seconds else ""
        before = f" ({self.before:,} were done before)" if self.before else ""
        out = f"{self.inputs - len(self.failed):,} of {self.inputs:,} inputs{before}: {self.all_rows:,} rows"
        out += f", {self.rows:,} of them in {self.seconds:.1f} s{rate}"
        out += "".join(f"; {count:,} not coded ({reason})" for reason, count in self.uncoded.items())
        return out + (f"; {self.unreadable:,} unreadable lines left out, see *.rejects.csv" if self.unreadable else "")


class Meter:
    """How far the whole is: by bytes of the inputs, of which each part's share is told.

    Args:
        sizes: input -> bytes.
        show: called with rows of this run, rows a second, the share of all inputs that is done, and that at the start.
    """

    def __init__(self, sizes: Mapping[str, int], show: Show) -> None:
        self._sizes, self._total, self._show = sizes, max(sum(sizes.values()), 1), show
        #: input -> its share that is done
        self._shares = dict.fromkeys(sizes, 0.0)
        #: parts at hand -> rows and share so far
        self._now: dict[tuple[str, int], tuple[int, float]] = {}
        self._rows, self._done, self._before = 0, 0.0, 0.0
        self._started = time.monotonic()

    def begin(self, name: str, share: float) -> None:
        """So much of an input was done by earlier commands."""
        self._add(name, share)
        self._before = self._done

    def finish(self, name: str) -> None:
        """An input is done."""
        self._add(name, 1.0)

    def _add(self, name: str, share: float) -> None:
        share = min(share, 1.0 - self._shares[name])
        self._shares[name] += share
        self._done += share * self._sizes[name] / self._total

    def __call__(self, told: Told) -> None:
        if told.number < 0:
            return
        rows, share = self._now.pop((told.name, told.number), (0, 0.0))
        self._rows += told.rows - rows
        self._add(told.name, told.share - share)
        if told.record is None:
            self._now[told.name, told.number] = (told.rows, told.share)
        self._show(self._rows, self._rows / max(time.monotonic() - self._started, 1e-9), self._done, self._before)


def changed_inputs(inputs: Sequence[Input], manifest: Manifest) -> list[str]:
    """Names of the finished inputs that are not what they were when they were coded."""
    return [one.name for one in inputs if one.name in manifest.lines and not manifest.is_same(one)]


def run_job(
    job: Job,
    inputs: Sequence[Input],
    engine: Engine,
    *,
    redo_changed: bool = False,
    note: Callable[[str], None] = lambda sentence: None,
    show: Show = lambda rows, rate, share, before: None,
) -> Outcome:
    """Code what is not coded yet, and write each output when it is whole.

    An input that cannot be read does not stop the others; it is tried again by the next command.

    Args:
        redo_changed: code finished inputs that have changed since again; else they are an error.
        note: told sentences as they come up. show: see :class:`Meter`.

    Raises:
        ValueError: inputs have changed.
        OSError: an output cannot be written. ChildProcessError: a process was killed.
    """
    manifest, started = Manifest(job.work), time.monotonic()
    outcome = Outcome(inputs=len(inputs))
    changed = changed_inputs(inputs, manifest)
    if changed and not redo_changed:
        raise ValueError(
            f"{len(changed)} of {len(inputs)} inputs have changed since they were coded: {name_some(changed)}; "
            "--redo-changed codes them again"
        )
    if changed:
        note(f"coded again, as they have changed: {name_some(changed)}")
    by_name = {one.name: one for one in inputs}
    if gone := [name for name in manifest.lines if name not in by_name]:
        note(f"warning: inputs that are gone, whose outputs stay: {name_some(gone)}")
    finished = {name: manifest.lines[name] for name in by_name if name in manifest.lines}
    for name in changed:
        del finished[name]
    if lost := [name for name, line in finished.items() if not _is_there(job, line)]:
        note(f"warning: coded again, as their outputs are gone or not what was written: {name_some(lost)}")
    for name in lost:
        del finished[name]
    states: dict[str, State] = {}
    for one in (one for name, one in by_name.items() if name not in finished):
        states[one.name], useless = read_state(job.folder(one), one.stamp())
        if useless:
            reason = "the input has changed since, or they are damaged"
            note(f"warning: {one.name}: {useless} finished parts are of no use: {reason}")
            if not states[one.name].parts:
                shutil.rmtree(job.folder(one))
    outcome.before = len(finished)
    if begun := sum(len(state.parts) for state in states.values()):
        note(f"going on: {len(finished):,} of {len(inputs):,} inputs and {begun:,} parts of others are done")
    elif finished:
        note(f"going on: {len(finished):,} of {len(inputs):,} inputs are done")
    meter = Meter({one.name: one.stamp()[0] for one in inputs}, show)
    for name in finished:
        meter.begin(name, 1.0)
    for name, state in states.items():
        meter.begin(name, sum(record.share for record in state.parts.values()))

    def done(name: str) -> None:
        end, uncoded, size = assemble(job, by_name[name], states[name])
        manifest.add(by_name[name], end, uncoded, size)
        shutil.rmtree(job.folder(by_name[name]))
        outcome.notes += [f"{name}: {sentence}" for sentence in end.mended]
        del states[name]
        meter.finish(name)

    def told(what: Told) -> None:
        state = states.get(what.name)
        if state is None:  # put together already, of what another task has told
            return
        if what.record is not None:
            state.parts[what.number] = what.record
            outcome.rows += what.record.rows
        state.end = what.end or state.end
        meter(what)
        if state.complete:
            done(what.name)

    for name in [name for name, state in states.items() if state.complete]:  # killed just before it was put together
        done(name)
    tasks = plan_tasks(job, [by_name[name] for name in states], states, engine.workers)
    for task, reason in engine.run(tasks, told):
        if reason:
            outcome.failed[task.one.name] = reason
    lines = [manifest.lines[name] for name in by_name if name not in states and name in manifest.lines]
    outcome.all_rows = sum(line["rows"] for line in lines)
    outcome.unreadable = sum(line["unreadable"] for line in lines)
    for line in lines:
        outcome.uncoded.update(line["uncoded"])
    outcome.seconds = time.monotonic() - started
    outcome.notes += engine.notes()
    if not states:
        with suppress(OSError):
            shutil.rmtree(job.work / "parts")
    return outcome


def _is_there(job: Job, line: dict[str, Any]) -> bool:
    path = job.target / line["output"]
    return path.is_file() and path.stat().st_size == line["output_size"]


def plan_tasks(job: Job, inputs: Sequence[Input], states: dict[str, State], workers: int) -> list[Task]:
    """The tasks, largest first. An input that is a large share of the work is cut for several workers: Parquet into
    runs of parts, so that each reads its own row groups; text in turns, as every worker must read it from the start."""
    sizes = {one.name: one.stamp()[0] for one in inputs}
    total, tasks = max(sum(sizes.values()), 1), list[tuple[float, Task]]()
    for one in inputs:
        shares = max(1, min(workers, round(1.5 * workers * sizes[one.name] / total)))
        done = frozenset(states[one.name].parts)
        parts = _parts_of(job, one) if shares > 1 else None
        for k in range(shares):
            if parts is None:
                task = Task(one, k, shares, NEVER, done)
            else:
                task = Task(one, k * parts // shares, 1, (k + 1) * parts // shares, done)
            tasks.append((sizes[one.name] / shares, task))
    return [task for _, task in sorted(tasks, key=lambda pair: -pair[0])]


def _parts_of(job: Job, one: Input) -> int | None:
    """How many parts an input has, where its file says it; None also where it cannot be read, which the task finds."""
    try:
        with job.open(one) as reader:
            total = reader.total()
    except (ValueError, OSError):
        return None
    return None if total is None else -(-total // job.part_rows_of(one))
