"""What routes share: the service, and who asks."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Annotated

from fastapi import Depends, HTTPException, Request
from starlette.concurrency import run_in_threadpool

from hjc.arrays import FloatArray
from hjc.serve.batching import Outcomes
from hjc.serve.models import Answer, Served
from hjc.serve.security import COOKIE
from hjc.serve.service import Service
from hjc.serve.store.people import User, ensure_user, find_user, of_session, of_token

#: who asks where no tokens are wanted and nobody has signed in
LOCAL = "local"


def service_of(request: Request) -> Service:
    found: Service = request.app.state.service
    return found


def current_user(request: Request) -> User | None:
    """Whose token or session the request carries; 401 for a token that is not known."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    secret = request.cookies.get(COOKIE)
    if scheme.lower() != "bearer" and not secret:
        return None
    with service_of(request).store.read() as connection:
        if scheme.lower() != "bearer":
            return of_session(connection, secret or "")
        if (user := of_token(connection, token.strip())) is None:
            raise HTTPException(401, "the token is not known or was withdrawn", {"WWW-Authenticate": "Bearer"})
        return user


def needs(role: str) -> Callable[..., User]:
    """A dependency: the user, who must have at least this role. Without tokens anybody is an administrator."""

    def check(request: Request) -> User:
        service, user = service_of(request), current_user(request)
        if user is None and not service.settings.tokens:
            user = local_user(service)
        if user is None:
            raise HTTPException(401, "sign in, or send Authorization: Bearer TOKEN", {"WWW-Authenticate": "Bearer"})
        if not user.may(role):
            raise HTTPException(403, f"{user.name} is {user.role}; this needs {role}")
        return user

    return check


def local_user(service: Service) -> User:
    """Who asks without signing in. Only the first time does it wait for the store's one writer."""
    with service.store.read() as connection:
        user = find_user(connection, LOCAL)
    if user is None:
        with service.store.write() as connection:
            user = ensure_user(connection, LOCAL, "admin")
    return user


ServiceNow = Annotated[Service, Depends(service_of)]
Anybody = Annotated[User | None, Depends(current_user)]
Coder = Annotated[User, Depends(needs("coder"))]
Supervisor = Annotated[User, Depends(needs("supervisor"))]
Admin = Annotated[User, Depends(needs("admin"))]


async def answer(
    service: Service, served: Served, texts: Sequence[str], *, calibrated: bool, learned: bool = True
) -> Answer:
    """The model's answer, without a thread that waits for it. Raises as :func:`raw_answer`."""
    raw = await raw_answer(service, served, texts)
    return await run_in_threadpool(served.finish, texts, raw, calibrated=calibrated, learned=learned)


async def raw_answer(service: Service, served: Served, texts: Sequence[str]) -> tuple[FloatArray, Outcomes]:
    """What :meth:`hjc.serve.models.Served.finish` makes an answer of.

    Raises:
        Busy, TimeoutError: see :class:`hjc.serve.batching.Batcher`.
    """
    seconds = service.settings.limits.seconds
    return await asyncio.wait_for(asyncio.wrap_future(served.submit(texts, seconds)), seconds)
