"""Who works with the desk: names, roles, tokens and sessions. Of tokens only SHA-256 is kept.

Tokens are 32 random bytes, so that a plain hash is enough: there is nothing to guess, unlike with passwords.
"""

import hashlib
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from hjc.errors import check_choice
from hjc.serve.settings import ROLES
from hjc.serve.store.schema import Missing, events, insert, now, sessions, stamp, users

#: starts every token, so that scanners of leaked secrets find it
PREFIX = "hjc_"
MOST_NAME = 80


@dataclass(frozen=True)
class User:
    """Somebody who is known to the store."""

    id: int
    name: str
    role: str

    def may(self, role: str) -> bool:
        """Whether their role is at least this one."""
        return ROLES.index(self.role) >= ROLES.index(role)


def hashed(secret: str) -> str:
    """What is kept of a token or of a session's cookie."""
    return hashlib.sha256(secret.encode()).hexdigest()


def _user(row: Any) -> User | None:
    return None if row is None else User(row.id, row.name, row.role)


def check_name(name: str) -> str:
    """The name without blanks around it. Raises ValueError for an empty or long one, or control characters."""
    name = " ".join(name.split())
    if not name or len(name) > MOST_NAME or not name.isprintable():
        raise ValueError(f"name: got {name[:MOST_NAME]!r}, allowed are 1 to {MOST_NAME} letters")
    return name


def add_user(connection: Connection, name: str, role: str) -> tuple[User, str]:
    """A new user and their token, which is told this once.

    Raises:
        ValueError: the name is taken or not allowed, or there is no such role.
    """
    name, token = check_name(name), PREFIX + secrets.token_urlsafe(32)
    check_choice("role", role, ROLES)
    if connection.execute(sa.select(users.c.id).where(users.c.name == name)).first():
        raise ValueError(f"user {name!r} is there already; give another name, or renew the token")
    number = insert(connection, users, name=name, role=role, token_hash=hashed(token), created=now())
    return User(number, name, role), token


def renew_token(connection: Connection, name: str) -> str:
    """A new token in place of the old one, which ends at once with its sessions. Raises ValueError: no such user."""
    token, user = PREFIX + secrets.token_urlsafe(32), named(connection, name)
    connection.execute(users.update().where(users.c.id == user.id).values(token_hash=hashed(token), disabled=None))
    connection.execute(sessions.delete().where(sessions.c.user_id == user.id))
    return token


def disable(connection: Connection, name: str) -> None:
    """Let a user in no more; their decisions stay. Raises ValueError: no such user."""
    user = named(connection, name)
    connection.execute(users.update().where(users.c.id == user.id).values(disabled=now(), token_hash=None))
    connection.execute(sessions.delete().where(sessions.c.user_id == user.id))


def named(connection: Connection, name: str) -> User:
    """The user of a name. Raises ValueError: no such user."""
    found = _user(connection.execute(sa.select(users).where(users.c.name == name)).first())
    if found is None:
        raise Missing(f"there is no user {name!r}")
    return found


def all_users(connection: Connection) -> list[dict[str, Any]]:
    """Everybody: id, name, role, created, disabled."""
    columns = (users.c.id, users.c.name, users.c.role, users.c.created, users.c.disabled)
    return [dict(row) for row in connection.execute(sa.select(*columns).order_by(users.c.name)).mappings()]


def of_token(connection: Connection, token: str) -> User | None:
    """Whose token it is."""
    wanted = users.c.token_hash == hashed(token), users.c.disabled.is_(None)
    return _user(connection.execute(sa.select(users).where(*wanted)).first())


def ensure_user(connection: Connection, name: str, role: str) -> User:
    """The user of a name, made without a token where there is none: for a service on a loopback address.

    Raises:
        ValueError: the name is not allowed, or was disabled.
    """
    name = check_name(name)
    found = find_user(connection, name)
    return found or User(insert(connection, users, name=name, role=role, created=now()), name, role)


def find_user(connection: Connection, name: str) -> User | None:
    """The user of a name, None where there is none. Raises ValueError: they were disabled."""
    row = connection.execute(sa.select(users).where(users.c.name == name)).first()
    if row is not None and row.disabled is not None:
        raise ValueError(f"user {name!r} was disabled on {row.disabled[:10]}")
    return _user(row)


def open_session(connection: Connection, user: User, hours: float) -> str:
    """A secret for a cookie that stands for the user."""
    secret, until = secrets.token_urlsafe(32), datetime.now(UTC) + timedelta(hours=hours)
    connection.execute(sessions.delete().where(sessions.c.expires < now()))
    values = {"token_hash": hashed(secret), "user_id": user.id, "created": now(), "expires": stamp(until)}
    connection.execute(sessions.insert().values(values))
    return secret


def of_session(connection: Connection, secret: str) -> User | None:
    """Whose session it is, while it lasts."""
    joined = sa.select(users).join(sessions, sessions.c.user_id == users.c.id)
    wanted = sessions.c.token_hash == hashed(secret), sessions.c.expires > now(), users.c.disabled.is_(None)
    return _user(connection.execute(joined.where(*wanted)).first())


def close_session(connection: Connection, secret: str) -> None:
    """The cookie stands for nobody any more."""
    connection.execute(sessions.delete().where(sessions.c.token_hash == hashed(secret)))


def note_event(connection: Connection, user: User | None, what: str, **detail: Any) -> None:
    """Who did what, never with a text."""
    values = {"at": now(), "user_id": user.id if user else None, "what": what, "detail": detail}
    connection.execute(events.insert().values(values))
