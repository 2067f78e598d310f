"""The engine Ray Data: the parts of all inputs are coded by actors of a Ray cluster, each with a model of its own.

Every machine of the cluster must reach the inputs, the output folder and the model under the same paths, and have hjc.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from hjc.apply.folder.manifest import EndRecord, PartRecord
from hjc.apply.folder.parts import Job, Task, Tell, Told
from hjc.apply.folder.processes import attempt
from hjc.apply.step import Step


def check_ray() -> None:
    """Raise ImportError, with what to install, where Ray Data is not there."""
    try:
        import ray.data  # noqa: F401
    except ImportError as error:
        raise ImportError("--engine ray needs `pip install 'hjc[ray]'`") from error


class CodeTasks:
    """What an actor does: loads the step once, then codes tasks by their numbers."""

    def __init__(self, step: Step, job: Job, tasks: Sequence[Task]) -> None:
        self.coder, self.job, self.tasks = step.load(), job, tasks

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        reasons, told = [], []
        for number in batch["item"].tolist():
            found: list[Told] = []
            reasons.append(attempt(self.coder, self.job, self.tasks[number], found.append))
            told.append(json.dumps([asdict(t) for t in found if t.record is not None or t.end is not None]))
        notes = json.dumps([*self.coder.first_notes(), *self.coder.notes(counts=False)])
        columns = {"reason": reasons, "told": told, "notes": [notes] * len(told)}
        return {"task": batch["item"], **{name: np.array(values, dtype=object) for name, values in columns.items()}}


class RayData:
    """``workers`` actors of the cluster that ``RAY_ADDRESS`` names, or of one that is started here."""

    def __init__(self, step: Step, job: Job, workers: int) -> None:
        self.step = replace(step, run_dir=str(Path(step.run_dir).resolve()))
        self.job = replace(job, target=job.target.resolve(), work=job.work.resolve())
        self.workers = workers
        self._said: list[str] = []

    def run(self, tasks: Sequence[Task], tell: Tell) -> Iterator[tuple[Task, str]]:
        if not tasks:
            return
        import ray
        import ray.data

        there = [replace(task, one=replace(task.one, path=str(Path(task.one.path).resolve()))) for task in tasks]
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        numbers = ray.data.from_items(list(range(len(tasks))), override_num_blocks=len(tasks))
        coded = numbers.map_batches(
            CodeTasks, batch_size=1, compute=ray.data.ActorPoolStrategy(size=self.workers),
            fn_constructor_args=(self.step, self.job, there),
        )  # fmt: skip
        for row in coded.iter_rows():
            for values in json.loads(row["told"]):
                tell(_told(values))
            self._said = max(self._said, json.loads(row["notes"]), key=len)
            yield tasks[int(row["task"])], str(row["reason"])

    def notes(self) -> list[str]:
        """Of the actor that has said most; each speaks of its own rows."""
        return self._said


def _told(values: dict[str, Any]) -> Told:
    record, end = values.pop("record"), values.pop("end")
    return Told(
        **values, record=None if record is None else PartRecord(**record), end=None if end is None else EndRecord(**end)
    )
