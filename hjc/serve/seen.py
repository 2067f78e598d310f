"""What comes in, for ``/metrics``: probabilities of first codes, and drift against the validation rows."""

import threading

from hjc.apply.loop import Part
from hjc.arrays import FloatArray
from hjc.classifiers.base import Classifier
from hjc.evaluation.watch import Watch
from hjc.metrics.level_proba import LevelProba
from hjc.serve.metrics import Metrics

#: rows that are compared with the validation rows together
WINDOW = 1000
STATES = {"stable": 0, "moderate": 1, "large": 2}


class Seen:
    """Rows of one model on their way through. Only counts are kept, no text."""

    def __init__(self, model: Classifier, name: str, metrics: Metrics) -> None:
        self.model, self.name, self.metrics = model, name, metrics
        self._watch = Watch(model, count=False, scores=False)
        self._lock = threading.Lock()

    def see(self, part: Part, log_proba: FloatArray, stages: list[str]) -> None:
        """The usable rows of a request and their answer."""
        for stage in stages:
            self.metrics.rows.labels(self.name, stage).inc()
        if not len(part.good):
            return
        confidence = LevelProba.of(self.model.taxonomy, log_proba).confidence
        for level in range(self.model.taxonomy.depth):
            observe = self.metrics.confidence.labels(self.name, level + 1).observe
            for value in confidence[:, level].tolist():
                observe(value)
        with self._lock:
            self._watch.see(part.good, part.texts, part.languages)
            if self._watch.rows < WINDOW:
                return
            full, self._watch = self._watch, Watch(self.model, count=False, scores=False)
        report = full.report()
        if report is not None:
            for check, status in zip(report.table.check, report.table.status, strict=True):
                self.metrics.drift.labels(self.name, str(check)).set(STATES[str(status)])
