"""The first schema."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

APPEND_ONLY = ("shown", "decisions", "promotions", "events")


def _id() -> Any:
    return sa.Column("id", sa.Integer, primary_key=True)


def _to(table: str, name: str, optional: bool = False) -> Any:
    return sa.Column(name, sa.Integer, sa.ForeignKey(f"{table}.id"), nullable=optional)


def _text(name: str, optional: bool = False) -> Any:
    return sa.Column(name, sa.Text, nullable=optional)


def _json(name: str, optional: bool = False) -> Any:
    return sa.Column(name, sa.JSON, nullable=optional)


def _number(name: str) -> Any:
    return sa.Column(name, sa.Float, nullable=True)


def upgrade() -> None:
    op.create_table("users", _id(), _text("name"), _text("role"), _text("token_hash", True), _text("created"),
                    _text("disabled", True), sa.UniqueConstraint("name"),
                    sa.UniqueConstraint("token_hash"))  # fmt: skip
    op.create_table("sessions", _id(), _text("token_hash"), _to("users", "user_id"), _text("created"), _text("expires"),
                    sa.UniqueConstraint("token_hash"))  # fmt: skip
    op.create_table("batches", _id(), _text("name"), _text("created"), _to("users", "user_id", True), _text("model"),
                    _text("source"), _json("settings"), _text("state"))  # fmt: skip
    op.create_table("ads", _id(), _to("batches", "batch_id"), sa.Column("number", sa.Integer, nullable=False),
                    _text("key"), _text("language"), _text("text", True), _json("fields", True), _text("created"),
                    _text("erased", True), _text("predicted", True), _number("confidence"),
                    sa.UniqueConstraint("batch_id", "number"))  # fmt: skip
    op.create_index("ads_created", "ads", ["created"])
    op.create_table("shown", _id(), _to("ads", "ad_id"), _to("users", "user_id"), _text("at"), _text("model"),
                    _text("version"), _json("suggestions"))  # fmt: skip
    op.create_table("decisions", _id(), _text("key"), _to("ads", "ad_id"),
                    sa.Column("task_id", sa.Integer, nullable=True), _to("users", "user_id", True), _text("at"),
                    _text("kind"), _json("codes"), _text("model"), _text("version"), _to("shown", "shown_id", True),
                    _number("seconds"), _to("decisions", "withdraws", True), sa.UniqueConstraint("key"))  # fmt: skip
    op.create_index("decisions_ad", "decisions", ["ad_id"])
    op.create_index("decisions_user", "decisions", ["user_id", "at"])
    op.create_table("outcomes", _id(), _to("ads", "ad_id"), _text("how"),
                    sa.Column("codes", sa.Integer, nullable=False), sa.UniqueConstraint("ad_id"))  # fmt: skip
    op.create_table("outcome_codes", _id(), _to("ads", "ad_id"), sa.Column("place", sa.Integer, nullable=False),
                    _text("code"), sa.UniqueConstraint("ad_id", "place"))  # fmt: skip
    op.create_table("comments", _id(), _to("decisions", "decision_id"), _text("text", True))
    op.create_table("tasks", _id(), _to("batches", "batch_id"), _to("ads", "ad_id"),
                    sa.Column("copy", sa.Integer, nullable=False), _text("purpose"),
                    sa.Column("position", sa.Float, nullable=False), _text("stratum"),
                    _number("inclusion_probability"), _number("score"), _to("users", "assigned_to", True),
                    _text("state"), _to("users", "leased_to", True), _text("leased_until", True),
                    _to("decisions", "decision_id", True), sa.UniqueConstraint("ad_id", "copy"))  # fmt: skip
    op.create_index("tasks_queue", "tasks", ["batch_id", "state", "position"])
    op.create_index("tasks_leased", "tasks", ["leased_to", "state"])
    op.create_table("jobs", _id(), _text("name"), _text("kind"), _text("state"), _to("users", "user_id", True),
                    _text("created"), _text("started", True), _text("ended", True), _number("progress"),
                    _json("detail"), _json("result", True), _text("error", True),
                    sa.UniqueConstraint("name"))  # fmt: skip
    op.create_table("promotions", _id(), _text("at"), _to("users", "user_id", True), _text("model"),
                    _text("directory"), _text("version"), _json("evidence"))  # fmt: skip
    op.create_table("events", _id(), _text("at"), _to("users", "user_id", True), _text("what"), _json("detail"))
    _append_only()
    _views()


_FROM = """
FROM ads a JOIN batches b ON b.id = a.batch_id
LEFT JOIN tasks t ON t.ad_id = a.id AND t.copy = 1
LEFT JOIN outcomes o ON o.ad_id = a.id
"""
_DECIDED = "a.text IS NOT NULL AND o.how <> 'automatic'"
_COLUMNS = "a.id AS ad, a.text, a.fields, c.code, a.language, b.name AS batch, a.batch_id"
VIEWS = {
    "desk_training": f"""
SELECT {_COLUMNS}, 'desk' AS source, CAST(1.0 / o.codes AS DOUBLE PRECISION) AS weight
{_FROM} JOIN outcome_codes c ON c.ad_id = a.id
WHERE {_DECIDED} AND (t.purpose IS NULL OR t.purpose <> 'audit')
ORDER BY a.id, c.place""",
    "desk_audit": f"""
SELECT {_COLUMNS}, t.inclusion_probability, CAST(1.0 / t.inclusion_probability AS DOUBLE PRECISION) AS weight, t.stratum
{_FROM} JOIN outcome_codes c ON c.ad_id = a.id AND c.place = 0
WHERE {_DECIDED} AND t.purpose = 'audit'
ORDER BY a.id""",
    "desk_ratings": """
SELECT d.ad_id AS id, u.name AS coder, FIRST_CODE AS code, d.codes, d.kind, d.at, d.seconds, d.model, d.version,
    k.text AS comment, b.name AS batch, a.batch_id, t.purpose, t.inclusion_probability
FROM decisions d JOIN ads a ON a.id = d.ad_id JOIN batches b ON b.id = a.batch_id JOIN users u ON u.id = d.user_id
LEFT JOIN tasks t ON t.id = d.task_id LEFT JOIN comments k ON k.decision_id = d.id
WHERE d.kind IN ('code', 'several', 'not_a_job') AND NOT EXISTS (SELECT 1 FROM decisions w WHERE w.withdraws = d.id)
ORDER BY d.ad_id, d.id""",
    "desk_final": f"""
SELECT a.id AS ad, b.name AS batch, a.batch_id, a.number, a.key, a.language, a.text, a.fields,
    (SELECT LISTED(c.code, ' ') FROM (
        SELECT code FROM outcome_codes WHERE ad_id = a.id ORDER BY place) c) AS codes, o.how,
    CASE WHEN o.codes = 0 AND o.how <> 'disputed' THEN 1 ELSE 0 END AS not_a_job, a.predicted, a.confidence,
    t.purpose, t.inclusion_probability, CAST(1.0 / t.inclusion_probability AS DOUBLE PRECISION) AS weight, a.erased
{_FROM} ORDER BY a.id""",
}


def _views() -> None:
    """What other programs read."""
    sqlite = op.get_context().dialect.name == "sqlite"
    first = "json_extract(d.codes, '$[0]')" if sqlite else "d.codes ->> 0"
    listed = "group_concat" if sqlite else "string_agg"
    for name, query in VIEWS.items():
        op.execute(f"CREATE VIEW {name} AS {query.replace('FIRST_CODE', first).replace('LISTED', listed)}")


def _append_only() -> None:
    """Triggers that refuse to change or delete what is only added to."""
    sqlite = op.get_context().dialect.name == "sqlite"
    if not sqlite:
        op.execute(
            "CREATE FUNCTION hjc_append_only() RETURNS trigger AS $$ BEGIN "
            "RAISE EXCEPTION 'rows of % are only ever added', TG_TABLE_NAME; END $$ LANGUAGE plpgsql"
        )
    for table in APPEND_ONLY:
        if not sqlite:
            op.execute(
                f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE ON {table} "
                "FOR EACH ROW EXECUTE FUNCTION hjc_append_only()"
            )
            continue
        for action in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER {table}_no_{action.lower()} BEFORE {action} ON {table} "
                f"BEGIN SELECT RAISE(ABORT, 'rows of {table} are only ever added'); END"
            )
