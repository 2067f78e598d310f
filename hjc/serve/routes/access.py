"""What routes share: the service, and who asks."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Annotated

from fastapi import Depends, HTTPException, Request
from starlette.concurrency import run_in_threadpool

from hjc.serve.models import Answer, Served
from hjc.serve.security import COOKIE
from hjc.serve.service import Service
from hjc.serve.store.people import User, ensure_user, of_session, of_token

#: who asks where no tokens are wanted and nobody has signed in
LOCAL = "local"


def service_of(request: Request) -> Service:
    found: Service = request.app.state.service
    return found


def current_user(request: Request) -> User | None:
    """Whose token or session the request carries; 401 for a token that is not known."""
    service = service_of(request)
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    with service.store.read() as connection:
        if scheme.lower() == "bearer":
            if (user := of_token(connection, token.strip())) is None:
                raise HTTPException(401, "the token is not known or was withdrawn", {"WWW-Authenticate": "Bearer"})
            return user
        secret = request.cookies.get(COOKIE)
        return of_session(connection, secret) if secret else None


def needs(role: str) -> Callable[..., User]:
    """A dependency: the user, who must have at least this role. Without tokens anybody is an administrator."""

    def check(request: Request, user: Annotated[User | None, Depends(current_user)]) -> User:
        service = service_of(request)
        if user is None and not service.settings.tokens:
            with service.store.write() as connection:
                user = ensure_user(connection, LOCAL, "admin")
        if user is None:
            raise HTTPException(401, "sign in, or send Authorization: Bearer TOKEN", {"WWW-Authenticate": "Bearer"})
        if not user.may(role):
            raise HTTPException(403, f"{user.name} is {user.role}; this needs {role}")
        return user

    return check


ServiceNow = Annotated[Service, Depends(service_of)]
Anybody = Annotated[User | None, Depends(current_user)]
Coder = Annotated[User, Depends(needs("coder"))]
Supervisor = Annotated[User, Depends(needs("supervisor"))]
Admin = Annotated[User, Depends(needs("admin"))]


async def answer(
    service: Service, served: Served, texts: Sequence[str], *, calibrated: bool, learned: bool = True
) -> Answer:
    """The model's answer, without a thread that waits for it.

    Raises:
        Busy, TimeoutError: see :class:`hjc.serve.batching.Batcher`.
    """
    seconds = service.settings.limits.seconds
    future = asyncio.wrap_future(served.submit(texts, seconds))
    raw = await asyncio.wait_for(future, seconds)
    return await run_in_threadpool(served.finish, texts, raw, calibrated=calibrated, learned=learned)
