"""What an evaluation found, in sentences for somebody who has never seen a log-loss."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from hjc.evaluation.evaluate import Evaluation
from hjc.metrics.intervals import wilson
from hjc.taxonomy import Taxonomy

#: what the levels of well-known trees are called
_NAMES = {"isco08": {1: "major group", 2: "sub-major group", 3: "minor group"}}
#: sets that get sentences of their own
_SETS = 2
#: accuracy that automatic coding is told for
ACCURACY = 0.9


def level_name(taxonomy: Taxonomy, level: int) -> str:
    """``4-digit code``, ``major group``, or ``code of level 2`` where codes are of different lengths.

    >>> from hjc.taxonomy import isco08
    >>> level_name(isco08(), 1), level_name(isco08(), 4)
    ('major group', '4-digit code')
    """
    if known := _NAMES.get(taxonomy.name, {}).get(level):
        return known
    codes = [taxonomy.codes[i] for i in taxonomy.level_nodes(level).tolist()]
    lengths = {len(code) for code in codes}
    if len(lengths) == 1 and all(code.isdigit() for code in codes):
        return f"{lengths.pop()}-digit code"
    return f"code of level {level}"


def right_of_100(found: Evaluation, level: int) -> tuple[int, int, int]:
    """Rows of 100 whose most probable code of a level is right, and the bounds of the 95 % (Wilson) interval."""
    rank = found.scores.rank[found.scores.valid[:, level - 1], level - 1]
    hits = int((rank == 1).sum())
    low, high = wilson(hits, len(rank))
    return round(100 * hits / max(len(rank), 1)), int(np.floor(100 * low)), int(np.ceil(100 * high))


def told_level(found: Evaluation) -> int:
    """The level that is told: the deepest one that at least half of the gold codes reach."""
    reached = found.scores.valid.mean(axis=0)
    return int(np.flatnonzero(reached >= min(0.5, reached.max()))[-1]) + 1


def automatic(found: Evaluation, level: int) -> dict[str, Any] | None:
    """The line of decisions.csv about automatic coding to a level, by the best probabilities that there are.

    Its threshold was chosen on validation rows; None where the model has kept none.
    """
    if found.decided is None or not len(rules := found.decided.rules):
        return None
    keep = rules["rule"].eq("automatic at the level") & rules["parameter"].eq(ACCURACY) & rules["slice"].eq("")
    lines = rules[keep & rules["level"].eq(level)]
    return None if lines.empty else dict(lines.iloc[-1])


def sentence(found: Evaluation, these: str) -> str:
    """How many of 100 texts get the right code, at the deepest level that is told and at the first one."""
    tree, depth = found.taxonomy, told_level(found)
    value, low, high = right_of_100(found, depth)
    text = f"Of 100 new texts like {these}, {value} get the right {level_name(tree, depth)} ({low} to {high})"
    if depth > 1:
        text += f" and {right_of_100(found, 1)[0]} the right {level_name(tree, 1)}"
    return f"{text}."


def automatic_sentence(found: Evaluation) -> str:
    """How many of 100 can be coded without anybody looking, to which level, and what that rule did on these rows.

    Where none can at the level that is told, the deepest level above it at which some can.
    """
    deepest, tree = told_level(found), found.taxonomy
    if automatic(found, deepest) is None:
        return ""
    aim = f"{ACCURACY:.0%}".replace("%", " %")
    none = f"None of them can get a {level_name(tree, deepest)} automatically"
    for level in range(deepest, 0, -1):
        line = automatic(found, level)
        if line is None or not line["coded"] > 0:
            continue
        some = (
            f"{100 * line['coded']:.0f} of 100 can get a {level_name(tree, level)} automatically at {aim} accuracy "
            f"({100 * line['right']:.0f} % of those were right here)."
        )
        return some if level == deepest else f"{none}; {some}"
    return (
        f"{none}, nor a broader one: the validation rows are too few, or too often wrong, to show {aim} accuracy "
        "beyond chance. Somebody has to look at each."
    )


def plain_sentences(evaluations: Mapping[str, Evaluation]) -> list[str]:
    """Two or three lines about the test sets; about the validation rows where there are no others."""
    tests = [name for name in evaluations if name != "valid"] or list(evaluations)
    lines = []
    for name in tests[:_SETS]:
        found = evaluations[name]
        these = f"the {len(found.scores):,} of {name!r}" if len(tests) > 1 else f"the {len(found.scores):,} test texts"
        if name == "valid":
            these = f"the {len(found.scores):,} validation texts"
        lines.append(sentence(found, these))
        if coded := automatic_sentence(found):
            lines[-1] += f" {coded}"
        if name == "valid":
            lines.append("There are no test rows: the model was chosen on these, so expect a little less.")
    if (more := len(tests) - _SETS) > 0:
        lines.append(f"{more} more test {'sets are' if more > 1 else 'set is'} in the report.")
    return lines
