"""``--prior``: probabilities for rows with other shares of codes than those that the model was trained on."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from hjc.apply.estimate import gather
from hjc.apply.loop import Columns
from hjc.arrays import Float64
from hjc.classifiers.base import Classifier
from hjc.classifiers.reweighted import ReweightedClassifier
from hjc.errors import check_range
from hjc.evaluation.validation_scores import SCORES_FILE, ValidationScores
from hjc.metrics import prior_log_proba
from hjc.statistics import ShareEstimate, em_prior_shift
from hjc.statistics.priors import leaf_log_ratio, level_sums, read_prior
from hjc.tables import ReadOptions, open_table

NAMED = ("training", "uniform", "em")
#: em works at the deepest level of at most so many codes, unless another is asked for
MOST_CODES = 64
#: em is said to be unsure with fewer rows than this for each code
ROWS_A_CODE = 20
#: rows that the shares of em are shrunk by towards those of the training: no code becomes impossible
SHRINK = 1.0


OTHER_TEXTS = (
    "warning: these texts are not like those of the model's validation, and --prior em takes every difference for one "
    "of shares: check the codes of some rows (hjc review) before you rely on it"
)
#: from a level and the model's validation rows: shares of the rows at hand, and what is to be said of them
Find: TypeAlias = Callable[[int, ValidationScores], tuple[ShareEstimate, list[str]]]


@dataclass(frozen=True)
class Wanted:
    """What ``--prior`` asks for: training, uniform, em (at a ``level``, or at one chosen), or ``path``, a file."""

    kind: str
    level: int | None = None
    path: str = ""

    @classmethod
    def of(cls, text: str | None) -> "Wanted":
        """``training``, ``uniform``, ``em``, ``em:2``, ``shares.csv``. Raises ValueError, FileNotFoundError."""
        name, _, level = (text or "training").partition(":")
        if name == "em" and level:
            if not level.isdigit() or int(level) < 1:
                raise ValueError(
                    f"--prior: got {text!r}, expected em:LEVEL with the number of a level, 1 is the coarsest"
                )
            return cls("em", int(level))
        if text is None or text in NAMED:
            return cls(text or "training")
        if not Path(text).is_file():
            raise FileNotFoundError(
                f"--prior: there is no file {text!r}; allowed are {', '.join(NAMED)}, em:LEVEL or a CSV"
            )
        return cls("file", path=text)


def training_prior(classifier: Classifier, counts: Float64 | None) -> Float64:
    """(L,) shares of the leaves in training: rows of each code and one more, so that codes without rows have one too.

    Args:
        counts: (N,) training rows coded to exactly each node, of training_counts.csv.

    Raises:
        ValueError: they are not known.
    """
    tree = classifier.taxonomy
    if counts is None:
        raise ValueError(
            "--prior: the model's directory has no training_counts.csv, so the shares that it learnt are not known; "
            "hjc train writes it"
        )
    return np.exp(prior_log_proba(tree, np.arange(len(tree)), counts))


def default_level(classifier: Classifier) -> int:
    """The deepest level of at most :data:`MOST_CODES` codes."""
    tree = classifier.taxonomy
    return max((d for d in range(1, tree.depth + 1) if len(tree.level_nodes(d)) <= MOST_CODES), default=1)


def given(classifier: Classifier, wanted: Wanted, counts: Float64 | None) -> Classifier:
    """The classifier for the shares of a file, or for equal ones; as it is for those of the training."""
    tree = classifier.taxonomy
    if wanted.kind == "training":
        return classifier
    old = training_prior(classifier, counts)
    level, new = tree.depth, np.full(tree.num_leaves, 1 / tree.num_leaves)
    if wanted.kind == "file":
        level, new = read_prior(wanted.path, tree)
    ratio = leaf_log_ratio(tree, level, new, level_sums(tree, level, old))
    return ReweightedClassifier(classifier, ratio, wanted.path or wanted.kind)


@dataclass(frozen=True)
class Estimated:
    """Shares of the rows at hand, estimated from their texts.

    Attributes:
        classifier: for these shares. estimate: with its variances. old: (K,) the shares that the model is made for.
        notes: sentences for the user.
    """

    classifier: Classifier
    estimate: ShareEstimate
    old: Float64
    notes: list[str]


def estimated(
    classifier: Classifier,
    wanted: Wanted,
    calibrated: bool,
    find: Find,
) -> Estimated:
    """The classifier for the shares of the rows themselves, by EM (:func:`hjc.statistics.em_prior_shift`).

    Args:
        find: given a level and the model's validation rows: the shares of the rows at hand, and what is to be said of
            these rows (texts that have changed too, so that EM is wrong).

    Raises:
        ValueError: the model has no validation rows: the shares that its probabilities are made for are not known.
    """
    tree, folder = classifier.taxonomy, classifier.directory
    if folder is None or not (Path(folder) / SCORES_FILE).exists():
        raise ValueError("--prior em needs a model that was trained with validation rows: it lacks " + SCORES_FILE)
    validation = ValidationScores.load(folder, tree)
    level = tree.check_level(wanted.level or default_level(classifier))
    found, said = find(level, validation)
    old = validation.prior(level, calibrated)
    old = old / old.sum()
    nodes = tree.level_nodes(level)
    share = found.share[nodes]  # the nodes of a tree cut at the level are the first of the tree
    new = (found.rows * share + SHRINK * old) / (found.rows + SHRINK)
    notes = [moved(found, level, old, classifier)]
    if found.rows < ROWS_A_CODE * len(nodes):
        notes.append(
            f"warning: {found.rows:,} rows for the shares of {len(nodes)} codes of level {level} are few; "
            f"--prior em:{max(1, level - 1)} asks for fewer codes"
        )
    notes += said
    return Estimated(ReweightedClassifier(classifier, leaf_log_ratio(tree, level, new, old), "em"), found, old, notes)


def in_texts(classifier: Classifier, texts: Sequence[str], calibrated: bool) -> Find:
    """Shares of texts that are in memory."""

    def find(level: int, validation: ValidationScores) -> tuple[ShareEstimate, list[str]]:
        tree = classifier.taxonomy
        batches = [(rows, tree.aggregate(x, level)) for rows, x in classifier.iter_log_proba(texts)]
        prior, rows = validation.prior(level, calibrated), validation.prior_rows(level, calibrated)
        return em_prior_shift(tree.truncate(level), level, batches, prior, prior_rows=rows), []

    return find


def in_table(
    classifier: Classifier, source: str, options: ReadOptions, columns: Columns, batch_size: int, calibrated: bool
) -> Find:
    """Shares of the rows of a table, which is read once for them; and sentences where their texts have changed, too."""

    def find(level: int, validation: ValidationScores) -> tuple[ShareEstimate, list[str]]:
        if source == "-":
            raise ValueError("--prior em reads the rows twice: give a file instead of standard input")
        with open_table(source, options, rows=batch_size) as reader:
            found = gather(
                classifier, reader, columns, level=level, method="prior_shift", validation=validation,
                calibrated=calibrated,
            )  # fmt: skip
            estimate, watch = found.estimate(()), found.watch
        assert estimate is not None and watch is not None
        report = watch.report()
        if watch.is_other(report) or (report is not None and report.verdict != "proceed"):
            return estimate, [OTHER_TEXTS]
        return estimate, []

    return find


def moved(found: ShareEstimate, level: int, old: Float64, classifier: Classifier, most: int = 5) -> str:
    """The codes whose shares have moved most, with their intervals."""
    tree: Any = classifier.taxonomy
    nodes = tree.level_nodes(level)
    frame = found.to_frame()
    at = frame[frame["level"] == level].set_index("code")
    order = np.argsort(-np.abs(found.share[nodes] - old))[:most]
    parts = []
    for i in order.tolist():
        line = at.loc[tree.codes[int(nodes[i])]]
        parts.append(
            f"{tree.codes[int(nodes[i])]} {100 * old[i]:.1f} -> {100 * line['share']:.1f} % "
            f"({100 * line['low']:.1f} to {100 * line['high']:.1f})"
        )
    return f"shares of level {level} estimated from the rows, most moved: {'; '.join(parts)}"


def check_method(wanted: Wanted, method: str) -> None:
    """Raise ValueError where a method of ``hjc estimate`` corrects by rows with the shares of the training."""
    allowed = ("summed", "classify_and_count")
    right = wanted.kind == "training" or method in allowed
    check_range(f"--method with --prior {wanted.kind}", method, right, " and ".join(allowed))
