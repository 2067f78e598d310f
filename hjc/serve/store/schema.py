"""The tables of the store as they are now; :mod:`hjc.serve.store.migrations` brings an older store here.

Decisions, what was shown, comments and events are only ever added to; triggers in the database hold that. A text lies
in one place (``ads``), a comment in another (``comments``), so that both can be removed while the trail stays.
"""

from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

metadata = sa.MetaData()


class Missing(ValueError):
    """There is no row of that number or name."""


def now() -> str:
    """UTC as text that sorts: 2026-11-30T02:03:04.567Z."""
    return stamp(datetime.now(UTC))


def stamp(moment: datetime) -> str:
    """A moment as :func:`now` writes it."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _table(name: str, *columns: Any) -> sa.Table:
    return sa.Table(name, metadata, sa.Column("id", sa.Integer, primary_key=True), *columns)


def _to(table: str, name: str, *, optional: bool = False) -> Any:
    """A column that names a row of another table."""
    return sa.Column(name, sa.Integer, sa.ForeignKey(f"{table}.id"), nullable=optional)


def _text(name: str, *, optional: bool = False, **more: Any) -> Any:
    return sa.Column(name, sa.Text, nullable=optional, **more)


def _json(name: str, *, optional: bool = False) -> Any:
    return sa.Column(name, sa.JSON(none_as_null=True), nullable=optional)


def _number(name: str) -> Any:
    return sa.Column(name, sa.Float, nullable=True)


users = _table(
    "users", _text("name", unique=True), _text("role"), _text("token_hash", optional=True, unique=True),
    _text("created"), _text("disabled", optional=True),
)  # fmt: skip
#: signed in with a cookie
sessions = _table(
    "sessions", _text("token_hash", unique=True), _to("users", "user_id"), _text("created"), _text("expires"),
)  # fmt: skip
#: a table of ads that came in together
batches = _table(
    "batches", _text("name"), _text("created"), _to("users", "user_id", optional=True), _text("model"),
    _text("source"), _json("settings"), _text("state"),
)  # fmt: skip
ads = _table(
    "ads", _to("batches", "batch_id"), sa.Column("number", sa.Integer, nullable=False), _text("key"),
    _text("language"), _text("text", optional=True), _json("fields", optional=True), _text("created"),
    _text("erased", optional=True), _text("predicted", optional=True), _number("confidence"),
    sa.UniqueConstraint("batch_id", "number"), sa.Index("ads_created", "created"),
)  # fmt: skip
#: an ad to be coded by one person; ``copy`` 2 is that of the second coder
tasks = _table(
    "tasks", _to("batches", "batch_id"), _to("ads", "ad_id"), sa.Column("copy", sa.Integer, nullable=False),
    _text("purpose"), sa.Column("position", sa.Float, nullable=False), _text("stratum"),
    _number("inclusion_probability"), _number("score"), _to("users", "assigned_to", optional=True), _text("state"),
    _to("users", "leased_to", optional=True), _text("leased_until", optional=True),
    _to("decisions", "decision_id", optional=True), sa.UniqueConstraint("ad_id", "copy"),
    sa.Index("tasks_queue", "batch_id", "state", "position"), sa.Index("tasks_leased", "leased_to", "state"),
)  # fmt: skip
#: the suggestions that somebody saw
shown = _table(
    "shown", _to("ads", "ad_id"), _to("users", "user_id"), _text("at"), _text("model"), _text("version"),
    _json("suggestions"),
)  # fmt: skip
#: ``kind``: code, several, not_a_job, skip, undo, adjudicate, automatic, learn
decisions = _table(
    "decisions", _text("key", unique=True), _to("ads", "ad_id"), sa.Column("task_id", sa.Integer, nullable=True),
    _to("users", "user_id", optional=True), _text("at"), _text("kind"), _json("codes"), _text("model"),
    _text("version"), _to("shown", "shown_id", optional=True), _number("seconds"),
    _to("decisions", "withdraws", optional=True), sa.Index("decisions_ad", "ad_id"),
    sa.Index("decisions_user", "user_id", "at"),
)  # fmt: skip
#: what was decided of an ad in the end, kept up with its decisions; how: adjudicated, agreed, one coder, disputed,
#: automatic. ``codes`` counts the rows of ``outcome_codes``
outcomes = _table(
    "outcomes", sa.Column("ad_id", sa.Integer, sa.ForeignKey("ads.id"), nullable=False, unique=True), _text("how"),
    sa.Column("codes", sa.Integer, nullable=False),
)  # fmt: skip
outcome_codes = _table(
    "outcome_codes", _to("ads", "ad_id"), sa.Column("place", sa.Integer, nullable=False), _text("code"),
    sa.UniqueConstraint("ad_id", "place"),
)  # fmt: skip
comments = _table("comments", _to("decisions", "decision_id"), _text("text", optional=True))
#: long work that a client asks about again: label, learn, import
jobs = _table(
    "jobs", _text("name", unique=True), _text("kind"), _text("state"), _to("users", "user_id", optional=True),
    _text("created"), _text("started", optional=True), _text("ended", optional=True), _number("progress"),
    _json("detail"), _json("result", optional=True), _text("error", optional=True),
)  # fmt: skip
#: which directory a served name stands for since when, and what spoke for it
promotions = _table(
    "promotions", _text("at"), _to("users", "user_id", optional=True), _text("model"), _text("directory"),
    _text("version"), _json("evidence"),
)  # fmt: skip
#: what was done to users, texts and models
events = _table("events", _text("at"), _to("users", "user_id", optional=True), _text("what"), _json("detail"))


def insert(connection: Connection, table: sa.Table, **values: Any) -> int:
    """Write a row; returns its number."""
    key = connection.execute(table.insert().values(values)).inserted_primary_key
    assert key is not None
    return int(key[0])


#: views that :mod:`hjc.tables` reads as well: a line an ad, an ad and coder, a row to train on, an audited ad
VIEWS = {"final": "desk_final", "ratings": "desk_ratings", "training": "desk_training", "audit": "desk_audit"}
#: tables whose rows are never changed and never deleted
APPEND_ONLY = ("shown", "decisions", "promotions", "events")
