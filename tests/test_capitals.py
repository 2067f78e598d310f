"""Titles in capitals are read in small letters by encoders; older models read them as they did."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import hjc
from hjc.nn.tokens import clean, lower_capitals


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("DIRECTORES DE CALIDAD, EN GENERAL", "directores de calidad, en general"),
        ("KIEROWCA C+E\nFirma TRANS szuka", "kierowca c+e\nFirma trans szuka"),
        ("Vecais galvenais ZEMESSARGS", "Vecais galvenais zemessargs"),
        ("HR Manager, SAP and HACCP", "HR Manager, SAP and haccp"),
        ("IT", "IT"),
        ("Nurse", "Nurse"),
        ("\u0130STANBUL A\u015eI", "\u0130stanbul a\u015fi"),
        ("", ""),
    ],
)
def test_capitals(text, read):
    assert lower_capitals(text) == read


@given(st.text(max_size=60))
def test_every_character_stays_in_its_place(text):
    read = lower_capitals(text)
    assert len(read) == len(text) and lower_capitals(read) == read
    assert all(a == b or a.lower() == b for a, b in zip(text, read, strict=True))
    assert clean(text, 8, "lower") == " ".join(read.split())


def test_texts_and_labels_of_an_embedding_model():
    from hjc.classifiers.embedding.prototype import PrototypeClassifier
    from hjc.classifiers.embedding.settings import PrototypeSettings
    from hjc.data.jobdata import JobData
    from tests.test_explain_neural import TREE

    small = {"encoder": "tiny", "tiny_hidden": 16, "tiny_layers": 1, "tiny_vocabulary": 300, "prototype": "average"}
    leaves = [TREE.codes[node] for node in TREE.leaves]
    rows = JobData.from_lists(TREE, [f"golf {code} hotel alpha" for code in leaves], leaves)
    model = PrototypeClassifier(TREE, PrototypeSettings(**small)).fit(rows)
    small_letters, capitals = model.leaf_log_proba(["golf hotel alpha"]), model.leaf_log_proba(["GOLF HOTEL ALPHA"])
    assert np.array_equal(small_letters, capitals)


def test_a_model_reads_titles_in_capitals_alike(tmp_path):
    from hjc.classifiers.neural import NeuralClassifier
    from tests.test_explain_neural import TREE, settings, toy_data, trainer

    model = NeuralClassifier(TREE, settings(), trainer()).fit(toy_data(TREE))
    words = ["golf alpha hotel", "juliet india"]
    shouted = [w.upper() for w in words]
    assert model.settings.capitals == "lower"
    assert np.array_equal(model.leaf_log_proba(shouted), model.leaf_log_proba(words))
    model.save_pretrained(tmp_path)
    assert np.array_equal(hjc.load(tmp_path).leaf_log_proba(shouted), model.leaf_log_proba(words))
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["parameters"]["capitals"] == "lower"
