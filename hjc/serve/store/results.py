"""What was decided in the end: final codes, ratings of several coders, disputes, progress, and tables of them."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from hjc.serve.store.queue import DONE, ERASED, withdrawn
from hjc.serve.store.schema import ads, batches, comments, decisions, tasks, users

ADJUDICATED, AGREED, ONE, DISPUTED, AUTOMATIC = "adjudicated", "agreed", "one coder", "disputed", "automatic"
#: kinds of decisions that give an ad its codes (none of them: it is no job)
GIVING = ("code", "several", "not_a_job", "adjudicate", "automatic", "learn")
#: a gap that is a break, not work on an ad
BREAK_SECONDS = 600.0


@dataclass(frozen=True)
class Final:
    """The codes of an ad (none: no job, or disputed), how they came about, and the decisions they rest on."""

    ad: int
    codes: tuple[str, ...]
    how: str
    decisions: tuple[int, ...]


def live_decisions(
    connection: Connection, *, batch: int | None = None, of_ads: Sequence[int] | None = None
) -> list[Any]:
    """Decisions that give codes and were not undone, in the order of time, with the coder's name and the ad's batch."""
    wanted = [decisions.c.kind.in_(GIVING), ~withdrawn()]
    if batch is not None:
        wanted.append(ads.c.batch_id == batch)
    if of_ads is not None:
        wanted.append(decisions.c.ad_id.in_(of_ads))
    query = (
        sa.select(decisions, users.c.name.label("coder"), ads.c.batch_id)
        .join(ads, ads.c.id == decisions.c.ad_id)
        .join(users, users.c.id == decisions.c.user_id, isouter=True)
        .where(*wanted)
        .order_by(decisions.c.id)
    )
    return list(connection.execute(query))


def finals(rows: Iterable[Any]) -> dict[int, Final]:
    """The final codes of every ad that has a decision: an adjudication counts before coders who agree, these before
    the model. Coders who differ leave it disputed. Several codes are one set, whatever their order."""
    by_ad: dict[int, list[Any]] = defaultdict(list)
    for row in rows:
        by_ad[row.ad_id].append(row)
    return {ad: _final(ad, some) for ad, some in by_ad.items()}


def _final(ad: int, rows: list[Any]) -> Final:
    judged = [row for row in rows if row.kind == "adjudicate"]
    if judged:
        return Final(ad, tuple(judged[-1].codes), ADJUDICATED, (judged[-1].id,))
    people = [row for row in rows if row.kind != "automatic"]
    if not people:
        return Final(ad, tuple(rows[-1].codes), AUTOMATIC, (rows[-1].id,))
    numbers = tuple(row.id for row in people)
    if len({frozenset(row.codes) for row in people}) > 1:
        return Final(ad, (), DISPUTED, numbers)
    return Final(ad, tuple(people[0].codes), AGREED if len(people) > 1 else ONE, numbers)


# ------------------------------------------------------------------------------------------ tables


def ad_rows(connection: Connection, batch: int | None = None, *, of_ads: Sequence[int] | None = None) -> list[Any]:
    """Ads (of a batch, or with these numbers) with the purpose and design of their first task."""
    design = sa.select(tasks.c.ad_id, tasks.c.purpose, tasks.c.stratum, tasks.c.inclusion_probability)
    first = design.where(tasks.c.copy == 1).subquery()
    query = (
        sa.select(ads, batches.c.name.label("batch"), first.c.purpose, first.c.stratum, first.c.inclusion_probability)
        .join(batches, batches.c.id == ads.c.batch_id)
        .join(first, first.c.ad_id == ads.c.id, isouter=True)
        .order_by(ads.c.id)
    )
    if of_ads is not None:
        query = query.where(ads.c.id.in_(of_ads))
    return list(connection.execute(query if batch is None else query.where(ads.c.batch_id == batch)))


def final_table(connection: Connection, batch: int | None = None) -> list[dict[str, Any]]:
    """A line an ad: where it is from, its columns, its codes and how they came about, the design of the sample."""
    found = finals(live_decisions(connection, batch=batch))
    out = []
    for ad in ad_rows(connection, batch):
        final = found.get(ad.id)
        pi = ad.inclusion_probability
        fields = {f"{name}": value for name, value in (ad.fields or {}).items()}
        out.append(
            fields
            | {
                "hjc_ad": ad.id, "hjc_batch": ad.batch, "hjc_row": ad.number, "hjc_key": ad.key,
                "hjc_code": " ".join(final.codes) if final else None,
                "hjc_how": final.how if final else None,
                "hjc_not_a_job": bool(final and not final.codes and final.how != DISPUTED),
                "hjc_predicted": ad.predicted, "hjc_confidence": ad.confidence, "hjc_purpose": ad.purpose,
                "hjc_inclusion_probability": pi, "hjc_weight": 1 / pi if pi else None,
                "hjc_erased": ad.erased,
            }
        )  # fmt: skip
    return out


def rating_table(connection: Connection, batch: int | None = None) -> list[dict[str, Any]]:
    """A line for each ad and coder, for ``hjc data agreement``: ad, coder, code (the first of several), when, how long.

    An ad that is no job has the code "" there.
    """
    said = {row.decision_id: row.text for row in connection.execute(sa.select(comments))}
    return [
        {
            "ad": row.ad_id, "coder": row.coder, "code": row.codes[0] if row.codes else "",
            "codes": " ".join(row.codes), "kind": row.kind, "at": row.at, "seconds": row.seconds, "model": row.model,
            "version": row.version, "comment": said.get(row.id),
        }
        for row in live_decisions(connection, batch=batch)
        if row.kind in ("code", "several", "not_a_job")
    ]  # fmt: skip


def training_rows(connection: Connection, batch: int | None = None, *, audit: bool = False) -> list[dict[str, Any]]:
    """Lines to train on: text, code, language, weight (shares of several codes), ad. Without automatic codes, disputes
    and removed texts; without audited ads unless ``audit`` (they are kept apart to compare models)."""
    found = finals(live_decisions(connection, batch=batch))
    out = []
    for ad in ad_rows(connection, batch):
        final = found.get(ad.id)
        if ad.text is None or final is None or not final.codes or final.how == AUTOMATIC:
            continue
        if ad.purpose == "audit" and not audit:
            continue
        for code in final.codes:
            out.append(
                {**(ad.fields or {}), "text": ad.text, "code": code, "language": ad.language, "source": "desk",
                 "weight": 1 / len(final.codes), "ad": ad.id}
            )  # fmt: skip
    return out


def audit_rows(connection: Connection, batch: int | None = None) -> list[dict[str, Any]]:
    """The audited ads that have a code, for ``hjc estimate --audit`` and to compare models: the columns of the ad,
    text, code (the first of several), inclusion_probability, weight, ad."""
    found = finals(live_decisions(connection, batch=batch))
    return [
        {**(ad.fields or {}), "text": ad.text, "code": final.codes[0], "language": ad.language,
         "inclusion_probability": ad.inclusion_probability, "weight": 1 / ad.inclusion_probability, "ad": ad.id}
        for ad in ad_rows(connection, batch)
        if ad.purpose == "audit" and ad.text is not None
        and (final := found.get(ad.id)) is not None and final.codes and final.how != AUTOMATIC
    ]  # fmt: skip


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
    rows = live_decisions(connection, batch=batch)
    open_ones = [ad for ad, final in finals(rows).items() if final.how == DISPUTED]
    said: Mapping[int, str] = {row.decision_id: row.text for row in connection.execute(sa.select(comments)) if row.text}
    texts = {row.id: row for row in connection.execute(sa.select(ads).where(ads.c.id.in_(open_ones)))}
    return [
        {
            "ad": ad, "number": texts[ad].number, "batch": texts[ad].batch_id, "text": texts[ad].text or "",
            "fields": texts[ad].fields or {}, "language": texts[ad].language,
            "decisions": [
                {"id": row.id, "coder": row.coder, "kind": row.kind, "codes": row.codes, "at": row.at,
                 "comment": said.get(row.id, "")}
                for row in rows if row.ad_id == ad
            ],
        }
        for ad in open_ones
    ]  # fmt: skip
