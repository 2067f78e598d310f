"""Personal data: a text is removed, its codes and the trail stay."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from hjc.serve.store.database import Store
from hjc.serve.store.people import User, note_event
from hjc.serve.store.queue import DONE, ERASED
from hjc.serve.store.schema import Missing, ads, batches, comments, decisions, now, stamp, tasks

#: days a text may be kept: about a century; what is longer has no date
LONGEST = 36_500.0
#: texts that are removed in one statement
AT_ONCE = 500


def find_ads(connection: Connection, name: str) -> list[int]:
    """The ads that a name stands for: ``#12`` is number 12 of the store, anything else the id in the file they came in.

    Raises:
        ValueError: there is none.
    """
    by_number = name.startswith("#") and name[1:].isdigit()
    wanted = ads.c.id == int(name[1:]) if by_number else sa.and_(ads.c.key == name, ads.c.key != "")
    found = list(connection.execute(sa.select(ads.c.id).where(wanted)).scalars())
    if not found:
        raise Missing(f"there is no ad {name!r}; give its id in the file it came in, or #NUMBER as the desk shows it")
    return found


def erase(connection: Connection, numbers: Sequence[int], user: User | None, why: str) -> int:
    """Remove texts, columns, ids and comments of ads; returns how many had a text. Open tasks of them end."""
    count = 0
    for start in range(0, len(numbers), AT_ONCE):
        some = numbers[start : start + AT_ONCE]
        gone = {"text": None, "fields": sa.null(), "key": "", "erased": now()}
        found = ads.update().where(ads.c.id.in_(some), ads.c.erased.is_(None)).values(gone)
        count += connection.execute(found).rowcount
        of_them = sa.select(decisions.c.id).where(decisions.c.ad_id.in_(some))
        connection.execute(comments.update().where(comments.c.decision_id.in_(of_them)).values(text=None))
        left = tasks.c.ad_id.in_(some), tasks.c.state != DONE
        connection.execute(tasks.update().where(*left).values(state=ERASED, leased_to=None, leased_until=None))
        note_event(connection, user, "erase", ads=list(some), why=why)
    return count


def erase_named(store: Store, names: Sequence[str], user: User | None = None) -> int:
    """Remove the texts of ads by name, from the file's free pages and its log as well. Raises as :func:`find_ads`."""
    with store.write() as connection:
        numbers = [number for name in names for number in find_ads(connection, name)]
        count = erase(connection, numbers, user, "asked for")
    settle(store)
    return count


def erase_old(store: Store, days: float | None) -> int:
    """Remove texts that are older than a retention period: of their batch's settings, else of ``days``."""
    with store.write() as connection:
        rows = connection.execute(sa.select(batches.c.id, batches.c.settings)).all()
        count = 0
        for row in rows:
            kept = (row.settings or {}).get("retention_days") or days
            if not kept:
                continue
            before = stamp(datetime.now(UTC) - timedelta(days=min(float(kept), LONGEST)))
            wanted = ads.c.batch_id == row.id, ads.c.created < before, ads.c.erased.is_(None)
            if numbers := list(connection.execute(sa.select(ads.c.id).where(*wanted)).scalars()):
                count += erase(connection, numbers, None, f"kept for {kept:g} days")
    if count:
        settle(store)
    return count


def settle(store: Store) -> None:
    """SQLite: move the write-ahead log into the file and empty it, so that it holds no removed text."""
    if store.is_sqlite:
        with store.engine.connect() as connection:
            connection.connection.driver_connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # type: ignore[union-attr]
