"""The joint space: every term against loops, gradients, the ablation, coherence on any tree, stored and loaded."""

import copy
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import hjc
from hjc.calibration.conditionals import sum_paths
from hjc.classifiers.embedding import joint
from hjc.classifiers.embedding.joint import (
    JointEmbeddingClassifier,
    drawing,
    levelled,
    title_graph,
    triplet_samplers,
)
from hjc.classifiers.embedding.settings import USE, JointSettings
from hjc.classifiers.storage import ModelDirError
from hjc.classifiers.treemath import group_log_softmax
from hjc.data import TextRecipe
from hjc.data.jobdata import JobData
from hjc.errors import TaxonomyError
from hjc.index import normalise
from hjc.nn.settings import TrainerSettings
from hjc.nn.spaces import JointSpace, triplet_loss
from hjc.taxonomy import Taxonomy, from_edges
from hjc.taxonomy.graph.category_graph import CategoryGraph
from tests.damage import edit_config
from tests.strategies import taxonomies
from tests.toy_space import PARENTS, TITLES, ToyEncoder, rows, tree

TREE = tree()
HIERARCHIES = ("pathsum", "topdown")


@pytest.fixture
def toy_encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(joint, "load_pretrained", lambda *_, **__: ToyEncoder())


def classifier(
    taxonomy: Taxonomy = TREE, trainer: dict[str, Any] | None = None, **model: Any
) -> JointEmbeddingClassifier:
    chosen = {"epochs": 20, "batch_size": 16, "warmup_steps": 2, "head_learning_rate": 0.02, "loggers": []}
    model = {"triplets": 64, **model}
    return JointEmbeddingClassifier(taxonomy, JointSettings(**model), TrainerSettings(**{**chosen, **(trainer or {})}))


def space(**options: Any) -> JointSpace:
    generator = np.random.default_rng(3)
    return JointSpace(TREE, generator.normal(size=(len(TREE), 5)).astype(np.float32), **options)


def texts(n: int = 11) -> torch.Tensor:
    return torch.randn(n, 5, generator=torch.Generator().manual_seed(1))


# ------------------------------------------------------------------ the loss, term by term


@pytest.mark.parametrize("hierarchy", HIERARCHIES)
@pytest.mark.parametrize("projection", [False, True])
def test_classification_against_loops(hierarchy: str, projection: bool) -> None:
    model = space(hierarchy=hierarchy, scale=3.0, level_scale=7.0, weights=(1.5, 0.0, 0.0), projection=projection)
    with torch.no_grad():
        model.log_scale += torch.tensor([0.1, -0.2, 0.3])  # levels may weigh differently
        model.log_level_scale += torch.tensor([0.2, 0.0, -0.4])
        if model.change is not None:
            model.change += torch.randn(5, 5, generator=torch.Generator().manual_seed(2))
    x, gold = texts(), torch.arange(len(TREE))  # a row for every node, inner ones too
    losses = model.loss(x, gold)
    placed = x if model.projection is None else torch.stack([model.projection @ row for row in x])
    for row, vector in enumerate(placed):
        cosine = [torch.cosine_similarity(vector, node, dim=0) for node in model.nodes]
        score = [model.log_scale[TREE.level[n] - 1].exp() * cosine[n] for n in range(len(TREE))]
        leaf_log_proba = []
        for leaf in TREE.leaves.tolist():
            path = list(dict.fromkeys(TREE.node_path[leaf].tolist()))
            if hierarchy == "pathsum":
                leaf_log_proba.append(sum(score[n] for n in path))
            else:
                parts = []
                for n in path:
                    siblings = [m for m in range(len(TREE)) if TREE.parents[m] == TREE.parents[n]]
                    parts.append(score[n] - torch.stack([score[m] for m in siblings]).logsumexp(0))
                leaf_log_proba.append(sum(parts))
        together = torch.stack(leaf_log_proba).log_softmax(0)  # of a topdown model it changes nothing
        torch.testing.assert_close(model(x[row : row + 1])[0], together, atol=1e-5, rtol=1e-4)
        start, stop = TREE.leaf_slice[row].tolist()
        expected = -together[start:stop].logsumexp(0)
        for d in range(1, TREE.depth + 1):
            at = TREE.node_path[row, d - 1]
            if at >= 0:
                columns = TREE.level_nodes(d).tolist()
                logits = torch.stack([model.log_level_scale[d - 1].exp() * cosine[n] for n in columns])
                expected = expected - logits.log_softmax(0)[columns.index(at)]
        torch.testing.assert_close(losses[row], 1.5 * expected, atol=1e-4, rtol=1e-4)


def test_triplet_loss_and_its_gradient_against_a_loop() -> None:
    generator = torch.Generator().manual_seed(4)
    start = torch.randn(9, 4, generator=generator)
    triplets = torch.randint(9, (30, 3), generator=generator)
    a, b = start.clone().requires_grad_(), start.clone().requires_grad_()
    found = triplet_loss(a, triplets, 0.3)
    expected = torch.zeros(())
    for i, near, far in triplets.tolist():
        gap = torch.cosine_similarity(b[i], b[near], dim=0) - torch.cosine_similarity(b[i], b[far], dim=0)
        expected = expected + torch.clamp(0.3 - gap, min=0) / 30
    torch.testing.assert_close(found, expected)
    found.backward()
    expected.backward()
    torch.testing.assert_close(a.grad, b.grad, atol=1e-5, rtol=1e-4)


def fixed(*triplet: int) -> Any:
    return lambda size, rng: np.tile(np.array(triplet), (size, 1))


def test_weights_switch_terms_on_and_off() -> None:
    """Each triplet term moves its own nodes, with its own weight, and a term of weight 0 is never drawn."""

    def refuse(size: int, rng: np.random.Generator) -> np.ndarray:
        raise AssertionError("a term that is switched off was computed")

    x, gold = texts(4), torch.tensor([0, 3, 5, 8])
    plain = space(weights=(1.0, 0.0, 0.0), draws=(refuse, refuse))
    both = space(weights=(1.0, 0.5, 0.25), draws=(fixed(0, 1, 2), fixed(3, 4, 5)), triplets=7, margin=2.0)
    first, second = plain.loss(x, gold), both.loss(x, gold)
    terms = [triplet_loss(both.nodes, torch.tensor([t]), 2.0) for t in ((0, 1, 2), (3, 4, 5))]
    torch.testing.assert_close(second - first, (0.5 * terms[0] + 0.25 * terms[1]).expand(4))
    first.mean().backward()
    second.mean().backward()
    change = (both.nodes.grad - plain.nodes.grad).abs().sum(1)
    assert (change[:6] > 0).all() and torch.allclose(change[6:], torch.zeros(len(TREE) - 6), atol=1e-6)
    missing = space(weights=(1.0, 1.0, 1.0), draws=(None, None))  # a tree or graph without triplets
    torch.testing.assert_close(missing.loss(x, gold), plain.loss(x, gold))


def test_triplets_follow_the_step_and_not_the_call() -> None:
    seen: list[int] = []

    def draw(size: int, rng: np.random.Generator) -> np.ndarray:
        seen.append(int(rng.integers(1 << 40)))
        return np.array([[0, 1, 2]])

    model = space(weights=(1.0, 1.0, 0.0), draws=(draw, None))
    x, gold = texts(2), torch.tensor([4, 5])
    for _ in range(3):
        model.loss(x, gold)
    resumed = space(weights=(1.0, 1.0, 0.0), draws=(draw, None))
    resumed.load_state_dict({**resumed.state_dict(), "step": torch.tensor(2)})
    resumed.loss(x, gold)
    assert len(set(seen[:3])) == 3 and seen[3] == seen[2]
    copied = copy.deepcopy(model)  # as a moving average of the weights does
    assert copied.draws[0] is model.draws[0]


# ------------------------------------------------------------------ any tree


@given(taxonomies(max_nodes=15), st.integers(0, 10_000), st.sampled_from(HIERARCHIES))
@settings(max_examples=25)
def test_numpy_and_torch_agree_and_are_coherent_on_any_tree(taxonomy: Taxonomy, seed: int, hierarchy: str) -> None:
    rng = np.random.default_rng(seed)
    nodes = rng.normal(size=(len(taxonomy), 4)).astype(np.float32)
    model = JointSpace(taxonomy, nodes, hierarchy=hierarchy, scale=4.0)
    x = rng.normal(size=(3, 4)).astype(np.float32)
    with torch.no_grad():
        expected = model(torch.as_tensor(x)).numpy()
    made = JointEmbeddingClassifier(taxonomy, JointSettings(hierarchy=hierarchy))
    made.scale = 4.0
    made.take(normalise(nodes), None, np.ones(taxonomy.depth, dtype=np.float32))
    found = made.log_proba_of_vectors(normalise(x))
    np.testing.assert_allclose(found, expected, atol=1e-4)
    np.testing.assert_allclose(np.exp(found).sum(axis=1), 1, atol=1e-5)
    graph = title_graph(taxonomy, normalise(nodes), "random")
    samplers = triplet_samplers(taxonomy, graph)
    draws = (drawing(samplers[0]), drawing(samplers[1]))
    model = JointSpace(taxonomy, nodes, hierarchy=hierarchy, draws=draws, weights=(1.0, 1.0, 1.0), triplets=5)
    losses = model.loss(torch.as_tensor(x), torch.as_tensor(rng.integers(0, len(taxonomy), size=3)))
    losses.sum().backward()
    assert torch.isfinite(losses).all() and torch.isfinite(model.nodes.grad).all()


def test_sum_paths_and_chained_softmax_against_loops() -> None:
    x = np.random.default_rng(5).normal(size=(2, len(TREE))).astype(np.float32)
    sums, chained = sum_paths(x, TREE), sum_paths(group_log_softmax(x, TREE), TREE)
    for j, leaf in enumerate(TREE.leaves.tolist()):
        path = list(dict.fromkeys(TREE.node_path[leaf].tolist()))
        np.testing.assert_allclose(sums[:, j], x[:, path].sum(axis=1), atol=1e-5)
        total = 0.0
        for node in path:
            siblings = np.flatnonzero(TREE.parents == TREE.parents[node])
            total = total + x[:, node] - np.log(np.exp(x[:, siblings]).sum(axis=1))
        np.testing.assert_allclose(chained[:, j], total, atol=1e-5)


# ------------------------------------------------------------------ the classifier


@pytest.mark.slow
@pytest.mark.usefixtures("toy_encoder")
@pytest.mark.parametrize("hierarchy", HIERARCHIES)
def test_separable_texts_are_learnt_at_every_level(hierarchy: str) -> None:
    train, valid = rows(TREE), rows(TREE, 4, seed=1)
    model = classifier(hierarchy=hierarchy).fit(train, valid)
    for data in (train, valid):
        assert (model.predict(data.texts)["code"].to_numpy() == np.array(data.codes)).all()
    for level in (1, 2):
        top = model.predict(valid.texts, level=level)["code"].tolist()
        assert top == [code[:level] for code in valid.codes]
    # where the texts lie is comparable with the nodes of every level (in the last state; the best one was the first)
    # separable rows ask for the sharpest scale there is, and the rate is divided by it: the factor of 25 back
    last = classifier(hierarchy=hierarchy, trainer={"head_learning_rate": 0.5}).fit(train)
    cosine = last.vectors(valid.texts) @ last.nodes.T
    at_level = TREE.level_nodes(1)
    nearest = at_level[cosine[:, at_level].argmax(axis=1)]
    assert [TREE.codes[i] for i in nearest] == [code[:1] for code in valid.codes]
    fit = model.fit_result
    assert fit is not None and fit.graph == "vectors" and fit.valid_log_loss is not None
    assert fit.hierarchy_triplet_accuracy == model.triplet_accuracy()["hierarchy"]


@pytest.mark.slow
@pytest.mark.usefixtures("toy_encoder")
def test_triplet_terms_do_what_they_say() -> None:
    """Strong terms give spaces that keep the tree and the graph; without them the classification decides."""
    leaves = {code: i for i, code in enumerate(TREE.leaf_codes)}
    matrix = np.zeros((TREE.num_leaves,) * 2)
    for a, b in (("111", "211"), ("122", "3")):  # alike across the tree
        matrix[leaves[a], leaves[b]] = matrix[leaves[b], leaves[a]] = 0.9
    graph = CategoryGraph.from_leaves(TREE, matrix)
    accuracy = {}
    for name, weights in {"off": (0.0, 0.0), "hierarchy": (20.0, 0.0), "similarity": (0.0, 20.0)}.items():
        model = classifier(hierarchy_weight=weights[0], similarity_weight=weights[1], margin=0.5)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(joint, "title_graph", lambda *_: graph)
            model.fit(rows(TREE))
        accuracy[name] = model.triplet_accuracy(graph)
    assert accuracy["hierarchy"]["hierarchy"] == 1
    assert accuracy["similarity"]["similarity"] > accuracy["off"]["similarity"] + 0.1  # type: ignore[operator]


@pytest.mark.usefixtures("toy_encoder")
def test_a_graph_file_is_used_and_stored_and_another_trees_is_refused(tmp_path: Path) -> None:
    matrix = np.zeros((TREE.num_leaves,) * 2)
    matrix[0, 3] = matrix[3, 0] = 0.5
    graph = CategoryGraph.from_leaves(TREE, matrix, {"sources": [{"kind": "items"}], "steps": []})
    graph.save(tmp_path / "graph.npz")
    model = classifier(graph=str(tmp_path / "graph.npz"), trainer={"epochs": 1}).fit(rows(TREE, 3))
    fit = model.fit_result
    assert fit is not None and fit.graph == "items"
    assert fit.graph_links == levelled(graph).links > 1  # lifted from the leaves
    other = from_edges(["a", "b"], ["", ""])
    CategoryGraph.from_leaves(other, np.zeros((2, 2))).save(tmp_path / "other.npz")
    with pytest.raises(TaxonomyError, match="graph of the tree"):
        classifier(graph=str(tmp_path / "other.npz")).fit(rows(TREE, 3))
    with pytest.raises(FileNotFoundError):
        classifier(graph=str(tmp_path / "none.npz")).fit(rows(TREE, 3))


@pytest.mark.usefixtures("toy_encoder")
def test_the_same_seed_gives_the_same_numbers_and_other_editions_work() -> None:
    train = rows(TREE, 4)
    first, again = (classifier(trainer={"epochs": 2}).fit(train) for _ in range(2))
    np.testing.assert_array_equal(first.nodes, again.nodes)
    changed = {**{k: v for k, v in PARENTS.items() if k != "122"}, "212": "21"}
    titles = {code: {**TITLES, "212": "midwife"}[code] for code in changed}
    new = from_edges(list(changed), list(changed.values()), titles={"en": titles})
    first.recipe = TextRecipe(("title",))
    made = first.for_taxonomy(new)
    assert made.recipe == first.recipe
    np.testing.assert_array_equal(made.nodes[new.index_of["111"]], first.nodes[TREE.index_of["111"]])
    np.testing.assert_allclose(made.nodes[new.index_of["212"]], made.vectors(["midwife"])[0], atol=1e-6)
    assert np.exp(made.predict_log_proba(["midwife", ""])).sum(axis=1) == pytest.approx([1, 1], abs=1e-5)


@pytest.mark.usefixtures("toy_encoder")
def test_one_level_has_no_hierarchy_triplets() -> None:
    flat = from_edges(["a", "b", "c"], ["", "", ""], titles={"en": {"a": "cook", "b": "nurse", "c": "pilot"}})
    data = JobData.from_lists(flat, ["cook", "nurse", "pilot"] * 3, ["a", "b", "c"] * 3)
    model = classifier(flat, trainer={"epochs": 2}).fit(data)
    assert model.triplet_accuracy()["hierarchy"] is None
    assert model.predict(["nurse"])["code"][0] == "b"


@pytest.mark.usefixtures("toy_encoder")
def test_bad_input() -> None:
    train = rows(TREE, 2)
    with pytest.raises(ValueError, match="got no rows"):
        classifier().fit(train.take([]))
    with pytest.raises(ValueError, match="have no code"):
        classifier().fit(JobData.from_lists(TREE, ["x"]))
    with pytest.raises(ValueError, match="classifier's taxonomy"):
        classifier(from_edges(["a"], [""])).fit(train)
    with pytest.raises(ValueError, match="cannot be trained"):
        classifier(encoder=USE, freeze_encoder=False).fit(train)
    with pytest.raises(hjc.errors.NotFittedError):
        classifier().triplet_accuracy()
    for bad in ({"triplets": 0}, {"margin": -1.0}, {"classification_weight": 0.0}, {"hierarchy_weight": -1.0}):
        with pytest.raises(ValueError, match="model"):
            JointSettings(**bad)


@pytest.mark.slow
def test_trained_with_the_encoder_stored_and_loaded_in_another_process(tmp_path: Path) -> None:
    tiny = {"encoder": "tiny", "tiny_hidden": 32, "tiny_layers": 1, "tiny_vocabulary": 300, "max_length": 16}
    trainer = {"epochs": 4, "learning_rate": 5e-3, "precision": "32", "accelerator": "cpu"}
    model = classifier(trainer=trainer, freeze_encoder=False, hierarchy="topdown", **tiny)
    model.fit(rows(TREE), rows(TREE, 3, seed=1), run_dir=tmp_path / "run")
    model.save_pretrained(tmp_path / "model")
    np.save(tmp_path / "before.npy", model.predict_log_proba(["stew soup", "", "icing"]))
    code = (
        "import sys, numpy as np, hjc\n"
        "model = hjc.load(sys.argv[1])\n"
        "np.testing.assert_array_equal(model.predict_log_proba(['stew soup', '', 'icing']), np.load(sys.argv[2]))\n"
        "assert model.triplet_accuracy()['hierarchy'] is not None"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "model"), str(tmp_path / "before.npy")]
    subprocess.run(command, check=True, timeout=300)
    edit_config(tmp_path / "model", lambda config: config["parameters"].update(new=1))
    with pytest.raises(ModelDirError, match="knows no setting"):
        hjc.load(tmp_path / "model")
