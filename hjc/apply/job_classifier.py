"""One job in, a ranked list of codes out: the convenience for services and notebooks, over any classifier of hjc."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

from hjc.classifiers.base import Classifier
from hjc.classifiers.load import load
from hjc.classifiers.treemath import top_k_columns
from hjc.errors import check_range

#: keys of a job in :meth:`JobClassifier.predict_batch` -> argument of :meth:`JobClassifier.predict`
KEYS = {
    "title": "title",
    "job_title": "title",
    "description": "description",
    "job_description": "description",
}


class JobClassifier:
    """Codes jobs given by title and description. Loading encodes nothing: label vectors lie in the model directory.

        jobs = JobClassifier("outputs/run")
        for found in jobs.predict(job_title="Registered Nurse - ICU", top_k=3):
            print(found["rank"], found["code"], found["title"], found["probability"])

    Args:
        model: run directory, or a fitted classifier.
        calibrated: apply the model's calibration.
        language: of the titles in the results (default: the taxonomy's first that has one).

    Raises:
        FileNotFoundError, ModelDirError: see :func:`hjc.load`.
        NotFittedError: the classifier has not been fitted.
        ValueError: ``calibrated`` without a calibration, or a language without titles.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | Classifier,
        *,
        calibrated: bool = False,
        language: str | None = None,
    ) -> None:
        self.classifier = model if isinstance(model, Classifier) else load(model)
        self.classifier.check_fitted()
        self.taxonomy = self.classifier.taxonomy
        if language is not None and language not in self.taxonomy.titles:
            raise ValueError(
                f"language: got {language!r}, the taxonomy has titles in {', '.join(self.taxonomy.titles) or 'none'}"
            )
        self.language = language
        # the model's own columns may be called otherwise; only their order counts
        own = [KEYS[name] for name in self.classifier.recipe.columns if name in KEYS]
        #: how title and description become a text
        self.recipe = self.classifier.recipe.of_columns(list(dict.fromkeys([*own, "title", "description"])))
        self._predictor = self.classifier.calibrated() if calibrated else self.classifier

    def predict(self, job_title: str = "", job_description: str = "", top_k: int = 5) -> list[dict[str, Any]]:
        """The ``top_k`` most probable leaves of one job, most probable first.

        Returns:
            Dicts with ``rank`` (from 1), ``code``, ``title``, ``probability``, and ``score``, the cosine of job and
            label, where the classifier compares vectors.

        Raises:
            ValueError: neither a title nor a description, or ``top_k`` below 1.
            TypeError: one of them is not a string.
        """
        return self.predict_batch([{"title": job_title, "description": job_description}], top_k)[0]

    def predict_batch(self, jobs: Sequence[Mapping[str, str]], top_k: int = 5) -> list[list[dict[str, Any]]]:
        """As :meth:`predict`, for many jobs at once: mappings with ``title``, ``description`` or both."""
        check_range("top_k", top_k, top_k >= 1, "integers from 1")
        texts = self._texts(jobs)
        if not texts:
            return []
        log_proba, scores = self._predictor.predict_with_scores(texts)
        columns, proba = top_k_columns(log_proba, min(top_k, self.taxonomy.num_leaves))
        leaves, codes = self.taxonomy.leaves, self.taxonomy.leaf_codes
        out = []
        for i, (row, values) in enumerate(zip(columns.tolist(), proba.tolist(), strict=True)):
            found = []
            for rank, (column, probability) in enumerate(zip(row, values, strict=True), start=1):
                one = {"rank": rank, "code": codes[column]}
                one["title"] = self.taxonomy.title(int(leaves[column]), self.language)
                if scores is not None:
                    one["score"] = float(scores[i, column])
                found.append({**one, "probability": probability})
            out.append(found)
        return out

    def _texts(self, jobs: Sequence[Mapping[str, str]]) -> list[str]:
        """Title and description joined and cleaned as the columns of the training data were."""
        named = []
        for i, job in enumerate(jobs):
            if unknown := [key for key in job if key not in KEYS]:
                raise ValueError(f"job {i}: there is no key {unknown[0]!r}, allowed are {', '.join(KEYS)}")
            if bad := [key for key, value in job.items() if not isinstance(value, str)]:
                raise TypeError(f"job {i}: {bad[0]} is {type(job[bad[0]]).__name__}, expected str")
            named.append({"title": "", "description": ""} | {KEYS[key]: value for key, value in job.items()})
        texts = self.recipe.texts(named)
        if empty := [i for i, text in enumerate(texts) if not text]:
            raise ValueError(f"job {empty[0]}: it has neither a title nor a description ({len(empty)} such jobs)")
        return texts
