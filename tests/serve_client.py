"""A service over a small model, called in this process: for the tests of ``hjc serve``."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

MODEL = Path(__file__).parent / "fixtures" / "models_0_1" / "linear_topdown"
HEADERS = {"x-hjc-request": "1"}


@contextmanager
def client(
    store: str | Path, *, model: Path = MODEL, retention_days: float | None = None, **settings: Any
) -> Iterator[Any]:
    """A test client on a started service, ``client.service``."""
    from fastapi.testclient import TestClient

    from hjc.serve.app import create_app
    from hjc.serve.service import Service
    from hjc.serve.settings import ServeSettings

    service = Service({"small": model}, store, ServeSettings(**settings), retention_days=retention_days)
    with TestClient(create_app(service), base_url="http://localhost", headers=HEADERS) as made:
        made.service = service  # type: ignore[attr-defined]
        yield made


def told(answer: Any, status: int = 200) -> Any:
    """The JSON of an answer with this status."""
    assert answer.status_code == status, answer.text
    return answer.json()


def finished(client: Any, job: str) -> dict[str, Any]:
    """A job at its end."""
    for _ in range(400):
        found = told(client.get(f"/v1/jobs/{job}"))
        if found["state"] in ("done", "failed"):
            return dict(found)
        time.sleep(0.02)
    raise AssertionError(f"job {job} did not end: {found}")


def batch_of(client: Any, texts: list[str], **settings: Any) -> int:
    """A batch of pasted texts, ready to be coded."""
    made = told(client.post("/v1/desk/batches", json={"name": "ads", "texts": texts, **settings}))
    end = finished(client, made["job"])
    assert end["state"] == "done", end
    return int(made["batch"])


def sign_in(client: Any, name: str) -> None:
    """The client's cookie stands for somebody."""
    told(client.post("/v1/desk/login", json={"name": name}))


def decision(task: dict[str, Any], *codes: str, kind: str = "code", **more: Any) -> dict[str, Any]:
    """A request for /v1/desk/decisions; its key is the task's, so that it can be repeated."""
    return {"key": f"key-of-task-{task['task']}", "task": task["task"], "kind": kind, "codes": list(codes),
            "shown": task["shown"], **more}  # fmt: skip
