"""Two classifications of the same texts over one encoder: two model directories that share its file."""

import json
import os

import numpy as np
import pandas as pd
import pytest
import torch

import hjc
from hjc.classifiers.neural import NeuralClassifier
from hjc.classifiers.two import Companion, share_encoder_file
from hjc.data import DataSettings, JobData, SourceSettings, load_job_data
from hjc.nn.run_encoder import run_weights
from hjc.nn.settings import NeuralSettings, TrainerSettings
from hjc.nn.two_heads import joined
from hjc.taxonomy import from_prefix_codes
from hjc.training.config import ConfigError, compose
from hjc.training.second import second_splits
from hjc.training.workflow import run_training

pytestmark = pytest.mark.slow

JOBS = from_prefix_codes(["11", "12", "21", "22"], [1, 2], name="jobs")
BRANCHES = from_prefix_codes(["A1", "A2", "B1"], [1, 2], name="branches")
#: word of a job, of a branch
WORDS = {"11": "director", "12": "manager", "21": "nurse", "22": "teacher"}
PLACES = {"A1": "farm", "A2": "forest", "B1": "factory"}
QUICK = {"epochs": 6, "batch_size": 16, "learning_rate": 2e-3, "head_learning_rate": 1e-2, "precision": "32",
         "threads": 1, "warmup_steps": 5, "loggers": []}  # fmt: skip
TINY = {"encoder": "tiny", "tiny_hidden": 32, "tiny_layers": 1, "tiny_vocabulary": 300, "max_length": 12}


def ads(n: int, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    jobs, branches = rng.choice(list(WORDS), n), rng.choice(list(PLACES), n)
    numbers = rng.integers(0, 10**6, n)
    texts = [f"{WORDS[a]} wanted in a {PLACES[b]} {i}" for a, b, i in zip(jobs, branches, numbers, strict=True)]
    return pd.DataFrame({"text": texts, "code": jobs, "nace": branches})


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Ads (some without a code of a branch, one without a code of a job), a list of titles without branches, trees."""
    folder = tmp_path_factory.mktemp("ads")
    rows = ads(240)
    rows.loc[:20, "nace"] = ""
    rows.loc[21, "nace"] = "Z9"
    rows.loc[22, "code"] = ""
    rows.to_csv(folder / "ads.csv", index=False)
    pd.DataFrame({"text": list(WORDS.values()), "code": list(WORDS)}).to_csv(folder / "titles.csv", index=False)
    for name, tree in (("jobs", JOBS), ("branches", BRANCHES)):
        parents = [tree.codes[p] if p >= 0 else "" for p in tree.parents.tolist()]
        pd.DataFrame({"code": tree.codes, "parent": parents}).to_csv(folder / f"{name}.csv", index=False)
    return folder


def overrides(folder, run, *more: str) -> list[str]:
    model = [f"model.{key}={value}" for key, value in TINY.items() if key != "encoder"]
    trainer = [f"trainer.{key}={value}" for key, value in QUICK.items() if key not in ("loggers", "precision")]
    return [
        "model=tiny", *model, *trainer, "trainer.precision='32'", "logger=none", "data=csv", "evaluation.report=false",
        "taxonomy=csv", f"taxonomy.path={folder}/jobs.csv", f"data.files=[{folder}/ads.csv]",
        "data.text_columns=[text]",
        f"data.sources=[{{path: {folder}/titles.csv, role: train, text_columns: [text], code_column: code}}]",
        "data.code_column=code", "data.valid_fraction=0.2", "data.test_fraction=0.2", "evaluation.bootstrap=20",
        "second.code_column=nace", f"second.path={folder}/branches.csv", f"run_dir={run}", "output=none", *more,
    ]  # fmt: skip


@pytest.fixture(scope="module")
def run(folder, tmp_path_factory):
    run = tmp_path_factory.mktemp("runs") / "jobs"
    return run, run_training(compose(overrides(folder, run)))


def test_both_models_learn_and_each_has_the_whole_protocol(run, folder):
    first, result = run
    second = first.with_name("jobs_second")
    for place, tree, column in ((first, JOBS, "code"), (second, BRANCHES, "nace")):
        model = hjc.load(place)
        assert model.taxonomy == tree and model.calibrator is not None
        fresh = ads(60, seed=9)
        said = model.predict(fresh["text"].tolist(), level=2)["code"]
        assert (said.to_numpy() == fresh[column]).mean() > 0.9, place
        for name in ("metrics.json", "hierarchical.csv", "decisions.csv", "README.md", "train.yaml", "rejects.csv"):
            assert (place / name).is_file(), (place, name)
    assert result.evaluations["test"].data.taxonomy == JOBS
    rejects = pd.read_csv(second / "rejects.csv", keep_default_na=False)
    assert rejects["value"].tolist().count("Z9") == 1
    record = hjc.classifiers.load.training_record(second)
    assert record["status"] == "finished" and record["trained_with"] == str(first)
    assert record["config"]["data"]["code_column"] == "nace" and record["data"]["train"]["rows"] > 100


def test_no_text_trains_on_one_side_and_tests_on_the_other(run, folder):
    first, result = run
    of_second = pd.read_parquet(first.with_name("jobs_second") / "scores_test.parquet")
    held = set(result.evaluations["test"].data.texts) | set(result.evaluations["valid"].data.texts)
    with_branch = pd.read_csv(folder / "ads.csv", dtype=str, keep_default_na=False)
    usable = with_branch[with_branch["nace"].isin(list(PLACES))]
    tested = set(result.evaluations["test"].data.texts)
    assert len(of_second) == usable["text"].isin(tested).sum()
    record = hjc.classifiers.load.training_record(first.with_name("jobs_second"))
    assert record["data"]["train"]["rows"] == (~usable["text"].isin(held)).sum()  # the row without a job code, too


def test_the_encoder_is_one_file_and_each_directory_is_whole(run, tmp_path):
    first, _ = run
    second = first.with_name("jobs_second")
    assert os.path.samefile(first / "encoder.safetensors", second / "encoder.safetensors")
    assert not (first / "model.safetensors").exists()
    for name, value in run_weights(first).items():  # the start of another model
        assert torch.equal(value, run_weights(second)[name])
    import shutil

    shutil.copytree(second, tmp_path / "copy")
    texts = ads(5, 3)["text"].tolist()
    before = hjc.load(second).leaf_log_proba(texts)
    np.testing.assert_array_equal(hjc.load(tmp_path / "copy").leaf_log_proba(texts), before)
    again = hjc.load(tmp_path / "copy")
    again.save_pretrained(tmp_path / "saved")
    np.testing.assert_array_equal(hjc.load(tmp_path / "saved").leaf_log_proba(texts), before)
    # writing one of them anew leaves the other as it is
    hjc.load(first).save_pretrained(first)
    np.testing.assert_array_equal(hjc.load(second).leaf_log_proba(texts), before)
    assert share_encoder_file(first, second)
    damaged = tmp_path / "copy" / "encoder.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"x")
    with pytest.raises(hjc.errors.ModelDirError, match=r"encoder\.safetensors: altered"):
        hjc.load(tmp_path / "copy")
    with pytest.raises(ValueError, match="not trained together"):
        NeuralClassifier(JOBS, **TINY, **QUICK).fit(["nurse"] * 4, codes=["21"] * 4).save_pretrained(tmp_path / "alone")
        share_encoder_file(first, tmp_path / "alone")


def test_the_same_command_shows_the_results_again(run, folder, capsys):
    first, result = run
    again = run_training(compose([*overrides(folder, first), "output=json"]))
    assert again.status == "finished"
    assert json.loads(capsys.readouterr().out)["directory"] == str(first)  # one object, of the first tree
    assert again.evaluations["test"].metrics == pytest.approx(result.evaluations["test"].metrics, nan_ok=True)


def test_labels_of_a_language_model_never_validate_the_second_tree(tmp_path):
    """Although their texts do, with the codes of people, in the first."""
    rows = ads(40)
    rows.drop(columns="nace").to_csv(tmp_path / "ads.csv", index=False)
    rows.assign(code="", source="silver").to_csv(tmp_path / "silver.csv", index=False)
    settings = DataSettings(
        files=[str(tmp_path / "ads.csv")], sources=[SourceSettings(path=str(tmp_path / "silver.csv"))],
        valid_fraction=0.2, test_fraction=0.2,
    )  # fmt: skip
    first = load_job_data(settings, JOBS)
    found, left_out = second_splits(settings, "nace", BRANCHES, first)
    held = len(first.valid) + len(first.tests["test"])
    assert held > 4 and len(found.train) == len(first.train) == 40 - held
    assert not len(found.valid) and not len(found.tests["test"])
    assert any(f"{held} rows of" in note for note in found.notes) and left_out == [str(tmp_path / "ads.csv")]


def test_the_losses_of_a_batch_are_those_of_each_tree_added():
    """Against two networks of one tree each, computed apart."""
    rows = ads(12, 1)
    first = JobData.from_lists(JOBS, rows["text"].tolist(), rows["code"].tolist())
    second = JobData.from_lists(BRANCHES, rows["text"].tolist()[4:], rows["nace"].tolist()[4:])
    model, other = NeuralClassifier(JOBS, **TINY, **QUICK), NeuralClassifier(BRANCHES, **TINY, **QUICK)
    model.companion = Companion(other, second, None, share=0.5)
    model.fit(first)
    from hjc.nn.examples import assembler
    from hjc.nn.tokens import Reading, tokenize
    from hjc.nn.two_heads import TwoCodes, TwoHeads, TwoHeadsModule

    one = (first.texts, first.target, first.weight)
    two = (second.texts, second.target, second.weight)
    texts, targets, weights = joined(one, two)
    assert list(texts) == list(first.texts) and weights[:, 1].tolist() == [0] * 4 + [1] * 8
    corpus = tokenize(model.tokenizer, texts, Reading(12))
    examples = TwoCodes(corpus, targets, weights, model.tokenizer.pad_token_id, (JOBS, BRANCHES))
    network = TwoHeads(model.network, other.network).eval()
    module = TwoHeadsModule(network, (JOBS, BRANCHES), 0.5, model.trainer, 1, examples)
    batch = assembler(examples)(list(range(12)))
    with torch.no_grad():
        found = module.losses(batch).numpy()
    expected = -model.leaf_log_proba(texts)[np.arange(12), JOBS.level_column[first.gold, 1]]
    expected[4:] -= 0.5 * other.leaf_log_proba(texts[4:])[np.arange(8), BRANCHES.level_column[second.gold, 1]]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_the_titles_of_the_second_tree_can_be_read():
    """Its head starts from them: words that no text has are in the vocabulary, too, and not read byte by byte."""
    rows, titles = ads(12, 1), ("\u0444\u0435\u0440\u043c\u0430", "\u043b\u0435\u0441")
    tree = from_prefix_codes(["A", "B"], [1], titles={"ru": titles}, name="named")
    both = JobData.from_lists(JOBS, rows["text"].tolist(), rows["code"].tolist())
    quick = TINY | QUICK | {"epochs": 1, "tiny_vocabulary": 2000}
    model, other = NeuralClassifier(JOBS, **quick), NeuralClassifier(tree, **quick)
    model.companion = Companion(other, JobData.from_lists(tree, rows["text"].tolist(), ["A", "B"] * 6), None)
    model.fit(both)
    assert [len(ids) for ids in other.tokenizer(list(titles))["input_ids"]] == [3, 3]  # start, the word, end


def test_rows_of_one_text_are_joined_in_their_order():
    texts, (a, b), weights = joined(
        (["x", "x", "y"], np.array([1, 2, 3]), np.ones(3, np.float32)),
        (["x", "z", "x", "x"], np.array([5, 6, 7, 8]), np.full(4, 2, np.float32)),
    )
    assert texts == ["x", "x", "y", "z", "x"]
    assert a[:3].tolist() == [1, 2, 3] and [b[i] for i in (0, 1, 3, 4)] == [5, 7, 6, 8]
    assert weights.tolist() == [[1, 2], [1, 2], [1, 0], [0, 2], [0, 2]]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("second.path=''",), "give both second.code_column=NAME and second.path"),
        (("second.code_column=isic",), "no file has a column 'isic'"),
        (("second.share=0",), "numbers above 0"),
        (("trainer.r_drop=1",), r"without 'trainer\.r_drop'"),
        (("model=linear", "~model.tiny_hidden"), None),
    ],
)
def test_what_two_trees_cannot_do_is_said(folder, tmp_path, more, message):
    if message is None:
        given = [x for x in overrides(folder, tmp_path / "r") if not x.startswith(("model", "trainer", "logger"))]
        with pytest.raises(ConfigError, match="share the encoder of a neural model"):
            run_training(compose(["model=linear", *given]))
        return
    with pytest.raises(ConfigError, match=message):
        run_training(compose(overrides(folder, tmp_path / "r", *more)))


def test_trees_that_do_not_fit():
    rows = JobData.from_lists(JOBS, ["nurse"], ["21"])
    other = NeuralClassifier(BRANCHES, NeuralSettings(**TINY), TrainerSettings(**QUICK))
    with pytest.raises(ValueError, match="its codes belong to"):
        Companion(other, rows, None)
    with pytest.raises(ValueError, match=r"second\.share"):
        Companion(NeuralClassifier(JOBS, **TINY, **QUICK), rows, None, share=-1)
