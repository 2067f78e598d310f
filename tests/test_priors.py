"""Logit adjustment: the training prior as an offset of the scores, against plain formulas."""

import numpy as np
import pytest
import torch

import hjc
from hjc.classifiers.neural import NeuralClassifier
from hjc.data import JobData
from hjc.nn.heads import build_head
from hjc.nn.priors import conditional_log_prior, offset_of
from hjc.nn.settings import HIERARCHIES

from .test_neural import settings, toy_data, toy_tree, trainer

CODES = ["11", "11", "11", "12", "21", "2", "4", "4"]


def gold_and_weight(tree):
    gold = np.array([tree.codes.index(code) for code in CODES])
    return gold, np.array([1, 1, 1, 2, 1, 1, 0.5, 0.5])


def test_the_prior_is_counts_of_siblings_plus_one():
    tree = toy_tree()
    prior = np.exp(conditional_log_prior(tree, *gold_and_weight(tree)))
    found = dict(zip(tree.codes, prior.tolist(), strict=True))
    # majors: 1 has 5, 2 has 2 (one row is coded to 2 itself), 3 none, 4 (a leaf of level 1) has 1
    assert [found[c] for c in "1234"] == pytest.approx([6 / 12, 3 / 12, 1 / 12, 2 / 12])
    assert [found[c] for c in ("11", "12", "13")] == pytest.approx([4 / 8, 3 / 8, 1 / 8])
    assert [found[c] for c in ("21", "22", "31")] == pytest.approx([2 / 3, 1 / 3, 1])


@pytest.mark.parametrize("hierarchy", HIERARCHIES)
def test_without_evidence_the_prior_is_what_is_predicted_or_nothing(hierarchy):
    tree = toy_tree()
    conditional = conditional_log_prior(tree, *gold_and_weight(tree))
    leaf_prior = np.exp([sum(conditional[n] for n in set(tree.node_path[leaf]) if n >= 0) for leaf in tree.leaves])
    assert leaf_prior.sum() == pytest.approx(1)
    features, gold = torch.zeros(1, 4), torch.tensor([tree.leaves[2]])
    for kept in (True, False):
        head = build_head(hierarchy, tree, 4)
        before = head(features)
        head.add_offset(in_prediction=kept)
        head.offset = offset_of(head, tree, conditional, 1.0)
        proba = head(features).exp()[0].detach().numpy()
        expected = leaf_prior if kept else before.exp()[0].detach().numpy()
        np.testing.assert_allclose(proba, expected, atol=1e-6)
        # the loss always has it, for one code and for several
        assert head.loss(features, gold).item() == pytest.approx(-np.log(leaf_prior[2]), abs=1e-5)
        several = torch.full((1, tree.num_leaves), -torch.inf)
        several[0, [0, 2]] = 0.0
        found = head.loss_of_sets(features, several).item()
        assert found == pytest.approx(-np.log(leaf_prior[0] + leaf_prior[2]), abs=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("hierarchy", HIERARCHIES)
def test_a_model_with_a_prior_is_stored_with_it(hierarchy, tmp_path):
    tree = toy_tree()
    data = toy_data(tree, 4)
    data = JobData.concat([data, *[data.take([0])] * 40])  # the first code is frequent
    found = []
    for kept in (True, False):
        model = settings(hierarchy=hierarchy, logit_adjustment=1.0, prior_in_prediction=kept)
        fitted = NeuralClassifier(tree, model, trainer(epochs=1)).fit(data)
        fitted.save_pretrained(tmp_path / str(kept))
        again = hjc.load(tmp_path / str(kept))
        found.append(again.predict_log_proba(["kilo lima"]))
        np.testing.assert_allclose(found[-1], fitted.predict_log_proba(["kilo lima"]), atol=1e-6)
    assert found[0][0, 0] > found[1][0, 0]  # the frequent code


def test_wrong_strengths_are_refused():
    with pytest.raises(ValueError, match=r"model\.logit_adjustment: got -1"):
        settings(logit_adjustment=-1)
