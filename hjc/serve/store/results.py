"""What was decided in the end: outcomes of ads, disputes, progress, and tables of them."""

import json
from collections import defaultdict
from collections.abc import Mapping
from datetime import datetime
from itertools import pairwise
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from hjc.errors import check_choice
from hjc.serve.store.outcomes import DISPUTED, live_decisions
from hjc.serve.store.queue import DONE, ERASED
from hjc.serve.store.schema import VIEWS, ads, comments, decisions, outcomes, tasks, users

#: a gap that is a break, not work on an ad
BREAK_SECONDS = 600.0


def table(connection: Connection, name: str, batch: int | None = None) -> list[dict[str, Any]]:
    """The rows of a view of :data:`hjc.serve.store.schema.VIEWS`, the columns of the ad beside those of the view.

    - final: a line an ad, with its codes and how they came about, the model's code, the design of the sample.
    - ratings: a line for each ad (``id``) and coder, as ``hjc data agreement`` reads them.
    - training: text, code and weight (shares of several codes). Without automatic codes, disputes, removed texts and
      audited ads, which are kept apart.
    - audit: the audited ads that coders have coded, with their inclusion probability.

    Raises:
        ValueError: no such table.
    """
    check_choice("table", name, tuple(VIEWS))
    where, values = ("", {}) if batch is None else (" WHERE batch_id = :batch", {"batch": batch})
    rows = connection.execute(sa.text(f"SELECT * FROM {VIEWS[name]}{where}"), values).mappings()
    return [plain(dict(row)) for row in rows]


def plain(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of a view with the columns of the ad; one that is called like a column of the view is ``ad_...``."""
    out = {key: value for key, value in row.items() if key not in ("fields", "batch_id")}
    fields = row.get("fields")
    fields = json.loads(fields) if isinstance(fields, str) else fields
    return {**{f"ad_{key}" if key in out else key: value for key, value in (fields or {}).items()}, **out}


# ------------------------------------------------------------------------------------------ progress


def progress(connection: Connection, batch: int | None = None, user: int | None = None) -> dict[str, Any]:
    """Tasks and how many are done, the pace in ads an hour of work, and the seconds that are left at that pace.

    The pace is that of the last 200 decisions: time between one and the next, breaks of more than ten minutes aside.
    With ``user``: what that coder did; open tasks are those that they may get.
    """
    of = [tasks.c.batch_id == batch] if batch is not None else []
    total = [*of, tasks.c.state != ERASED]
    done = [*of, tasks.c.state == DONE]
    if user is not None:
        total.append(sa.or_(tasks.c.assigned_to.is_(None), tasks.c.assigned_to == user))
        done.append(sa.exists().where(decisions.c.id == tasks.c.decision_id, decisions.c.user_id == user))
    count = sa.select(sa.func.count()).select_from(tasks)
    all_tasks, finished = (connection.execute(count.where(*some)).scalar_one() for some in (total, done))
    left = connection.execute(count.where(*total, tasks.c.state != DONE)).scalar_one()
    pace = _pace(connection, batch, user)
    return {"tasks": all_tasks, "done": finished, "left": left, "per_hour": pace,
            "seconds_left": left / pace * 3600 if pace else None}  # fmt: skip


def _pace(connection: Connection, batch: int | None, user: int | None) -> float | None:
    wanted = [decisions.c.task_id.is_not(None), decisions.c.kind != "undo"]
    query = sa.select(decisions.c.user_id, decisions.c.at)
    if batch is not None:
        query = query.join(ads, ads.c.id == decisions.c.ad_id)
        wanted.append(ads.c.batch_id == batch)
    if user is not None:
        wanted.append(decisions.c.user_id == user)
    by_user: dict[int, list[float]] = defaultdict(list)
    for row in connection.execute(query.where(*wanted).order_by(decisions.c.id.desc()).limit(200)):
        by_user[row.user_id].append(datetime.fromisoformat(row.at).timestamp())
    gaps = [a - b for moments in by_user.values() for a, b in pairwise(moments)]
    worked = [gap for gap in gaps if gap < BREAK_SECONDS]
    return len(worked) / sum(worked) * 3600 if sum(worked) > 0 else None


def by_coder(connection: Connection, batch: int | None = None) -> list[dict[str, Any]]:
    """What each coder did: ads, skipped, undone, median seconds an ad, when last."""
    query = sa.select(decisions, users.c.name.label("coder")).join(users, users.c.id == decisions.c.user_id)
    if batch is not None:
        query = query.join(ads, ads.c.id == decisions.c.ad_id).where(ads.c.batch_id == batch)
    found: dict[str, dict[str, Any]] = {}
    seconds: dict[str, list[float]] = defaultdict(list)
    for row in connection.execute(query.where(decisions.c.task_id.is_not(None)).order_by(decisions.c.id)):
        one = found.setdefault(row.coder, {"coder": row.coder, "done": 0, "skipped": 0, "undone": 0, "last": None})
        one["last"] = row.at
        if row.kind == "skip":
            one["skipped"] += 1
        elif row.kind == "undo":
            one["undone"] += 1
            one["done"] -= 1
        else:
            one["done"] += 1
            if row.seconds is not None:
                seconds[row.coder].append(row.seconds)
    for name, one in found.items():
        times = sorted(seconds[name])
        one["median_seconds"] = times[len(times) // 2] if times else None
    return list(found.values())


def disputes(connection: Connection, batch: int | None = None) -> list[dict[str, Any]]:
    """Ads whose coders differ and that nobody has adjudicated, with what each of them said."""
    query = sa.select(ads).join(outcomes, outcomes.c.ad_id == ads.c.id).where(outcomes.c.how == DISPUTED)
    found = list(connection.execute(query if batch is None else query.where(ads.c.batch_id == batch)))
    rows = live_decisions(connection, [ad.id for ad in found])
    of_them = comments.c.decision_id.in_([row.id for row in rows])
    said = {row.decision_id: row.text for row in connection.execute(sa.select(comments).where(of_them)) if row.text}
    return [
        {
            "ad": ad.id, "number": ad.number, "batch": ad.batch_id, "text": ad.text or "", "fields": ad.fields or {},
            "language": ad.language,
            "decisions": [
                {"id": row.id, "coder": row.coder, "kind": row.kind, "codes": row.codes, "at": row.at,
                 "comment": said.get(row.id, "")}
                for row in rows if row.ad_id == ad.id
            ],
        }
        for ad in found
    ]  # fmt: skip
