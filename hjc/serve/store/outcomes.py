"""What an ad's decisions come to, kept in a table beside them: an adjudication counts before coders, these before the
model; coders who differ leave it disputed."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from hjc.serve.store.schema import ads, decisions, outcome_codes, outcomes, users

ADJUDICATED, AGREED, ONE, DISPUTED, AUTOMATIC = "adjudicated", "agreed", "one coder", "disputed", "automatic"
#: kinds of decisions that give an ad its codes (none of them: it is no job)
GIVING = ("code", "several", "not_a_job", "adjudicate", "automatic", "learn")
#: ads that one statement names
AT_ONCE = 500


def withdrawn() -> Any:
    """SQL: whether a decision was undone."""
    later = decisions.alias("later")
    return sa.exists().where(later.c.withdraws == decisions.c.id)


def live_decisions(connection: Connection, of_ads: Sequence[int]) -> list[Any]:
    """Decisions that give these ads codes and were not undone, in the order of time, with the coder's name."""
    found = list[Any]()
    for start in range(0, len(of_ads), AT_ONCE):
        some = decisions.c.ad_id.in_(of_ads[start : start + AT_ONCE])
        query = sa.select(decisions, users.c.name.label("coder"))
        query = query.join(users, users.c.id == decisions.c.user_id, isouter=True)
        found += connection.execute(
            query.where(some, decisions.c.kind.in_(GIVING), ~withdrawn()).order_by(decisions.c.id)
        )
    return found


def settled(rows: Sequence[Any]) -> tuple[str, list[str]]:
    """How the codes of an ad came about, and the codes, from its live decisions (one at least). Several codes are one
    set, whatever their order."""
    judged = [row for row in rows if row.kind == "adjudicate"]
    people = [row for row in rows if row.kind != "automatic"]
    if judged:
        return ADJUDICATED, list(judged[-1].codes)
    if not people:
        return AUTOMATIC, list(rows[-1].codes)
    if len({frozenset(row.codes) for row in people}) > 1:
        return DISPUTED, []
    return (AGREED if len(people) > 1 else ONE), list(people[0].codes)


def settle(connection: Connection, of_ads: Sequence[int]) -> None:
    """Bring the outcomes of ads up to their decisions."""
    # coders of two copies may decide at once: the second one waits, and sees what the first one decided. Both have
    # written a decision that names the ad, which shares its key: to ask for the key alone would be a deadlock
    mine = sa.select(ads.c.id).where(ads.c.id.in_(of_ads)).order_by(ads.c.id)
    connection.execute(mine.with_for_update(key_share=True))
    by_ad: dict[int, list[Any]] = defaultdict(list)
    for row in live_decisions(connection, of_ads):
        by_ad[row.ad_id].append(row)
    for start in range(0, len(of_ads), AT_ONCE):
        for table in (outcome_codes, outcomes):
            connection.execute(table.delete().where(table.c.ad_id.in_(of_ads[start : start + AT_ONCE])))
    write_outcomes(connection, {ad: settled(rows) for ad, rows in by_ad.items()})


def write_outcomes(connection: Connection, found: Mapping[int, tuple[str, Sequence[str]]]) -> None:
    """Outcomes of ads that have none: ad -> how, codes."""
    rows = [{"ad_id": ad, "how": how, "codes": len(codes)} for ad, (how, codes) in found.items()]
    each: Iterable[tuple[int, int, str]] = (
        (ad, place, code) for ad, (_, codes) in found.items() for place, code in enumerate(codes)
    )
    codes = [{"ad_id": ad, "place": place, "code": code} for ad, place, code in each]
    if rows:
        connection.execute(outcomes.insert(), rows)
    if codes:
        connection.execute(outcome_codes.insert(), codes)


def decided_texts(connection: Connection, of_ads: Sequence[int] | None = None) -> list[tuple[int, str, list[str]]]:
    """(ad, text, codes) of what people decided and models may learn from: without audited ads and removed texts."""
    query = "SELECT ad, text, code FROM desk_training"
    if of_ads is not None:
        query += f" WHERE ad IN ({', '.join(str(int(ad)) for ad in of_ads)})" if of_ads else " WHERE 1 = 0"
    found: dict[int, tuple[int, str, list[str]]] = {}
    for row in connection.execute(sa.text(query)):
        found.setdefault(row.ad, (row.ad, row.text, []))[2].append(row.code)
    return list(found.values())
