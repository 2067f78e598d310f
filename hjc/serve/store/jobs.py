"""Long work with a number that a client asks about again; what a stopped server left is told as failed."""

import secrets
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from hjc.serve.store.people import User
from hjc.serve.store.schema import Missing, jobs, now

WAITING, RUNNING, FINISHED, FAILED = "waiting", "running", "done", "failed"


def new_job(connection: Connection, kind: str, user: User | None, **detail: Any) -> str:
    """Its name, which cannot be guessed. ``detail`` holds no text."""
    name = secrets.token_urlsafe(12)
    values = {"name": name, "kind": kind, "state": WAITING, "user_id": user.id if user else None, "created": now(),
              "progress": 0.0, "detail": detail}  # fmt: skip
    connection.execute(jobs.insert().values(values))
    return name


def set_job(connection: Connection, name: str, **values: Any) -> None:
    """Change state, progress, result, error, started or ended."""
    connection.execute(jobs.update().where(jobs.c.name == name).values(values))


def get_job(connection: Connection, name: str) -> Any:
    """Its row. Raises ValueError: there is none."""
    row = connection.execute(sa.select(jobs).where(jobs.c.name == name)).first()
    if row is None:
        raise Missing(f"there is no job {name!r}")
    return row


def fail_unfinished(connection: Connection) -> int:
    """Jobs that an earlier server did not end; returns how many."""
    values = {"state": FAILED, "ended": now(), "error": "the server stopped before the job ended: ask for it again"}
    return connection.execute(jobs.update().where(jobs.c.state.in_((WAITING, RUNNING))).values(values)).rowcount
