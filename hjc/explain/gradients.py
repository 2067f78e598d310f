"""Which words drove a code of a neural classifier: integrated gradients, tokens put together to words."""

from typing import Any

import numpy as np

from hjc.explain.result import LevelExplanation, Question, WordPart
from hjc.explain.words import raw_words, to_words


def explain_gradients(classifier: Any, text: str, questions: list[Question], **options: Any) -> list[LevelExplanation]:
    """Integrated gradients of log P(code) and of its lead over the second, for each question.

    Args:
        classifier: a fitted NeuralClassifier.
        options: ``steps`` and ``tolerance`` of :func:`hjc.nn.attribution.integrated_gradients`.

    Raises:
        ModuleNotFoundError: captum is not installed.
    """
    from hjc.nn.attribution import TOLERANCE, integrated_gradients  # imports torch

    spans = classifier.taxonomy.leaf_slice
    targets: list[tuple[slice, slice | None]] = []
    for asked in questions:
        own = slice(*spans[asked.node].tolist())
        targets.append((own, None))
        if asked.second >= 0:
            targets.append((own, slice(*spans[asked.second].tolist())))
    found = integrated_gradients(
        classifier.network, classifier.tokenizer, classifier.settings, text, targets, **options
    )
    words = raw_words(text[: found.read], between=True)
    shown = found.starts >= 0
    at = to_words(words, found.starts[shown].tolist(), found.ends[shown].tolist())
    complete = found.complete(options.get("tolerance", TOLERANCE))
    cut = (f"the model reads the first {classifier.settings.max_length} tokens",) if found.read < len(text) else ()
    out, k = [], 0
    for asked in questions:
        rows = [k, k + 1] if asked.second >= 0 else [k]
        k += len(rows)
        parts = np.zeros((2, len(words)))
        for target, row in enumerate(rows):
            np.add.at(parts[target], at[at >= 0], found.parts[row, shown][at >= 0])
        notes = [
            f"the parts of {name} add up to {found.parts[row].sum():+.3f} instead of "
            f"{found.value[row] - found.baseline[row]:+.3f} ({found.steps} steps): take them as rough"
            for name, row in zip(("the code", "its lead"), rows, strict=False)
            if not complete[row]
        ]
        value, baseline = found.value[rows], found.baseline[rows]
        out.append(
            LevelExplanation(
                *asked,
                method="gradients",
                words=tuple(
                    WordPart(w.token, w.start, w.end, float(parts[0, i]), float(parts[1, i]))
                    for i, w in enumerate(words)
                ),
                value=float(value[0]),
                constant=float(baseline[0]),
                difference=float(value[1]) if len(rows) > 1 else 0.0,
                difference_constant=float(baseline[1]) if len(rows) > 1 else 0.0,
                notes=(*notes, *cut),
            )
        )
    return out
