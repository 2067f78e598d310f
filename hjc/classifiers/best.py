"""BestClassifier: linear model, encoder and bi-encoder trained on the same rows, weighed as one hybrid. One command.

Weights need rows that no part has seen. The validation rows are such rows, but often few, and they choose the epoch of
the parts. With ``folds`` every part is therefore trained that many times, each time without another share of the rows
that are like the validation rows (of the same sources). The rows left out are scored by the model that has not seen
them (cross-fitting), and the part that predicts is the mean of its models, which is better than each.
"""

import logging
import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from hjc.arrays import FloatArray, IntArray
from hjc.classifiers import build, read_classifier
from hjc.classifiers.base import Classifier
from hjc.classifiers.embedding.settings import BestSettings
from hjc.classifiers.fitting import check_data, draw, run_of
from hjc.classifiers.hybrid import HybridClassifier, Weighing, most_rows
from hjc.classifiers.storage import ModelDir
from hjc.data.jobdata import JobData
from hjc.data.splitting import identical_groups
from hjc.files import read_json, write_json
from hjc.nn.settings import OF_HEADS, TrainerSettings
from hjc.taxonomy import Taxonomy

logger = logging.getLogger(__name__)

#: a part that is trained says so in this file of its folder, with what it was trained on
TRAINED = "trained.json"
#: share of trainer.max_minutes that a part takes against the others
EFFORT = {"neural": 3.0, "biencoder": 2.0}


class BestClassifier(Classifier):
    """Trains the parts and weighs them; saved and loaded it is a :class:`HybridClassifier`.

    Args:
        taxonomy: the tree whose leaves are predicted.
        settings: which parts, and how each of them is made.
        trainer: of the parts that are fine-tuned; ``max_minutes`` is shared out among them.
    """

    name: ClassVar[str] = "best"
    takes_trainer: ClassVar[bool] = True

    def __init__(
        self, taxonomy: Taxonomy, settings: BestSettings | None = None, trainer: TrainerSettings | None = None
    ) -> None:
        super().__init__(taxonomy)
        self.settings = settings or BestSettings()
        self.trainer = trainer or TrainerSettings()
        self.hybrid: HybridClassifier | None = None

    @property
    def is_fitted(self) -> bool:
        return self.hybrid is not None

    @property
    def parameters(self) -> Mapping[str, Any]:
        return {"parts": list(self.settings.parts)} if self.hybrid is None else self.hybrid.parameters

    @property
    def named_parts(self) -> Mapping[str, Classifier]:
        return {} if self.hybrid is None else self.hybrid.named_parts

    def _fitted(self) -> HybridClassifier:
        self.check_fitted()
        assert self.hybrid is not None
        return self.hybrid

    def of_parts(self, parts: Sequence[FloatArray]) -> FloatArray:
        """See :class:`HybridClassifier`."""
        return self._fitted().of_parts(parts)

    def iter_log_proba(self, texts: Sequence[str]) -> Any:
        return self._fitted().iter_log_proba(texts)

    # ------------------------------------------------------------------ fitting

    def fit_data(self, train: JobData, valid: JobData | None = None, *, run_dir: Path | None = None) -> Self:
        """Train every part, then the weights. ``run_dir/checkpoints`` keeps the parts that are done, each a model
        directory, and what a part needs to resume: a later call with the same settings and rows goes on from there.

        Raises:
            ValueError: no validation rows, or a part cannot be trained on these rows.
            KeyboardInterrupt: a part was interrupted; what it has learnt is kept for the next call.
        """
        valid = check_data(train, valid, self.taxonomy)
        if valid is None:
            raise ValueError("model=best weighs its parts on validation rows: got none; set data.valid or data.split")
        if run_dir is None:
            with tempfile.TemporaryDirectory() as scratch:
                return self.fit_data(train, valid, run_dir=Path(scratch))
        s = self.settings
        held, kept = left_out(train, valid, s.folds, s.fold_share, s.seed) if s.folds else ([], [])
        rows = [train.take(inside) for inside in kept] or [train]
        made: dict[str, list[Classifier]] = {part: [] for part in s.parts}
        seconds = dict.fromkeys(s.parts, 0.0)
        for number, own in enumerate(rows):
            for part in s.parts:
                found, took = self._part(part, own, valid, run_dir / "checkpoints" / f"{part}_{number}")
                made[part].append(found)
                seconds[part] += took
        self._weigh(train, valid, held, made, seconds)
        return self

    def _part(self, part: str, train: JobData, valid: JobData, folder: Path) -> tuple[Classifier, float]:
        """A part trained on these rows, or the one that lies in the folder; and how many seconds it took."""
        settings, trainer = self.settings.of_part(part), self._trainer(part)
        identity = run_of(settings, trainer, train, valid, None).fingerprint
        note = folder / TRAINED
        if note.exists() and trainer.resume:
            known = read_json(note)
            if known["identity"] == identity:
                logger.warning("%s is trained already: taken from %s", part, folder)
                return read_classifier(folder), float(known["seconds"])
            shutil.rmtree(folder)
        model = build(self.taxonomy, settings, trainer)
        model.recipe = self.recipe
        started = time.monotonic()
        model.fit(train, valid, run_dir=folder, callback=self.callback)
        if getattr(model.fit_result, "status", "") == "interrupted":
            raise KeyboardInterrupt
        seconds = time.monotonic() - started
        model.save_pretrained(folder)
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)
        write_json(note, {"identity": identity, "seconds": seconds})
        return model, seconds

    def _trainer(self, part: str) -> TrainerSettings:
        """Of a part: its epochs, its share of the minutes, and nothing that it does not know."""
        s, t = self.settings, self.trainer
        effort = {name: EFFORT[name] for name in s.parts if name in EFFORT}
        share = effort.get(part, 0.0) / max(sum(effort.values()), 1e-9) / max(s.folds, 1)
        own = replace(t, max_minutes=t.max_minutes * share)
        if part != "biencoder":
            return own
        # a ranking loss has no use for what helps a head: noise, smoothed labels, shares of sources
        off: dict[str, Any] = dict(OF_HEADS)
        return replace(own, epochs=s.biencoder_epochs or t.epochs, label_smoothing=0.0, **off)

    def _weigh(
        self,
        train: JobData,
        valid: JobData,
        held: Sequence[IntArray],
        made: Mapping[str, list[Classifier]],
        seconds: Mapping[str, float],
    ) -> None:
        """The hybrid of the parts; weights from validation rows and from rows that a model of each part left out."""
        s = self.settings
        parts = [models[0] if len(models) == 1 else HybridClassifier.mean(models) for models in made.values()]
        hybrid = HybridClassifier(self.taxonomy, s.of_hybrid(), parts)
        hybrid.recipe = self.recipe
        most = most_rows(self.taxonomy)
        sets = [(valid, parts)]
        sets += [(train.take(out), [models[k] for models in made.values()]) for k, out in enumerate(held)]
        taken, answers = [], []
        clock = np.zeros(len(parts))
        for data, models in sets:
            rows = data.take(draw(len(data), max(1, most * len(data) // sum(len(d) for d, _ in sets)), s.seed))
            own: list[FloatArray] = []
            for k, model in enumerate(models):
                started = time.perf_counter()
                own.append(model.leaf_log_proba(rows.texts))
                clock[k] += time.perf_counter() - started if data is valid else 0.0
            taken.append(rows)
            answers.append(own)
        rows = JobData.concat(taken)
        joined = [np.concatenate(own) for own in zip(*answers, strict=True)]
        group = identical_groups(rows.texts) if rows.group is None else rows.group
        hybrid.weigh(train, Weighing(joined, rows.target, rows.weight.astype(np.float64), group))
        assert hybrid.fit_result is not None
        per_row = clock / len(taken[0])
        costs = {
            name: {"hours_per_million_rows": round(float(each) * 1e6 / 3600, 2), "fit_minutes": round(took / 60, 2)}
            for name, each, took in zip(hybrid.named_parts, per_row, seconds.values(), strict=True)
        }
        total = {key: round(sum(c[key] for c in costs.values()), 2) for key in next(iter(costs.values()))}
        lines = [line | (costs | {"whole": total}).get(line["part"], {}) for line in hybrid.fit_result.parts]
        self.hybrid, self.fit_result = hybrid, replace(hybrid.fit_result, parts=lines)

    # ------------------------------------------------------------------ persistence

    def save_pretrained(self, directory: Path) -> None:
        """Write the model directory of the hybrid."""
        self._fitted().save_pretrained(directory)

    @classmethod
    def read_files(cls, model: ModelDir) -> Self:
        raise ValueError("model=best is stored as a hybrid; this directory was not written by hjc")


def left_out(
    train: JobData, valid: JobData, folds: int, share: float, seed: int
) -> tuple[list[IntArray], list[IntArray]]:
    """Rows of ``train`` that each of ``folds`` trainings leaves out, and those that it keeps; all ascending.

    Left out are rows whose source is one of the validation rows' sources (any rows where none is): whole groups of
    near-duplicates, ``share`` of the groups a fold, none twice. Other rows of such a group are not trained on either.
    """
    like = np.isin(np.array(train.source, dtype=object), sorted(set(valid.source)))
    able = like if like.any() else np.ones(len(train), dtype=bool)
    group = identical_groups(train.texts) if train.group is None else train.group
    units = np.random.default_rng(seed).permutation(np.unique(group[able]))
    size = max(1, round(share * len(units)))
    inside = [np.isin(group, units[k * size : (k + 1) * size]) for k in range(folds)]
    return [np.flatnonzero(rows & able) for rows in inside], [np.flatnonzero(~rows) for rows in inside]
