"""What the campaigns share: commands in this process or a fresh one, counts, a folder that must not change."""

import io
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

MODELS = Path(__file__).parent.parent / "fixtures" / "models_0_1"
ROOT = Path(__file__).parent.parent.parent
#: seconds after which a case counts as hanging
LIMIT = 600
#: what commands import when they are called
IMPORTED = [
    "hjc.cli", "hjc.apply.predict", "hjc.classifiers.linear", "hjc.classifiers.neural", "hjc.corpus.prepare",
    "hjc.evaluation.evaluate", "hjc.nn.training", "hjc.training.workflow",
]  # fmt: skip


class Ended(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def crashed(self) -> bool:
        """A stack trace, or an exit code that is none of: done, one message, Ctrl-C."""
        return self.code not in (0, 2, 130) or "Traceback (most recent" in self.err

    @property
    def refused(self) -> bool:
        """Exit code 2 and one message."""
        return self.code == 2 and self.err.count("rror: ") >= 1 and not self.crashed


@contextmanager
def in_time() -> Iterator[None]:
    """TimeoutError in a case that hangs; none of its handlers may swallow it."""

    def stop(*_: Any) -> None:
        raise SystemExit(f"hangs: more than {LIMIT} s")

    previous = signal.signal(signal.SIGALRM, stop)
    signal.alarm(LIMIT)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, previous)


def here(*arguments: object) -> Ended:
    """``hjc ARGUMENTS`` in this process."""
    from hjc.cli import main

    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2))
    code: Any = 0
    with mock.patch.object(sys, "argv", ["hjc", *map(str, arguments)]), redirect_stdout(out), redirect_stderr(err):
        try:
            with in_time():
                main()
        except SystemExit as end:
            code = end.code or 0
        except BaseException:
            code = 1
            traceback.print_exc(file=err)
    texts = [stream.buffer.getvalue().decode("utf-8", "replace") for stream in (out, err)]
    if not isinstance(code, int):
        code, texts[1] = 1, texts[1] + str(code)
    return Ended(code, *texts)


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "hjc.cli", *map(str, arguments)]


def environment() -> dict[str, str]:
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    return {**os.environ, **threads, "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)}


def fresh(*arguments: object) -> Ended:
    """``hjc ARGUMENTS`` in a process of its own."""
    done = subprocess.run(command(*arguments), capture_output=True, env=environment(), timeout=LIMIT)
    return Ended(done.returncode, *(text.decode("utf-8", "replace") for text in (done.stdout, done.stderr)))


@cache
def _server() -> Any:
    """A process that has imported what commands import and run none: forks of it start at once."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(IMPORTED)
    return context


def _be(arguments: list[str], out: str, err: str) -> None:
    """Be ``hjc ARGUMENTS``, with its outputs in two files."""
    from hjc.cli import main

    os.environ.update(environment())
    for name, number in ((out, 1), (err, 2)):
        os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT, 0o600), number)
    sys.stdout, sys.stderr = (os.fdopen(number, "w", 1, "utf-8") for number in (1, 2))
    sys.argv = ["hjc", *arguments]
    main()


def forked(*arguments: object, seconds: float = LIMIT) -> Ended:
    """``hjc ARGUMENTS`` in a fork of a process that ran no command before; killed after so many seconds: code -9."""
    with tempfile.TemporaryDirectory(prefix="hjc-forked-") as folder:
        paths = [Path(folder, name) for name in ("out", "err")]
        process = _server().Process(target=_be, args=([*map(str, arguments)], *map(str, paths)))
        process.start()
        process.join(seconds)
        if process.exitcode is None:
            process.kill()
            process.join()
        texts = [path.read_bytes().decode("utf-8", "replace") if path.exists() else "" for path in paths]
        return Ended(process.exitcode, *texts)


def snapshot(folder: Path) -> dict[str, tuple[int, int, int]]:
    """Every entry below a folder, links not followed: its mode, size and time of change."""
    found = {}
    for path in folder.rglob("*"):
        status = path.lstat()
        found[str(path.relative_to(folder))] = (status.st_mode, status.st_size, status.st_mtime_ns)
    return found


@dataclass
class Tally:
    """The counts of one campaign, and what went wrong."""

    name: str
    seed: int
    counts: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    started: float = field(default_factory=time.monotonic)

    def random(self, case: object) -> random.Random:
        """The random numbers of one case, whatever the others draw."""
        return random.Random(f"{self.name} {self.seed} {case}")

    def add(self, *kinds: str) -> None:
        self.counts.update(kinds)

    def fault(self, case: object, text: str, ended: Ended | None = None) -> None:
        """Something that must not be; the end of the message is printed at once."""
        told = text if ended is None else f"{text} | rc {ended.code} | {ended.err.strip()[-600:]}"
        self.faults.append(f"{self.name} {case}: {told}")
        print(f"FAULT {self.faults[-1]}", flush=True)

    def judge(self, case: object, ended: Ended) -> bool:
        """Count how a command ended; whether it was done."""
        if ended.crashed:
            self.fault(case, "stack trace or strange exit code", ended)
        elif ended.code == 2 and not ended.refused:
            self.fault(case, "no message", ended)
        self.add(
            "tracebacks" if ended.crashed else {0: "done", 2: "refused with one message"}.get(ended.code, "stopped")
        )
        return ended.code == 0 and not ended.crashed

    def end(self) -> int:
        """Print the counts; the number of faults."""
        print(f"\n{self.name}, seed {self.seed}, {time.monotonic() - self.started:.0f} s")
        for kind, count in sorted(self.counts.items()):
            print(f"  {count:>9,}  {kind}")
        print(f"  {len(self.faults):>9,}  faults", flush=True)
        return len(self.faults)
