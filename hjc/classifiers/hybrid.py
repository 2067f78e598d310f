"""HybridClassifier: several fitted classifiers over one taxonomy, combined by weights from validation rows."""

import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from hjc.arrays import Float64, FloatArray, IntArray
from hjc.calibration import Calibrator, choose, cross_fit, summarise
from hjc.classifiers import read_classifier
from hjc.classifiers.base import Classifier
from hjc.classifiers.combine import FAMILIES, Choice, Combination, Rows, choose_combination
from hjc.classifiers.embedding.settings import HybridSettings
from hjc.classifiers.fitting import check_tree, draw
from hjc.classifiers.storage import ModelDir, load_arrays, save_arrays
from hjc.classifiers.treemath import chunks
from hjc.data.codesets import Target, first_of
from hjc.data.jobdata import JobData
from hjc.files import read_json, write_json
from hjc.metrics import level_metrics, score_rows
from hjc.taxonomy import Taxonomy

logger = logging.getLogger(__name__)

WEIGHTS = "combination.safetensors"
#: the calibration of the whole, a step of the model: where its directory has it
WHOLE = "whole_calibration.json"
PARTS = "parts"
#: texts that go through all parts together
PREDICT_ROWS = 2048
#: validation rows used at most: as many as keep rows x leaves at this, within these bounds (it bounds time and memory)
MAX_CELLS, FEWEST_ROWS, MOST_ROWS = 4_000_000, 500, 4000
#: what the whole may be calibrated by
KINDS = ("temperature", "level_temperature", "group_temperature")


@dataclass(frozen=True)
class HybridFit:
    """What was chosen; ``candidates``: cross-validated log-loss of every candidate.

    ``parts``: a line per part, the whole, and the whole without each part, on the rows that weighed them; what was
    fitted on them is cross-fitted. Keys: part, rows, and lists from level 1 on: log_loss, recall@1, ece.
    """

    status: str
    family: str
    by_support: bool
    candidates: list[dict[str, Any]]
    by_sureness: bool = False
    calibration: str = "identity"
    parts: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class Weighing:
    """n rows that weights are fitted on: (n, L) log-probabilities of each part, which has not seen them."""

    parts: Sequence[FloatArray]
    target: Target
    weight: Float64
    group: IntArray | None = None


class HybridClassifier(Classifier):
    """A mixture or log-linear combination of classifiers (see :mod:`hjc.classifiers.combine`).

    Codes without training rows can come from a part that knows label texts, frequent codes from one that was trained:
    weights may differ by how many training rows a leaf has.

    Args:
        taxonomy: the tree of all parts. A part on a deeper tree that is this one when cut is summed up.
        settings: what the model is; stored with it.
        parts: fitted classifiers; default: those of ``settings.parts`` (run directories).

    Raises:
        ValueError: no parts, or a part's tree is another one.
        FileNotFoundError, ModelDirError: a run directory cannot be read.
    """

    name: ClassVar[str] = "hybrid"

    def __init__(
        self, taxonomy: Taxonomy, settings: HybridSettings | None = None, parts: Sequence[Classifier] | None = None
    ) -> None:
        super().__init__(taxonomy)
        self.settings = settings or HybridSettings()
        self.parts = list(parts) if parts is not None else [read_classifier(p) for p in self.settings.parts]
        if len(self.parts) < 2:
            raise ValueError(
                f"model.parts: got {len(self.parts)} parts; give two or more run directories over the same taxonomy: "
                "model.parts=[outputs/linear,outputs/e5]"
            )
        for number, part in enumerate(self.parts):
            if part.taxonomy != taxonomy and not _is_cut(part.taxonomy, taxonomy):
                raise ValueError(
                    f"model.parts: part {number} ({part.name}) codes to {part.taxonomy!r}, the hybrid to {taxonomy!r}; "
                    "all parts need the same tree"
                )
        self.combination: Combination | None = None
        #: of the whole, applied to every answer: a step of the model, not what :meth:`calibrated` applies
        self.step: Calibrator | None = None

    @classmethod
    def mean(cls, parts: Sequence[Classifier]) -> Self:
        """The plain mean of the probabilities of parts of one kind."""
        made = cls(parts[0].taxonomy, HybridSettings(kind="mixture", by_support=False), parts)
        none = np.zeros(made.taxonomy.num_leaves, dtype=np.int64)
        made.combination = Combination("mixture", np.zeros((len(parts), 1)), np.zeros(1), none)
        made.recipe = parts[0].recipe
        return made

    @property
    def is_fitted(self) -> bool:
        return self.combination is not None

    @property
    def parameters(self) -> Mapping[str, Any]:
        found = asdict(self.settings) | {"part_names": list(self.named_parts)}
        if self.combination is not None:
            found |= {"family": self.combination.family, "weights": np.round(self.combination.weights, 4).tolist()}
        return found

    @property
    def named_parts(self) -> Mapping[str, Classifier]:
        """The parts by what they are: ``linear``, ``neural``, the second of a kind ``neural 2``."""
        seen: Counter[str] = Counter()
        found = {}
        for part in self.parts:
            inner = {p.name for p in part.parts} if isinstance(part, HybridClassifier) else set()
            name = inner.pop() if len(inner) == 1 else part.name
            seen[name] += 1
            found[name if seen[name] == 1 else f"{name} {seen[name]}"] = part
        return found

    def fit_data(self, train: JobData, valid: JobData | None = None, *, run_dir: Path | None = None) -> Self:
        """Fit the weights on validation rows; the parts stay as they are.

        ``train`` tells how many training rows each leaf has. Rows that a part was trained on would make it look better
        than it is: ``valid`` must be held out from all of them.

        Raises:
            ValueError: there are no validation rows, or fewer than 10.
        """
        if valid is None or not len(valid):
            raise ValueError("a hybrid takes its weights from validation rows: got none; set data.valid or data.split")
        for kind, data in (("train", train), ("valid", valid)):
            check_tree(kind, data, self.taxonomy)
        for number, part in enumerate(self.parts):
            if other := self.recipe.differences(part.recipe.of_columns(self.recipe.columns)):
                logger.warning(
                    "model.parts: part %d (%s) was trained on texts made with %s; the hybrid gives it texts made by "
                    "its own recipe", number, part.name, ", ".join(other)
                )  # fmt: skip
        rows = valid.labelled()
        rows = rows.take(draw(len(rows), most_rows(self.taxonomy), self.settings.seed))
        made = self.parts_log_proba(rows.texts)
        return self.weigh(train, Weighing(made, rows.target, rows.weight.astype(np.float64), rows.group))

    def weigh(self, train: JobData, rows: Weighing) -> Self:
        """Choose and fit weights, and the calibration of the whole, on rows whose parts are scored already."""
        weight, s = rows.weight, self.settings
        if s.balance:
            gold = first_of(rows.target)
            total = np.bincount(gold, weights=weight, minlength=len(self.taxonomy))
            weight = weight / np.maximum(total[gold], 1e-12)
        made = Rows.make(self.taxonomy, rows.parts, rows.target, weight)
        families = ("mixture", "loglinear") if s.kind == "auto" else (s.kind,)
        # rows with an inner gold code support no single leaf
        counts = np.bincount(train.gold[train.gold >= 0], minlength=len(self.taxonomy))[self.taxonomy.leaves]
        chosen = choose_combination(
            made, counts, families=families, by_support=s.by_support, by_sureness=s.by_sureness, groups=rows.group,
            seed=s.seed,
        )  # fmt: skip
        self.combination, self.step = chosen.combination, None
        whole, kind = chosen.cross_fitted(made), "identity"
        if s.calibrate:
            tables = summarise(self.taxonomy, whole, rows.target, weight, groups=rows.group, seed=s.seed)
            step = choose(tables, kinds=KINDS)
            kind = step.kind
            self.step = None if kind == "identity" else step.calibrator
            for fold, calibrator in cross_fit(tables, step).items():
                whole[tables.fold == fold] = calibrator.transform(whole[tables.fold == fold])
        lines: Any = chosen.table.to_dict("records")
        own, buys = chosen.candidate, self._what_parts_buy(chosen, made, rows, whole)
        self.fit_result = HybridFit("finished", own.family, own.by_support, lines, own.by_sureness, kind, buys)
        return self

    def _what_parts_buy(self, chosen: Choice, made: Rows, rows: Weighing, whole: FloatArray) -> list[dict[str, Any]]:
        """Lines of :class:`HybridFit`; ``whole`` (n, L): its cross-fitted answers."""
        names, every = list(self.named_parts), range(len(self.parts))
        found = [(name, part) for name, part in zip(names, rows.parts, strict=True)]
        found.append(("whole", whole))
        if chosen.candidate.family != "single" and len(names) > 2:
            found += [
                (f"whole without {name}", chosen.cross_fitted(made, [k for k in every if k != left]))
                for left, name in enumerate(names)
            ]
        return [part_line(self.taxonomy, name, log_proba, rows.target) for name, log_proba in found]

    def _stepped(self, log_proba: FloatArray) -> FloatArray:
        return log_proba if self.step is None else self.step.transform(log_proba)

    def parts_log_proba(self, texts: Sequence[str]) -> list[FloatArray]:
        """(B, L) log-probabilities of each part over the leaves of the hybrid's tree."""
        own = self.taxonomy
        parts = ((part.taxonomy, part.leaf_log_proba(texts)) for part in self.parts)
        return [found if tree == own else tree.aggregate(found, own.depth) for tree, found in parts]

    def of_parts(self, parts: Sequence[FloatArray]) -> FloatArray:
        """See the base class."""
        self.check_fitted()
        assert self.combination is not None
        return self._stepped(self.combination.log_proba(parts))

    def iter_log_proba(self, texts: Sequence[str]) -> Iterator[tuple[IntArray, FloatArray]]:
        """See the base class; 2,048 texts at a time."""
        self.check_fitted()
        for rows, chunk in chunks(texts, PREDICT_ROWS):
            yield rows, self.of_parts(self.parts_log_proba(chunk))

    # ------------------------------------------------------------------ persistence

    def stored_parameters(self) -> Mapping[str, Any]:
        assert self.combination is not None
        return asdict(self.settings) | {"family": self.combination.family, "number_of_parts": len(self.parts)}

    def write_files(self, folder: Path) -> None:
        """Every part lies in the directory whole, below ``parts/``."""
        found = self.combination
        assert found is not None
        arrays = {"weights": found.weights, "bias": found.bias, "support": found.support}
        save_arrays(folder / WEIGHTS, arrays if found.gate is None else arrays | {"gate": found.gate})
        if self.step is not None:
            write_json(folder / WHOLE, self.step.to_dict())
        for number, part in enumerate(self.parts):
            part.save_pretrained(folder / PARTS / str(number))

    @classmethod
    def read_files(cls, model: ModelDir) -> Self:
        """The run directories that the parts came from are not needed."""
        family, count = model.parameters.get("family"), model.parameters.get("number_of_parts")
        if family not in FAMILIES or not isinstance(count, int):
            raise ValueError("config.json does not say how parts are combined; save the model again")
        parts = [read_classifier(model.path / PARTS / str(number)) for number in range(count)]
        self = cls(model.taxonomy, model.settings(HybridSettings, but=("family", "number_of_parts")), parts)
        arrays = load_arrays(model.file(WEIGHTS))
        made = Combination(family, arrays["weights"], arrays["bias"], arrays["support"], arrays.get("gate"))
        shapes = (made.weights.shape[0], made.support.shape)
        if shapes != (count, (model.taxonomy.num_leaves,)) or made.support.max() >= made.weights.shape[1]:
            raise ValueError(f"{WEIGHTS}: weights {shapes} do not fit {count} parts and the taxonomy")
        if made.gate is not None and made.gate.shape != (count, count):
            raise ValueError(f"{WEIGHTS}: gate {made.gate.shape} does not fit {count} parts")
        self.combination = made
        if (model.path / WHOLE).exists():
            self.step = Calibrator.from_dict(model.taxonomy, read_json(model.file(WHOLE)))
        return self


def most_rows(taxonomy: Taxonomy) -> int:
    """Rows that weights are fitted on at most."""
    return int(np.clip(MAX_CELLS // taxonomy.num_leaves, FEWEST_ROWS, MOST_ROWS))


def part_line(taxonomy: Taxonomy, name: str, log_proba: FloatArray, target: Target) -> dict[str, Any]:
    """What a table says of the answers (n, L) of one part, or of the whole, for rows with these codes."""
    scores = score_rows(taxonomy, log_proba, target)
    levels = [level_metrics(scores, taxonomy, level) for level in range(1, taxonomy.depth + 1)]
    shown = {key: [round(level[key], 5) for level in levels] for key in ("log_loss", "recall@1", "ece")}
    return {"part": name, "rows": len(target), **shown}


def _is_cut(deeper: Taxonomy, taxonomy: Taxonomy) -> bool:
    return deeper.depth > taxonomy.depth and deeper.truncate(taxonomy.depth) == taxonomy
