"""Batches of ads: written, turned into tasks, dealt to coders, counted."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from hjc.serve.store.people import User, named
from hjc.serve.store.planning import COMMON, SECOND, Planned, deal
from hjc.serve.store.queue import DONE, ERASED, LEASED, OPEN, Conflict
from hjc.serve.store.schema import Missing, ads, batches, insert, now, tasks

#: the batch that corrections sent to ``/v1/learn`` lie in
CORRECTIONS = "corrections"
#: ads that are written at a time
WRITTEN = 1000


def new_batch(
    connection: Connection, name: str, user: User | None, model: str, source: str, settings: Mapping[str, Any]
) -> int:
    """An empty batch, whose state is ``coming`` until it is :func:`planned`."""
    who = user.id if user else None
    return insert(
        connection, batches, name=name, created=now(), user_id=who, model=model, source=source,
        settings=dict(settings), state="coming",
    )  # fmt: skip


def set_state(connection: Connection, batch: int, state: str) -> None:
    """coming, ready, failed or closed."""
    connection.execute(batches.update().where(batches.c.id == batch).values(state=state))


def get_batch(connection: Connection, batch: int) -> Any:
    """Its row. Raises ValueError: there is none."""
    row = connection.execute(sa.select(batches).where(batches.c.id == batch)).first()
    if row is None:
        raise Missing(f"there is no batch {batch}")
    return row


def check_ad(connection: Connection, ad: int) -> None:
    """Raise ValueError where there is no ad of this number."""
    if connection.execute(sa.select(ads.c.id).where(ads.c.id == ad)).first() is None:
        raise Missing(f"there is no ad {ad}")


def corrections_batch(connection: Connection, model: str) -> int:
    """The batch of corrections that came without one, made when it is needed."""
    wanted = sa.select(batches.c.id).where(batches.c.source == CORRECTIONS)
    found = connection.execute(wanted).scalar()
    if found is not None:
        return int(found)
    number = new_batch(connection, CORRECTIONS, None, model, CORRECTIONS, {})
    set_state(connection, number, "ready")
    return number


def storable(value: Any) -> Any:
    """The value without the zero character, which no text of PostgreSQL can hold and no text means."""
    if isinstance(value, str):
        return value.replace("\0", "")
    if isinstance(value, Mapping):
        return {storable(key): storable(one) for key, one in value.items()}
    return value


def add_ads(connection: Connection, batch: int, rows: Iterable[Mapping[str, Any]]) -> list[int]:
    """Write ads (number, key, language, text, fields); returns their numbers in the store, in order."""
    moment = now()
    values = [{"batch_id": batch, "created": moment, "erased": None, **storable(row)} for row in rows]
    out: list[int] = []
    for start in range(0, len(values), WRITTEN):
        insert = ads.insert().returning(ads.c.id, sort_by_parameter_order=True)
        out += connection.execute(insert, values[start : start + WRITTEN]).scalars()
    return out


def note_predictions(connection: Connection, found: Iterable[tuple[int, str, float]]) -> None:
    """Code and probability that the model gave ads when they came in."""
    statement = ads.update().where(ads.c.id == sa.bindparam("ad")).values(
        predicted=sa.bindparam("code"), confidence=sa.bindparam("p")
    )  # fmt: skip
    if values := [{"ad": ad, "code": code, "p": p} for ad, code, p in found]:
        connection.execute(statement, values)


def add_tasks(connection: Connection, batch: int, ids: Sequence[int], planned: Iterable[Planned]) -> int:
    """Write the tasks of a batch whose row i is the ad ``ids[i]``; returns how many."""
    values = [
        {"batch_id": batch, "ad_id": ids[one.row], "copy": one.copy, "purpose": one.purpose,
         "position": one.position, "stratum": "", "inclusion_probability": one.inclusion_probability,
         "score": one.score, "state": OPEN}
        for one in planned
    ]  # fmt: skip
    for start in range(0, len(values), WRITTEN):
        connection.execute(tasks.insert(), values[start : start + WRITTEN])
    return len(values)


def deal_batch(
    connection: Connection, batch: int, coders: Sequence[str], *, each: int | None, common: int, seed: int
) -> dict[str, int]:
    """Deal the open ads that nobody has: coder -> tasks. See :func:`hjc.serve.store.planning.deal`.

    Raises:
        ValueError: an unknown coder, or as ``deal``.
    """
    people = {name: named(connection, name).id for name in coders}
    twice = sa.select(tasks.c.ad_id).where(tasks.c.batch_id == batch).group_by(tasks.c.ad_id)
    twice = twice.having(sa.func.count() > 1)
    free = tasks.c.batch_id == batch, tasks.c.state == OPEN, tasks.c.assigned_to.is_(None), tasks.c.copy == 1
    wanted = sa.select(tasks).where(*free, tasks.c.ad_id.not_in(twice)).order_by(tasks.c.position)
    rows = connection.execute(wanted.with_for_update()).all()
    shared, own = deal(range(len(rows)), coders, each=each, common=common, seed=seed)
    first = coders[0]
    give = tasks.update().where(tasks.c.id == sa.bindparam("task")).values(
        assigned_to=sa.bindparam("who"), purpose=sa.bindparam("why")
    )  # fmt: skip
    moves = [{"task": rows[i].id, "who": people[n], "why": rows[i].purpose} for n, mine in own.items() for i in mine]
    moves += [{"task": rows[i].id, "who": people[first], "why": _common(rows[i].purpose)} for i in shared]
    if moves:
        connection.execute(give, moves)
    copies = [
        _copy(rows[i], copy, people[name], _common(rows[i].purpose))
        for i in shared
        for copy, name in enumerate(coders[1:], start=2)
    ]
    if copies:
        connection.execute(tasks.insert(), copies)
    return {name: len(mine) + len(shared) for name, mine in own.items()}


def _common(purpose: str) -> str:
    """A common ad that is audited stays one that is audited."""
    return purpose if purpose == "audit" else COMMON


def _copy(row: Any, copy: int, who: int | None, purpose: str) -> dict[str, Any]:
    kept = {name: getattr(row, name) for name in ("batch_id", "ad_id", "position", "stratum", "score",
                                                  "inclusion_probability")}  # fmt: skip
    return {**kept, "copy": copy, "purpose": purpose, "state": OPEN, "assigned_to": who}


def double(connection: Connection, batch: int, ads_wanted: Sequence[int]) -> int:
    """A second copy for ads that have one; returns how many were added.

    Raises:
        Conflict: an ad has no task in the batch.
    """
    wanted = sa.select(tasks).where(tasks.c.batch_id == batch, tasks.c.ad_id.in_(ads_wanted)).order_by(tasks.c.copy)
    by_ad: dict[int, list[Any]] = {}
    for row in connection.execute(wanted):
        by_ad.setdefault(row.ad_id, []).append(row)
    if missing := [ad for ad in ads_wanted if ad not in by_ad]:
        raise Conflict(f"ad {missing[0]} has no task in batch {batch}")
    new = [_copy(rows[0], 2, None, SECOND if rows[0].purpose == "queue" else rows[0].purpose)
           for rows in by_ad.values() if len(rows) == 1]  # fmt: skip
    if new:
        connection.execute(tasks.insert(), new)
    return len(new)


def list_batches(connection: Connection) -> list[dict[str, Any]]:
    """Every batch with how far it is: ads, tasks, done, leased, open."""
    ad_count = sa.select(ads.c.batch_id, sa.func.count().label("ads")).group_by(ads.c.batch_id).subquery()
    counts = [
        sa.func.count().label("tasks"),
        *(sa.func.sum(sa.case((tasks.c.state == state, 1), else_=0)).label(state)
          for state in (DONE, LEASED, OPEN, ERASED)),
    ]  # fmt: skip
    of_batch = sa.select(tasks.c.batch_id, *counts).group_by(tasks.c.batch_id).subquery()
    query = (
        sa.select(batches, ad_count.c.ads, *(of_batch.c[name] for name in ("tasks", DONE, LEASED, OPEN, ERASED)))
        .join(ad_count, ad_count.c.batch_id == batches.c.id, isouter=True)
        .join(of_batch, of_batch.c.batch_id == batches.c.id, isouter=True)
        .order_by(batches.c.id.desc())
    )
    numbers = ("ads", "tasks", DONE, LEASED, OPEN, ERASED)
    return [{**row, **{name: int(row[name] or 0) for name in numbers}} for row in connection.execute(query).mappings()]
