"""model=best: parts trained on the same rows, resumed one by one, weighed on rows that none has seen, stored as one."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import hjc
from hjc.classifiers import best as module
from hjc.classifiers.best import BestClassifier, left_out
from hjc.classifiers.embedding.settings import BestSettings, BiEncoderSettings
from hjc.classifiers.hybrid import HybridClassifier
from hjc.classifiers.linear_settings import LinearSettings
from hjc.data.jobdata import JobData
from hjc.nn.settings import NeuralSettings, TrainerSettings
from hjc.taxonomy import from_prefix_codes
from hjc.training.config import ConfigError, compose

TITLES = {"11": "cook", "12": "baker", "21": "nurse", "22": "doctor"}
TREE = from_prefix_codes(list(TITLES), [1, 2], titles={"en": TITLES})
WORDS = {"11": "cook kitchen", "12": "baker bread", "21": "nurse ward", "22": "doctor clinic"}
TRAINER = TrainerSettings(epochs=1, batch_size=16, loggers=[], threads=1, precision="32")


def rows(seed: int, count: int, source: str = "ads") -> JobData:
    random = np.random.default_rng(seed)
    codes = [list(WORDS)[i] for i in random.integers(0, 4, count)]
    texts = [f"{random.choice(WORDS[c].split())} {random.integers(0, 10**6)}" for c in codes]
    return JobData.from_lists(TREE, texts, codes, sources=[source] * count)


def tiny(**other: Any) -> BestSettings:
    small = {"tiny_hidden": 16, "tiny_layers": 1, "tiny_vocabulary": 300, "max_length": 8}
    return BestSettings(
        encoder="tiny",
        linear=LinearSettings(hierarchy="plt", min_df=1, features="word"),
        neural=NeuralSettings(hierarchy="bottomup", head_init="random", prune_vocabulary=False, **small),
        biencoder=BiEncoderSettings(prune_vocabulary=False, **small),
        **other,
    )


def test_rows_left_out_are_like_the_validation_rows_and_whole_groups() -> None:
    ads, names = rows(1, 100), rows(2, 40, "dictionary")
    train = JobData.concat([ads, names, ads.take(np.arange(20))])  # 20 ads twice
    held, kept = left_out(train, rows(3, 10), folds=2, share=0.2, seed=1)
    assert len(held) == 2 and not set(held[0]) & set(held[1])
    texts = np.array(train.texts, dtype=object)
    for out, inside in zip(held, kept, strict=True):
        assert len(set(texts[out])) == 20 and set(np.array(train.source)[out]) == {"ads"}
        assert not set(texts[out]) & set(texts[inside])
        assert len(out) + len(inside) == len(train)
    other, _ = left_out(train, rows(3, 10, "elsewhere"), folds=1, share=0.5, seed=1)
    assert {"ads", "dictionary"} == set(np.array(train.source)[other[0]])  # nothing is alike: of all rows


@pytest.mark.slow
def test_parts_are_trained_weighed_stored_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train, valid = rows(1, 160), rows(2, 60)
    made = BestClassifier(TREE, tiny(folds=2), TRAINER).fit(train, valid, run_dir=tmp_path)
    found = made.fit_result
    assert found.status == "finished" and found.parts[-1]["part"].startswith("whole without")
    lines = {line["part"]: line for line in found.parts}
    assert list(lines)[:4] == ["linear", "neural", "biencoder", "whole"]
    assert lines["whole"]["rows"] > len(valid)  # the rows that the folds left out weigh too
    assert lines["whole"]["log_loss"][-1] < lines["neural"]["log_loss"][-1]  # a random encoder has learnt nothing
    assert all(lines[name]["hours_per_million_rows"] > 0 for name in ("linear", "neural", "biencoder", "whole"))
    texts = ["cook", "", "nurse ward"]
    expected = made.predict_log_proba(texts)
    assert np.allclose(np.exp(expected).sum(1), 1, atol=1e-5)
    made.save_pretrained(tmp_path / "model")
    loaded = hjc.load(tmp_path / "model")
    assert isinstance(loaded, HybridClassifier) and list(loaded.named_parts) == ["linear", "neural", "biencoder"]
    assert np.array_equal(loaded.predict_log_proba(texts), expected)
    # the mean of the two linear models is the part
    both = [hjc.load(tmp_path / "checkpoints" / f"linear_{k}").leaf_log_proba(texts) for k in (0, 1)]
    mean = np.log((np.exp(both[0]) + np.exp(both[1])) / 2)
    assert np.allclose(loaded.named_parts["linear"].leaf_log_proba(texts), mean, atol=1e-4)

    def never(*_: Any) -> None:
        raise AssertionError("a part that is there is trained again")

    monkeypatch.setattr(module, "build", never)
    again = BestClassifier(TREE, tiny(folds=2), TRAINER).fit(train, valid, run_dir=tmp_path)
    assert np.array_equal(again.predict_log_proba(texts), expected)


@pytest.mark.slow
def test_a_killed_run_goes_on_behind_its_last_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train, valid = rows(1, 80), rows(2, 40)
    built: list[str] = []
    original = module.build

    def spy(taxonomy: Any, settings: Any, trainer: Any) -> Any:
        built.append(settings.name)
        if settings.name == "neural" and built.count("neural") == 1:
            raise KeyboardInterrupt
        return original(taxonomy, settings, trainer)

    monkeypatch.setattr(module, "build", spy)
    first = BestClassifier(TREE, tiny(parts=["linear", "neural"]), TRAINER)
    with pytest.raises(KeyboardInterrupt):
        first.fit(train, valid, run_dir=tmp_path)
    assert not first.is_fitted
    BestClassifier(TREE, tiny(parts=["linear", "neural"]), TRAINER).fit(train, valid, run_dir=tmp_path)
    assert built == ["linear", "neural", "neural"]
    # other rows: nothing of the old parts is taken
    BestClassifier(TREE, tiny(parts=["linear", "neural"]), TRAINER).fit(rows(5, 80), valid, run_dir=tmp_path)
    assert built == ["linear", "neural", "neural", "linear", "neural"]


@pytest.mark.slow
def test_one_command(tmp_path: Path) -> None:
    from hjc.training.workflow import run_training

    for name, data in (("train", rows(1, 120)), ("valid", rows(2, 40)), ("test", rows(3, 40))):
        pd.DataFrame({"text": data.texts, "code": data.codes}).to_csv(tmp_path / f"{name}.csv", index=False)
    pd.DataFrame({"code": ["1", "2", *TITLES], "parent": ["", "", "1", "1", "2", "2"]}).to_csv(tmp_path / "tree.csv")
    small = ["tiny_hidden=16", "tiny_layers=1", "tiny_vocabulary=300", "max_length=8", "prune_vocabulary=false"]
    files = [f"data.{name}=[{tmp_path / name}.csv]" for name in ("train", "valid", "test")]
    overrides = [
        "experiment=best", "encoder=tiny", "data=csv", *files, "taxonomy=csv", f"taxonomy.path={tmp_path / 'tree.csv'}",
        *(f"model.{part}.{setting}" for part in ("neural", "biencoder") for setting in small),
        "model.neural.head_init=random", "trainer.epochs=1", "trainer.field_dropout=0.1",
        "trainer.loggers=[]", "evaluation.bootstrap=0",
        "evaluation.report=false", f"run_dir={tmp_path / 'run'}",
    ]  # fmt: skip
    result = run_training(compose(overrides))
    assert result.status == "finished"
    table = pd.read_csv(tmp_path / "run" / "parts.csv")
    assert set(table["set"]) == {"weighing", "test"}
    test = table[(table["set"] == "test") & (table["level"] == 2)].set_index("part")
    assert set(test.index) == {"linear", "neural", "biencoder", "whole"}
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert test.loc["whole", "recall@1"] == pytest.approx(metrics["test/level_2/recall@1"], abs=1e-4)
    assert test.loc["whole", "log_loss"] == pytest.approx(metrics["test/level_2/log_loss"], abs=1e-4)
    assert test.loc["whole", "hours_per_million_rows"] > test["hours_per_million_rows"].drop("whole").max()
    assert not (tmp_path / "run" / "checkpoints").exists()
    assert isinstance(hjc.load(tmp_path / "run"), HybridClassifier)


def test_settings() -> None:
    settings = BestSettings(encoder="other", prefix="q: ")
    assert settings.of_part("neural").encoder == settings.of_part("biencoder").encoder == "other"
    assert settings.of_part("neural").prefix == "q: " and settings.of_part("linear").hierarchy == "plt"
    with pytest.raises(ValueError, match="two or three different parts"):
        BestSettings(parts=["linear", "linear"])
    with pytest.raises(ValueError, match=r"model\.folds: got 1"):
        BestSettings(folds=1)
    with pytest.raises(ValueError, match="to 1 / folds"):
        BestSettings(folds=4, fold_share=0.3)
    with pytest.raises(ConfigError, match="max_lenght"):
        compose(["experiment=best", "model.neural.max_lenght=3"])
    config = compose(["experiment=best", "model.encoder=/x", "model.neural.max_length=32", "seed=7"])
    assert config.model.of_part("neural").max_length == 32 and config.model.of_part("biencoder").encoder == "/x"
    assert config.model.linear.seed == 7
    shared = BestClassifier(TREE, BestSettings(folds=2), TrainerSettings(max_minutes=50))
    minutes = [shared._trainer(part).max_minutes for part in ("linear", "neural", "biencoder")]
    assert minutes == [0, 15, 10]  # of each of two folds


def test_no_validation_rows() -> None:
    with pytest.raises(ValueError, match="model=best weighs its parts on validation rows"):
        BestClassifier(TREE, tiny(), TRAINER).fit(rows(1, 20))
