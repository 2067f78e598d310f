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

    spans = classifier.taxonomy.leaf_slice
    targets: list[tuple[slice, slice | None]] = []
    for asked in questions:
        own = slice(*spans[asked.node].tolist())
        if asked.second < 0 or not only_lead:
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
        names = ["part"] if asked.second < 0 else ["lead"] if only_lead else ["part", "lead"]
        parts = {"part": np.full(len(words), np.nan if "part" not in names else 0.0), "lead": np.zeros(len(words))}
        value, baseline = {"part": np.nan, "lead": 0.0}, {"part": np.nan, "lead": 0.0}
        notes = []
        for row, name in enumerate(names, start=k):
            np.add.at(parts[name], at[at >= 0], found.parts[row, shown][at >= 0])
            value[name], baseline[name] = float(found.value[row]), float(found.baseline[row])
            if not complete[row]:
                what = "the code" if name == "part" else "its lead"
                notes.append(
                    f"the parts of {what} add up to {found.parts[row].sum():+.3f} instead of "
                    f"{value[name] - baseline[name]:+.3f} ({found.steps} steps): take them as rough"
                )
        k += len(names)
        code, lead = ((value[name], baseline[name]) for name in ("part", "lead"))
        both = parts["part"], parts["lead"]
        out.append(LevelExplanation.make(asked, "gradients", words, both, code, lead, [*notes, *cut]))
    return out
