"""``/v1/desk``: signing in, and who may."""

from fastapi import APIRouter, HTTPException, Request, Response

from hjc.serve.desk_schemas import Count, Erase, Login, Me, NewToken, NewUser, People, Person
from hjc.serve.routes.access import Admin, Anybody, ServiceNow
from hjc.serve.security import COOKIE
from hjc.serve.store import people
from hjc.serve.store.erasing import erase_named
from hjc.serve.store.queue import release

router = APIRouter(prefix="/v1/desk", tags=["people"])


@router.get("/me")
def me(service: ServiceNow, user: Anybody) -> Me:
    """Who is signed in, and whether a name is enough for it."""
    person = None if user is None else Person(name=user.name, role=user.role)  # type: ignore[arg-type]
    open_to_all = not service.settings.tokens
    models = [served.facts() for served in service.board] if person or open_to_all else []
    return Me(user=person, open=open_to_all, models=models)


@router.post("/login")
def login(wanted: Login, service: ServiceNow, request: Request, response: Response) -> Me:
    """Sign in with a token or, where there are none, with a name; a cookie then stands for it."""
    with service.store.write() as connection:
        if wanted.token is not None:
            user = people.of_token(connection, wanted.token.strip())
            if user is None:
                people.note_event(connection, None, "wrong token")
        elif service.settings.tokens or wanted.name is None:
            raise HTTPException(401, "a token is needed to sign in here")
        else:
            user = people.ensure_user(connection, wanted.name, "admin")
        secret = people.open_session(connection, user, service.settings.session_hours) if user else ""
    if user is None:
        raise HTTPException(401, "the token is not known or was withdrawn")
    response.set_cookie(
        COOKIE, secret, httponly=True, samesite="strict", secure=request.url.scheme == "https", path="/",
        max_age=int(service.settings.session_hours * 3600),
    )  # fmt: skip
    return me(service, user)


@router.post("/logout")
def logout(service: ServiceNow, user: Anybody, request: Request, response: Response) -> Me:
    """End the session; ads that were given out and not decided on go back to the queue."""
    with service.store.write() as connection:
        if user is not None:
            release(connection, user)
        if secret := request.cookies.get(COOKIE):
            people.close_session(connection, secret)
    response.delete_cookie(COOKIE, path="/")
    return me(service, None)


@router.get("/users")
def users(service: ServiceNow, user: Admin) -> People:
    with service.store.read() as connection:
        return People(users=people.all_users(connection))


@router.post("/users")
def new_user(wanted: NewUser, service: ServiceNow, user: Admin) -> NewToken:
    """A new user with a token, which is told this once."""
    with service.store.write() as connection:
        made, token = people.add_user(connection, wanted.name, wanted.role)
        people.note_event(connection, user, "new user", name=made.name, role=made.role)
    return NewToken(name=made.name, token=token)


@router.post("/users/{name}/token")
def new_token(name: str, service: ServiceNow, user: Admin) -> NewToken:
    """A new token in place of the old one, which ends at once."""
    with service.store.write() as connection:
        token = people.renew_token(connection, name)
        people.note_event(connection, user, "new token", name=name)
    return NewToken(name=name, token=token)


@router.post("/users/{name}/disable")
def disable(name: str, service: ServiceNow, user: Admin) -> People:
    """Let somebody in no more; what they decided stays."""
    with service.store.write() as connection:
        people.disable(connection, name)
        people.note_event(connection, user, "disable", name=name)
    return users(service, user)


@router.post("/erase")
def erase(wanted: Erase, service: ServiceNow, user: Admin) -> Count:
    """Remove the texts of ads; codes and trail stay."""
    count = erase_named(service.store, wanted.ids, user)
    service.refresh_corrections()
    return Count(count=count)
