"""``hjc serve`` under people who mean it no good, and over a store that fails."""

import asyncio
import json
import logging
import sqlite3
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason='needs the extra "serve": pip install "hjc[serve]"')

import sqlalchemy as sa
from fastapi.testclient import TestClient
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from hjc.serve.labelling import given_tree, models_for
from hjc.serve.metrics import Metrics
from hjc.serve.schemas import TaxonomyRequest
from hjc.serve.security import Guard
from hjc.serve.settings import Limits, ServeSettings
from tests.serve_client import batch_of, client, told

#: who may ask for what; of the other routes, a coder may all
SUPERVISOR = {
    "/v1/taxonomies", "/v1/desk/look", "/v1/desk/upload", "/v1/desk/batches", "/v1/desk/batches/{batch}/deal",
    "/v1/desk/batches/{batch}/second", "/v1/desk/supervise", "/v1/desk/disputes", "/v1/desk/adjudicate",
    "/v1/desk/export",
}  # fmt: skip
ADMIN = {
    "/v1/models/{name}/reload", "/v1/models/{name}/promote", "/v1/desk/users", "/v1/desk/users/{name}/token",
    "/v1/desk/users/{name}/disable", "/v1/desk/erase",
}  # fmt: skip
OPEN = {"/healthz", "/readyz", "/metrics", "/v1/desk/me", "/v1/desk/login", "/v1/desk/logout"}
LEARN = {"corrections": [{"text": "a secret text", "codes": ["211"]}]}


@pytest.mark.slow
def test_every_route_wants_its_role(tmp_path: Path) -> None:
    from hjc.serve.store.people import add_user

    with client(tmp_path / "desk.db", tokens=True) as service:
        with service.service.store.write() as connection:
            tokens = {role: add_user(connection, role, role)[1] for role in ("coder", "supervisor", "admin")}
        for path, operations in told(service.get("/openapi.json"))["paths"].items():
            for method in operations:
                needs = "admin" if path in ADMIN else "supervisor" if path in SUPERVISOR else "coder"
                if path == "/v1/desk/batches" and method == "get":
                    needs = "coder"
                url = path.replace("{name}", "nobody").replace("{batch}", "999")

                def status(headers: dict[str, str], method: str = method, url: str = url) -> int:
                    body = None if method == "get" else b"{}"
                    sent = {**headers, "content-type": "application/json"}
                    return int(service.request(method, url, headers=sent, content=body).status_code)

                if path in OPEN:
                    continue
                assert status({}) == 401, path
                for role in ("coder", "supervisor", "admin"):
                    may = ("coder", "supervisor", "admin").index(role) >= (
                        ("coder", "supervisor", "admin").index(needs)
                    )
                    assert (status({"authorization": f"Bearer {tokens[role]}"}) != 403) == may, (path, role)


@pytest.mark.parametrize(
    "body",
    ["{", "", "[" * 100_000, '{"text": "\\ud800"}', '{"text": "x", "back_off": NaN}', '{"text": "x", "top_k": 1e999}'],
    ids=["cut", "empty", "deep", "surrogate", "nan", "infinite"],
)
def test_bad_json_is_told(tmp_path: Path, body: str) -> None:
    with client(tmp_path / "desk.db") as service:
        sent = service.post("/v1/predict", content=body, headers={"content-type": "application/json"})
        assert sent.status_code in (400, 422), sent.text


def test_names_lead_nowhere_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with client(tmp_path / "desk.db") as service:
        for path in ("/static/../app.py", "/static/..%2fapp.py", "/static/%2e%2e/app.py", "/static//etc/passwd"):
            assert service.get(path).status_code == 404
        long = service.post("/v1/models/small/promote", json={"directory": "x" * 5000})
        assert long.status_code == 400 and "directory" in told(long, 400)["detail"]
        packed = service.post("/v1/desk/look", files={"file": ("../../a.csv.gz", b"x")})
        assert "unpack it first" in told(packed, 400)["detail"]
        saved = list[Path]()

        class Moved:
            def save_pretrained(self, folder: Path) -> None:
                saved.append(folder.resolve())

        monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
        served = service.service.board.get()
        monkeypatch.setattr(served.classifier, "for_taxonomy", lambda tree: Moved())
        monkeypatch.setattr(service.service.board, "add", lambda name, folder: served)
        wanted = TaxonomyRequest.model_validate({"name": "..", "codes": [{"code": "1", "title": "health"}]})
        models_for(service.service, wanted.name, given_tree(wanted))
        assert saved[0].parent.parent == tmp_path.resolve()
        service.request("BREW", "/v1/models")
        assert "BREW" not in service.get("/metrics").text


def test_coders_who_race_never_get_one_ad(tmp_path: Path) -> None:
    with client(tmp_path / "desk.db", tokens=True) as service:
        from hjc.serve.store.people import add_user

        with service.service.store.write() as connection:
            tokens = [add_user(connection, name, "admin")[1] for name in ("anna", "bo", "cy")]
        headers = [{"authorization": f"Bearer {token}"} for token in tokens]
        service.headers.update(headers[0])
        batch = batch_of(service, [f"nurse {n}" for n in range(12)])
        decided = Counter[int]()

        def code(mine: dict[str, str]) -> None:
            while tasks := told(service.post("/v1/desk/next", json={"batch": batch, "n": 2}, headers=mine))["tasks"]:
                for task in tasks:
                    body = {"key": f"race-{task['task']:08}", "task": task["task"], "kind": "code", "codes": ["211"],
                            "shown": task["shown"]}  # fmt: skip
                    told(service.post("/v1/desk/decisions", json=body, headers=mine))
                    decided[task["ad"]] += 1

        threads = [threading.Thread(target=code, args=(mine,)) for mine in headers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert len(decided) == 12 and set(decided.values()) == {1}


@pytest.mark.parametrize("how", ["locked", "full", "read-only"])
def test_a_store_that_fails_is_503_and_keeps_what_it_had(
    tmp_path: Path, how: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("hjc.serve.store.database.BUSY", 0.05)
    monkeypatch.setattr("hjc.serve.service.JOBS_WAITING", 1)
    path = tmp_path / "desk.db"
    with client(path) as service:
        told(service.post("/v1/learn", json={"corrections": [{"text": "nurse", "codes": ["211"]}]}))
        quiet = TestClient(service.app, base_url="http://localhost", raise_server_exceptions=False)
        engine = service.service.store.engine
        pragma = {"full": "max_page_count = 1", "read-only": "query_only = ON"}.get(how)

        def spoil(connection: Any, *_: Any) -> None:
            connection.execute(f"PRAGMA {pragma}")

        other = sqlite3.connect(path, isolation_level=None)
        if pragma:
            sa.event.listen(engine, "checkout", spoil)
        else:
            other.execute("BEGIN IMMEDIATE")
        big = {"corrections": [{"text": "a secret text " * 1000, "codes": ["211"]}] * 20}
        with caplog.at_level(logging.DEBUG):
            answer = quiet.post("/v1/learn", content=json.dumps(big), headers={"content-type": "application/json"})
        assert answer.status_code == 503 and int(answer.headers["retry-after"]) > 0
        if how != "full":  # a job still fits
            assert quiet.post("/v1/label", json={"texts": ["nurse"]}).status_code == 503
        assert "nothing was changed" in answer.json()["detail"] and "secret" not in answer.text + caplog.text
        if pragma:
            sa.event.remove(engine, "checkout", spoil)
            engine.dispose()
        else:
            other.execute("ROLLBACK")
        other.close()
        assert told(service.post("/v1/learn", json=LEARN))["learned"] == 1
        assert told(service.get("/v1/models"))["models"][0]["corrections"] == 2
        assert told(service.post("/v1/label", json={"texts": ["nurse"]}))["job"], "the refused job left its place"


def test_a_body_that_stops_half_way_gives_its_place_back() -> None:
    """408 after the time that a request has; nobody who holds a connection open keeps the others out."""

    async def size(request: Request) -> PlainTextResponse:
        return PlainTextResponse(str(len(await request.body())))

    settings = ServeSettings(limits=Limits(seconds=0.05, requests=1))
    guard = Guard(Starlette(routes=[Route("/size", size, methods=["POST"])]), settings, Metrics())
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/size",
        "query_string": b"",
        "headers": [(b"host", b"localhost")],
    }

    async def ask(*parts: bytes) -> tuple[int, bytes]:
        """The last part is the end of the body where it is empty; else nothing more ever comes."""
        waiting, sent = list(parts), []

        async def receive() -> dict[str, Any]:
            if not waiting:
                await asyncio.Event().wait()
            part = waiting.pop(0)
            return {"type": "http.request", "body": part, "more_body": part != b""}

        async def send(message: Any) -> None:
            sent.append(message)

        await guard(scope, receive, send)
        return sent[0]["status"], sent[-1]["body"]

    status, body = asyncio.run(ask(b"{"))
    assert status == 408 and b"0.05 seconds" in body and guard.under_way == 0
    assert asyncio.run(ask(b"{", b"}", b"")) == (200, b"2")


def test_a_body_that_hides_its_length_is_bounded_while_it_is_read(tmp_path: Path) -> None:
    with client(tmp_path / "desk.db", limits=Limits(bytes=100)) as service:
        pieces = (b'{"text": "' + b"a" * 50 for _ in range(9))
        answer = service.post("/v1/predict", content=pieces, headers={"content-type": "application/json"})
        assert "larger than 100 bytes" in told(answer, 413)["detail"]
