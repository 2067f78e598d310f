"""The contract of every classifier: leaf log-probabilities over a taxonomy; the rest is derived here once."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from hjc.arrays import FloatArray, IntArray
from hjc.calibration import Calibrator
from hjc.classifiers.computing import Computing
from hjc.classifiers.derived import write_calibration
from hjc.classifiers.hub import Published
from hjc.classifiers.load import read_directory
from hjc.classifiers.rows import Codes, Texts, labelled_rows, validation_rows
from hjc.classifiers.storage import ModelDir, write_model_dir
from hjc.data.jobdata import JobData
from hjc.data.recipe import TextRecipe
from hjc.data.side import SideVocabulary
from hjc.errors import NotFittedError
from hjc.nn.settings import Callback
from hjc.taxonomy import Taxonomy

if TYPE_CHECKING:
    import pandas as pd

    from hjc.classifiers.several import SeveralHead
    from hjc.classifiers.vectors import TextVectors

#: log-probability below which no leaf may lie, so that log-loss stays finite. A declared floor: e^-23 is 1e-10.
LOG_PROBA_FLOOR = -23.0


class Classifier(Computing, Published, ABC):
    """A text classifier over the leaves of a taxonomy.

    A subclass implements ``fit_data``, ``iter_log_proba``, ``write_files`` and ``read_files``; what users see follows
    (probabilities of a level, top-k tables, the model directory). What only some can do, a capability, is said by an
    attribute; its method raises ValueError where it is not there.

    Attributes:
        calibrator: of the log-probabilities, fitted on validation rows; ``hjc.load`` sets it where the directory holds
            one. It is not applied by this classifier: :meth:`calibrated` gives the one that applies it.
        fit_result: what happened in ``fit``, a dataclass with a ``status``; None where there is nothing to tell.
        callback: given to ``fit``, while it runs.
    """

    #: the key under which ``hjc.load`` finds the class; stored in config.json
    name: ClassVar[str]
    #: dataclass of the settings, for a classifier that a plugin declares (see docs/extending.md)
    settings_class: ClassVar[Any] = None
    #: built as ``cls(taxonomy, settings, trainer)`` instead of ``cls(taxonomy, settings)``
    takes_trainer: ClassVar[bool] = False
    calibrator: Calibrator | None = None
    several: "SeveralHead | None" = None  #: for texts of several codes; ``hjc.load`` sets it where there is one
    fit_result: Any = None
    callback: Callback | None = None
    #: how its texts are made; stored with the model. ``predict``, ``predict_proba`` and ``predict_log_proba`` apply it,
    #: the other methods take texts that are made already, as those of JobData are
    recipe: TextRecipe = TextRecipe()
    #: side variables that it reads beside the text; None: the text alone
    side: SideVocabulary | None = None

    # ------------------------------------------------------------------ capabilities
    #: texts without codes that ``fit`` learns from too, set before it; None: it cannot
    unlabelled: Sequence[str] | None = None
    #: after ``fit``: rows that trained, and (n, L) what models that have not seen them say; they calibrate too
    cross_fitted: tuple[JobData, FloatArray] | None = None
    vector_space: str | None = None  #: of :meth:`text_vectors` (:mod:`hjc.classifiers.vectors`); None: it has none
    has_outcomes: bool = False  #: it may decline a row, or says how it came by its code: :meth:`iter_outcomes`
    told: Sequence[tuple[str, str]] = ()  #: (outcome or beginning of a reason, meaning): predict tells how many rows
    has_dropout: bool = False  #: :meth:`iter_dropout_log_proba`
    has_vocabulary: bool = False  #: :meth:`oov_share`
    any_length: bool = False  #: it reads titles and whole ads, whichever it was validated on
    has_gradients: bool = False  #: log-probabilities can be followed back through a network to the tokens of a text

    def __init__(self, taxonomy: Taxonomy) -> None:
        if not isinstance(taxonomy, Taxonomy):
            raise TypeError(
                f"taxonomy: got {taxonomy!r:.60}, expected a Taxonomy: hjc.taxonomy.isco08(), or "
                "hjc.taxonomy.load_taxonomy('my_codes.csv')"
            )
        self.taxonomy = taxonomy

    def __repr__(self) -> str:
        tree, known = self.taxonomy, self.parameters
        parts = [str(known[key]) for key in ("encoder", "hierarchy") if known.get(key)]
        parts += [f"{tree.name}: {tree.num_leaves:,} codes", f"{tree.depth} levels"]
        source = self.revision or self.directory
        parts += ["fitted" if self.is_fitted else "not fitted", *([f"from {source}"] if source else [])]
        return f"{type(self).__name__}({', '.join(parts)})"

    @property
    @abstractmethod
    def is_fitted(self) -> bool: ...

    @property
    def parameters(self) -> Mapping[str, Any]:
        """Plain settings of this classifier for tables and cards (name -> value)."""
        return {}

    def calibrated(self) -> "CalibratedClassifier":
        """This classifier with its calibrator applied to every probability.

        Raises:
            ValueError: it has no calibrator.
        """
        return CalibratedClassifier(self)

    def check_fitted(self) -> None:
        """Raises NotFittedError before :meth:`fit`."""
        if not self.is_fitted:
            raise NotFittedError(f"{type(self).__name__} has not been fitted: call fit(...) or hjc.load(directory)")

    # ------------------------------------------------------------------ to implement

    def fit_data(self, train: JobData, valid: JobData | None = None, *, run_dir: Path | None = None) -> Self:
        """Fit on labelled rows (``train.gold >= 0`` everywhere). ``run_dir`` receives logs and resume files;
        :attr:`callback` is told the figures of the steps, by classifiers that learn in steps."""
        raise NotImplementedError(f"{type(self).__name__} cannot be fitted: implement fit_data")

    @abstractmethod
    def iter_log_proba(self, texts: Sequence[str]) -> Iterator[tuple[IntArray, FloatArray]]:
        """Yield ``(rows, log_proba)``: positions in ``texts`` (b,) and natural-log leaf probabilities (b, L), float32.

        Every row comes exactly once, in any order (neural classifiers batch by length), so that a caller never
        holds more than a batch of probability rows. ``None`` is not a text; an empty string is, with a defined result.
        """

    def stored_parameters(self) -> Mapping[str, Any]:
        """Plain JSON kept in config.json; :attr:`parameters` unless a subclass says otherwise."""
        return self.parameters

    def write_files(self, folder: Path) -> None:  # a classifier may need no files
        """Write what :meth:`read_files` needs beside config.json and the tree into an empty folder."""

    @classmethod
    def read_files(cls, model: ModelDir) -> Self:
        """The classifier from a verified model directory, without network and without the training data.

        Whatever error leaves it is told as damage of the directory, but a package that is missing.
        """
        raise NotImplementedError(f"{cls.__name__} cannot be read from a directory: implement read_files")

    def save_pretrained(self, directory: Path) -> None:
        """Write the self-contained model directory (see :mod:`hjc.classifiers.storage`)."""
        self.check_fitted()
        write_model_dir(
            directory, classifier=self.name, parameters=self.stored_parameters(), taxonomy=self.taxonomy,
            recipe=self.recipe, files=self.write_files,
        )  # fmt: skip

    @classmethod
    def from_pretrained(cls, directory: Path) -> Self:
        """Read what ``save_pretrained`` wrote, without network and without the training data.

        Raises:
            FileNotFoundError, ModelDirError: files are missing, truncated, altered or do not fit together.
        """
        return read_directory(cls, directory)

    # ------------------------------------------------------------------ capabilities

    def calibrated_by(self, valid: JobData) -> bool:
        """Whether validation rows are of the kinds that the model is for: on others nothing is calibrated."""
        return True

    def iter_outcomes(self, texts: Sequence[str]) -> Iterator[tuple[IntArray, FloatArray, list[tuple[str, str]]]]:
        """As :meth:`iter_log_proba`, with (outcome, reason) of each row; ("", "") where a classifier has none."""
        for rows, log_proba in self.iter_log_proba(texts):
            yield rows, log_proba, [("", "")] * len(rows)

    def iter_dropout_log_proba(
        self, texts: Sequence[str], passes: int = 10, seed: int = 0
    ) -> Iterator[tuple[IntArray, FloatArray]]:
        """Yield rows (b,) and log-probabilities (passes, b, L), each pass with dropout of its own: samples of what the
        model could as well have learnt."""
        raise self.cannot("make passes with dropout", "neural models that were trained with dropout")

    def text_vectors(self, texts: Sequence[str]) -> "TextVectors":
        """Where the classifier places texts: rows of length 1 in its ``vector_space``."""
        raise self.cannot("place texts in a space", "linear, neural and embedding models")

    def category_vectors(self) -> FloatArray | None:
        """(L, H) or (N, H) unit vectors of leaves or of all nodes in the space of texts; None where codes have none."""
        return None

    def predict_with_scores(self, texts: Sequence[str]) -> tuple[FloatArray, FloatArray | None]:
        """(B, L) log-probabilities, and (B, L) cosines of texts and labels where the classifier compares these."""
        return self.leaf_log_proba(texts), None

    def oov_share(self, text: str) -> float:
        """Share of a text's words, 0 to 1, that training has not kept as features."""
        raise self.cannot("tell words that it does not know", "linear models")

    @property
    def exact_levels(self) -> Sequence[int]:
        """Levels whose scores are sums over the words of a text, so that each word's part is known exactly."""
        return ()

    def for_taxonomy(self, taxonomy: Taxonomy) -> Self:
        """The same model on another tree (new or revised codes) without training: labels are known by their texts."""
        raise self.cannot(
            "be relabelled: it knows codes by their numbers and must be trained on the new tree",
            "models that compare texts (model=biencoder, model=prototype)",
        )

    def cannot(self, what: str, which: str) -> ValueError:
        """The error of a capability that is not there: what was asked for, and which models have it."""
        return ValueError(f"a {self.name} model cannot {what}; {which} can")

    # ------------------------------------------------------------------ derived

    def fit(
        self, train: JobData | Texts, valid: "JobData | tuple[Texts, Codes] | None" = None, *,
        codes: Codes | None = None, run_dir: Path | None = None, callback: Callback | None = None,
    ) -> Self:  # fmt: skip
        """Fit on JobData, or on texts and codes.

        Args:
            train: rows with codes. Or texts: a list or Series of them, or a DataFrame with the columns of the recipe
                (``model.recipe = TextRecipe(("title", "description"))``).
            valid: rows to choose the best state by and to fit scales on; of texts ``(texts, codes)``. The linear
                classifier needs none.
            codes: of the texts: a list or Series, or the name of a column of the DataFrame.
            run_dir: receives ``logs/`` and what an unfinished training goes on from.
            callback: called as ``callback(step, figures)`` with what the loggers get (``train/loss``,
                ``valid/log_loss`` ...), by classifiers that learn in steps; what it raises ends the training.

        Texts that cannot be used (no text, no code, an unknown code) are left out, with a warning that counts them.

        Raises:
            TaxonomyError: most codes are not in the tree.
            ValueError, TypeError: no rows, unlabelled rows, lengths that differ, another tree, or codes in the place
                of ``valid``; the message says what to pass.
        """
        data = labelled_rows(train, codes, self.taxonomy, self.recipe)
        held_out = validation_rows(valid, codes, self.taxonomy, self.recipe)
        self.callback = callback
        try:
            return self.fit_data(data, held_out, run_dir=None if run_dir is None else Path(run_dir))
        finally:
            self.callback = None

    def leaf_log_proba(self, texts: Sequence[str]) -> FloatArray:
        """(B, L) float32 natural-log leaf probabilities of texts that are made already, in their order."""
        self.check_fitted()
        out = np.empty((len(texts), self.taxonomy.num_leaves), dtype=np.float32)
        for rows, log_proba in self.iter_log_proba(texts):
            out[rows] = log_proba
        return out

    def predict_log_proba(self, rows: Any) -> FloatArray:
        """(B, L) float32 natural-log leaf probabilities, in the order of ``rows``. They sum to 1 after exp.

        Args:
            rows: raw texts, or a table with the columns of the model; see :meth:`TextRecipe.texts`, which makes and
                cleans the texts as ``hjc predict`` does. A row without a text is predicted as an empty text is.

        Raises:
            NotFittedError: before ``fit`` or ``load``.
            TypeError, ValueError: ``rows`` is one string or another container, a column is missing, or a cell no text.
        """
        self.check_fitted()
        return self.leaf_log_proba(self.recipe.texts(rows))

    def predict_proba(self, rows: Any, level: int | None = None) -> FloatArray:
        """(B, K) probabilities of the columns of a level (default: the deepest); see ``taxonomy.level_codes``. ``rows``
        and errors: :meth:`predict_log_proba`."""
        level = self.taxonomy.depth if level is None else level
        return np.exp(self.taxonomy.aggregate(self.predict_log_proba(rows), level))

    def predict(self, rows: Any, level: int | None = None, top_k: int = 1) -> "pd.DataFrame":
        """The ``top_k`` most probable codes of a level for each row. ``rows`` and errors: :meth:`predict_log_proba`.

        Returns:
            DataFrame with columns ``row, rank, code, title, probability``: ``top_k`` lines a row, rank 1 first
            (fewer when the level has fewer codes).
        """
        self.check_fitted()
        level = self.taxonomy.check_level(self.taxonomy.depth if level is None else level)
        if top_k < 1:
            raise ValueError(f"top_k: got {top_k}, allowed are integers from 1")
        from hjc.classifiers.ranking import ranked_codes  # pandas, which probabilities need not

        texts = self.recipe.texts(rows)
        return ranked_codes(self.taxonomy, len(texts), self.iter_log_proba(texts), level, top_k)


class TransformedClassifier(Classifier):
    """Another classifier whose log-probabilities are transformed; whatever else it can, the base does."""

    def __init__(self, base: Classifier) -> None:
        super().__init__(base.taxonomy)
        self.base = base
        self.has_outcomes, self.vector_space = base.has_outcomes, base.vector_space
        self.has_vocabulary, self.directory, self.several = base.has_vocabulary, base.directory, base.several

    def transform(self, log_proba: FloatArray) -> FloatArray:
        """(B, L) log-probabilities of the base -> those of this classifier."""
        raise NotImplementedError

    @property
    def is_fitted(self) -> bool:
        return self.base.is_fitted

    @property
    def recipe(self) -> TextRecipe:  # type: ignore[override]  # that of the base
        return self.base.recipe

    @property
    def uncalibrated(self) -> Classifier:
        return self.base.uncalibrated

    def iter_log_proba(self, texts: Sequence[str]) -> Iterator[tuple[IntArray, FloatArray]]:
        for rows, log_proba in self.base.iter_log_proba(texts):
            yield rows, self.transform(log_proba)

    def iter_outcomes(self, texts: Sequence[str]) -> Iterator[tuple[IntArray, FloatArray, list[tuple[str, str]]]]:
        """Outcomes are those of the base: they are found before the transform."""
        for rows, log_proba, outcomes in self.base.iter_outcomes(texts):
            yield rows, self.transform(log_proba), outcomes

    def text_vectors(self, texts: Sequence[str]) -> "TextVectors":
        return self.base.text_vectors(texts)

    def category_vectors(self) -> FloatArray | None:
        return self.base.category_vectors()

    def oov_share(self, text: str) -> float:
        return self.base.oov_share(text)

    def predict_with_scores(self, texts: Sequence[str]) -> tuple[FloatArray, FloatArray | None]:
        log_proba, scores = self.base.predict_with_scores(texts)
        return self.transform(log_proba), scores


class CalibratedClassifier(TransformedClassifier):
    """Another classifier's probabilities, calibrated; everything else of a Classifier follows.

    Args:
        base: the classifier whose log-probabilities are transformed.
        calibrator: default ``base.calibrator``.

    Raises:
        ValueError: there is no calibrator, and ``base`` is fitted (an unfitted one gets its own in :meth:`fit`).
    """

    name: ClassVar[str] = "calibrated"

    def __init__(self, base: Classifier, calibrator: Calibrator | None = None) -> None:
        super().__init__(base)
        self.calibrator = calibrator if calibrator is not None else base.calibrator
        if self.calibrator is None and base.is_fitted:
            raise ValueError(
                "the model has no calibration: it was trained without validation rows or with "
                "evaluation.calibrate=false. Train again with validation rows, or fit one with "
                "hjc.calibration.fit_calibrator and pass it as calibrator"
            )

    @property
    def is_fitted(self) -> bool:
        return self.base.is_fitted and self.calibrator is not None

    @property
    def parameters(self) -> Mapping[str, Any]:
        return {**self.base.parameters, "calibration": self.calibrator.kind if self.calibrator is not None else None}

    def fit_data(self, train: JobData, valid: JobData | None = None, *, run_dir: Path | None = None) -> Self:
        """Fit the base, then the calibrator on the rows of ``valid``.

        Raises:
            ValueError: no validation rows.
        """
        if valid is None or not len(valid.labelled()):
            raise ValueError("a calibrated classifier needs validation rows with codes: pass valid")
        from hjc.calibration import fit_calibrator  # SciPy

        # a classifier from outside may have a fit of its own, from before there were callbacks
        more: dict[str, Any] = {} if self.callback is None else {"callback": self.callback}
        self.base.fit(train, valid, run_dir=run_dir, **more)
        rows = valid.labelled()
        found = fit_calibrator(self.taxonomy, self.base.iter_log_proba(rows.texts), rows.target, groups=rows.group)
        self.calibrator = self.base.calibrator = found.calibrator
        return self

    def transform(self, log_proba: FloatArray) -> FloatArray:
        self.check_fitted()
        assert self.calibrator is not None
        return self.calibrator.transform(log_proba)

    def save_pretrained(self, directory: Path) -> None:
        """The model directory of the base with calibration.json beside it; ``hjc.load`` gives the base back, with its
        ``calibrator`` set."""
        self.check_fitted()
        assert self.calibrator is not None
        self.base.save_pretrained(directory)
        write_calibration(directory, self.calibrator)
