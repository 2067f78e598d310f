"""trainer.auto: what is laid out fits the minutes, every last step is validated, a resumed run keeps its plan."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import hjc
from hjc.classifiers.embedding.biencoder import BiEncoderClassifier
from hjc.classifiers.embedding.settings import BiEncoderSettings
from hjc.classifiers.neural import NeuralClassifier
from hjc.data.jobdata import JobData
from hjc.nn import planning
from hjc.nn.planning import LENGTHS, SHARE, Work, lay_out, passes
from hjc.nn.settings import NeuralSettings, TrainerSettings
from hjc.taxonomy import from_prefix_codes

WORDS = {"11": "cook kitchen", "12": "baker bread", "21": "nurse ward", "22": "doctor clinic"}
TREE = from_prefix_codes(list(WORDS), [1, 2], titles={"en": {c: w.split()[0] for c, w in WORDS.items()}})
AUTO = TrainerSettings(auto=True, batch_size=8, loggers=[], threads=1, precision="32")
SMALL = {"tiny_hidden": 16, "tiny_layers": 1, "tiny_vocabulary": 300, "prune_vocabulary": False}


def rows(seed: int, count: int, length: int = 1) -> JobData:
    random = np.random.default_rng(seed)
    codes = [list(WORDS)[i] for i in random.integers(0, 4, count)]
    return JobData.from_lists(TREE, [" ".join(random.choice(WORDS[c].split(), length)) for c in codes], codes)


@given(
    count=st.integers(1, 40_000), minutes=st.floats(0.01, 300), rate=st.floats(10, 1e6), accumulate=st.integers(1, 4),
    looks=st.integers(1, 4), longest=st.sampled_from([32, 100, 512]), seed=st.integers(0, 9),
)  # fmt: skip
def test_what_is_laid_out_fits_and_ends_with_a_validation(
    count: int, minutes: float, rate: float, accumulate: int, looks: int, longest: int, seed: int
) -> None:
    settings = replace(AUTO, max_minutes=minutes, accumulate=accumulate, validate_per_epoch=looks)
    tokens = np.random.default_rng(seed).integers(3, 600, count)
    work = Work(tokens, tokens[:50], -(-count // settings.batch_size), 384)
    lengths = [n for n in LENGTHS if n < longest] + [longest]
    plan = lay_out(work, settings, lengths, rate)
    assert plan.max_length in lengths
    per_pass = -(-work.per_epoch // accumulate)
    assert 1 <= plan.max_steps <= passes(count) * per_pass and plan.epochs == -(-plan.max_steps // per_pass)
    # a step gathers no more batches than an epoch has
    own = np.minimum(tokens, plan.max_length).sum() / work.per_epoch * min(accumulate, work.per_epoch) / rate
    # one step is the least there is; so is one validation at each of the looks
    assert (
        plan.max_steps <= accumulate * looks or plan.max_steps * own <= 60 * minutes * SHARE * 1.01 + accumulate * own
    )
    # Lightning validates after every look_every batches: the last step must be such a one
    batches = sum(min(accumulate, work.per_epoch - i) for i in range(0, work.per_epoch, accumulate))
    whole, rest = divmod(plan.max_steps, per_pass)
    assert (whole * batches + rest * accumulate) % plan.look_every == 0 or accumulate > 1


def test_longer_texts_where_there_is_time() -> None:
    tokens = np.full(10_000, 300)
    work, lengths = Work(tokens, tokens[:0], 1250, 384), [*LENGTHS[:-1], 512]
    chosen = [lay_out(work, replace(AUTO, max_minutes=m), lengths, 5000.0) for m in (3, 10, 60, 600)]
    assert [plan.max_length for plan in chosen] == sorted(plan.max_length for plan in chosen)
    assert chosen[0].max_length < 64 and chosen[-1].max_length == 384  # no text is longer than 300
    assert chosen[-1].epochs == passes(10_000) and chosen[0].learning_rate >= chosen[-1].learning_rate
    wide = lay_out(replace(work, width=1024), AUTO, lengths, 0.0)
    assert 1e-5 < wide.learning_rate < 3e-5 and wide.max_length == 384  # without a limit of minutes


@pytest.mark.slow
def test_a_run_by_plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    timed: list[Any] = []
    monkeypatch.setattr(planning, "time_steps", lambda *a: timed.append(a) or 100.0)
    train, valid = rows(1, 80, length=12), rows(2, 24, length=12)
    settings = NeuralSettings(encoder="tiny", head_init="random", max_length=64, **SMALL)
    trainer = replace(AUTO, max_minutes=1.0, head_learning_rate=9.0)
    made = NeuralClassifier(TREE, settings, trainer).fit(train, valid, run_dir=tmp_path)
    found, plan = made.fit_result, json.loads((tmp_path / "plan.json").read_text())
    assert len(timed) == 1 and found.status == "finished" and found.steps == plan["max_steps"]
    assert found.plan["learning_rate"] == plan["learning_rate"] and found.best_valid_log_loss is not None
    assert made.settings.max_length == plan["max_length"] <= 32  # the texts have some 14 tokens
    made.save_pretrained(tmp_path / "model")
    assert hjc.load(tmp_path / "model").parameters["max_length"] == plan["max_length"]
    monkeypatch.setattr(planning, "time_steps", lambda *_: pytest.fail("a resumed run plans again"))
    NeuralClassifier(TREE, settings, trainer).fit(train, valid, run_dir=tmp_path)


@pytest.mark.slow
def test_timing_leaves_no_trace(tmp_path: Path) -> None:
    """Steps are timed and forgotten: the same weights as a run that was told the same plan."""
    train = rows(1, 40)
    settings = NeuralSettings(encoder="tiny", head_init="random", max_length=8, **SMALL)
    made = NeuralClassifier(TREE, settings, replace(AUTO, max_minutes=0.05)).fit(train, run_dir=tmp_path / "a")
    plan = made.fit_result.plan
    assert plan["tokens_per_second"] > 0
    told = {k: plan[k] for k in ("epochs", "max_steps", "warmup_steps", "learning_rate", "head_learning_rate")}
    other = NeuralClassifier(TREE, settings, replace(AUTO, auto=False, **told)).fit(train, run_dir=tmp_path / "b")
    if made.fit_result.status == other.fit_result.status == "finished":  # a stopped machine may end the first in time
        assert np.array_equal(made.predict_log_proba(["cook", "ward"]), other.predict_log_proba(["cook", "ward"]))


@pytest.mark.slow
def test_a_bi_encoder_by_plan(tmp_path: Path) -> None:
    settings = BiEncoderSettings(encoder="tiny", max_length=8, label_mode="title", **SMALL)
    made = BiEncoderClassifier(TREE, settings, replace(AUTO, max_minutes=0.05)).fit(rows(1, 40), rows(2, 20))
    assert made.fit_result.plan["max_steps"] >= made.fit_result.steps > 0
    assert made.settings.max_length == 8


def test_one_process(tmp_path: Path) -> None:
    settings = NeuralSettings(encoder="tiny", head_init="random", max_length=8, **SMALL)
    with pytest.raises(ValueError, match=r"trainer\.devices=2"):
        NeuralClassifier(TREE, settings, replace(AUTO, devices=2)).fit(rows(1, 20))
