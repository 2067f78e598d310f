"""What a coder sees beside an ad: candidates of every level, and the tree, open where the model is unsure."""

import numpy as np

from hjc.arrays import Float64
from hjc.decision.rules import back_off
from hjc.metrics.level_proba import LevelProba
from hjc.serve.desk_schemas import Candidate, Choice, LevelChoices, Suggestions
from hjc.serve.models import Answer, Served
from hjc.serve.taxonomy import children_of, path_of
from hjc.taxonomy import Taxonomy

#: choices of a level: one for each key from 1 to 9
CHOICES = 9
#: nodes less probable than this are not listed in the tree, but the best path is
LEAST = 0.02
#: a node is opened where less than this of its probability is on one child
SURE = 0.8
#: the level to begin with: that of the deepest code with this probability
BACK_OFF = 0.5


def suggestions(
    served: Served, answer: Answer, row: int, *, calibrated: bool, language: str | None = None
) -> Suggestions:
    """For a row of an answer."""
    tree = served.classifier.taxonomy
    levels = LevelProba.of(tree, answer.log_proba[row : row + 1])
    chosen = int(back_off(tree, levels, BACK_OFF).node[0])
    return Suggestions(
        model=served.name,
        version=served.version,
        calibrated=calibrated,
        stage=answer.stages[row],
        backed_off=tree.codes[chosen] if chosen >= 0 else None,
        level=int(tree.level[chosen]) if chosen >= 0 else tree.depth,
        levels=[LevelChoices(level=d, choices=_choices(tree, levels, d, language)) for d in range(1, tree.depth + 1)],
        tree=_candidates(tree, np.minimum(levels.nodes()[0], 1.0), {*levels.path[0].tolist()}, -1, language),
    )


def _choices(tree: Taxonomy, levels: LevelProba, level: int, language: str | None) -> list[Choice]:
    nodes, p = tree.level_nodes(level), levels.at(level)[0]
    best = np.argsort(-levels.ordered(level)[0], kind="stable")[:CHOICES]
    return [
        Choice(
            code=tree.codes[node], title=tree.title(node, language), probability=min(float(q), 1.0),
            path=[tree.title(i, language) for i in path_of(tree, node)[:-1]], leaf=bool(tree.is_leaf[node]),
        )
        for node, q in zip(nodes[best].tolist(), p[best].tolist(), strict=True)
    ]  # fmt: skip


def _candidates(tree: Taxonomy, p: Float64, path: set[int], above: int, language: str | None) -> list[Candidate]:
    children = children_of(tree, above)
    listed = [node for node in children if p[node] >= LEAST or node in path]
    out = []
    for node in sorted(listed, key=lambda n: -p[n]):
        below = _candidates(tree, p, path, node, language)
        under = children_of(tree, node)
        unsure = bool(under) and max(p[n] for n in under) < SURE * p[node] and p[node] >= 0.1
        out.append(
            Candidate(
                code=tree.codes[node], title=tree.title(node, language), level=int(tree.level[node]),
                probability=float(p[node]), leaf=not under, open=node in path or unsure,
                more=len(under) - len(below), children=below,
            )
        )  # fmt: skip
    return out
