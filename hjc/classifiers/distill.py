"""A fast student of any classifier, from texts without codes.

The teacher codes the texts once; of each its most probable leaves are kept. A student is fitted to these probabilities:
a static model, or the teacher's own network with its first layers. Texts held out tell how often the two agree.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from hjc.arrays import FloatArray
from hjc.classifiers.base import Classifier
from hjc.classifiers.static import StaticClassifier, StaticSettings
from hjc.errors import check_range
from hjc.progress import rows_progress

#: leaves of the teacher that are kept of each text
TOP = 32
#: of the texts, and at most, what is held out
HELD_OUT, MOST_HELD_OUT = 0.05, 2000
#: fewest texts that anything is learnt from
LEAST = 20


@dataclass(frozen=True)
class Distilled:
    """A student, and how it compares with its teacher on texts that it was not fitted to.

    Attributes:
        agreement: share of equal first codes, by level from 1. divergence: mean sum p ln (p / q) over the leaves, nats.
        texts, held_out: numbers of texts that it was fitted to and compared on.
        teacher_rate, student_rate: texts a second of both, on the texts held out, in this process.
    """

    student: Classifier
    agreement: tuple[float, ...]
    divergence: float
    texts: int
    held_out: int
    teacher_rate: float
    student_rate: float

    def __str__(self) -> str:
        levels = " ".join(f"{share:.1%}" for share in self.agreement)
        return (
            f"fitted to {self.texts:,} texts; on {self.held_out:,} others the first code is the teacher's in {levels} "
            f"at levels 1 to {len(self.agreement)} (divergence {self.divergence:.3f} nats), "
            f"{self.student_rate:,.0f} texts a second against {self.teacher_rate:,.0f}"
        )


def distill(
    teacher: Classifier,
    texts: Sequence[str],
    *,
    layers: int = 0,
    epochs: int = 3,
    settings: StaticSettings | None = None,
    seed: int = 1,
    told: Callable[[str], None] = lambda message: None,
) -> Distilled:
    """Fit a student to the probabilities of a teacher.

    Args:
        teacher: any classifier; of a calibrated one (``model.calibrated()``) the student learns what is calibrated.
        texts: made as the recipe of the teacher makes them, without codes; those that stand twice count once.
        layers: 0: a static model; else the first so many layers of the teacher, which is neural then.
        epochs: passes over the texts.
        settings: of the static model.
        told: gets a sentence after each pass.

    Raises:
        ValueError: too few texts, or ``layers`` that the teacher does not have.
    """
    check_range("epochs", epochs, epochs >= 1, "integers from 1")
    check_range("layers", layers, layers >= 0, "0 (a static student) and integers above")
    teacher.check_fitted()
    distinct = [text for text in dict.fromkeys(texts) if text.strip()]
    if len(distinct) < LEAST:
        raise ValueError(
            f"distill: got {len(distinct):,} different texts, at least {LEAST} are needed, thousands are better"
        )
    order = np.random.default_rng(seed).permutation(len(distinct))
    number = max(1, min(MOST_HELD_OUT, int(HELD_OUT * len(distinct))))
    held, used = ([distinct[i] for i in part.tolist()] for part in (order[:number], order[number:]))
    student = layers_of(teacher, layers) if layers else None  # said before hours of work

    targets = _targets(teacher, used)

    def after(epoch: int, loss: float) -> None:
        told(f"pass {epoch} of {epochs}: cross-entropy {loss:.3f}")

    if student is not None:
        fit_to_answers(student, used, targets, epochs, seed, after)
    else:
        student = static_student(teacher, used, targets, settings or StaticSettings(), epochs, seed, after)
    student.recipe = teacher.recipe
    return _compared(teacher, student, held, len(used))


def _targets(teacher: Classifier, texts: Sequence[str]) -> Any:
    """The most probable leaves of the teacher; a batch of its probabilities in memory at a time."""
    from hjc.nn.distilling import SoftTargets

    k = min(TOP, teacher.taxonomy.num_leaves)
    leaves, proba = np.empty((len(texts), k), np.int32), np.empty((len(texts), k), np.float32)
    with rows_progress("coding by the teacher", len(texts)) as bar:
        for rows, log_proba in teacher.iter_log_proba(texts):
            part = SoftTargets.of(log_proba, k)
            leaves[rows], proba[rows] = part.leaves, part.proba
            bar.advance(len(rows))
    return SoftTargets(leaves, proba)


def static_student(
    teacher: Classifier,
    texts: Sequence[str],
    targets: Any,
    settings: StaticSettings,
    epochs: int,
    seed: int,
    told: Callable[[int, float], None],
) -> StaticClassifier:
    """A static classifier fitted to a teacher's ``SoftTargets`` of these texts."""
    from hjc.nn.distilling import fit_static
    from hjc.nn.onnx_graph import integers

    student = StaticClassifier(teacher.taxonomy, settings)
    vectors, student.weights, student.bias = fit_static(
        student.reader(texts), targets, buckets=settings.buckets, width=settings.width,
        leaves=teacher.taxonomy.num_leaves, epochs=epochs, seed=seed, told=told,
    )  # fmt: skip
    student.vectors, student.scales = integers(vectors)
    return student


def layers_of(teacher: Classifier, layers: int) -> Any:
    """An own copy of a neural teacher, with its first layers.

    Raises:
        ValueError: the teacher is no network, or has not so many layers.
    """
    base = teacher.uncalibrated
    if base.name != "neural":
        raise ValueError(f"--layers needs a neural teacher, this one is a {base.name} model: leave the option out")
    from hjc.nn.distilling import first_layers

    student = type(base)(base.taxonomy, replace(base.settings, num_layers=layers), base.trainer)
    student.network, student.tokenizer = first_layers(base.network, layers), base.tokenizer
    student.side, student.device = base.side, base.device
    return student


def fit_to_answers(
    student: Any, texts: Sequence[str], targets: Any, epochs: int, seed: int, told: Callable[[int, float], None]
) -> None:
    """Train what :func:`layers_of` made on a teacher's ``SoftTargets`` of these texts."""
    from hjc.nn.distilling import fit_layers
    from hjc.nn.tokens import Reading, tokenize

    corpus = tokenize(student.tokenizer, texts, Reading.of(student.settings), student.side)
    fit_layers(student.network, corpus, student.tokenizer.pad_token_id, targets, epochs=epochs, seed=seed, told=told)


def _compared(teacher: Classifier, student: Classifier, held: Sequence[str], used: int) -> Distilled:
    found: list[FloatArray] = []
    rates = []
    for model in (teacher, student):
        model.leaf_log_proba(held[:1])  # what is made at the first call
        start = time.perf_counter()
        found.append(model.leaf_log_proba(held))
        rates.append(len(held) / (time.perf_counter() - start))
    p, q = found
    tree = teacher.taxonomy
    agreement = tuple(
        float((tree.aggregate(p, level).argmax(1) == tree.aggregate(q, level).argmax(1)).mean())
        for level in range(1, tree.depth + 1)
    )
    divergence = float((np.exp(p.astype(np.float64)) * (p - q)).sum(axis=1).mean())
    return Distilled(student, agreement, divergence, used, len(held), *rates)
