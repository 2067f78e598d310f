"""Models that follow one another behind a name: trained again, compared on audited ads, replaced."""

import json
import shutil
import threading
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

pytest.importorskip("fastapi", reason='needs the extra "serve": pip install "hjc[serve]"')

from tests.serve_client import MODEL, client, decision, finished, told

FOLDER = MODEL.parent


def audited(desk: Any, rows: int = 40) -> None:
    """The first validation rows of the small models, all audited, all coded right."""
    frame = pd.read_csv(FOLDER / "data" / "valid.csv", dtype=str).drop_duplicates("text").head(rows)
    gold = dict(zip(frame["text"], frame["code"], strict=True))
    body = {"name": "audit", "texts": list(gold), "audit": len(gold), "order": "file"}
    finished(desk, told(desk.post("/v1/desk/batches", json=body))["job"])
    for _ in range(len(gold)):
        (task,) = told(desk.post("/v1/desk/next", json={"n": 1}))["tasks"]
        told(desk.post("/v1/desk/decisions", json=decision(task, gold[task["text"]])))


def test_a_worse_model_is_refused_and_a_better_one_served(tmp_path: Path, call: Any) -> None:
    good, bad = FOLDER / "linear_topdown", FOLDER / "linear_char"
    store = tmp_path / "desk.db"
    with client(store, model=bad) as desk:
        refused = desk.post("/v1/models/small/promote", json={"directory": str(good)})
        assert "0 audited ads have a code" in told(refused, 409)["detail"]
        audited(desk)
        found = told(desk.post("/v1/models/small/promote", json={"directory": str(good)}))
        assert found["comparison"]["rows"] == 40
        assert found["comparison"]["new"]["accuracy"] > found["comparison"]["old"]["accuracy"]
        version = told(desk.get("/v1/models"))["models"][0]["version"]
        assert version == found["version"]
        back = told(desk.post("/v1/models/small/promote", json={"directory": str(bad)}), 409)["detail"]
        gone = told(desk.post("/v1/models/small/promote", json={"directory": "nowhere"}), 400)["detail"]
        assert "no model directory at nowhere" in gone
        assert "fewer right codes and a higher log-loss" in back
    code, _, said = call("serve", f"small={good}", "--store", store, "--promote", bad)
    assert code == 2 and "fewer right codes" in said
    with client(store, model=bad) as desk:  # after a new start
        assert told(desk.get("/v1/models"))["models"][0]["version"] == version
        code, _, said = call("serve", f"small={bad}", "--store", store, "--promote", good)
        assert code == 0 and "40 audited ads" in said  # the same model is no worse than itself


def test_the_figures_of_a_comparison_are_those_of_the_rows(tmp_path: Path) -> None:
    import numpy as np

    import hjc
    from hjc.serve.promotion import compare_on_audit

    with client(tmp_path / "desk.db") as desk:
        audited(desk)
        found = compare_on_audit(desk.service.store, MODEL, FOLDER / "linear_flat_logreg")
    frame = pd.read_csv(FOLDER / "data" / "valid.csv", dtype=str).drop_duplicates("text").head(40)
    for figures, directory in ((found.old, MODEL), (found.new, FOLDER / "linear_flat_logreg")):
        model = hjc.load(directory)
        best = model.calibrated() if model.calibrator else model
        right, loss = [], []
        for text, code in zip(frame["text"], frame["code"], strict=True):
            level = int(model.taxonomy.level[model.taxonomy.index_of[code]])
            p = best.predict_proba([text], level=level)[0]
            codes = model.taxonomy.level_codes(level)
            right.append(codes[int(p.argmax())] == code)
            loss.append(-np.log(p[codes.index(code)]))
        assert figures.accuracy == pytest.approx(np.mean(right))
        assert figures.log_loss == pytest.approx(np.mean(loss), rel=1e-4)
    assert found.accuracy_change[1] <= found.accuracy_change[0] <= found.accuracy_change[2]


@pytest.mark.slow
def test_a_training_with_what_was_decided(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The new model has learnt the corrections; the served one stays until it is promoted."""
    shutil.copytree(FOLDER / "data", tmp_path / "data")
    shutil.copytree(MODEL, tmp_path / "small")
    monkeypatch.chdir(tmp_path)
    with client(tmp_path / "desk.db", model=tmp_path / "small") as desk:
        assert "no decision to learn from" in str(
            finished(desk, told(desk.post("/v1/learn", json={"retrain": True}))["job"])["error"]
        )
        rows = [{"text": f"zumba instructor wanted {i}", "codes": ["82"], "key": str(i)} for i in range(12)]
        job = told(desk.post("/v1/learn", json={"corrections": rows, "retrain": True}))["job"]
        for _ in range(60):
            if (end := told(desk.get(f"/v1/jobs/{job}")))["state"] in ("done", "failed"):
                break
            threading.Event().wait(1.0)
        assert end["state"] == "done", end
        assert end["result"]["rows"] == 12
        import hjc

        old, new = (hjc.load(path) for path in (tmp_path / "small", end["result"]["directory"]))
        question = ["zumba instructor wanted here"]
        column = old.taxonomy.leaf_codes.index("82")
        assert new.predict_proba(question)[0][column] > 2 * old.predict_proba(question)[0][column]
        record = json.dumps(told(desk.get("/v1/models"))["models"][0])
        assert "desk" not in record


def test_a_model_is_replaced_without_a_lost_request(tmp_path: Path) -> None:
    with client(tmp_path / "desk.db") as desk:
        wrong, answers, stop = list[str](), [0], threading.Event()

        def ask() -> None:
            while not stop.is_set():
                answer = desk.post("/v1/predict", json={"texts": ["nurse", "cook"]})
                answers[0] += 1
                if answer.status_code != 200:
                    wrong.append(answer.text)

        askers = [threading.Thread(target=ask) for _ in range(4)]
        for one in askers:
            one.start()
        for _ in range(5):
            told(desk.post("/v1/models/small/reload", json={}))
        stop.set()
        for one in askers:
            one.join()
        assert wrong == [] and answers[0] > 5
