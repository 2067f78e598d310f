"""The coder's desk: queue, decisions that are only added to, several coders, dealing, export, removal of texts."""

import io
import json
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

pytest.importorskip("fastapi", reason='needs the extra "serve": pip install "hjc[serve]"')

from tests.serve_client import MODEL, batch_of, client, decision, finished, sign_in, told

TEXTS = ["registered nurse", "cook in a restaurant", "lorry driver wanted", "baker of bread", "bus driver", "pilot"]


@pytest.fixture
def store(tmp_path: Path) -> Path | str:
    """Of each test its own; tests/test_serve_more.py has the same tests on PostgreSQL."""
    return tmp_path / "desk.db"


@pytest.fixture
def desk(store: Path | str) -> Iterator[Any]:
    with client(store) as made:
        yield made


def take(desk: Any, n: int = 1, **more: Any) -> list[dict[str, Any]]:
    return list(told(desk.post("/v1/desk/next", json={"n": n, **more}))["tasks"])


def decide(desk: Any, task: dict[str, Any], *codes: str, status: int = 200, **more: Any) -> Any:
    return told(desk.post("/v1/desk/decisions", json=decision(task, *codes, **more)), status)


def test_from_a_pasted_batch_to_a_code(desk: Any) -> None:
    sign_in(desk, "anna")
    batch = batch_of(desk, TEXTS)
    (task,) = take(desk, batch=batch)
    levels = task["suggestions"]["levels"]
    assert [one["level"] for one in levels] == [1, 2, 3]
    best = levels[2]["choices"][0]
    open_path, nodes = [], task["suggestions"]["tree"]
    while nodes:  # the tree leads to the best leaf, open all the way
        node = next(one for one in nodes if one["code"] == best["code"][: len(one["code"])])
        open_path.append((node["code"], node["open"]))
        nodes = node["children"]
    assert open_path[-1] == (best["code"], True) and all(opened for _, opened in open_path)
    assert best["path"] and task["shown"]
    first = decide(desk, task, best["code"], comment="sure", seconds=2.5, batch=batch)
    assert first["progress"]["done"] == 1 and first["progress"]["left"] == len(TEXTS) - 1
    assert decide(desk, task, best["code"])["decision"] == first["decision"]  # sent again: nothing changes
    other = decision(task, "211") | {"key": "another-key"}
    assert "undo that first" in told(desk.post("/v1/desk/decisions", json=other), 409)["detail"]
    line = told(desk.get("/v1/desk/history"))["decisions"][0]
    assert (line["codes"], line["undone"], line["text"]) == ([best["code"]], False, task["text"])
    with sqlite3.connect(desk.service.store.url.database) as raw:
        row = raw.execute("SELECT kind, seconds, model, shown_id FROM decisions").fetchone()
        assert row == ("code", 2.5, "small", task["shown"])
        seen = json.loads(raw.execute("SELECT suggestions FROM shown WHERE id = ?", [task["shown"]]).fetchone()[0])
        assert seen["levels"]["3"][0][0] == best["code"]
        for statement in ("UPDATE decisions SET codes = '[]'", "DELETE FROM decisions", "DELETE FROM shown"):
            with pytest.raises(sqlite3.IntegrityError, match="only ever added"):
                raw.execute(statement)


def test_undo_skip_and_not_a_job(desk: Any) -> None:
    sign_in(desk, "anna")
    batch = batch_of(desk, TEXTS[:3], order="file")
    one, two, three = take(desk, 3)
    assert [task["number"] for task in (one, two, three)] == [1, 2, 3]
    decide(desk, one, kind="skip")
    decide(desk, two, kind="not_a_job")
    back = told(desk.post("/v1/desk/undo", json={"key": "undo-key-1"}))
    assert back["task"] == two["task"]
    assert told(desk.post("/v1/desk/undo", json={"key": "undo-key-1"}))["task"] == two["task"]
    body = decision(back, "511", "521", kind="several") | {"key": "second-try-2"}
    told(desk.post("/v1/desk/decisions", json=body))
    decide(desk, three, "811")
    (skipped,) = take(desk)  # skipped ads come last
    assert skipped["task"] == one["task"]
    told(desk.post("/v1/desk/decisions", json=decision(skipped, "2") | {"key": "higher-level"}))  # a higher level
    assert take(desk) == []
    final = pd.read_csv(io.StringIO(desk.get(f"/v1/desk/export?batch={batch}").text), dtype=str)
    assert final["codes"].tolist() == ["2", "511 521", "811"]
    training = pd.read_csv(io.StringIO(desk.get("/v1/desk/export?table=training").text), dtype=str)
    assert training[["code", "weight"]].values.tolist() == [
        ["2", "1.0"], ["511", "0.5"], ["521", "0.5"], ["811", "1.0"],
    ]  # fmt: skip
    for bad, said in (({"kind": "code", "codes": []}, "1 to 1"), ({"kind": "several", "codes": ["2"]}, "2 to 20"),
                      ({"kind": "skip", "codes": ["2"]}, "0 to 0"), ({"codes": ["77"]}, "unknown")):  # fmt: skip
        assert said in told(desk.post("/v1/desk/decisions", json=decision(one) | {"codes": ["2"]} | bad), 400)["detail"]


def test_two_coders_never_get_one_ad_unless_it_has_a_second_copy(store: Path | str) -> None:
    with client(store) as desk:
        texts = [f"nurse {i}" for i in range(40)]
        batch_of(desk, texts, second=0.25, audit=4)
        from hjc.serve.store import queue
        from hjc.serve.store.people import ensure_user

        held = desk.service.store

        def code(name: str) -> list[int]:
            with held.write() as connection:
                user = ensure_user(connection, name, "coder")
            found = []
            for step in range(100):
                with held.write() as connection:
                    tasks = queue.take(connection, user, None, 2, 30)
                if not tasks:
                    return found
                with held.write() as connection:
                    queue.decide(connection, user, tasks[0].id, queue.Choice(f"{name}-{step}", "code", ["211"]))
                found.append(tasks[0].ad)
            return found

        with ThreadPoolExecutor(4) as pool:
            taken = dict(zip("abcd", pool.map(code, "abcd"), strict=True))
        everything = [ad for mine in taken.values() for ad in mine]
        assert all(len(mine) == len(set(mine)) for mine in taken.values())
        assert len(everything) == 50 and len(set(everything)) == 40
        assert sorted(everything.count(ad) for ad in set(everything)) == [1] * 30 + [2] * 10


def test_an_ad_that_was_held_too_long_goes_to_another(store: Path | str) -> None:
    with client(store, lease_minutes=0.0) as desk:
        sign_in(desk, "anna")
        batch_of(desk, TEXTS[:1])
        (old,) = take(desk)
        sign_in(desk, "berta")
        (new,) = take(desk)
        assert new["task"] == old["task"]
        sign_in(desk, "anna")
        assert "another coder" in decide(desk, old | {"shown": None}, "211", status=409)["detail"]


def test_a_sample_is_dealt_with_a_common_part_and_disputes_are_settled(desk: Any) -> None:
    for name in ("anna", "berta", "carl"):
        sign_in(desk, name)
    batch = batch_of(desk, [f"cook {i}" for i in range(20)])
    body = {"coders": ["anna", "berta", "carl"], "each": 8, "common": 2}
    refused = desk.post(f"/v1/desk/batches/{batch}/deal", json=body | {"each": 10})
    assert "need 26 open ads" in told(refused, 400)["detail"]
    assert told(desk.post(f"/v1/desk/batches/{batch}/deal", json=body))["tasks"] == dict.fromkeys(body["coders"], 8)
    seen: dict[str, set[int]] = {}
    codes = {"anna": "511", "berta": "511", "carl": "512"}
    for name in body["coders"]:
        sign_in(desk, name)
        for _ in range(8):
            (task,) = take(desk, batch=batch)
            seen.setdefault(name, set()).add(task["ad"])
            decide(desk, task, codes[name], comment=f"{name} thinks")
        assert take(desk, batch=batch) == []
    common = seen["anna"] & seen["berta"] & seen["carl"]
    assert len(common) == 2 and len(seen["anna"] | seen["berta"] | seen["carl"]) == 20
    found = told(desk.get(f"/v1/desk/supervise?batch={batch}"))
    assert found["disputed"] == 2 and {one["coder"]: one["done"] for one in found["coders"]} == dict.fromkeys(codes, 8)
    assert [one["figures"]["pairwise"]["value"] for one in found["agreement"]] == pytest.approx([1, 1, 1 / 3])
    dispute = told(desk.get("/v1/desk/disputes"))["disputes"][0]
    assert {one["coder"]: one["codes"] for one in dispute["decisions"]} == {n: [c] for n, c in codes.items()}
    settled = {"key": "settled-1", "ad": dispute["ad"], "codes": ["511"]}
    first = told(desk.post("/v1/desk/adjudicate", json=settled))
    assert told(desk.post("/v1/desk/adjudicate", json=settled)) == first  # repeated: nothing changes
    other = min({1, 2, 3} - {dispute["ad"]})
    assert "make keys by chance" in told(desk.post("/v1/desk/adjudicate", json={**settled, "ad": other}), 409)["detail"]
    told(desk.post("/v1/desk/adjudicate", json={**settled, "key": "settled-2", "ad": 2**70}), 422)
    assert [one["ad"] for one in told(desk.get("/v1/desk/disputes"))["disputes"]] == [(common - {dispute["ad"]}).pop()]
    final = pd.read_csv(io.StringIO(desk.get("/v1/desk/export").text), dtype=str).set_index("ad")
    assert final.loc[str(dispute["ad"]), ["codes", "how"]].tolist() == ["511", "adjudicated"]


def test_audited_ads_are_a_random_sample_apart(desk: Any) -> None:
    batch = batch_of(desk, [f"baker {i}" for i in range(30)], audit=10, hide="audit", automatic=0.01)
    with sqlite3.connect(desk.service.store.url.database) as raw:
        tasks = raw.execute("SELECT purpose, inclusion_probability FROM tasks").fetchall()
        assert tasks == [("audit", pytest.approx(1 / 3))] * 10  # the others are sure: the model codes them
        assert raw.execute("SELECT count(*) FROM decisions WHERE kind = 'automatic'").fetchone() == (30,)
    for task in take(desk, 10):
        assert task["suggestions"] is None
        decide(desk, task, "521")
    assert told(desk.get("/v1/models"))["models"][0]["corrections"] == 0
    audit = pd.read_csv(io.StringIO(desk.get("/v1/desk/export?table=audit").text))
    assert len(audit) == 10 and audit["weight"].tolist() == pytest.approx([3.0] * 10)
    assert desk.get("/v1/desk/export?table=training").text.strip() == ""
    final = pd.read_csv(io.StringIO(desk.get(f"/v1/desk/export?batch={batch}").text))
    assert final["how"].value_counts().to_dict() == {"automatic": 20, "one coder": 10}


def test_uploads_of_every_format_and_bad_ones(desk: Any, tmp_path: Path) -> None:
    frame = pd.DataFrame({"id": ["x1", "x2"], "lang": ["en", "pl"], "title": ["nurse", "kucharz"], "n": [1, 2]})
    frame.to_excel(tmp_path / "ads.xlsx", index=False)
    frame.to_parquet(tmp_path / "ads.parquet")
    frame.to_csv(tmp_path / "ads.csv", index=False, sep=";")

    def send(route: str, name: str, body: bytes, **data: Any) -> Any:
        return desk.post(f"/v1/desk/{route}", files={"file": (name, io.BytesIO(body))}, data=data)

    for name in ("ads.xlsx", "ads.parquet", "ads.csv"):
        body = (tmp_path / name).read_bytes()
        seen = told(send("look", name, body))
        assert seen["columns"] == ["id", "lang", "title", "n"] and seen["text_columns"] == ["title"]
        assert (seen["language_column"], seen["key_column"]) == ("lang", "id")
        settings = {"name": name, "text_columns": ["title"], "language_column": "lang", "key_column": "id"}
        made = told(send("upload", name, body, settings=json.dumps(settings)))
        assert finished(desk, made["job"])["result"]["ads"] == 2
        assert [task["language"] for task in take(desk, 2, batch=made["batch"])] in (["en", "pl"], ["pl", "en"])
    settings = json.dumps({"name": "bad"})
    for name, body, said in (
        ("ads.xlsx", b"no workbook", "xlsx"), ("ads.pdf", b"%PDF", "does not tell the format"), ("ads.csv", b"", ""),
        ("ads.csv", b"title\n", "no rows"), ("ads.parquet", b"PAR1", "parquet"),
    ):  # fmt: skip
        assert said in told(send("upload", name, body, settings=settings), 400)["detail"]
    wrong = json.dumps({"name": "bad", "text_columns": ["titel"]})
    assert "did you mean 'title'" in told(send("upload", "a.csv", b"title\nnurse\n", settings=wrong), 400)["detail"]
    assert send("upload", "a.csv", b"title\nnurse\n", settings="{").status_code in (400, 422)


def test_a_text_is_removed_and_the_trail_stays(desk: Any, tmp_path: Path) -> None:
    rows = [{"id": "person-1", "title": "nurse Jadwiga Nowak"}, {"id": "person-2", "title": "cook Zenon Zuk"}]
    made = told(desk.post("/v1/desk/batches", json={"name": "a", "rows": rows, "key_column": "id",
                                                    "text_columns": ["title"], "order": "file"}))  # fmt: skip
    finished(desk, made["job"])
    one, two = take(desk, 2)
    decide(desk, one, "211", comment="Jadwiga told me")
    assert told(desk.get("/v1/models"))["models"][0]["corrections"] == 1
    assert told(desk.post("/v1/desk/erase", json={"ids": ["person-1", f"#{two['ad']}"]}))["count"] == 2
    assert told(desk.get("/v1/models"))["models"][0]["corrections"] == 0
    assert "was removed" in decide(desk, two, "511", status=409)["detail"]
    assert "no ad" in told(desk.post("/v1/desk/erase", json={"ids": ["person-1"]}), 404)["detail"]
    final = pd.read_csv(io.StringIO(desk.get("/v1/desk/export").text), dtype=str)
    assert final["codes"].tolist()[0] == "211" and final["erased"].notna().all()
    for path in tmp_path.glob("desk.db*"):
        for word in (b"Jadwiga", b"Zenon", b"person-1"):
            assert word not in path.read_bytes(), path


def test_a_retention_period_removes_old_texts(store: Path | str) -> None:
    from hjc.serve.store.erasing import erase_old

    with client(store) as desk:
        batch_of(desk, TEXTS[:2])
        batch_of(desk, TEXTS[2:4], retention_days=1e-9)
        assert erase_old(desk.service.store, None) == 2
        assert erase_old(desk.service.store, 30) == 0
        assert erase_old(desk.service.store, 1e-9) == 2


def test_migrations_lead_to_the_schema(tmp_path: Path) -> None:
    import sqlalchemy as sa
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    from hjc.serve.store.database import Store
    from hjc.serve.store.schema import APPEND_ONLY, metadata

    store = Store(tmp_path / "a" / "desk.db")
    with store.read() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
        triggers = connection.execute(sa.text("SELECT tbl_name FROM sqlite_master WHERE type = 'trigger'")).scalars()
        assert set(triggers) == set(APPEND_ONLY)
    with store.write() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    store.close()
    with pytest.raises(ValueError, match="newer hjc"):
        Store(tmp_path / "a" / "desk.db")
    (tmp_path / "text.db").write_text("no database, but long enough to be looked at " * 100, encoding="utf-8")
    with pytest.raises(ValueError, match=r"text\.db"):
        Store(tmp_path / "text.db")


def two_coders(desk: Any, tmp_path: Path) -> Path:
    """The validation rows of the small model, coded by anna (right) and berta (every third wrong), audited all over."""
    frame = pd.read_csv(MODEL.parent / "data" / "valid.csv", dtype=str)
    frame = frame[~frame["text"].duplicated()].head(30)
    gold = dict(zip(frame["text"], frame["code"], strict=True))
    rows = frame[["title", "text"]].to_dict("records")
    body = {"name": "both", "rows": rows, "text_columns": ["text"], "second": 1.0, "audit": 30, "order": "file"}
    made = told(desk.post("/v1/desk/batches", json=body))
    assert finished(desk, made["job"])["state"] == "done"
    for name in ("anna", "berta"):
        sign_in(desk, name)
        for i in range(30):
            (task,) = take(desk)
            decide(desk, task, "22" if name == "berta" and i % 3 == 0 else gold[task["text"]])
    assert take(desk) == []
    return Path(desk.service.store.url.database)


def test_the_commands_read_the_store(desk: Any, tmp_path: Path, call: Any) -> None:
    store, out = two_coders(desk, tmp_path), tmp_path / "out"
    assert call("data", "agreement", store, "-o", out, "--taxonomy", MODEL)[0] == 0
    overall = pd.read_csv(out / "overall.csv").set_index("level")
    found = told(desk.get("/v1/desk/supervise"))["agreement"]
    assert [one["level"] for one in found] == [1, 2, 3]
    for one in found:
        for name in ("pairwise", "fleiss", "alpha"):
            for part in ("value", "low", "high"):
                wanted = overall.loc[one["level"], name if part == "value" else f"{name}_{part}"]
                assert one["figures"][name][part] == pytest.approx(wanted, abs=1e-5), (one["level"], name, part)
    disputed = told(desk.get("/v1/desk/disputes"))["disputes"]
    for i, one in enumerate(disputed):
        right = next(d["codes"] for d in one["decisions"] if d["coder"] == "anna")
        told(desk.post("/v1/desk/adjudicate", json={"key": f"settled-{i}", "ad": one["ad"], "codes": right}))
    valid = MODEL.parent / "data" / "valid.csv"
    code, _, said = call("estimate", valid, "--run", MODEL, "--audit", store, "-t", "text", "-o", tmp_path / "s.csv")
    assert code == 0, said
    assert set(pd.read_csv(tmp_path / "s.csv")["method"]) == {"ppi"}


def test_training_reads_the_store(desk: Any, tmp_path: Path, call: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    sign_in(desk, "anna")
    rows = [{"title": f"{name} {i}", "code": "x"} for name in ("nurse", "cook", "pilot") for i in range(4)]
    made = told(desk.post("/v1/desk/batches", json={"name": "a", "rows": rows, "text_columns": ["title"]}))
    finished(desk, made["job"])
    code = {"nurse": ["211"], "cook": ["511", "512"], "pilot": ["82"]}
    for task in take(desk, 12):
        codes = code[task["text"].split()[0]]
        decide(desk, task, *codes, kind="code" if len(codes) == 1 else "several")
    store = Path(desk.service.store.url.database)
    from hjc.data import DataSettings, load_job_data
    from hjc.data.settings import SourceSettings
    from hjc.tables import read_table
    from hjc.training.config import quoted

    assert quoted(f"data.sources=[{store}]") == f"data.sources=[{{path:'{store}'}}]"
    assert quoted("data.sources=[]") == "data.sources=[]"  # none
    settings = DataSettings(sources=[SourceSettings(path=str(store))], valid_fraction=0.0)
    data = load_job_data(settings, desk.service.board.get().classifier.taxonomy).train
    assert len(data) == 16 and set(data.language) == {""} and set(data.source) == {"desk"}
    assert sorted(data.weight.tolist()) == [0.5] * 8 + [1.0] * 8
    seen = read_table(store)
    assert {"text", "code", "weight", "title", "ad_code"} <= set(seen.columns) and set(seen["ad_code"]) == {"x"}
    assert len(read_table(store, sheet="final")) == 12 and len(read_table(store, sheet="ratings")) == 12
    with pytest.raises(ValueError, match="allowed are training, ratings"):
        read_table(store, sheet="none")
    (tmp_path / "other.db").write_bytes(b"no store")
    with pytest.raises(ValueError, match="no store of hjc serve"):
        read_table(tmp_path / "other.db")


def test_every_language_of_the_page_has_every_string() -> None:
    import re

    from hjc.serve.app import STATIC

    english = json.loads((STATIC / "lang" / "en.json").read_text("utf-8"))
    for path in (STATIC / "lang").glob("*.json"):
        other = json.loads(path.read_text("utf-8"))
        assert list(other) == list(english), path
        for key, text in other.items():
            assert set(re.findall(r"\{\w+\}", text)) == set(re.findall(r"\{\w+\}", english[key])), (path, key)
    used = {key for path in STATIC.glob("*.js") for key in re.findall(r"\bt\(\"(\w+)\"", path.read_text("utf-8"))}
    assert used <= set(english)
