"""Silver labels: two judges (chat models or prompts) choose among the same candidates, and must agree."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import Any

from hjc.rerank.backends import CandidateLists
from hjc.rerank.budget import Estimate
from hjc.rerank.chat_questions import ChatReranker

#: what became of a row
AGREED, DISAGREE, DECLINED, FAILED, BUDGET = "agreed", "disagree", "declined", "failed", "budget"
STATUSES = (AGREED, DISAGREE, DECLINED, FAILED, BUDGET)


@dataclass(frozen=True)
class Silver:
    """Of one text: the ``leaf`` on which all judges agree (-1: none), why, what each chose (-1: nothing) with the
    confidence that it stated (0 where it chose nothing); of a row without an answer what went wrong."""

    leaf: int
    status: str
    choices: tuple[int, ...]
    confidences: tuple[float, ...]
    why: str = ""


def check_judges(judges: Sequence[ChatReranker]) -> None:
    """Raises ValueError where judges are fewer than two, or two would ask one model the same question."""
    asked = [(judge.client.settings.model, judge.prompt.system, judge.prompt.user) for judge in judges]
    if len(set(asked)) < max(2, len(asked)):
        raise ValueError(
            "judges: at least two different ones must agree: two models (--model A --model B), or two prompts of one "
            "(--prompt rerank --prompt rerank_second)"
        )


def estimate(judges: Sequence[ChatReranker], texts: Sequence[str], candidates: CandidateLists) -> Estimate:
    """Of asking all judges about all texts, repeats and cached answers not counted."""
    asked = list(zip(texts, candidates, strict=True))
    return reduce(add, (judge.client.estimate(judge.request(*one)[0] for one in asked) for judge in judges))


def judge_texts(judges: Sequence[ChatReranker], texts: Sequence[str], candidates: CandidateLists) -> list[Silver]:
    """Ask every judge about every text; a row has a label where all chose the same leaf.

    Raises:
        EndpointError: an endpoint does not work. Answers so far are in the judges' caches.
    """
    found = [judge.decide(texts, candidates) for judge in judges]
    out = []
    for i, some in enumerate(candidates):
        results = [answers[i] for answers in found]
        chosen = [some[int(r.scores.argmax())].leaf if r.status == "chosen" else -1 for r in results]
        said = [float(r.details.get("confidence", 0.0)) if r.status == "chosen" else 0.0 for r in results]
        leaf, status = _verdict(chosen, [r.status for r in results])
        why = next((r.abstain or "" for r in results if r.status == status), "") if status in (BUDGET, FAILED) else ""
        out.append(Silver(leaf, status, tuple(chosen), tuple(said), why))
    return out


def _verdict(chosen: Sequence[int], statuses: Sequence[Any]) -> tuple[int, str]:
    for status in (BUDGET, FAILED, DECLINED):
        if status in statuses:
            return -1, status
    return (chosen[0], AGREED) if len(set(chosen)) == 1 else (-1, DISAGREE)
