"""One text, several codes: what to do is a decision, so it has names, and every text it concerns is counted."""

from collections.abc import Sequence
from typing import NamedTuple

from hjc.taxonomy.tree import Taxonomy

#: drop: such a text goes. keep_all: it stays at each of its k codes with weight 1 / k. most_frequent: it stays at the
#: code that gives it most often; where two do equally often, at the one whose own title it is; else it goes.
SHARED = ("drop", "keep_all", "most_frequent")


class Candidate(NamedTuple):
    """A text that may become a training text. ``times``: how many rows gave it for this code."""

    text: str
    code: str
    language: str
    source: str
    value: str = ""
    times: int = 1


def resolve_shared(
    taxonomy: Taxonomy, candidates: Sequence[Candidate], policy: str
) -> tuple[list[Candidate], list[float], list[tuple[Candidate, str]]]:
    """Apply a policy to texts (without regard to case, within a language) that several codes have.

    Codes on one path of the tree do not disagree: "Commissioned armed forces officers" is 01, 011 and 0110. The text
    stays at the deepest of them.

    Args:
        candidates: each (text, code, language) once.

    Returns:
        What stays, its weights, and what goes with the reason.
    """
    groups: dict[tuple[str, str], list[Candidate]] = {}
    for candidate in candidates:
        groups.setdefault((candidate.text.casefold(), candidate.language), []).append(candidate)
    kept: list[Candidate] = []
    weights: list[float] = []
    lost: list[tuple[Candidate, str]] = []
    for group in groups.values():
        if len(group) > 1:
            group, above = _deepest(taxonomy, group)
            lost += [(c, "the same text stands at a code below") for c in above]
        if len(group) > 1 and policy != "keep_all":
            winner = _most_frequent(group) if policy == "most_frequent" else None
            reason = "shared by several codes" if winner is None else "shared: another code has it more often"
            lost += [(c, reason) for c in group if c is not winner]
            group = [] if winner is None else [winner]
        kept += group
        weights += [1.0 / max(len(group), 1)] * len(group)
    return kept, weights, lost


def _deepest(taxonomy: Taxonomy, group: Sequence[Candidate]) -> tuple[list[Candidate], list[Candidate]]:
    """Candidates that have no other one of the group below them, and those that have."""
    above: set[int] = set()
    for candidate in group:
        node = int(taxonomy.parents[taxonomy.index_of[candidate.code]])
        while node >= 0:
            above.add(node)
            node = int(taxonomy.parents[node])
    inner = [taxonomy.index_of[c.code] in above for c in group]
    return [c for c, i in zip(group, inner, strict=True) if not i], [c for c, i in zip(group, inner, strict=True) if i]


def _most_frequent(group: Sequence[Candidate]) -> Candidate | None:
    most = max(c.times for c in group)
    best = [c for c in group if c.times == most]
    if len(best) > 1:
        best = [c for c in best if c.source == "title"]
    return best[0] if len(best) == 1 else None
