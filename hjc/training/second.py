"""The second classification of a run: its rows, on the same sides as those of the first, its model directory, its
record."""

from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from hjc.classifiers import build
from hjc.classifiers.load import training_record
from hjc.classifiers.two import Companion, share_encoder_file
from hjc.data import JobData, Splits, TextRecipe
from hjc.data.reading import options_of, read_file
from hjc.data.settings import DataSettings, SourceSettings
from hjc.data.splits import TRAIN_ONLY, no_rejects
from hjc.report.scores import write_training_counts
from hjc.tables import open_table
from hjc.taxonomy import Taxonomy, load_taxonomy
from hjc.training.record import Record
from hjc.training.settings import Config, SecondSettings, TaxonomySettings

if TYPE_CHECKING:
    from hjc.classifiers.base import Classifier
    from hjc.classifiers.neural import NeuralClassifier


@dataclass
class Second:
    """Of the second tree: configuration (as if it had been trained alone), rows and record.

    Attributes:
        directory: its model directory. left_out: files without a column of its codes.
    """

    config: Config
    taxonomy: Taxonomy
    splits: Splits
    record: Record
    directory: Path
    share: float
    left_out: list[str] = field(default_factory=list)
    model: "NeuralClassifier | None" = None

    @classmethod
    def of(cls, config: Config, splits: Splits) -> "Second":
        """Read the rows of the second tree.

        Raises:
            ValueError: a model that has no encoder of its own, the bundled sample, a directory for both, no file with
                the column, or no training row with a code.
        """
        wanted = config.second
        if config.model.name != "neural" or config.model.before:
            raise ValueError(
                "second: two classifications share the encoder of a neural model; choose one, such as model=e5, and no "
                "model.before"
            )
        if config.data.sample:
            raise ValueError("second: the bundled sample has codes of one tree; give files: data.files=[ads.csv]")
        directory = Path(wanted.run_dir or f"{config.run_dir.rstrip('/')}_second")
        if directory.resolve() == Path(config.run_dir).resolve():
            raise ValueError("second.run_dir: it is the directory of the first model; each needs its own")
        taxonomy = load_taxonomy(wanted.path, digits=wanted.digits)
        found, left_out = second_splits(config.data, wanted.code_column, taxonomy, splits)
        if 0 < wanted.depth < taxonomy.depth:
            taxonomy = taxonomy.truncate(wanted.depth)
            found.train, found.valid = found.train.truncate(wanted.depth), found.valid.truncate(wanted.depth)
            found.tests = {name: rows.truncate(wanted.depth) for name, rows in found.tests.items()}
        if not len(found.train):
            raise ValueError(f"second: no training row has a code in {wanted.code_column!r}")
        own = replace(
            config,
            taxonomy=TaxonomySettings(path=wanted.path, digits=wanted.digits, depth=wanted.depth),
            data=of_column(config.data, wanted.code_column),
            run_dir=str(directory),
            second=SecondSettings(),
            # its rows may have one code each where those of the first have several
            evaluation=replace(config.evaluation, several=config.evaluation.several and found.train.sets is not None),
        )
        return cls(own, taxonomy, found, Record.begin(own, taxonomy, found), directory, wanted.share, left_out)

    def sentences(self) -> list[str]:
        """What is said before the training."""
        sides = ", ".join(f"{len(rows):,} {name}" for name, rows in self.splits.named().items() if len(rows))
        lines = [f"second tree   {self.taxonomy!r}; rows with a code of it: {sides}; model in {self.directory}"]
        if len(self.splits.rejects):
            lines.append(f"second: {len(self.splits.rejects):,} rows have no usable code of it; see its rejects.csv")
        lines += [f"second: {note}" for note in self.splits.notes]
        return lines + [f"second: {path} has no column of its codes" for path in self.left_out]

    @property
    def classifier(self) -> "NeuralClassifier":
        assert self.model is not None
        return self.model

    def join(self, classifier: "Classifier") -> None:
        """Have it trained along with the first."""
        from hjc.classifiers.neural import NeuralClassifier

        assert isinstance(classifier, NeuralClassifier)
        other = build(self.taxonomy, self.config.model, self.config.trainer)
        assert isinstance(other, NeuralClassifier)
        other.recipe, self.model = TextRecipe.of(self.config.data), other
        valid = self.splits.valid if len(self.splits.valid) else None
        classifier.companion = Companion(other, self.splits.train, valid, self.share)

    def save(self, first: Path) -> str:
        """Save the model, its encoder one file with the first's; a sentence about it."""
        self.directory.mkdir(parents=True, exist_ok=True)
        self.splits.rejects.to_csv(self.directory / "rejects.csv", index=False)
        write_training_counts(self.directory, self.splits.train)
        self.classifier.save_pretrained(self.directory)
        shared = share_encoder_file(first, self.directory)
        how = "its encoder is the same file" if shared else "this file system has no links: its encoder is a copy"
        return f"second model saved in {self.directory}; {how}"

    def close(self, first: Record, status: str) -> None:
        """Its record says what the first's says of the training."""
        self.record.training = first.training
        self.record.timing |= {k: v for k, v in first.timing.items() if k == "fit_seconds"}
        self.record.values |= {
            "status": "trained",
            "outcome": status,
            "trained_with": first.values["config"]["run_dir"],
        }
        self.record.write(self.directory)

    def record_again(self) -> Record:
        """Of a run that is finished: how it was trained stays as it is."""
        return Record.again(training_record(self.directory))


def of_column(data: DataSettings, column: str) -> DataSettings:
    """The same data with the codes of another column; further codes of a row are those of the first tree, and gone."""
    return replace(
        data,
        code_column=column,
        other_codes_column="",
        sources=[replace(s, code_column=column, other_codes_column="") for s in data.sources],
    )


def _has_column(source: SourceSettings, column: str) -> bool:
    if source.codes_path:  # one code a line, of the first tree
        return False
    with open_table(source.path, options_of(source)) as reader:
        return column in [name.strip() for name in reader.columns]


def second_splits(data: DataSettings, column: str, taxonomy: Taxonomy, first: Splits) -> tuple[Splits, list[str]]:
    """Rows with a code of the second tree, on the side on which the first has their text.

    A text that validates or tests there never trains here; such a row of a source that only trains is left out. Rows
    without a code of the first tree train, unless their file is one of validation or test rows.

    Returns:
        The rows, and the files without such a column.
    """
    own = of_column(data, column)
    held = {str(text): "valid" for text in first.valid.texts}
    for name, rows in first.tests.items():
        held |= {str(text): name for text in rows.texts}
    known = {str(text) for text in first.train.texts}
    sides: dict[str, list[JobData]] = {"train": [], "valid": [], **{name: [] for name in first.tests}}
    rejects, notes, counts, left_out = [], [], Counter[str](), []
    for source in own.all_sources():
        if not _has_column(source, column):
            left_out.append(source.path)
            continue
        part = read_file(source, own, taxonomy)
        rejects.append(part.rejects)
        counts += part.counts
        notes += part.notes
        rows = part.data.labelled()
        default = {"valid": "valid", "test": source.name}.get(source.role, "train")
        place = np.array([held.get(str(text), default) for text in rows.texts], dtype=object)
        if data.max_train_rows:
            drawn = np.array([str(text) in known for text in rows.texts], dtype=bool)
            place[(place == "train") & ~drawn] = ""
        held_back = np.array([name in TRAIN_ONLY for name in rows.source], dtype=bool) & ~np.isin(place, ("train", ""))
        if held_back.any():
            what = TRAIN_ONLY[rows.source[int(held_back.argmax())]]
            notes.append(f"{source.path}: {held_back.sum():,} rows of {what} have validation or test texts: left out")
            place[held_back] = ""
        for name in sides:
            sides[name].append(rows.take(place == name))
    if not rejects:
        raise ValueError(f"second.code_column: no file has a column {column!r}")
    empty = JobData.from_lists(taxonomy, [], [])
    joined = {name: JobData.concat(parts) if parts else empty for name, parts in sides.items()}
    some = [table for table in rejects if len(table)]
    return Splits(
        train=joined.pop("train"),
        valid=joined.pop("valid"),
        tests=joined,
        rejects=pd.concat(some, ignore_index=True) if some else no_rejects(),
        counts=dict(counts),
        notes=notes,
    ), left_out
