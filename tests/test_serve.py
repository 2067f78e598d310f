"""``hjc serve``: the routes that code, explain, search and learn; limits; what a stranger may not do."""

import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("fastapi", reason='needs the extra "serve": pip install "hjc[serve]"')

import hjc
from hjc.serve.batching import Batcher, Busy
from hjc.serve.memory import Correction, Memory, mixed
from hjc.serve.settings import Limits
from hjc.serve.taxonomy import Search
from tests.serve_client import MODEL, client, finished, told

NURSE, COOK = "registered nurse, night shifts", "cook in a restaurant"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with client(tmp_path_factory.mktemp("serve") / "desk.db") as made:
        yield made


def test_predict_is_what_the_library_says(service: Any) -> None:
    found = told(service.post("/v1/predict", json={"texts": [NURSE, "", COOK], "levels": [1, 3], "top_k": 2}))
    assert [row["status"] for row in found["rows"]] == ["ok", "empty text", "ok"]
    model = hjc.load(MODEL)
    for level in (1, 3):
        wanted = model.predict([NURSE, COOK], level=level, top_k=2)
        got = [code for row in found["rows"] for one in row["levels"] if one["level"] == level for code in one["codes"]]
        assert [code["code"] for code in got] == wanted["code"].tolist()
        assert [code["probability"] for code in got] == pytest.approx(wanted["probability"].tolist(), rel=1e-5)


def test_predict_takes_the_options_of_the_command(service: Any, tmp_path: Path, call: Any) -> None:
    source, out = tmp_path / "ads.csv", tmp_path / "out.csv"
    source.write_text(f"text\n{NURSE}\n{COOK}\nbaker\n".replace(", ", " "), encoding="utf-8")
    options = ["--calibrated", "--back-off", "0.6", "--conformal", "0.2", "--path", "leaf", "--cost", "lca"]
    assert call("predict", MODEL, source, "-o", out, "-t", "text", "--level", 2, *options)[0] == 0
    import pandas as pd

    wanted = pd.read_csv(out, dtype=str, keep_default_na=False).to_dict("records")
    asked = {"calibrated": True, "back_off": 0.6, "conformal": 0.2, "path": "leaf", "cost": "lca", "levels": [2]}
    texts = source.read_text(encoding="utf-8").splitlines()[1:]
    found = told(service.post("/v1/predict", json={"texts": texts, **asked}))["rows"]
    for row, line in zip(found, wanted, strict=True):
        assert row["levels"][0]["codes"][0]["code"] == line["hjc_level2_code_1"]
        for name, value in row["decisions"].items():
            said = line[f"hjc_{name}"]
            if isinstance(value, float):
                assert value == pytest.approx(float(said), rel=1e-5), name
            else:
                assert (value or "") == said, name


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ({}, 400, "one of text, texts and rows"),
        ({"text": "a", "texts": ["b"]}, 400, "one of text, texts and rows"),
        ({"text": "a", "model": "none"}, 400, "allowed are small"),
        ({"text": "a", "levels": [9]}, 400, "allowed are 1"),
        ({"texts": ["a"] * 1001}, 413, "at most 1,000"),
        ({"text": "a" * 20_001}, 413, "at most 20,000"),
        ({"text": "a", "topk": 2}, 422, "topk"),
        ({"text": 7}, 422, "string"),
        ({"text": "a", "conformal_by": "language", "conformal": 0.1}, 400, "give languages"),
        ({"texts": ["a", "b"], "languages": ["en"]}, 400, "got 1 for 2 rows"),
    ],
)
def test_bad_requests_are_told(service: Any, body: dict[str, Any], status: int, said: str) -> None:
    answer = service.post("/v1/predict", json=body)
    assert answer.status_code == status
    assert said in answer.text


def test_explain_and_taxonomy(service: Any) -> None:
    found = told(service.post("/v1/explain", json={"text": NURSE, "levels": [3], "code": "211"}))
    assert found["levels"][0]["code"]["code"] == "211"
    assert {word["word"] for word in found["levels"][0]["words"]} >= {"nurse"}
    assert [one["code"] for one in told(service.get("/v1/taxonomy"))["nodes"]] == ["0", "2", "5", "8"]
    assert [one["title"] for one in told(service.get("/v1/taxonomy?parent=5&language=pl"))["nodes"]] == [
        "kuchnia", "piekarnia",
    ]  # fmt: skip
    hits = told(service.get("/v1/taxonomy/search?q=kierowca&language=pl"))["hits"]
    assert [hit["code"] for hit in hits] == ["812", "811"]
    assert hits[0]["path"] == ["transport", "jazda"]
    assert told(service.get("/v1/taxonomy/search?q=BACKER"))["hits"][0]["matched"] == "Bäcker"
    assert told(service.get("/v1/taxonomy/search?q=wash dishes"))["hits"][0]["where"] == "description"
    assert told(service.get("/v1/taxonomy/search?q=81"))["hits"][0]["code"] == "81"
    other_names = Search(service.service.board.get().classifier.taxonomy, [(3, "en", "Ward sister")])
    assert [(hit.where, hit.matched) for hit in other_names.find("ward sist")] == [("example", "Ward sister")]
    node = told(service.get("/v1/taxonomy/node?code=811"))
    assert [one["code"] for one in node["path"]] == ["8", "81", "811"]
    assert "unknown codes" in told(service.get("/v1/taxonomy/node?code=999"), 400)["detail"]


def test_corrections_are_in_force_at_once_and_only_once(tmp_path: Path) -> None:
    body = {"corrections": [{"text": "ward sister", "codes": ["211"], "key": "row-1"}]}
    with client(tmp_path / "desk.db") as service:
        before = told(service.post("/v1/predict", json={"text": "Ward  Sister"}))["rows"][0]
        assert before["stage"] == "model"
        assert told(service.post("/v1/learn", json=body)) == {"learned": 1, "known": 0, "job": None}
        assert told(service.post("/v1/learn", json=body))["known"] == 1
        exact, like, other = told(
            service.post("/v1/predict", json={"texts": ["Ward  Sister", "ward sister nights", "Koch"]})
        )["rows"]
        assert exact["stage"] == "exact" and exact["levels"][0]["codes"][0]["code"] == "211"
        assert exact["levels"][0]["codes"][0]["probability"] >= 0.9
        assert (like["stage"], other["stage"]) == ("neighbour", "model")
        assert "unknown codes" in told(
            service.post("/v1/learn", json={"corrections": [{"text": "x", "codes": ["77"]}]}), 400
        )["detail"]  # fmt: skip
    with client(tmp_path / "desk.db") as again:  # after a new start
        assert told(again.post("/v1/predict", json={"text": "ward sister"}))["rows"][0]["stage"] == "exact"
        assert told(again.get("/v1/models"))["models"][0]["corrections"] == 1


def test_what_is_mixed_in_keeps_levels_coherent() -> None:
    tree = hjc.load(MODEL).taxonomy
    rng = np.random.default_rng(0)
    log_p = np.log(rng.dirichlet(np.ones(tree.num_leaves)))
    inner = tree.index_of["5"]
    start, stop = tree.leaf_slice[inner]
    out = np.exp(mixed(tree, log_p, {inner: 0.75, tree.index_of["211"]: 0.25}, 0.6))
    assert out.sum() == pytest.approx(1, rel=1e-6)
    p = np.exp(log_p)
    assert out[start:stop].sum() == pytest.approx(0.4 * p[start:stop].sum() + 0.6 * 0.75, rel=1e-5)
    assert out[start:stop] / out[start:stop].sum() == pytest.approx(p[start:stop] / p[start:stop].sum(), rel=1e-5)


def test_a_memory_that_misleads_is_switched_off_by_its_own_rows() -> None:
    """Like texts have unlike codes, and the model is nearly always right: what is near is no help."""
    base = hjc.load(MODEL)
    leaves = base.taxonomy.leaf_codes

    class Sure(type(base)):  # type: ignore[misc]
        def leaf_log_proba(self, texts: Any) -> Any:
            at = [int(text.rsplit(" ", 1)[1]) % len(leaves) for text in texts]
            return np.log(np.where(np.eye(len(leaves))[at] > 0, 0.99, 0.01 / (len(leaves) - 1)))

    base.__class__ = Sure
    memory = Memory(base)
    assert memory.strength > 0
    said = [Correction(i, f"nurse wanted for shift {i}", (leaves[i % len(leaves)],)) for i in range(60)]
    memory.update(said)
    assert memory.strength == 0
    memory.update([], [one.key for one in said])
    assert len(memory) == 0 and memory.mix(["nurse wanted for shift 3"], np.zeros((1, 10), np.float32))[1] == ["model"]


@pytest.mark.parametrize("own_space", [True, False])
def test_a_memory_that_grew_is_one_that_was_made_at_once(own_space: bool) -> None:
    model = hjc.load(MODEL)
    if not own_space:
        model.__class__ = type("Words", (type(model),), {"vector_space": None})
    leaves, texts = model.taxonomy.leaf_codes, ["night nurse", "cook for a canteen", "nurse", "no like word"]
    said = [Correction(i, f"{texts[i % 3]} number {i % 7}", (leaves[i % len(leaves)],)) for i in range(24)]

    grown = Memory(model)
    for one in said:
        grown.update([one])
        grown.nearest("nurse")  # vectors are made in between
    grown.update([Correction(3, "pilot", (leaves[0],))], gone=[5, 6])
    at_once = Memory(model)
    kept = [*(one for one in said if one.key not in (3, 5, 6)), Correction(3, "pilot", (leaves[0],))]
    at_once.update(kept)
    log_p = model.leaf_log_proba(texts)
    for found, expected in zip(grown.mix(texts, log_p), at_once.mix(texts, log_p), strict=True):
        assert np.allclose(found, expected, atol=1e-6) if isinstance(found, np.ndarray) else found == expected
    assert grown.nearest("pilot")[0].text == "pilot" and len(grown.nearest("nurse", 30)) == len(
        at_once.nearest("nurse", 30)
    )


def test_batches_are_bounded_and_answered_in_order() -> None:
    gate, sizes = threading.Event(), list[int]()

    def model(texts: Any) -> Any:
        gate.wait(5)
        sizes.append(len(texts))
        if "bad" in texts:
            raise ValueError("bad text")
        return np.array([[float(text)] for text in texts], dtype=np.float32), [("", "")] * len(texts)

    batcher = Batcher(model, batch_rows=8, queue_rows=10, wait=0.001)
    first = batcher.submit(["0"])
    rest = [batcher.submit([str(i)]) for i in range(1, 8)]
    bad = batcher.submit(["bad"])
    late = batcher.submit(["9"], seconds=-1)
    with pytest.raises(Busy) as refused:
        batcher.submit(["1", "2"])
    assert refused.value.seconds >= 1
    gate.set()
    assert [f.result(5)[0][0, 0] for f in (first, *rest)] == list(range(8))
    with pytest.raises(ValueError, match="bad text"):
        bad.result(5)
    with pytest.raises(TimeoutError):
        late.result(5)
    batcher.stop()
    assert max(sizes) <= 8 and len(sizes) < 10
    with pytest.raises(Busy):
        batcher.submit(["1"])


def test_a_full_queue_is_503_with_retry_after(tmp_path: Path) -> None:
    with client(tmp_path / "desk.db") as service:
        batcher = service.service.board.get().batcher

        def full(*_: Any) -> None:
            raise Busy("full", 3.4)

        batcher.submit = full
        answer = service.post("/v1/predict", json={"text": NURSE})
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "3")


def test_what_would_wait_too_long_is_refused_at_once() -> None:
    gate = threading.Event()

    def model(texts: Any) -> Any:
        gate.wait(5)
        return np.zeros((len(texts), 1), dtype=np.float32), [("", "")] * len(texts)

    batcher = Batcher(model, batch_rows=8)
    batcher.rate = 2.0  # rows a second
    first = batcher.submit(["1"] * 8)
    with pytest.raises(Busy, match="about 4 seconds") as refused:
        batcher.submit(["2"], seconds=3)
    assert refused.value.seconds == 1
    second = batcher.submit(["2"], seconds=5)
    gate.set()
    assert first.result(5) and second.result(5)
    batcher.stop()


def test_more_requests_than_may_be_under_way_are_503(tmp_path: Path) -> None:
    with client(tmp_path / "desk.db", limits=Limits(requests=1)) as service:
        batcher, waits, sent = service.service.board.get().batcher, Future[Any](), threading.Event()
        answer = batcher.submit([NURSE]).result(5)

        def submit(*_: Any) -> Future[Any]:
            sent.set()
            return waits

        batcher.submit = submit
        with ThreadPoolExecutor(1) as pool:
            first = pool.submit(service.post, "/v1/predict", json={"text": NURSE})
            assert sent.wait(5)
            refused = service.get("/v1/models")
            assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
            assert service.get("/healthz").status_code == 200
            waits.set_result(answer)
            told(first.result(5))
        assert service.get("/v1/models").status_code == 200
        asked, go = threading.Event(), threading.Event()

        def text() -> bytes:
            asked.set()
            go.wait(5)
            return b""

        service.service.metrics.text = text
        with ThreadPoolExecutor(1) as pool:
            probe = pool.submit(service.get, "/metrics")
            assert asked.wait(5)
            found = service.get("/v1/models").status_code  # a probe keeps nobody out
            go.set()
            assert (found, probe.result(5).status_code) == (200, 200)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"host": "evil.example"}, 421),
        ({"origin": "http://evil.example"}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"content-type": "text/plain"}, 415),
        ({"content-length": str(1 << 30)}, 413),
        ({"authorization": "Bearer hjc_wrong"}, 401),
        ({"origin": "http://localhost", "sec-fetch-site": "same-origin"}, 200),
    ],
)
def test_strangers_are_refused(service: Any, headers: dict[str, str], status: int) -> None:
    answer = service.post(
        "/v1/predict", content=b'{"text": "nurse"}', headers={"content-type": "application/json"} | headers
    )
    assert answer.status_code == status, answer.text
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert not [name for name in answer.headers if name.startswith("access-control")]


def test_tokens_and_roles(tmp_path: Path) -> None:
    from hjc.serve.store.database import Store
    from hjc.serve.store.people import add_user

    path = tmp_path / "desk.db"
    store = Store(path)
    with store.write() as connection:
        tokens = {role: add_user(connection, role, role)[1] for role in ("coder", "supervisor", "admin")}
    store.close()
    raw = b"".join(one.read_bytes() for one in tmp_path.glob("desk.db*"))
    assert not any(token.encode() in raw for token in tokens.values())
    with client(path, tokens=True) as service:
        assert told(service.get("/healthz"))["status"] == "ok"
        assert service.get("/v1/models").status_code == 401
        assert told(service.post("/v1/desk/login", json={"name": "admin"}), 401)
        assert told(service.post("/v1/desk/login", json={"token": "hjc_guess"}), 401)

        def status(role: str, method: str, path: str, **body: Any) -> int:
            sent = {"authorization": f"Bearer {tokens[role]}"}
            return int(service.request(method, path, headers=sent, **body).status_code)

        assert status("coder", "GET", "/v1/models") == 200
        assert status("coder", "GET", "/v1/desk/supervise") == 403
        assert status("supervisor", "GET", "/v1/desk/supervise") == 200
        assert status("supervisor", "GET", "/v1/desk/users") == 403
        assert status("admin", "POST", "/v1/desk/users/coder/disable") == 200
        assert status("coder", "GET", "/v1/models") == 401
        told(service.post("/v1/desk/login", json={"token": tokens["supervisor"]}))
        assert told(service.get("/v1/desk/me"))["user"] == {"name": "supervisor", "role": "supervisor"}
        cookie = {"x-hjc-request": ""}
        del service.headers["x-hjc-request"]
        assert cookie and service.post("/v1/desk/logout", json={}).status_code == 403
    from hjc.serve.settings import ServeSettings

    with pytest.raises(ValueError, match="tokens are needed"):
        ServeSettings(host="0.0.0.0")


def test_health_metrics_and_reload(service: Any) -> None:
    assert told(service.get("/readyz"))["detail"]["models"].keys() == {"small"}
    told(service.post("/v1/predict", json={"text": NURSE}))
    old = service.service.board.get()
    told(service.post("/v1/models/small/reload", json={}))
    assert service.service.board.get() is not old
    told(service.post("/v1/predict", json={"text": NURSE}))
    page = service.get("/metrics").text
    assert 'hjc_rows_total{model="small",stage="model"}' in page
    assert "nurse" not in page


def test_jobs_that_a_stopped_server_left_are_failed(tmp_path: Path) -> None:
    with client(tmp_path / "desk.db") as service:
        name = service.service.begin("batch", None, lambda progress: {"rows": 1})
        assert finished(service, name)["result"] == {"rows": 1}

        def broken(progress: Any) -> None:
            raise ValueError("no such column")

        assert finished(service, service.service.begin("batch", None, broken))["error"] == "no such column"
        from hjc.serve.store.jobs import new_job

        with service.service.store.write() as connection:
            left = new_job(connection, "learn", None)
    with client(tmp_path / "desk.db") as service:
        assert "stopped before" in told(service.get(f"/v1/jobs/{left}"))["error"]


def test_labelling_apps_poll_jobs(service: Any) -> None:
    texts = [NURSE, "", COOK] * 120
    body = {"texts": texts, "levels": [2, 3], "top_k": 2, "languages": ["en"] * len(texts), "back_off": 0.5}
    at_once = told(service.post("/v1/predict", json=body))
    found = finished(service, told(service.post("/v1/label", json=body))["job"])
    assert found["result"] == at_once and len(found["result"]["rows"]) == 360
    assert told(service.post("/v1/label", json={"texts": []}))["job"]
    tree = service.service.board.get().classifier.taxonomy
    codes = [{"code": code, "parent": tree.codes[parent] if parent >= 0 else ""}
             for code, parent in zip(tree.codes, tree.parents.tolist(), strict=True)]  # fmt: skip
    job = told(service.post("/v1/taxonomies", json={"name": "mine", "codes": codes}))["job"]
    assert finished(service, job)["result"] == {"taxonomy": tree.hash, "models": ["small"]}
    job = told(service.post("/v1/taxonomies", json={"name": "mine", "codes": codes[:3]}))["job"]
    assert "none can be put on it" in finished(service, job)["error"]
    broken = {"name": "mine", "codes": [{"code": "1", "parent": "2"}, {"code": "2", "parent": "1"}]}
    assert told(service.post("/v1/taxonomies", json=broken), 400)


def test_a_model_that_knows_texts_is_put_on_a_tree(tmp_path: Path) -> None:
    rows = [("A", "", "health"), ("B", "", "food"), ("A1", "A", "nurse"), ("B1", "B", "cook")]
    codes = [{"code": code, "parent": parent, "title": title} for code, parent, title in rows]
    with client(tmp_path / "desk.db", model=MODEL.parent / "prototype") as service:
        job = told(service.post("/v1/taxonomies", json={"name": "mine", "codes": codes}))["job"]
        assert finished(service, job)["result"]["models"] == ["mine"]
        found = told(service.post("/v1/predict", json={"model": "mine", "texts": ["nurse", "cook"]}))
        assert [row["levels"][0]["codes"][0]["code"] for row in found["rows"]] == ["A1", "B1"]
