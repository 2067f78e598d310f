"""HybridClassifier: several fitted classifiers over one taxonomy, combined by weights from validation rows."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from hjc.arrays import FloatArray, IntArray
from hjc.classifiers import read_classifier
from hjc.classifiers.base import Classifier
from hjc.classifiers.combine import FAMILIES, Combination, Rows, choose_combination
from hjc.classifiers.embedding.settings import HybridSettings
from hjc.classifiers.fitting import check_tree, draw
from hjc.classifiers.storage import ModelDir, load_arrays, save_arrays
from hjc.classifiers.treemath import chunks
from hjc.data.jobdata import JobData
from hjc.taxonomy import Taxonomy

logger = logging.getLogger(__name__)

WEIGHTS = "combination.safetensors"
PARTS = "parts"
#: texts that go through all parts together
PREDICT_ROWS = 2048
#: validation rows used at most: as many as keep rows x leaves at this, within these bounds (it bounds time and memory)
MAX_CELLS, FEWEST_ROWS, MOST_ROWS = 3_000_000, 500, 4000


@dataclass(frozen=True)
class HybridFit:
    """What was chosen; ``candidates``: cross-validated log-loss of every candidate."""

    status: str
    family: str
    by_support: bool
    candidates: list[dict[str, Any]]


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

    @property
    def is_fitted(self) -> bool:
        return self.combination is not None

    @property
    def parameters(self) -> Mapping[str, Any]:
        found = asdict(self.settings) | {"part_names": [part.name for part in self.parts]}
        if self.combination is not None:
            found |= {"family": self.combination.family, "weights": np.round(self.combination.weights, 4).tolist()}
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
        most = int(np.clip(MAX_CELLS // self.taxonomy.num_leaves, FEWEST_ROWS, MOST_ROWS))
        rows = rows.take(draw(len(rows), most, self.settings.seed))
        weight = rows.weight.astype(np.float64)
        if self.settings.balance:
            total = np.bincount(rows.gold, weights=weight, minlength=len(self.taxonomy))
            weight = weight / np.maximum(total[rows.gold], 1e-12)
        made = Rows.make(self.taxonomy, self._parts_log_proba(rows.texts), rows.target, weight)
        families = ("mixture", "loglinear") if self.settings.kind == "auto" else (self.settings.kind,)
        # rows with an inner gold code support no single leaf
        counts = np.bincount(train.gold[train.gold >= 0], minlength=len(self.taxonomy))[self.taxonomy.leaves]
        by_support, seed = self.settings.by_support, self.settings.seed
        found, table = choose_combination(made, counts, families=families, by_support=by_support, seed=seed)
        lines: Any = table.to_dict("records")
        self.combination = found
        self.fit_result = HybridFit("finished", found.family, bool(found.support.any()), lines)
        return self

    def _parts_log_proba(self, texts: Sequence[str]) -> list[FloatArray]:
        """(B, L) log-probabilities of each part over the leaves of the hybrid's tree."""
        own = self.taxonomy
        parts = ((part.taxonomy, part.leaf_log_proba(texts)) for part in self.parts)
        return [found if tree == own else tree.aggregate(found, own.depth) for tree, found in parts]

    def iter_log_proba(self, texts: Sequence[str]) -> Iterator[tuple[IntArray, FloatArray]]:
        """See the base class; 2,048 texts at a time."""
        self.check_fitted()
        assert self.combination is not None
        for rows, chunk in chunks(texts, PREDICT_ROWS):
            yield rows, self.combination.log_proba(self._parts_log_proba(chunk))

    # ------------------------------------------------------------------ persistence

    def stored_parameters(self) -> Mapping[str, Any]:
        assert self.combination is not None
        return asdict(self.settings) | {"family": self.combination.family, "number_of_parts": len(self.parts)}

    def write_files(self, folder: Path) -> None:
        """Every part lies in the directory whole, below ``parts/``."""
        found = self.combination
        assert found is not None
        save_arrays(folder / WEIGHTS, {"weights": found.weights, "bias": found.bias, "support": found.support})
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
        made = Combination(family, arrays["weights"], arrays["bias"], arrays["support"])
        shapes = (made.weights.shape[0], made.support.shape)
        if shapes != (count, (model.taxonomy.num_leaves,)) or made.support.max() >= made.weights.shape[1]:
            raise ValueError(f"{WEIGHTS}: weights {shapes} do not fit {count} parts and the taxonomy")
        self.combination = made
        return self


def _is_cut(deeper: Taxonomy, taxonomy: Taxonomy) -> bool:
    return deeper.depth > taxonomy.depth and deeper.truncate(taxonomy.depth) == taxonomy
