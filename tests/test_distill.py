"""Students: fitted to a teacher's probabilities, near it on other texts, stored and read again; what is refused."""

import json
import math
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import hjc
from hjc.calibration import Temperature
from hjc.classifiers.derived import write_calibration
from hjc.classifiers.distill import distill
from hjc.classifiers.linear import LinearClassifier
from hjc.classifiers.static import StaticClassifier, StaticSettings
from hjc.classifiers.static_texts import UnitReader
from hjc.classifiers.words import normalise, tokens
from hjc.cli import app
from hjc.errors import ModelDirError, NotFittedError
from hjc.nn.distilling import SoftTargets, StaticNetwork, soft_loss
from hjc.nn.units import sums_of

from .test_export import TEXTS, made
from .test_neural import WORDS, toy_data, toy_tree

SMALL = StaticSettings(buckets=5000, width=16)


def corpus(n: int = 2500, seed: int = 3) -> list[str]:
    random = np.random.default_rng(seed)
    return [" ".join(WORDS[j] for j in random.integers(0, len(WORDS), random.integers(2, 5))) for _ in range(n)]


@pytest.fixture(scope="module")
def teacher() -> LinearClassifier:
    tree = toy_tree()
    return LinearClassifier(tree, min_df=1).fit(toy_data(tree))


@pytest.fixture(scope="module")
def student(teacher):
    said: list[str] = []
    found = distill(teacher, corpus(), epochs=8, settings=SMALL, told=said.append)
    return found, said


def test_a_static_student_is_near_its_teacher(teacher, student):
    found, said = student
    assert isinstance(found.student, StaticClassifier)
    assert found.held_out == int(0.05 * len(set(corpus()))) and found.texts > 1500
    assert said[0].startswith("pass 1 of 8") and len(said) == 8
    assert all(share > 0.85 for share in found.agreement) and 0 <= found.divergence < 0.1
    others = corpus(200, seed=8)
    p, q = (m.predict_proba(others) for m in (teacher, found.student))
    assert (p.argmax(1) == q.argmax(1)).mean() > 0.9
    np.testing.assert_allclose(q.sum(1), 1, atol=1e-5)
    assert "fitted to" in str(found) and "texts a second" in str(found)


def test_it_is_stored_and_read_again(student, tmp_path):
    model = student[0].student
    model.save_pretrained(tmp_path / "student")
    again = hjc.load(tmp_path / "student")
    assert isinstance(again, StaticClassifier)
    texts = [*TEXTS, "ÄRZTIN 看護師", "\ud800"]
    np.testing.assert_array_equal(again.predict_log_proba(texts), model.predict_log_proba(texts))
    vectors = again.text_vectors(TEXTS).rows
    assert np.isclose(np.linalg.norm(vectors, axis=1), [1, 1, 0, 1, 1]).all()  # an empty text has none
    config = json.loads((tmp_path / "student" / "config.json").read_text())
    config["parameters"]["width"] = 8
    config.pop("content_sha256")
    (tmp_path / "student" / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelDirError, match="does not say"):
        hjc.load(tmp_path / "student")


def plain_hash(characters: str) -> int:
    """The polynomial of the code points, most significant first, modulo 2^64."""
    value = 0
    for character in characters:
        value = (value * 0x9E3779B97F4A7C15 + ord(character) + 1) % 2**64
    return value


def plain_bucket(value: int, buckets: int) -> int:
    for factor in (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53):
        value = (value ^ (value >> 33)) * factor % 2**64
    return (value ^ (value >> 33)) % buckets


def plain_buckets(unit: str, buckets: int) -> list[int]:
    """Of a word or of two."""
    whole = [plain_hash(f" {word} ") * 0x9E3779B97F4A7C15 % 2**64 for word in unit.split(" ")]
    if len(whole) == 2:
        return [plain_bucket((whole[0] * 0x9E3779B97F4A7C15**2 + whole[1]) % 2**64, buckets)]
    framed = f" {unit} "
    grams = [(i, n) for i in range(len(framed)) for n in (3, 4, 5) if i + n <= len(framed)]
    return [plain_bucket(whole[0], buckets)] + [
        plain_bucket((plain_hash(framed[i : i + n]) + n) % 2**64, buckets) for i, n in grams
    ]


@pytest.mark.parametrize("share", [0.0, 0.25])
def test_arrays_hold_what_the_plain_formula_says(share):
    texts = ["Night nurse\nnurse of the night", "", "a", "Ärztin 看護師", "cook", "??\nnight nurse nurse"]
    found = UnitReader(9973, share)(texts)
    assert len(found) == 6 and found.starts[1] == found.starts[2]
    for row, text in enumerate(texts):
        title = tokens(normalise(text.split("\n")[0])) if share and "\n" in text else []
        expected: Counter[tuple[int, ...]] = Counter()
        weight = share if title else 0.0
        for words, part in ((tokens(normalise(text)), 1 - weight), (title, weight)):
            units = [*words, *(f"{words[i]} {words[i + 1]}" for i in range(len(words) - 1))]
            for unit in units:
                expected[tuple(sorted(plain_buckets(unit, 9973)))] += part / len(units)
        got: Counter[tuple[int, ...]] = Counter()
        for place in range(found.starts[row], found.starts[row + 1]):
            unit = found.units[place]
            own = found.buckets[found.ends[unit] : found.ends[unit + 1]]
            got[tuple(sorted(own.tolist()))] += float(found.weights[place])
        assert {k: v for k, v in expected.items() if v} == pytest.approx(dict(got), rel=1e-5)
    assert np.isclose(sum(found.weights), 5)


def test_numpy_computes_what_the_network_did():
    texts = ["Night nurse\nnurse of the night", "", "cook", "night nurse"]
    model = StaticClassifier(toy_tree(), StaticSettings(buckets=97, width=6, title_share=0.25))
    units = model.reader(texts)
    network = StaticNetwork(97, 6, 4, seed=2)
    torch.nn.init.normal_(network.head.weight)
    model.vectors = np.rint(network.table.weight.detach().numpy() * 100).astype(np.int8)
    model.scales = np.full((97, 1), 0.01, np.float32)
    rows = np.array([3, 0, 1])
    with torch.no_grad():
        network.table.weight.copy_(torch.from_numpy(model.vectors * model.scales))
        found = network(*(torch.from_numpy(a) for a in units.batch(rows)), rows=3)
        vectors = torch.from_numpy(model.text_units(units))
        own = torch.log_softmax(vectors @ network.head.weight.T + network.head.bias, 1)
    torch.testing.assert_close(found, own[rows])


def test_sums_of_rows():
    random = np.random.default_rng(0)
    table, sizes = random.normal(size=(50, 3)).astype(np.float32), random.integers(0, 900, 12) * (np.arange(12) % 3 > 0)
    rows, weights = random.integers(0, 50, sizes.sum()), random.random(sizes.sum()).astype(np.float32)
    starts = np.concatenate([[0], np.cumsum(sizes)])
    for given in (None, weights):
        expected = [
            (table[rows[a:b]] * (1 if given is None else given[a:b, None])).sum(0) for a, b in pairwise(starts.tolist())
        ]
        np.testing.assert_allclose(sums_of(table, rows, starts, given), np.array(expected), rtol=1e-3, atol=1e-3)
    assert sums_of(table, rows[:0], np.zeros(1, np.int64)).shape == (0, 3)


def test_the_loss_is_least_for_the_teacher():
    p = np.random.default_rng(0).dirichlet(np.ones(6), 5).astype(np.float32)
    targets = SoftTargets.of(np.log(p), 6)
    np.testing.assert_allclose(targets.proba.sum(1), 1, rtol=1e-6)
    leaves, proba = targets.tensors(np.arange(5))
    own = float(soft_loss(torch.log(torch.from_numpy(p)), leaves, proba))
    assert math.isclose(own, float(-(p * np.log(p)).sum(1).mean()), rel_tol=1e-5)
    assert float(soft_loss(torch.log(torch.full((5, 6), 1 / 6)), leaves, proba)) > own
    few = SoftTargets.of(np.log(p), 2)
    assert (np.sort(few.leaves, 1) == np.sort(np.argsort(-p, 1)[:, :2], 1)).all()


@pytest.mark.slow
def test_the_first_layers_learn_what_all_say(tmp_path):
    made(tmp_path / "run", tiny_layers=3, title_share=0.3, windows=2)
    source = hjc.load(tmp_path / "run")
    found = distill(source, corpus(600), layers=1, epochs=10)
    assert found.agreement[0] > 0.6
    found.student.save_pretrained(tmp_path / "student")
    model = hjc.load(tmp_path / "student")
    np.testing.assert_allclose(model.predict_proba(TEXTS), found.student.predict_proba(TEXTS), atol=1e-6)
    assert model.parameters["num_layers"] == 1 and len(source.network.encoder.encoder.layer) == 3
    with pytest.raises(ValueError, match="allowed are integers from 1 to 2"):
        distill(source, corpus(), layers=3)


def test_what_cannot_be_learnt_is_said(teacher):
    with pytest.raises(ValueError, match="got 2 different texts"):
        distill(teacher, ["a", "b", "a", " "] * 20)
    with pytest.raises(ValueError, match="neural teacher, this one is a linear model"):
        distill(teacher, corpus(), layers=2)
    with pytest.raises(ValueError, match="epochs"):
        distill(teacher, corpus(), epochs=0)
    with pytest.raises(NotFittedError):
        distill(LinearClassifier(toy_tree()), corpus())
    with pytest.raises(ValueError, match=r"model\.hierarchy"):
        StaticSettings(hierarchy="topdown")


def test_the_command_learns_what_is_calibrated(teacher, tmp_path):
    run, out = tmp_path / "run", tmp_path / "student"
    teacher.save_pretrained(run)
    write_calibration(run, Temperature(teacher.taxonomy, 3.0))
    rows = corpus(900)
    (tmp_path / "texts.csv").write_text("job\n" + "\n".join([*rows, '""', rows[0]]) + "\n")
    given = ["distill", str(run), str(tmp_path / "texts.csv"), "-o", str(out), "--width", "96"]
    given += ["-t", "job", "--epochs", "8"]
    result = CliRunner().invoke(app, given)
    assert result.exit_code == 0, result.output
    assert "different texts of 902 rows; 1 have none" in result.stderr and "fitted to" in result.stderr
    model = hjc.load(out)
    assert model.calibrator is not None and model.recipe.columns == ("job",) and model.settings.width == 96
    soft = hjc.load(run).calibrated().predict_proba(rows)
    assert np.abs(model.calibrated().predict_proba(rows) - soft).mean() < 0.03
    assert np.abs(teacher.predict_proba(rows) - soft).mean() > 0.05  # which is not what it has learnt
    again = CliRunner().invoke(app, given)
    assert again.exit_code == 2 and "no empty folder" in again.stderr
    both = CliRunner().invoke(app, [*given, "--layers", "1"])
    assert both.exit_code == 2 and "--width is for a static student" in both.stderr
    given[given.index(str(out))] = str(tmp_path / "other")
    missing = CliRunner().invoke(app, [*given[:-4], "-t", "nothing"])
    assert missing.exit_code == 2 and "no column 'nothing'" in missing.stderr
    assert not Path(tmp_path / "other").exists()
