"""Everything that a running service holds, and the work it does beside answering."""

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from hjc.errors import check_range
from hjc.serve.memory import Correction
from hjc.serve.metrics import Metrics
from hjc.serve.models import ModelBoard, Served
from hjc.serve.promotion import Comparison, promote, promoted
from hjc.serve.settings import ServeSettings
from hjc.serve.store.database import Store
from hjc.serve.store.erasing import LONGEST, erase_old
from hjc.serve.store.jobs import FAILED, FINISHED, RUNNING, fail_unfinished, new_job, set_job
from hjc.serve.store.outcomes import decided_texts
from hjc.serve.store.people import User, note_event
from hjc.serve.store.schema import now

logger = logging.getLogger("hjc.serve")

#: seconds between rounds of what is done beside answering
ROUND = 30.0
#: jobs that work at a time, and that may wait
JOBS, JOBS_WAITING = 2, 100


class Service:
    """Models, store and settings of one service.

    Args:
        directories: name -> model directory; the first is meant where a request names none.
        store: a file (SQLite) or a URL.
    """

    def __init__(
        self,
        directories: Mapping[str, str | Path],
        store: str | Path,
        settings: ServeSettings | None = None,
        *,
        retention_days: float | None = None,
    ) -> None:
        if retention_days is not None:
            allowed = f"numbers above 0, up to {LONGEST:g}"
            check_range("--retention-days", retention_days, 0 < retention_days <= LONGEST, allowed)
        self.settings, self.retention_days = settings or ServeSettings(), retention_days
        self.metrics = Metrics()
        self.store = Store(store)
        self.notes: list[str] = []
        self.board = ModelBoard(self.settings.limits, self.metrics)
        self.board.open({name: self._newest(name, given) for name, given in directories.items()})
        self.ready, self._stop = False, threading.Event()
        self._jobs = ThreadPoolExecutor(JOBS, thread_name_prefix="hjc-job")
        self._working = 0
        self._lock = threading.Lock()

    # ------------------------------------------------------------------ life

    def start(self) -> None:
        """Bring what was corrected into force, and begin the rounds."""
        with self.store.write() as connection:
            if left := fail_unfinished(connection):
                logger.warning("%d jobs of an earlier start did not end", left)
        self.refresh_corrections()
        threading.Thread(target=self._rounds, name="hjc-rounds", daemon=True).start()
        self.ready = True

    def stop(self) -> None:
        """Answer what waits, end jobs, close the store."""
        self.ready = False
        self._stop.set()
        self._jobs.shutdown(wait=True, cancel_futures=True)
        self.board.stop()
        self.store.close()

    def _rounds(self) -> None:
        while not self._stop.wait(ROUND):
            for work in (self._erase_old, self.refresh_corrections, self.take_up_promotions):
                try:  # one that fails keeps no other from its turn; corrections: also what other processes removed
                    work()
                except Exception:
                    logger.exception("a round failed: %s", work.__name__)

    def _erase_old(self) -> None:
        erase_old(self.store, self.retention_days)

    # ------------------------------------------------------------------ corrections

    def refresh_corrections(self, ads: Sequence[int] | None = None) -> None:
        """Have the final codes of these ads (all) in force in every model; audited ads are never learnt from."""
        with self.store.read() as connection:
            rows = decided_texts(connection, ads)
        recipe = self.board.get().classifier.recipe
        texts, _ = recipe.clean([text for _, text, _ in rows])
        found = [Correction(ad, text, tuple(codes)) for (ad, _, codes), text in zip(rows, texts, strict=True)]
        kept = {one.key for one in found}
        self.board.learn(found, [ad for ad in self.board.corrected if ad not in kept] if ads is None else
                         [ad for ad in ads if ad not in kept])  # fmt: skip
        for served in self.board:
            self.metrics.corrections.labels(served.name).set(len(served.memory))

    # ------------------------------------------------------------------ jobs

    def begin(self, kind: str, user: User | None, work: Callable[[Callable[[float], None]], Any], **detail: Any) -> str:
        """Start long work; returns the job's name. ``work`` is given a function that takes its progress, 0 to 1.

        Raises:
            Full: too many jobs wait.
        """
        with self._lock:
            if self._working >= JOBS_WAITING:
                raise Full(f"{self._working} jobs wait; ask again later")
            self._working += 1
        try:
            with self.store.write() as connection:
                name = new_job(connection, kind, user, **detail)
            self._jobs.submit(self._work, name, work)
        except BaseException:
            self._left()
            raise
        return name

    def _work(self, name: str, work: Callable[[Callable[[float], None]], Any]) -> None:
        def note(**values: Any) -> None:
            with self.store.write() as connection:
                set_job(connection, name, **values)

        last = [0.0]

        def progress(share: float) -> None:
            if share - last[0] >= 0.02:
                last[0] = share
                note(progress=share)

        try:
            note(state=RUNNING, started=now())
            result = work(progress)
            note(state=FINISHED, ended=now(), progress=1.0, result=result)
        except Exception as error:
            expected = isinstance(error, (ValueError, OSError, ImportError))
            if not expected:
                logger.exception("job %s failed", name)
            message = str(error) if expected else f"an error inside hjc ({type(error).__name__}); see the log"
            note(state=FAILED, ended=now(), error=message)
        finally:
            self._left()

    def _left(self) -> None:
        """A job is no more."""
        with self._lock:
            self._working -= 1

    # ------------------------------------------------------------------ models

    def _newest(self, name: str, given: str | Path) -> Path:
        """The directory that a name was promoted to, else the one given."""
        found = promoted(self.store, name)
        if found is None or found == Path(given).resolve():
            return Path(given)
        if not found.is_dir():
            self.notes.append(f"model {name}: {found}, which was promoted, is gone; serving {given}")
            return Path(given)
        self.notes.append(f"model {name}: serving {found}, which was promoted, instead of {given}")
        return found

    def promote(self, name: str, directory: str | Path, user: User | None) -> Comparison:
        """Serve another directory by a name if it is not worse on the audited ads. Raises Worse."""
        found = promote(self.store, name, self.board.get(name).directory, directory, user)
        self.board.replace(name, directory)
        return found

    def take_up_promotions(self) -> None:
        """Serve what another process (``hjc serve --promote``) has promoted."""
        for served in self.board:
            found = promoted(self.store, served.name)
            if found is not None and found.is_dir() and found != served.directory.resolve():
                logger.warning("model %s: now serving %s, which was promoted", served.name, found)
                self.board.replace(served.name, found)

    def reload(self, name: str, user: User | None) -> Served:
        """Load the directory of a model again; requests under way are answered by the old one."""
        served = self.board.replace(name, self.board.get(name).directory)
        with self.store.write() as connection:
            note_event(connection, user, "reload", model=name, version=served.version)
        return served


class Full(RuntimeError):
    """Too many jobs wait."""
