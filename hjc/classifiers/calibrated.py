"""A classifier with its calibrator applied, and the file that keeps the calibrator beside the model."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

from hjc.arrays import FloatArray, IntArray
from hjc.calibration import Calibrator, fit_calibrator
from hjc.calibration.base import FILE_NAME
from hjc.classifiers import read_classifier
from hjc.classifiers.base import Classifier
from hjc.classifiers.derived import read_derived, write_derived
from hjc.data.jobdata import JobData
from hjc.data.recipe import TextRecipe
from hjc.errors import ModelDirError
from hjc.taxonomy import Taxonomy


class CalibratedClassifier(Classifier):
    """Another classifier's probabilities, calibrated; everything else of a Classifier follows.

    Args:
        base: the classifier whose log-probabilities are transformed.
        calibrator: default ``base.calibrator``.

    Raises:
        ValueError: there is no calibrator, and ``base`` is fitted (an unfitted one gets its own in :meth:`fit`).
    """

    name: ClassVar[str] = "calibrated"

    def __init__(self, base: Classifier, calibrator: Calibrator | None = None) -> None:
        super().__init__(base.taxonomy)
        self.base = base
        self.calibrator = calibrator if calibrator is not None else base.calibrator
        if self.calibrator is None and base.is_fitted:
            raise ValueError(
                "the model has no calibration: it was trained without validation rows or with "
                "evaluation.calibrate=false. Train again with validation rows, or fit one with "
                "hjc.calibration.fit_calibrator and pass it as calibrator"
            )

    @property
    def recipe(self) -> TextRecipe:  # type: ignore[override]  # that of the base
        return self.base.recipe

    @property
    def is_fitted(self) -> bool:
        return self.base.is_fitted and self.calibrator is not None

    @property
    def parameters(self) -> Mapping[str, Any]:
        kind = self.calibrator.kind if self.calibrator is not None else None
        return {**self.base.parameters, "calibration": kind}

    def fit(self, train: JobData, valid: JobData | None = None, *, run_dir: Path | None = None) -> Self:
        """Fit the base, then the calibrator on the rows of ``valid``.

        Raises:
            ValueError: no validation rows.
        """
        if valid is None or not len(valid.labelled()):
            raise ValueError("a calibrated classifier needs validation rows with codes: pass valid")
        self.base.fit(train, valid, run_dir=run_dir)
        rows = valid.labelled()
        found = fit_calibrator(self.taxonomy, self.base.iter_log_proba(rows.texts), rows.gold, groups=rows.group)
        self.calibrator = self.base.calibrator = found.calibrator
        return self

    def iter_log_proba(self, texts: Sequence[str]) -> Iterator[tuple[IntArray, FloatArray]]:
        self._check_fitted()
        assert self.calibrator is not None
        for rows, log_proba in self.base.iter_log_proba(texts):
            yield rows, self.calibrator.transform(log_proba)

    @property
    def has_outcomes(self) -> bool:  # type: ignore[override]  # that of the base
        return self.base.has_outcomes

    def iter_outcomes(self, texts: Sequence[str]) -> Iterator[tuple[IntArray, FloatArray, list[tuple[str, str]]]]:
        """Outcomes are those of the base: they are found before calibration."""
        self._check_fitted()
        assert self.calibrator is not None
        for rows, log_proba, outcomes in self.base.iter_outcomes(texts):
            yield rows, self.calibrator.transform(log_proba), outcomes

    def save_pretrained(self, directory: Path) -> None:
        """The model directory of the base with calibration.json beside it; ``hjc.load`` gives the base back, with its
        ``calibrator`` set."""
        self._check_fitted()
        assert self.calibrator is not None
        self.base.save_pretrained(directory)
        write_calibration(directory, self.calibrator)

    @classmethod
    def from_pretrained(cls, directory: Path) -> Self:
        base = read_classifier(directory)
        return cls(base, read_calibration(directory, base.taxonomy))


def write_calibration(directory: str | Path, calibrator: Calibrator, details: Mapping[str, Any] | None = None) -> Path:
    """Write calibration.json into the directory of the finished model that it belongs to.

    Args:
        details: plain JSON to be kept with it (how it was fitted).
    """
    return write_derived(directory, FILE_NAME, {**calibrator.to_dict(), **(details or {})})


def read_calibration(directory: str | Path, taxonomy: Taxonomy) -> Calibrator | None:
    """The calibrator of a model directory, None where there is none.

    Raises:
        ModelDirError: the file is damaged, was altered, or belongs to another model.
    """
    state = read_derived(directory, FILE_NAME)
    if state is None:
        return None
    try:
        return Calibrator.from_dict(taxonomy, state)
    except (ValueError, KeyError, TypeError) as error:
        raise ModelDirError(f"{Path(directory) / FILE_NAME}: {error}") from error
