"""Why a text got its code: the words that drove it, at any level, of any classifier."""

from collections.abc import Sequence
from typing import Any

from hjc.classifiers.base import Classifier
from hjc.errors import check_choice
from hjc.explain.linear import explain_linear
from hjc.explain.occlusion import explain_occlusion
from hjc.explain.result import METHODS, LevelExplanation, WordPart, ask

__all__ = ["METHODS", "LevelExplanation", "WordPart", "default_levels", "explain_text", "method_for"]


def default_levels(classifier: Classifier) -> list[int]:
    """Every level where that costs nothing (linear models that score every node), else the deepest."""
    return list(classifier.uncalibrated.exact_levels) or [classifier.taxonomy.depth]


def method_for(classifier: Classifier, levels: Sequence[int] = (), method: str = "auto") -> str:
    """The method that "auto" means: exact parts of linear models, gradients of neural ones, else leaving words out.

    A linear model that scores leaves only is exact at the deepest level alone; elsewhere words are left out.

    Raises:
        ValueError: an unknown method, or one that the classifier does not have.
    """
    base = classifier.uncalibrated
    check_choice("--method", method, ("auto", *METHODS))
    exact = base.exact_levels
    own = "linear" if exact and set(levels) <= set(exact) else "gradients" if base.has_gradients else "occlusion"
    if method not in ("auto", "occlusion", own):
        why = "; it scores leaves only, at the deepest level" if exact else ""
        raise ValueError(f"--method {method} is not for this {base.name!r} model{why}: use {own}")
    return own if method == "auto" else method


def explain_text(
    classifier: Classifier,
    text: str,
    levels: Sequence[int] | None = None,
    *,
    code: str | None = None,
    against: str | None = None,
    method: str = "auto",
    **options: Any,
) -> list[LevelExplanation]:
    """Explain a code of each level: what each word contributes to it, and to its lead over the one that came second.

    Args:
        levels: default: the level of ``code``, else :func:`default_levels`.
        code: which code, or one above it at the level; default the most probable of each level.
        against: which other; default the most probable of the code's siblings.
        method: "auto" or a key of :data:`METHODS`; see :func:`method_for`.
        options: ``steps``, ``tolerance`` of gradients; ``most`` predictions of occlusion.

    Raises:
        TaxonomyError, ValueError: an unknown code, level or method.
        ModuleNotFoundError: gradients without captum.
    """
    classifier.check_fitted()
    tree, base = classifier.taxonomy, classifier.uncalibrated
    usual = default_levels(classifier) if code is None else tree.level[tree.encode([code])].tolist()
    wanted = [tree.check_level(level) for level in levels or usual]
    chosen = method_for(classifier, wanted, method)
    leaves_only = chosen == "linear" and list(base.exact_levels) == [tree.depth]
    questions = ask(classifier, text, wanted, code=code, against=against, leaves_only=leaves_only)
    if chosen == "linear":
        return explain_linear(base, text, questions)
    if chosen == "gradients":
        from hjc.explain.gradients import explain_gradients

        return explain_gradients(base, text, questions, **options)
    return explain_occlusion(classifier, text, questions, **options)
