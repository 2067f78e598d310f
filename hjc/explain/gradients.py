"""Which words drove a code of a neural classifier: integrated gradients, tokens put together to words."""

from typing import Any

import numpy as np

from hjc.explain.result import LevelExplanation, Question
from hjc.explain.words import raw_words, to_words


def explain_gradients(
    classifier: Any, text: str, questions: list[Question], *, only_lead: bool = False, **options: Any
) -> list[LevelExplanation]:
    """Integrated gradients of log P(code) and of its lead over the second, for each question.

    Args:
        classifier: a fitted NeuralClassifier.
        only_lead: half the work: ``part``, ``value`` and ``constant`` are nan where there is a second.
        options: ``steps`` and ``tolerance`` of :func:`hjc.nn.attribution.integrated_gradients`.

    Raises:
        ModuleNotFoundError: captum is not installed.
    """
    from hjc.nn.attribution import TOLERANCE, integrated_gradients  # imports torch

    spans = [slice(*span) for span in classifier.taxonomy.leaf_slice.tolist()]
    targets: list[tuple[slice, slice | None]] = []
    rows: list[tuple[int | None, int | None]] = []  # of each question: the targets of the code and of its lead
    for asked in questions:
        own = lead = None
        if asked.second < 0 or not only_lead:
            own = len(targets)
            targets.append((spans[asked.node], None))
        if asked.second >= 0:
            lead = len(targets)
            targets.append((spans[asked.node], spans[asked.second]))
        rows.append((own, lead))
    found = integrated_gradients(
        classifier.network, classifier.tokenizer, classifier.settings, text, targets, **options
    )
    words = raw_words(text[: found.read], between=True)
    shown = np.flatnonzero(found.starts >= 0)
    at = to_words(words, found.starts[shown].tolist(), found.ends[shown].tolist())
    complete = found.complete(options.get("tolerance", TOLERANCE))
    cut = (f"the model reads the first {classifier.settings.max_length} tokens",) if found.read < len(text) else ()
    out = []
    for asked, pair in zip(questions, rows, strict=True):
        parts, values, notes = [], [], []
        for row, what, unknown in zip(pair, ("the code", "its lead"), (np.nan, 0.0), strict=True):
            if row is None:
                parts.append(np.full(len(words), unknown))
                values.append((unknown, unknown))
                continue
            parts.append(np.bincount(at[at >= 0], found.parts[row, shown[at >= 0]], minlength=len(words)))
            values.append((float(found.value[row]), float(found.baseline[row])))
            if not complete[row]:
                notes.append(
                    f"the parts of {what} add up to {found.parts[row].sum():+.3f} instead of "
                    f"{values[-1][0] - values[-1][1]:+.3f} ({found.steps} steps): take them as rough"
                )
        out.append(asked.answer("gradients", words, parts, values, [*notes, *cut]))
    return out
