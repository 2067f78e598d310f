"""Who codes which ad next, and what was decided. Two coders never get one ad unless it has a second copy."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from hjc.serve.store.outcomes import AUTOMATIC, settle, withdrawn, write_outcomes
from hjc.serve.store.people import User
from hjc.serve.store.schema import Missing, ads, comments, decisions, insert, now, shown, stamp, tasks, users

OPEN, LEASED, DONE, ERASED = "open", "leased", "done", "erased"
#: what a coder may decide about a task
KINDS = ("code", "several", "not_a_job", "skip")
#: decisions that end a task
ENDING = ("code", "several", "not_a_job")


class Conflict(ValueError):
    """Somebody else was quicker, or the state is another one than the caller thinks."""


@dataclass(frozen=True)
class Task:
    """A task with its ad."""

    id: int
    ad: int
    batch: int
    copy: int
    purpose: str
    number: int
    key: str
    language: str
    text: str
    fields: dict[str, Any]


_JOINED = sa.select(
    tasks.c.id, tasks.c.ad_id, tasks.c.batch_id, tasks.c.copy, tasks.c.purpose, ads.c.number, ads.c.key,
    ads.c.language, ads.c.text, ads.c.fields,
).join(ads, ads.c.id == tasks.c.ad_id)  # fmt: skip


def _task(row: Any) -> Task:
    numbers = row.id, row.ad_id, row.batch_id, row.copy, row.purpose, row.number
    return Task(*numbers, row.key, row.language, row.text or "", dict(row.fields or {}))


def take(connection: Connection, user: User, batch: int | None, n: int, minutes: float) -> list[Task]:
    """The next ``n`` tasks of a coder, leased to them: first those that they hold already, then those dealt to them,
    then the queue. An ad of which they hold or decided another copy is not for them.
    """
    lock_user(connection, user)
    moment = now()
    of_batch = [tasks.c.batch_id == batch] if batch is not None else []
    free = sa.or_(tasks.c.state == OPEN, sa.and_(tasks.c.state == LEASED, tasks.c.leased_until < moment))
    other = tasks.alias("other")
    mine = sa.select(other.c.id).where(
        other.c.ad_id == tasks.c.ad_id, other.c.id != tasks.c.id,
        sa.or_(sa.and_(other.c.state == LEASED, other.c.leased_to == user.id),
               sa.exists().where(decisions.c.id == other.c.decision_id, decisions.c.user_id == user.id)),
    )  # fmt: skip
    held = tasks.c.state == LEASED, tasks.c.leased_to == user.id
    found: dict[int, Task] = {}
    for wanted in (
        held,
        (free, tasks.c.assigned_to == user.id, ~sa.exists(mine)),
        (free, tasks.c.assigned_to.is_(None), ~sa.exists(mine)),
    ):
        if (left := n - len(found)) <= 0:
            break
        # several copies of one ad may be free: only one of them is for this coder
        query = _JOINED.where(*of_batch, *wanted, ads.c.erased.is_(None)).order_by(tasks.c.batch_id, tasks.c.position)
        query = query.limit(4 * left + 4).with_for_update(of=tasks, skip_locked=True)
        for row in connection.execute(query):
            if len(found) < n:
                found.setdefault(row.ad_id, _task(row))
    until = stamp(datetime.now(UTC) + timedelta(minutes=minutes))
    leased = {"state": LEASED, "leased_to": user.id, "leased_until": until}
    connection.execute(tasks.update().where(tasks.c.id.in_([t.id for t in found.values()])).values(leased))
    return list(found.values())


def lock_user(connection: Connection, user: User) -> None:
    """Requests of one user one after the other (SQLite has one writer anyway)."""
    connection.execute(sa.select(users.c.id).where(users.c.id == user.id).with_for_update())


def task_of(connection: Connection, task: int) -> Task:
    """A task with its ad. Raises ValueError: there is none."""
    row = connection.execute(_JOINED.where(tasks.c.id == task)).first()
    if row is None:
        raise Missing(f"there is no task {task}")
    return _task(row)


def note_shown(connection: Connection, ad: int, user: User, model: str, version: str, suggestions: Any) -> int:
    """Keep what somebody was shown; the number goes with their decision."""
    return insert(
        connection, shown, ad_id=ad, user_id=user.id, at=now(), model=model, version=version, suggestions=suggestions
    )


@dataclass(frozen=True)
class Choice:
    """What a coder decided; ``key`` is the client's name for it, so that a repeated request changes nothing."""

    key: str
    kind: str
    codes: Sequence[str] = ()
    comment: str = ""
    seconds: float | None = None
    shown: int | None = None


def decide(connection: Connection, user: User, task: int, choice: Choice) -> int:
    """Add a decision on a task that the user holds; returns its number.

    Raises:
        Conflict: another coder has the task, or it is decided; or the key was used for something else.
        ValueError: there is no such task, or ``shown`` is of another ad or user.
    """
    lock_user(connection, user)
    if (known := _of_key(connection, user, choice.key, task_id=task)) is not None:
        return known
    row = connection.execute(sa.select(tasks).where(tasks.c.id == task).with_for_update()).first()
    if row is None:
        raise Missing(f"there is no task {task}")
    if row.state == ERASED:
        raise Conflict(f"the text of task {task} was removed")
    if row.state == DONE:
        raise Conflict(f"task {task} is decided already; undo that first")
    if row.state == LEASED and row.leased_to != user.id:
        raise Conflict(f"task {task} was given to another coder, as it was not decided on in time")
    if row.state == OPEN and row.assigned_to not in (None, user.id):
        raise Conflict(f"task {task} was dealt to another coder")
    number = add_decision(connection, user, row.ad_id, choice, task=task)
    if choice.kind in ENDING:
        new: dict[str, Any] = {"state": DONE, "decision_id": number}
    else:
        last = sa.select(sa.func.max(tasks.c.position)).where(tasks.c.batch_id == row.batch_id).scalar_subquery()
        new = {"state": OPEN, "position": last + 1}
    new |= {"leased_to": None, "leased_until": None}
    connection.execute(tasks.update().where(tasks.c.id == task).values(new))
    return number


def add_decision(
    connection: Connection, user: User | None, ad: int, choice: Choice, *, task: int | None = None,
    withdraws: int | None = None, model: str = "", version: str = "",
) -> int:  # fmt: skip
    """Write a decision with its comment; the model is the one that was shown, where something was."""
    if choice.shown is not None:
        seen = connection.execute(sa.select(shown).where(shown.c.id == choice.shown)).first()
        if seen is None or seen.ad_id != ad or (user is not None and seen.user_id != user.id):
            raise ValueError(f"shown: {choice.shown} was not shown to this coder for this ad")
        model, version = seen.model, seen.version
    values = {
        "key": choice.key, "ad_id": ad, "task_id": task, "user_id": user.id if user else None, "at": now(),
        "kind": choice.kind, "codes": list(choice.codes), "model": model, "version": version,
        "shown_id": choice.shown, "seconds": choice.seconds, "withdraws": withdraws,
    }  # fmt: skip
    number = insert(connection, decisions, **values)
    if choice.comment.strip():
        connection.execute(comments.insert().values(decision_id=number, text=choice.comment.replace("\0", "").strip()))
    settle(connection, [ad])
    return number


def adjudicate(connection: Connection, user: User, ad: int, choice: Choice) -> int:
    """Add a decision on an ad without a task; returns its number. Raises Conflict where the key was used elsewhere."""
    lock_user(connection, user)
    known = _of_key(connection, user, choice.key, ad_id=ad, kind=choice.kind)
    return add_decision(connection, user, ad, choice) if known is None else known


def add_automatic(connection: Connection, codes: Mapping[int, str], model: str, version: str) -> None:
    """The model's decisions on new ads that need no coder: ad -> code."""
    plain = {"task_id": None, "user_id": None, "at": now(), "kind": "automatic", "model": model, "version": version,
             "shown_id": None, "seconds": None, "withdraws": None}  # fmt: skip
    rows = [{"key": f"automatic-{ad}-{version}", "ad_id": ad, "codes": [code], **plain} for ad, code in codes.items()]
    if rows:
        connection.execute(decisions.insert(), rows)
        write_outcomes(connection, {ad: (AUTOMATIC, [code]) for ad, code in codes.items()})


def _of_key(connection: Connection, user: User, key: str, **same: Any) -> int | None:
    """The decision that has the key already, of this user and with these values: the request is a repeated one."""
    row = connection.execute(sa.select(decisions).where(decisions.c.key == key)).mappings().first()
    if row is None:
        return None
    if row["user_id"] != user.id or any(row[name] != value for name, value in same.items()):
        raise Conflict(f"key {key!r} was used for another decision or user; make keys by chance, such as a UUID")
    return int(row["id"])


def undo(connection: Connection, user: User, key: str, minutes: float, task: int | None = None) -> Task:
    """Withdraw the user's last decision (or their last one on ``task``), and give them the task again.

    Raises:
        Conflict: there is nothing to undo, or the ad was skipped and another coder has it.
    """
    lock_user(connection, user)
    if _of_key(connection, user, key, kind="undo") is not None:
        undone = sa.select(decisions.c.task_id).where(decisions.c.key == key)
        return task_of(connection, int(connection.execute(undone).scalar_one()))
    wanted = [decisions.c.user_id == user.id, decisions.c.kind.in_(KINDS), ~withdrawn()]
    if task is not None:
        wanted.append(decisions.c.task_id == task)
    last = connection.execute(sa.select(decisions).where(*wanted).order_by(decisions.c.id.desc()).limit(1)).first()
    if last is None:
        raise Conflict("there is nothing to undo")
    row = connection.execute(sa.select(tasks).where(tasks.c.id == last.task_id).with_for_update()).one()
    if row.state == ERASED:
        raise Conflict("the text was removed since")
    if row.state != OPEN and row.decision_id != last.id and row.leased_to != user.id:
        raise Conflict("another coder has this ad now")
    add_decision(connection, user, row.ad_id, Choice(key, "undo"), task=row.id, withdraws=last.id)
    until = stamp(datetime.now(UTC) + timedelta(minutes=minutes))
    values = {"state": LEASED, "leased_to": user.id, "leased_until": until, "decision_id": None}
    connection.execute(tasks.update().where(tasks.c.id == row.id).values(values))
    return task_of(connection, row.id)


def release(connection: Connection, user: User) -> None:
    """Give back what the user holds without a decision (they sign out)."""
    held = tasks.c.state == LEASED, tasks.c.leased_to == user.id
    connection.execute(tasks.update().where(*held).values(state=OPEN, leased_to=None, leased_until=None))
