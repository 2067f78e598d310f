"""Engines: this process alone, or several, each with the model and its share of the cores."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.connection import wait as wait_for
from typing import Any

from hjc.apply.folder.parts import Job, Task, Tell, code_task
from hjc.apply.step import Coder, Step
from hjc.classifiers.base import Classifier
from hjc.classifiers.engines import cores

#: what the libraries beneath a model read when they are loaded: threads of matrix products, and of tokenizers
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS")
#: errors of one input, which do not stop the others
ITS_OWN = (ValueError, FileNotFoundError, PermissionError)


class Alone:
    """This process codes everything."""

    workers = 1

    def __init__(self, step: Step, job: Job, model: Classifier | None = None) -> None:
        self.step, self.job, self.model = step, job, model
        self.coder: Coder | None = None

    def run(self, tasks: Sequence[Task], tell: Tell) -> Iterator[tuple[Task, str]]:
        for task in tasks:
            self.coder = self.coder or self.step.over(self.model or self.step.model())
            yield task, attempt(self.coder, self.job, task, tell)

    def notes(self) -> list[str]:
        """Sentences about what it has coded."""
        return [] if self.coder is None else [*self.coder.first_notes(), *self.coder.notes()]


def attempt(coder: Coder, job: Job, task: Task, tell: Tell) -> str:
    """Code a task; why its input cannot be coded, or ""."""
    try:
        code_task(coder, job, task, tell)
    except ITS_OWN as error:
        return str(error)
    return ""


# ------------------------------------------------------------------ in a worker

_worker: dict[str, Any] = {}


def _begin(step: Step, job: Job, told: Any) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of the terminal, for the parent
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _worker.update(job=job, told=told)
    try:
        _worker["coder"] = step.load()
    except Exception as error:  # for the parent to raise: an initializer's own error would only break the pool
        _worker["error"] = error


def _end_with_parent() -> None:
    """A parent that is killed takes its workers along: they would write into the folder of the next command."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait_for([parent.sentinel])
        os.kill(os.getpid(), signal.SIGTERM)


def _work(task: Task) -> tuple[str, int, list[str]]:
    if "error" in _worker:
        raise _worker["error"]
    reason = attempt(_worker["coder"], _worker["job"], task, _worker["told"].put)
    coder: Coder = _worker["coder"]
    return reason, os.getpid(), [*coder.first_notes(), *coder.notes(counts=False)]


# ------------------------------------------------------------------ in the parent


@contextmanager
def threads_each(workers: int) -> Iterator[None]:
    """Processes started within get their share of the cores as threads, unless the user has said how many."""
    new = {name: str(max(1, cores() // workers)) for name in THREADS if name not in os.environ}
    os.environ.update(new)
    try:
        yield
    finally:
        for name in new:
            del os.environ[name]


class Processes:
    """``workers`` processes, started anew (spawn), each with a model of its own."""

    def __init__(self, step: Step, job: Job, workers: int) -> None:
        self.step, self.job, self.workers = step, job, workers
        self._said: dict[int, list[str]] = {}

    def run(self, tasks: Sequence[Task], tell: Tell) -> Iterator[tuple[Task, str]]:
        if not tasks:
            return
        context, others = multiprocessing.get_context("spawn"), multiprocessing.active_children()
        told = context.SimpleQueue()
        pool = ProcessPoolExecutor(self.workers, context, initializer=_begin, initargs=(self.step, self.job, told))
        with threads_each(self.workers):
            running: dict[Future[Any], Task] = {pool.submit(_work, task): task for task in tasks}
        try:
            while running:
                ended, _ = wait(running, timeout=0.2, return_when=FIRST_COMPLETED)
                while not told.empty():
                    tell(told.get())
                for future in ended:
                    reason, worker, notes = future.result()
                    self._said[worker] = notes
                    yield running.pop(future), reason
        except BrokenProcessPool:
            raise ChildProcessError(
                "a worker process was killed (for want of memory?); what was finished is kept: give "
                "the command again, with fewer --workers"
            ) from None
        except BaseException:
            for process in multiprocessing.active_children():
                if process not in others:
                    process.terminate()
            raise
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def notes(self) -> list[str]:
        """Of the worker that has said most; each speaks of its own rows."""
        return max(self._said.values(), key=len, default=[])
