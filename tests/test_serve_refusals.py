"""What ``hjc serve`` answers where it refuses: always one sentence, never more work than an answer is worth."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason='needs the extra "serve": pip install "hjc[serve]"')

from fastapi.testclient import TestClient

from hjc.serve.settings import Limits
from hjc.serve.store.erasing import LONGEST, erase_old
from tests.serve_client import batch_of, client, told

JSON = {"content-type": "application/json"}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """For what changes nothing."""
    with client(tmp_path_factory.mktemp("store") / "desk.db") as made:
        yield made


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        (b'{"text": "x", "back_off": NaN}', 422, "back_off: got nan"),
        (b'{"text": "x", "top_k": -Infinity}', 422, "top_k: got -inf"),
        (b'{"texts": ["a", "\\ud800"]}', 422, r"texts[1]: got '\ud800'"),
        (b'{"text": "x", "\\ud800": 1}', 422, r"\ud800"),
        (b'{"text": "caf\xe9"}', 400, "cannot be read: 'utf-8'"),
        (b"[" * 100_000, 400, "recursion"),
        (b'{"text": ' + b"9" * 5000 + b"}", 400, "4300 digits"),
        (b'{"text": "x"', 422, "no JSON"),
        (b"", 422, "missing"),
        (b'{"rows": [' + b"[]," * 5000 + b"[]]}", 422, "and 4,998 more"),
        (b'{"text": "' + b"a" * 2_000_000 + b'"}', 422, "at most 1000000 characters"),
    ],
    ids=["nan", "infinite", "half", "half-key", "latin-1", "deep", "number", "cut", "empty", "many", "long"],
)
def test_a_refusal_is_one_short_sentence(service: Any, body: bytes, status: int, says: str) -> None:
    detail = told(service.post("/v1/predict", content=body, headers=JSON), status)["detail"]
    assert isinstance(detail, str) and says in detail and len(detail) < 500
    assert (
        service.get("/openapi.json")
        .json()["paths"]["/v1/predict"]["post"]["responses"]["422"]["content"]["application/json"]["schema"]["$ref"]
        .endswith("/Problem")
    )


def test_json_without_its_content_type_is_told(service: Any) -> None:
    sent = service.post("/v1/predict", content=b'{"text": "nurse"}', headers={"content-type": ""})
    assert "content-type: application/json" in told(sent, 422)["detail"]


def test_an_answer_has_so_many_codes(tmp_path: Path) -> None:
    """Rows times levels times ``top_k``: within the bounds of each they took minutes of everybody's time."""
    with client(tmp_path / "desk.db", limits=Limits(codes=8, job_codes=8)) as service:
        depth = service.service.board.get().classifier.taxonomy.depth
        levels = list(range(1, depth + 1))
        for route in ("/v1/predict", "/v1/label"):
            small = {"texts": ["nurse"] * (8 // depth), "levels": levels}
            told(service.post(route, json=small))
            many = told(service.post(route, json={"texts": ["nurse"] * 9}), 413)["detail"]
            assert "9 rows with 1 codes each" in many and "at most 8" in many
            told(service.post(route, json={**small, "top_k": 1000}), 413)


def test_a_correction_is_no_longer_than_a_text(tmp_path: Path) -> None:
    with client(tmp_path / "desk.db", limits=Limits(characters=10)) as service:
        rows = [{"text": "nurse", "codes": ["211"]}, {"text": "a" * 11, "codes": ["211"]}]
        assert "row 1: 11 characters" in told(service.post("/v1/learn", json={"corrections": rows}), 413)["detail"]


@pytest.mark.parametrize(
    ("name", "status", "says"),
    [
        ("a" * 3000 + ".csv", 200, "nurse"),
        ("../../../etc/ads.csv", 200, "nurse"),
        ("C:\\Users\\anna\\ads.csv", 200, "nurse"),
        ("..", 400, "no name"),
        ("ads.csv.xz", 400, "unpack it first"),
        ("ads.zip", 400, "unpack it first"),
    ],
    ids=["long", "path", "windows", "dots", "xz", "zip"],
)
def test_a_name_of_an_upload_is_no_place_on_the_server(service: Any, name: str, status: int, says: str) -> None:
    answer = service.post("/v1/desk/look", files={"file": (name, b"title\nnurse\n")})
    assert says in str(told(answer, status))


def test_settings_of_an_upload_are_told_like_any_other(service: Any) -> None:
    for settings in ("{", "null", '{"name": "a", "retention_days": 1e999}', '{"name": "a", "seed": NaN}'):
        sent = service.post(
            "/v1/desk/upload", files={"file": ("a.csv", b"title\nnurse\n")}, data={"settings": settings}
        )
        detail = told(sent, 422)["detail"]
        assert "\n" not in detail and "http" not in detail


def test_a_period_without_end_keeps_no_other_text(tmp_path: Path) -> None:
    """A batch whose texts were to be kept for ever stopped the removal of all others."""
    for days in (float("nan"), float("inf"), -1.0, 0.0):
        with pytest.raises(ValueError, match=r"--retention-days: got"), client(tmp_path / "no.db", retention_days=days):
            pass
    with client(tmp_path / "desk.db") as service:
        batch_of(service, ["nurse"], retention_days=1e-9)
        store = service.service.store
        with store.write() as connection:  # as a store has it that an earlier hjc wrote
            from hjc.serve.store.batches import new_batch

            new_batch(connection, "old", None, "small", "pasted", {"retention_days": float("inf")})
        assert erase_old(store, None) == 1
        assert erase_old(store, LONGEST) == 0


def test_work_of_a_round_that_fails_keeps_no_other_from_its_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import threading

    done = threading.Event()

    def fails(*_: Any) -> int:
        raise OverflowError("no date")

    monkeypatch.setattr("hjc.serve.service.ROUND", 0.01)
    monkeypatch.setattr("hjc.serve.service.erase_old", fails)
    monkeypatch.setattr("hjc.serve.service.Service.take_up_promotions", lambda service: done.set())
    with client(tmp_path / "desk.db"):
        assert done.wait(10)


def test_a_disk_of_the_server_that_is_full_is_503(service: Any, monkeypatch: pytest.MonkeyPatch) -> None:

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    quiet = TestClient(service.app, base_url="http://localhost", raise_server_exceptions=False,
                       headers=dict(service.headers))  # fmt: skip
    monkeypatch.setattr("hjc.serve.routes.batches.intake.read_upload", full)
    answer = quiet.post("/v1/desk/look", files={"file": ("a.csv", b"title\nnurse\n")})
    assert "No space left" in told(answer, 503)["detail"] and int(answer.headers["retry-after"]) > 0
    monkeypatch.undo()
    monkeypatch.setattr("tempfile.SpooledTemporaryFile.write", full)  # while the body of an upload is read
    answer = quiet.post("/v1/desk/look", files={"file": ("a.csv", b"title\nnurse\n")})
    assert "No space left" in told(answer, 503)["detail"]
