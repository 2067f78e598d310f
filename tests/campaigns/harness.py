"""What the campaigns share: commands in this process or a fresh one, counts, a folder that must not change."""

import io
import os
import random
import signal
import subprocess
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

MODELS = Path(__file__).parent.parent / "fixtures" / "models_0_1"
ROOT = Path(__file__).parent.parent.parent
#: seconds after which a case counts as hanging
LIMIT = 600


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
    texts = [stream.buffer.getvalue().decode("utf-8", "replace") for stream in (out, err)]  # type: ignore[attr-defined]
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
