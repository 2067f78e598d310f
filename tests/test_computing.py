"""Devices, precision, and equal texts: what changes how fast a loaded model computes, not what it says."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from typer.testing import CliRunner

import hjc
from hjc.classifiers.neural import NeuralClassifier
from hjc.cli import app
from hjc.nn.network import Network
from hjc.nn.tokens import Distinct

from .stub_classifier import StubClassifier
from .test_neural import settings, toy_data, toy_tree, trainer


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    tree = toy_tree()
    model = NeuralClassifier(tree, settings(), trainer(epochs=2)).fit(toy_data(tree), toy_data(tree, 3, 1))
    folder = tmp_path_factory.mktemp("model") / "run"
    model.save_pretrained(folder)
    return folder


@hypothesis_settings(max_examples=50, deadline=None)
@given(st.lists(st.sampled_from("abcde"), max_size=40), st.data())
def test_equal_texts_are_one_and_every_row_comes_once(texts, data):
    distinct = Distinct(texts)
    assert sorted(distinct.texts) == sorted(set(texts)) and [distinct.texts[i] for i in distinct.number] == texts
    order = data.draw(st.permutations(range(len(distinct.texts))))
    found = {}
    for which in (order[:2], order[2:]):
        for rows, values in distinct.spread(np.array(which, np.int64), np.array(distinct.texts, object)[list(which)]):
            assert not found.keys() & set(rows.tolist())
            found |= dict(zip(rows.tolist(), values, strict=True))
    assert [found[i] for i in range(len(texts))] == texts


@pytest.mark.slow
def test_equal_texts_go_through_the_model_once(directory, monkeypatch):
    model, seen = hjc.load(directory), []
    forward = Network.forward

    def spy(self, input_ids, *args, **kwargs):
        seen.append(len(input_ids))
        return forward(self, input_ids, *args, **kwargs)

    monkeypatch.setattr(Network, "forward", spy)
    found = model.predict_log_proba(["alpha golf", "bravo"] * 700 + ["kilo"])
    assert sum(seen) == 3 and len(found) == 1401
    assert (found[:1400:2] == found[0]).all() and (found[1:1400:2] == found[1]).all()
    np.testing.assert_allclose(found[[0, 1, 1400]], model.predict_log_proba(["alpha golf", "bravo", "kilo"]), atol=1e-5)


@pytest.mark.slow
def test_bfloat16_is_near_float32_which_stays_exact(directory):
    model, texts = hjc.load(directory), list(toy_data(toy_tree(), 10, 5).texts)
    exact = model.predict_log_proba(texts)
    vectors = model.vectors(texts)
    near = model.compute_on(precision="bf16").predict_log_proba(texts)
    apart = np.abs(model.vectors(texts) - vectors).max()
    assert 0 < apart < 0.05 * np.abs(vectors).max()
    assert not np.array_equal(near, exact)
    assert np.abs(np.exp(near) - np.exp(exact)).max() < 0.05
    assert (near.argmax(1) == exact.argmax(1)).mean() > 0.98
    assert np.array_equal(model.compute_on("cpu", "32").predict_log_proba(texts), exact)
    automatic = hjc.load(directory).compute_on(precision="auto")
    assert automatic.bfloat16 == hjc.nn.devices.computes_in_bfloat16()
    assert np.array_equal(automatic.compute_on().predict_log_proba(texts), near if automatic.bfloat16 else exact)


@pytest.mark.slow
def test_wrong_devices_and_precisions_are_one_message(directory, tmp_path):
    model = hjc.load(directory)
    with pytest.raises(ValueError, match="precision: got '16'"):
        model.compute_on(precision="16")
    with pytest.raises(ValueError, match=r"device: got 'tpu0'.*use auto or cpu"):
        model.compute_on("tpu0")
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match=r"device: got 'cuda'.*use auto or cpu"):
            model.to("cuda")
    with pytest.raises(ValueError, match="StubClassifier computes on the CPU"):
        StubClassifier(toy_tree()).compute_on("cuda")
    assert not StubClassifier(toy_tree()).compute_on("cpu", "auto").has_network
    (tmp_path / "in.csv").write_text("text\nalpha golf\nbravo\n", "utf-8")

    def predict(*options):
        return CliRunner().invoke(app, ["predict", str(directory), str(tmp_path / "in.csv"), "-t", "text", *options])

    assert predict("--precision", "bf16", "--device", "cpu").exit_code == 0
    wrong = predict("--precision", "half")
    assert wrong.exit_code == 2 and "--precision: got 'half'" in wrong.output
    assert predict("--device", "tpu0").exit_code == 2


def test_waiting_threads_do_not_spin_unless_they_are_told_to():
    def spins(**environment):
        code = "import hjc, os; print(os.environ.get('GOMP_SPINCOUNT'))"
        kept = {k: v for k, v in os.environ.items() if k not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
        found = subprocess.run([sys.executable, "-c", code], env=kept | environment, capture_output=True, text=True)
        return found.stdout.strip()

    assert spins() == "1000"
    assert spins(GOMP_SPINCOUNT="7") == "7"
    assert spins(OMP_WAIT_POLICY="active") == "None"
