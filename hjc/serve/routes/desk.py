"""``/v1/desk``: the coder's work: next ad, decision, undo, history, why, progress."""

import asyncio
from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Query
from sqlalchemy import select
from sqlalchemy.engine import Connection
from starlette.concurrency import run_in_threadpool

from hjc.data.recipe import OK
from hjc.serve.desk_schemas import Decide, Decided, History, HistoryRow, Next, Progress, TaskOut, Tasks, Undo
from hjc.serve.models import Answer, Served
from hjc.serve.routes.access import Coder, ServiceNow, answer
from hjc.serve.schemas import Number
from hjc.serve.service import Service
from hjc.serve.store import queue
from hjc.serve.store.batches import get_batch
from hjc.serve.store.outcomes import withdrawn
from hjc.serve.store.people import User
from hjc.serve.store.results import progress
from hjc.serve.store.schema import ads, decisions
from hjc.serve.suggest import suggestions

router = APIRouter(prefix="/v1/desk", tags=["desk"])


@router.post("/next")
async def next_tasks(wanted: Next, service: ServiceNow, user: Coder) -> Tasks:
    """The next ads of this coder, held for them for a while, each with what the model suggests now."""

    def take() -> list[tuple[queue.Task, Served, str]]:
        with service.store.write() as connection:
            found = queue.take(connection, user, wanted.batch, wanted.n, service.settings.lease_minutes)
            rows = {number: get_batch(connection, number) for number in {task.batch for task in found}}
        return [(t, service.board.get_or_first(rows[t.batch].model), rows[t.batch].settings.get("hide", "none"))
                for t in found]  # fmt: skip

    return Tasks(tasks=await shown_tasks(service, user, await run_in_threadpool(take), language=wanted.language))


async def shown_tasks(
    service: Service, user: User, taken: Sequence[tuple[queue.Task, Served, str]], *, language: str | None
) -> list[TaskOut]:
    """Tasks as their coder sees them; what they see is kept. The texts go through the model together.

    Args:
        taken: task, its model, and where its suggestions are hidden: none, audit or all.
    """
    out, asked = [], list[tuple[TaskOut, queue.Task, Served, str]]()
    for task, served, hide in taken:
        (text,), (status,) = served.classifier.recipe.of_columns(["text"]).read([[task.text]])
        one = TaskOut(
            task=task.id, ad=task.ad, batch=task.batch, number=task.number,
            language=task.language, text=task.text, fields=task.fields, status=status, model=served.name,
        )  # fmt: skip
        out.append(one)
        if status == OK and hide != "all" and not (hide == "audit" and task.purpose == "audit"):
            asked.append((one, task, served, text))

    async def found(task: queue.Task, served: Served, text: str) -> Answer:
        # audited ads are coded beside the model alone: what others corrected must not decide them
        learned = task.purpose != "audit"
        return await answer(service, served, [text], calibrated=served.can_calibrate, learned=learned)

    answers = await asyncio.gather(*(found(task, served, text) for _, task, served, text in asked))

    def keep() -> None:
        for (one, _, served, _), given in zip(asked, answers, strict=True):
            one.suggestions = suggestions(served, given, 0, calibrated=served.can_calibrate, language=language)
        with service.store.write() as connection:
            for one, _, served, _ in asked:
                one.shown = note_shown(connection, user, one, served)

    if asked:
        await run_in_threadpool(keep)
    return out


def note_shown(connection: Connection, user: User, one: TaskOut, served: Served) -> int:
    """Keep the first codes of each level that somebody sees."""
    made = one.suggestions
    assert made is not None
    seen = {"calibrated": made.calibrated, "stage": made.stage,
            "levels": {str(level.level): [[c.code, round(c.probability, 6)] for c in level.choices[:5]]
                       for level in made.levels}}  # fmt: skip
    return queue.note_shown(connection, one.ad, user, served.name, served.version, seen)


@router.post("/decisions")
def decide(wanted: Decide, service: ServiceNow, user: Coder) -> Decided:
    """Keep a decision. It is on the disk when the answer comes; the same key again changes nothing.

    409: somebody else has the ad now, or it is decided.
    """
    with service.store.read() as connection:
        task = queue.task_of(connection, wanted.task)
        model = get_batch(connection, task.batch).model
    check_codes(service.board.get_or_first(model), wanted)
    choice = queue.Choice(wanted.key, wanted.kind, wanted.codes, wanted.comment, wanted.seconds, wanted.shown)
    with service.store.write() as connection:
        number = queue.decide(connection, user, wanted.task, choice)
        found = progress(connection, wanted.batch, user.id)
    service.metrics.decisions.labels(wanted.kind).inc()
    if wanted.kind in ("code", "several"):
        service.refresh_corrections([task.ad])
    return Decided(decision=number, progress=Progress(**found))


def check_codes(served: Served, wanted: Decide) -> None:
    """Raise ValueError where the codes do not fit the kind, or the tree does not have them."""
    allowed = {"code": (1, 1), "several": (2, 20)}.get(wanted.kind, (0, 0))
    if not allowed[0] <= len(wanted.codes) <= allowed[1]:
        raise ValueError(f"codes: got {len(wanted.codes)}, a decision {wanted.kind!r} has {allowed[0]} to {allowed[1]}")
    if len(set(wanted.codes)) < len(wanted.codes):
        raise ValueError("codes: one stands twice")
    served.classifier.taxonomy.encode(wanted.codes)


@router.post("/undo")
async def undo(wanted: Undo, service: ServiceNow, user: Coder) -> TaskOut:
    """Withdraw one's last decision; the ad comes back. 409: there is none, or another coder has the ad."""

    def work() -> tuple[queue.Task, Served, str]:
        with service.store.write() as connection:
            task = queue.undo(connection, user, wanted.key, service.settings.lease_minutes, wanted.task)
            row = get_batch(connection, task.batch)
        service.refresh_corrections([task.ad])
        return task, service.board.get_or_first(row.model), row.settings.get("hide", "none")

    (back,) = await shown_tasks(service, user, [await run_in_threadpool(work)], language=wanted.language)
    return back


@router.get("/history")
def history(
    service: ServiceNow, user: Coder, n: Annotated[int, Query(ge=1, le=200)] = 20, language: str | None = None
) -> History:
    """One's own last decisions, the newest first."""
    with service.store.read() as connection:
        query = (
            select(decisions, ads.c.text, ads.c.number, withdrawn().label("undone"))
            .join(ads, ads.c.id == decisions.c.ad_id)
            .where(decisions.c.user_id == user.id, decisions.c.kind.in_(queue.KINDS))
            .order_by(decisions.c.id.desc())
            .limit(n)
        )
        rows = list(connection.execute(query))
    tree = service.board.get().classifier.taxonomy
    found = []
    for row in rows:
        titles = [tree.title(tree.index_of[code], language) if code in tree.index_of else "" for code in row.codes]
        found.append(
            HistoryRow(decision=row.id, task=row.task_id, ad=row.ad_id, number=row.number, at=row.at, kind=row.kind,
                       codes=row.codes, titles=titles, text=(row.text or "")[:200], undone=bool(row.undone))
        )  # fmt: skip
    return History(decisions=found)


@router.get("/progress")
def how_far(service: ServiceNow, user: Coder, batch: Number | None = None, mine: bool = True) -> Progress:
    """Done, left, pace and the time that is left: of oneself, or of all."""
    with service.store.read() as connection:
        return Progress(**progress(connection, batch, user.id if mine else None))
