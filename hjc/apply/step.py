"""What decides the codes of a row, said once: it goes to another process, or another machine, and is loaded there."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from hjc.apply.loop import Columns, Part
from hjc.apply.predict import Plan, code_rows
from hjc.apply.priors import Wanted, given
from hjc.classifiers.base import Classifier
from hjc.classifiers.computing import PRECISIONS
from hjc.classifiers.load import load, stored_recipe, training_data_settings
from hjc.classifiers.paths import CONFIG, DERIVED, model_root
from hjc.classifiers.side import unknown_cells
from hjc.data.recipe import TextRecipe, marked_note
from hjc.errors import check_choice
from hjc.evaluation.kind import TextKind
from hjc.evaluation.watch import Watch
from hjc.files import checksum


def recipe_of(run_dir: str, given: Sequence[str] | None) -> TextRecipe:
    """How the texts of a model are made: of the columns given, else of those of its training.

    Raises:
        FileNotFoundError, ModelDirError: there is no model. ValueError: neither columns are known.
    """
    return _of_columns(stored_recipe(run_dir), given)


def _of_columns(recipe: TextRecipe, given: Sequence[str] | None) -> TextRecipe:
    if not given and not recipe.columns:
        raise ValueError("which column has the text? Give --text-column NAME (more than once for several columns)")
    return recipe.of_columns(given) if given else recipe


def trained_column(run_dir: str, key: str) -> str:
    """What ``data.KEY`` named in the training; "" where that is not known, or the model is of the bundled sample."""
    trained = training_data_settings(run_dir)
    return "" if trained.get("sample") else str(trained.get(key) or "")


@dataclass(frozen=True, kw_only=True)
class Step:
    """The options of ``hjc predict`` that change what is written for a row. Plain values only: it can be pickled.

    Args:
        run_dir: the model directory, which every worker must be able to read; "" of a model that has none.
        text_columns: of the texts; () those of the training.
        all_text: join all of them; else the first rows decide whether one alone is used
            (:class:`hjc.evaluation.kind.TextKind`), or it is said here: alone.
        language_column: "" that of the training, where a table has it.
        rules: keywords of :class:`hjc.apply.decisions.DecisionPlan`; {} none.
        prior: ``training``, ``uniform`` or a CSV of code,share (``em`` needs all rows first).
        training_counts: (N,) training rows of each node, which a prior needs.
    """

    run_dir: str
    text_columns: tuple[str, ...] = ()
    all_text: bool = False
    alone: str | None = None
    language_column: str = ""
    levels: tuple[int, ...] = ()
    top_k: int = 1
    title_language: str | None = None
    prefix: str = "hjc_"
    calibrated: bool = False
    rules: Mapping[str, Any] = field(default_factory=dict)
    prior: str | None = None
    training_counts: tuple[int, ...] | None = None
    device: str = "auto"
    precision: str | None = None

    def identity(self) -> dict[str, Any]:
        """All that decides what is written, as JSON values: equal identities give equal codes. Files count by what is
        in them, the model as well; where it computes does not count."""
        root = model_root(self.run_dir)
        files = [root / name for name in (CONFIG, *DERIVED) if (root / name).exists()]
        out = {
            name: value for name, value in asdict(self).items() if name not in ("run_dir", "device", "training_counts")
        }
        for key, path in (("prior", self.prior), ("cost", self.rules.get("cost"))):
            if path and Path(path).is_file():
                out[f"{key}_file"] = checksum(path)
        together = hashlib.sha256("".join(checksum(path) for path in files).encode()).hexdigest()
        return {"model": together, **out, "text_columns": list(recipe_of(self.run_dir, self.text_columns).columns)}

    def load(self) -> "Coder":
        """The model and all that goes with it; to be called once a process.

        Raises:
            FileNotFoundError, ModelDirError, ValueError, ImportError: as of the command.
        """
        return self.over(self.model())

    def model(self) -> Classifier:
        """The model alone, where it is to compute."""
        check_choice("--precision", self.precision or "auto", PRECISIONS)
        return load(self.run_dir).compute_on(self.device, self.precision)

    def recipe(self) -> TextRecipe:
        """How texts are made. Errors: :func:`recipe_of`."""
        return recipe_of(self.run_dir, self.text_columns)

    def over(self, model: Classifier, weigh: Callable[[Classifier, Columns], Classifier] | None = None) -> "Coder":
        """The same with a model that is there already. ``weigh``: in the place of ``prior``, given the columns."""
        recipe = _of_columns(model.recipe, self.text_columns)
        kind = None if self.all_text else TextKind.of(model.uncalibrated, recipe)
        if kind is not None and self.alone:
            kind.use(self.alone)
        language = self.language_column or (self.run_dir and trained_column(self.run_dir, "language_column"))
        columns = Columns(recipe, language=language or None, kind=kind)
        watch = Watch(model, count=False, scores=False)
        plan = Plan(
            model.taxonomy, levels=self.levels, top_k=self.top_k, prefix=self.prefix,
            title_language=self.title_language, outcomes=model.has_outcomes,
        )  # fmt: skip
        if self.calibrated:
            model = model.calibrated()
        learnt = any(self.rules.get(name) is not None for name in ("target_accuracy", "conformal"))
        if learnt and self.prior is not None:
            raise ValueError("--prior: --target-accuracy and --conformal hold only for the shares of the validation")
        model = weigh(model, columns) if weigh is not None else self._weighed(model)
        if self.rules:
            from hjc.apply.decisions import DecisionPlan
            from hjc.evaluation.validation_scores import ValidationScores

            validation = ValidationScores.load(self.run_dir, plan.taxonomy) if learnt else None
            plan = replace(plan, decisions=DecisionPlan(plan, validation, calibrated=self.calibrated, **self.rules))
        return Coder(model, plan, columns, watch, bool(self.language_column))

    def _weighed(self, model: Classifier) -> Classifier:
        if (wanted := Wanted.of(self.prior)).kind == "em":
            raise ValueError("--prior em needs all rows at once: it goes with one table; here give a CSV of code,share")
        counts = self.training_counts
        return given(model, wanted, None if counts is None else np.array(counts, dtype=float))


@dataclass
class Coder:
    """A loaded :class:`Step`: gives the new columns of some rows.

    Attributes:
        plan: what is written. columns: what is read. watch: compares the texts with those of the training.
        needs_language: the language's column was asked for by name, and must be there.
        outcomes, told: how many rows had each outcome, and each thing that is to be told (``Classifier.told``).
        marked: how many rows had mark-up.
        letterless, nested: how many texts have no letter, and how many are lists or objects of JSON.
    """

    classifier: Classifier
    plan: Plan
    columns: Columns
    watch: Watch
    needs_language: bool = False
    outcomes: Counter[str] = field(default_factory=Counter)
    told: Counter[str] = field(default_factory=Counter)
    marked: int = 0
    letterless: int = 0
    nested: int = 0

    def columns_in(self, names: Sequence[str]) -> Columns:
        """The columns to be read of a table that has these: without the language's where it has none.

        Raises:
            ValueError: a decision depends on the language, and nothing says which column has it.
        """
        columns = self.columns
        if not self.needs_language and columns.language not in names:
            columns = replace(columns, language=None)
        rules = self.plan.decisions
        if rules is not None and rules.conformal_by == "language" and columns.language is None:
            raise ValueError("--conformal-by language: which column has the language? Give --language-column NAME")
        return columns

    def __call__(self, part: Part) -> dict[str, list[Any]]:
        """Column -> values of the rows of a part, in their order."""
        self.watch.see(part.good, part.texts, part.languages)
        self.marked += part.marked
        for text in (part.texts[i] for i in part.good.tolist()):
            self.letterless += not any(map(str.isalpha, text))
            self.nested += text.startswith(('["', "[{", '{"')) and text.endswith(("]", "}"))
        new = code_rows(self.classifier, self.plan, part)
        if self.plan.outcomes:
            self._count(*(new[f"{self.plan.prefix}{name}"] for name in ("outcome", "outcome_reason")))
        return new

    def _count(self, outcomes: Sequence[str | None], reasons: Sequence[str | None]) -> None:
        told = self.classifier.uncalibrated.told
        self.outcomes.update(filter(None, outcomes))
        for outcome, reason in zip(outcomes, reasons, strict=True):
            self.told.update(key for key, _ in told if key == outcome or key in (reason or ""))

    def _no_texts(self) -> Iterator[str]:
        """Warnings of cells that were coded as they stand and are no texts about jobs."""
        names = self.columns.recipe.columns if self.columns.recipe is not None else ()
        where = f" in {' and '.join(map(repr, names))}" if names else ""
        letterless = 0 if self.watch.reads_numbers else self.letterless
        for count, what, meaning in (
            (letterless, "numbers and no letter", "their codes mean nothing; is it the right column?"),
            (self.nested, "a list or an object", "it was read as JSON, marks and all; give a column of texts"),
        ):
            if count:
                yield f"warning: {count:,} row{'s' * (count > 1)} with {what}{where}: {meaning}"

    def first_notes(self) -> list[str]:
        """What is to be said before any row: what validation rows cannot promise."""
        rules = self.plan.decisions
        if rules is None:
            return []
        said = [f"warning: {sentence}" for sentence in rules.notes]
        if rules.several and self.classifier.uncalibrated.several is not None:
            here = self.classifier.several is not None
            said.append(
                "--several: by the model's head for texts of several codes (several.npz)" if here else
                "warning: --several: the head for several codes knows the shares of its training only, so with --prior "
                "codes are listed by the model's own probabilities"
            )  # fmt: skip
        return said

    def notes(self, *, counts: bool = True) -> list[str]:
        """What is to be said of the rows so far; ``counts``: also how many rows each decision was made of."""
        rules, kind = self.plan.decisions, self.columns.kind
        out = ["" if kind is None else kind.note(), marked_note(self.marked)]
        out += [f"warning: {other}" if (other := self.watch.kind()) else ""]
        out += [unknown_cells(self.classifier.uncalibrated.side), *self._no_texts()]
        if counts and self.outcomes:
            said = ", ".join(f"{outcome} {rows:,}" for outcome, rows in self.outcomes.most_common())
            out.append(f"{self.plan.prefix}outcome: {said}")
        for key, meaning in self.classifier.uncalibrated.told:
            if rows := self.told[key]:
                out.append(f"warning: {rows:,} row{'s' if rows > 1 else ''} {meaning}")
        if rules is not None:
            out += [rules.message() if counts else "", rules.warning()]
        return [sentence for sentence in out if sentence]
